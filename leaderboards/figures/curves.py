"""Figures of lines: a panel of scores, and the paired difference to the baseline below it."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from leaderboards.analysis.tables import each_row
from leaderboards.figures.axes import Scale, padded, x_axis, y_axis
from leaderboards.figures.svg import COLUMN, DASHES, LINES, SIZE, Svg
from leaderboards.figures.text import fit, fit_all
from leaderboards.report.model import Report, row_key

UPPER, LOWER = 92.0, 62.0
"""The heights of both panels."""
HEAD, BETWEEN, FOOT = 16.0, 8.0, 26.0
LEFT, RIGHT = 30.0, 66.0
"""Room for the ticks, and for the names at the lines' ends."""
MAX_BANDS = 3
"""Lines with a band: of more, the bands would hide one another."""


@dataclass(frozen=True)
class Curve:
    """A line: the points that it goes through, with the ends of their intervals.

    Attributes:
        key: what a page hides it by.
        name: its label.
        look: its place among the lines, which says its colour; the baseline's is 0.
        points: (x, middle, low, high) of each point; the ends may be NaN.
    """

    key: str
    name: str
    look: int
    points: Sequence[tuple[float, float, float, float]]


@dataclass(frozen=True)
class Pair:
    """Two panels with one x axis.

    Attributes:
        title: their heading.
        y: what the upper panel shows.
        upper: its lines.
        lower: the lines of the differences to the baseline, which is at 0; it may have none.
        task: what a page hides it by.
    """

    title: str
    y: str
    upper: Sequence[Curve]
    lower: Sequence[Curve]
    task: str = ""


def looks(report: Report) -> dict[str, int]:
    """Return {row: its place among the lines} of the first rows, as many as can be told apart.

    The baseline has place 0.
    """
    board = report.board
    baseline = row_key((board.baseline_method, board.baseline))
    others = [key for key in map(row_key, board.order) if key != baseline][: LINES - 1]
    return {baseline: 0, **{key: place for place, key in enumerate(others, start=1)}}


def losses(report: Report, table: pd.DataFrame) -> Iterator[tuple[str, str, int, list[Any]]]:
    """Yield each loss of a table that figures show: its key, label, place, and its rows."""
    known = looks(report)
    for (method, loss), rows in table.groupby(["method", "loss"], sort=False):
        key = row_key((method, loss))
        if key in known:
            yield key, report.board.labels.row(method, loss), known[key], list(each_row(rows))


def draw(
    svg: Svg, pairs: Sequence[Pair], x: str, *, logarithmic: bool = False,
    at: Sequence[float] | None = None,
) -> None:  # fmt: skip
    """Draw pairs of panels, one beside another where the figure is wide enough."""
    across = 2 if svg.width > 1.5 * COLUMN and len(pairs) > 1 else 1
    wide = svg.width / across
    top = 0.0
    for start in range(0, len(pairs), across):
        bottom = top
        for number, pair in enumerate(pairs[start : start + across]):
            left = number * wide
            with svg.group(task=pair.task):
                end = _pair(svg, pair, left, wide, top, x, logarithmic=logarithmic, at=at)
            bottom = max(bottom, end)
        top = bottom + 6
    svg.height = top - 2


def _pair(
    svg: Svg, pair: Pair, left: float, wide: float, top: float, x: str, *, logarithmic: bool,
    at: Sequence[float] | None,
) -> float:  # fmt: skip
    """Draw one pair of panels, and return where it ends."""
    start, end = left + LEFT, left + wide - RIGHT
    svg.text(start, top + SIZE + 1, fit(pair.title, wide - LEFT, SIZE), bold=True)
    values = [point[0] for curve in (*pair.upper, *pair.lower) for point in curve.points]
    low, high = min(values), max(values)
    logarithmic = logarithmic and low > 0 and high > low
    scale = Scale(low, high, start + 3, end - 3, logarithmic)
    upper = top + HEAD
    bottom = upper + UPPER
    _panel(svg, pair.upper, scale, upper, bottom, pair.y, zero=False)
    if pair.lower:
        upper, bottom = bottom + BETWEEN, bottom + BETWEEN + LOWER
        _panel(svg, pair.lower, scale, upper, bottom, "difference", zero=True)
    x_axis(svg, scale, bottom, bottom, at, grid=False)
    svg.text((start + end) / 2, bottom + 2 * SIZE + 3, fit(x, wide - LEFT), "middle", "muted")
    return bottom + FOOT


def _panel(
    svg: Svg, curves: Sequence[Curve], x: Scale, top: float, bottom: float, name: str, *,
    zero: bool,
) -> None:  # fmt: skip
    """Draw the lines of one panel, with their names at their ends."""
    drawn = [curve for curve in curves if curve.points]
    few = len(drawn) <= MAX_BANDS
    ends = [0.0] if zero else []
    for curve in drawn:
        for _, middle, low, high in curve.points:
            ends += [v for v in ((middle, low, high) if few else (middle,)) if math.isfinite(v)]
    y = Scale(*padded(min(ends), max(ends)), bottom, top)
    left, right = x.start - 3, x.end + 3
    y_axis(svg, y, left, right, signed=zero)
    svg.text(left - 24, (top + bottom) / 2, fit(name, bottom - top), "middle", "muted",
             SIZE - 1, turned=True)  # fmt: skip
    if zero:
        svg.line(left, y(0), right, y(0), "ink", 0.8)
    for curve in drawn:
        with svg.group(curve.key):
            _line(svg, curve, x, y, band=few)
    _names(svg, drawn, y, right, top, bottom)


def _line(svg: Svg, curve: Curve, x: Scale, y: Scale, *, band: bool) -> None:
    """Draw a line, its band if it has one, and a dot a point."""
    role = f"line-{curve.look % LINES}"
    edges = [(x(at), y(low), y(high)) for at, _, low, high in curve.points if not math.isnan(low)]
    if band and len(edges) > 1:
        lower, upper = [(at, low) for at, low, _ in edges], [(at, top) for at, _, top in edges]
        svg.area([*lower, *upper[::-1]], role)
    points = [(x(at), y(middle)) for at, middle, *_ in curve.points if math.isfinite(middle)]
    svg.path(points, role, 1.3, DASHES[curve.look % LINES])
    for point in points:
        svg.circle(*point, 1.5, role)


def _names(
    svg: Svg, curves: Sequence[Curve], y: Scale, right: float, top: float, bottom: float
) -> None:
    """Write each line's name at its end; names that would touch move apart."""
    size = SIZE - 1
    short = fit_all([curve.name for curve in curves], RIGHT - 10, size)
    wanted = sorted((y(curve.points[-1][1]), number) for number, curve in enumerate(curves))
    places: list[float] = []
    for at, _ in wanted:
        places.append(max(at, places[-1] + size + 0.5) if places else max(at, top + 2))
    over = places[-1] - bottom if places else 0.0
    for i in range(len(places) - 1, -1, -1):  # Push back up what left the panel at the bottom.
        limit = bottom - (len(places) - 1 - i) * (size + 0.5)
        places[i] = min(places[i], limit) if over > 0 else places[i]
    for place, (at, number) in zip(places, wanted, strict=True):
        curve = curves[number]
        role = f"line-{curve.look % LINES}"
        with svg.group(curve.key):
            svg.line(right, at, right + 5, place, role, 0.5)
            svg.text(right + 7, place + 2.4, short[curve.name], role=role, size=size)
