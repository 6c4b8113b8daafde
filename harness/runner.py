"""Cells -> engine -> records: run a study, skipping what is done."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

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
    try:
        store.write_study(study.to_dict())
    except OSError as error:
        raise InputError(
            f"Could not write to {str(folder)!r}: {error}. Name another folder with `--out`."
        ) from error
    summary = Summary(study.cells())
    waiting: list[tuple[Cell, str]] = []
    for cell in summary.cells:
        try:
            key = identify(cell).key
        except InputError as error:
            _fail(Event("failed", cell, reason=str(error)), "unplanned", store, summary, listen)
            continue
        if store.has(cell, key):
            summary.skipped.append(cell)
        else:
            waiting.append((cell, key))
    if not waiting:
        return summary
    try:
        with plugins.build("engines", engine) if isinstance(engine, str) else engine as opened:
            _drive(opened.open(store.folder, device), waiting, store, summary, listen)
    except KeyboardInterrupt:
        raise Interrupted(summary) from None
    return summary


def _drive(
    engine: Engine,
    waiting: Sequence[tuple[Cell, str]],
    store: Store,
    summary: Summary,
    listen: Listener,
) -> None:
    """Hand the cells to the engine, and keep account of what becomes of them."""
    keys = dict(waiting)
    for cell, key in waiting:
        engine.submit(cell, key, Resources(engine.device))
    for event in engine.events():
        if event.kind == "done" and not store.has(event.cell, keys[event.cell]):
            event = replace(event, kind="failed", reason="It left no good record. Disk full?")
        if event.kind == "failed":
            _fail(event, keys[event.cell], store, summary, listen)
            continue
        if event.kind == "done":
            summary.done.append(event.cell)
        listen(event, summary)


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
    start.update((identity.frame, dict(identity.data), outcome.start_digest))
    record = Record(
        key=key,
        cell=cell.to_dict(),
        modality=task.modality,
        settings={
            name: plugins.resolved(group, getattr(cell, name))
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
    frame = ["harness.training", _module("tasks", cell.task), _module("methods", cell.method)]
    loss = [] if cell.loss == UNTRAINED else [_module("losses", cell.loss)]
    return Identity(
        cell=cell,
        data=_data(cell.task),
        source=_source(*frame, *loss),
        frame=_source(*frame),
    )


@cache
def _data(task: str) -> dict[str, str]:
    return dict(plugins.build("tasks", task).fetch())


@cache
def _source(*modules: str) -> str:
    return provenance.source_digest(modules)


def _module(group: str, spec: str) -> str:
    name, _ = plugins.parse(group, spec)
    module: str = plugins.load(group, name).__module__
    return module


def _fail(event: Event, key: str, store: Store, summary: Summary, listen: Listener) -> None:
    summary.failed[event.cell] = event.reason
    try:
        store.write_failure(event.cell, key, event.reason, event.details)
    except OSError as error:
        summary.failed[event.cell] += f" (and this could not be written down: {error})"
    listen(event, summary)
