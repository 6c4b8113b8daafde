"""The :class:`Leaderboard`: every table that a board is made of."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd

from leaderboards.analysis.costs import Cost
from leaderboards.analysis.naming import Labels
from leaderboards.analysis.tables import Note
from leaderboards.statistics.ranking import Friedman

if TYPE_CHECKING:
    from leaderboards.report.model import Report

RowKey = tuple[str, str, str, str]
"""Task, metric, method and loss."""


@dataclass(frozen=True, eq=False)
class Leaderboard:
    """All that a board says. Tasks, losses and metrics are named by code; see ``labels``.

    Attributes:
        rows: one row per task, metric, method and loss, in the board's order of tasks and losses.
        overall: one row per scope (``all``, or a modality), method and loss, over its tasks.
        friedman: the test over tasks, or why there is none.
        cells: the cells that have no score, with status and reason.
        tuned: one row per tuned setting: the chosen value, and where in its space it lies.
        trials: one row per tuning trial: its validation score over the tuning seeds.
        budget: one row per tuned loss and number of trials: the expected validation score of the
            best of so many trials, and its difference to the baseline's.
        curves: validation scores during training, mean and band over seeds, and at each step the
            paired difference to the baseline.
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
        baseline: the loss that others are compared with.
        baseline_method: the method of the one row that others are compared with.
        screening: whether rows borrow one another's variance: no verdict, but a choice of what
            to run with more seeds.
        notes: what a reader has to know, such as what was left out and why.
        labels: what people call tasks, losses, methods and metrics.
        order: the (method, loss) of every row, in the order of all tables and figures.
        differences: {row: {seed: its score minus the baseline's}}, over paired seeds.
        costs: {(task, method, loss): seconds a step and peak memory}.
        title: the names of the studies.
        is_part: whether tasks or losses are hidden.
    """

    rows: pd.DataFrame
    overall: pd.DataFrame
    friedman: Friedman | str
    cells: pd.DataFrame
    tuned: pd.DataFrame
    trials: pd.DataFrame
    budget: pd.DataFrame
    curves: pd.DataFrame
    records: pd.DataFrame
    baseline: str
    baseline_method: str
    screening: bool
    published: pd.DataFrame
    diagnostics: pd.DataFrame
    responses: pd.DataFrame
    notes: tuple[Note, ...] = ()
    asked: tuple[str, ...] = ()
    labels: Labels = field(default_factory=Labels)
    order: tuple[tuple[str, str], ...] = ()
    differences: Mapping[RowKey, Mapping[int, float]] = field(default_factory=dict)
    costs: Mapping[tuple[str, str, str], Cost] = field(default_factory=dict)
    title: str = ""
    is_part: bool = False

    @property
    def baseline_label(self) -> str:
        """Return what people call the baseline row."""
        return self.labels.row(self.baseline_method, self.baseline)

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """Return {loss: the kind of its rows}."""
        return dict(zip(self.records["loss"], self.records["kind"], strict=True))

    def only(
        self, tasks: Collection[str] | None = None, losses: Collection[str] | None = None
    ) -> "Leaderboard":
        """Return the board with these tasks and losses alone, and the baseline.

        Every word, interval and rank stays that of the whole board. What is pooled over tasks is
        left out where tasks are.

        Args:
            tasks: tasks by code; None: all.
            losses: losses by code; None: all.
        """
        kept = None if losses is None else {*losses, self.baseline}

        def shown(table: pd.DataFrame) -> pd.DataFrame:
            for column, wanted in (("task", tasks), ("loss", kept)):
                if wanted is not None and column in table:
                    table = table[table[column].isin(list(wanted))]
            return table.reset_index(drop=True)

        overall = self.overall if tasks is None else self.overall.iloc[:0]
        whole = tasks is None and losses is None
        return replace(
            self,
            rows=shown(self.rows),
            overall=shown(overall),
            cells=shown(self.cells),
            tuned=shown(self.tuned),
            trials=shown(self.trials),
            budget=shown(self.budget),
            curves=shown(self.curves),
            diagnostics=shown(self.diagnostics),
            responses=shown(self.responses),
            is_part=not whole,
            friedman=self.friedman if whole else "Friedman's test is of the whole board.",
            order=tuple(key for key in self.order if kept is None or key[1] in kept),
            costs={key: cost for key, cost in self.costs.items() if not tasks or key[0] in tasks},
        )

    @cached_property
    def report(self) -> "Report":
        """Return what every table, figure, page and file of this board shows."""
        from leaderboards.report.report import report  # Imported here: it imports this file.

        return report(self)

    def figure(self, name: str, width: str = "text") -> str:
        """Return a figure as SVG, such as ``differences``.

        Args:
            name: one of the installed figures; ``triptych list boards`` lists them.
            width: ``text`` for a page's width, ``column`` for half of it.

        Raises:
            ValueError: if there is no such figure, or if this board has nothing to show in it.
        """
        from leaderboards.render.formats import figure

        return figure(self.report, name, width)

    def __str__(self) -> str:
        """Return the matrix and the answer as text, about a dozen lines."""
        from leaderboards.render.terminal import to_text

        return to_text(self.report)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the matrix and the paired differences."""
        from leaderboards.render.notebook import to_notebook

        return to_notebook(self.report)
