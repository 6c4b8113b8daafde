"""The tables that go into a board: their columns, kinds of rows and notes."""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pandas as pd

RECORD_COLUMNS = (
    "task", "task_name", "modality", "method", "loss", "loss_name", "loss_given", "kind", "tuned",
    "spec", "baseline", "stage", "trial", "seed", "status", "reason", "collapsed", "split",
    "metric", "main", "unit", "direction", "margin", "resolution", "step", "value", "steps",
    "seconds", "train_seconds", "proof", "key", "task_given", "task_settings", "settings",
    "space", "data", "versions", "source", "commit", "device", "memory", "finished", "path",
    "command",
)  # fmt: skip
"""The input of :func:`leaderboards.leaderboard`: a row for each score and each cell without one.

``loss`` identifies the row, and ``loss_name`` is the name of its plugin; a row without a loss
plugin has its ``loss`` there too. ``loss_given`` is the JSON text of the settings that the row
states, which leave out the chosen ones of a tuned row. ``spec`` is the loss with the settings
that this cell had, ``baseline`` whether the row is the study's baseline. ``stage`` is
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

``seconds`` is what the whole cell took and ``train_seconds`` what its training steps took.
``path`` is the record's file in the run's folder and ``command`` what runs the cell again.

What is in ``attrs`` is optional. ``attrs["notes"]`` holds notes that the board shows to its
reader, as (kind, text, tasks): see :class:`Note`. ``{tasks}`` in a text stands for the tasks'
labels. ``attrs["labels"]`` is {a task, loss, method or metric, or the name of its plugin: what
people call it}, ``attrs["tasks"]`` the order of the tasks, and ``attrs["title"]`` the studies'
names, and ``attrs["commands"]`` the commands that ran them.
"""
DIAGNOSTICS = "diagnostics"
"""The split of the rows that hold diagnostics."""

TRAINED, UNTRAINED, REFERENCE = "trained", "untrained", "reference"
CONTROL = "control"
"""The kinds of rows: a loss, the encoder at step 0, an encoder that a task provides, or the
baseline again with its temperature moved by a millionth."""

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
        kind: what it is about: ``records`` (left out, or of an earlier version), ``stale`` (made
            with other code), ``baseline``, ``budget``, ``border``, ``seeds``, ``waiting``,
            ``failed``, ``collapsed``, ``untrained``, ``rank``, ``pairs``, ``margin``,
            ``resolution``, ``pooled``, ``screening`` or ``control``.
        text: one or more sentences.
        tasks: the specs of the tasks that it is about; empty: it is about the whole board.
    """

    kind: str
    text: str
    tasks: tuple[str, ...] = ()
