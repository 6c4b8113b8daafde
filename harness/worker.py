"""A worker process: a job a line on standard input, events on standard output."""

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
"""At most so often does a worker say where it is."""


def main() -> None:
    """Run jobs until standard input ends, or one fails: plugins may have left a mess."""
    # Plugins may print, and may start programs that read: the two pipes are not theirs.
    jobs = os.fdopen(os.dup(0), encoding="utf-8")
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    for file in (jobs, events):  # A plugin's child that outlives us must not keep them open.
        os.register_at_fork(after_in_child=partial(_close_quietly, file.fileno()))
    parent = os.getppid()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", stream=sys.stderr)
    logging.raiseExceptions = False  # A full disk: the cell goes on without its log.

    import torch

    from harness.attempt import attempt
    from harness.checkpoints import Checkpoints, Stopped
    from harness.engines import Job
    from harness.records import Store

    torch.set_num_threads(1)
    checkpoints = Checkpoints()

    def stop(*signalled: object) -> None:
        checkpoints.asked_to_stop = True
        if not checkpoints.training:  # Else after this step, with the state on disk.
            _leave(parent)

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_leave_with_parent, args=(parent,), daemon=True).start()

    def say(**event: Any) -> None:
        try:
            print(json.dumps(event), file=events, flush=True)
        except BrokenPipeError:
            stop()  # Nobody listens any more.

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
            os._exit(1)  # At once, whatever threads a plugin left.
        if checkpoints.asked_to_stop:  # In its last step.
            _leave(parent)


def _close_quietly(handle: int) -> None:
    with contextlib.suppress(OSError):
        os.close(handle)


def _log_to(path: Path) -> None:
    """Send whatever is printed, by whatever means, to the cell's own log."""
    with contextlib.suppress(OSError):  # A full disk.
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.close(handle)


def _leave(parent: int) -> None:
    """End this process: the parent ends its children, and else they are ended here."""
    if os.getppid() != parent:
        os.killpg(0, signal.SIGKILL)
    os._exit(TERMINATED)


def _leave_with_parent(parent: int) -> None:
    """Once the main process is gone, save what can be saved, and end with all children."""
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
