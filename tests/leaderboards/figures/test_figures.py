"""The figures: what they draw, where it lies, and that they are the same in every medium."""

import math
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import grid

from leaderboards import leaderboard
from leaderboards.figures import svg as svg_module
from leaderboards.figures.axes import MINUS, Scale, ticks
from leaderboards.figures.forest import Estimate, Panel, draw
from leaderboards.figures.pdf import to_pdf
from leaderboards.figures.svg import COLUMN, LINES, ROLES, TEXT, Svg
from leaderboards.figures.text import fit, fit_all, width
from leaderboards.render.formats import drawn, figure_names

SPACE = "{http://www.w3.org/2000/svg}"
FIGURES = ("budget", "critical_difference", "differences", "landscape", "matrix", "pooled",
           "settings", "training")  # fmt: skip
HOSTILE = '<b onload="x">&\x1b[31m\u202e' + "y" * 300
LOSSES = {"infonce": 0.0, "adnce": 0.6, "dcl": -0.4, HOSTILE: -1.5, "untrained": -12.0}
TASKS = {f"images(noise={i / 10})": 84.0 - i for i in range(6)} | {"nodes": 79.0}


@pytest.fixture(scope="module")
def board() -> Any:
    return leaderboard(grid(LOSSES, TASKS, trials=4))


def test_there_are_these_figures() -> None:
    assert sorted(figure_names()) == list(FIGURES)


@pytest.mark.parametrize("points", [COLUMN, TEXT])
@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_a_file_of_its_own_with_everything_inside(
    board: Any, name: str, points: float
) -> None:
    made = drawn(board.report, name, points)
    assert made is not None and made.caption
    root = ElementTree.fromstring(str(made))
    assert root.get("viewBox") == f"0 0 {made.width:g} {made.height:.2f}"
    assert root.get("width") == f"{points / 72:.4g}in"
    assert "\x1b" not in str(made) and "\u202e" not in str(made)
    assert len(str(made)) < 200_000
    slack = 3.0
    for each in root.iter():
        name_of = each.tag.removeprefix(SPACE)
        if name_of == "text" and "transform" not in each.attrib:
            long = width(each.text or "", float(each.get("font-size", 8)))
            start = {"start": 0.0, "middle": -long / 2, "end": -long}[each.get("text-anchor", "")]
            left = float(each.get("x", 0)) + start
            assert -slack <= left, (each.text, left)
            assert left + long <= made.width + slack + 0.1 * long, each.text
        if name_of in ("text", "circle", "rect"):
            y = float(each.get("y", each.get("cy", 0)))
            assert -slack <= y <= made.height + slack, each.attrib
        colours = {each.get("fill"), each.get("stroke")} - {None}
        light = {colour for colour, _ in ROLES.values()} | {"none"}
        assert colours <= light, "a colour without a role cannot go dark"


def test_the_same_board_gives_the_same_figures(board: Any) -> None:
    again = leaderboard(grid(LOSSES, TASKS, trials=4))
    for name in FIGURES:
        assert str(drawn(board.report, name, TEXT)) == str(drawn(again.report, name, TEXT))


def test_a_notebook_a_page_and_a_file_have_the_same_figure(board: Any) -> None:
    from leaderboards.render.formats import installed

    figure = board.figure("differences")
    assert figure == str(drawn(board.report, "differences", TEXT))
    body = figure.split("\n", 1)[1].rsplit("</svg>", 1)[0]
    assert body in board._repr_html_()
    assert body in installed()["board.html"](board.report)


def test_a_figure_that_is_not_there_is_an_error(board: Any) -> None:
    with pytest.raises(ValueError, match=r"`name` must be one of .*differences.*: got 'forest'"):
        board.figure("forest")
    with pytest.raises(ValueError, match="`width` must be one of column, text: got 'wide'"):
        board.figure("differences", "wide")
    few = leaderboard(grid({"infonce": 0.0, "adnce": 0.1}, {"images": 80.0}))
    with pytest.raises(ValueError, match="something to show in: got 'critical_difference'"):
        few.figure("critical_difference")


def test_pdf_keeps_text_and_holds_its_font(board: Any) -> None:
    for name in FIGURES:
        made = to_pdf(str(drawn(board.report, name, COLUMN)))
        assert made.startswith(b"%PDF")
        assert b"/FontFile2" in made, "journals refuse a file without its fonts"
        assert b"/BaseFont /Helvetica" not in made
        assert b"/ToUnicode" in made and b"/Image" not in made.replace(b"/ImageB", b"").replace(
            b"/ImageC", b""
        ).replace(b"/ImageI", b"")
        assert to_pdf(str(drawn(board.report, name, COLUMN))) == made


def circles(made: Svg, role: str) -> list[tuple[float, float]]:
    found = re.findall(rf'<circle cx="([\d.-]+)" cy="([\d.-]+)" r="2.4" class="fill-{role}"',
                       str(made))  # fmt: skip
    return [(float(x), float(y)) for x, y in found]


def estimate(name: str, middle: float, half: float, outcome: str = "open") -> Estimate:
    return Estimate(name, name, middle, (middle - half, middle + half), None, (), outcome)


def test_a_forest_shows_decided_rows_filled_and_the_margin() -> None:
    rows = [estimate("a", 1.0, 0.3, "better"), estimate("b", 0.1, 0.5), estimate("c", -1, 0.2,
            "worse")]  # fmt: skip
    made = Svg(TEXT, "t", "c")
    draw(made, [Panel("task", rows, 0.5)], "points")
    assert len(circles(made, "better")) == len(circles(made, "worse")) == 1
    assert len(circles(made, "paper")) == 1, "hollow: the seeds do not decide"
    better, worse = circles(made, "better")[0], circles(made, "worse")[0]
    assert better[0] > worse[0] and better[1] < worse[1]
    assert str(made).count('class="fill-margin"') == 1


