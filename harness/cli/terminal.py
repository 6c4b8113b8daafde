"""The output of the command line: tables, progress, and the outcome of a run."""

import io
import json
import os
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import IO, TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table

from harness.core.cells import Cell, is_trained

if TYPE_CHECKING:
    from harness.run.engines import Event
    from harness.run.runner import Listener, Summary
    from harness.run.status import CellState

for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # Boards must not fail on a terminal without "±".
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""Characters that can move the cursor or rename the window; a plugin's error may hold any."""
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)


class Unfailing(io.TextIOBase):
    """Wrap standard output so that a run continues when writing to it fails.

    It fails if its reader is gone or the disk is full. The failure is reported once on standard
    error; the records do not depend on the output.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write ``text``; ignore it if the stream has failed."""
        with self._failure_reported():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless it has failed."""
        with self._failure_reported():
            self.stream.flush()

    def fileno(self) -> int:
        """Return the stream's file descriptor."""
        return self.stream.fileno()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self.stream.isatty()

    @contextmanager
    def _failure_reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            err.print(escape(f"Could not write to standard output: {error}. No more is shown."))
            # Redirect the stream, so that flushing its buffer, now and at exit, cannot fail again.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.stream.fileno())
            os.close(null)


def escape(text: str) -> str:
    r"""Escape the markup of rich and the control characters of terminals in ``text``.

    >>> print(escape("[red]a\x1b[31m"))
    \[red]a\x1b[31m
    """
    return escape_markup(CONTROL.sub(_visible, text))


def _visible(match: re.Match[str]) -> str:
    """Return a control character as Python's ``repr`` writes it."""
    return repr(match[0])[1:-1]


def table(
    columns: Iterable[str], *, numbers: Collection[str] = (), title: str | None = None
) -> Table:
    """Return an empty table; columns named in ``numbers`` are aligned right and never wrap."""
    made = Table(
        title=escape(title) if title else None, title_justify="left", title_style="bold",
        box=SIMPLE_HEAD, show_edge=False,
    )  # fmt: skip
    made.padding, made.pad_edge = (0, 1, 0, 0), False
    for column in columns:
        number = column in numbers
        made.add_column(
            escape(column),
            justify="right" if number else "left",
            no_wrap=number,
            overflow="fold",
            min_width=None if number else 9,
        )
    return made


def show(made: Table) -> None:
    """Print a table: folded to the terminal's width, or unfolded into a file or a pipe."""
    if out.is_terminal:
        out.print(made)
    else:  # A file or a pipe has no width, so nothing may be folded or cut.
        out.print(made, width=1000, soft_wrap=True)


def show_text(text: str) -> None:
    """Print the text of a file unchanged, except that control characters are made visible."""
    out.print(CONTROL.sub(_visible, text.rstrip("\n")), markup=False, soft_wrap=True)


def show_states(states: "Sequence[CellState]", command: str, *, every: bool) -> None:
    """Print the number of cells in each state, and the cells that are neither done nor to do."""
    from harness.run.status import STATES

    counts: Counter[str] = Counter(state.state for state in states)
    shown = [s for s in STATES if counts[s] or s in ("done", "to do")]
    out.print(f"{len(states)} cells: " + ", ".join(f"{counts[s]} {s}" for s in shown))
    for state in states:
        if every or state.state not in ("done", "to do"):
            note = f": {state.note}" if state.note else ""
            line = f"  {state.state:<9}  {state.key:<16}  {state.cell}{note}"
            out.print(escape(line), soft_wrap=True)
    if command and counts["done"] + counts["collapsed"] + counts["diverged"] < len(states):
        out.print(f"To run the remaining cells: {escape(command)}", soft_wrap=True)


def report(summary: "Summary", folder: Path, seconds: float) -> None:
    """Print how many cells were run, shared and skipped."""
    parts = [f"{len(summary.done)} cells run in {clock(seconds)}"]
    if summary.shared:
        parts.append(f"{len(summary.shared)} finished meanwhile by another run")
    if summary.skipped:
        parts.append(f"{len(summary.skipped)} had a record already")
    out.print(", ".join(parts) + f". Records: {escape(str(folder))}/records", soft_wrap=True)


def warn(lines: "Sequence[str]") -> None:
    """Print known problems of a study, before anything is trained."""
    for line in lines:
        err.print(escape(line), style="yellow", soft_wrap=True)


def report_lost(summary: "Summary", folder: Path, command: str) -> None:
    """Print the cells without a score, the reasons, and the command that tries them again."""
    if summary.diverged:
        number = len(summary.diverged)
        err.print(f"{number} cells diverged; the next run skips them:", style="yellow")
        for cell, reason in summary.diverged.items():
            err.print(f"  {escape(str(cell))}: {escape(reason)}", soft_wrap=True)
    if summary.failed:
        err.print(f"{len(summary.failed)} cells failed:", style="bold red")
        for cell, reason in summary.failed.items():
            err.print(f"  {escape(str(cell))}: {escape(reason)}", soft_wrap=True)
        err.print(
            f"See {escape(str(folder))}/failures and {escape(str(folder))}/logs. "
            f"To try them again: {escape(command)}",
            soft_wrap=True,
        )
    for row, reason in summary.waiting.items():
        err.print(
            f"Tuning chose no settings for {escape(row)}: {escape(reason)}.",
            style="red",
            soft_wrap=True,
        )


