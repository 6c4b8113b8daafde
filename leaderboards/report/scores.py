"""The tables of scores: a row per task, metric, method and loss, and a row per loss over tasks."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from typing import Any

from leaderboards.analysis.diagnostics import KNOWN, Final, finals, written
from leaderboards.analysis.leaderboard import Leaderboard
from leaderboards.analysis.marks import BEST, TIED, flaw
from leaderboards.analysis.overall import ALL
from leaderboards.analysis.tables import each_row
from leaderboards.analysis.words import BASELINE, COLLAPSED, INCOMPLETE, MEANINGS, with_margin
from leaderboards.report import numbers
from leaderboards.report.model import CSV, EVERYWHERE, PAGE, SHOWN, Cell, Column, Table, outcome

Row = Any
"""A row of a table of the board, as a named tuple."""


def text(value: object) -> Cell:
    """Return a cell of a text."""
    return Cell("" if value is None or value != value else str(value), value)


def plain(value: Any, form: str = "g") -> Cell:
    """Return a cell of a number, or of a truth value."""
    if isinstance(value, bool) or value is None:
        return Cell(str(value if value is not None else ""), value)
    return Cell(numbers.number(float(value), form), value)


def raw(key: str, help: str) -> Column:
    """Return a column that the CSV file alone has: the number in full."""
    cell: Callable[[Row], Cell] = lambda row: Cell("", getattr(row, key))  # noqa: E731
    return Column(key, key, help, cell, frozenset({CSV}))


def hidden(key: str, help: str, found: Callable[[Row], Any], part: Callable[[Any], Any]) -> Column:
    """Return a column for the CSV file alone: ``part`` of what ``found`` returns for a row."""
    return Column(key, "", help, lambda row: Cell("", part(found(row))), frozenset({CSV}))


def thresholds(margin: float | None) -> tuple[float, ...]:
    """Return the values that rounding must not move an end of an interval across."""
    return (0.0,) if margin is None or math.isnan(margin) else (-margin, 0.0, margin)


def score(row: Row, digits: int) -> Cell:
    """Return a row's mean and deviation, never without its flaw."""
    why = flaw(row._asdict())
    shown = numbers.number(row.mean, f".{digits}f") + (f" ({why})" if why else "")
    spread = "" if math.isnan(row.std) else f"{row.std:.{digits}f}"
    return Cell(shown, row.mean, spread, best=bool(row.best))


def difference(row: Row, digits: int = 2) -> str:
    """Return a row's paired difference with its interval, as text."""
    ends = (row.difference_low, row.difference_high)
    return numbers.interval(row.difference, *ends, thresholds(row.margin), digits)


