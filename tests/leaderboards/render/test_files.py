"""The files of a board: CSV, Markdown, LaTeX, text. Nothing in them acts, nothing overflows."""

import csv
import io
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import grid

from leaderboards import Leaderboard, leaderboard
from leaderboards.render.csv_files import MAX_TEXT, defused, to_csv
from leaderboards.render.formats import figure_files, files, installed
from leaderboards.render.json_file import to_json
from leaderboards.render.latex import escape as latex_escape
from leaderboards.render.latex import latex
from leaderboards.render.markdown import escape
from leaderboards.render.notebook import to_notebook
from leaderboards.render.terminal import to_text

WIDE_EQUALS, WIDE_AT, WIDE_PLUS, WIDE_MINUS = "\uff1d", "\uff20", "\uff0b", "\uff0d"
HOSTILE = (
    "<script>alert(1)</script>",
    "x" * 500,
    "\u202eevil\u202c שלום \u200b",
    "\x1b[31mred\x07\r\n[9/9] done",
    "=cmd|' /C calc'!A0",
    "a;=1+1,+2;@SUM(A1)\t-3",
    r"\input{/etc/passwd} $x^2$ %# {~}",
    "[red]a|b`c`*d*_e_",
    "https://evil.example www.evil.example a@b.example",
    f"{WIDE_EQUALS}wide",
)
SIZES = {
    "quickstart": (2, 3, {}), "8 x 3": (8, 3, {}), "8 x 8": (8, 8, {}), "10 x 8": (10, 8, {}),
    "40 x 3": (40, 3, {}), "failures": (8, 3, {"loss1": (0, 2), "loss2": (1,)}),
}  # fmt: skip


def make(losses: int, tasks: int, failing: Any, long: bool = False) -> Leaderboard:
    """Return a board of a size; ``long``: with names that have many settings."""
    extra = "(temperature=0.{i}, mu=0.5, sigma=1.0)" if long else ""
    names = {f"loss{i}{extra.format(i=i)}" if i else "infonce": 0.2 * (i % 5) - 0.4 * bool(i)
             for i in range(losses)}  # fmt: skip
    own = {f"images(false_negatives=0.{i}, size=14)" if long else f"task{i}": 80.0 - i
           for i in range(tasks)}  # fmt: skip
    return leaderboard(grid(names | {"untrained": -9.0}, own, 4, failing=failing))


@pytest.fixture(scope="module")
def hostile() -> Leaderboard:
    """A board whose names, labels, reasons and title are all hostile."""
    losses = {"infonce": 0.0} | {name: 0.1 * i for i, name in enumerate(HOSTILE)}
    tasks = {HOSTILE[0] + "t": 80.0, HOSTILE[1] + "t": 70.0, "nodes": 60.0}
    records = grid(losses, tasks, 3, failing={HOSTILE[3]: (0,)}, labels={"accuracy": HOSTILE[6]})
    records["reason"] = records["reason"].mask(records["status"] == "failed", "".join(HOSTILE))
    records["device"] = HOSTILE[3]
    records.attrs["title"] = HOSTILE[0] + HOSTILE[3] + "\ud800"
    records.attrs["notes"] = [("records", "".join(HOSTILE), ())]
    return leaderboard(records)


def every_text(board: Leaderboard) -> dict[str, str]:
    found = {name: str(write()) for name, write in files(board.report)}
    found |= {name: str(write()) for name, write in figure_files(board.report, pdf=False)}
    found |= {"json": to_json(board.report), "notebook": to_notebook(board.report)}
    for width in (80, None):
        found[f"terminal {width}"] = to_text(board.report, width, long=True)
    return found


def test_no_character_acts_in_any_medium(hostile: Leaderboard) -> None:
    for name, text in every_text(hostile).items():
        text.encode()  # A lone surrogate would end here.
        acting = re.findall("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e]", text)
        assert acting == [], name
        if name.endswith((".html", ".md", ".svg")) or name == "notebook":
            assert text.count("<script") == (name == "board.html"), name
            assert "<script>alert" not in text, name
        if name != "json":
            assert "\n[9/9] done" not in text, f"{name}: a forged line"