@contextmanager
def progress(*, as_json: bool = False) -> "Iterator[Listener]":
    """Show progress: bars in a terminal, else plain lines, or one JSON event a line."""
    started = time.monotonic()

    if as_json:
        yield _print_json
        return

    if not out.is_terminal:

        def print_line(event: "Event", summary: "Summary") -> None:
            if event.kind == "step":
                return
            line = (
                f"[{summary.settled:>{len(str(summary.expected))}}/{summary.expected}] "
                f"{clock(time.monotonic() - started)}  {event.kind:<7}  {event.cell}"
                + (f": {event.reason}" if event.reason else "")
            )
            print(CONTROL.sub(_visible, line), flush=True)

        yield print_line
        return

    bars = Progress(
        TextColumn(
            "{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
        ),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True)),
        console=out,
        transient=True,
        expand=True,
    )
    lines: dict[int, tuple[TaskID, float]] = {}
    overall = bars.add_task("cells", total=None, note="planning")
    pace = Pace()

    def draw(event: "Event", summary: "Summary") -> None:
        now = time.monotonic()
        pace.observe(event)
        settled = summary.settled
        left = pace.left(summary)
        note = f"{settled}/{summary.expected}"
        note += f", {len(summary.failed)} failed" if summary.failed else ""
        note += f", {len(summary.diverged)} diverged" if summary.diverged else ""
        note += "" if left is None else f", about {clock(left)} left"
        bars.update(overall, completed=settled, total=summary.expected, note=note)
        if event.kind == "started":
            if event.worker in lines:
                bars.remove_task(lines.pop(event.worker)[0])
            line = bars.add_task(f"  {escape(str(event.cell))}", total=None, note="loading")
            lines[event.worker] = (line, now)
        elif event.kind == "step" and event.worker in lines:
            line, begun = lines[event.worker]
            if event.step == event.steps:
                note = "evaluating"
            else:
                rest = (now - begun) / event.step * (event.steps - event.step)
                note = f"{event.step}/{event.steps} loss {event.loss:.4g}, {clock(rest)} left"
            bars.update(line, completed=event.step, total=event.steps, note=note)
        elif event.worker in lines:
            bars.remove_task(lines.pop(event.worker)[0])
            if event.kind in ("failed", "diverged"):
                out.print(
                    f"{event.kind}: {escape(str(event.cell))}: {escape(event.reason)}", style="red"
                )

    with bars:
        yield draw


def _print_json(event: "Event", summary: "Summary") -> None:
    values = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        **asdict(event),
        "settled": summary.settled,
        "expected": summary.expected,
    }
    print(json.dumps(values), flush=True)


def report_json(summary: "Summary", seconds: float, command: str) -> None:
    """Print the outcome of a run as the last line of JSON."""
    lists = ("done", "skipped", "shared", "failed", "diverged", "waiting")
    counts = {name: len(getattr(summary, name)) for name in lists}
    values = {"kind": "summary", **counts, "seconds": round(seconds, 3), "command": command}
    print(json.dumps(values), flush=True)


class Pace:
    """Estimate the remaining time from the measured duration of cells of the same task."""

    def __init__(self) -> None:
        self._begun: dict[int, float] = {}
        self._seconds: dict[tuple[str, bool], list[float]] = defaultdict(list)
        self._last_estimate: tuple[float, float | None] = 0.0, None

    def observe(self, event: "Event") -> None:
        """Note the start of a cell, or its duration once it is done."""
        if event.kind == "started":
            self._begun[event.worker] = time.monotonic()
        elif event.settled and event.worker in self._begun:
            seconds = time.monotonic() - self._begun.pop(event.worker)
            if event.kind == "done":
                self._seconds[_kind(event.cell)].append(seconds)

    def left(self, summary: "Summary") -> float | None:
        """Return the seconds until all cells are settled; None until one is measured."""
        # At most once a second, because counting the cells of a large study takes time.
        if time.monotonic() - self._last_estimate[0] > 1:
            self._last_estimate = time.monotonic(), self._left(summary)
        return self._last_estimate[1]

    def _left(self, summary: "Summary") -> float | None:
        measured = [seconds for group in self._seconds.values() for seconds in group]
        if not measured:
            return None
        means = {kind: fmean(group) for kind, group in self._seconds.items()}
        typical = fmean(measured)
        rest = Counter(map(_kind, summary.cells))
        rest.subtract(map(_kind, summary.accounted()))
        seconds = sum(count * means.get(kind, typical) for kind, count in rest.items())
        seconds += typical * (summary.expected - len(summary.cells))  # Tuned rows, not chosen yet.
        return seconds / max(len(self._begun), 1)


def _kind(cell: "Cell") -> tuple[str, bool]:
    """Return the task and whether the cell is trained: cells of one kind take equally long."""
    return cell.task, is_trained(cell.loss)


def clock(seconds: float) -> str:
    """Format seconds as minutes and seconds, with hours if there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
