"""The local engine: a few worker processes on this machine."""

import os
import queue
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import torch

from harness.run.engines import Engine, Event, Job, Resources
from harness.run.processes import GRACE, WorkerProcess
from harness.settings import Between


class Local(Engine):
    """Worker processes on this machine, one thread each.

    Each runs one cell after another; one that dies is replaced, and only its cell
    fails. On GPUs there is one worker per slot, and each sees only its own GPU.

    Args:
        jobs: how many workers; 0 means one per core, or one per slot of every GPU.

    Raises:
        InputError: if ``jobs`` is not a whole number of 0 or more.
    """

    jobs: Annotated[int, Between(0)] = 0

    def open(self, folder: Path) -> "Engine":
        """Reset the engine, which may be used for one run after another."""
        self._waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self.workers: list[WorkerProcess] = []
        self._unsettled = 0
        self._stopped = threading.Event()
        self._resources = Resources()
        return super().open(folder)

    def submit(self, job: Job, resources: Resources) -> None:
        """Put the cell into the queue that all workers take from."""
        self._resources = resources
        self._waiting.put(job)
        self._unsettled += 1

    def events(self) -> Iterator[Event]:
        """Start the workers and yield their events until every cell is settled."""
        slots = gpus(self._resources)
        workers = min(self.jobs or len(slots) or _cores(), self._unsettled)
        for i in range(workers):
            gpu = slots[i % len(slots)] if slots else None
            self.workers.append(WorkerProcess(i + 1, gpu))
        # A worker sees one GPU alone, which is "cuda" to it whatever its number is here.
        device = "cuda" if slots else self._resources.device
        for worker in self.workers:
            thread = threading.Thread(target=self._work, args=(worker, device), daemon=True)
            self._threads.append(thread)
            thread.start()
        while self._unsettled:
            event = self._events.get()
            if event.settled:
                self._unsettled -= 1
            yield event

    def close(self) -> None:
        """Ask the workers to save their state and stop, and wait until they are gone."""
        self._stopped.set()
        for worker in self.workers:
            worker.ask_to_stop()
        deadline = time.monotonic() + GRACE
        for worker in self.workers:
            worker.kill(after=deadline - time.monotonic())
        for thread in self._threads:  # A plugin's child may keep a pipe open: wait with a timeout.
            thread.join(timeout=GRACE)

    def _work(self, worker: WorkerProcess, device: str) -> None:
        """Hand cells to one worker process, and pass on its events."""
        while not self._stopped.is_set():
            try:
                job = self._waiting.get_nowait()
            except queue.Empty:
                break
            for event in worker.run(job, device):
                self._events.put(event)
        worker.finish()


def gpus(resources: Resources) -> list[str]:
    """Return the GPU of each slot, as ``CUDA_VISIBLE_DEVICES`` names it; none on a CPU.

    Slots alternate between GPUs, so that the first cells get one GPU each.
    """
    if not resources.device.startswith("cuda"):
        return []
    # The user's list maps the numbers that torch shows to the names of GPUs.
    listed = os.environ.get("CUDA_VISIBLE_DEVICES")
    visible = listed.split(",") if listed else [str(i) for i in range(torch.cuda.device_count())]
    _, _, number = resources.device.partition(":")
    chosen = [visible[int(number)]] if number else visible
    return chosen * resources.slots_per_gpu


def _cores() -> int:
    """Return the number of cores that this process may use, which a scheduler can restrict."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
