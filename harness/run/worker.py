"""A worker process: it reads jobs from standard input and writes events to standard output.

Both are lines of JSON. No cell may change the cells after it. The process therefore imports
libraries, runs no plugin, and forks a child for each job: what the job changes in its interpreter
ends with the child. Where forking is not safe, the process runs one job itself, and exits.
"""

import contextlib
import ctypes
import faulthandler
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
from harness.core import guard, plugin_files, registry
from harness.core.cells import Cell, specs_of
from harness.core.children import TERMINATED, close_in_children, take_pipes
from harness.core.clock import CLOCK, READ_EVERY
from harness.core.files import open_log
from harness.run.attempt import attempt
from harness.run.dry_run import try_cell
from harness.run.engines import BEGUN, Job
from harness.run.processes import GRACE
from harness.store.checkpoints import Checkpoints, Stopped
from harness.store.identity import identify, read_frame
from harness.store.records import Store

SECONDS_BETWEEN_STEPS = 0.2
"""The shortest time between two reports of a worker's step."""

PRELOADED = ("torch._dynamo", "sklearn.linear_model", "sklearn.preprocessing", "scipy.stats")
"""Modules that nearly every cell needs and that import slowly: for optimizer, probe and scores."""

MAX_LOG = 64 * 2**20
"""If a cell's log is larger than this, in bytes, its middle is removed: see :func:`_cut`."""

_SIGNALS = {signal.SIGTERM, signal.SIGCHLD}
_PR_SET_PDEATHSIG = 1
"""The operation of Linux's ``prctl`` that chooses a signal for the death of the parent."""


def main() -> None:
    """Run jobs until standard input ends, or a child ends without a result."""
    import torch

    jobs, events = take_pipes()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", stream=sys.stderr)
    # If a library crashes the process, Python writes to the log which line had called it.
    faulthandler.enable(2)
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
            event = _run(job, device, events, os.getppid())
            _send(events, **event, last=True)
            os._exit(0)  # Exit at once: a plugin's threads may still run.


def _may_fork(device: str) -> bool:
    """Return whether a child works as this process would: without a GPU, and with one thread."""
    tasks = Path("/proc/self/task")  # It also lists threads that Python did not start.
    return device == "cpu" and tasks.is_dir() and len(list(tasks.iterdir())) == 1


def preload() -> None:
    """Import and read what nearly every cell needs; forked processes then have it."""
    for name in PRELOADED:
        importlib.import_module(name)
    read_frame()


