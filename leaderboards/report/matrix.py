"""The matrix: losses down, tasks across, with what each loss costs."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from leaderboards.analysis.costs import Cost
from leaderboards.analysis.leaderboard import Leaderboard
from leaderboards.analysis.overall import ALL
from leaderboards.analysis.tables import TRAINED, each_row
from leaderboards.analysis.visible import anchor_of, brief
from leaderboards.analysis.words import BASELINE, COLLAPSED, INCOMPLETE, intervals_named
from leaderboards.report import numbers
from leaderboards.report.answer import margin_of
from leaderboards.report.model import (
    COST,
    CSV,
    EVERYWHERE,
    OUTCOMES,
    POOLED,
    SAME,
    SHOWN,
    SYMBOLS,
    TASK,
    Cell,
    Column,
    Drawer,
    Table,
    outcome,
)
from leaderboards.report.scores import hidden, score, thresholds

RowKey = tuple[str, str]
"""Method and loss."""
ARROWS = {"higher": "↑", "lower": "↓"}
ONLY_CSV = frozenset({CSV})


def matrix(
    board: Leaderboard, digits: int, drawers: Mapping[tuple[str, str, str], Drawer]
) -> Table:
    """Return the matrix of losses and tasks, on each task's main metric."""
    labels = board.labels
    main = board.rows[board.rows["main"].astype(bool)]
    rows = {(row.task, (row.method, row.loss)): row for row in each_row(main)}
    kinds = {key: row.kind for (_, key), row in rows.items()}
    columns = [
        Column("label", "Loss", "What people call the row.",
               lambda key: Cell(labels.row(*key), labels.row(*key))),
        Column("method", "Method", "The row's method.", lambda key: Cell("", key[0]), ONLY_CSV),
        Column("loss", "Loss", "The row's loss.", lambda key: Cell("", key[1]), ONLY_CSV),
        Column("kind", "Kind", "`trained`, `control`, `untrained` or `reference`.",
               lambda key: Cell("", kinds[key]), ONLY_CSV),
    ]  # fmt: skip
    for task in dict.fromkeys(main["task"]):
        own = {key: row for (of, key), row in rows.items() if of == task}
        behind = {(method, loss): each.key for (of, method, loss), each in drawers.items()
                  if of == task}  # fmt: skip
        columns += _of_task(labels.task(task), labels.metric, own, behind, digits)
    if main["task"].nunique() > 1 and len(board.overall):
        columns += _pooled(board, digits)
    columns += _costs(board)
    return Table(
        "matrix",
        "Losses and tasks",
        "Test scores and paired differences, on each task's main metric.",
        columns,
        [key for key in board.order if key in kinds],
        "table.csv",
        lambda key: kinds[key] == TRAINED,
    )


def _of_task(
    task: str,
    metric: Callable[[object], str],
    own: Mapping[RowKey, Any],
    behind: Mapping[RowKey, str],
    digits: int,
) -> Iterator[Column]:
    """Yield the column of a task for people, and its figures in full for the CSV file."""
    first = next(iter(own.values()))
    name = metric(first.metric)
    prefix = f"{task} {name}".strip()

    def cell(key: RowKey) -> Cell:
        row = own.get(key)
        if row is None:
            return Cell(numbers.DASH)
        found = score(row, digits)._replace(behind=behind.get(key, ""))
        if row.verdict == BASELINE:
            return found._replace(change="baseline")
        if row.verdict in (INCOMPLETE, COLLAPSED):  # Its difference is no result either.
            return found
        ends = (row.difference_low, row.difference_high)
        change = numbers.half_width(row.difference, *ends, thresholds(row.margin), digits)
        return found._replace(change=change, outcome=outcome(row.verdict))

    yield Column(
        prefix, task, f"{brief(name)} of {brief(task)}.", cell, SHOWN, number=True,
        unit=f"{name} {ARROWS.get(first.direction, '')}".strip() if name else "",
        task=anchor_of(first.task), kind=TASK,
    )  # fmt: skip
    for figure in (
        "mean", "std", "marks", "seeds", "difference", "difference_low", "difference_high",
        "verdict",
    ):  # fmt: skip
        yield hidden(f"{prefix} {figure}", "See `leaderboard.csv`.", own.get, _part(figure))


