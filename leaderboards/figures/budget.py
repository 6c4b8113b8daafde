"""Budget curves: the best validation score against the number of tuning trials."""

import math

from leaderboards.figures.curves import Curve, Pair, draw, losses
from leaderboards.figures.svg import Svg
from leaderboards.report.model import Report


def budget(report: Report, width: float) -> Svg | None:
    """Return what each number of trials would have brought, and the difference to the baseline."""
    board = report.board
    labels = board.labels
    nan = math.nan
    pairs = []
    for (task, metric), rows in board.budget.groupby(["task", "metric"], sort=False):
        upper, lower = [], []
        for key, name, look, points in losses(report, rows):
            upper.append(Curve(key, name, look, [(p.trials, p.best, nan, nan) for p in points]))
            apart = [
                (p.trials, p.difference, nan, nan) for p in points if math.isfinite(p.difference)
            ]
            if apart and look:  # The baseline's own difference is 0.
                lower.append(Curve(key, name, look, apart))
        if upper:
            title = f"{labels.task(task)}: {labels.metric(metric)}"
            pairs.append(Pair(title, "best validation", upper, lower, str(task)))
    if not pairs:
        return None
    svg = Svg(
        width,
        "Budget curves",
        "Validation score of the best of so many tuning trials: the mean over all sets of that "
        f"many; below, the difference to {board.baseline_label}. A difference that shrinks "
        "says that the loss suffers less from few trials, not that it is better.",
    )
    draw(svg, pairs, "tuning trials", logarithmic=True, at=sorted(set(board.budget["trials"])))
    return svg
