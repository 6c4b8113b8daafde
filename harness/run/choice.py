"""Choose settings by the best trial on validation. This code never reads a test score."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from harness.core.cells import Cell, Planned, Spec
from harness.store.records import Store, read_record

Row = tuple[Spec, Spec, str]
"""A task, a method and the label of a loss."""


@dataclass
class Choice:
    """Hold the chosen settings, and the rows whose settings cannot be chosen yet.

    Attributes:
        specs: {row: the chosen trial's spec}.
        waiting: {row: why no trial could be chosen}.
    """

    specs: dict[Row, Spec] = field(default_factory=dict)
    waiting: dict[Row, str] = field(default_factory=dict)


def choose(trials: Sequence[Planned], keys: Mapping[Cell, str], store: Store) -> Choice:
    r"""Choose, for every row, the trial with the best mean validation score.

    .. math:: k^* = \min \arg\max_k \frac1S \sum_{s=1}^S v_{k,s}

    where v is the task's main metric of trial k at tuning seed s, and ties go to the earlier
    trial. A trial that diverged at any seed is never chosen. While any other cell of the row
    has no record, no trial is chosen: otherwise trials that finish first would have an
    advantage.

    Args:
        trials: all planned cells of tuning.
        keys: {cell: its record's key}; it lacks cells that could not be planned.
        store: the folder of the records.
    """
    rows: dict[Row, list[Planned]] = defaultdict(list)
    for planned in trials:
        rows[planned.cell.task, planned.cell.method, planned.label].append(planned)
    choice = Choice()
    for row, cells in rows.items():
        scores: dict[int, list[float]] = defaultdict(list)
        specs: dict[int, Spec] = {}
        lacking = 0
        for planned in cells:
            assert planned.trial is not None
            specs[planned.trial] = planned.cell.loss
            score = _validation(planned.cell, keys.get(planned.cell), store)
            lacking += score is None
            scores[planned.trial].append(math.nan if score is None else score)
        # A diverged seed counts as minus infinity and makes the mean minus infinity; a missing one
        # makes it NaN, which fails every comparison.
        means = {trial: sum(values) / len(values) for trial, values in scores.items()}
        eligible = [trial for trial, mean in means.items() if mean > -math.inf]
        if lacking:
            choice.waiting[row] = f"waits for {lacking} of {len(cells)} tuning cells"
        elif not eligible:
            choice.waiting[row] = "every tuning trial diverged"
        else:
            choice.specs[row] = specs[min(eligible, key=lambda trial: (-means[trial], trial))]
    return choice


def _validation(cell: Cell, key: str | None, store: Store) -> float | None:
    """Return the cell's main score, negated if lower is better.

    Return minus infinity if the cell diverged, and None if the score is not known.
    """
    if key is None:
        return None
    record = read_record(store.record_path(cell, key))
    if record is not None and record.key == key:
        main = next(iter(record.scores["validation"].values()))
        lower = record.metrics and record.metrics[0]["direction"] == "lower"
        return -main if lower else main
    failure = store.failure(cell, key)
    return -math.inf if failure is not None and failure.outcome == "diverged" else None
