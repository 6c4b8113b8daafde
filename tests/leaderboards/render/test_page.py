"""The page in a real browser, and what a notebook shows."""

import re
import shutil
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright
from synthetic import grid

from leaderboards import leaderboard, published_rows
from leaderboards.render.formats import installed
from leaderboards.render.notebook import to_notebook
from leaderboards.render.page import page

HOSTILE = "x(form='<img src=x onerror=alert(1)></script><script>window.hacked=1</script>')"
LOSSES = {"infonce": 0.0, "adnce": 1.1, "hcl": 0.1, HOSTILE: 0.6, "untrained": -20.0}
TASKS = {"images": 84.0, "sentences": 61.0, "nodes": 79.0, HOSTILE: 70.0, "graphs": 85.0}
CHROMIUM = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


@pytest.fixture(scope="module")
def report() -> Any:
    records = grid(LOSSES, TASKS, 4, failing={"hcl": (1,)}, trials=4)
    records.attrs["title"] = "Which <b>losses</b> help?"
    return leaderboard(records, published=published_rows()).report


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory, report: Any) -> Path:
    path = tmp_path_factory.mktemp("page") / "board.html"
    path.write_text(page(report), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no `chromium` on the PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM))
        yield browser
        browser.close()


class Visit:
    """A page that was opened, and all that the browser had to say about it."""

    def __init__(self, browser: Browser, file: Path, **context: Any) -> None:
        self.context = browser.new_context(reduced_motion="reduce", **context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.set_default_timeout(60_000)  # A busy machine is no fault of the page.
        self.page.goto(file.as_uri())


def test_the_page_opens_from_disk_without_requests_or_errors(browser: Browser, file: Path) -> None:
    visit = Visit(browser, file, viewport={"width": 1440, "height": 900})
    assert visit.requests == [file.as_uri()]
    assert visit.complaints == []
    assert visit.page.locator("figure svg").count() >= 5
    assert visit.page.evaluate("window.hacked") is None
    assert visit.page.locator("img").count() == 0
    assert visit.page.locator("script").count() == 1, "ours"
    assert visit.page.title() == "Which <b>losses</b> help?"
    visit.context.close()


def test_the_answer_and_the_matrix_come_first(browser: Browser, file: Path, report: Any) -> None:
    visit = Visit(browser, file, viewport={"width": 1440, "height": 900})
    at = visit.page.locator("#matrix").bounding_box()
    assert at is not None and at["y"] < 900
    text = visit.page.inner_text("body")
    for line in report.answer:
        assert " ".join(line.split()) in " ".join(text.split())
    assert text.index(report.answer[0][:30]) < text.index("Test scores and paired differences")
    visit.context.close()


@pytest.mark.parametrize("width", [1440, 1024, 768, 390])
def test_the_page_does_not_scroll_sideways(browser: Browser, file: Path, width: int) -> None:
    visit = Visit(browser, file, viewport={"width": width, "height": 844})
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    visit.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_readers_scheme(browser: Browser, file: Path, scheme: Any) -> None:
    visit = Visit(browser, file, viewport={"width": 1440, "height": 900}, color_scheme=scheme)
    style = "e => getComputedStyle(e)"
    paper = visit.page.locator("html").evaluate(f"{style}.backgroundColor")
    ink = visit.page.locator("svg .fill-ink").first.evaluate(f"{style}.fill")
    light = [sum(map(int, re.findall(r"\d+", each)[:3])) for each in (paper, ink)]
    assert (light[0] > light[1]) == (scheme == "light")
    visit.context.close()


def test_the_page_needs_no_script(browser: Browser, file: Path) -> None:
    visit = Visit(browser, file, java_script_enabled=False)
    texts = " ".join(visit.page.locator("#matrix").inner_text().split())
    assert "infonce" in texts and "adnce" in texts
    visit.context.close()


@pytest.fixture
def wide(browser: Browser, file: Path) -> Iterator[Page]:
    visit = Visit(browser, file, viewport={"width": 1440, "height": 900})
    yield visit.page
    assert visit.complaints == []
    visit.context.close()


def test_a_score_opens_its_drawer_and_escape_closes_it(wide: Page) -> None:
    cell = wide.locator("#matrix a.open").first
    cell.focus()
    wide.keyboard.press("Enter")
    drawer = wide.locator("dialog[open]")
    assert drawer.count() == 1
    text = drawer.inner_text()
    for words in ("Seed", "Difference [95 %]", "records/x.json", "triptych cell ", "Versions"):
        assert words in text
    assert drawer.locator("svg circle").count() == 4, "a dot a seed"
    wide.keyboard.press("Escape")
    assert wide.locator("dialog[open]").count() == 0
    cell.click()
    wide.locator("dialog[open] a.close").click()
    assert wide.locator("dialog[open]").count() == 0


def test_a_drawer_has_the_numbers_of_the_table(report: Any) -> None:
    board = report.board
    for (task, method, loss), drawer in report.drawers.items():
        rows = board.rows[
            (board.rows["task"] == task) & (board.rows["loss"] == loss) & board.rows["main"]
        ]
        assert sum(bool(seed.record) for seed in drawer.seeds) == rows["seeds"].iloc[0]
        assert len(drawer.seeds) == rows["planned"].iloc[0], "what failed has a line"
        own = board.differences[task, rows["metric"].iloc[0], method, loss]
        shown = loss not in ("infonce", "hcl")  # The baseline, and what failed at a seed.
        assert drawer.values == (tuple(own.values()) if shown else ())
        assert any(name.startswith("Difference") for name, _ in drawer.facts) == shown


def test_ticks_hide_a_loss_everywhere_and_live_in_the_address(wide: Page, browser: Browser) -> None:
    key = "siamese/adnce"
    wide.locator("#ticks summary").click()
    wide.locator(f'#ticks input[data-row="{key}"]').uncheck()
    shown = wide.locator(f'[data-row="{key}"]:not(input):visible')
    assert shown.count() == 0
    assert wide.locator('#matrix tr[data-row="siamese/infonce"]').is_visible()
    wide.locator('#ticks input[data-task="nodes"]').uncheck()
    assert wide.locator('#matrix [data-task="nodes"]:visible').count() == 0
    address = wide.url
    assert "#hide=siamese%2Fadnce&hide=nodes" in address
    other = browser.new_page()
    other.goto(address)
    assert other.locator(f'#matrix tr[data-row="{key}"]').is_hidden()
    assert not other.locator(f'#ticks input[data-row="{key}"]').is_checked()
    other.close()
    for box in wide.locator("#ticks input").all():
        box.check()
    assert wide.locator(f'#matrix tr[data-row="{key}"]').is_visible()
    assert "#" not in wide.url


def test_each_copy_is_the_file_beside_the_page(wide: Page, report: Any) -> None:
    for name, write in (("leaderboard.tex", "leaderboard.tex"), ("table.csv", "table.csv")):
        link = wide.locator(f'.tools a[href="{name}"]')
        source = link.get_attribute("data-copy")
        text = wide.evaluate("id => document.getElementById(id).content.textContent", source)
        assert text == installed()[write](report)
        link.click()  # A page from disk may have no clipboard: then the text is shown.
        box = wide.locator("dialog[open] textarea")
        if box.count():
            assert box.input_value() == text
            wide.keyboard.press("Escape")
        else:
            assert "copied" in wide.locator("#said").inner_text()


def test_a_figure_is_saved_as_the_file_that_the_command_writes(wide: Page, report: Any) -> None:
    wide.emulate_media(media="screen")
    with wide.expect_download() as download:
        wide.locator('[data-save="differences"]').click()
    saved = Path(download.value.path()).read_text(encoding="utf-8")
    assert download.value.suggested_filename == "differences.svg"
    assert saved.startswith("<svg") and "xmlns" in saved


def test_a_heading_sorts_a_folded_table(wide: Page) -> None:
    wide.locator("#section-scores summary").click()
    heading = wide.locator("#scores th", has_text="Mean")
    heading.locator("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    place = heading.evaluate("e => e.cellIndex")
    texts = wide.locator(f"#scores tbody td:nth-child({place + 1})").all_inner_texts()
    found = [float(text.split()[0]) for text in texts]
    assert found == sorted(found)


def test_on_a_phone_the_matrix_shows_one_task_at_a_time(browser: Browser, file: Path) -> None:
    visit = Visit(browser, file, viewport={"width": 390, "height": 844})
    assert visit.page.locator("#matrix th[data-task]:visible").count() == 1
    visit.page.locator("#one-task").select_option("nodes")
    heading = visit.page.locator("#matrix th[data-task]:visible")
    assert heading.inner_text().split()[0] == "nodes"
    assert visit.page.locator("figure .wide:visible").count() == 0
    assert visit.page.locator("figure .narrow:visible").count() >= 5
    visit.context.close()


def test_without_a_script_a_drawer_opens_by_its_address(browser: Browser, file: Path) -> None:
    visit = Visit(browser, file, java_script_enabled=False)
    link = visit.page.locator("#matrix a.open").first
    link.click()
    drawer = visit.page.locator(f"dialog{link.get_attribute('href')}")
    assert drawer.is_visible() and "Seed" in drawer.inner_text()
    for name in ("leaderboard.tex", "leaderboard.md", "table.csv"):
        assert visit.page.locator(f'.tools a[href="{name}"]').is_visible()
    assert visit.page.locator(".scripted:visible").count() == 0
    visit.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_nothing(browser: Browser, file: Path, scheme: Any, width: int) -> None:
    size = {"width": width, "height": 900}
    visit = Visit(browser, file, viewport=size, color_scheme=scheme)
    for summary in visit.page.locator("summary:visible").all():
        summary.click()
    found = Axe().run(visit.page).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []
    visit.context.close()


def test_axe_finds_nothing_in_a_drawer(wide: Page) -> None:
    wide.locator("#matrix a.open").first.click()
    found = Axe().run(wide).response["violations"]
    assert [(each["id"], each["nodes"][0]["html"][:200]) for each in found] == []


def test_a_printed_page_has_the_sections_and_no_tools(browser: Browser, file: Path) -> None:
    visit = Visit(browser, file)
    visit.page.emulate_media(media="print")
    assert visit.page.locator(".tools").is_hidden() and visit.page.locator("#matrix").is_visible()
    assert visit.page.locator("section > details:visible").count() == 0
    assert visit.page.pdf(format="A4").count(b"/Type /Page\n") <= 6
    visit.context.close()


def test_a_text_reader_gets_the_same_facts_in_the_same_order(report: Any) -> None:
    text = re.sub(r"<(style|template|script|svg).*?</\1>", " ", page(report), flags=re.DOTALL)
    text = " ".join(unescape(re.sub(r"<[^>]+>", " ", text)).split())
    wanted = [report.title, report.facts[0], *report.answer, *(w.text for w in report.warnings)]
    wanted += [report.board.labels.row(*key) for key in report.board.order]
    at = -1
    for words in wanted:
        place = text.find(" ".join(words.split()), at + 1)
        assert place > at, words
        at = place if words in report.answer else at


def test_the_same_board_gives_the_same_bytes(report: Any) -> None:
    assert page(report) == page(report)


def test_the_page_of_a_small_study_is_small() -> None:
    made = leaderboard(grid({"infonce": 0.0, "adnce": 0.4, "untrained": -9.0},
                            {"images": 84.0, "sentences": 61.0, "nodes": 79.0}, 3))  # fmt: skip
    assert len(page(made.report).encode()) < 150_000


def test_an_empty_section_is_left_out() -> None:
    made = leaderboard(grid({"infonce": 0.0, "adnce": 0.4}, {"images": 84.0}, 3, steps=(100,)))
    text = page(made.report)
    assert 'id="matrix"' in text
    for title in ("Tuning", "Published results", "Cells without a score", "During training"):
        assert f"<h2>{title}</h2>" not in text


def test_a_policy_forbids_every_request_and_every_script_but_ours(report: Any) -> None:
    text = page(report)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = b64encode(sha256(script.encode()).digest()).decode()
    policy = unescape(policy)
    assert policy.startswith(f"default-src 'none'; script-src 'sha256-{digest}'; ")
    assert "unsafe-inline" not in policy.partition("style-src")[0]


def test_a_link_is_followed_only_if_it_is_safe() -> None:
    papers = published_rows().head(2).copy()
    papers.loc[papers.index[0], "url"] = "javascript:window.hacked=1"
    papers.loc[papers.index[1], "url"] = "https://arxiv.org/abs/2305.18425"
    records = grid({"infonce": 0.0, "adnce": 0.4}, {"images": 84.0}, 3)
    text = page(leaderboard(records, published=papers).report)
    assert "javascript:" not in text
    assert 'href="https://arxiv.org/abs/2305.18425" rel="noopener noreferrer"' in text


def test_a_notebook_shows_the_matrix_and_the_differences(report: Any) -> None:
    text = to_notebook(report)
    assert "<table" in text and "<svg" in text and "<script" not in text
    assert "&lt;script&gt;" in text or "onerror" not in text
    assert "3 of 4 seeds" in text
