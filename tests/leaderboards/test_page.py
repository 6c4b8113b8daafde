"""The page in a real browser: what it shows, what it lets a reader do, and what it never does."""

import json
import math
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from itertools import chain, combinations, pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright
from synthetic import proof, record_row, task_columns

from harness.run.runner import run
from harness.store.table import load_records
from harness.study.study import Study
from leaderboards import drawing, figures, leaderboard, lines
from leaderboards.analysis.tables import (
    CELL_COLUMNS,
    CURVE_COLUMNS,
    PUBLISHED_COLUMNS,
    RECORD_COLUMNS,
    TRIAL_COLUMNS,
    TUNED_COLUMNS,
    Leaderboard,
    Note,
)
from leaderboards.page import to_html, to_notebook
from leaderboards.statistics.ranking import friedman

HOSTILE = "x(form='<img src=x onerror=alert(1)></script><script>window.hacked=1</script>')"
BROKEN = "adnce(temperature=0.4, mu=0.7, sigma=0.5)"
LOSSES = {"infonce": 0.0, "adnce": 1.1, "hcl": 0.1, BROKEN: -0.8, HOSTILE: 0.6, "untrained": -20}
TASKS = {
    "images": ("image", ("accuracy", "knn_accuracy"), 84.0),
    "sentences": ("sentence", ("sts_spearman",), 61.0),
    "nodes": ("graph", ("accuracy", "macro_f1"), 79.0),
}
STEPS = (0, 50, 100, 150, 200)
CHROMIUM = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip


def make_records(seeds: int = 5, losses: dict[str, float] = LOSSES) -> pd.DataFrame:
    draw = np.random.default_rng(0)
    rows = []
    for (task, (modality, metrics, level)), seed in product(TASKS.items(), range(seeds)):
        common = draw.normal(0, 0.8)
        for loss, gain in losses.items():
            diverged = loss == BROKEN and task == "nodes"
            cell = {
                "modality": modality,
                "trial": math.nan,
                "seconds": 31.5,
                "proof": proof(f"start-{task}-{seed}", f"seen-{task}-{seed}"),
                "key": f"{abs(hash_of(task, loss, seed)):016x}",
                "settings": json.dumps({"temperature": 0.4, "mu": 0.7}),
                "space": json.dumps({"temperature": {"low": 0.05, "high": 1, "log": True}}),
                "data": json.dumps({task: "sha256:1234"}),
                "versions": json.dumps({"python": "3.11", "torch": "2.13.0"}),
                "source": "source-digest",
                "commit": "0123abc",
                "device": "cpu: <Intel & co>",
                "finished": f"2026-11-22T10:{seed:02}:00Z",
            }
            if not loss.startswith(("untrained", "fixed")):
                cell |= {"step": STEPS[-1], "steps": STEPS[-1]}
            if diverged:
                reason = "the objective is nan at step 12 <b>"
                gone = {"status": "diverged", "reason": reason, "split": None, "metric": None}
                rows.append(record_row(task, loss, seed, **cell | gone | {"value": None}))
                continue
            for place, metric in enumerate(metrics):
                value = level - place + gain + common + draw.normal(0, 0.4)
                own = {"metric": metric, "main": place == 0, "value": value}
                rows.append(record_row(task, loss, seed, **cell | own))
    return pd.DataFrame(rows, columns=list(RECORD_COLUMNS))


def hash_of(*parts: object) -> int:
    return int.from_bytes(repr(parts).encode()[-8:], "big")


def make_trials(losses: dict[str, float] = LOSSES) -> pd.DataFrame:
    draw = np.random.default_rng(1)
    rows = []
    for (task, (modality, metrics, level)), loss in product(TASKS.items(), losses):
        if loss == "untrained":
            continue
        for trial in range(8):
            temperature = float(10 ** draw.uniform(-1.3, 0))
            settings: dict[str, Any] = {"temperature": temperature, "name": "<b>"}
            if loss != "infonce":
                settings["mu"] = float(draw.uniform(0, 1))
            failed = trial == 6 and loss in (BROKEN, HOSTILE)
            score = level + losses[loss] - 3 * (math.log10(temperature) + 0.5) ** 2
            rows.append(
                {
                    "task": task,
                    "modality": modality,
                    "metric": "" if failed else metrics[0],
                    "method": "siamese",
                    "loss": loss,
                    "spec": loss,
                    "trial": trial,
                    "seeds": 0 if failed else 2,
                    "status": "diverged" if failed else "done",
                    "validation": math.nan if failed else score,
                    "std": 0.3,
                    "chosen": trial == 2,
                    # Of a trial that was lost in all its seeds only the spec is known.
                    "settings": "{}" if failed and loss == BROKEN else json.dumps(settings),
                }
            )
    return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS))


def make_tuned(trials: pd.DataFrame) -> pd.DataFrame:
    rows = [
        {
            "task": row.task,
            "method": row.method,
            "loss": row.loss,
            "spec": row.spec,
            "trials": 8,
            "trial": row.trial,
            "validation": row.validation,
            "setting": setting,
            "value": value,
            "low": 0.05 if setting == "temperature" else 0.0,
            "high": 1.0,
            "log": setting == "temperature",
            "position": 1 + math.log10(value) / 1.3 if setting == "temperature" else value,
            "at_border": row.loss == "hcl" and setting == "mu",
        }
        for row in trials[trials["chosen"]].itertuples()
        for setting, value in json.loads(str(row.settings)).items()
        if setting != "name"
    ]
    return pd.DataFrame(rows, columns=list(TUNED_COLUMNS))


