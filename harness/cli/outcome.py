"""Print what became of cells: how many are in each state, and why some have no score."""

import json
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from harness.cli.terminal import clock, counted, err, out, say
from harness.core.cells import Cell
from harness.core.telling import CUT, one_line
from harness.run.reasons import Lost, by_reason
from harness.run.short_labels import short_label
from harness.store import staleness

if TYPE_CHECKING:
    from harness.run.dry_run import DryRuns
    from harness.run.runner import Summary
    from harness.run.status import CellState

MAX_LINES = 30
"""Cells, or groups of them, that are listed if nothing asks for all."""
MAX_NOTE = 100
"""Characters of a reason in a list of every cell, which repeats it."""
MAX_ROWS = 5
"""Rows of the board that are named in one sentence."""


def show_states(
    states: "Sequence[CellState]", shown: "Sequence[CellState]", folder: Path, *, every: bool
) -> None:
    """Print how many cells are in each state, and the reasons of those neither done nor to do.

    Args:
        states: all cells of the run.
        shown: those that are counted and listed.
        folder: the run's folder.
        every: whether to list each of them on a line of its own.
    """
    from harness.run.status import STATES

    counts: Counter[str] = Counter(state.state for state in shown)
    named = [s for s in STATES if counts[s] or s in ("done", "to do")]
    of_all = "" if len(shown) == len(states) else f" of {len(states)}"
    listed = ", ".join(f"{counts[s]} {s}" for s in named)
    say(f"{len(shown)}{of_all} {'cell' if len(states) == 1 else 'cells'}: {listed}")
    if every:
        for state in shown:
            note = f": {one_line(state.note, MAX_NOTE)}" if state.note else ""
            say(f"{state}{note}", start=f"  {state.state:<9}  {state.key:<16}  ", indent=31)
        return
    notable = [state for state in shown if state.state not in ("done", "to do")]
    groups = by_reason((s.state, s.note, s.cell, s.key) for s in notable)
    for group in groups[:MAX_LINES]:
        _say_group(group, folder, out, start=f"{group.state:<9}  ")
    if len(groups) > MAX_LINES:
        say(f"  and {len(groups) - MAX_LINES} more reasons: add --cells to list every cell.")


def _say_group(group: Lost, folder: Path, to: Console, *, start: str = "") -> None:
    """Print a reason with its only cell, or with their number and the command that shows one."""
    (cell, key), *others = group.cells
    start = f"  {start}"
    reason = one_line(group.reason)
    if others:
        say(f"{group.extent()}: {reason}", start=start, indent=len(start), to=to)
    else:
        name = f"{key}  {cell}" if start.strip() and key else str(cell)
        say(f"{name}: {reason}", start=start, indent=len(start), to=to)
    if others or CUT in reason:
        command = show_command(folder, cell, key)
        room = to.width - len(start) - len(f"details:  ({command})")
        example = f"  ({short_label(cell, room)})" if others else ""
        say(f"details: {command}{example}", indent=len(start), verbatim=True, to=to)


def show_command(folder: Path, cell: Cell, key: str) -> str:
    """Return the command that shows one cell; without a key, its label names it."""
    words = str(cell) if cell.scored == "test" else f"{cell} tuning"
    return shlex.join(["triptych", "show", str(folder), key or words])


def report(summary: "Summary", folder: Path, seconds: float) -> None:
    """Print how many cells were run, shared and skipped."""
    parts = [f"{counted(len(summary.done), 'cell')} run in {clock(seconds)}"]
    if summary.shared:
        parts.append(f"{len(summary.shared)} finished meanwhile by another run")
    if summary.skipped:
        parts.append(f"{len(summary.skipped)} had a record already")
    say(f"{', '.join(parts)}. Records: {folder}/records")
    again = [why for cell, why in summary.stale.items() if cell in summary.done]
    if old := staleness.sentence(again, past=True):
        say(old)


def report_lost(summary: "Summary", folder: Path, command: str) -> None:
    """Print the cells without a score, by reason, and the command that tries them again."""
    from harness.run.dry_run import FOLDER as DRY_RUNS
    from harness.store.records import Store

    store = Store(folder)

    def groups(state: str, lost: Mapping[Cell, str]) -> Iterator[Lost]:
        failures = {cell: store.failure_at(store.failure_path(cell)) for cell in lost}
        keys = {cell: failure.key for cell, failure in failures.items() if failure is not None}
        yield from by_reason((state, why, cell, keys.get(cell, "")) for cell, why in lost.items())

    if summary.diverged:
        number = counted(len(summary.diverged), "cell")
        say(f"{number} diverged; the next run skips them:", style="yellow", to=err)
        _say_groups(groups("diverged", summary.diverged), folder)
    if summary.stopped:
        say(f"Stopped: {summary.stopped}", style="bold red", to=err)
    if summary.failed:
        say(f"{counted(len(summary.failed), 'cell')} failed:", style="bold red", to=err)
        _say_groups(groups("failed", summary.failed), folder)
        written = [name for name in ("failures", "logs", DRY_RUNS) if (folder / name).is_dir()]
        seen = " and ".join(f"{folder}/{name}" for name in written)
        say(f"{f'See {seen}. ' if seen else ''}To try them again: ", to=err)
        say(command, indent=2, verbatim=True, to=err)
    rows: dict[str, list[str]] = {}
    for row, reason in summary.waiting.items():
        rows.setdefault(reason, []).append(row)
    for reason, names in rows.items():
        more = f" and {len(names) - MAX_ROWS} more" if len(names) > MAX_ROWS else ""
        listed = ", ".join(names[:MAX_ROWS])
        text = f"for {listed}{more}: {one_line(reason)}."
        say(text, start="Tuning chose no settings ", indent=2, style="red", to=err)


def _say_groups(groups: Iterable[Lost], folder: Path) -> None:
    groups = list(groups)
    for group in groups[:MAX_LINES]:
        _say_group(group, folder, err)
    if len(groups) > MAX_LINES:
        number = len(groups) - MAX_LINES
        say(f"  and {number} more reasons: `triptych status {folder}` counts the cells.", to=err)


def report_dry_runs(dry_runs: "DryRuns") -> None:
    """Print how many combinations of a study were tried, and why some failed, by reason."""
    number = counted(dry_runs.tried, "combination")
    if not dry_runs.lost:
        say(f"{number} of a task, a method and a loss were tried: none failed.")
        return
    say(f"{len(dry_runs.lost)} of {number} failed:", style="bold red", to=err)
    for group in dry_runs.groups():
        (cell, _), *others = group.cells
        who = str(cell).rpartition(" / ")[0]
        if others:
            who = f"{who} and {len(others)} more"
        say(f"{who}: {one_line(group.reason)}", start="  ", indent=2, to=err)
    say(f"Their logs are in {dry_runs.logs}.", to=err)


def report_json(summary: "Summary", seconds: float, command: str) -> None:
    """Print the outcome of a run as the last line of JSON."""
    lists = ("done", "skipped", "shared", "failed", "diverged", "waiting")
    counts = {name: len(getattr(summary, name)) for name in lists}
    values = {"kind": "summary", **counts, "seconds": round(seconds, 3), "command": command}
    print(json.dumps(values), flush=True)
