"""The matrix: losses down, tasks across, with what each loss costs."""

import math
from collections.abc import Callable, Iterator, Mapping
from statistics import fmean
from typing import Any

from leaderboards.analysis.costs import Cost
from leaderboards.analysis.leaderboard import Leaderboard
from leaderboards.analysis.overall import ALL
from leaderboards.analysis.tables import TRAINED, each_row
from leaderboards.analysis.words import BASELINE, COLLAPSED, INCOMPLETE, amount
from leaderboards.report import numbers
from leaderboards.report.parts import CSV, SHOWN, Cell, Column, Drawer, Table, outcome
from leaderboards.report.scores import hidden, marks_of, score

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
    if main["task"].nunique() > 1:
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
        change = numbers.half_width(row.difference, *ends, marks_of(row.margin), digits)
        return found._replace(change=change, outcome=outcome(row.verdict))

    yield Column(
        prefix, task, f"{name} of {task}.", cell, SHOWN, number=True,
        unit=f"{name} {ARROWS.get(first.direction, '')}".strip(), task=first.task,
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

    def cell(key: RowKey) -> Cell:
        row = rows.get(key)
        if row is None or math.isnan(row.pooled):
            return Cell("baseline" if row is not None and row.verdict == BASELINE else numbers.DASH)
        said = numbers.half_width(row.pooled, row.low, row.high, marks_of(row.margin), digits)
        return Cell(said, row.pooled, outcome=outcome(row.verdict))

    yield Column(
        "pooled", "Over tasks", "Mean over data sets of the difference.", cell, SHOWN, number=True,
        unit="difference",
    )  # fmt: skip
    for figure in ("pooled", "low", "high", "verdict"):
        yield hidden(f"over_tasks {figure}", "See `overall.csv`.", rows.get, _part(figure))


def _costs(board: Leaderboard) -> Iterator[Column]:
    """Yield what a row costs: on one task as measured, on several relative to the baseline."""
    tasks = list(dict.fromkeys(task for task, *_ in board.costs))
    base = (board.baseline_method, board.baseline)
    for key, heading, form, which in (
        ("step_seconds", "Time a step", numbers.seconds, 0),
        ("memory", "Peak memory", numbers.memory, 1),
    ):

        def measured(row: RowKey, which: int = which) -> float:
            costs = [board.costs.get((task, *row)) for task in tasks]
            bases = [board.costs.get((task, *base)) for task in tasks]
            if len(tasks) == 1:
                return costs[0][which] if costs[0] else math.nan
            return ratio(costs, bases, which)

        if len(tasks) == 1:
            show, unit = form, "seconds" if which == 0 else "bytes"
        else:
            show, unit = _times, "of the baseline's"

        def cell(
            row: RowKey,
            measured: Callable[[RowKey], float] = measured,
            show: Callable[[float], str] = show,
        ) -> Cell:
            return Cell(show(measured(row)), measured(row))

        about = "The geometric mean over tasks of the ratio to the baseline's."
        yield Column(
            key, heading, about, cell, SHOWN | ONLY_CSV, number=True,
            unit=unit if len(tasks) > 1 else "",
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


def _times(value: float) -> str:
    return numbers.number(value, ".2f")


def legend(board: Leaderboard) -> str:
    """Return what the matrix's figures and marks mean."""
    main = board.rows[board.rows["main"].astype(bool)]
    known = main[main["margin"].notna()]
    margins = {amount(row.margin, row.unit) for row in each_row(known)}
    margin = f" ({margins.pop()})" if len(margins) == 1 else ""
    return (
        "Mean test score ± standard deviation over seeds, and the paired difference to "
        f"{board.labels.loss(board.baseline)} ± half its 95 % interval, simultaneous over the "
        f"losses of a task. ▲ better, ▼ worse, = equivalent within the margin{margin}, "
        "· undecided. Bold: best."
    )