def make_curves(losses: dict[str, float] = LOSSES) -> pd.DataFrame:
    rows = [
        {
            "task": task,
            "modality": modality,
            "metric": metrics[0],
            "method": "siamese",
            "loss": loss,
            "step": step,
            "mean": level + gain * step / 200 - 12 * math.exp(-step / 60),
            "low": level + gain * step / 200 - 12 * math.exp(-step / 60) - 0.5,
            "high": level + gain * step / 200 - 12 * math.exp(-step / 60) + 0.5,
            "seeds": 5,
        }
        for (task, (modality, metrics, level)), (loss, gain), step in product(
            TASKS.items(), losses.items(), STEPS
        )
        if loss != "untrained"
    ]
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def make_board(**changes: Any) -> Leaderboard:
    records = make_records()
    computed = leaderboard(records)
    cells = records.loc[records["status"] != "done", list(CELL_COLUMNS)]
    trials = make_trials()
    published = pd.DataFrame(
        [
            ("CIFAR-10", "image", "accuracy", "adnce", "ResNet-50", 91.9, "Wu 2023",
             "https://arxiv.org/abs/2305.18425"),
            ("STS-B", "sentence", "sts_spearman", HOSTILE, "", math.nan, "a <b>note</b>",
             "javascript:window.hacked=1"),
        ],
        columns=list(PUBLISHED_COLUMNS),
    )  # fmt: skip
    board = Leaderboard(
        rows=computed.rows,
        overall=computed.overall,
        friedman="Friedman's test needs 5 tasks: got 3.",
        cells=cells.reset_index(drop=True),
        tuned=make_tuned(trials),
        trials=trials,
        curves=make_curves(),
        records=records,
        baseline="infonce",
        baseline_method="siamese",
        screening=False,
        published=published,
        notes=(
            Note("failed", "5 cells of nodes diverged, and have no score."),
            Note("records", f"2 records of {HOSTILE} are old."),
        ),
    )
    return replace(board, **changes)


def empty_board() -> Leaderboard:
    board = make_board()
    tables = ("rows", "overall", "cells", "tuned", "trials", "curves", "records", "published")
    return replace(board, notes=(), **{name: getattr(board, name).iloc[:0] for name in tables})


def without_tuning(board: Leaderboard) -> Leaderboard:
    """A board with fewer figures, where one of each will do."""
    return replace(board, trials=board.trials.iloc[:0], tuned=board.tuned.iloc[:0])


NAMED = "<img src=x onerror=alert(2)>"
"""A diagnostic's name, from a hostile task."""


def diagnosed_board() -> Leaderboard:
    """A computed board with diagnostics, an oracle, and one task at three noises."""
    losses = {"infonce": 0.0, "adnce": 1.1, "untrained": -20, "fixed:oracle": 6}
    scores = make_records(losses=losses)
    still = scores["loss"].isin(["untrained", "fixed:oracle"])
    scores.loc[still, ["steps", "step"]] = 0
    scores = scores[scores["task"] == "images"]
    tables = []
    for task in ("images", "images(noise=0.1)", "images(noise=0.4)"):
        own = scores.assign(**task_columns(task), key=scores["key"] + task)
        once = own[own["metric"] == "accuracy"]
        tables.append(own)
        for name, step in product(("alignment", NAMED), (0, 100, 200)):
            here = once[(step == once["steps"]) | (once["steps"] > 0)]
            values = here["value"] / 100 - step / 1000
            at = {"step": step, "metric": name, "split": "diagnostics", "value": values}
            tables.append(here.assign(**at))
    return leaderboard(pd.concat(tables), diagnostics=["alignment", NAMED])


def ranked_board() -> Leaderboard:
    """A board whose ranks over six tasks were tested."""
    names = list(LOSSES)
    scores = np.random.default_rng(3).normal([0, 2.5, 0.5, 0.2, 2.2, -6], 0.8, size=(6, 6))
    return make_board(friedman=friedman(scores, names))


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no `chromium` on the PATH: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(CHROMIUM))
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "board.html"
    path.write_text(to_html(ranked_board()), encoding="utf-8")
    return path


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


@pytest.fixture(scope="module")
def visit(browser: Browser, file: Path) -> Iterator[Visit]:
    visit = Visit(browser, file, viewport={"width": 1440, "height": 900})
    yield visit
    visit.context.close()


@pytest.fixture
def page(visit: Visit) -> Page:
    """The wide page, with every row shown and no dialog open."""
    visit.page.keyboard.press("Escape")
    show_all(visit.page)
    return visit.page


def show_all(page: Page) -> None:
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#leaderboard tbody tr[hidden]")).to_have_count(0)


def shown(page: Page, key: str) -> list[str]:
    """Return the texts in a column of the leaderboard, of the rows that are shown."""
    return page.evaluate(
        """key => {
          const table = document.getElementById("leaderboard");
          const at = table.querySelector(`[data-key="${key}"]`).cellIndex;
          return [...table.tBodies[0].rows].filter(row => !row.hidden)
            .map(row => (row.cells[at].dataset.text ?? row.cells[at].textContent).trim());
        }""",
        key,
    )


def draw_all(page: Page) -> None:
    for box in page.locator(".plot").all():
        box.scroll_into_view_if_needed()
        expect(box).to_have_class(re.compile("drawn"))


def test_the_page_opens_from_disk_without_requests_or_errors(visit: Visit, file: Path) -> None:
    draw_all(visit.page)
    assert visit.page.locator(".plot .main-svg").count() >= len(TASKS)
    assert visit.requests == [file.as_uri()]
    assert visit.complaints == []


