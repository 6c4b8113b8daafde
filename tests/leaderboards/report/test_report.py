"""The report: columns declared once, one order and one name for each thing in every medium."""

import csv
import json
import re
from dataclasses import replace
from typing import Any

import pandas as pd
import pytest
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st
from synthetic import grid

from docs.write_columns import written
from leaderboards import leaderboard
from leaderboards.analysis.naming import MAX_LABEL, shortened
from leaderboards.analysis.visible import visible
from leaderboards.figures.svg import TEXT
from leaderboards.render.formats import drawn, installed
from leaderboards.render.json_file import to_json
from leaderboards.render.terminal import to_text
from leaderboards.report.model import CSV, PAGE, Cell, Column
from leaderboards.report.numbers import half_width, interval
from leaderboards.report.report import report

LABELS = {
    "infonce": "InfoNCE", "adnce": "ADNCE", "nodes": "Cora", "accuracy": "acc.",
    "adnce(sigma=0.25)": "ours",
}  # fmt: skip
LOSSES = {
    "infonce": 0.0, "adnce": 1.0, "adnce(sigma=0.25)": 2.0, "adnce(sigma=0.5)": -2.0,
    "untrained": -15.0, "fixed:oracle": 9.0,
}  # fmt: skip
TASKS = {"nodes": 79.0, "images(size=14, draws=3)": 84.0, "images(size=28, draws=3)": 86.0}


@pytest.fixture(scope="module")
def board() -> Any:
    return leaderboard(grid(LOSSES, TASKS, labels=LABELS))


def test_every_column_of_the_board_is_declared(board: Any) -> None:
    """A column that is computed but not declared would be in no file; the other way fails."""
    made = board.report
    for name, table in (("scores", board.rows), ("overall", board.overall),
                        ("curves", board.curves), ("trials", board.trials),
                        ("budget", board.budget), ("settings", board.responses)):  # fmt: skip
        columns = [column.key for column in made.tables[name].columns_in(CSV)]
        assert len(set(columns)) == len(columns), name
        assert set(table) - set(columns) <= {"loss_name"}, name
    for table in (made.matrix, *made.tables.values()):
        for column in table.columns:
            assert column.help, f"{table.key} {column.key} does not say what it is"
            assert column.heading or column.where == {CSV}, column.key


def test_the_docs_list_every_file_and_column() -> None:
    """``python docs/write_columns.py`` writes the tables from the declarations."""
    assert written((ROOT / "docs/boards.md").read_text(encoding="utf-8")) == (
        ROOT / "docs/boards.md"
    ).read_text(encoding="utf-8")


def test_a_column_takes_one_declaration(board: Any) -> None:
    """It then is in the file, the page and the terminal, each in its place."""
    mine = Column("halved", "Halved", "Half the mean.",
                  lambda row: Cell(f"{row.mean / 2:.1f} h", row.mean / 2))  # fmt: skip
    made = board.report
    scores = replace(made.tables["scores"], columns=[*made.tables["scores"].columns, mine])
    sections = [
        replace(section, tables=[scores if t.key == "scores" else t for t in section.tables])
        for section in made.sections
    ]
    more = replace(made, sections=sections, tables=made.tables | {"scores": scores})
    for name in ("leaderboard.md", "board.html"):
        assert re.search(r"\d\.\d h", installed()[name](more)), name
    assert "halved" in installed()["leaderboard.csv"](more).splitlines()[0]
    assert re.search(r"\d\.\d h", to_text(more, long=True))


def test_labels_are_used_by_every_medium(board: Any) -> None:
    made = board.report
    texts = {
        name: installed()[name](made)
        for name in ("board.html", "leaderboard.md", "leaderboard.tex", "summary.txt")
    }
    texts |= {"terminal": to_text(made, 80), "pipe": to_text(made, long=True)}
    texts["notebook"] = board._repr_html_()
    for name in ("differences", "matrix"):
        texts[name] = str(drawn(made, name, TEXT))
    for name, found in texts.items():
        # Not what a page finds a row by, the details of a cell, or the text of a CSV file.
        text = re.sub(r'(data-row|data-task|value)="[^"]*"', "", found).partition("<dialog")[0]
        text = re.sub(r"<template.*?</template>", "", text, flags=re.DOTALL)
        assert "InfoNCE" in text and "Cora" in text, name
        assert "ours" in text, f"{name}: the study's label of a whole spec"
        assert "adnce(sigma" not in text, f"{name} shows code"
        assert "draws 3, " not in text, f"{name} repeats what all tasks share"
    for name in ("board.html", "leaderboard.md", "terminal"):
        assert "ADNCE, sigma" in texts[name]
    assert "images, size 14" in texts["board.html"]
    assert "images: draws 3." in made.facts
    rows = list(csv.DictReader(installed()["leaderboard.csv"](made).splitlines()))
    assert {row["loss"] for row in rows} == set(LOSSES), "the file has codes, and labels beside"
    assert {"ours", "InfoNCE"} <= {row["label"] for row in rows}