def _part(name: str) -> Callable[[Any], Any]:
    """Return the function that takes a figure from a row; None from no row."""
    return lambda row: getattr(row, name, None)


def _pooled(board: Leaderboard, digits: int) -> Iterator[Column]:
    """Yield the pooled difference over all tasks."""
    overall = board.overall[board.overall["scope"] == ALL]
    rows = {(row.method, row.loss): row for row in each_row(overall)}
    rows_of = board.rows[board.rows["main"].astype(bool)]

    def cell(key: RowKey) -> Cell:
        row = rows.get(key)
        if row is None or math.isnan(row.pooled):
            return Cell("baseline" if row is not None and row.verdict == BASELINE else numbers.DASH)
        if row.sets == 2:  # Two data sets give an interval with one degree of freedom.
            return Cell(f"{row.pooled:+.{digits}f}", row.pooled, outcome=outcome(row.verdict))
        said = numbers.half_width(row.pooled, row.low, row.high, thresholds(row.margin), digits)
        return Cell(said, row.pooled, outcome=outcome(row.verdict))

    yield Column(
        "pooled", "Over tasks", "Mean over data sets of the difference.", cell, SHOWN, number=True,
        unit="difference" if (rows_of["direction"] != "lower").all() else "above 0 is better",
        kind=POOLED,
    )  # fmt: skip
    for figure in ("pooled", "low", "high", "verdict"):
        yield hidden(f"over_tasks {figure}", "See `overall.csv`.", rows.get, _part(figure))


def _costs(board: Leaderboard) -> Iterator[Column]:
    """Yield what a row costs: on one task as measured, on several relative to the baseline."""
    tasks = list(dict.fromkeys(task for task, *_ in board.costs))
    yield _cost(board, tasks, 0, "step_seconds", "Time a step", numbers.seconds)
    yield _cost(board, tasks, 1, "memory", "Peak memory", numbers.memory)


def _cost(
    board: Leaderboard, tasks: Sequence[str], which: int, key: str, heading: str,
    form: Callable[[float], str],
) -> Column:  # fmt: skip
    base = (board.baseline_method, board.baseline)
    several = len(tasks) > 1

    def cell(row: RowKey) -> Cell:
        costs = [board.costs.get((task, *row)) for task in tasks]
        if several:
            bases = [board.costs.get((task, *base)) for task in tasks]
            value = ratio(costs, bases, which)
            return Cell(numbers.number(value, ".2f"), value)
        value = costs[0][which] if costs and costs[0] else math.nan
        return Cell(form(value), value)

    about = (
        "The geometric mean over tasks of the ratio to the baseline's."
        if several
        else (
            "Seconds of a training step, the median over seeds."
            if key == "step_seconds"
            else "The largest over seeds, in bytes."
        )
    )
    return Column(
        f"{key}_ratio" if several else key, heading, about, cell, EVERYWHERE, number=True,
        unit="of the baseline's" if several else "", kind=COST,
    )  # fmt: skip


def ratio(costs: list[Cost | None], bases: list[Cost | None], which: int) -> float:
    """Return the geometric mean of the ratios of costs; NaN unless every task has both.

    >>> ratio([Cost(2.0, 1.0), Cost(8.0, 1.0)], [Cost(1.0, 1.0), Cost(1.0, 1.0)], 0)
    4.0
    """
    pairs = list(zip(costs, bases, strict=True))
    if not pairs or any(not one or not other or other[which] <= 0 for one, other in pairs):
        return math.nan
    logs = [math.log(one[which] / other[which]) for one, other in pairs if one and other]
    return math.exp(fmean(logs))


def legend(board: Leaderboard) -> str:
    """Return what the matrix's figures and marks mean."""
    margin = margin_of(board)
    within = f" ({margin})" if margin else ""
    signs = ", ".join(
        f"{symbol} {OUTCOMES[kind]}{f' within the margin{within}' if kind == SAME else ''}"
        for kind, symbol in SYMBOLS.items()
    )  # fmt: skip
    return (
        "Mean test score ± standard deviation over seeds, and the paired difference to "
        f"{board.baseline_label} ± half its 95 % interval. Intervals: "
        f"{intervals_named(screening=board.screening)}. {signs}. Bold: best."
    )