def test_a_row_far_away_is_an_arrow_and_does_not_squeeze_the_others() -> None:
    rows = [estimate(name, value, 0.3) for name, value in zip("abcde", (-0.5, 0, 0.2, 0.4, 0.6),
            strict=True)]  # fmt: skip
    near, far = Svg(TEXT, "t", "c"), Svg(TEXT, "t", "c")
    draw(near, [Panel("task", rows, 0.5)], "points")
    draw(far, [Panel("task", [*rows, estimate("f", -30, 1, "worse")], 0.5)], "points")
    assert str(far).count("<polygon") == 1 and f"{MINUS}30.0" in str(far)
    spread = [max(x for x, _ in circles(made, "paper")) - min(x for x, _ in circles(made, "paper"))
              for made in (near, far)]  # fmt: skip
    assert spread[1] == pytest.approx(spread[0])


def test_if_all_rows_are_far_none_is_an_arrow() -> None:
    made = Svg(TEXT, "t", "c")
    draw(made, [Panel("task", [estimate(name, -30 - i, 1, "worse") for i, name in
         enumerate("abc")], 0.5)], "points")  # fmt: skip
    assert "<polygon" not in str(made)


def test_lines_are_few_enough_to_tell_apart() -> None:
    many = {"infonce": 0.0} | {f"loss{i}": 0.1 * i for i in range(20)}
    found = leaderboard(grid(many, {"images": 80.0}, trials=2))
    made = drawn(found.report, "training", TEXT)
    assert made is not None
    assert len(set(re.findall(r'data-row="([^"]*)"', str(made)))) == LINES
    assert f"the {LINES} that come first" in made.caption
    assert "InfoNCE" in str(made) or "infonce" in str(made), "the baseline is always drawn"


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def test_every_line_and_verdict_stands_out_from_its_page() -> None:
    for role, colours in ROLES.items():
        if role.startswith("line-") or role in ("better", "worse", "open", "muted"):
            for colour, paper in zip(colours, ROLES["paper"], strict=True):
                one, other = sorted((luminance(colour), luminance(paper)))
                assert (other + 0.05) / (one + 0.05) >= 3, role


def test_training_shows_the_paired_difference_below(board: Any) -> None:
    made = str(drawn(board.report, "training", TEXT))
    assert made.count(">difference</text>") == len(TASKS)
    own = board.curves[(board.curves["loss"] == "adnce") & (board.curves["task"] == "nodes")]
    assert own["pairs"].tolist() == [5, 5, 5]
    scores = board.rows[(board.rows["loss"] == "adnce") & (board.rows["task"] == "nodes")]
    assert own["difference"].iloc[-1] == pytest.approx(scores["difference"].iloc[0])


def test_budget_is_the_mean_of_the_best_over_all_sets_of_trials() -> None:
    from itertools import combinations

    from leaderboards.analysis.budget import expected_best

    scores = np.random.default_rng(0).normal(size=7).tolist()
    for number in range(1, 8):
        expected = np.mean([max(each) for each in combinations(scores, number)])
        assert expected_best(scores)[number - 1] == pytest.approx(expected)
        low = np.mean([min(each) for each in combinations(scores, number)])
        assert expected_best(scores, lower=True)[number - 1] == pytest.approx(low)


def test_two_equal_losses_have_no_difference_at_any_budget() -> None:
    records = grid({"infonce": 0.0, "adnce": 0.0}, {"images": 80.0}, trials=8)
    tuning = records["stage"] == "tuning"
    base = records[tuning & (records["loss"] == "infonce")].set_index(["trial", "seed"])["value"]
    own = tuning & (records["loss"] == "adnce")
    keys = zip(records.loc[own, "trial"], records.loc[own, "seed"], strict=True)
    records.loc[own, "value"] = [base[key] for key in keys]
    budget = leaderboard(records).budget
    assert budget["trials"].tolist() == [1, 2, 4, 8] * 2
    assert budget["difference"].abs().max() == 0
    assert budget["best"].is_monotonic_increasing or len(budget) == 8


@given(
    st.floats(-1e6, 1e6), st.floats(1e-3, 1e6), st.integers(2, 12),
)  # fmt: skip
def test_ticks_are_few_round_and_inside(low: float, span: float, most: int) -> None:
    high = low + span
    found = ticks(low, high, most)
    assert len(found) <= most
    slack = 1e-6 * max(abs(low), abs(high), span)
    assert all(low - slack <= tick <= high + slack for tick in found)


def test_a_scale_puts_ends_at_its_ends() -> None:
    for logarithmic in (False, True):
        scale = Scale(0.1, 10.0, 30.0, 130.0, logarithmic)
        assert (scale(0.1), scale(10.0)) == pytest.approx((30.0, 130.0))
    assert Scale(0.1, 10.0, 0.0, 1.0, True)(1.0) == pytest.approx(0.5)
    assert Scale(1.0, 1.0, 0.0, 10.0)(1.0) == 5.0
    assert not math.isnan(Scale(0.5, 0.5, 0.0, 10.0)(0.5))


@given(
    st.lists(
        st.text("abc, xyz0123456789.=", min_size=1, max_size=60), min_size=1, max_size=6,
        unique=True,
    ),
    st.floats(40, 200),
)  # fmt: skip
def test_names_that_fit_stay_distinct(names: list[str], room: float) -> None:
    short = fit_all(names, room)
    assert len(set(short.values())) == len(names)
    for name in names:
        assert fit(name, width(name)) == name


def test_figures_know_no_foreign_role() -> None:
    with pytest.raises(KeyError):
        Svg(10, "t", "c").line(0, 0, 1, 1, "purple")
    assert svg_module.SIZE == 8.0
