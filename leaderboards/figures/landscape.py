"""The tuning landscape: the validation score of every trial against each setting."""

import json
import math
from collections.abc import Sequence
from typing import Any

from leaderboards.analysis.tables import each_row
from leaderboards.figures.axes import Scale, padded, x_axis, y_axis
from leaderboards.figures.curves import looks
from leaderboards.figures.svg import COLUMN, LINES, SIZE, Svg
from leaderboards.figures.text import fit
from leaderboards.figures.text import width as width_of
from leaderboards.report.model import Report, row_key

HEIGHT, HEAD, FOOT, LEFT = 92.0, 16.0, 28.0, 30.0
Point = tuple[Any, float]
"""A trial, and its value of a setting."""


def landscape(report: Report, width: float) -> Svg | None:
    """Return validation scores of tuning trials, a panel a task and setting."""
    board = report.board
    known = looks(report)
    logarithmic = _logarithmic(report)
    panels = [
        (str(task), setting, points)
        for task, trials in board.trials.groupby("task", sort=False)
        for setting, points in _by_setting(list(each_row(trials)), known).items()
    ]
    if not panels:
        return None
    svg = Svg(
        width,
        "Tuning landscape",
        "A dot a tuning trial, by its validation score over the tuning seeds; ringed: chosen. "
        "Trials without a score are not drawn.",
    )
    top = _legend(svg, report, panels, known)
    across = 2 if width > 1.5 * COLUMN and len(panels) > 1 else 1
    wide = width / across
    for start in range(0, len(panels), across):
        for number, (task, setting, points) in enumerate(panels[start : start + across]):
            title = f"{board.labels.task(task)}: {setting.replace('_', ' ')}"
            log = setting in logarithmic
            with svg.group(task=task):
                _panel(svg, title, points, known, number * wide, wide, top, logarithmic=log)
        top += HEAD + HEIGHT + FOOT
    svg.height = top - 4
    return svg


def _logarithmic(report: Report) -> set[str]:
    """Return the settings that were searched on a logarithmic scale."""
    spaces = (json.loads(text) for text in report.board.records["space"].dropna().unique())
    return {
        setting
        for space in spaces
        for setting, part in space.items()
        if isinstance(part, dict) and part.get("log")
    }


def _by_setting(trials: Sequence[Any], known: dict[str, int]) -> dict[str, list[Point]]:
    """Return {setting: its points} of the numbers that vary within a loss."""
    found: dict[tuple[str, str], list[Point]] = {}
    for trial in trials:
        if f"{trial.method}/{trial.loss}" in known and math.isfinite(trial.validation):
            for setting, value in json.loads(trial.settings).items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    found.setdefault((setting, trial.loss), []).append((trial, float(value)))
    points: dict[str, list[Point]] = {}
    for (setting, _), pairs in found.items():
        if len({value for _, value in pairs}) > 1:
            points.setdefault(setting, []).extend(pairs)
    return points


def _legend(
    svg: Svg, report: Report, panels: Sequence[tuple[str, str, list[Point]]], known: dict[str, int]
) -> float:
    """Write the losses' names in their colours, and return where the panels begin."""
    shown = {(t.method, t.loss) for _, _, points in panels for t, _ in points}
    x, y = 0.0, SIZE + 1
    for method, loss in report.board.order:
        if (method, loss) in shown:
            name = report.board.labels.row(method, loss)
            role = f"line-{known[f'{method}/{loss}'] % LINES}"
            if x and x + 10 + width_of(name) > svg.width:
                x, y = 0.0, y + SIZE + 3
            with svg.group(row_key((method, loss))):
                svg.circle(x + 3, y - 2.6, 2.2, role)
                svg.text(x + 8, y, fit(name, svg.width - 10), role=role)
            x += 8 + width_of(name) + 10
    return y + 6


def _panel(
    svg: Svg, title: str, points: Sequence[Point], known: dict[str, int], left: float, wide: float,
    top: float, *, logarithmic: bool,
) -> None:  # fmt: skip
    start, end = left + LEFT, left + wide - 10
    svg.text(start, top + SIZE + 1, fit(title, wide - LEFT), bold=True)
    values = [value for _, value in points]
    upper, bottom = top + HEAD, top + HEAD + HEIGHT
    log = logarithmic and min(values) > 0
    low, high = (min(values), max(values)) if log else padded(min(values), max(values), 0.03)
    x = Scale(low, high, start + 4, end - 4, log)
    scores = [trial.validation for trial, _ in points]
    y = Scale(*padded(min(scores), max(scores)), bottom, upper)
    y_axis(svg, y, start, end)
    x_axis(svg, x, upper, bottom, grid=False)
    svg.text(start - 24, (upper + bottom) / 2, "validation", "middle", "muted", SIZE - 1,
             turned=True)  # fmt: skip
    for trial, value in sorted(points, key=lambda point: bool(point[0].chosen)):
        key = f"{trial.method}/{trial.loss}"
        role = f"line-{known[key] % LINES}"
        with svg.group(key):
            svg.circle(x(value), y(trial.validation), 2.0, role)
            if trial.chosen:
                svg.circle(x(value), y(trial.validation), 4.2, role, hollow=True, width=1.0)
                svg.circle(x(value), y(trial.validation), 2.0, role)
