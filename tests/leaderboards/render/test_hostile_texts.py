"""Every text that a board takes from outside, hostile and huge, in every medium."""

import csv
import html
import io
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from synthetic import grid

from leaderboards import leaderboard
from leaderboards.analysis.visible import MAX_CELL, visible
from leaderboards.render.csv_files import FORMULA, MAX_TEXT, defused, to_csv
from leaderboards.render.formats import figure_files, files
from leaderboards.render.json_file import to_json
from leaderboards.render.notebook import to_notebook
from leaderboards.render.terminal import to_text
from leaderboards.report.model import Report

BREAKS = "\n\r\x0b\x0c\x1c\x85\u2028\u2029"
HOSTILE = (
    "".join(f"{each}FORGED " for each in BREAKS)
    + "\x00\x07\x1b[2J\u061c\u200b\u200d\u200f\u202e\u2066\u2060\ufeff\ud800\udfff"
    + "<script>alert(1)</script> a|b `c` ;=1+1 \\input{x} {{ 7*7 }} [red]"
)
HUGE = HOSTILE + "x" * 300_000
COLUMNS = (
    "modality", "method", "loss", "spec", "reason", "metric", "key", "commit", "device", "source",
    "finished", "path", "command", "task", "task_name", "loss_name", "collapsed",
)  # fmt: skip
OBJECTS = ("settings", "task_settings", "versions", "data", "loss_given", "task_given", "space")
"""Columns that hold JSON."""
ATTRIBUTES: dict[str, Callable[[str], Any]] = {
    "title": lambda text: text,
    "commands": lambda text: [text],
    "notes": lambda text: [("records", text, ()), ("records", text + "2", ())],
    "labels": lambda text: {"adnce": text, "images": text + "t", "accuracy": text + "m"},
}
PLACES = (*COLUMNS, *OBJECTS, *ATTRIBUTES, "published")
OLD = {"loss": "adnce", "task": "images", "metric": "accuracy", "method": "siamese"}
"""Columns in which one value alone is replaced."""


def report(place: str, text: str) -> Report:
    """Return the report of a board that has a text at one place; two cells failed."""
    if place in COLUMNS or place == "published":  # pandas takes no half of a character.
        text = re.sub("[\ud800-\udfff]", "", text)
    losses = {"infonce": 0.0, "adnce": 1.0, "dcl": 0.5, "untrained": -9.0}
    tasks = {"images": 80.0, "nodes": 70.0}
    made = grid(losses, tasks, 3, failing={"dcl": (0,)}, trials=2)
    papers = None
    if place in OLD:
        made[place] = made[place].replace({OLD[place]: text})
    elif place in OBJECTS:
        bounds = {"low": 0.02, "high": 1.0, "log": True}
        made[place] = json.dumps({text: bounds if place == "space" else text})
        made["settings"] = json.dumps({text: 0.1}) if place == "space" else made["settings"]
    elif place in ATTRIBUTES:
        made.attrs[place] = ATTRIBUTES[place](text)
    elif place == "published":
        row = dict.fromkeys(("dataset", "modality", "metric", "loss", "setting", "source"), text)
        papers = pd.DataFrame([{**row, "value": 1.0, "url": f"https://{text}"}])
    else:
        lost = made["status"] == "failed"
        made[place] = made[place].mask(lost if place == "reason" else lost | True, text)
    return leaderboard(made, published=papers).report


@cache
def media(place: str, text: str) -> Mapping[str, str]:
    """Return every file of a board, and what a notebook, a terminal and a pipe show."""
    made = report(place, text)
    found = {name: write() for name, write in (*files(made), *figure_files(made, pdf=False))}
    found |= {"json": to_json(made), "notebook": to_notebook(made)}
    found |= {f"terminal {width}": to_text(made, width, long=True) for width in (80, None)}
    return {name: str(text) for name, text in found.items()}


@pytest.mark.parametrize("place", PLACES)
def test_a_hostile_text_acts_in_no_medium_and_makes_no_huge_file(place: str) -> None:
    """A message of 300 KB once made a Markdown file of 121 MB. CSV and JSON hold cells in full."""
    usual = media("title", "study")
    for name, text in media(place, HUGE).items():
        text.encode()
        acting = sorted({each for each in text if not each.isprintable()} - {"\n"})
        assert acting == [], name
        if name != "terminal 80":  # Which folds long lines at words.
            assert not any(line.strip().startswith("FORGED") for line in text.splitlines()), name
        if name.endswith((".html", ".md", ".svg")) or name == "notebook":
            assert "<script>alert" not in text, name
        if name.endswith(".csv"):
            rows = list(csv.reader(io.StringIO(text, newline="")))
            assert len({len(row) for row in rows}) <= 1 and len(rows) == text.count("\n"), name
            assert max((len(cell) for row in rows for cell in row), default=0) <= MAX_TEXT, name
        elif name != "json":
            copied = MAX_TEXT * 8 * (name == "board.html")  # The page has a CSV table to copy.
            assert len(text) < len(usual[name]) * 3 + 60_000 + copied, name


