"""Engines: where cells run. The local one keeps a few worker processes.

A result travels through the store and never through the engine, so every engine
resumes alike: an engine only says what has become of the cells it was given.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from harness.cells import Cell
from harness.errors import require


@dataclass(frozen=True)
class Resources:
    """What a cell may use: its device (``cpu``, ``cuda:1``)."""

    device: str = "cpu"


@dataclass(frozen=True)
class Event:
    """What a cell is doing: started, at a step, done, failed or diverged.

    Attributes:
        kind: which of these.
        cell: the cell.
        worker: the number of the worker that has it, from 1.
        step: optimizer steps done, of ``steps``.
        steps: optimizer steps in all.
        loss: the objective at that step.
        reason: why it failed, in a line.
        details: the traceback, where there is one.
    """

    kind: Literal["started", "step", "done", "failed", "diverged"]
    cell: Cell
    worker: int = 0
    step: int = 0
    steps: int = 0
    loss: float = 0.0
    reason: str = ""
    details: str = ""

    @property
    def settled(self) -> bool:
        """Return whether the cell needs no more waiting for."""
        return self.kind in ("done", "failed", "diverged")


class Engine(ABC):
    """Run cells somewhere. Use as a context manager: leaving it stops all work."""

    def open(self, folder: Path) -> "Engine":
        """Get ready to run cells into the store at ``folder``."""
        self.folder = folder
        return self

    @abstractmethod
    def submit(self, cell: Cell, key: str, resources: Resources) -> None:
        """Take one more cell; ``key`` is its record's, as planned."""

    @abstractmethod
    def events(self) -> Iterator[Event]:
        """Yield what becomes of the cells, until each is settled."""

    @abstractmethod
    def close(self) -> None:
        """Stop at once whatever still runs."""

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


class Local(Engine):
    """Worker processes on this machine, one thread each.

    A worker is a fresh interpreter, so nothing of the parent's state gets into a
    score, and one thread, so scores do not depend on how many workers there are.
    It takes one cell after another; one that dies is replaced, and only its cell
    fails.

    Args:
        jobs: how many workers; 0 means one a core.

    Raises:
        InputError: where ``jobs`` is not a whole number of 0 or more.
    """

    def __init__(self, *, jobs: int = 0) -> None:
        require(
            type(jobs) is int and jobs >= 0,
            f"`jobs` must be a whole number, 0 for one a core: got {jobs!r}.",
        )
        self.jobs = jobs or _cores()

    def open(self, folder: Path) -> "Engine":
        """Start afresh: an engine may be used for one run after another."""
        self._waiting: queue.SimpleQueue[tuple[Cell, dict[str, Any]]] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._threads: list[threading.Thread] = []
        self._unsettled = 0
        self._stopped = threading.Event()
        return super().open(folder)

    def submit(self, cell: Cell, key: str, resources: Resources) -> None:
        """Put the cell into the queue that all workers take from."""
        job = {"cell": cell.to_dict(), "key": key, "folder": str(self.folder), **asdict(resources)}
        self._waiting.put((cell, job))
        self._unsettled += 1

    def events(self) -> Iterator[Event]:
        """Start the workers and yield their events until every cell is settled."""
        for number in range(1, min(self.jobs, self._unsettled) + 1):
            thread = threading.Thread(target=self._work, args=(number,), daemon=True)
            self._threads.append(thread)
            thread.start()
        while self._unsettled:
            event = self._events.get()
            if event.settled:
                self._unsettled -= 1
            yield event

    def close(self) -> None:
        """Kill the workers, and wait until they are gone."""
        self._stopped.set()
        for process in list(self._processes.values()):
            if process.poll() is None:  # A dead one's number may be somebody else's by now.
                _kill(process)
        for thread in self._threads:
            thread.join()

    def _work(self, number: int) -> None:
        """Hand cells to one worker process, and pass on what it says."""
        while not self._stopped.is_set():
            try:
                cell, job = self._waiting.get_nowait()
            except queue.Empty:
                break
            self._events.put(Event("started", cell, number))
            try:
                settled = self._converse(number, cell, job)
            except Exception as error:  # Whatever it is, the cell has to be settled.
                reason = f"The worker broke: {type(error).__name__}: {error}"
                settled = Event("failed", cell, number, reason=reason)
            self._events.put(settled)
        if number in self._processes:
            self._processes[number].communicate()  # No more jobs: the worker leaves.

    def _converse(self, number: int, cell: Cell, job: dict[str, Any]) -> Event:
        process = self._processes.get(number)
        if process is None or process.poll() is not None:
            if process is not None:
                process.communicate()
            process = self._processes[number] = _start_worker(self.folder, number)
            threading.Thread(target=_bury, args=(process,), daemon=True).start()
            if self._stopped.is_set():  # close() came while the worker was starting.
                _kill(process)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps(job) + "\n")
        process.stdin.flush()
        for line in process.stdout:
            event = Event(cell=cell, worker=number, **json.loads(line))
            if event.settled:
                return event
            self._events.put(event)
        log = log_path(self.folder, number)
        reason = f"The worker {_ending(process.wait())}. Its last words are in {log}."
        return Event("failed", cell, number, reason=reason)


def log_path(folder: Path, number: int) -> Path:
    """Return where worker ``number`` writes whatever plugins print."""
    return folder / "logs" / f"worker-{number}.log"


def _start_worker(folder: Path, number: int) -> subprocess.Popen[str]:
    """Start an interpreter that speaks JSON lines; see ``harness.worker``.

    Not ``multiprocessing``: nothing is pickled, a caller's script needs no
    ``__main__`` guard, and threads are set before torch starts. ``-P`` keeps the
    current folder off the path: a user's own ``tasks`` folder must not shadow ours.
    """
    log = log_path(folder, number)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONHASHSEED": "0",
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    with log.open("a", encoding="utf-8") as errors:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=environment,
            # Ctrl-C is for the main process, which then stops the workers.
            start_new_session=True,
        )


def _kill(process: subprocess.Popen[str]) -> None:
    """Kill a worker and whatever its plugins started: it leads a session of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _bury(process: subprocess.Popen[str]) -> None:
    """Once a worker is dead, end its children: they hold its pipes, which must close."""
    process.wait()
    _kill(process)


def _ending(status: int) -> str:
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    hint = ", perhaps because memory ran out" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
