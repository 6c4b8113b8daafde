"""The engine protocol: where cells run.

A result travels through the store and never through the engine, so every engine
resumes alike: an engine only moves jobs to worker processes, and says what has become
of the cells it was given. ``harness.local`` is the one for this machine; others are
plugins of the group ``harness.engines``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from harness.cells import Cell
from harness.settings import Configured


@dataclass(frozen=True)
class Resources:
    """What a cell may use.

    Attributes:
        device: ``cpu``, ``cuda`` (any GPU) or ``cuda:1`` (this one).
        slots_per_gpu: how many cells share a GPU at a time.
    """

    device: str = "cpu"
    slots_per_gpu: int = 1


@dataclass(frozen=True)
class Job:
    """A cell to run, in values that any engine can send anywhere.

    Attributes:
        cell: what to run.
        key: its record's, as planned.
        folder: of the store, the same path on every machine.
        checkpoint: seconds between two checkpoints of a long cell; 0: none unless stopped.
        tensorboard: whether to write event files.
        save: the folder that the trained encoder is written to; empty: it is not kept.
    """

    cell: Cell
    key: str
    folder: str
    checkpoint: float = 300.0
    tensorboard: bool = False
    save: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the job as plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Job":
        """Return the job that :meth:`to_dict` gave."""
        return cls(**{**values, "cell": Cell(**values["cell"])})


@dataclass(frozen=True)
class Event:
    """What a cell is doing.

    Attributes:
        kind: ``started``, at a ``step``, ``done``, ``failed``, ``diverged``; or
            ``claimed``: another run on the same folder has it.
        cell: the cell.
        worker: the number of the worker that has it, from 1.
        step: optimizer steps done, of ``steps``.
        steps: optimizer steps in all.
        loss: the objective at that step.
        reason: why it failed, in a line.
        details: the traceback, where there is one.
    """

    kind: Literal["started", "step", "done", "failed", "diverged", "claimed"]
    cell: Cell
    worker: int = 0
    step: int = 0
    steps: int = 0
    loss: float = 0.0
    reason: str = ""
    details: str = ""

    @property
    def settled(self) -> bool:
        """Return whether the engine has done with the cell."""
        return self.kind in ("done", "failed", "diverged", "claimed")


class Engine(Configured, ABC):
    """Run cells somewhere. Use as a context manager: leaving it stops all work.

    ``open``, any number of ``submit``, ``events`` to its end, ``close``; and from the
    start again, for a next batch of cells. A job is run by
    ``harness.processes.WorkerProcess`` wherever the engine brings it, so that scores
    are the same everywhere.
    """

    elsewhere = False
    """Whether cells run on other machines: what devices there are, this one cannot say."""

    def open(self, folder: Path) -> "Engine":
        """Get ready to run cells into the store at ``folder``."""
        self.folder = folder
        return self

    @abstractmethod
    def submit(self, job: Job, resources: Resources) -> None:
        """Take one more cell."""

    @abstractmethod
    def events(self) -> Iterator[Event]:
        """Yield what becomes of the cells, until each is settled."""

    @abstractmethod
    def close(self) -> None:
        """Stop at once whatever still runs."""

    def __enter__(self) -> "Engine":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
