"""A worker process: it reads jobs from standard input and writes events to standard output.

Both are lines of JSON. No cell may change the cells after it. The process therefore imports
libraries, runs no plugin, and forks a child for each job: what the job changes in its interpreter
ends with the child. Where forking is not safe, the process runs one job itself, and exits.
"""

import contextlib
import ctypes
import importlib
import json
import logging
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn, TextIO

from harness import plugins
from harness.core import guard, plugin_files
from harness.core.cells import Cell, specs_of
from harness.core.children import TERMINATED, close_in_children, take_pipes
from harness.core.clock import BEAT, CLOCK
from harness.core.files import open_log
from harness.run.attempt import attempt
from harness.run.dry_run import try_cell
from harness.run.engines import Job
from harness.run.processes import GRACE
from harness.store.checkpoints import Checkpoints, Stopped
from harness.store.identity import identify, read_frame
from harness.store.records import Store

SECONDS_BETWEEN_STEPS = 0.2
"""The shortest time between two reports of a worker's step."""

PRELOADED = ("torch._dynamo", "sklearn.linear_model", "sklearn.preprocessing", "scipy.stats")
"""What nearly every cell imports for its optimizer, probe and scores, and what takes seconds."""

MAX_LOG = 64 * 2**20
"""The largest size in bytes of a cell's log, but for what is written in a second."""

_SIGNALS = {signal.SIGTERM, signal.SIGCHLD}
_PR_SET_PDEATHSIG = 1
"""The operation of Linux's ``prctl`` that chooses a signal for the death of the parent."""


def main() -> None:
    """Run jobs until standard input ends, or a child ends without a result."""
    import torch

    jobs, events = take_pipes()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", stream=sys.stderr)
    logging.raiseExceptions = False  # On a full disk, the cell runs without its log.
    torch.set_num_threads(1)
    guard.turn_off()
    template = _Template(events)
    for line in jobs:
        values = json.loads(line)
        job, device = Job.from_dict(values["job"]), values["device"]
        if _may_fork(device):
            template.run(job, device)
        else:
            event, _ = _run(job, device, events, os.getppid())
            _send(events, **event, last=True)
            os._exit(0)  # Exit at once: a plugin's threads may still run.


def _may_fork(device: str) -> bool:
    """Return whether a child works as this process would: without a GPU, and with one thread."""
    tasks = Path("/proc/self/task")  # It also lists threads that Python did not start.
    return device == "cpu" and tasks.is_dir() and len(list(tasks.iterdir())) == 1


class _Template:
    """Fork a child for each job.

    Args:
        events: this process's standard output.
    """

    def __init__(self, events: TextIO) -> None:
        self.events = events
        self.parent = os.getppid()
        self.child = 0
        self.is_stopped = False
        self.prepared: set[str] = set()
        self.learned: tuple[Cell, list[str]] | None = None
        signal.signal(signal.SIGTERM, self.stop)
        for name in PRELOADED:
            importlib.import_module(name)
        read_frame()

    def stop(self, *signalled: object) -> None:
        """Stop at once, or let the child save its state and stop."""
        self.is_stopped = True
        if not self.child:
            os._exit(TERMINATED)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child, signal.SIGTERM)

    def run(self, job: Job, device: str) -> None:
        """Run a job in a child; end this process as the child ends if it ends without a result."""
        if self.learned is not None:  # Not sooner: there may be no further job.
            _prepare(*self.learned)
            self.learned = None
        # The last thing that a child does is to write here which modules it has imported.
        with os.fdopen(os.memfd_create("imported"), "w+", encoding="utf-8") as imported:
            # A request to stop waits until the child is known, to which it is passed on.
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            told = os.dup(self.events.fileno())
            template = os.getpid()
            self.child = os.fork()
            if not self.child:
                _be_child(job, device, told, imported, template)
            os.close(told)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            status = self._wait()
            imported.seek(0)
            text = imported.read()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child, signal.SIGKILL)  # What the job's plugins have started.
        self.child = 0
        if not text:
            _end_as(status)
        if self.is_stopped:
            os._exit(TERMINATED)
        if job.cell.task not in self.prepared and all(
            plugins.is_shipped(group, spec) for group, spec in specs_of(job.cell)
        ):
            self.prepared.add(job.cell.task)
            self.learned = job.cell, json.loads(text)

    def _wait(self) -> int:
        """Return the exit status of the child; stop it if the main process ends."""
        deadline = float("inf")
        while True:
            pid, status = os.waitpid(self.child, os.WNOHANG)
            if pid:
                return os.waitstatus_to_exitcode(status)
            if os.getppid() != self.parent and deadline == float("inf"):
                deadline = time.monotonic() + GRACE
                os.kill(self.child, signal.SIGTERM)
            if time.monotonic() > deadline:
                os.killpg(self.child, signal.SIGKILL)
            signal.sigtimedwait({signal.SIGCHLD}, 1.0)