def scores(board: Leaderboard, digits: int) -> Table:
    """Return the table of all scores and of what is said of each."""
    labels = board.labels
    several = board.rows["method"].nunique() > 1

    def compared(row: Row) -> Cell:
        if row.verdict == BASELINE:
            return Cell("baseline", row.difference)
        if row.verdict in (INCOMPLETE, COLLAPSED):  # Its difference is no result either.
            return Cell(numbers.DASH, row.difference)
        return Cell(difference(row, digits), row.difference, outcome=outcome(row.verdict))

    columns = [
        Column("task", "Task", "What was learned from, and where the score was measured; the CSV "
               "file has its spec.", lambda row: Cell(labels.task(row.task), row.task)),
        raw("modality", "The task's modality."),
        Column("method", "Method", "How an encoder and two views become what the loss compares.",
               lambda row: Cell(labels.method(row.method), row.method),
               EVERYWHERE if several else frozenset({CSV})),
        Column("loss", "Loss", "The row: a loss, `untrained`, a reference or the control; the CSV "
               "file has its spec, with `[tuned]` if it was tuned.",
               lambda row: Cell(labels.loss(row.loss), row.loss)),
        Column("label", "Label", "What people call the row.",
               lambda row: text(labels.row(row.method, row.loss)), frozenset({CSV})),
        raw("spec", "The loss with the settings that its cells had."),
        raw("kind", "`trained`, `untrained`, `reference` or `control`."),
        Column("metric", "Metric", "What was measured on the test split.",
               lambda row: Cell(labels.metric(row.metric), row.metric)),
        raw("main", "Whether it is the task's main metric."),
        raw("unit", "The metric's unit; `%`: points."),
        raw("direction", "Whether `higher` or `lower` is better."),
        Column("mean", "Mean ± sd", "Mean of the test scores over the seeds that have one. What "
               "stands in brackets is missing from it, or collapsed: such a mean is no result.",
               lambda row: score(row, digits), number=True),
        raw("std", "Standard deviation of the scores over seeds (n - 1)."),
        Column("marks", "Marks", "`best`: the best rank of its task and metric; `tied`: the "
               "interval of the difference to the best, simultaneous over all pairs, holds 0; "
               "`2 of 4 seeds`: the mean lacks seeds; `collapsed`: representations hardly differ.",
               lambda row: text(row.marks), frozenset({CSV})),
        raw("seeds", "Seeds with a score."),
        raw("planned", "Seeds that were planned."),
        Column("difference", "Difference [95 %]", "Mean over paired seeds of the row's score minus "
               "the baseline's. Two cells are a pair if they started from the same weights, "
               "splits, data and code and saw the same batches and views.", compared, number=True),
        raw("difference_low", "Low end of the interval of the difference. It holds for all trained "
            "losses of a task together in 95 % of cases, and allows for the score's resolution; "
            "rows that are no rivals have an interval of their own. Empty below 3 pairs."),
        raw("difference_high", "High end of that interval."),
        Column("bound", "Bound", "The difference is smaller than this, either way: the larger size "
               "of the two ends.", lambda row: Cell(numbers.bound(row.bound), row.bound),
               number=True),
        Column("difference_std", "SD", "Standard deviation of the paired differences.",
               lambda row: plain(row.difference_std, ".2f"), number=True),
        raw("control_std", "The same of the control row: the noise of rounding alone."),
        raw("pairs", "Seeds at which the row and the baseline are a pair."),
        Column("p", "p", "The level at which the simultaneous interval begins to hold 0; empty if "
               "all differences are equal.", lambda row: Cell(numbers.p_value(row.p), row.p),
               frozenset({PAGE, CSV}), number=True),
        raw("constant", "Whether all differences are equal: they are one observation."),
        raw("margin", "The smallest difference that matters, from the metric, the study or "
            "`--margin`."),
        raw("resolution", "One test item's weight in a score."),
        Column("verdict", "Verdict", "What the interval says, with the margin m: "
               + " ".join(f"*{word}*: {meaning}." for word, meaning in MEANINGS.items()),
               lambda row: Cell(with_margin(row.verdict, row.margin, row.unit), row.verdict)),
        raw("seeds_to_decide", "For an open row: pairs that make the interval narrower than the "
            "margin, whatever the difference is."),
        raw("bootstrap_low", "Low end of the 95 % bootstrap interval over seeds, from 8 on."),
        raw("bootstrap_high", "High end of that interval."),
        raw("area", "Paired difference of the mean validation score during training (the area "
            "under the curve over the steps)."),
        raw("area_low", "Low end of its 95 % t interval."),
        raw("area_high", "High end of that interval."),
        Column("rank", "Rank", "Rank within the task by `block_mean`: 1 is best, ties share. A row "
               "that lacks one of the baseline's seeds, failed or collapsed has none.",
               lambda row: plain(row.rank), number=True),
        raw("block_mean", "Mean over the baseline's seeds."),
        raw("best", f"Whether the row is marked `{BEST}`."),
        raw("tied", f"Whether the row is marked `{TIED}`."),
        raw("trained", "Whether the row was trained by a loss of the study."),
        raw("failed", "Seeds that failed or diverged."),
        raw("collapsed", "Seeds whose representations are nearly the same for every example."),
        raw("learned", "Whether the row is shown to be above `untrained`; empty if not tested."),
        Column("step_seconds", "Time a step", "Seconds of one training step, the median over "
               "seeds.", lambda row: _cost(board, row, 0), frozenset({PAGE, CSV}), number=True),
        Column("memory", "Peak memory", "The largest over seeds, in bytes: the GPU's, else the "
               "process's.", lambda row: _cost(board, row, 1), frozenset({PAGE, CSV}),
               number=True),
    ]  # fmt: skip
    measured = finals(board)
    for name in board.asked:
        columns += diagnostic_columns(name, measured)
    return Table(
        "scores",
        "All scores",
        "Test scores, and paired differences to the baseline, by task and metric.",
        columns,
        list(each_row(board.rows)),
        "leaderboard.csv",
        lambda row: (row.task, row.metric),
    )


