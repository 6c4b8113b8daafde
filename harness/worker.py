"""A worker process: reads a job a line on standard input, writes events to standard output."""

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from functools import partial
from pathlib import Path
from typing import Any

from harness.processes import GRACE, TERMINATED

SECONDS_BETWEEN_STEPS = 0.2
"""The least time between two reports of a worker's step."""


def main() -> None:
    """Run jobs until standard input ends or a job fails, whose plugins may have left a mess."""
    # Plugins may print, and may start programs that read. Move both pipes out of their reach:
    # their input becomes empty, and their output goes to the log.
    jobs = os.fdopen(os.dup(0), encoding="utf-8")
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    # A plugin's child that outlives the worker must not keep the pipes open.
    for file in (jobs, events):
        os.register_at_fork(after_in_child=partial(_close_quietly, file.fileno()))
    parent = os.getppid()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", stream=sys.stderr)
    logging.raiseExceptions = False  # If the disk is full, the cell runs without its log.

    import torch

    from harness.attempt import attempt
    from harness.checkpoints import Checkpoints, Stopped
    from harness.engines import Job
    from harness.records import Store

    torch.set_num_threads(1)
    checkpoints = Checkpoints()

    def stop(*signalled: object) -> None:
        checkpoints.asked_to_stop = True
        if not checkpoints.training:  # Else `attempt` stops after this step, with the state saved.
            _leave(parent)

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_leave_with_parent, args=(parent,), daemon=True).start()

    def say(**event: Any) -> None:
        try:
            print(json.dumps(event), file=events, flush=True)
        except BrokenPipeError:
            stop()  # The main process is gone.

    for line in jobs:
        values = json.loads(line)
        job, device = Job.from_dict(values["job"]), values["device"]
        store = Store(job.folder)
        _log_to(store.log_path(job.cell, job.key))
        if device.startswith("cuda"):
            torch.use_deterministic_algorithms(True, warn_only=True)
        checkpoints.start(store.checkpoint_path(job.cell, job.key), job.checkpoint)
        last = 0.0

        def report(step: int, steps: int, loss: float) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= SECONDS_BETWEEN_STEPS or step == steps:
                last = now
                say(kind="step", step=step, steps=steps, loss=loss)

        try:
            event = attempt(job, device=device, report=report, checkpoints=checkpoints)
        except Stopped:
            _leave(parent)
        say(**event)
        if event["kind"] == "failed":
            os._exit(1)  # Exit at once: a plugin's threads may still run.
        if checkpoints.asked_to_stop:  # The request came too late to interrupt it.
            _leave(parent)


def _close_quietly(handle: int) -> None:
    with contextlib.suppress(OSError):
        os.close(handle)


def _log_to(path: Path) -> None:
    """Redirect all output, including that of child processes, to the cell's own log."""
    with contextlib.suppress(OSError):  # The disk may be full.
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.close(handle)


def _leave(parent: int) -> None:
    """End this process. If the parent is gone and cannot kill the children, kill them too."""
    if os.getppid() != parent:
        os.killpg(0, signal.SIGKILL)
    os._exit(TERMINATED)


def _leave_with_parent(parent: int) -> None:
    """Once the main process is gone, save a checkpoint, and end this process with its children."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