def test_one_order_everywhere(board: Any) -> None:
    """Losses by their pooled difference, then what cannot win; tasks as in the study."""
    labels = [board.labels.row(*key) for key in board.order]
    assert labels[-2:] == ["untrained", "oracle (not trained)"]
    assert labels[0] == "ours"
    made = board.report
    assert [line.cells[0].text for line in made.matrix.lines(PAGE)] == labels
    tasks = ["Cora", "images, size 14", "images, size 28"]
    assert [column.heading for column in made.matrix.columns_in(PAGE)][1:4] == tasks
    assert list(map(board.labels.task, dict.fromkeys(board.rows["task"]))) == tasks
    for name in ("leaderboard.md", "leaderboard.tex"):
        text = installed()[name](made).partition(r"\midrule")[2] or installed()[name](made)
        at = [text.index(label) for label in labels[:3]]
        assert at == sorted(at), name
    svg = str(drawn(made, "differences", TEXT))
    found = [label for label in re.findall(r">([^<>]+)</text>", svg) if label in labels]
    assert found[:4] == [label for label in labels if label in found]


def test_untrained_and_references_stand_below_a_rule(board: Any) -> None:
    rules = [line.rule for line in board.report.matrix.lines(PAGE)]
    assert rules == [False, False, False, False, True, False]


def test_settings_of_one_spec_are_no_label() -> None:
    found = leaderboard(grid({"infonce": 0.0, "adnce(mu=0.5)": 1.0}, {"images(size=14)": 80.0}))
    assert found.labels.loss("adnce(mu=0.5)") == "adnce"
    assert found.labels.task("images(size=14)") == "images"
    assert "adnce: mu 0.5." in found.report.facts


def test_tuned_is_said_where_not_all_are() -> None:
    some = {"infonce[tuned]": 0.0, "adnce[tuned]": 1.0, "dcl": 0.5}
    found = leaderboard(grid(some, {"images": 80.0}), "infonce")
    assert found.labels.loss("infonce[tuned]") == "infonce (tuned)"
    every = {"infonce[tuned]": 0.0, "adnce[tuned]": 1.0}
    found = leaderboard(grid(every, {"images": 80.0}), "infonce")
    assert found.labels.loss("infonce[tuned]") == "infonce"


@given(st.lists(st.text(min_size=1, max_size=200), min_size=1, max_size=8, unique=True))
def test_short_labels_stay_distinct_and_short(names: list[str]) -> None:
    short = shortened(names)
    assert len(set(short)) == len(names)
    assert all(len(label) <= MAX_LABEL + 4 for label in short)


