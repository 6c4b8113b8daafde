"""The state of a run's cells, read from its folder alone; the run may still be going on."""

import math
import time
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from harness.core import files
from harness.core.cells import Cell, is_trained
from harness.core.errors import InputError
from harness.evaluation.collapse import collapse
from harness.run import claims
from harness.store import staleness
from harness.store.records import (
    FIRST_RELEASE,
    SCHEMA,
    Record,
    Store,
    is_intact,
    key_of,
    read_record,
)

State = Literal["done", "collapsed", "stale", "running", "failed", "diverged", "damaged", "to do"]
STATES: tuple[State, ...] = get_args(State)
"""The states of a cell. A collapsed cell has a record and is not run again; a stale one has a
record that was made with other code, and the next run makes it again."""
SETTLED: tuple[State, ...] = ("done", "collapsed", "diverged")
"""The states of cells that the next run skips."""


@dataclass(frozen=True)
class CellState:
    """Describe the state of a planned cell.

    Attributes:
        cell: the cell.
        key: the key of its record; empty if it is not known yet.
        state: one of ``STATES``.
        note: where the cell runs, or why it is in this state.
        task: the task's name on boards, with names instead of paths.
        rows: the labels of the board's rows that it belongs to.
        trial: the number of its tuning trial; None if it is scored on test.
        metric: the main metric of its record.
        score: its value on the split that the cell is scored on; None without a record.
    """

    cell: Cell
    key: str
    state: State
    note: str = ""
    task: str = ""
    rows: tuple[str, ...] = ()
    trial: int | None = None
    metric: str = ""
    score: float | None = None

    def __str__(self) -> str:
        """Return the cell's label; it names the trial of a cell of a tuning trial."""
        if self.cell.scored == "test":
            return str(self.cell)
        return f"{self.cell} ({'tuning' if self.trial is None else f'tuning trial {self.trial}'})"


@dataclass(frozen=True)
class Upgrade:
    """Count the cells of a folder that an upgrade of Triptych makes stale.

    Attributes:
        version: the version of Triptych that made their records.
        cells: how many cells of the plan have such a record.
        seconds: how long one worker took for them.
    """

    version: str
    cells: int
    seconds: float


def upgrade(store: Store) -> Upgrade | None:
    """Return the cells of ``store`` that today's version makes stale; None if there are none."""
    study = store.study()
    if not study or study.get("schema") == SCHEMA:
        return None
    planned = {place["key"] for place in study["plan"]}
    old = [record for record in store.records() if record.key in planned]
    if not old:
        return None
    version = old[0].versions.get("triptych", "an earlier version")
    return Upgrade(version, len(old), sum(record.seconds["total"] for record in old))


def states(store: Store) -> list[CellState]:
    """Return the state of every cell that the last run in ``store`` planned.

    Without a plan, as in the folder of ``triptych cell``, the cells of all records count.

    Raises:
        InputError: if no run was planned there, or if its plan cannot be read.
    """
    study = store.study()
    plan = study.get("plan")
    if plan is None:
        exists = store.study_path.exists()
        found = [] if exists else recorded(store)
        if found:
            return found
        wrong = f"{store.study_path} cannot be read" if exists else "got a folder without a plan"
        raise InputError(
            f"{str(store.given)!r} must be the folder of a run: {wrong}. "
            f"Run a study first, such as `triptych run quickstart --out {store.given}`."
        )
    # Several places of a plan may share one cell.
    places: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for place in plan:
        places.setdefault((place["key"], str(place["cell"])), []).append(place)
    current = study.get("schema") == SCHEMA  # Else today's version computes other keys.
    code = staleness.Code(study, store.folder)
    return [_state(store, shared, code, current=current) for shared in places.values()]


def recorded(store: Store, besides: Collection[str] = ()) -> list[CellState]:
    """Return the states of the cells with a record in ``store``, but for the keys in ``besides``.

    An earlier run may have planned them. Files that are named by such a key are not read.
    """
    paths = store.record_paths()
    others = [path for path in paths if path.stem.rpartition("-")[2] not in besides]
    records = [read_record(path) for path in others]
    code = staleness.Code(store.study(), store.folder)
    return [_settled(r, code) for r in records if r is not None and r.key not in besides]


def state_of(store: Store, cell: Cell, key: str) -> CellState:
    """Return the state of one cell with this key, which need not be in a plan of ``store``."""
    places = [{"cell": cell.to_dict(), "key": key, "label": cell.loss}]
    return _state(store, places, staleness.Code({}, store.folder), current=True)