def _prepare(cell: Cell, imported: Sequence[str]) -> None:
    """Import what a cell has imported, and read its code and data, for the next children to have.

    No plugin from outside runs here, nor does anything that it imports: all cells begin here.
    """
    for name in imported:
        with contextlib.suppress(Exception):  # Some modules are made by others, not imported.
            importlib.import_module(name)
    with contextlib.suppress(Exception):  # The next cell will fail with the same error.
        identify(cell)


def _be_child(job: Job, device: str, told: int, imported: TextIO, template: int) -> NoReturn:
    """Run a job in a forked child, and end it."""
    try:
        os.setpgid(0, 0)  # Ends with what its plugins start, and without the template.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        events = os.fdopen(told, "w", encoding="utf-8")
        close_in_children(events)
        known = set(sys.modules)
        event, checkpoints = _run(job, device, events, template)
        _send(events, **event)
        if checkpoints.stop_requested:  # The request came too late to interrupt the cell.
            os._exit(TERMINATED)
        json.dump([name for name in sys.modules if name not in known], imported)
        imported.flush()
        logging.shutdown()
    except BaseException:
        traceback.print_exc()
        os._exit(1)
    os._exit(0)  # Exit at once: a plugin's threads may still run.


def _end_as(status: int) -> NoReturn:
    """End this process as another ended whose exit status is given."""
    if status < 0:
        with contextlib.suppress(OSError):  # SIGKILL has no handler.
            signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    os._exit(status)


def _run(job: Job, device: str, events: TextIO, parent: int) -> tuple[dict[str, Any], Checkpoints]:
    """Run a job in this process; return its last event, and the state of a request to stop."""
    import torch

    checkpoints = Checkpoints()

    def stop(*signalled: object) -> None:
        checkpoints.stop_requested = True
        if not checkpoints.training:  # In training, `attempt` saves the state after this step.
            _exit(parent)

    signal.signal(signal.SIGTERM, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    store = Store(job.folder)
    log = store.log_path(job.cell, job.key)
    threading.Thread(target=_watch, args=(parent, log), daemon=True).start()
    if job.plugins:
        plugin_files.start_from(Path(job.plugins))
    _log_to(log)
    if job.memory:
        _limit_memory(job.memory)
    if device.startswith("cuda"):
        torch.use_deterministic_algorithms(True, warn_only=True)
    checkpoints.start(store.checkpoint_path(job.cell, job.key), job.checkpoint)
    last = 0.0

    def report(step: int, steps: int, loss: float) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_STEPS or step == steps:
            last = now
            try:
                _send(events, kind="step", step=step, steps=steps, loss=loss)
            except BrokenPipeError:
                stop()  # The main process is gone.

    try:
        if job.dry:
            return try_cell(job.cell, device=device), checkpoints
        return attempt(job, device=device, report=report, checkpoints=checkpoints), checkpoints
    except Stopped:
        _exit(parent)


def _limit_memory(gib: float) -> None:
    """Let this process, and each that it starts, hold so much memory; to ask for more fails.

    The limit counts private memory. It leaves out files that are mapped, such as decoded images,
    which all cells share.
    """
    import resource

    most = max(int(gib * 2**30), 1)
    resource.setrlimit(resource.RLIMIT_DATA, (most, most))


def _send(events: TextIO, **event: Any) -> None:
    print(json.dumps(event), file=events, flush=True)


def _log_to(path: Path) -> None:
    """Redirect all output, including that of child processes, to the cell's own log."""
    with contextlib.suppress(OSError):  # The disk may be full.
        handle = open_log(path)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.close(handle)


def _exit(parent: int) -> NoReturn:
    """End this process, and its children as well if the parent that would kill them is gone."""
    if os.getppid() != parent:
        os.killpg(0, signal.SIGKILL)
    os._exit(TERMINATED)


def _watch(parent: int, log: Path) -> None:
    """Cut a log that grows too long; once the parent is gone, save a checkpoint and end."""
    CLOCK.watch()
    while os.getppid() == parent:  # An orphan gets another parent.
        with contextlib.suppress(OSError):
            if log.stat().st_size > MAX_LOG:
                # All who write to it append, and so go on behind the new end.
                os.truncate(log, MAX_LOG // 2)
                os.write(
                    2, f"\n--- cut here: more than {MAX_LOG:,} bytes were written ---\n".encode()
                )
        CLOCK.seconds()  # Read regularly, the clock tells when the process was stopped.
        time.sleep(BEAT)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
