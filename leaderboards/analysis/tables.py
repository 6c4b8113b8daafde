"""The columns of every table, and the :class:`Leaderboard` that holds them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import pandas as pd

from leaderboards.statistics.ranking import Friedman

RECORD_COLUMNS = (
    "task", "task_name", "modality", "method", "loss", "kind", "tuned", "spec", "baseline",
    "stage", "trial", "seed", "status", "reason", "collapsed", "split", "metric", "main", "unit",
    "direction", "margin", "resolution", "step", "value", "steps", "seconds", "proof", "key",
    "task_given", "task_settings", "settings", "space", "data", "versions", "source", "commit",
    "device", "memory", "finished",
)  # fmt: skip
"""The input of :func:`leaderboards.leaderboard`: a row for each score and each cell without one.

``loss`` is the row's label on the board, ``spec`` the loss with the settings that
this cell had, ``baseline`` whether the label is the study's baseline. ``stage`` is
``tuning`` or ``final``, ``trial`` the number of a tuning trial. ``status`` is
``done``, ``missing``, ``failed`` or ``diverged``; rows of the last three have a ``reason``
instead of a split, a metric and a value. ``collapsed`` says in what way the encoder's
representations are nearly the same for every example, and is empty if they are not.
``kind`` is ``trained``, ``untrained``, ``reference`` or ``control``, ``tuned`` whether the
settings were chosen on validation. ``main`` says whether the metric is the task's main one;
``unit``, ``direction`` (``higher`` or ``lower`` is better), ``margin`` (the smallest difference
that matters) and ``resolution`` (one item's weight in the score) are what the task declares of it.
``value`` was measured after ``step`` optimizer steps of ``steps``: it is a score if they are
equal, and otherwise a point of the curve.
``task_given`` (the settings that the task's spec states), ``task_settings`` (all of them, with
the defaults; ``{}`` where no record tells them), ``settings`` (of the loss), ``space``,
``data``, ``versions``, ``memory`` (the peaks, in bytes) and ``proof`` (of a pair:
:mod:`leaderboards.analysis.pairs`) are JSON texts. If
``split`` is ``diagnostics``, ``metric`` names a diagnostic, which is not a score and never
ranked.

``attrs["notes"]``, which is optional, holds notes that the board shows to its reader, as
(kind, text, tasks): see :class:`Note`. ``{tasks}`` in a text stands for the tasks' names.
"""
DIAGNOSTICS = "diagnostics"
"""The split of the rows that hold diagnostics."""

TRAINED, UNTRAINED, REFERENCE = "trained", "untrained", "reference"
CONTROL = "control"
"""The kinds of rows: a loss, the encoder at step 0, an encoder that a task provides, or the
baseline again with its temperature moved by a millionth."""

ROW_COLUMNS = (
    "task", "modality", "metric", "main", "unit", "direction", "margin", "resolution", "method",
    "loss", "kind", "spec", "mean", "std", "seeds", "planned", "difference", "difference_low",
    "difference_high", "bound", "difference_std", "control_std", "pairs", "p", "constant",
    "verdict", "seeds_to_decide", "bootstrap_low", "bootstrap_high", "area", "area_low",
    "area_high", "rank", "block_mean", "best", "tied", "trained", "failed", "learned",
    "collapsed",
)  # fmt: skip
OVERALL_COLUMNS = (
    "scope", "method", "loss", "kind", "tasks", "of_tasks", "sets", "pooled", "low", "high",
    "margin", "verdict", "tau", "i2", "next_low", "next_high", "improvement", "not_pooled", "rank",
)  # fmt: skip
CELL_COLUMNS = ("task", "method", "loss", "spec", "stage", "trial", "seed", "status", "reason")
TUNED_COLUMNS = (
    "task", "method", "loss", "spec", "trials", "trial", "validation", "setting", "value",
    "low", "high", "log", "position", "at_border",
)  # fmt: skip
TRIAL_COLUMNS = (
    "task", "modality", "metric", "method", "loss", "spec", "trial", "seeds", "status",
    "validation", "std", "chosen", "settings",
)  # fmt: skip
CURVE_COLUMNS = (
    "task", "modality", "metric", "method", "loss", "step", "mean", "low", "high", "seeds",
)  # fmt: skip
DIAGNOSTIC_COLUMNS = (
    "task", "modality", "method", "loss", "diagnostic", "step", "final", "mean", "std", "low",
    "high", "seeds",
)  # fmt: skip
RESPONSE_COLUMNS = (
    "series", "setting", "at", "task", "kind", "metric", "main", "method", "loss", "mean", "low",
    "high", "seeds", "difference", "difference_low", "difference_high", "pairs",
    "change", "change_low", "change_high", "change_pairs", "differs",
)  # fmt: skip
PUBLISHED_COLUMNS = ("dataset", "modality", "metric", "loss", "setting", "value", "source", "url")


ROW = ("task", "metric", "method", "loss")
"""The columns that identify a row of a board."""


def each_row(table: pd.DataFrame) -> Iterator[Any]:
    """Yield the rows of ``table`` as named tuples with Python's own types of values."""
    yield from table.astype(object).itertuples(index=False)


def scored(records: pd.DataFrame, columns: Sequence[str] = RECORD_COLUMNS) -> pd.DataFrame:
    """Return the rows of ``records`` that a board ranks: final cells' last test scores."""
    last = records["step"] == records["steps"]
    ranked = (records["stage"] == "final") & (records["split"] == "test") & last
    return records.loc[ranked, list(columns)]


class Note(NamedTuple):
    """A note that a reader has to know before believing a row.

    Attributes:
        kind: what it is about: ``records`` (left out, or of an earlier version), ``baseline``,
            ``budget``, ``settings``, ``seeds``, ``failed``, ``collapsed``, ``untrained``,
            ``rank``, ``pairs``, ``margin``, ``resolution``, ``pooled``, ``screening``
            or ``control``.
        text: one or more sentences.
        tasks: the specs of the tasks that it is about; empty: it is about the whole board.
    """

    kind: str
    text: str
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """All that a board shows, each table with the columns named above.

    Attributes:
        rows: one row per task, metric, method and loss: ``ROW_COLUMNS``.
        overall: one row per scope (``all``, or a modality), method and loss, over its tasks.
        friedman: the test over tasks, or why there is none.
        cells: the cells that have no score, with status and reason.
        tuned: one row per tuned setting: the chosen value, and where in its space it lies.
        trials: one row per tuning trial: its validation score over the tuning seeds.
        curves: validation scores during training, mean and band over seeds.
        diagnostics: one row per diagnostic and step: mean, deviation and 95% t interval over
            seeds; ``final`` says which step is the last.
        asked: the names of the diagnostics that the board shows as columns.
        responses: scores, and the diagnostics in ``asked``, of tasks that differ in one
            setting: ``setting`` has the value ``at``, missing if it is not known.
            ``change`` is the paired difference to the same loss at the series' first
            value, over the seeds that start from the same weights; ``differs`` says what
            else those cells do not share, such as their batches.
        records: the table that all others were made from: ``RECORD_COLUMNS``.
        published: rows from papers, never ranked.
        baseline: the label of the loss that others are compared with.
        baseline_method: the method of the one row that others are compared with.
        screening: whether rows borrow one another's variance: no verdict, but a choice of what
            to run with more seeds.
        notes: what a reader has to know, such as what was left out and why.
        names: {task: its short name}, which figures and all tables but the CSV files use.
    """

    rows: pd.DataFrame
    overall: pd.DataFrame
    friedman: Friedman | str
    cells: pd.DataFrame
    tuned: pd.DataFrame
    trials: pd.DataFrame
    curves: pd.DataFrame
    records: pd.DataFrame
    baseline: str
    baseline_method: str
    screening: bool
    published: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(PUBLISHED_COLUMNS))
    )
    notes: tuple[Note, ...] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    diagnostics: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(DIAGNOSTIC_COLUMNS))
    )
    asked: tuple[str, ...] = ()
    responses: pd.DataFrame = field(
        default_factory=lambda: pd.DataFrame(columns=list(RESPONSE_COLUMNS))
    )

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """Return {loss: the kind of its rows}."""
        return dict(zip(self.records["loss"], self.records["kind"], strict=True))

    def is_trained(self, loss: object) -> bool:
        """Return whether a row was trained: ``untrained`` and references were not."""
        return self.kinds.get(str(loss), TRAINED) == TRAINED

    def is_reference(self, loss: object) -> bool:
        """Return whether a row is of an encoder that its task provides, such as an oracle."""
        return self.kinds.get(str(loss)) == REFERENCE

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the rows and the notes, without a script."""
        from leaderboards.page import to_notebook  # Imported here because it imports this file.

        return to_notebook(self)