def test_each_hostile_loss_is_still_another_row(hostile: Leaderboard) -> None:
    labels = [hostile.labels.row(*key) for key in hostile.order]
    assert len(set(labels)) == len(HOSTILE) + 1
    assert max(map(len, labels)) < 80


def split(text: str, separator: str) -> list[str]:
    """Return the cells that a spreadsheet finds, which takes quotes inside a cell as they are."""
    return [cell.strip().strip('"') for line in text.splitlines() for cell in line.split(separator)]


SIGNED = ("-1+1", "-2+3+cmd|' /C calc'!A0", "-1*SUM(A1)", "+x", "@a", "1", "a,=b", "a; =b")


@given(st.lists(st.sampled_from([*HOSTILE, *SIGNED, f"{WIDE_PLUS}x"])))
def test_no_cell_of_a_csv_file_is_a_formula(texts: list[str]) -> None:
    text = to_csv(["a", *texts], [(each, 1.0) for each in texts])
    for separator in (",", ";", "\t"):
        for cell in split(text, separator):
            signs = rf"[+\-{WIDE_PLUS}{WIDE_MINUS}](?![\d.]+\W|[\d.]+$)"
            assert not re.match(rf"[=@{WIDE_EQUALS}{WIDE_AT}]|{signs}", cell), cell


@given(st.text(max_size=300))
def test_csv_texts_come_back_with_at_most_apostrophes_added(text: str) -> None:
    (_, (back,)) = list(csv.reader(io.StringIO(to_csv(["a"], [(text,)]), newline="")))
    assert back == defused(text)
    assert len(defused("x" * 10**6)) <= MAX_TEXT + 2


def test_csv_numbers_are_plain_and_texts_quoted() -> None:
    text = to_csv(["name", "n", "x", "gone", "yes"], [("a", 3, 1 / 3, float("nan"), True)])
    assert text == '"name","n","x","gone","yes"\n"a",3,0.3333333,"","True"\n'
    read = pd.read_csv(io.StringIO(text))
    assert read["x"].iloc[0] == pytest.approx(1 / 3, rel=1e-6) and read["yes"].iloc[0]


def test_the_wide_table_has_a_row_a_loss() -> None:
    board = make(3, 2, {})
    found = pd.read_csv(io.StringIO(installed()["table.csv"](board.report)))
    assert found["label"].tolist() == [board.labels.row(*key) for key in board.order]
    own = board.rows[(board.rows["task"] == "task1") & (board.rows["loss"] == "loss1")].iloc[0]
    row = found[found["loss"] == "loss1"].iloc[0]
    for figure in ("mean", "std", "difference", "difference_low", "verdict", "seeds"):
        wanted = own[figure]
        assert row[f"task1 accuracy {figure}"] == (
            pytest.approx(wanted, rel=1e-6) if isinstance(wanted, float) else wanted
        )


def test_markdown_begins_with_the_matrix() -> None:
    text = installed()["leaderboard.md"](make(3, 2, {}).report)
    assert text.splitlines()[2].startswith("| Loss | task0 (accuracy ↑) |")
    assert r"\:" not in text.replace(r":\/", "")


def test_markdown_makes_no_link_of_a_name() -> None:
    assert "://" not in escape("https://evil.example")
    assert "www." not in escape("www.evil.example") and r"\@" in escape("a@b.example")


def test_the_summary_is_the_answer_and_the_methods() -> None:
    text = installed()["summary.txt"](make(3, 2, {}).report)
    assert max(map(len, text.splitlines())) <= 80
    for words in ("paired t", "Dunnett 1955", "Hartung and Knapp (2001)", "4 seeds", "infonce"):
        assert words in " ".join(text.split()), words


needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="no pdflatex")


def compiled(folder: Path, table: str, options: str) -> str:
    """Return what LaTeX said of a table in a two-column article."""
    (folder / "table.tex").write_text(table, encoding="utf-8")
    (folder / "paper.tex").write_text(
        rf"\documentclass[{options}]{{article}}\usepackage{{booktabs}}"
        r"\begin{document}Text.\input{table}\end{document}"
    )
    command = ["pdflatex", "-interaction=nonstopmode", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace",
                          check=False)  # fmt: skip
    return done.stdout


