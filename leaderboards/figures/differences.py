"""Paired differences to the baseline: a forest plot, a panel a task."""

import math
from collections.abc import Iterable
from typing import Any

from leaderboards.analysis.marks import flaw
from leaderboards.analysis.tables import CONTROL, each_row
from leaderboards.analysis.words import BASELINE, COLLAPSED, INCOMPLETE, intervals_named
from leaderboards.figures.forest import Estimate, Panel, draw
from leaderboards.figures.svg import Svg
from leaderboards.report.model import UNSETTLED, Report, outcome, row_key
from leaderboards.statistics.paired import ALPHA, MIN_SEEDS, of_samples, paired_interval

NOT_DRAWN = (BASELINE, INCOMPLETE, COLLAPSED)
"""Rows of these verdicts have no difference that means anything."""


def differences(report: Report, width: float) -> Svg | None:
    """Return each loss's paired difference on every task, with its intervals."""
    board = report.board
    labels = board.labels
    main = board.rows[board.rows["main"].astype(bool)]
    shown = main[main["trained"].astype(bool) | (main["kind"] == CONTROL)]
    left_out = shown[shown["verdict"].isin([INCOMPLETE, COLLAPSED])]
    flaws: dict[tuple[str, str], dict[str, None]] = {key: {} for key in board.order}
    for row in each_row(shown):  # Dicts keep the order in which flaws are first seen.
        flaws[row.method, row.loss][flaw(row._asdict())] = None
    names = {row_key(key): _named(labels.row(*key), flaws[key]) for key in board.order}
    panels = []
    for _, rows in shown.groupby("task", sort=False):
        own = [
            _estimate(report, row, names[row_key(row)])
            for row in each_row(rows)
            if row.verdict not in NOT_DRAWN and not math.isnan(row.difference)
        ]
        first = rows.iloc[0]
        margin = None if first["margin"] is None or math.isnan(first["margin"]) else first["margin"]
        if own:
            title = labels.task(first["task"])
            title += " (lower is better)" if first["direction"] == "lower" else ""
            panels.append(Panel(title, own, margin, str(first["task"])))
    if not panels:
        return None
    base = board.baseline_label
    caption = (
        f"Paired differences to {base}. Dot: mean over seeds; thin lines: "
        f"{intervals_named(screening=board.screening)}; thick line: the row's own; small dots: "
        "seeds; grey band: the margin. Filled: decided; an arrow points at what lies far outside."
    )
    lost = dict.fromkeys(labels.row(row.method, row.loss) for row in each_row(left_out))
    if lost:
        caption += f" Not drawn, because of failed seeds or collapse: {', '.join(lost)}."
    svg = Svg(width, "Paired differences", caption)
    units = {"points" if unit == "%" else unit for unit in main["unit"] if unit}
    unit = units.pop() if len(units) == 1 else "the metric's unit"
    draw(svg, panels, f"difference to {base}, in {unit}")
    return svg


def _named(label: str, flaws: Iterable[str]) -> str:
    """Return a loss's label, with what its means lack on these tasks."""
    marks = [why for why in flaws if why]
    return f"{label} ({'; '.join(marks)})" if marks else label


def _estimate(report: Report, row: Any, name: str) -> Estimate:
    """Return a row of the plot."""
    board = report.board
    seeds = board.differences.get((row.task, row.metric, row.method, row.loss), {})
    values = list(seeds.values())
    own = (math.nan, math.nan)
    if len(values) >= MIN_SEEDS and not board.screening:
        _, low, high = of_samples(paired_interval, [values], [row.resolution], [ALPHA])
        own = (float(low[0]), float(high[0]))
    return Estimate(
        row_key(row),
        name,
        row.difference,
        (row.difference_low, row.difference_high),
        own,
        values,
        outcome(row.verdict) or UNSETTLED,
    )
