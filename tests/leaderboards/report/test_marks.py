"""A mean over seeds that are not all there is never shown, coloured, drawn or ranked unmarked."""

import csv
import json
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import pytest
from synthetic import grid

from leaderboards import Leaderboard, leaderboard
from leaderboards.figures.svg import TEXT
from leaderboards.render.formats import drawn, figure_names, installed
from leaderboards.render.json_file import to_json
from leaderboards.render.notebook import to_notebook
from leaderboards.render.terminal import to_text
from leaderboards.report.model import PAGE

FLAW = "2 of 4 seeds"
LOSSES = {"infonce": 0.0, "adnce": 3.3, "dcl": 0.2, "untrained": -15.0}
TASKS = {"images": 84.0, "nodes": 79.0, "graphs": 70.0}
ROW = "siamese/adnce"


@pytest.fixture
def board() -> Leaderboard:
    """A board whose best loss failed at half of its seeds."""
    return leaderboard(grid(LOSSES, TASKS, 4, failing={"adnce": (1, 3)}, trials=4))


def means(board: Leaderboard) -> set[str]:
    """Return the means of the failing loss as every medium writes them."""
    rows = board.rows[board.rows["loss"] == "adnce"]
    curves = board.curves[board.curves["loss"] == "adnce"]
    return {f"{mean:.2f}" for table in (rows, curves) for mean in table["mean"]}


class Cells(HTMLParser):
    """Collect the texts of each row of a table, group of a figure, and paragraph."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag in ("tr", "g", "p", "li", "dialog", "template"):
            self.rows.append("")

    def handle_data(self, data: str) -> None:
        if self.rows:
            self.rows[-1] += f" {data}"


def pieces(name: str, text: str) -> Iterator[str]:
    """Yield the parts of a file that stand for themselves: a row of a table, or a line."""
    if name.endswith(".html"):
        parser = Cells()
        parser.feed(text)
        yield from parser.rows
    elif name.endswith(".json"):
        read = json.loads(text)
        for table in (read["matrix"], *read["tables"].values()):
            yield from map(str, table["rows"])
        yield from (*read["answer"], *read["sentences"], *read["pooled"])
    else:
        yield from text.splitlines()


def unmarked(board: Leaderboard, name: str, text: str, flaw: str = FLAW) -> list[str]:
    """Return the pieces of a file that show a mean of the failing loss without its mark."""
    wanted = means(board)
    found = []
    for piece in pieces(name, text):
        numbers = {f"{float(n):.2f}" for n in re.findall(r"\d+\.\d{2,}", piece)}
        if numbers & wanted and flaw not in piece:
            found.append(piece)
    return found


def files(board: Leaderboard) -> dict[str, str]:
    report = board.report
    written = {name: make(report) for name, make in installed().items() if "." in name}
    written |= {"board.json": to_json(report), "notebook.html": to_notebook(report)}
    for width in (80, None):
        written[f"terminal {width}"] = to_text(report, width, long=True)
    # One row a record: a record is no mean.
    return {name: text for name, text in written.items() if name != "records.csv"}


def test_no_file_shows_a_mean_of_some_seeds_unmarked(board: Leaderboard) -> None:
    for name, text in files(board).items():
        assert unmarked(board, name, text) == [], name


def test_the_test_above_can_fail(board: Leaderboard, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leaderboards.report.scores.flaw", lambda row: "")
    monkeypatch.setattr("leaderboards.report.details.flaw", lambda row: "")
    shown = {name for name, text in files(board).items() if unmarked(board, name, text)}
    assert {"board.html", "leaderboard.md", "leaderboard.tex", "notebook.html"} <= shown
    assert "terminal 80" in shown


@pytest.mark.parametrize("name", [name for name in installed() if "." not in name])
def test_no_figure_draws_a_row_whose_seeds_failed(board: Leaderboard, name: str) -> None:
    svg = drawn(board.report, name, TEXT)
    if svg is None:
        nothing = ("critical_difference", "settings")
        assert name in nothing, "this board has three tasks, and no setting varies"
        return
    text = str(svg)
    assert unmarked(board, "figure.html", text) == []
    # Tuning trials have all their seeds; the matrix writes the mean with its mark.
    if name not in ("budget", "landscape", "matrix"):
        assert f'data-row="{ROW}"' not in text and 'data-row="siamese/dcl"' in text
    if name == "differences":
        assert "Not drawn, because of failed seeds or collapse: adnce." in svg.caption
    assert name in figure_names()


def test_what_failed_is_neither_best_nor_coloured_nor_ranked(board: Leaderboard) -> None:
    rows = board.rows[board.rows["loss"] == "adnce"]
    assert (rows["mean"] > board.rows.loc[board.rows["loss"] == "infonce", "mean"].max() - 8).any()
    assert rows["rank"].isna().all() and not rows["best"].any() and not rows["tied"].any()
    assert rows["area"].isna().all()
    assert (rows["marks"] == FLAW).all()
    cells = next(
        line.cells for line in board.report.matrix.lines(PAGE) if line.cells[0].text == "adnce"
    )
    for cell in cells[1:3]:
        assert FLAW in cell.text
        assert (cell.outcome, cell.change, cell.best) == ("", "", False)
    over = board.overall[board.overall["loss"] == "adnce"]
    assert over["pooled"].isna().all() and over["rank"].isna().all()
    answer = " ".join(board.report.answer)
    assert "No verdict: adnce on all 3 tasks (2 of 4 seeds)." in answer


def test_a_run_that_goes_on_is_marked_and_drawn_with_its_mark() -> None:
    """Seeds that are not run yet are no biased sample: the row has a verdict, and its mark."""
    # With this noise no seed has the score of a mean by chance.
    records = grid(LOSSES, TASKS, 5, noise=0.43)
    waiting = (records["loss"] == "adnce") & (records["seed"] == 4)
    gone = {"status": "missing", "reason": "not run yet", "split": None, "metric": None}
    more = records[waiting].drop_duplicates(["task", "seed"]).assign(value=None, step=None, **gone)
    records = records[~waiting]
    labels = records.attrs
    import pandas as pd

    records = pd.concat([records, more])
    records.attrs = labels
    found = leaderboard(records)
    for name, text in files(found).items():
        assert unmarked(found, name, text, "4 of 5 seeds") == [], name
    svg = str(drawn(found.report, "differences", TEXT))
    assert svg.count("adnce (4 of 5 seeds)") == 1, "one line a loss"
    assert "adnce on all 3 tasks (4 of 5 seeds)" in " ".join(found.report.answer)
    rows = found.rows[found.rows["loss"] == "adnce"]
    assert rows["rank"].isna().all() and not rows["best"].any()
    over = found.overall[found.overall["loss"] == "adnce"]
    assert over["pooled"].isna().all(), "no average leaves a seed out"


def test_published_numbers_are_marked_everywhere() -> None:
    from leaderboards import published_rows

    found = leaderboard(grid(LOSSES, TASKS), published=published_rows())
    for name in ("board.html", "leaderboard.md"):
        text = installed()[name](found.report)
        assert "infonce (published)" in text
    rows = list(csv.DictReader(installed()["published.csv"](found.report).splitlines()))
    assert rows and "source" in rows[0], "in a file of its own"
    assert "90.3" not in installed()["leaderboard.csv"](found.report)
