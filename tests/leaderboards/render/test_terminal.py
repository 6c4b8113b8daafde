"""The terminal: the matrix first, the answer last, nothing wider than it, nothing cut in a pipe."""

import re
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import grid

from leaderboards import leaderboard
from leaderboards.render.terminal import MAX_ROWS, table_text, to_text

LOSSES = {"infonce": 0.0, "adnce": 0.4, "untrained": -12.0}
TASKS = {"images": 84.0, "sentences": 61.0, "nodes": 79.0}


@pytest.fixture(scope="module")
def quickstart() -> Any:
    return usual()


def test_a_usual_study_is_a_matrix_and_an_answer(quickstart: Any) -> None:
    lines = to_text(quickstart, 80).splitlines()
    assert len(lines) <= 18
    assert "images" in lines[0] and "nodes" in lines[0]
    assert re.match(r"(adnce|infonce) +\d\d\.\d\d ", lines[3])
    said = "\n".join(lines)
    for line in quickstart.answer:
        assert line.split()[0] in said
    assert lines[-1].endswith(".") and "Over 3 data sets" in " ".join(lines[-3:])


@given(st.integers(40, 200), st.booleans())
@settings(deadline=None, max_examples=30)
def test_no_line_is_wider_than_the_terminal(width: int, long: bool) -> None:
    for line in to_text(usual(), width, long=long).splitlines():
        assert len(line) <= width


@cache
def usual() -> Any:
    return leaderboard(grid(LOSSES, TASKS, 3)).report


def test_a_pipe_has_no_width() -> None:
    names = {f"images(false_negatives=0.{i}, size=14)": 80.0 for i in range(1, 9)}
    losses = {"infonce": 0.0, "adnce(temperature=0.4, mu=0.7, sigma=0.5)": 1.0, "adnce": 0.0}
    report = leaderboard(grid(losses, names, 3)).report
    text = to_text(report)
    rows = [line for line in text.splitlines() if line.startswith("adnce, temperature")]
    assert len(rows) == 1, "one line a loss, whatever its length"
    assert len(re.findall(r"\d\d\.\d\d [+-]", rows[0])) == 8
    assert "…" not in text
    folded = to_text(report, 80)
    assert len([line for line in folded.splitlines() if line.startswith("adnce, temp")]) > 1


def test_words_are_wrapped_not_cut(quickstart: Any) -> None:
    wide = {word for line in to_text(quickstart).splitlines() for word in line.split()}
    narrow = {word for line in to_text(quickstart, 70).splitlines() for word in line.split()}
    answer = {word for line in quickstart.answer for word in line.split()}
    assert answer <= narrow and answer <= wide


def test_colours_are_for_terminals_alone(quickstart: Any) -> None:
    assert "\x1b" not in to_text(quickstart, 80)
    coloured = to_text(quickstart, 80, colour=True)
    assert "\x1b[31m" in coloured, "untrained is worse"
    assert re.sub(r"\x1b\[[\d;]*m", "", coloured) == to_text(quickstart, 80)


def test_print_of_a_board_is_short() -> None:
    text = str(leaderboard(grid(LOSSES, TASKS, 3)))
    assert len(text.splitlines()) <= 14
    assert "infonce" in text


def test_long_shows_all_tables_and_sentences(quickstart: Any) -> None:
    text = to_text(quickstart, 100, long=True)
    for words in ("All scores", "images: accuracy", "|d| <", "Pooled difference"):
        assert words in text


def test_a_long_table_says_where_the_rest_is() -> None:
    many = {f"loss{i}" if i else "infonce": 0.1 * i for i in range(MAX_ROWS + 5)}
    report = leaderboard(grid(many, {"images": 80.0}, 3)).report
    text = table_text(report.tables["scores"], 100)
    assert "and 5 more rows, in leaderboard.csv" in text
    assert "loss64" in to_text(report, 80), "the matrix has all of them"
