"""A worker process: it reads jobs from standard input and writes events to standard output.

Both are lines of JSON.
"""

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from harness.core.children import TERMINATED, take_pipes
from harness.run.processes import GRACE

SECONDS_BETWEEN_STEPS = 0.2
"""The shortest time between two reports of a worker's step."""


def main() -> None:
    """Run jobs until standard input ends or one fails, as its plugins may have broken something."""
    jobs, events = take_pipes()
    parent = os.getppid()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s  %(message)s", stream=sys.stderr)
    logging.raiseExceptions = False  # On a full disk, the cell runs without its log.

    import torch

    from harness.core import guard, plugin_files
    from harness.run.attempt import attempt
    from harness.run.dry_run import try_cell
    from harness.run.engines import Job
    from harness.store.checkpoints import Checkpoints, Stopped
    from harness.store.records import Store

    torch.set_num_threads(1)
    guard.turn_off()
    checkpoints = Checkpoints()

    def stop(*signalled: object) -> None:
        checkpoints.stop_requested = True
        if not checkpoints.training:  # In training, `attempt` saves the state after this step.
            _exit(parent)

    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()

    def send(**event: Any) -> None:
        try:
            print(json.dumps(event), file=events, flush=True)
        except BrokenPipeError:
            stop()  # The main process is gone.

    for line in jobs:
        values = json.loads(line)
        job, device = Job.from_dict(values["job"]), values["device"]
        store = Store(job.folder)
        if job.plugins:
            plugin_files.start_from(Path(job.plugins))
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
                send(kind="step", step=step, steps=steps, loss=loss)

        try:
            if job.dry:
                event = try_cell(job.cell, device=device)
            else:
                event = attempt(job, device=device, report=report, checkpoints=checkpoints)
        except Stopped:
            _exit(parent)
        send(**event)
        if event["kind"] == "failed":
            os._exit(1)  # Exit at once: a plugin's threads may still run.
        if checkpoints.stop_requested:  # The request came too late to interrupt the cell.
            _exit(parent)


def _log_to(path: Path) -> None:
    """Redirect all output, including that of child processes, to the cell's own log."""
    with contextlib.suppress(OSError):  # The disk may be full.
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        os.close(handle)


def _exit(parent: int) -> None:
    """End this process, and its children as well if the parent that would kill them is gone."""
    if os.getppid() != parent:
        os.killpg(0, signal.SIGKILL)
    os._exit(TERMINATED)


def _exit_with_parent(parent: int) -> None:
    """Once the main process is gone, save a checkpoint, and end this process with its children."""
    while os.getppid() == parent:  # An orphan gets another parent.
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(GRACE)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
