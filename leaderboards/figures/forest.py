"""Forest plots: an estimate and its intervals a row, a panel a task. Shared by two figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from leaderboards.figures.axes import Scale, padded, x_axis
from leaderboards.figures.svg import SIZE, Svg
from leaderboards.figures.text import fit, fit_all, width
from leaderboards.report.model import UNSETTLED

ROW = 12.0
"""The height of a row in points."""
HEAD, FOOT = 16.0, 22.0
"""Room for a panel's heading, and for its axis."""
GAP = 10.0
MIN_PANEL = 84.0
"""A panel is at least so wide; panels that do not fit begin another row of panels."""


@dataclass(frozen=True)
class Estimate:
    """A row of a panel.

    Attributes:
        key: what a page hides it by.
        name: the row's label.
        middle: the estimate.
        thin: the ends of the interval that decides.
        thick: the ends of a narrower one, or None.
        dots: single values, drawn faintly.
        outcome: ``better``, ``worse``, ``equivalent`` or ``open``: its colour; open is hollow.
    """

    key: str
    name: str
    middle: float
    thin: tuple[float, float]
    thick: tuple[float, float] | None
    dots: Sequence[float]
    outcome: str


@dataclass(frozen=True)
class Panel:
    """The rows of one task, with the margin of its metric, if it has one."""

    title: str
    rows: Sequence[Estimate]
    margin: float | None
    task: str = ""


def draw(svg: Svg, panels: Sequence[Panel], axis: str) -> None:
    """Draw panels side by side, with the rows' names on the left of each row of panels."""
    names = list(dict.fromkeys(row.name for panel in panels for row in panel.rows))
    keys = {row.name: row.key for panel in panels for row in panel.rows}
    longest = max((width(name) for name in names), default=0.0)
    label = min(longest, 0.36 * svg.width) + 6
    short = fit_all(names, label - 6)
    across = max(1, min(len(panels), int((svg.width - label + GAP) / (MIN_PANEL + GAP))))
    each = (svg.width - label + GAP) / across - GAP
    top = 0.0
    for start in range(0, len(panels), across):
        group = panels[start : start + across]
        shown = [name for name in names if any(row.name == name for p in group for row in p.rows)]
        place = {name: top + HEAD + ROW * (i + 0.5) for i, name in enumerate(shown)}
        for name in shown:
            with svg.group(keys[name]):
                svg.text(label - 6, place[name] + 2.8, short[name], "end")
        bottom = top + HEAD + ROW * len(shown)
        for number, panel in enumerate(group):
            left = label + number * (each + GAP)
            with svg.group(task=panel.task):
                _panel(svg, panel, place, left, each, top, bottom)
        top = bottom + FOOT
    svg.text(label + (svg.width - label) / 2, top + 1, fit(axis, svg.width), "middle", "muted")
    svg.height = top + 6


def _panel(
    svg: Svg, panel: Panel, place: dict[str, float], left: float, wide: float, top: float,
    bottom: float,
) -> None:  # fmt: skip
    title = fit(panel.title, wide, SIZE)
    svg.text(left + wide / 2, top + SIZE + 1, title, "middle", bold=True)
    low, high = _range(panel)
    scale = Scale(low, high, left, left + wide)
    start = top + HEAD
    if panel.margin:
        ends = [scale(max(low, -panel.margin)), scale(min(high, panel.margin))]
        svg.rect(ends[0], start, ends[1] - ends[0], bottom - start, "margin")
    x_axis(svg, scale, start, bottom, signed=True)
    svg.line(scale(0), start, scale(0), bottom, "ink", 0.8)
    for row in panel.rows:
        with svg.group(row.key):
            _estimate(svg, row, scale, place[row.name])


def _estimate(svg: Svg, row: Estimate, scale: Scale, y: float) -> None:
    low, high = scale.low, scale.high
    for value in row.dots:
        if low <= value <= high:
            svg.circle(scale(value), y + 4.0, 0.9, "faint")
    if row.middle > high or row.middle < low:  # Far away: an arrow at the edge, with its value.
        right = row.middle > high
        at, back = (scale.end, -4.0) if right else (scale.start, 4.0)
        svg.area([(at, y), (at + back, y - 3), (at + back, y + 3)], row.outcome, 1)
        anchor = "end" if right else "start"
        text = f"{row.middle:+.1f}".replace("-", "\N{MINUS SIGN}")
        svg.text(at + 1.6 * back, y + 2.5, text, anchor, row.outcome, SIZE - 1)
        return
    for ends, thickness in ((row.thin, 1.0), (row.thick, 2.6)):
        if ends is not None and not math.isnan(ends[0]):
            left, right_end = (scale(min(max(end, low), high)) for end in ends)
            svg.line(left, y, right_end, y, row.outcome, thickness)
    svg.circle(scale(row.middle), y, 2.4, row.outcome, hollow=row.outcome == UNSETTLED)


def _range(panel: Panel) -> tuple[float, float]:
    """Return the values that a panel shows: a few rows far away do not squeeze all others."""
    reaches = [
        max(abs(end) for end in (*row.thin, row.middle) if not math.isnan(end))
        for row in panel.rows
    ]
    limit = max(5 * median(reaches), 2 * (panel.margin or 0.0))
    if sum(reach > limit for reach in reaches) * 3 > len(reaches):  # Too many to be far away.
        limit = math.inf
    ends = [0.0, *((-1.3 * panel.margin, 1.3 * panel.margin) if panel.margin else ())]
    for row, reach in zip(panel.rows, reaches, strict=True):
        if reach <= limit:
            ends += [end for end in (*row.thin, row.middle) if math.isfinite(end)]
    return padded(min(ends), max(ends))
