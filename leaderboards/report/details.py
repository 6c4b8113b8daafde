"""The tables behind the scores: tuning, curves, diagnostics, failed cells, published numbers."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from leaderboards.analysis.diagnostics import finals, in_order
from leaderboards.analysis.leaderboard import Leaderboard
from leaderboards.analysis.marks import flaw
from leaderboards.analysis.pairing import pairing_table
from leaderboards.analysis.series import SCORE
from leaderboards.analysis.tables import each_row
from leaderboards.analysis.visible import MAX_TEXT
from leaderboards.report import numbers
from leaderboards.report.model import CSV, EVERYWHERE, PAGE, Cell, Column, Table
from leaderboards.report.scores import diagnostic_columns, plain, raw, text

Row = Any
ONLY_CSV = frozenset({CSV})


class _Names:
    """The columns that name a row in every table."""

    def __init__(self, board: Leaderboard) -> None:
        labels = board.labels
        several = board.rows["method"].nunique() > 1
        where = EVERYWHERE if several else ONLY_CSV
        flaws = flaws_of(board)

        def marked(row: Row) -> Cell:
            why = flaws.get((row.task, row.method, row.loss), "")
            label = labels.loss(row.loss)
            return Cell(f"{label} ({why})" if why else label, row.loss)

        self.task = Column("task", "Task", "The task.",
                           lambda row: Cell(labels.task(row.task), row.task))  # fmt: skip
        self.metric = Column("metric", "Metric", "What was measured.",
                             lambda row: Cell(labels.metric(row.metric), row.metric))  # fmt: skip
        self.method = Column("method", "Method", "The method.",
                             lambda row: Cell(labels.method(row.method), row.method),
                             where)  # fmt: skip
        self.loss = Column("loss", "Loss", "The loss.",
                           lambda row: Cell(labels.loss(row.loss), row.loss))  # fmt: skip
        self.marked_loss = Column("loss", "Loss", "The loss; in brackets what its mean lacks.",
                                  marked)  # fmt: skip
        self.marks = Column(
            "marks", "Marks", "What the row's means lack: seeds, or representations that differ.",
            lambda row: text(flaws.get((row.task, row.method, row.loss), "")), ONLY_CSV,
        )  # fmt: skip


def flaws_of(board: Leaderboard) -> dict[tuple[str, str, str], str]:
    """Return {(task, method, loss): why its means are no result}, for rows with a flaw."""
    main = board.rows[board.rows["main"].astype(bool)]
    found = {(row.task, row.method, row.loss): flaw(row._asdict()) for row in each_row(main)}
    return {key: why for key, why in found.items() if why}


def _mean(form: str = ".2f") -> Callable[[Row], Cell]:
    """Return how a mean with its interval is shown."""

    def cell(row: Row) -> Cell:
        ends = numbers.span(row.low, row.high, form)
        return Cell(f"{numbers.number(row.mean, form)} {ends}".strip(), row.mean)

    return cell


def curves(board: Leaderboard) -> Table:
    """Return the validation scores during training."""
    names = _Names(board)
    columns = [
        names.task, raw("modality", "The task's modality."), names.metric, names.method,
        names.marked_loss, names.marks,
        Column("step", "Step", "Optimizer steps; at 0 the encoder is untrained.",
               lambda row: plain(row.step, ",.0f"), number=True),
        Column("mean", "Mean [95 %]", "Mean over the seeds that were probed at every step, with "
               "its t interval.", _mean(), number=True),
        raw("low", "Low end of the interval."), raw("high", "High end of the interval."),
        Column("seeds", "Seeds", "Their number.", lambda row: plain(row.seeds), number=True),
        Column("difference", "Difference [95 %]", "Mean over paired seeds of the score minus the "
               "baseline's at that step, with a t interval for that step alone.",
               lambda row: Cell(numbers.interval(row.difference, row.difference_low,
                                                 row.difference_high), row.difference),
               number=True),
        raw("difference_low", "Low end of its interval."),
        raw("difference_high", "High end of its interval."),
        raw("pairs", "Paired seeds."),
    ]  # fmt: skip
    return Table(
        "curves", "Validation scores during training",
        "Scores on the validation split, which no test score depends on.", columns,
        list(each_row(board.curves)), "curves.csv", lambda row: (row.task, row.metric), long=True,
    )  # fmt: skip


def tuned(board: Leaderboard) -> Table:
    """Return the chosen settings, and where in their space they lie."""
    names = _Names(board)
    columns = [
        names.task, names.method, names.loss,
        Column("setting", "Setting", "The setting that was searched.",
               lambda row: text(row.setting)),
        Column("value", "Chosen", "Its value in the trial with the best validation score.",
               lambda row: _value(row.value), number=True),
        Column("low", "Of", "The range that was searched; in CSV its low end.", _range),
        raw("high", "The range's high end."),
        raw("log", "Whether the range was searched on a logarithmic scale."),
        Column("position", "Place", "Where the value lies in its range, from 0 to 1. Near an end a "
               "better value may lie outside: widen the space.",
               lambda row: Cell(numbers.number(row.position, ".2f")
                                + (" (border)" if row.at_border else ""), row.position),
               number=True),
        raw("at_border", "Whether it is near an end."),
        Column("validation", "Validation", "The chosen trial's validation score.",
               lambda row: plain(row.validation, ".2f"), number=True),
        Column("trial", "Trial", "Which trial was chosen, counted from 0 as everywhere.",
               lambda row: plain(row.trial), number=True),
        Column("trials", "Trials", "How many trials there were.", lambda row: plain(row.trials),
               number=True),
        raw("spec", "The loss with the chosen settings."),
    ]  # fmt: skip
    return Table(
        "tuned", "Chosen settings", "The best trial on validation is run again with fresh seeds.",
        columns, list(each_row(board.tuned)), "tuned.csv", lambda row: (row.task, row.loss),
    )  # fmt: skip


def _value(value: Any) -> Cell:
    return Cell(f"{value:.4g}" if isinstance(value, float) else str(value), value)


def _range(row: Row) -> Cell:
    if math.isnan(row.low):
        return Cell("a list", None)
    return Cell(f"{row.low:g} to {row.high:g}{', log' if row.log else ''}", row.low)


def trials(board: Leaderboard) -> Table:
    """Return every tuning trial."""
    names = _Names(board)
    columns = [
        names.task, raw("modality", "The task's modality."), names.metric, names.method, names.loss,
        Column("trial", "Trial", "Its number, counted from 0: the same point of the sequence for "
               "every loss.", lambda row: plain(row.trial), number=True),
        Column("validation", "Validation", "Mean validation score over the tuning seeds.",
               lambda row: Cell(numbers.number(row.validation, ".2f"), row.validation,
                                "" if math.isnan(row.std) else f"{row.std:.2f}"), number=True),
        raw("std", "Its standard deviation."),
        Column("seeds", "Seeds", "Tuning seeds with a score.", lambda row: plain(row.seeds),
               number=True),
        Column("status", "Status", "`done`, or why it has no score.",
               lambda row: Cell("chosen" if row.chosen else row.status, row.status)),
        raw("chosen", "Whether it was chosen."),
        Column("spec", "Settings", "The loss with the settings of the trial.",
               lambda row: text(row.spec)),
        raw("settings", "All settings, as JSON."),
    ]  # fmt: skip
    return Table(
        "trials", "Every trial", "Trials are compared on the validation split alone.", columns,
        list(each_row(board.trials)), "trials.csv", lambda row: (row.task, row.loss), long=True,
    )  # fmt: skip


def budget(board: Leaderboard) -> Table:
    """Return what each number of tuning trials would have brought."""
    names = _Names(board)
    columns = [
        names.task, names.metric, names.method, names.loss,
        Column("trials", "Trials", "How many trials the best is chosen of.",
               lambda row: plain(row.trials), number=True),
        Column("best", "Best", "Validation score of the best of so many trials: the mean over all "
               "sets of that many.", lambda row: plain(row.best, ".2f"), number=True),
        Column("difference", "Difference", "The same minus the baseline's.",
               lambda row: Cell(numbers.number(row.difference, "+.2f"), row.difference),
               number=True),
    ]  # fmt: skip
    return Table(
        "budget", "Score by number of trials",
        "Validation score of the best of so many tuning trials, which flatters every loss alike.",
        columns, list(each_row(board.budget)), "budget.csv", lambda row: (row.task, row.loss),
    )  # fmt: skip


def diagnostics(board: Leaderboard) -> Table:
    """Return the diagnostics at the end of training, a column each."""
    names = _Names(board)
    measured = finals(board)
    found = in_order(name for own in measured.values() for name in own)
    columns = [names.task, names.method, names.marked_loss]
    columns += [column for name in found for column in diagnostic_columns(name, measured)]
    rows = board.rows[board.rows["main"].astype(bool)].drop_duplicates(["task", "method", "loss"])
    source = [row for row in each_row(rows) if (row.task, row.method, row.loss) in measured]
    return Table(
        "diagnostics", "Diagnostics at the end of training",
        "Measured beside the scores on held-out examples; none is better or worse, none is ranked.",
        columns, source if found else [], "", lambda row: row.task, long=True,
    )  # fmt: skip


def diagnostic_steps(board: Leaderboard) -> Table:
    """Return the diagnostics at every step, for their CSV file."""
    names = _Names(board)
    columns = [
        names.task, raw("modality", "The task's modality."), names.method, names.loss, names.marks,
        *(raw(key, about) for key, about in (
            ("diagnostic", "The diagnostic's name."), ("step", "Optimizer steps."),
            ("final", "Whether it is the last step."), ("mean", "Mean over seeds."),
            ("std", "Standard deviation over seeds."), ("low", "Low end of the 95 % t interval."),
            ("high", "High end of the interval."), ("seeds", "Number of seeds."),
        )),
    ]  # fmt: skip
    return Table(
        "diagnostic_steps", "Diagnostics during training", "", columns,
        list(each_row(board.diagnostics)), "diagnostics.csv",
    )  # fmt: skip


def settings(board: Leaderboard) -> Table:
    """Return scores against a setting in which tasks of the board differ."""
    names = _Names(board)

    def form(row: Row) -> str:
        return ".2f" if row.kind == SCORE else ".4g"

    columns = [
        Column("series", "Tasks", "What the tasks have in common.", lambda row: text(row.series)),
        Column("setting", "Setting", "What they differ in.",
               lambda row: Cell(row.setting.replace("_", " "), row.setting)),
        Column("at", "Value", "The setting's value; `as is` where the records do not tell it.",
               lambda row: Cell("as is" if math.isnan(row.at) else f"{row.at:g}", row.at),
               number=True),
        raw("task", "The task."), raw("kind", "`score` or `diagnostic`."), names.metric,
        raw("main", "Whether it is the main metric."), names.method, names.marked_loss,
        names.marks,
        Column("mean", "Mean [95 %]", "Mean over seeds and its t interval.",
               lambda row: _mean(form(row))(row), number=True),
        raw("low", "Low end of the interval."), raw("high", "High end of the interval."),
        raw("seeds", "Number of seeds."),
        Column("difference", "Difference [95 %]", "Paired difference to the baseline at the same "
               "value, with a t interval for that value alone.",
               lambda row: Cell(numbers.interval(row.difference, row.difference_low,
                                                 row.difference_high), row.difference),
               number=True),
        raw("difference_low", "Low end of its interval."),
        raw("difference_high", "High end of its interval."), raw("pairs", "Paired seeds."),
        raw("change", "Paired difference to the same loss at the first value."),
        raw("change_low", "Low end of its 95 % t interval."),
        raw("change_high", "High end of its interval."),
        raw("change_pairs", "Seeds at which both start from the same weights."),
        raw("differs", "What else the two settings do not share, such as their batches."),
    ]  # fmt: skip
    return Table(
        "settings", "Against a setting",
        "Tasks of this board that differ in one setting alone.", columns,
        list(each_row(board.responses)), "settings.csv", lambda row: (row.series, row.metric),
        long=True,
    )  # fmt: skip


def pairing(board: Leaderboard) -> Table:
    """Return how much pairing by seed lowers the variance, for its CSV file."""
    labels = board.labels
    columns = [
        Column("scope", "Scope", "The task, or what is pooled.",
               lambda row: Cell(labels.task(row.scope), row.scope)),
        Column("metric", "Metric", "The metric.",
               lambda row: Cell(labels.metric(row.metric), row.metric)),
        raw("method", "The method."),
        Column("loss", "Loss", "The loss.", lambda row: Cell(labels.loss(row.loss), row.loss)),
        Column("seeds", "Seeds", "Paired seeds.", lambda row: plain(row.seeds), number=True),
        Column("paired_variance", "Paired", "Variance of the difference over seeds, in points "
               "squared.", lambda row: plain(row.paired_variance, ".4g"), number=True),
        Column("unpaired_variance", "Unpaired", "The sum of both variances, as if the runs shared "
               "nothing.", lambda row: plain(row.unpaired_variance, ".4g"), number=True),
        Column("ratio", "Ratio", "So many times more unpaired runs give the same precision.",
               lambda row: Cell(numbers.number(row.ratio, ".1f") + "x", row.ratio), number=True),
    ]  # fmt: skip
    return Table(
        "pairing", "What pairing saves", "Variance of the difference to the baseline.", columns,
        list(each_row(pairing_table(board))), "pairing.csv", lambda row: row.scope,
    )  # fmt: skip


class Failure(NamedTuple):
    """Cells without a score that have one status and message."""

    status: str
    reason: str
    cells: int
    where: str


def failures(board: Leaderboard) -> Table:
    """Return the cells without a score, grouped by their message."""
    columns = [
        Column(
            "status",
            "Status",
            "`missing`: not run yet; `failed`: it ended with an error; "
            "`diverged`: the objective was no longer a number.",
            lambda row: text(row.status),
        ),
        Column("cells", "Cells", "How many.", lambda row: plain(row.cells), number=True),
        Column(
            "reason",
            "Message",
            "Why; `triptych show` has it in full.",
            lambda row: text(row.reason),
        ),
        Column("where", "Where", "Tasks, losses and seeds.", lambda row: text(row.where)),
    ]
    groups: dict[tuple[str, str], list[Row]] = {}
    for cell in each_row(board.cells):
        groups.setdefault((str(cell.status), str(cell.reason)), []).append(cell)
    found = [
        Failure(status, reason, len(own), "; ".join(_places(board, own)))
        for (status, reason), own in groups.items()
    ]
    return Table(
        "failures", "Cells without a score", "No number stands in for these.", columns,
        sorted(found, key=lambda each: -each.cells),
    )  # fmt: skip


def _places(board: Leaderboard, cells: list[Row]) -> Iterator[str]:
    """Yield where some cells lie: losses on each task, with their seeds if those are few."""
    labels = board.labels
    by_task: dict[str, dict[str, list[int]]] = {}
    for cell in cells:
        own = by_task.setdefault(cell.task, {})
        own.setdefault(labels.row(cell.method, cell.loss), []).append(int(cell.seed))
    for number, (task, losses) in enumerate(by_task.items()):
        if number == 4:
            yield f"and {len(by_task) - 4} more tasks"
            return
        parts = [
            f"{loss} (seed {seeds[0]})" if len(seeds) == 1 else f"{loss} ({len(seeds)} cells)"
            for loss, seeds in list(losses.items())[:4]
        ]
        more = f" and {len(losses) - 4} more" if len(losses) > 4 else ""
        yield f"{', '.join(parts)}{more} on {labels.task(task)}"


def published(board: Leaderboard) -> Table:
    """Return numbers from papers, marked as published: they are never ranked."""
    columns = [
        Column("dataset", "Data set", "What was learned from.", lambda row: text(row.dataset)),
        raw("modality", "Its modality."),
        Column("metric", "Metric", "What was measured.",
               lambda row: Cell(board.labels.metric(row.metric), row.metric)),
        Column("loss", "Loss", "The loss.",
               lambda row: Cell(f"{board.labels.loss(row.loss)} (published)", row.loss)),
        Column("value", "Value", "The published number.", lambda row: _value(row.value),
               number=True),
        Column("setting", "Setting", "How the number was made.", lambda row: text(row.setting),
               frozenset({PAGE, CSV})),
        Column("source", "Source", "Where it is published.",
               lambda row: Cell(str(row.source), row.source, link=_link(row.url))),
        raw("url", "Its address."),
    ]  # fmt: skip
    return Table(
        "published", "Published results", "From papers: not run here, never ranked.", columns,
        list(each_row(board.published)), "published.csv", lambda row: row.dataset,
    )  # fmt: skip


def _link(url: object) -> str:
    """Return an address that is safe to follow: another scheme, javascript: say, would act."""
    return str(url) if str(url).startswith("https://") and len(str(url)) <= MAX_TEXT else ""
