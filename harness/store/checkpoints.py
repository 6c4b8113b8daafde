"""Checkpoints: the state of a long cell, so that it resumes where it was stopped.

Each cell has one safetensors file (:mod:`harness.core.states`). No generator's state is saved:
every step seeds its streams anew from the cell's own key, so the number of steps done fixes the
position of every generator and of the data.
"""

import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.core import states

log = logging.getLogger("harness")


class Stopped(Exception):
    """Raised in a cell after a stop was requested, once its state is saved or saving has failed."""


class Checkpoints:
    """Save a cell's state at intervals and when a stop is requested; load it again.

    Args:
        path: the checkpoint file; None saves nothing.
        every: seconds between two checkpoints; 0 saves only when a stop is requested.

    Attributes:
        stop_requested: set it to make the cell save its state and stop.
        training: whether the cell is in its training steps, where its state can be saved.
        versions: the versions of libraries; a state saved under other versions is not loaded.
    """

    def __init__(self, path: Path | None = None, every: float = 0.0) -> None:
        self.stop_requested = False
        self.versions: dict[str, str] = {}
        self.path = path
        self.every = every
        self.training = False
        self._last = time.monotonic()  # Wall time may jump.

    def due(self) -> bool:
        """Return whether it is time to save."""
        if self.path is None:
            return False
        late = self.every > 0 and time.monotonic() - self._last >= self.every
        return late or self.stop_requested

    def save(self, state: Mapping[str, Any]) -> None:
        """Save ``state``; raise :class:`Stopped` if a stop was requested.

        If the disk is full or the state cannot be saved, the log says so; the checkpoint is
        lost, not the cell.
        """
        assert self.path is not None
        try:
            states.save(self.path, {"versions": self.versions, **state})
        except Exception as error:  # A plugin may hold a state that cannot be saved.
            log.warning("could not save a checkpoint: %s: %s", type(error).__name__, error)
        self._last = time.monotonic()
        if self.stop_requested:
            raise Stopped

    def load(self, start: Any) -> dict[str, Any] | None:
        """Return the saved state, or None if it is missing, damaged or does not match.

        It matches if it was saved with the same ``start`` and versions of libraries.
        """
        if self.path is None:
            return None
        state = states.load(self.path)
        if state is None or (state.get("start"), state.get("versions")) != (start, self.versions):
            return None
        return state

    def forget(self) -> None:
        """Delete the checkpoint file, which is no longer needed."""
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink()
