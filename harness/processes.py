"""Worker processes, from the outside: start one, give it jobs, stop it."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from harness.engines import Event, Job
from harness.records import Store

GRACE = 5.0
"""Seconds that a worker has for a last checkpoint when it is asked to stop."""

TERMINATED = 128 + signal.SIGTERM
"""Its exit status when it was."""


class WorkerProcess:
    """A fresh interpreter that runs one job after another: see ``harness.worker``.

    Nothing of the parent's state gets into a score, and one thread does the work, so
    scores depend neither on the engine nor on how many workers there are. After a cell
    that failed, the next one gets a new interpreter.

    Args:
        number: of the worker, for its log.
        gpu: the one GPU that it is to see, or None for what this process sees.
    """

    def __init__(self, number: int, gpu: str | None = None) -> None:
        self.number = number
        self.gpu = gpu
        self.process: subprocess.Popen[str] | None = None
        self._stopped = False

    def run(self, job: Job, device: str) -> Iterator[Event]:
        """Run ``job`` and yield what becomes of it; the last event is settled."""
        yield Event("started", job.cell, self.number)
        store = Store(job.folder)
        log = store.folder / "logs" / f"worker-{self.number}.log"
        try:
            process = self._send(log, json.dumps({"job": job.to_dict(), "device": device}))
            assert process.stdout is not None
            for line in process.stdout:
                event = Event(cell=job.cell, worker=self.number, **json.loads(line))
                if event.kind == "failed":
                    self.finish()  # It leaves, and must not be given another job meanwhile.
                yield event
                if event.settled:
                    return
            words = store.log_path(job.cell, job.key)
            words = words if words.exists() else log
            reason = f"The worker {_ending(process.wait())}. Its last words are in {words}."
        except Exception as error:  # Whatever it is, the cell has to be settled.
            self.kill()  # What it would still say is not about the next cell.
            self.finish()
            reason = f"The worker broke: {type(error).__name__}: {error}"
        yield Event("failed", job.cell, self.number, reason=reason)

    def _send(self, log: Path, line: str) -> "subprocess.Popen[str]":
        """Give the job to the process; one that was killed while idle is replaced."""
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
        """Let the process leave, and wait until it has."""
        if self.process is not None:
            with contextlib.suppress(BrokenPipeError):  # What a dead one was not told.
                self.process.communicate()
            self.process = None

    def ask_to_stop(self) -> None:
        """Ask the process to save its state and leave; start no other one."""
        self._stopped = True
        if self._alive():
            assert self.process is not None
            self.process.terminate()

    def kill(self, after: float = 0.0) -> None:
        """Wait so many seconds for the process to leave, then kill it."""
        deadline = time.monotonic() + after
        while self._alive() and time.monotonic() < deadline:
            time.sleep(0.02)
        if self._alive():  # A dead one's number may be somebody else's by now.
            assert self.process is not None
            _kill_group(self.process)

    def _alive(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def _ready(self, log: Path) -> "subprocess.Popen[str]":
        """Return the process, a new one where there is none or it has left."""
        if self.process is not None and self.process.poll() is None:
            return self.process
        self.finish()
        process = self.process = _start(log, self.gpu)
        threading.Thread(target=_bury, args=(process,), daemon=True).start()
        if self._stopped:  # Asked to stop while it was starting.
            _kill_group(process)
        return process


def _start(log: Path, gpu: str | None) -> "subprocess.Popen[str]":
    """Start an interpreter that speaks JSON lines.

    Not ``multiprocessing``: nothing is pickled, a caller's script needs no
    ``__main__`` guard, and threads and GPU are set before torch starts. ``-P`` keeps
    the current folder off the path: a user's own ``tasks`` folder must not shadow ours.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a", encoding="utf-8") as errors:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=_environment(gpu),
            # Ctrl-C is for the main process, which then stops the workers.
            start_new_session=True,
        )


KEPT_BYTES = str(32 * 2**20)
"""Blocks of up to so many bytes stay with glibc's allocator when they are freed.

By default it hands freed blocks of some megabytes back to the system, and each new one is paid
for in page faults: a fifth of the time of a large loss. Other allocators ignore the variables.
"""


def _environment(gpu: str | None) -> dict[str, str]:
    """Return the environment of a worker."""
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "MKL_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "MALLOC_MMAP_THRESHOLD_": KEPT_BYTES,
        "MALLOC_TRIM_THRESHOLD_": KEPT_BYTES,
        "PYTHONHASHSEED": "0",
        "PYTHONUNBUFFERED": "1",  # What a plugin printed is in the log when it is killed.
        "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    return environment if gpu is None else environment | {"CUDA_VISIBLE_DEVICES": gpu}


def _kill_group(process: "subprocess.Popen[str]") -> None:
    """Kill a worker and whatever its plugins started: it leads a session of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def _bury(process: "subprocess.Popen[str]") -> None:
    """Once a worker is dead, end its children: they hold its pipes, which must close."""
    process.wait()
    _kill_group(process)


def _ending(status: int) -> str:
    if status == TERMINATED:
        return "was told to stop, by SIGTERM"
    if status >= 0:
        return f"ended with status {status}"
    name = signal.Signals(-status).name
    hint = ", perhaps because memory ran out" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