@given(st.text())
def test_what_is_visible_cannot_act(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(visible(text)) == visible(text)


@given(
    st.floats(-50, 50), st.floats(0, 30), st.sampled_from([0.1, 0.25, 0.5, 1.0]),
    st.integers(0, 4),
)  # fmt: skip
def test_no_rounding_contradicts_the_word(
    middle: float, half: float, margin: float, digits: int
) -> None:
    """Both ways to write an interval keep each end on its side of 0 and of the margin."""
    low, high = round(middle - half, 5), round(middle + half, 5)
    marks = (-margin, 0.0, margin)
    shown = interval(middle, low, high, marks, digits)
    ends = [float(number) for number in re.findall(r"[+-][\d.]+", shown.partition("[")[2])]
    text = half_width(middle, low, high, marks, digits)
    mean, _, width = text.partition(" ±")
    halves = [float(mean) - float(width), float(mean) + float(width)]
    for found in (ends, halves):
        for mark in marks:
            for end, number in zip((low, high), found, strict=True):
                assert (end > mark) <= (round(number, 9) > mark) or abs(end - mark) < 1e-5
                assert (end < mark) <= (round(number, 9) < mark) or abs(end - mark) < 1e-5


def test_warnings_of_one_kind_are_one_line() -> None:
    failing = {"adnce": (0,), "dcl": (1, 2)}
    found = leaderboard(grid({"infonce": 0.0, "adnce": 1.0, "dcl": 0.0}, TASKS, failing=failing))
    failed = [warning for warning in found.report.warnings if warning.kind == "failed"]
    assert [warning.text for warning in failed] == [
        "6 rows lack seeds that failed or diverged: they have no verdict."
    ]
    assert len(failed[0].details) == 6


def test_the_answer_has_at_most_three_sentences() -> None:
    many = {"infonce": 0.0} | {f"loss{i}": (i % 5 - 2) * 1.0 for i in range(40)}
    found = leaderboard(grid(many, {f"t{i}": 80.0 for i in range(4)}, noise=0.1))
    answer = found.report.answer
    assert len(answer) <= 3
    assert max(map(len, answer)) < 700
    assert "and" in answer[0]


def test_filters_hide_rows_and_change_no_word(board: Any) -> None:
    few = board.only(tasks=["nodes"], losses=["adnce"])
    assert set(few.rows["task"]) == {"nodes"}
    assert set(few.rows["loss"]) == {"adnce", "infonce"}, "the baseline stays"
    both = few.rows.merge(board.rows, on=["task", "metric", "method", "loss"])
    for name in ("difference_low", "difference_high", "verdict", "rank", "p"):
        pd.testing.assert_series_equal(both[f"{name}_x"], both[f"{name}_y"], check_names=False)
    assert [line.cells[0].text for line in few.report.matrix.lines(PAGE)] == ["ADNCE", "InfoNCE"]
    for name in installed():
        if "." in name:
            installed()[name](few.report)


def test_digits_and_title_are_the_users(board: Any) -> None:
    made = report(board, "Which losses help?", 1)
    assert made.title == "Which losses help?"
    assert re.search(r"\d\d\.\d\$\\pm\$0\.\d[^\d]", installed()["leaderboard.tex"](made))


def test_json_has_every_table_and_no_nan(board: Any) -> None:
    read = json.loads(to_json(board.report), parse_constant=pytest.fail)
    assert len(read["tables"]["scores"]["rows"]) == len(board.rows)
    assert read["tables"]["scores"]["rows"][0]["mean"] == board.rows["mean"].iloc[0]
    assert set(read["tables"]["scores"]["columns"]) == set(read["tables"]["scores"]["rows"][0])
    assert read["baseline"] == {"method": "siamese", "loss": "infonce"}


def test_costs_are_ratios_over_several_tasks() -> None:
    records = grid({"infonce": 0.0, "adnce": 1.0}, {"images": 80.0, "nodes": 70.0})
    slow = (records["loss"] == "adnce") & (records["task"] == "images")
    records.loc[slow, "train_seconds"] *= 4
    found = leaderboard(records)
    keys = [column.key for column in found.report.matrix.columns_in(PAGE)]
    cells = {line.cells[0].text: line.cells for line in found.report.matrix.lines(PAGE)}
    assert cells["adnce"][keys.index("step_seconds_ratio")].text == "2.00", (
        "the geometric mean of 4 and 1"
    )
    assert cells["infonce"][keys.index("step_seconds_ratio")].text == "1.00"
    alone = leaderboard(grid({"infonce": 0.0, "adnce": 1.0}, {"images": 80.0}))
    cells = {line.cells[0].text: line.cells for line in alone.report.matrix.lines(PAGE)}
    assert cells["adnce"][-2].text == "20 ms", "2 s for 100 steps"


def test_screening_says_no_verdict_anywhere() -> None:
    records = grid({"infonce": 0.0, "adnce": 3.0, "dcl": 0.1}, {"images": 80.0, "nodes": 70.0})
    made = leaderboard(records, screening=True).report
    assert made.answer[0].startswith("Worth more seeds (screening, no verdict)")
    assert "Every verdict" not in made.methods
    for text in (made.legend, made.methods, installed()["leaderboard.tex"](made)):
        assert "they decide nothing" in text and "simultaneous" not in text


def test_the_baseline_is_named_with_its_method_where_there_are_several() -> None:
    records = grid({"infonce": 0.0, "adnce": 1.0}, {"images": 80.0})
    other = records.assign(method="moco", key=records["key"] + "moco", baseline=False)
    other["value"] += 2
    found = leaderboard(pd.concat([records, other]))
    assert found.baseline_label == "infonce (siamese)"
    assert found.report.answer[0].startswith("Better than infonce (siamese): ")
    assert "infonce (moco)" in found.report.answer[0]


def test_lower_is_better_is_said() -> None:
    losses = {"infonce": 0.0, "adnce": -3.0}
    records = grid(losses, {"images": 80.0, "nodes": 70.0}, direction="lower")
    made = leaderboard(records).report
    pooled = next(c for c in made.matrix.columns_in(PAGE) if c.kind == "pooled")
    assert pooled.unit == "above 0 is better"
    assert "(lower is better)" in str(drawn(made, "differences", TEXT))
    assert made.answer[0].startswith("Better than infonce: adnce on both tasks")


def test_a_board_without_a_main_metric_is_refused() -> None:
    records = grid({"infonce": 0.0, "adnce": 1.0}, {"images": 80.0}).assign(main=False)
    with pytest.raises(ValueError, match="must mark one metric of each task as `main`: images"):
        leaderboard(records)
