"""The state of a run's cells, read from its folder alone; the run may still be going on."""

import math
import shlex
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from harness.core import files
from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.evaluation.collapse import collapse
from harness.run import claims
from harness.store.records import (
    FIRST_RELEASE,
    SCHEMA,
    Record,
    Store,
    is_intact,
    key_of,
    read_record,
)

State = Literal["done", "collapsed", "running", "failed", "diverged", "damaged", "to do"]
STATES: tuple[State, ...] = get_args(State)
"""The states of a cell. A collapsed cell has a record and is not run again."""


@dataclass(frozen=True)
class CellState:
    """Describe the state of a planned cell.

    Attributes:
        cell: the cell.
        key: the key of its record; empty if it is not known yet.
        state: one of ``STATES``.
        note: where the cell runs, or why it is in this state.
    """

    cell: Cell
    key: str
    state: State
    note: str = ""


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

    Raises:
        InputError: if no run was planned there, or if its plan cannot be read.
    """
    plan = store.study().get("plan")
    if plan is None:
        exists = store.study_path.exists()
        wrong = f"{store.study_path} cannot be read" if exists else "got a folder without a plan"
        raise InputError(
            f"{str(store.given)!r} must be the folder of a run: {wrong}. "
            f"Run a study first, such as `triptych run quickstart --out {store.given}`."
        )
    # Several places of a plan may share one cell.
    entries = {(place["key"], str(place["cell"])): place for place in plan}
    if store.study().get("schema") != SCHEMA:  # Today's version computes other keys.
        stale = "planned by an earlier version of Triptych"
        return [CellState(Cell(**p["cell"]), p["key"], "to do", stale) for p in entries.values()]
    return [_state(store, place) for place in entries.values()]


def _state(store: Store, place: dict[str, Any]) -> CellState:
    cell, key = Cell(**place["cell"]), place["key"]

    def found(state: State, note: str = "") -> CellState:
        return CellState(cell, key, state, note)

    path = store.record_path(cell, key)
    record = read_record(path) if key else None
    if record is not None and record.key == key:
        how = collapse(record.diagnostics)
        return found("collapsed", how) if how else found("done")
    running = _running(store.claim_path(cell, key))
    if running:
        return found("running", running)
    if path.exists():
        return found("damaged", str(path))
    failure = store.failure(cell, key)
    if failure is not None:
        return found("diverged" if failure.outcome == "diverged" else "failed", failure.reason)
    begun = key and store.checkpoint_path(cell, key).exists()
    return found("to do", "will resume from a checkpoint" if begun else place.get("reason", ""))


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
    values = [value for scores in record.scores.values() for value in scores.values()]
    if not values or not all(map(math.isfinite, values)):
        return "its scores are not all finite numbers"
    return ""


def find(store: Store, wanted: str) -> CellState:
    """Return the one cell of ``store`` that ``wanted`` names.

    Args:
        store: the run's folder.
        wanted: the start of a record's key, the cell's label, or words of the label.

    Raises:
        InputError: if it names none or several cells.
    """
    cells = {state.key or str(state.cell): state for state in states(store)}
    for _, record in store.scan():
        if record is not None and record.key not in cells:  # An earlier run planned it.
            cells[record.key] = CellState(Cell(**record.cell), record.key, "done")
    words = wanted.split()
    # From strict to loose: the first rule that matches any cell decides.
    rules = (
        lambda s: bool(s.key) and s.key == wanted,
        lambda s: str(s.cell) == wanted,
        lambda s: len(wanted) >= 4 and s.key.startswith(wanted),
        lambda s: all(word in str(s.cell).split() for word in words),
        lambda s: all(word in str(s.cell) for word in words),
    )
    for match in rules:
        matches = [state for state in cells.values() if match(state)]
        if len(matches) == 1:
            return matches[0]
        if matches:
            lines = "".join(f"\n  {s.key}  {s.cell} ({s.cell.scored})" for s in matches[:20])
            more = f"\n  and {len(matches) - 20} more" if len(matches) > 20 else ""
            raise InputError(
                f"`cell` must name one cell: {wanted!r} names {len(matches)}. "
                f"Give more words of its label, or its key:{lines}{more}"
            )
    raise InputError(
        f"`cell` must name a cell of {str(store.given)!r}, by key or words of its label: got "
        f"{wanted!r}. To list the cells, run `triptych status {store.given} --cells`."
    )


def command(cell: Cell, device: str = "") -> str:
    """Return the command that runs ``cell`` alone, on ``device`` if one is given.

    >>> command(Cell("images", "siamese", "adnce(mu=0.5)", 3))
    "triptych cell images --method siamese --loss 'adnce(mu=0.5)' --seed 3"
    """
    words = ["triptych", "cell", cell.task, *(["--method", cell.method] if cell.method else [])]
    words += ["--loss", cell.loss, "--seed", str(cell.seed)]
    words += ["--probes", str(cell.probes)] if cell.probes else []
    words += ["--scored", cell.scored] if cell.scored != "test" else []
    words += ["--device", device] if device else []
    return shlex.join(words)