def _settled(record: Record, code: staleness.Code) -> CellState:
    """Return the state of a cell that has a record."""
    why, how = code.why(record.source), collapse(record.diagnostics)
    return CellState(
        Cell(**record.cell), record.key, "stale" if why else "collapsed" if how else "done",
        why or how,
        task=record.task, metric=record.main, score=record.main_score,
    )  # fmt: skip


def _state(
    store: Store, places: list[dict[str, Any]], code: staleness.Code, *, current: bool
) -> CellState:
    """Return the state of the cell that all of ``places`` share."""
    cell, key = Cell(**places[0]["cell"]), places[0]["key"]
    task = places[0].get("task", cell.task)
    rows, trial = tuple(place["label"] for place in places), places[0].get("trial")

    def found(state: State, note: str = "") -> CellState:
        return CellState(cell, key, state, note, task, rows, trial)

    if not current:
        return found("to do", "planned by an earlier version of Triptych")
    path = store.record_path(cell, key)
    record = read_record(path) if key else None
    if record is not None and record.key == key:
        return replace(_settled(record, code), cell=cell, task=task, rows=rows, trial=trial)
    running = _running(store.claim_path(cell, key))
    if running:
        return found("running", running)
    if path.exists():
        return found("damaged", str(path))
    failure = store.failure(cell, key)
    if failure is not None:
        return found("diverged" if failure.outcome == "diverged" else "failed", failure.reason)
    begun = key and store.checkpoint_path(cell, key).exists()
    return found("to do", "will resume from a checkpoint" if begun else places[0].get("reason", ""))


def _running(path: Path) -> str:
    """Return where a claimed cell runs; an empty text without a claim, or with an expired one."""
    values = claims.read(path)
    owner = claims.owner_of(values)
    if owner is None or owner.gone():
        return ""
    # A look at one moment must compare clocks, which may differ between machines; a run that waits
    # for a claim does not (harness.run.claims).
    seconds_silent = 0.0
    with suppress(OSError):
        seconds_silent = time.time() - path.stat().st_mtime
    if seconds_silent > claims.LEASE:
        return ""
    step = f"step {values['step']} of {values['steps']}, " if values.get("steps") else ""
    return f"{step}on {owner.host}, process {owner.pid}"


def faults(store: Store) -> list[str]:
    """Return one line for each faulty file of ``store``; change nothing.

    Records are checked for their checksum, their content, and the key of their cell, data and
    source. Failures, checkpoints and the plan are checked for being readable.
    """
    lines = [
        f"{path}: {fault}"
        for path, record in store.scan()
        if (fault := _fault(store, path, record))
    ]
    for path in sorted((store.folder / "failures").glob("*.json")):
        if store.failure_at(path) is None:
            lines.append(f"{path}: cannot be read; the next run tries its cell again")
    checkpoints = sorted((store.folder / "checkpoints").glob("*.safetensors"))
    if checkpoints:
        from harness.core.states import load  # This imports torch, which takes seconds.

        for path in checkpoints:
            if load(path) is None:
                lines.append(f"{path}: is damaged; its cell will start from the beginning")
    if not store.study():
        lines.append(f"{store.study_path}: cannot be read; the next run writes it again")
    for path in files.debris(store.folder):
        lines.append(
            f"{path}: was being written when a process was killed; the next run removes it"
        )
    return lines


def _fault(store: Store, path: Path, record: Record | None) -> str:
    """Return what is wrong with a record's file; an empty text if nothing is."""
    if record is None:
        if is_intact(path):
            return "is a record of another version of Triptych"
        return "was cut short or changed: its checksum is wrong; the next run makes it again"
    try:
        cell = Cell(**record.cell)
    except TypeError as error:
        return f"does not describe a cell: {error}"
    if record.schema == FIRST_RELEASE:  # Version 0.1.0 named and keyed records by other rules.
        return ""
    if record.key != key_of(record.identity):
        return "its key does not match its settings, data and code"
    if path != store.record_path(cell, record.key):
        return f"is the record of another cell: {cell}"
    task = record.settings.get("task", {})
    # With `epochs`, the number of steps depends on the data.
    steps = task.get("steps", record.steps)
    if is_trained(cell.loss) and not task.get("epochs") and record.steps != steps:
        return f"has {record.steps:,} steps, and its task trains {steps}"
    values = [value for scores in record.scores.values() for value in scores.values()]
    if not values or not all(map(math.isfinite, values)):
        return "its scores are not all finite numbers"
    return ""