class _Template:
    """Fork a child for each job.

    Args:
        events: this process's standard output.
    """

    def __init__(self, events: TextIO) -> None:
        self.events = events
        self.parent = os.getppid()
        self.child = 0
        self.is_busy = False
        self.is_stopped = False
        self.prepared: set[str] = set()
        self.learned: tuple[Cell, list[str]] | None = None
        signal.signal(signal.SIGTERM, self.stop)
        preload()

    def stop(self, *signalled: object) -> None:
        """Ask the child to save its state, and exit when it has ended; without a job, exit now."""
        self.is_stopped = True
        if self.child:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.child, signal.SIGTERM)
        elif not self.is_busy:
            os._exit(TERMINATED)

    def run(self, job: Job, device: str) -> None:
        """Run a job in a child; end this process as the child ends if it ends without a result."""
        if self.learned is not None:  # Not sooner: there may be no further job.
            _prepare(*self.learned)
            self.learned = None
        # The child writes its result to this file, and this process sends it after the child has
        # ended. If the child sent it, the next job would wait for a plugin that hangs at the end.
        with os.fdopen(os.memfd_create("result"), "w+", encoding="utf-8") as result:
            # A request to stop waits until the child is known, to which it is passed on.
            signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
            told = os.dup(self.events.fileno())
            template = os.getpid()
            self.is_busy = True
            self.child = os.fork()
            if not self.child:
                _be_child(job, device, told, result, template)
            os.close(told)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
            status = self._wait()
            result.seek(0)
            text = result.read()
        try:
            event, imported = json.loads(text)
        except ValueError:  # Nothing, or half of it: the child was killed.
            _end_as(status)
        _send(self.events, **event)
        self.is_busy = False
        if self.is_stopped:
            os._exit(TERMINATED)
        if job.cell.task not in self.prepared and _is_ours(job.cell):
            self.prepared.add(job.cell.task)
            self.learned = job.cell, imported

    def _wait(self) -> int:
        """Return the exit status of the child; stop it if the main process ends."""
        deadline = float("inf")
        while os.waitid(os.P_PID, self.child, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if os.getppid() != self.parent and deadline == float("inf"):
                deadline = time.monotonic() + GRACE
                os.kill(self.child, signal.SIGTERM)
            if time.monotonic() > deadline:
                os.killpg(self.child, signal.SIGKILL)
            signal.sigtimedwait({signal.SIGCHLD}, 1.0)
        # Kill all processes that the job's plugins started. This must come before `waitpid`, which
        # frees the child's number: the system may give it to another process.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.child, signal.SIGKILL)
        child, self.child = self.child, 0
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _is_ours(cell: Cell) -> bool:
    """Return whether a cell's plugins, and all that provide data sets, are Triptych's own."""
    foreign_data = any(registry.find("data", name).is_foreign for name in registry.names("data"))
    return not foreign_data and all(
        plugins.is_shipped(group, spec) for group, spec in specs_of(cell)
    )


def _prepare(cell: Cell, imported: Sequence[str]) -> None:
    """Import what a cell has imported, and read its code and data, for the next children to have.

    No plugin from outside runs here, nor does anything that it imports: all cells begin here.
    """
    for name in imported:
        with contextlib.suppress(Exception):  # Some modules are made by others, not imported.
            importlib.import_module(name)
    with contextlib.suppress(Exception):  # The next cell will fail with the same error.
        identify(cell)


def _be_child(job: Job, device: str, told: int, result: TextIO, template: int) -> NoReturn:
    """Run a job in a forked child, write its last event and the modules it imported, and exit."""
    try:
        os.setpgid(0, 0)  # Ends with what its plugins start, and without the template.
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        events = os.fdopen(told, "w", encoding="utf-8")
        close_in_children(events)
        known = set(sys.modules)
        event = _run(job, device, events, template)
        # Loop over a copy: a plugin's thread may import a module at the same time.
        imported = [name for name in list(sys.modules) if name not in known]
        json.dump([event, imported], result)
        result.flush()
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


def _run(job: Job, device: str, events: TextIO, parent: int) -> dict[str, Any]:
    """Run a job in this process, and return its last event."""
    import torch

    _send(events, kind=BEGUN)
    store = Store(job.folder)
    checkpoints = Checkpoints(store.checkpoint_path(job.cell, job.key), job.checkpoint)

    def stop(*signalled: object) -> None:
        checkpoints.stop_requested = True
        if not checkpoints.training:  # In training, `attempt` saves the state after this step.
            _exit(parent)

    signal.signal(signal.SIGTERM, stop)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    log = _log_to(store.log_path(job.cell, job.key))
    threading.Thread(target=_watch, args=(parent, log), daemon=True).start()
    if job.plugins:
        plugin_files.use_snapshot(Path(job.plugins))
    if job.cell_gib:
        _limit_memory(job.cell_gib)
    if device.startswith("cuda"):
        torch.use_deterministic_algorithms(True, warn_only=True)
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
            return try_cell(job.cell, device=device, gib=job.cell_gib)
        return attempt(job, device=device, report=report, checkpoints=checkpoints)
    except Stopped:
        _exit(parent)


def _limit_memory(gib: float) -> None:
    """Limit the memory of this process, and of each process that it starts; asking for more fails.

    The limit counts private memory. It leaves out mapped files, such as decoded images, which all
    cells share.
    """
    import resource

    most = max(int(gib * 2**30), 1)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)  # A process cannot raise this one.
    limit = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _send(events: TextIO, **event: Any) -> None:
    print(json.dumps(event), file=events, flush=True)


def _log_to(path: Path) -> int | None:
    """Redirect all output, including that of child processes, to the cell's own log.

    Return a handle of the log; None if it cannot be written.
    """
    try:
        handle = open_log(path)
    except OSError:  # The disk may be full.
        return None
    os.dup2(handle, 1)
    os.dup2(handle, 2)
    return handle


def _exit(parent: int) -> NoReturn:
    """End this process, and its children as well if the parent that would kill them is gone."""
    if os.getppid() != parent:
        os.killpg(0, signal.SIGKILL)
    os._exit(TERMINATED)


def _watch(parent: int, log: int | None) -> None:
    """Cut a log that grows too long; once the parent is gone, save a checkpoint and end."""
    CLOCK.watch()
    while os.getppid() == parent:  # An orphan gets another parent.
        if log is not None:
            with contextlib.suppress(OSError):
                _cut(log)
        CLOCK.seconds()  # Only if it is read regularly does the clock leave out stops.
        time.sleep(READ_EVERY)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


def _cut(log: int) -> None:
    """Remove the middle of a log that is too long; keep a quarter of ``MAX_LOG`` at each end.

    All who write to the log append, so that they go on at its new end.
    """
    size, kept = os.fstat(log).st_size, MAX_LOG // 4
    if size > MAX_LOG:
        end = os.pread(log, kept, size - kept)
        os.ftruncate(log, kept)
        mark = f"\n--- cut here: more than {MAX_LOG:,} bytes were written ---\n"
        os.write(log, mark.encode() + end)


if __name__ == "__main__":
    main()
