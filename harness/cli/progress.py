"""Show the progress of a run: bars in a terminal, else lines, or events as JSON."""

import json
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from statistics import fmean
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, Task, TaskID
from rich.table import Table
from rich.text import Text

from harness.cli import terminal
from harness.cli.terminal import clock, duration, say
from harness.core.cells import Cell, is_trained
from harness.core.telling import one_line, visible
from harness.run.reasons import shared
from harness.run.short_labels import short_label

if TYPE_CHECKING:
    from harness.run.engines import Event
    from harness.run.runner import Listener, Summary

BAR = 10
"""The width of a bar."""
NARROW = 60
"""Terminals with fewer columns show no bars: their cells and numbers need the room."""
SHOWN = 3
"""The number of finished cells whose scores stay in sight."""


@contextmanager
def progress(*, as_json: bool = False, methods: bool = False) -> "Iterator[Listener]":
    """Yield a listener that shows progress: bars in a terminal, else a line per event.

    Args:
        as_json: whether to print every event as a line of JSON.
        methods: whether bars name the cells' methods, as a study of several needs.
    """
    if as_json:
        yield _print_json
    elif terminal.out.is_terminal:
        with Bars(terminal.out, methods=methods) as bars:
            yield bars.draw
    else:
        yield _Lines().print


def _print_json(event: "Event", summary: "Summary") -> None:
    values = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        **asdict(event),
        "settled": summary.settled,
        "expected": summary.expected,
    }
    print(json.dumps(values), flush=True)


class _Lines:
    """Print a line for each event but steps."""

    def __init__(self) -> None:
        self.started = time.monotonic()

    def print(self, event: "Event", summary: "Summary") -> None:
        if event.kind == "step":
            return
        line = (
            f"[{summary.settled:>{len(str(summary.expected))}}/{summary.expected}] "
            f"{clock(time.monotonic() - self.started)}  {event.kind:<7}  {event.cell}"
            + (f": {one_line(event.reason)}" if event.reason else "")
        )
        print(visible(line), flush=True)


class Bars(Progress):
    """Draw a bar for the whole run, a line per worker, and the last scores above them.

    Each line has a ``cell`` (None for the whole run) and a ``note`` of several parts. Both are
    shortened to the terminal's width: first the settings of the cell's plugins, then the last
    parts of the note. The loss's name and the seed are never cut.
    """

    def __init__(self, screen: Console, *, methods: bool) -> None:
        self.screen, self.methods = screen, methods
        self.bar = BarColumn(bar_width=BAR)
        self.scores: deque[str] = deque(maxlen=SHOWN)
        self.reasons: set[tuple[str, str]] = set()
        self.pace = Pace()
        self.widest = 0  # The widest note so far: a column that shrank again would flicker.
        self.lines: dict[int, tuple[TaskID, float]] = {}
        super().__init__(console=screen, transient=True)
        self.overall = self.add_task("", total=None, cell=None, note=("planning",))

    def get_renderables(self) -> Iterable[RenderableType]:
        """Yield the last scores, then the bars."""
        for line in tuple(self.scores):
            yield Text(line, style="dim", no_wrap=True, overflow="ellipsis")
        yield self.make_tasks_table(self.tasks)

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        """Lay out the lines: cells, bars and notes, each in a column of one width."""
        tasks = list(tasks)
        width = self.screen.width - 1
        bar = BAR + 1 if width >= NARROW else 0
        shortest = max((len(self._label(task, 0)) for task in tasks), default=0)
        longest = max((len(self._label(task, width)) for task in tasks), default=0)
        room = max(width - bar - shortest - 1, 0)
        notes = [fitting(task.fields["note"], room) for task in tasks]
        self.widest = max(self.widest, *map(len, notes), 0)
        left = min(longest, max(width - bar - 1 - self.widest, shortest))
        grid = Table.grid(padding=(0, 1, 0, 0))
        for _ in range(3 if bar else 2):
            grid.add_column(no_wrap=True)
        for task, note in zip(tasks, notes, strict=True):
            name = Text(self._label(task, left).ljust(left))
            grid.add_row(name, *([self.bar(task)] if bar else []), Text(note))
        return grid

    def _label(self, task: Task, width: int) -> str:
        cell: Cell | None = task.fields["cell"]
        if cell is None:
            return "cells"
        return visible(short_label(cell, width, method=self.methods))

    def draw(self, event: "Event", summary: "Summary") -> None:
        """Show an event."""
        now = time.monotonic()
        self.pace.observe(event)
        left = self.pace.left(summary)
        note = [f"{summary.settled}/{summary.expected}"]
        note += [f", {len(summary.failed)} failed"] if summary.failed else []
        note += [f", {len(summary.diverged)} diverged"] if summary.diverged else []
        note += [] if left is None else [f", about {clock(left)} left"]
        total = summary.expected
        note += [", trying a step"] if event.kind == "trying" else []
        self.update(self.overall, completed=summary.settled, total=total, note=tuple(note))
        if event.kind == "started":
            self._end(event.worker)
            line = self.add_task("", total=None, cell=event.cell, note=("loading",))
            self.lines[event.worker] = (line, now)
        elif event.kind == "step" and event.worker in self.lines:
            line, begun = self.lines[event.worker]
            note = ["evaluating"]
            if event.step < event.steps:
                rest = (now - begun) / event.step * (event.steps - event.step)
                note = [f"{event.step}/{event.steps}", f" loss {event.loss:.4g}"]
                note += [f", {clock(rest)} left"]
            self.update(line, completed=event.step, total=event.steps, note=tuple(note))
        elif event.settled:
            self._end(event.worker)
            self._tell(event)

    def _end(self, worker: int) -> None:
        if worker in self.lines:
            self.remove_task(self.lines.pop(worker)[0])

    def _tell(self, event: "Event") -> None:
        """Show the score of a finished cell; print why one failed, once for each reason."""
        if event.score is not None:
            parts = f"{event.metric} {event.score:.4g}, {duration(event.seconds)}"
            room = self.screen.width - len(f"done: : {parts}")
            name = short_label(event.cell, room, method=self.methods)
            self.scores.append(visible(f"done: {name}: {parts}"))
        elif event.kind in ("failed", "diverged"):
            reason = event.kind, shared(event.reason)
            if reason not in self.reasons:
                text = f"{event.cell}: {one_line(event.reason)}"
                say(text, style="red", to=self.screen, start=f"{event.kind}: ", indent=2)
            self.reasons.add(reason)


def fitting(parts: Sequence[str], width: int) -> str:
    """Return as many of the first parts, joined, as fit into ``width``; always the first one.

    >>> fitting(["40/80", " loss 3.1", ", 0:12 left"], 15)
    '40/80 loss 3.1'
    """
    text, *rest = parts
    for part in rest:
        if len(text + part) > width:
            break
        text += part
    return text


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


def _kind(cell: Cell) -> tuple[str, bool]:
    """Return the task and whether the cell is trained: cells of one kind take equally long."""
    return cell.task, is_trained(cell.loss)