def test_a_hostile_name_is_escaped_everywhere(visit: Visit) -> None:
    page = visit.page
    draw_all(page)
    assert page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0
    assert page.locator("a[href^='javascript']").count() == 0
    assert page.locator(".js-plotly-plot a:not(.modebar-btn)").count() == 0
    assert HOSTILE in shown(page, "loss")
    assert page.locator("#overall-table").get_by_text(HOSTILE).count() == 1
    assert page.locator(".card").get_by_text(HOSTILE).count() == len(TASKS)
    assert page.get_by_label("Loss").get_by_text(HOSTILE, exact=True).count() == 1
    ticks = page.locator(".plot").first.locator(".ytick").all_text_contents()
    assert drawing.short_names([HOSTILE])[HOSTILE] in ticks


def test_no_text_of_a_figure_is_markup() -> None:
    """Plotly reads <b> and <a>: only our own <b> and <br> may be in what it is given."""

    def texts(value: object) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        elif isinstance(value, dict):
            for part in value.values():
                yield from texts(part)
        elif isinstance(value, list):
            for part in value:
                yield from texts(part)

    boards = (ranked_board(), diagnosed_board())
    panels = [panel for board in boards for panel in all_panels(board)]
    found = [text for panel in panels for text in texts(panel.plot)]
    assert any("&lt;img" in text for text in found)
    assert any("onerror=alert(2)" in text for text in found)
    for text in found:
        assert "<" not in re.sub(r"</?b>|<br>", "", text)


def all_panels(board: Leaderboard) -> list[drawing.Panel]:
    one = [figures.heat_map(board), figures.critical_difference(board)]
    return [
        *figures.forest_plots(board),
        *lines.convergence_curves(board),
        *figures.tuning_landscapes(board),
        *chain(*lines.diagnostic_curves(board).values()),
        *lines.response_curves(board, main=True),
        *lines.response_curves(board, main=False),
        *(panel for panel in one if panel),
    ]


def test_every_attribute_of_the_figures_is_valid_for_plotly() -> None:
    panels = all_panels(ranked_board())
    assert len(panels) == 3 + 3 + 6 + 2
    diagnosed = all_panels(diagnosed_board())
    # Forests and a heat map; two diagnostics a task; four responses and their differences.
    assert len(diagnosed) == 3 + 1 + 3 * 2 + 2 * 4
    for panel in (*panels, *diagnosed):
        json.dumps(panel.plot, allow_nan=False)
        go.Figure(panel.plot)


def test_a_loss_looks_the_same_in_every_figure() -> None:
    board = make_board()
    looks = drawing.styles(board)
    assert looks["infonce"].colour == drawing.NEUTRAL
    assert len(set(looks.values())) == len(looks)
    for panel in (*lines.convergence_curves(board), *figures.tuning_landscapes(board)):
        for trace in panel.plot["data"]:
            if "marker" in trace:
                name = next(loss for loss in looks if drawing.plain(loss) == trace["meta"])
                assert trace["marker"]["color"] == looks[name].colour


def linear(colour: str) -> np.ndarray:
    """Return red, green and blue of #rrggbb as shares of light."""
    shares = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours by the WCAG."""
    luminances = [linear(colour) @ [0.2126, 0.7152, 0.0722] + 0.05 for colour in (one, other)]
    return float(max(luminances) / min(luminances))


def behind(background: str) -> str:
    """Return what a figure's grey region is on a background."""
    *grey, opacity = map(float, re.findall(r"[\d.]+", drawing.region()["fillcolor"]))
    own = [int(background[i : i + 2], 16) for i in (1, 3, 5)]
    mixed = [opacity * g + (1 - opacity) * b for g, b in zip(grey, own, strict=True)]
    return "#" + "".join(f"{round(part):02x}" for part in mixed)


def test_every_colour_stands_out_from_a_light_and_a_dark_page() -> None:
    css = Path(figures.__file__).with_name("page.css").read_text(encoding="utf-8")
    pages = re.findall(r"--(?:paper|raised): light-dark\((#\w{6}), (#\w{6})\)", css)
    assert len(pages) == 2
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    for background, colour in product(chain(*pages), (drawing.NEUTRAL, *drawing.COLOURS)):
        assert contrast(colour, background) >= 3, (colour, background)
    for background, colour in product(pages[1], (drawing.NEUTRAL, *drawing.COLOURS)):
        assert contrast(colour, behind(background)) >= 3, (colour, background)


