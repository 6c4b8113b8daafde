"""Cells -> engine -> records: run a study, skipping what is done."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import torch

from harness import plugins, provenance
from harness.digests import Digest
from harness.engines import Engine, Event, Resources
from harness.errors import InputError
from harness.methods import Method
from harness.randomness import Randomness
from harness.records import Identity, Record, Store
from harness.study import UNTRAINED, Cell, Study
from harness.task import Task
from harness.training import Report, fit

PLUGINS = (("task", "tasks"), ("method", "methods"), ("loss", "losses"))


@dataclass
class Summary:
    """What became of a study's cells.

    Attributes:
        cells: all of them.
        skipped: those that had a good record already.
        done: those that were run now.
        failed: those that failed, with the reason.
    """

    cells: Sequence[Cell]
    skipped: list[Cell] = field(default_factory=list)
    done: list[Cell] = field(default_factory=list)
    failed: dict[Cell, str] = field(default_factory=dict)

    @property
    def settled(self) -> int:
        """Return how many cells need no more waiting for."""
        return len(self.skipped) + len(self.done) + len(self.failed)


class Interrupted(KeyboardInterrupt):
    """Raised when Ctrl-C stopped a run; ``summary`` says how far it came."""

    def __init__(self, summary: Summary) -> None:
        super().__init__("the run was stopped")
        self.summary = summary


Listener = Callable[[Event, Summary], None]


def run(
    study: Study | str,
    folder: str | Path,
    *,
    engine: Engine | str = "local",
    device: str = "auto",
    listen: Listener = lambda event, summary: None,
) -> Summary:
    """Run the cells of ``study`` that have no good record under ``folder`` yet.

    Every finished cell is on disk at once; stopped at any moment, the same call
    goes on from there. A cell that fails ends neither the run nor another cell.

    Args:
        study: a :class:`Study`, the name of a shipped one, or a path to a TOML file.
        folder: where the records go.
        engine: an engine, or its spec, such as ``"local(jobs=2)"``.
        device: ``auto``, ``cpu`` or ``cuda``.
        listen: called with every event and the summary so far.

    Raises:
        InputError: where the study is wrong or ``folder`` cannot be written.
        Interrupted: on Ctrl-C, after the workers were stopped.
    """
    if isinstance(study, str):
        study = Study.load(study)
    device = provenance.choose_device(device)
    store = Store(folder)
    summary = Summary(study.cells())
    _forget()
    try:
        keys = _plan(study, store, summary, listen)
        if keys:
            with plugins.build("engines", engine) if isinstance(engine, str) else engine as opened:
                _drive(opened.open(store.folder), Resources(device), keys, store, summary, listen)
    except KeyboardInterrupt:
        raise Interrupted(summary) from None
    return summary


def _plan(study: Study, store: Store, summary: Summary, listen: Listener) -> dict[Cell, str]:
    """Return the cells without a good record and the keys that theirs will have."""
    keys: dict[Cell, str] = {}
    unplanned: list[Event] = []
    for cell in summary.cells:
        try:
            keys[cell] = identify(cell).key
        except InputError as error:
            unplanned.append(Event("failed", cell, reason=str(error)))
    try:
        store.write_study(study.to_dict() | {"keys": list(keys.values())})
    except OSError as error:
        raise InputError(
            f"Could not write to {str(store.folder)!r}: {error}. Name another folder with `--out`."
        ) from error
    for event in unplanned:
        _fail(event, store, summary, listen)
    summary.skipped += [cell for cell, key in keys.items() if store.has(cell, key)]
    done = set(summary.skipped)
    return {cell: key for cell, key in keys.items() if cell not in done}


def _drive(
    engine: Engine,
    resources: Resources,
    keys: Mapping[Cell, str],
    store: Store,
    summary: Summary,
    listen: Listener,
) -> None:
    """Hand the cells to the engine, and keep account of what becomes of them.

    A record is what counts: a cell is done if it has a good one, and only then,
    whatever the engine says.
    """
    for cell, key in keys.items():
        engine.submit(cell, key, resources)
    unsettled = dict(keys)
    for event in engine.events():
        if event.kind in ("done", "failed"):
            _settle(event, unsettled.pop(event.cell), store, summary, listen)
        else:
            listen(event, summary)
    for cell, key in unsettled.items():
        reason = "The engine ended without saying what became of it."
        _settle(Event("failed", cell, reason=reason), key, store, summary, listen)


def _settle(event: Event, key: str, store: Store, summary: Summary, listen: Listener) -> None:
    if store.has(event.cell, key):
        summary.done.append(event.cell)
        listen(replace(event, kind="done", reason="", details=""), summary)
        return
    path = store.record_path(event.cell, key)
    reason = event.reason or f"It left no good record in {path}. Is the disk full?"
    _fail(replace(event, kind="failed", reason=reason), store, summary, listen)


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
    outcome = fit(task, method, loss, randomness, device=device, report=report)
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


def _fail(event: Event, store: Store, summary: Summary, listen: Listener) -> None:
    summary.failed[event.cell] = event.reason
    try:
        store.write_failure(event.cell, event.reason, event.details)
    except OSError as error:
        summary.failed[event.cell] += f" (and this could not be written down: {error})"
    listen(event, summary)
