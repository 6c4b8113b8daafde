"""What the command line shows: tables, progress, what became of a run."""

import io
import re
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape as escape_markup
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table

if TYPE_CHECKING:
    from harness.engines import Event
    from harness.runner import Listener, Summary

for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # A terminal without "±" still gets its board.
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
"""Characters that move cursors and name windows; a plugin's error may hold any."""
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)


def escape(text: str) -> str:
    r"""Return ``text`` that neither rich nor the terminal takes for an instruction.

    >>> print(escape("[red]a\x1b[31m"))
    \[red]a\x1b[31m
    """
    return escape_markup(CONTROL.sub(_named, text))


def _named(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def table(
    columns: Iterable[str], *, numbers: Collection[str] = (), title: str | None = None
) -> Table:
    """Return an empty table; the columns named in ``numbers`` are of numbers."""
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
    """Print a table: in a terminal as wide as that is, elsewhere uncut."""
    if out.is_terminal:
        out.print(made)
    else:  # A file or a pipe has no width: nothing is folded or cut.
        out.print(made, width=1000, soft_wrap=True)


def report(summary: "Summary", folder: Path, seconds: float) -> None:
    """Print what became of a run."""
    parts = [f"{len(summary.done)} cells run in {clock(seconds)}"]
    if summary.skipped:
        parts.append(f"{len(summary.skipped)} had a record already")
    out.print(", ".join(parts) + f". Records: {escape(str(folder))}/records")
    if summary.diverged:
        err.print(f"{len(summary.diverged)} cells diverged, and would again:", style="yellow")
        for cell, reason in summary.diverged.items():
            err.print(f"  {escape(str(cell))}: {escape(reason)}", soft_wrap=True)
    if summary.failed:
        err.print(f"{len(summary.failed)} cells failed:", style="bold red")
        for cell, reason in summary.failed.items():
            err.print(f"  {escape(str(cell))}: {escape(reason)}", soft_wrap=True)
        err.print(
            f"Details: {escape(str(folder))}/failures. "
            "The same command tries the failed cells again.",
            soft_wrap=True,
        )
    for row, reason in summary.waiting.items():
        err.print(f"Not chosen: {escape(row)}: {escape(reason)}.", style="red", soft_wrap=True)


@contextmanager
def progress() -> "Iterator[Listener]":
    """Show bars in a terminal, plain lines elsewhere."""
    started = time.monotonic()

    if not out.is_terminal:

        def print_line(event: "Event", summary: "Summary") -> None:
            if event.kind == "step":
                return
            line = (
                f"[{summary.settled:>{len(str(summary.expected))}}/{summary.expected}] "
                f"{clock(time.monotonic() - started)}  {event.kind:<7}  {event.cell}"
                + (f": {event.reason}" if event.reason else "")
            )
            with suppress(OSError):  # Nobody reads any more: that does not stop the run.
                print(CONTROL.sub(_named, line), flush=True)

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

    def draw(event: "Event", summary: "Summary") -> None:
        now = time.monotonic()
        settled = summary.settled
        fresh = len(summary.done)
        left = (now - started) / fresh * (summary.expected - settled) if fresh else None
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
        elif event.kind == "step":
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


def clock(seconds: float) -> str:
    """Return seconds as minutes and seconds, with hours where there are any."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
