"""Pooled differences over all tasks: a forest plot with prediction intervals."""

import math

from leaderboards.analysis.overall import ALL
from leaderboards.analysis.tables import TRAINED, each_row
from leaderboards.analysis.words import BASELINE
from leaderboards.figures.forest import Estimate, Panel, draw
from leaderboards.figures.svg import Svg
from leaderboards.report.model import UNSETTLED, Report, outcome


def pooled(report: Report, width: float) -> Svg | None:
    """Return each loss's difference over all data sets, and where a next one would lie."""
    board = report.board
    over = board.overall
    rows = over[(over["scope"] == ALL) & (over["kind"] == TRAINED) & (over["sets"] > 2)]
    estimates = []
    for row in each_row(rows[rows["low"].notna() & (rows["verdict"] != BASELINE)]):
        ahead = (row.next_low, row.next_high)
        interval = (row.low, row.high)
        estimates.append(
            Estimate(
                f"{row.method}/{row.loss}",
                board.labels.row(row.method, row.loss),
                row.pooled,
                interval if math.isnan(ahead[0]) else ahead,
                interval,
                (),
                outcome(row.verdict) or UNSETTLED,
            )
        )
    if not estimates:
        return None
    first = rows.iloc[0]
    base = board.baseline_label
    svg = Svg(
        width,
        "Pooled differences",
        f"Difference to {base} over {first['of_tasks']} tasks, each data set once. Thick line: 95 "
        "% interval of the mean (Hartung and Knapp), simultaneous over the losses; thin line: "
        "where the difference on a further data set would lie.",
    )
    margin = first["margin"]
    known = margin is not None and not math.isnan(margin)
    panel = Panel("", estimates, float(margin) if known else None)
    draw(svg, [panel], f"pooled difference to {base}, in points")
    return svg