@needs_latex
@pytest.mark.parametrize("long", [False, True])
@pytest.mark.parametrize("size", SIZES)
def test_latex_has_no_overfull_box(tmp_path: Path, size: str, long: bool) -> None:
    losses, tasks, failing = SIZES[size]
    table = latex(make(losses, tasks, {} if long else failing, long).report)
    said = compiled(tmp_path, table, "twocolumn,10pt")
    assert "Output written" in said
    assert re.findall(r"^!.*|Overfull .hbox.*", said, flags=re.MULTILINE) == []


@needs_latex
def test_latex_of_hostile_names_compiles_and_reads_no_file(
    tmp_path: Path, hostile: Leaderboard
) -> None:
    said = compiled(tmp_path, latex(hostile.report), "twocolumn,10pt")
    assert "Output written" in said
    assert re.findall(r"^!.*", said, flags=re.MULTILINE) == []
    assert "/etc/passwd" not in "".join(re.findall(r"\((/etc[^)]*)", said))


def test_latex_of_many_rows_goes_on_in_another_float() -> None:
    text = latex(make(50, 2, {}).report)
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2
    assert text.count(r"\label{") == 1 and text.count("(continued)") == 1
    rows = [[line for line in part.splitlines() if re.match(r"loss|infonce|untrained", line)]
            for part in text.split(r"\begin{table}")]  # fmt: skip
    assert list(map(len, rows)) == [0, 45, 6]


def test_latex_cuts_no_heading_that_has_room_and_aligns_numbers_with_and_without_marks() -> None:
    losses, tasks = {"infonce": 0.0, "hcl": 3.0, "untrained": -9.0}, {"a_task_of_images": 84.0}
    text = latex(leaderboard(grid(losses, tasks, 4, metric="spearman_of_pairs")).report)
    assert "spearman of pairs" in text and "images" in text
    rows = [line for line in text.splitlines() if re.match("infonce|hcl|untrained", line)]
    assert len(rows) == 3
    assert all(r"\phantom{$^{\uparrow}$}" in row or "$^{" in row for row in rows)


def test_latex_is_a_float_that_needs_booktabs_alone() -> None:
    for tasks, place in ((3, "table"), (8, "table*")):
        text = latex(make(3, tasks, {}).report)
        assert rf"\begin{{{place}}}[t]" in text and rf"\end{{{place}}}" in text
        assert r"\caption{" in text and r"\label{tab:study}" in text
        assert set(re.findall(r"usepackage\{(\w+)", text)) == {"booktabs"}
    assert "over 4 seeds" in text and "simultaneous" in text
    assert latex_escape("[a]").startswith("{}"), "else a row's end would take it"


def test_one_format_is_one_function_and_one_entry_point(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another package's format and figure are written with ours."""
    from leaderboards.figures.svg import Svg
    from leaderboards.render import formats

    def mine(report: Any) -> str:
        return f"{report.title}\n"

    def picture(report: Any, width: float) -> Svg:
        svg = Svg(width, "Mine", "A caption.")
        svg.height = 10
        svg.text(0, 8, report.title)
        return svg

    more = {**formats.installed(), "mine.txt": mine, "picture": picture}
    monkeypatch.setattr(formats, "installed", lambda: more)
    board = make(2, 1, {})
    assert dict(formats.files(board.report))["mine.txt"]() == "study\n"
    names = dict(formats.figure_files(board.report))
    assert {"figures/picture-column.svg", "figures/picture-text.pdf"} <= set(names)
    assert board.figure("picture", "column").count("study") == 1


def test_a_format_that_cannot_be_imported_says_so_when_it_is_used() -> None:
    """It does not stop the other files."""
    from importlib.metadata import EntryPoint

    from leaderboards.render.formats import GROUP, _loaded

    broken = _loaded(EntryPoint("mine.txt", "no_such_module:write", GROUP))
    with pytest.raises(ImportError, match="no_such_module:write could not be imported"):
        broken(None)


def test_the_matrix_as_a_figure_never_cuts_a_number() -> None:
    from leaderboards.figures.svg import COLUMN
    from leaderboards.render.formats import drawn

    board = make(4, 8, {"loss1": (0, 2)})
    text = str(drawn(board.report, "matrix", COLUMN))
    for row in board.rows[board.rows["main"]].itertuples():
        assert f">{row.mean:.2f}" in text, "in a further block of tasks"
    assert text.count("2 of 4 seeds") == 8