# How colours look without one kind of cones: Machado, Oliveira and Fernandes 2009.
BLIND = (
    [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]],
    [[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
)  # fmt: skip
OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")


def nearest(colours: Sequence[str], sight: Any) -> float:
    """Return how far the two most alike are from one another, in Ottosson's Oklab."""
    cones = [[0.4122214708, 0.5363325363, 0.0514459929],
             [0.2119034982, 0.6806995451, 0.1073969566],
             [0.0883024619, 0.2817188376, 0.6299787005]]  # fmt: skip
    lab = [[0.2104542553, 0.7936177850, -0.0040720468],
           [1.9779984951, -2.4285922050, 0.4505937099],
           [0.0259040371, 0.7827717662, -0.8086757660]]  # fmt: skip
    seen = np.clip([np.array(sight) @ linear(colour) for colour in colours], 0, 1)
    places = np.cbrt(seen @ np.array(cones).T) @ np.array(lab).T
    return min(float(np.linalg.norm(a - b)) for a, b in combinations(places, 2))


def test_colours_are_as_distinct_for_colour_blind_readers_as_okabe_and_itos() -> None:
    ours, theirs = (
        [nearest((*colours, drawing.NEUTRAL), sight) for sight in BLIND]
        for colours in (drawing.COLOURS, OKABE_ITO)
    )
    assert min(ours) >= min(theirs), (ours, theirs)


def test_figures_of_many_losses_show_the_best() -> None:
    losses = {"infonce": -9.0, **{f"infonce(temperature={i})": i / 9 for i in range(1, 60)}}
    losses |= {"untrained": -20.0, "fixed:oracle": 30.0}
    scores = make_records(seeds=3, losses=losses)
    still = scores["loss"].isin(["untrained", "fixed:oracle"])
    scores.loc[still, ["steps", "step"]] = 0
    # One that is the best where it has a score, and lacks one elsewhere, has no mean rank.
    lacking = "infonce(temperature=59)"
    scores = scores[(scores["loss"] != lacking) | (scores["task"] == "images")]
    board = leaderboard(scores)
    best = drawing.of_the_best(board)
    everywhere = board.overall[board.overall["scope"] == "all"].set_index("loss")
    rank = everywhere["rank"].drop(["infonce", "untrained"]).dropna()
    assert lacking not in rank
    shown = {"infonce", "untrained", "fixed:oracle", *rank.nsmallest(drawing.MAX_LOSSES).index}
    assert set(best.rows["loss"]) == shown
    assert len(shown) == drawing.MAX_LOSSES + 3

    html = to_html(board)
    data = json.loads(re.search(r'id="data">(.*?)</script>', html, re.S)[1])  # type: ignore[index]
    traces = [trace.get("meta") for figure in data["figures"] for trace in figure["data"]]
    assert set(filter(None, traces)) == shown - {"infonce", "untrained", "fixed:oracle"}
    assert "The figures show 43 of 62 losses" in html
    assert html.count(">infonce(temperature=1)<") >= 3  # The tables have all.

    few = make_board()
    assert drawing.of_the_best(few) is few
    assert "The figures show" not in to_html(few)


def test_short_names_stay_distinct() -> None:
    names = ["x" * 40 + str(i) + "y" * 40 for i in range(3)]
    literal = "x" * 11 + "…" + "y" * 11
    short = drawing.short_names([*names, f"{literal} #4", literal])
    numbers = [short[name] for name in names]
    assert numbers == [literal, f"{literal} #2", f"{literal} #3"]
    assert len(set(short.values())) == 5


def test_the_forest_plot_leaves_out_untrained_by_default() -> None:
    board = make_board()
    for untrained in (False, True):
        for panel in figures.forest_plots(board, untrained=untrained):
            assert ("untrained" in {t["meta"] for t in panel.plot["data"]}) is untrained
    metrics = figures.forest_plots(board)[0].plot["layout"]["yaxis"]["ticktext"]
    assert metrics[0] == "<b>accuracy (main)</b>" and "<b>knn_accuracy</b>" in metrics


def test_intervals_are_drawn_in_the_full_colour() -> None:
    for panel in figures.forest_plots(make_board()):
        assert "Hollow: the seeds do not decide." in panel.caption
        for trace in panel.plot["data"]:
            assert trace["error_x"]["color"] == trace["marker"]["color"]
            assert trace["error_x"]["thickness"] == 3
    for panel in figures.tuning_landscapes(make_board()):
        assert {trace["marker"].get("opacity", 1) for trace in panel.plot["data"]} == {1}


def test_a_difference_without_an_interval_says_why() -> None:
    rows = make_board().rows.assign(difference_low=math.nan, difference_high=math.nan, pairs=2)
    panel = figures.forest_plots(make_board(rows=rows))[0]
    texts = [text for trace in panel.plot["data"] for text in trace["hovertext"]]
    assert all("no interval: fewer than 3 pairs" in text for text in texts)


def test_the_facts_of_a_curve_are_the_areas_under_it() -> None:
    board = make_board()
    area = board.rows["loss"].map({"adnce": 1.5, "hcl": -0.25})
    rows = board.rows.assign(area=area, area_low=area - 1, area_high=area + 1)
    panel = lines.convergence_curves(replace(board, rows=rows))[0]
    assert dict(panel.facts) == {
        "adnce": "+1.50 [+0.50, +2.50]", "hcl": "-0.25 [-1.25, +0.75]",
    }  # fmt: skip
    assert panel.caption.endswith("the mean score during training, with its 95% t interval.")
    alone = board.curves[board.curves["loss"] != "infonce"]
    panel = lines.convergence_curves(replace(board, curves=alone))[0]
    assert "shapes" not in panel.plot["layout"] and "dotted" not in panel.caption


@pytest.mark.parametrize("most", [lines.MAX_BANDS, lines.MAX_BANDS + 1])
def test_curves_of_many_losses_have_no_bands_and_the_caption_mentions_none(most: int) -> None:
    losses = {"infonce": 0.0, **{f"infonce(temperature={i})": float(i) for i in range(1, most)}}
    scores = make_records(losses=losses)
    scores = scores[(scores["task"] == "images") & (scores["metric"] == "accuracy")]
    tables = []
    for task in ("images", "images(noise=0.1)", "images(noise=0.4)"):
        own = scores.assign(**task_columns(task), key=scores["key"] + task)
        tables.append(own)
        for split, step in product(("diagnostics", "validation"), (100, 200)):
            metric = "alignment" if split == "diagnostics" else "accuracy"
            tables.append(own.assign(split=split, metric=metric, step=step))
    board = leaderboard(pd.concat(tables), diagnostics=["alignment"])
    convergence = lines.convergence_curves(board)
    diagnostics = [*chain(*lines.diagnostic_curves(board).values())]
    responses = lines.response_curves(board, main=True)[::2]
    assert len(convergence) == len(diagnostics) == 3 and responses
    few = most == lines.MAX_BANDS
    for panel in (*convergence, *diagnostics, *responses):
        traces = panel.plot["data"]
        assert any("fill" in trace for trace in traces) is few
        assert any("error_y" in trace for trace in traces) is (few and panel in responses)
    for panel in (*convergence, *responses):
        assert ("are in the hover texts" in panel.caption) is not few
        assert ("95% t band over seeds" in panel.caption) is (few and panel in convergence)
        texts = chain(*(t["hovertext"] for t in panel.plot["data"] if "hovertext" in t))
        assert all("[" in text for text in texts)
    for panel in diagnostics:
        assert ("No bands: more than 5 losses." in panel.caption) is not few


def test_the_landscape_marks_the_chosen_and_the_failed() -> None:
    panels = {panel.title: panel for panel in figures.tuning_landscapes(make_board())}
    panel = panels["images · accuracy · temperature"]
    assert panel.plot["layout"]["xaxis"]["type"] == "log"
    assert panels["images · accuracy · mu"].plot["layout"]["xaxis"]["type"] == "linear"
    crosses = [t for t in panel.plot["data"] if t["marker"]["symbol"] == "x"]
    assert {t["meta"] for t in crosses} == {drawing.plain(HOSTILE)}
    assert "1 without a score." in panel.caption
    scores = [y for t in panel.plot["data"] if t not in crosses for y in t["y"]]
    assert all(y < min(scores) for t in crosses for y in t["y"])
    chosen = [t["marker"]["size"] for t in panel.plot["data"] if t not in crosses]
    assert all(len(sizes) - sizes.count(8) == 1 for sizes in chosen)


def test_an_oracle_is_a_dotted_line_and_does_not_set_the_colour_range() -> None:
    board = diagnosed_board()
    panel = lines.diagnostic_curves(board)["images"][0]
    assert panel.title == "alignment" and panel.caption.startswith("Mean squared distance")
    (oracle,) = [t for t in panel.plot["data"] if t["meta"] == "fixed:oracle"]
    assert (oracle["x"], oracle["mode"], oracle["line"]["dash"]) == ([0, 200], "lines", "dot")
    assert "untrained" not in {t["meta"] for t in panel.plot["data"]}
    heat = figures.heat_map(board)
    assert heat is not None and heat.plot["layout"]["coloraxis"]["cmax"] < 5
    for forest in figures.forest_plots(board):
        assert {t["meta"] for t in forest.plot["data"]} == {"adnce"}


def test_a_task_that_does_not_state_the_setting_stands_apart() -> None:
    board = diagnosed_board()
    score, difference = lines.response_curves(board, main=True)[:2]
    assert score.plot["layout"]["xaxis"]["ticktext"] == ["as is", "0.1", "0.4"]
    by_loss = [t for t in score.plot["data"] if t["meta"] == "adnce"]
    assert [len(t["x"]) for t in by_loss] == [4, 2, 1], "a band, a line, and one alone"
    assert by_loss[2]["x"][0] < 0.1 and "error_y" in by_loss[2]
    assert {t["meta"] for t in difference.plot["data"]} == {"adnce"}
    known = board.responses.assign(at=board.responses["at"].fillna(0.001))
    panel = lines.response_curves(replace(board, responses=known), main=True)[0]
    assert panel.plot["layout"]["xaxis"]["type"] == "log"
    assert panel.plot["layout"]["xaxis"]["ticktext"] == ["0.001", "0.1", "0.4"]


def test_diagnostics_and_settings_in_a_browser(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "diagnosed.html"
    path.write_text(to_html(diagnosed_board()), encoding="utf-8")
    visit = Visit(browser, path, viewport={"width": 390, "height": 844})
    page = visit.page
    groups = page.locator("#diagnostics details")
    expect(groups).to_have_count(3)
    assert groups.nth(1).locator(".plot.drawn").count() == 0
    groups.nth(1).locator("summary").click()
    groups.nth(1).locator(".plot").first.scroll_into_view_if_needed()
    expect(groups.nth(1).locator(".plot").first).to_have_class(re.compile("drawn"))
    page.locator("#settings .plot").first.scroll_into_view_if_needed()
    expect(page.locator("#settings .plot").first).to_have_class(re.compile("drawn"))
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("img").count() == 0
    assert page.locator("#diagnostics-table thead").get_by_text(NAMED).count() == 1
    assert page.locator("#leaderboard thead").get_by_text(NAMED).count() == 1
    page.get_by_role("button", name="alignment").last.click()
    values = page.locator("#diagnostics-table td:nth-child(3)").all_inner_texts()
    assert values == sorted(values, key=lambda text: float(text.split()[0]))
    assert visit.complaints == []
    visit.context.close()
    bare = Visit(browser, path, java_script_enabled=False)
    expect(bare.page.locator("#responses-table tbody tr").first).to_be_visible()
    expect(bare.page.locator("#diagnostics-table tbody tr").first).to_be_visible()
    assert not bare.page.locator(".plot").first.is_visible()
    bare.context.close()


def test_the_heat_map_leaves_a_missing_score_blank() -> None:
    panel = figures.heat_map(make_board())
    assert panel is not None
    assert [note["text"] for note in panel.plot["layout"]["annotations"]] == ["no score"]
    assert panel.plot["layout"]["coloraxis"]["cmax"] < 5, "the untrained set the colours"


def named_tasks() -> Leaderboard:
    """A board whose tasks have names as long as real ones."""
    names = {
        "images": "images(size=14, draws=3, false_negatives=0.3, steps=80, batch_size=128)",
        "sentences": "clusters(pairs='local', network='mlp', width=256, learning_rate=0.01)",
        "nodes": "nodes(a_setting_with_a_name_as_long_as_this=1)",
    }
    board = make_board()
    return replace(board, rows=board.rows.assign(task=board.rows["task"].map(names)))


def test_the_heat_map_breaks_its_headings_between_words() -> None:
    panel = figures.heat_map(named_tasks())
    assert panel is not None
    assert panel.width == 190 + 3 * 110
    ticks = panel.plot["layout"]["xaxis"]["ticktext"]
    assert ticks[0].split("<br>") == [
        "images(size=14,", "draws=3,", "false_negatives=0.3,", "steps=80,", "batch_size=128)",
        "· accuracy",
    ]  # fmt: skip
    assert ticks[2].split("<br>")[:2] == ["nodes(", "a_setting_with_a_nam"]
    assert all(len(line) <= 20 for tick in ticks for line in tick.split("<br>"))


def test_the_heat_map_has_room_for_its_headings(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "named.html"
    path.write_text(to_html(without_tuning(named_tasks())), encoding="utf-8")
    visit = Visit(browser, path, viewport={"width": 390, "height": 844})  # As narrow as it gets.
    figure = visit.page.locator("figure", has_text="Differences at a glance")
    figure.scroll_into_view_if_needed()
    expect(figure.locator(".plot")).to_have_class(re.compile("drawn"))
    boxes = figure.locator(".xtick text").evaluate_all(
        "nodes => nodes.map(n => n.getBoundingClientRect()).map(b => [b.left, b.right, b.top])"
    )
    assert len(boxes) == 3
    assert all(box[1] < after[0] for box, after in pairwise(boxes)), "headings overlap"
    top = figure.locator(".plot").evaluate("node => node.getBoundingClientRect().top")
    assert all(box[2] >= top for box in boxes), "a heading is cut off"
    visit.context.close()


def test_the_heat_map_is_bold_where_a_difference_is_resolved() -> None:
    board = make_board()
    panel = figures.heat_map(board)
    assert panel is not None and "Bold: the whole interval is above or below 0." in panel.caption
    main = board.rows[board.rows["main"].astype(bool) & board.rows["difference"].notna()]
    resolved = main[(main["difference_low"] > 0) | (main["difference_high"] < 0)]
    bold = [text for line in panel.plot["data"][0]["text"] for text in line if "<b>" in text]
    assert 0 < len(resolved) < len(main) - len(TASKS)
    assert sorted(bold) == sorted(f"<b>{value:+.2f}</b>" for value in resolved["difference"])


def test_ranks_are_drawn_only_if_they_were_tested(page: Page) -> None:
    figure = page.locator("figure", has_text="Friedman test over 6 tasks")
    figure.scroll_into_view_if_needed()
    expect(figure.get_by_text(re.compile("CD = "))).to_be_visible()
    assert figures.critical_difference(make_board()) is None
    assert "Friedman&#39;s test needs 5 tasks: got 3." in to_html(make_board())


def test_a_loss_looks_the_same_in_the_ranks_of_several_methods() -> None:
    board = ranked_board()
    names = tuple(f"moco / {loss}" for loss in LOSSES)
    test = friedman(np.random.default_rng(0).normal(size=(6, len(names))), names)
    panel = figures.critical_difference(replace(board, friedman=test))
    assert panel is not None
    colours = {t["marker"]["color"] for t in panel.plot["data"] if t["mode"] == "markers"}
    assert colours == {look.colour for look in drawing.styles(board).values()}


@pytest.mark.parametrize(("by", "key"), [("mouse", "mean"), ("keyboard", "bound")])
def test_a_heading_sorts_the_rows(page: Page, by: str, key: str) -> None:
    head = page.locator(f"#leaderboard th[data-key={key}]")

    def press() -> None:
        if by == "mouse":
            head.get_by_role("button").click()
        else:
            head.get_by_role("button").focus()
            page.keyboard.press("Enter")

    assert head.get_attribute("aria-sort") is None
    press()
    assert head.get_attribute("aria-sort") == "ascending"
    texts = shown(page, key)
    numbers = [float(text.split()[0]) for text in texts if text[0].isdigit()]
    assert numbers == sorted(numbers)
    assert [text[0].isdigit() for text in texts[-2:]] == [False, False], "missing ones are last"
    press()
    assert head.get_attribute("aria-sort") == "descending"
    again = shown(page, key)
    assert [float(text.split()[0]) for text in again[: len(numbers)]] == numbers[::-1]
    assert again[-1] == "\N{EN DASH}"
    page.locator("#leaderboard th[data-key=loss] button").click()
    assert head.get_attribute("aria-sort") is None
    assert shown(page, "loss")[0] == "adnce"


def test_every_column_sorts(page: Page) -> None:
    for head in page.locator("#leaderboard thead button").all():
        head.click()
    assert page.locator("#leaderboard th[aria-sort]").count() == 1


@pytest.mark.parametrize(
    ("name", "choice", "rows"),
    [
        ("modality", "graph", 12),
        ("task", "images", 12),
        ("metric", "accuracy", 12),
        ("method", "siamese", 30),
        ("loss", HOSTILE, 5),
    ],
)
def test_each_filter_shows_only_its_rows(page: Page, name: str, choice: str, rows: int) -> None:
    page.get_by_label(name.capitalize(), exact=True).select_option(choice)
    assert shown(page, name) == [choice] * rows
    expect(page.locator("#filters output")).to_have_text(f"{rows} of 30 rows")


def test_filters_combine_with_the_search_and_can_be_removed(page: Page) -> None:
    page.get_by_label("Task", exact=True).select_option("nodes")
    page.get_by_label("Metric", exact=True).select_option("macro_f1")
    page.get_by_label("Search").fill("ADNCE")
    assert shown(page, "loss") == ["adnce", BROKEN]
    assert set(shown(page, "metric")) == {"macro_f1"}
    page.get_by_role("button", name="Show all").click()
    expect(page.locator("#filters output")).to_have_text("30 of 30 rows")


def test_showing_all_restores_the_order(page: Page) -> None:
    rows = page.locator("#leaderboard tbody tr")
    before = rows.evaluate_all("rows => rows.map(row => [row.dataset.row, row.className])")
    page.locator("#leaderboard th[data-key=mean] button").click()
    after = rows.evaluate_all("rows => rows.map(row => [row.dataset.row, row.className])")
    assert after != before
    page.get_by_role("button", name="Show all").click()
    again = rows.evaluate_all("rows => rows.map(row => [row.dataset.row, row.className])")
    assert again == before and any(look == "first" for _, look in before)
    assert page.locator("#leaderboard th[aria-sort]").count() == 0


def test_hovering_over_a_difference_shows_its_details(page: Page) -> None:
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    expect(plot).to_have_class(re.compile("drawn"))
    plot.locator(".point").first.hover(force=True)
    label = plot.locator(".hoverlayer")
    for part in (
        "adnce",
        "simultaneous 95% interval",
        "p: 0.00697",
        "verdict: better by more than 0.5",
    ):
        expect(label).to_contain_text(part)


def test_a_number_shows_the_records_behind_it(page: Page) -> None:
    board = make_board()
    button = page.get_by_role("row", name=re.compile("^adnce images accuracy")).get_by_role(
        "button"
    )
    button.focus()
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(dialog.locator("h2")).to_contain_text("adnce · images · accuracy")
    records = board.records
    mine = records[(records["task"] == "images") & (records["loss"] == "adnce")]
    mine = mine[mine["metric"] == "accuracy"]
    assert len(mine) == 5
    baseline = records[(records["task"] == "images") & (records["loss"] == "infonce")]
    for key in (*mine["key"], *baseline["key"]):  # Both ends of the difference.
        expect(dialog).to_contain_text(key)
    text = dialog.inner_text()
    for part in ("start-images-4", "seen-images-0 5", "2026-11-22T10:03:00Z", "torch = 2.13.0",
                 "cpu: <Intel & co>", "images = sha256:1234", "0123abc", "temperature = 0.4",
                 f"{mine['value'].iloc[0]:.5f}"[:-2]):  # fmt: skip
        assert part in text
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(button).to_be_focused()
    page.locator("#leaderboard tbody tr").nth(5).locator("td.number").nth(3).click()
    expect(dialog).to_be_visible()
    dialog.get_by_role("button", name="Close").click()
    expect(dialog).to_be_hidden()


def test_a_row_without_a_score_has_no_records(page: Page) -> None:
    row = page.locator("#leaderboard tbody tr", has_text=BROKEN).filter(has_text="macro_f1")
    row.locator("td.number").first.click()
    expect(page.get_by_role("dialog")).to_contain_text("No record with a score")


def test_a_figure_can_be_saved_and_sends_no_data(visit: Visit, page: Page) -> None:
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    buttons = plot.locator(".modebar-btn")
    expect(buttons).to_have_count(3)
    titles = [button.get_attribute("data-title") for button in buttons.all()]
    assert titles == ["Download plot as a PNG", "Zoom", "Reset axes"]
    plot.hover(position={"x": 5, "y": 5})
    with page.expect_download() as download:
        buttons.first.click()
    assert download.value.path().read_bytes().startswith(b"\x89PNG")
    assert visit.complaints == []


def test_a_loss_can_be_hidden_in_the_figures(page: Page) -> None:
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    expect(plot).to_have_class(re.compile("drawn"))
    before = plot.locator(".point").count()
    page.locator(".legend button", has_text="hcl").click()
    expect(plot.locator(".point")).to_have_count(before - 2)
    page.locator(".legend button", has_text="hcl").click()
    expect(plot.locator(".point")).to_have_count(before)


def test_the_page_has_a_dark_and_a_light_theme(page: Page) -> None:
    background = "getComputedStyle(document.documentElement).backgroundColor"
    light = page.evaluate(background)
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(background)
    assert light != dark
    page.locator("#theme").click()
    assert page.evaluate(background) == light
    page.emulate_media(color_scheme="light")


def test_figures_follow_the_theme(page: Page) -> None:
    plot = page.locator(".plot").first
    plot.scroll_into_view_if_needed()
    fill = ".plot .xtick text"
    expect(plot).to_have_class(re.compile("drawn"))
    light = page.locator(fill).first.evaluate("node => getComputedStyle(node).fill")
    page.locator("#theme").evaluate("node => node.click()")
    expect(page.locator(fill).first).not_to_have_css("fill", light)


def test_the_page_does_not_scroll_sideways_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "phone.html"
    path.write_text(to_html(without_tuning(ranked_board())), encoding="utf-8")
    visit = Visit(browser, path, viewport={"width": 390, "height": 844})
    draw_all(visit.page)
    assert visit.page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    scroll = visit.page.locator(".scroll").first
    assert scroll.evaluate("node => node.scrollWidth > node.clientWidth")
    assert visit.complaints == []
    visit.context.close()


def test_the_page_is_readable_without_javascript(browser: Browser, file: Path) -> None:
    visit = Visit(browser, file, java_script_enabled=False)
    expect(visit.page.get_by_role("row", name=re.compile("adnce images accuracy"))).to_be_visible()
    expect(visit.page.get_by_text("not run here, never ranked").first).to_be_visible()
    expect(visit.page.locator("#filters")).to_be_hidden()
    assert visit.page.locator("#leaderboard tbody tr").count() == 30
    visit.context.close()


def test_every_figure_is_drawn_when_the_page_is_printed(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "print.html"
    path.write_text(to_html(without_tuning(make_board())), encoding="utf-8")
    visit = Visit(browser, path, color_scheme="dark")
    pdf = visit.page.pdf()
    assert pdf.startswith(b"%PDF")
    boxes = visit.page.locator(".plot").count()
    assert visit.page.locator(".plot.drawn").count() == boxes == 7
    assert visit.complaints == []
    visit.context.close()


def test_an_empty_board_leaves_its_sections_out(browser: Browser, tmp_path: Path) -> None:
    path = tmp_path / "empty.html"
    path.write_text(to_html(empty_board()), encoding="utf-8")
    visit = Visit(browser, path)
    expect(visit.page.get_by_text("No cell has a test score yet.")).to_be_visible()
    assert visit.page.locator("section").count() == 2
    assert visit.complaints == []
    visit.context.close()
    assert path.stat().st_size < 100_000, "plotly is there for no figure"


class Tags(HTMLParser):
    """The tags of a page, and the policy it states."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


def test_the_content_security_policy_allows_only_our_scripts() -> None:
    parser = Tags()
    parser.feed(to_html(make_board()))
    policy = next(a["content"] for t, a in parser.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe-eval" not in policy
    assert re.search("script-src[^;]*unsafe-inline", policy) is None
    assert [a for t, a in parser.tags if t == "script"] == [
        {"type": "application/json", "id": "data"}, {}, {}
    ]  # fmt: skip
    assert not [a for _, a in parser.tags if "src" in a or any(name[:2] == "on" for name in a)]


def test_the_same_board_gives_the_same_bytes() -> None:
    assert to_html(make_board()) == to_html(make_board())


def test_repeated_texts_are_stored_once() -> None:
    page = to_html(make_board(notes=()))
    assert page.count("2.13.0") == 1
    assert page.count("source-digest") == 1


def test_the_title_is_escaped() -> None:
    page = to_html(empty_board(), title="<i>mine</i>")
    assert "<title>&lt;i&gt;mine&lt;/i&gt;</title>" in page


def test_a_notebook_shows_a_fragment_without_scripts() -> None:
    text = to_notebook(make_board())
    parser = Tags()
    parser.feed(text)
    tags = {tag for tag, _ in parser.tags}
    assert tags <= {"div", "p", "strong", "table", "thead", "tbody", "tr", "th", "td"}
    assert "2 records of x(form=&#39;&lt;img src=x" in text
    assert text.count("<tr>") == 31


NOTED = """
from harness.losses.base import ScoreLoss
from harness.losses import masked_logsumexp

class Noted(ScoreLoss):
    def __init__(self, *, temperature: float = 0.5, note: str = ""):
        super().__init__()
        self.temperature = temperature

    def per_anchor(self, pos, neg, keep):
        return masked_logsumexp(neg / self.temperature, keep) - pos / self.temperature
"""
MARKUP = "<img src=x onerror=alert(1)></script><script>window.hacked=1</script>"


def test_a_real_run_has_a_page(
    browser: Browser, tmp_path: Path, plugin: Callable[..., None]
) -> None:
    """Tuned and trained here, a plugin with markup in its spec among the losses."""
    plugin("noted", "losses:noted = noted:Noted", NOTED)
    hostile = f"noted(note={MARKUP!r})"
    space = {"low": 0.05, "high": 1.0, "log": True}
    study = Study(
        "real",
        tasks=["blobs(steps=8)", "blobs(noise=3, steps=8)"],
        losses={"infonce": {"temperature": space}, hostile: {"temperature": space}, "margin": {}},
        seeds=3,
        probes=2,
        tuning={"trials": 2, "seeds": 1},
        baseline="infonce",
    )
    assert run(study, tmp_path / "run").complete
    board = leaderboard(load_records(tmp_path / "run"))
    path = tmp_path / "board.html"
    path.write_text(to_html(board, title="real"), encoding="utf-8")
    visit = Visit(browser, path, viewport={"width": 1440, "height": 900})
    page = visit.page
    draw_all(page)
    assert visit.page.evaluate("window.hacked") is None
    assert page.locator("img").count() == 0
    assert MARKUP in page.locator("#leaderboard").inner_text()
    page.get_by_label("Loss", exact=True).select_option(f"{hostile}[tuned]")
    assert set(shown(page, "loss")) == {f"{hostile}[tuned]"}
    show_all(page)
    rows = shown(page, "loss")
    assert sorted(rows) == sorted(
        2 * ["infonce[tuned]", f"{hostile}[tuned]", "margin", "untrained"]
    )
    page.get_by_role("button", name=re.compile("^Loss")).first.click()
    assert shown(page, "loss") != rows
    page.locator("#leaderboard tbody button").first.click()
    text = page.get_by_role("dialog").inner_text()
    first = board.records[(board.records["stage"] == "final")]
    assert any(key in text for key in first["key"])
    assert "torch = 2." in text
    assert not visit.complaints
    assert visit.requests == [path.as_uri()]
    visit.context.close()


def test_words_above_and_below_0_have_the_colours_of_better_and_worse() -> None:
    text = to_html(make_board())
    for verdict in ("better by more than 0.5 points", "worse by more than 0.5 points"):
        side = verdict.partition(" ")[0]
        assert f'<span class="verdict {side}">{verdict}</span>' in text
