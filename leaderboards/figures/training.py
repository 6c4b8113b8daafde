"""Validation scores during training, and the paired difference to the baseline below."""

import pandas as pd

from leaderboards.figures.curves import MAX_BANDS, Curve, Pair, draw, losses
from leaderboards.figures.svg import LINES, Svg
from leaderboards.report.details import flaws_of
from leaderboards.report.model import Report


def training(report: Report, width: float) -> Svg | None:
    """Return scores on the validation split against the step, and paired differences."""
    board = report.board
    main = board.rows[board.rows["main"].astype(bool)]
    panels = set(zip(main["task"], main["metric"], strict=True))
    pairs = [
        _pair(report, curves, str(task), str(metric))
        for (task, metric), curves in board.curves.groupby(["task", "metric"], sort=False)
        if (task, metric) in panels
    ]
    pairs = [pair for pair in pairs if pair.upper]
    if not pairs:
        return None
    caption = (
        "Validation score during training: mean over seeds; below, the paired difference to "
        f"{board.baseline_label}."
    )
    if max(len(pair.upper) for pair in pairs) <= MAX_BANDS:
        caption += " Bands: 95 % t intervals, each for its step alone."
    if board.curves["loss"].nunique() > LINES:
        caption += f" Of more losses, the {LINES} that come first on the board."
    svg = Svg(width, "During training", caption)
    draw(svg, pairs, "optimizer steps")
    return svg


def _pair(report: Report, curves: pd.DataFrame, task: str, metric: str) -> Pair:
    """Return both panels of one task; rows with a flaw are not drawn."""
    labels, flaws = report.board.labels, flaws_of(report.board)
    upper, lower = [], []
    for key, name, look, points in losses(report, curves):
        if (task, points[0].method, points[0].loss) in flaws:
            continue
        scores = [(p.step, p.mean, p.low, p.high) for p in points]
        upper.append(Curve(key, name, look, scores))
        apart = [
            (p.step, p.difference, p.difference_low, p.difference_high) for p in points if p.pairs
        ]
        if apart:
            lower.append(Curve(key, name, look, apart))
    title = f"{labels.task(task)}: {labels.metric(metric)}"
    return Pair(title, "validation", upper, lower, task)
