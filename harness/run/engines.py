"""The interface of engines, which decide where cells run.

Results go through the store and never through the engine, so every engine resumes in the
same way. An engine only moves jobs to worker processes, and reports what became of each
cell. ``harness.run.local`` is the engine for this machine; others are plugins of the group
``harness.engines``.
"""

import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from harness.core.cells import Cell
from harness.core.errors import require, require_number
from harness.core.telling import MAX_KEPT, one_line
from harness.settings import Configured

MAX_MINUTES = 366 * 24 * 60.0
"""The largest limit of a cell's time that can be set, in minutes."""
MAX_GIB = 2.0**20
"""The largest limit of a cell's memory that can be set, in GiB."""


@dataclass(frozen=True)
class Resources:
    """The resources that a cell may use.

    Attributes:
        device: ``cpu``, ``cuda`` (any GPU) or ``cuda:1`` (this one).
        slots_per_gpu: how many cells share a GPU at a time.
        cell_minutes: minutes that the cell may take from its start; 0: any number.
        cell_gib: memory in GiB that the cell's process may hold; 0: any amount.

    Raises:
        InputError: if a limit of time or memory is not possible.
    """

    device: str = "cpu"
    slots_per_gpu: int = 1
    cell_minutes: float = 0.0
    cell_gib: float = 0.0

    def __post_init__(self) -> None:
        """Check the limits of time and memory."""
        require_number("cell_minutes", self.cell_minutes, at_least=0, at_most=MAX_MINUTES)
        require_number("cell_gib", self.cell_gib, at_least=0, at_most=MAX_GIB)
        require(
            not self.cell_gib or sys.platform == "linux",
            f"`cell_gib` must be 0 on {sys.platform}, because only Linux limits the memory of a "
            f"process: got {self.cell_gib}. Leave it out, and run fewer cells at a time with "
            "`jobs`.",
        )


BEGUN = "begun"
"""The kind of the message that a worker sends once its libraries are loaded and a job begins."""


@dataclass(frozen=True)
class Job:
    """A cell to run, in values that any engine can send to another machine.

    Attributes:
        cell: the cell.
        key: its record's key, as planned.
        folder: the store's folder, under the same path on every machine.
        checkpoint: seconds between two checkpoints of a long cell; 0 saves only when stopped.
        tensorboard: whether to write event files.
        save: the folder that the trained encoder is written to; if empty, it is not kept.
        plugins: the snapshot of the plugins' files that the run uses; empty if there is none.
        cell_minutes, cell_gib: the cell's limits: see :class:`Resources`.
        dry: whether to take only the first steps, and to keep no result: see
            :mod:`harness.run.dry_run`.
    """

    cell: Cell
    key: str
    folder: str
    checkpoint: float = 300.0
    tensorboard: bool = False
    save: str = ""
    plugins: str = ""
    cell_minutes: float = 0.0
    cell_gib: float = 0.0
    dry: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Job":
        """Restore a job from what :meth:`to_dict` returned."""
        return cls(**{**values, "cell": Cell(**values["cell"])})


@dataclass(frozen=True)
class Event:
    """A change in a cell's state, or one of its steps.

    Attributes:
        kind: ``started``, ``step``, ``done``, ``failed``, ``diverged``; ``claimed`` if another
            run on the same folder is running the cell or has finished it; or ``trying`` when the
            dry run of the cell starts.
        cell: the cell.
        worker: the number of the worker that runs it, from 1.
        step: optimizer steps done, of ``steps``.
        steps: optimizer steps in all.
        loss: the objective at that step.
        reason: why it failed, in one line.
        details: the traceback, if there is one.
        log: the log of the dry run that failed in the cell's place, in the run's folder.
        key: the key of the cell's record, as :func:`harness.run.runner.run_one` says it.
        metric: the main metric of a cell that is done, as its record says.
        score: its value on the split that the cell is scored on.
        seconds: how long the cell took in all.
    """

    kind: Literal["started", "step", "done", "failed", "diverged", "claimed", "trying"]
    cell: Cell
    worker: int = 0
    step: int = 0
    steps: int = 0
    loss: float = 0.0
    reason: str = ""
    details: str = ""
    log: str = ""
    key: str = ""
    metric: str = ""
    score: float | None = None
    seconds: float = 0.0

    def __post_init__(self) -> None:
        """Put the reason on one line of at most ``MAX_KEPT`` characters."""
        object.__setattr__(self, "reason", one_line(self.reason, MAX_KEPT))

    @property
    def settled(self) -> bool:
        """Return whether the engine is done with the cell."""
        return self.kind in ("done", "failed", "diverged", "claimed")


class Engine(Configured, ABC):
    """Run cells somewhere. Use as a context manager: leaving it stops all work.

    Call ``open``, any number of ``submit``, ``events`` to its end, then ``close``; call
    ``open`` again for the next batch of cells. Wherever the engine sends a job,
    ``harness.run.processes.WorkerProcess`` runs it, so that scores are the same everywhere.
    """

    elsewhere = False
    """Whether cells run on other machines, whose devices this machine does not know."""

    def open(self, folder: Path) -> "Engine":
        """Get ready to run cells whose records go to the store at ``folder``."""
        self.folder = folder
        return self

    @abstractmethod
    def submit(self, job: Job, resources: Resources) -> None:
        """Accept one more cell."""

    @abstractmethod
    def events(self) -> Iterator[Event]:
        """Yield the events of all cells until each is settled."""

    @abstractmethod
    def close(self) -> None:
        """Stop at once all cells that still run."""

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
