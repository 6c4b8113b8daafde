"""Cells -> engine -> records: run a study, skipping what is done."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Literal

import torch

from harness import plugins, provenance
from harness.cells import UNTRAINED, Cell, Planned
from harness.digests import Digest
from harness.engines import Engine, Event, Resources
from harness.errors import InputError
from harness.methods import Method
from harness.randomness import Randomness
from harness.records import Failure, Identity, Record, Store
from harness.study import Study
from harness.task import Task
from harness.training import SPLITS, Report, fit
from harness.tuning import Choice, Row, choose

PLUGINS = (("task", "tasks"), ("method", "methods"), ("loss", "losses"))


@dataclass
class Summary:
    """What became of a study's cells.

    Attributes:
        expected: how many there are in all.
        cells: those known so far; those of chosen settings follow the tuning trials.
        skipped: those that had a good record already.
        done: those that were run now.
        failed: those that failed, with the reason.
        diverged: those whose objective did, with the reason: an outcome, not tried again.
        waiting: rows of the board whose settings could not be chosen, with the reason.
    """

    expected: int = 0
    cells: list[Cell] = field(default_factory=list)
    skipped: list[Cell] = field(default_factory=list)
    done: list[Cell] = field(default_factory=list)
    failed: dict[Cell, str] = field(default_factory=dict)
    diverged: dict[Cell, str] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)

    @property
    def settled(self) -> int:
        """Return how many cells need no more waiting for."""
        return len(self.skipped) + len(self.done) + len(self.failed) + len(self.diverged)

    @property
    def complete(self) -> bool:
        """Return whether every row of the board has all of its scores."""
        lost = [cell for cell in self.diverged if cell.scored == "test"]
        return not (self.failed or self.waiting or lost)


class Interrupted(KeyboardInterrupt):
    """Raised when Ctrl-C stopped a run; ``summary`` says how far it came."""

    def __init__(self, summary: Summary) -> None:
        super().__init__("the run was stopped")
        self.summary = summary


Listener = Callable[[Event, Summary], None]


def run(
    study: Study | str | Path,
    folder: str | Path | None = None,
    *,
    engine: Engine | str = "local",
    device: str = "auto",
    listen: Listener = lambda event, summary: None,
) -> Summary:
    """Run the cells of ``study`` that have no good record under ``folder`` yet.

    First the tuning trials, scored on validation alone; then, with the best of them and
    fresh seeds, the cells of the board. Every finished cell is on disk at once; stopped
    at any moment, the same call goes on from there. A cell that fails ends neither the
    run nor another cell.

    Args:
        study: a :class:`Study`, the name of a shipped one, or a path to a TOML file.
        folder: where the records go; left out, ``runs/`` and the study's name.
        engine: an engine, or its spec, such as ``"local(jobs=2)"``.
        device: ``auto``, ``cpu`` or ``cuda``.
        listen: called with every event and the summary so far.

    Raises:
        InputError: where the study is wrong or ``folder`` cannot be written.
        Interrupted: on Ctrl-C, after the workers were stopped.
    """
    if not isinstance(study, Study):
        study = Study.load(study)
    this = _Run(
        study,
        Store(default_folder(study) if folder is None else folder),
        plugins.build("engines", engine) if isinstance(engine, str) else engine,
        Resources(provenance.choose_device(device)),
        listen,
    )
    _forget()
    try:
        choice = Choice()
        trials = study.trials()
        if trials:
            this.work(trials, [*trials, *study.finals({})])
            choice = choose(trials, this.keys, this.store)
        this.withheld = choice.waiting
        finals = study.finals(choice.specs)
        this.work(finals, [*trials, *finals])
    except KeyboardInterrupt:
        raise Interrupted(this.summary) from None
    return this.summary


def default_folder(study: Study) -> Path:
    """Return where the records of ``study`` go if nobody says."""
    return Path("runs") / study.name


class _Run:
    """One call of :func:`run`: what its phases share."""

    def __init__(
        self, study: Study, store: Store, engine: Engine, resources: Resources, listen: Listener
    ) -> None:
        self.study, self.store, self.engine = study, store, engine
        self.resources, self.listen = resources, listen
        self.summary = Summary(expected=study.size())
        self.keys: dict[Cell, str] = {}
        self.withheld: dict[Row, str] = {}

    def work(self, phase: Sequence[Planned], plan: Sequence[Planned]) -> None:
        """Run the cells of ``phase``; ``plan`` is all that is known of the study by now."""
        cells = list(dict.fromkeys(planned.cell for planned in phase))
        self.summary.cells += cells
        unplanned: list[Event] = []
        for cell in dict.fromkeys(planned.cell for planned in plan):
            if cell in self.keys:  # From the phase before: sources are read once a run.
                continue
            try:
                self.keys[cell] = identify(cell).key
            except InputError as error:
                unplanned.append(Event("failed", cell, reason=str(error)))
        self._write_plan(plan)
        for event in unplanned:
            if event.cell in cells:
                self._lost(event)
        for row, reason in self.withheld.items():
            self.summary.waiting[" / ".join(row)] = reason
        waiting = [cell for cell in cells if cell in self.keys and not self._known(cell)]
        if waiting:
            with self.engine as engine:
                self._drive(engine.open(self.store.folder), waiting)

    def _known(self, cell: Cell) -> bool:
        """Return whether it is known already what becomes of ``cell``, and take it down."""
        key = self.keys[cell]
        if self.store.has(cell, key):
            self.summary.skipped.append(cell)
            return True
        failure = self.store.failure(cell, key)
        if failure is not None and failure.outcome == "diverged":
            self.summary.diverged[cell] = failure.reason
            return True
        return False

    def _drive(self, engine: Engine, cells: Sequence[Cell]) -> None:
        """Hand the cells to the engine, and keep account of what becomes of them.

        A record is what counts: a cell is done if it has a good one, and only then,
        whatever the engine says.
        """
        for cell in cells:
            engine.submit(cell, self.keys[cell], self.resources)
        unsettled = dict.fromkeys(cells)
        for event in engine.events():
            if not event.settled:
                self.listen(event, self.summary)
            elif event.cell in unsettled:
                del unsettled[event.cell]
                self._settle(event)
        for cell in unsettled:
            reason = "The engine ended without saying what became of it."
            self._settle(Event("failed", cell, reason=reason))

    def _settle(self, event: Event) -> None:
        key = self.keys[event.cell]
        if self.store.has(event.cell, key):
            self.summary.done.append(event.cell)
            self.listen(replace(event, kind="done", reason="", details=""), self.summary)
            return
        path = self.store.record_path(event.cell, key)
        reason = event.reason or f"It left no good record in {path}. Is the disk full?"
        kind: Literal["diverged", "failed"] = "diverged" if event.kind == "diverged" else "failed"
        self._lost(replace(event, kind=kind, reason=reason))

    def _lost(self, event: Event) -> None:
        """Take down a cell that left no record."""
        account = self.summary.diverged if event.kind == "diverged" else self.summary.failed
        account[event.cell] = event.reason
        failure = Failure(self.keys.get(event.cell, ""), event.kind, event.reason, event.details)
        try:
            self.store.write_failure(event.cell, failure)
        except OSError as error:
            account[event.cell] += f" (and this could not be written down: {error})"
        self.listen(event, self.summary)

    def _write_plan(self, plan: Sequence[Planned]) -> None:
        """Write down the study, its cells, and the rows whose settings are not chosen yet."""
        spaces = {
            entry.label: {name: part.to_dict() for name, part in entry.space.items()}
            for entry in self.study.entries
            if entry.space
        }
        modalities = {task: plugins.build("tasks", task).modality for task in self.study.tasks}
        planned = [
            {
                "label": place.label,
                "trial": place.trial,
                "modality": modalities[place.cell.task],
                "key": self.keys.get(place.cell, ""),
                "cell": place.cell.to_dict(),
            }
            | ({} if place.trial is None else {"settings": _settings("losses", place.cell.loss)})
            for place in plan
        ]
        chosen = {(p.cell.task, p.cell.method, p.label) for p in plan if p.trial is None}
        tuned = dict.fromkeys(
            (p.cell.task, p.cell.method, p.label) for p in plan if p.trial is not None
        )
        for row in tuned:
            if row in chosen:
                continue
            task, method, label = row
            reason = self.withheld.get(row, "not run yet: its settings are not chosen yet")
            planned += [
                {
                    "label": label,
                    "trial": None,
                    "modality": modalities[task],
                    "key": "",
                    "reason": reason,
                    "cell": Cell(task, method, label, seed).to_dict(),
                }
                for seed in self.study.seeds  # type: ignore[union-attr]
            ]
        try:
            self.store.write_study(self.study.to_dict() | {"spaces": spaces, "plan": planned})
        except OSError as error:
            raise InputError(
                f"Could not write to {str(self.store.folder)!r}: {error}. "
                "Name another folder with `--out`."
            ) from error


def run_cell(
    cell: Cell,
    key: str,
    folder: Path,
    *,
    device: str = "cpu",
    report: Report = lambda step, steps, loss: None,
) -> Record:
    """Train and evaluate one cell in this process, and write its record.

    Raises:
        InputError: where code or data changed since ``key`` was planned.
    """
    started = time.perf_counter()
    provenance.reset_peak_memory()
    identity = identify(cell)
    if identity.key != key:
        raise InputError(
            f"The code or the data of {cell} changed since the run was planned. "
            "Run the same command again."
        )
    task: Task = plugins.build("tasks", cell.task)
    method: Method = plugins.build("methods", cell.method)
    loss = None if cell.loss == UNTRAINED else plugins.build("losses", cell.loss)
    randomness = Randomness(cell.task, cell.method, cell.seed)
    outcome = fit(
        task,
        method,
        loss,
        randomness,
        device=device,
        report=report,
        splits=("validation",) if cell.scored == "validation" else SPLITS,
        probes=cell.probes,
    )
    start = Digest()
    # The device and torch's version decide what a seed's masks and weights are.
    machine = (torch.device(device).type, provenance.versions()["torch"])
    start.update((machine, identity.frame, dict(identity.data), outcome.start_digest))
    record = Record(
        key=key,
        cell=cell.to_dict(),
        modality=task.modality,
        settings={
            name: _settings(group, getattr(cell, name))
            for name, group in PLUGINS
            if getattr(cell, name) != UNTRAINED
        },
        scores=outcome.scores,
        probed=[list(point) for point in outcome.probed],
        curve=[list(point) for point in outcome.curve],
        steps=outcome.steps,
        seconds={
            "train": outcome.train_seconds,
            "evaluate": outcome.evaluate_seconds,
            "total": time.perf_counter() - started,
        },
        throughput=outcome.examples / outcome.train_seconds if outcome.steps else 0.0,
        peak_memory=provenance.peak_memory(),
        digests={"start": start.hexdigest(), "seen": outcome.seen_digest},
        data=dict(identity.data),
        source=identity.source,
        frame=identity.frame,
        versions=provenance.versions(),
        commit=provenance.commit(),
        device=provenance.describe_device(device),
        finished=datetime.now(UTC).isoformat(timespec="microseconds"),
    )
    Store(folder).write_record(cell, record)
    return record


def identify(cell: Cell) -> Identity:
    """Return what the result of ``cell`` depends on, downloading missing data.

    Raises:
        InputError: where a plugin or its data is not to be had.
    """
    frame = {"harness.training"} | _modules("tasks", cell.task) | _modules("methods", cell.method)
    loss = set() if cell.loss == UNTRAINED else _modules("losses", cell.loss)
    return Identity(
        cell=cell,
        data=_data(cell.task),
        source=_source(*sorted(frame | loss)),
        frame=_source(*sorted(frame)),
    )


def _data(task: str) -> dict[str, str]:
    found = _fetch(task)
    if isinstance(found, InputError):
        raise found
    return found


@cache
def _fetch(task: str) -> dict[str, str] | InputError:
    """Return checksums, or the error: a download that failed is tried once a run."""
    try:
        return dict(plugins.build("tasks", task).fetch())
    except InputError as error:
        return error
    except (Exception, SystemExit) as error:  # A plugin's own; other tasks go on.
        return InputError(f"The data of {task} is not to be had: {type(error).__name__}: {error}")


@cache
def _source(*modules: str) -> str:
    return provenance.source_digest(modules)


def _forget() -> None:
    """Forget data and sources seen by an earlier run of this process: files may have changed."""
    _fetch.cache_clear()
    _source.cache_clear()
    provenance.forget()


def _modules(group: str, spec: str) -> set[str]:
    return plugins.modules(group, plugins.parse(group, spec)[0])


def _settings(group: str, spec: str) -> plugins.Settings:
    """Return all settings, with numbers that JSON has no word for as texts."""
    return {
        name: value if not isinstance(value, float) or math.isfinite(value) else repr(value)
        for name, value in plugins.resolved(group, spec).items()
    }