def diagnostic_columns(
    name: str, measured: Mapping[tuple[str, str, str], Mapping[str, Final]]
) -> Iterator[Column]:
    """Yield the columns of a diagnostic: as people read it, and its two numbers in full."""

    def final(row: Row) -> Final:
        nothing = Final(math.nan, math.nan)
        return measured.get((row.task, row.method, row.loss), {}).get(name, nothing)

    about = KNOWN.get(name, "A diagnostic.")
    shown = Column(
        f"diagnostic_{name}", name.replace("_", " "), about,
        lambda row: Cell(written(final(row)) or numbers.DASH, final(row).mean), SHOWN, number=True,
    )  # fmt: skip
    yield shown
    for figure, of in (("mean", attrgetter("mean")), ("std", attrgetter("std"))):
        yield hidden(f"diagnostic_{name}_{figure}", f"{about} Its {figure} over seeds.", final, of)


def _cost(board: Leaderboard, row: Row, which: int) -> Cell:
    cost = board.costs.get((row.task, row.method, row.loss))
    value = math.nan if cost is None else cost[which]
    return Cell((numbers.seconds, numbers.memory)[which](value), value)


def overall(board: Leaderboard, digits: int) -> Table:
    """Return the table over tasks: a pooled difference for every loss."""
    labels = board.labels

    def pooled(row: Row) -> Cell:
        if row.verdict == BASELINE:
            return Cell("baseline", row.pooled)
        shown = numbers.interval(row.pooled, row.low, row.high, thresholds(row.margin), digits)
        return Cell(shown, row.pooled, outcome=outcome(row.verdict))

    columns = [
        Column("scope", "Over", "`all` tasks, or those of one modality.",
               lambda row: Cell("all tasks" if row.scope == ALL else row.scope, row.scope)),
        raw("method", "The row's method."),
        Column("loss", "Loss", "The row's loss.",
               lambda row: Cell(labels.row(row.method, row.loss), row.loss)),
        raw("kind", "`trained`, `untrained` or `control`."),
        raw("tasks", "Tasks on which the row was compared."),
        Column("of_tasks", "Tasks", "Tasks with a main metric in points; the row was compared on "
               "so many of them.", lambda row: Cell(f"{row.tasks} of {row.of_tasks}", row.of_tasks),
               number=True),
        raw("sets", "Data sets that these tasks are on."),
        Column("pooled", "Pooled difference [95 %]", "Mean over data sets of the difference to the "
               "baseline, in points; tasks on one data set are averaged first, seed by seed. The "
               "interval is Hartung and Knapp's, simultaneous over the losses. A row that was not "
               "compared on every task has none.", pooled, number=True),
        raw("low", "Low end of the interval."),
        raw("high", "High end of the interval."),
        raw("margin", "The smallest difference that matters, if all tasks have the same."),
        Column("verdict", "Verdict", "What the pooled interval says.",
               lambda row: Cell(with_margin(row.verdict, row.margin, "%"), row.verdict)),
        Column("tau", "Between data sets", "Standard deviation of the true differences between "
               "data sets (Paule and Mandel).", lambda row: plain(row.tau, ".2f"), number=True),
        Column("i2", "I²", "Share of the variance between data sets that is not noise.",
               lambda row: plain(row.i2, ".0%"), frozenset({PAGE, CSV}), number=True),
        Column("next_low", "Next task [95 %]", "Where the difference measured on a further data "
               "set would lie, from 3 data sets on; in CSV its low end.",
               lambda row: Cell(numbers.span(row.next_low, row.next_high) or numbers.DASH,
                                row.next_low), number=True),
        raw("next_high", "Its high end."),
        Column("improvement", "Seeds better", "Share of the paired seeds that are better, a tie "
               "counted half, mean over data sets.", lambda row: plain(row.improvement, ".2f"),
               number=True),
        raw("not_pooled", "Tasks whose metric is not in points."),
        Column("rank", "Rank", "Order of the pooled differences, with the baseline at 0.",
               lambda row: plain(row.rank), frozenset({PAGE, CSV}), number=True),
    ]  # fmt: skip
    shown = [row for _, part in scopes(board) for row in part]
    return Table(
        "overall", "Over tasks", "Differences pooled over data sets.", columns, shown,
        "overall.csv", lambda row: row.scope,
    )  # fmt: skip


def scopes(board: Leaderboard) -> Iterator[tuple[str, Sequence[Row]]]:
    """Yield the parts of the table over tasks that say something new.

    A modality of one task repeats its task, and one that is alone repeats ``all``.
    """
    alone = board.overall["scope"].nunique() <= 2
    for scope, part in board.overall.groupby("scope", sort=False):
        if scope == ALL or (part["tasks"].max() > 1 and not alone):
            yield str(scope), list(each_row(part))
