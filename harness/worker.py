"""A worker process: a job a line on standard input, events on standard output."""

import contextlib
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Any

SECONDS_BETWEEN_STEPS = 0.2
"""At most so often does a worker say where it is."""


def main() -> None:
    """Run jobs until standard input ends."""
    # Plugins may print, and may start programs that read: the two pipes are not theirs.
    jobs = os.fdopen(os.dup(0), encoding="utf-8")
    events = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)

    import torch

    from harness.cells import Cell
    from harness.runner import run_cell
    from harness.training import Diverged

    torch.set_num_threads(1)
    threading.Thread(target=_leave_with_parent, args=(os.getppid(),), daemon=True).start()

    def say(**event: Any) -> None:
        try:
            print(json.dumps(event), file=events, flush=True)
        except BrokenPipeError:
            os._exit(1)  # Nobody listens any more.

    for line in jobs:
        job = json.loads(line)
        if job["device"].startswith("cuda"):
            torch.use_deterministic_algorithms(True, warn_only=True)
        last = 0.0

        def report(step: int, steps: int, loss: float) -> None:
            nonlocal last
            now = time.monotonic()
            if now - last >= SECONDS_BETWEEN_STEPS or step == steps:
                last = now
                say(kind="step", step=step, steps=steps, loss=loss)

        cell = Cell(**job["cell"])
        _log(f"--- {cell}")
        try:
            run_cell(cell, job["key"], Path(job["folder"]), device=job["device"], report=report)
            say(kind="done")
        except (Exception, SystemExit) as error:  # A plugin may call sys.exit.
            details = traceback.format_exc()
            _log(details)
            kind = "diverged" if isinstance(error, Diverged) else "failed"
            say(kind=kind, reason=f"{type(error).__name__}: {error}", details=details)


def _log(text: str) -> None:
    with contextlib.suppress(OSError):  # A full disk: the reason has to get out all the same.
        print(text, file=sys.stderr, flush=True)


def _leave_with_parent(parent: int) -> None:
    """End this process and its children once the main process is gone, whatever it does."""
    while os.getppid() == parent:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main()
