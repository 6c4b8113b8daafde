"""Scores against a setting in which tasks of the board differ."""

import math
from typing import Any

from leaderboards.analysis.series import SCORE
from leaderboards.analysis.tables import UNTRAINED
from leaderboards.figures.curves import Curve, Pair, draw, losses
from leaderboards.figures.svg import Svg
from leaderboards.report.details import flaws_of
from leaderboards.report.model import Report

LOG_RATIO = 10
"""A setting whose highest value is so many times its lowest has a logarithmic axis."""


def settings(report: Report, width: float) -> Svg | None:
    """Return main scores, and diagnostics that were asked for, against a setting."""
    board = report.board
    labels = board.labels
    rows = board.responses
    rows = rows[(rows["main"].astype(bool) | (rows["kind"] != SCORE)) & rows["at"].notna()]
    rows = rows[rows["loss"].map(board.kinds) != UNTRAINED]  # Far below, it flattens the others.
    flaws = flaws_of(board)
    pairs, ratios = [], []
    for (series, setting, _, metric), rows_of in rows.groupby(
        ["series", "setting", "kind", "metric"], sort=False
    ):
        upper, lower = [], []
        for key, name, look, points in losses(report, rows_of):
            whole = [p for p in points if (p.task, p.method, p.loss) not in flaws]
            if len(whole) < 2:
                continue
            means = [(p.at, p.mean, p.low, p.high) for p in whole]
            upper.append(Curve(key, name, look, means))
            apart = _differences(whole)
            if apart and look:  # The baseline's own difference is 0.
                lower.append(Curve(key, name, look, apart))
        if upper:
            title = f"{series}: {str(setting).replace('_', ' ')}"
            pairs.append(Pair(title, labels.metric(metric), upper, lower))
            at = [value for value in rows_of["at"] if value > 0]
            ratios.append(len(at) == len(rows_of) and max(at) / min(at) >= LOG_RATIO)
    if not pairs:
        return None
    svg = Svg(
        width,
        "Against a setting",
        "Scores of tasks that differ in one setting alone: mean over seeds with its 95 % t "
        f"interval; below, the paired difference to {board.baseline_label}. Each interval "
        "is for its value alone.",
    )
    names = {str(name).replace("_", " ") for name in rows["setting"]}
    x = names.pop() if len(names) == 1 else "value of the setting"
    draw(svg, pairs, x, logarithmic=all(ratios))
    return svg


def _differences(points: list[Any]) -> list[tuple[float, float, float, float]]:
    return [
        (p.at, p.difference, p.difference_low, p.difference_high)
        for p in points
        if not math.isnan(p.difference)
    ]