@pytest.mark.parametrize("name", ["leaderboard.md", "board.html", "leaderboard.tex", "notebook"])
def test_a_long_text_of_a_cell_is_cut_and_csv_has_all_of_it(name: str) -> None:
    reason = "why " * 1000 + "end"
    made = media("reason", reason)
    assert reason in made["records.csv"] and reason in made["json"]
    shown = re.findall("(?:why ){2,}.", made[name])
    assert all(MAX_CELL // 2 < len(each) <= MAX_CELL for each in shown)
    assert bool(shown) == name.endswith(("md", "html")), "the other two have no such table"


def test_two_long_rows_have_keys_of_their_own_on_the_page() -> None:
    losses = {"infonce": 0.0} | {f"adnce(form='{'x' * 5000}{i}')": 1.0 for i in range(3)}
    made = leaderboard(grid(losses, {"images": 80.0}, 3)).report
    page = dict(files(made))["board.html"]()
    keys = set(map(html.unescape, re.findall(r'data-row="([^"]*)"', str(page))))
    assert len(keys) == 4 and max(map(len, keys)) <= MAX_CELL


# CSV

SIGNS = "=+-@\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b"
SPREADSHEET = st.text(st.sampled_from(SIGNS + ",;|\t\r\n \"'\\()[]aA1.e"), max_size=12)
PIECES = ("=1+1", "-1", "+1.5e3", "-2+3", "@SUM(A1)", "cmd|' /C calc'!A0", "\uff1dA1", ";", ",",
          '"', "'", " ", "\t", "\r", "a", "x=-1", ")", "|")  # fmt: skip
CELLS = st.text(st.characters(exclude_categories=()), max_size=50) | SPREADSHEET
CELLS |= st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
WHOLE_NUMBER = r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?"


def cells(text: str, separator: str) -> list[str]:
    """Return the cells that a reader finds which splits there: one that knows quotes, one not."""
    found = [cell for row in csv.reader(io.StringIO(text), delimiter=separator) for cell in row]
    for line in re.split("[\r\n]", text):
        found += [cell.strip(' "') for cell in line.split(separator)]
    return [cell.strip() for cell in found]


def is_formula(cell: str) -> bool:
    """Return whether a cell begins as a formula, and is no number, nor one with text behind it."""
    if not cell or cell[0] not in SIGNS:
        return False
    number = re.match(rf"{WHOLE_NUMBER} *($|[;,)\]}}\"])", cell, re.ASCII | re.IGNORECASE)
    return number is None


@settings(max_examples=500)
@given(st.lists(CELLS, min_size=1, max_size=3))
@example(['a;"=1+1'])
@example(["\t=1", "\r=1", "\n=1"])
@example(["-1,cmd|' /C calc'!A0"])
def test_no_reader_finds_a_formula(texts: list[str]) -> None:
    text = to_csv(["a", *texts], [(*texts, -1.0)])
    for separator in ",;|\t":
        for cell in cells(text, separator):
            assert not is_formula(cell), (separator, cell)


@settings(max_examples=500)
@given(st.lists(CELLS, min_size=1, max_size=4))
def test_pandas_gives_every_text_back(texts: list[str]) -> None:
    """But for escapes, and an apostrophe before what would begin a formula."""
    written = to_csv(["text", "number"], [(text, -0.5) for text in texts])
    read = pd.read_csv(io.StringIO(written), dtype={"text": str}, keep_default_na=False)
    assert read["number"].tolist() == [-0.5] * len(texts), "numbers stay numbers"
    for text, back in zip(texts, read["text"], strict=True):
        assert back == defused(text)
        places = [found.end() for found in FORMULA.finditer(visible(text))]
        for before, place in enumerate(places):
            assert back[place + before] == "'"
        kept = [back[i] for i in range(len(back)) if i not in {p + n for n, p in enumerate(places)}]
        assert "".join(kept) == visible(text)


@given(st.lists(CELLS, min_size=2, max_size=2, unique=True))
def test_two_texts_are_never_one_in_csv(texts: list[str]) -> None:
    one, other = texts
    if visible(one) != visible(other):
        assert defused(one) != defused(other)


@pytest.mark.parametrize("number", [0, -1, 3, 10**30, -0.5, 1e-300, float("inf"), -7.25])
def test_numbers_stay_numbers(number: float) -> None:
    read = pd.read_csv(io.StringIO(to_csv(["x"], [(number,)], digits=17)))
    assert float(read["x"].iloc[0]) == pytest.approx(number, rel=1e-12)
    assert f"{number}" in ("inf",) or '"' not in to_csv(["x"], [(number,)]).partition("\n")[2]
