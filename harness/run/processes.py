"""Start worker processes, give them jobs, and stop them."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from importlib.machinery import PathFinder
from pathlib import Path

from harness.core.children import ending, import_path
from harness.core.files import open_log
from harness.core.sources import LIBRARIES, module_of
from harness.run.engines import BEGUN, Event, Job
from harness.store.records import Store

GRACE = 5.0
"""Seconds that a worker has for a last checkpoint after a stop was requested."""


class WorkerProcess:
    """Run one job after another, each from the state of a fresh interpreter.

    See ``harness.run.worker``.

    No state of the parent or of another cell gets into a score, and one thread does the work.
    Scores therefore depend neither on the engine nor on the number of workers.

    Args:
        number: the worker's number, from 1; its log is named by it.
        gpu: the only GPU that the worker sees, or None for all that this process sees.
    """

    def __init__(self, number: int, gpu: str | None = None) -> None:
        self.number = number
        self.gpu = gpu
        self.process: subprocess.Popen[str] | None = None
        self._stopped = False

    def run(self, job: Job, device: str) -> Iterator[Event]:
        """Run ``job`` and yield its events; the last one is settled."""
        yield Event("started", job.cell, self.number)
        store = Store(job.folder)
        log = store.folder / "logs" / f"worker-{self.number}.log"
        late = threading.Event()
        timer = None
        if job.cell_minutes:
            timer = threading.Timer(60 * job.cell_minutes, self._end_late, (late,))
        try:
            process = self._send(log, json.dumps({"job": job.to_dict(), "device": device}))
            assert process.stdout is not None
            for line in process.stdout:
                values = json.loads(line)
                if values["kind"] == BEGUN:
                    if timer is not None:  # Not sooner: the first job waits for the libraries.
                        timer.start()
                    continue
                if values.pop("last", False):
                    self.finish()  # The worker exits, and must not get another job.
                event = Event(cell=job.cell, worker=self.number, **values)
                yield event
                if event.settled:
                    return
            # The worker has its own log until it opens the cell's.
            cell_log = store.log_path(job.cell, job.key)
            last_log = cell_log if cell_log.exists() else log
            reason = f"The worker {ending(process.wait())}. Its last output is in {last_log}."
            if late.is_set():
                saved = store.checkpoint_path(job.cell, job.key).exists()
                reason = (
                    f"The cell took longer than {job.cell_minutes:g} minutes (`--cell-minutes`). "
                    "Raise the limit and run the study again: the cell "
                    + ("goes on from its checkpoint." if saved else "starts again.")
                )
        except Exception as error:  # The cell must be settled after any error.
            self.kill()  # Otherwise its late events would count for the next cell.
            self.finish()
            reason = f"Could not run the cell in a worker: {type(error).__name__}: {error}"
        finally:
            if timer is not None:
                timer.cancel()
                if timer.is_alive():  # It is ending the process, which must not get another job.
                    timer.join()
        yield Event("failed", job.cell, self.number, reason=reason)

    def _end_late(self, late: threading.Event) -> None:
        """Let the process save its state, then kill it."""
        late.set()
        process = self.process  # The thread that runs the job may take it away meanwhile.
        if process is not None and process.poll() is None:
            process.terminate()
        self.kill(after=GRACE)

    def _send(self, log: Path, line: str) -> "subprocess.Popen[str]":
        """Send the job to the process; replace a process that was killed while idle."""
        for _ in range(2):
            process = self._ready(log)
            assert process.stdin is not None
            try:
                process.stdin.write(line + "\n")
                process.stdin.flush()
                break
            except BrokenPipeError:
                process.wait()
        return process

    def finish(self) -> None:
        """Close the process's input, and wait until it exits."""
        if self.process is not None:
            with contextlib.suppress(BrokenPipeError):  # It died with unsent input.
                self.process.communicate()
            self.process = None

    def ask_to_stop(self) -> None:
        """Request that the process saves its state and exits; start no other process."""
        self._stopped = True
        if self._alive():
            assert self.process is not None
            self.process.terminate()

    def kill(self, after: float = 0.0) -> None:
        """Wait up to ``after`` seconds for the process to exit, then kill it."""
        process = self.process  # The thread that runs the job may take it away meanwhile.
        if process is None:
            return
        deadline = time.monotonic() + after
        while process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        if process.poll() is None:  # Never kill by a dead process's id: it may have been reused.
            _kill_session(process)

    def _alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _ready(self, log: Path) -> "subprocess.Popen[str]":
        """Return the process; start a new one if there is none or it has exited."""
        if self.process is not None and self.process.poll() is None:
            return self.process
        self.finish()
        process = self.process = _start(log, self.gpu)
        threading.Thread(target=_kill_children_after_exit, args=(process,), daemon=True).start()
        if self._stopped:  # A request to stop during the start did not reach it.
            _kill_session(process)
        return process


def _start(log: Path, gpu: str | None) -> "subprocess.Popen[str]":
    """Start an interpreter that reads and writes JSON lines.

    This is not ``multiprocessing``: nothing is pickled, a caller's script needs no
    ``__main__`` guard, and threads and GPU are set before torch starts. ``-P`` keeps
    the current folder off the path: a user's own ``tasks`` folder must not shadow ours.
    """
    with os.fdopen(open_log(log), "a", encoding="utf-8") as errors:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.run.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=_environment(gpu),
            # Ctrl-C must reach the main process alone, which then stops the workers.
            start_new_session=True,
        )


KEPT_BYTES = str(32 * 2**20)
"""The size in bytes up to which glibc's allocator keeps freed blocks for the next allocation.

By default it returns blocks of some megabytes to the system, and each new block then costs page
faults: a fifth of the time of a large loss. Other allocators ignore these variables.
"""


def _environment(gpu: str | None) -> dict[str, str]:
    """Return the environment variables of a worker."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        # Without this, importing pandas starts a thread, and a process with two cannot be forked.
        "JE_ARROW_MALLOC_CONF": "background_thread:false",
        "TOKENIZERS_PARALLELISM": "false",
        "MALLOC_MMAP_THRESHOLD_": KEPT_BYTES,
        "MALLOC_TRIM_THRESHOLD_": KEPT_BYTES,
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",  # A killed worker must not lose its last output.
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONPATH": os.pathsep.join(import_path()),
    }
    return environment if gpu is None else environment | {"CUDA_VISIBLE_DEVICES": gpu}


def hidden_library() -> Path | None:
    """Return a file beside the running script that hides a library which Triptych imports."""
    script = sys.path[0] if sys.path and not sys.flags.safe_path else ""
    for module in map(module_of, LIBRARIES) if script else ():
        for path in (Path(script, f"{module}.py"), Path(script, module, "__init__.py")):
            elsewhere = PathFinder.find_spec(module, sys.path[1:]) if path.is_file() else None
            found = elsewhere.origin if elsewhere is not None else None  # None: only a folder.
            if found not in (None, str(path)):
                return path
    return None


def _kill_session(process: "subprocess.Popen[str]") -> None:
    """Kill a worker and all that its plugins started: they share its session."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    # The process of the cell made a process group of its own, which killpg did not reach.
    for about in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # PID (NAME) STATE PARENT GROUP SESSION ...: a name may hold spaces and brackets.
            session = int(about.read_text().rpartition(")")[2].split()[3])
            if session == process.pid:
                os.kill(int(about.parent.name), signal.SIGKILL)


def _kill_children_after_exit(process: "subprocess.Popen[str]") -> None:
    """Wait until a worker has exited, then kill its children, which would keep its pipes open."""
    process.wait()
    _kill_session(process)
