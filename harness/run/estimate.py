"""Estimate how long a study will take, from records or by timing a few steps."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from statistics import mean
from typing import NamedTuple

import torch

from harness import plugins
from harness.core.cells import Cell, Planned, is_trained
from harness.core.errors import InputError
from harness.store import staleness
from harness.store.identity import identify
from harness.store.records import Store
from harness.store.table import Place
from harness.study.study import Study
from harness.training.loop import fit

MEASURED_STEPS = 4
"""Steps that are taken to time one. The first is not timed, because it allocates memory."""


@dataclass(frozen=True)
class Cost:
    """The cost of a cell of one task and method, in seconds of one worker.

    Attributes:
        training: loading and all steps of a trained cell, without its evaluations.
        evaluation: one evaluation of one split.
        records: the number of records that it is a mean of; 0 if a few steps were timed.
    """

    training: float
    evaluation: float
    records: int = 0

    def of(self, cell: Cell) -> float:
        """Return the seconds of one cell."""
        return self.evaluating(cell) + (self.training if is_trained(cell.loss) else 0.0)

    def evaluating(self, cell: Cell) -> float:
        """Return the seconds of one cell's evaluations: at its end, and at probes before."""
        splits = 1 if cell.scored == "validation" else 2
        return self.evaluation * (splits + (cell.probes if is_trained(cell.loss) else 0))


def costs(
    study: Study,
    folder: str | Path | None = None,
    listen: Callable[[str], None] = lambda text: None,
) -> dict[tuple[str, str], Cost]:
    """Return {(task, method): cost}, from the records under ``folder`` or by timing a few steps.

    Timing takes ``MEASURED_STEPS`` steps and one evaluation on validation, in this process,
    with the first loss that goes with the method. It fetches the data.
    """
    found = from_records(folder) if folder is not None else {}
    first: dict[tuple[str, str], Cell] = {}
    for planned in all_cells(study):
        cell = planned.cell
        if is_trained(cell.loss):
            first.setdefault((cell.task, cell.method), cell)
    for key in product(study.tasks, study.all_methods):
        if key not in found:
            listen(" with ".join(key))
            found[key] = _measured(first[key])
    return {key: found[key] for key in product(study.tasks, study.all_methods)}


def _measured(cell: Cell) -> Cost:
    """Return the cost of ``cell``, or raise an :class:`InputError` that says what to do."""
    try:
        return measure(cell)
    except InputError:
        raise
    except Exception as error:  # A plugin's error, or a loss that diverges at once.
        raise InputError(
            f"Could not time {cell}: {type(error).__name__}: {str(error).rstrip('.')}. Leave the "
            "estimate out with `--no-time`."
        ) from error


def from_records(folder: str | Path) -> dict[tuple[str, str], Cost]:
    """Return the mean cost of the trained cells under ``folder``."""
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    for record in Store(folder).records():
        if record.steps:
            times = len(record.scores) + len(record.probed)
            found[record.cell["task"], record.cell["method"]].append(
                (
                    record.seconds["total"] - record.seconds["evaluate"],
                    record.seconds["evaluate"] / times,
                )
            )
    return {
        key: Cost(mean(t for t, _ in times), mean(e for _, e in times), len(times))
        for key, times in found.items()
    }


def measure(cell: Cell) -> Cost:
    """Return the cost of ``cell`` by timing a few of its steps; write nothing."""
    randomness = identify(cell).randomness  # This fetches the data.
    task = plugins.build("tasks", cell.task)
    if task.epochs:  # The number of steps depends on the size of the data.
        task.load(randomness)
    steps = task.total_steps()
    task.steps, task.epochs = min(steps, MEASURED_STEPS), 0
    stamps: list[float] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # A worker has one thread.
    try:
        fitted = fit(
            task,
            plugins.build("methods", cell.method),
            plugins.build("losses", cell.loss),
            randomness,
            report=lambda step, steps, value: stamps.append(time.perf_counter()),
            splits=("validation",),
        )
    finally:
        torch.set_num_threads(threads)
    per_step = fitted.train_seconds
    if len(stamps) > 1:
        per_step = (stamps[-1] - stamps[0]) / (len(stamps) - 1)
    return Cost(per_step * steps, fitted.evaluate_seconds)


def total(
    cells: Iterable[Cell],
    cost_of: Mapping[tuple[str, str], Cost],
    seconds: Callable[[Cost, Cell], float] = Cost.of,
) -> float:
    """Return the seconds of one worker that ``cells`` take, or ``Cost.evaluating`` alone."""
    # Evaluation costs the same for every method: untrained cells take any method's cost.
    of_task = {task: cost for (task, _), cost in cost_of.items()}
    return sum(seconds(cost_of.get((c.task, c.method), of_task[c.task]), c) for c in cells)


def unrecorded(study: Study, folder: str | Path | None) -> list[Cell]:
    """Return the cells that have no record under ``folder``, or a stale one.

    Cells are matched by their places in the folder's plan, so that a tuned cell matches
    regardless of the chosen settings.
    """
    planned_cells = all_cells(study)
    if folder is None:
        return [planned.cell for planned in planned_cells]
    store = Store(folder)
    study_run = store.study()
    code = staleness.Code(study_run, store.folder)
    keys = {record.key for record in store.records() if not code.why(record.source)}
    done = {
        Place.of(replace(Planned.from_dict(place), task=""))  # By its spec, as in the study.
        for place in study_run.get("plan", [])
        if place["key"] in keys
    }
    return [planned.cell for planned in planned_cells if Place.of(planned) not in done]


def all_cells(study: Study) -> Sequence[Planned]:
    """Return all cells; those whose settings tuning will choose have the first trial's settings."""
    trials = study.trials()
    stand_in: dict[tuple[str, str, str], str] = {}
    for planned in trials:
        row = planned.cell.task, planned.cell.method, planned.label
        stand_in.setdefault(row, planned.cell.loss)
    return [*trials, *study.finals(stand_in)]


class PlannedRow(NamedTuple):
    """Cells of one stage, task, method and label."""

    stage: str
    task: str
    method: str
    label: str
    trials: int
    seeds: int
    cells: list[Cell]


def summary(study: Study) -> list[PlannedRow]:
    """Return the cells of ``study`` in rows, in the order in which they first run."""
    groups: dict[tuple[str, str, str, str], list[Planned]] = {}
    for planned in all_cells(study):
        key = planned.cell.stage, planned.cell.task, planned.cell.method, planned.label
        groups.setdefault(key, []).append(planned)
    return [
        PlannedRow(
            *key,
            trials=len({planned.trial for planned in group} - {None}),
            seeds=len({planned.cell.seed for planned in group}),
            cells=[planned.cell for planned in group],
        )
        for key, group in groups.items()
    ]
