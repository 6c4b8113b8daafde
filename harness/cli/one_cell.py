"""Print one cell: its scores, cost and origin, or why it has none."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from harness.cli import terminal
from harness.cli.terminal import duration, say
from harness.core.errors import InputError

if TYPE_CHECKING:
    from harness.run.status import CellState
    from harness.store.records import Record, Store

CHECKSUM = 12
"""How many digits of a checksum or commit are shown: enough to identify it."""


def show_json(store: "Store", state: "CellState") -> None:
    """Print the file of a cell's record; if there is none, that of its failure."""
    from harness.core.commands import run_again

    for path in (store.find_record(state.cell, state.key), store.failure_path(state.cell)):
        if path.exists():
            terminal.show_text(path.read_text("utf-8"))
            return
    raise InputError(
        f"`--json` needs a record or a failure: {state} is {state.state}. "
        f"To run it: {run_again(state.cell)}"
    )


def show(
    store: "Store",
    state: "CellState",
    *,
    details: str | None = None,
    most: int | None = None,
    more: Mapping[str, str] | None = None,
) -> None:
    """Print a cell's record in at most 15 lines; if there is none, print why, and the traceback.

    Args:
        store: the folder of the run.
        state: the cell.
        details: the traceback; None: that of the cell's failure in ``store``.
        most: lines of the traceback, its last ones; None: all. The reason is then cut as well.
        more: further fields to print, or other values of these.
    """
    from harness.core.commands import run_again
    from harness.core.telling import one_line
    from harness.store.records import read_record

    path = store.find_record(state.cell, state.key)
    record = read_record(path)
    failure = store.failure(state.cell, state.key)
    log = store.log_path(state.cell, state.key)
    if failure is not None and failure.log:
        log = store.folder / failure.log
    rows = ", ".join(row for row in dict.fromkeys(state.rows) if row != state.cell.loss)
    note = state.note if most is None else one_line(state.note)
    fields = {"row": rows, "state": f"{state.state}{': ' * bool(note)}{note}"}
    if record is not None:
        fields |= _about(record) | {"record": str(path)}
    elif failure is not None:
        fields |= {"key": state.key, "failure": str(store.failure_path(state.cell))}
    else:
        fields |= {"key": state.key}
    device = record.device.partition(" ")[0].partition(":")[0] if record is not None else ""
    copied = store.folder / record.plugins if record is not None and record.plugins else ""
    fields |= {
        "log": str(log) if log.exists() else "",
        "run again": run_again(state.cell, device, copied),
    }
    fields |= more or {}
    say(str(state), style="bold")
    terminal.say_fields(fields, verbatim=("record", "failure", "log", "encoder", "run again"))
    if details is None and failure is not None:
        details = failure.details
    if record is None and details:
        say("")
        terminal.show_text(details if most is None else _end(details, most))


def _end(traceback: str, most: int) -> str:
    r"""Return the last lines of a traceback, ``most`` at most, from the start of a frame on.

    >>> _end('  File "a"\n    f()\n    ^^^\n  File "b"\n    x\nValueError: bad', 5)
    '  File "b"\n    x\nValueError: bad'
    """
    lines = traceback.rstrip("\n").split("\n")[-most:]
    frames = [number for number, line in enumerate(lines) if line.startswith("  File ")]
    return "\n".join(lines[frames[0] :] if frames else lines)


def _about(record: "Record") -> dict[str, str]:
    """Return what a record says: scores, cost, machine, data and identity."""
    units = {metric["name"]: metric["unit"] for metric in record.metrics}

    def listed(scores: Mapping[str, float], *without: str) -> str:
        return ", ".join(
            f"{name} {value:.4g}{' ' * bool(units.get(name))}{units.get(name, '')}"
            for name, value in scores.items()
            if name not in without
        )

    main, split = record.main, record.cell.get("scored", "test")
    scores = record.scores.get(split, {})
    seconds = record.seconds
    parts = {"training": seconds.get("train"), "evaluation": seconds.get("evaluate")}
    cost = [f"{record.steps} steps in {duration(seconds['total'])}"]
    cost += [f"{name} {duration(part)}" for name, part in parts.items() if part is not None]
    cost += [f"{name} memory {size / 1e6:,.0f} MB" for name, size in record.peak_memory.items()]
    libraries = (name for name in ("torch", "triptych", "python") if name in record.versions)
    commit, changed, _ = (record.commit or "").partition("+changes")
    finished = datetime.fromisoformat(record.finished).astimezone(UTC)
    return {
        "score": f"{listed({main: scores[main]})} ({split})" if main in scores else "",
        "other scores": listed(scores, main),
        "validation": listed(record.scores.get("validation", {})) if split == "test" else "",
        "cost": ", ".join(cost),
        "device": ", ".join([record.device, *(f"{n} {record.versions[n]}" for n in libraries)]),
        "data": ", ".join(f"{name} {text[:CHECKSUM]}" for name, text in record.data.items()),
        **({"note": "; ".join(record.notes)} if record.notes else {}),
        "key": record.key,
        "commit": commit[:CHECKSUM] + (" with changes" if changed else ""),
        "finished": f"{finished:%Y-%m-%d %H:%M:%S} UTC",
    }
