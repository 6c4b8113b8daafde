"""Group the cells that are lost by the reason, so that a reason is told once."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from harness.core.cells import Cell

_OF_ONE_CELL = re.compile(r" Its last output is in .*")
"""What differs between the reasons of cells that are lost in the same way."""

MAX_FAILURES = 10
"""Cells that may fail with one message before a run ends."""


@dataclass
class Lost:
    """Hold cells that are in one state for one reason.

    Attributes:
        state: their state, such as ``failed``.
        reason: the reason, as :func:`harness.core.telling.one_line` makes it.
        cells: the cells, each with its key, which may be empty.
    """

    state: str
    reason: str
    cells: list[tuple[Cell, str]] = field(default_factory=list)

    def extent(self) -> str:
        """Return how many cells there are, of how many tasks, losses and seeds.

        >>> cells = [Cell("nodes", "siamese", "adnce", seed) for seed in range(3)]
        >>> Lost("failed", "killed", [(cell, "") for cell in cells]).extent()
        '3 cells of 1 task, 1 loss and 3 seeds'
        """
        cells = [cell for cell, _ in self.cells]
        tasks, losses, seeds = (
            len({getattr(cell, part) for cell in cells}) for part in ("task", "loss", "seed")
        )
        return (
            f"{len(cells)} cells of {tasks} task{'s' * (tasks > 1)}, "
            f"{losses} loss{'es' * (losses > 1)} and {seeds} seed{'s' * (seeds > 1)}"
        )


def by_reason(lost: Iterable[tuple[str, str, Cell, str]]) -> list[Lost]:
    """Group (state, reason, cell, key) by state and reason, in their first order."""
    groups: dict[tuple[str, str], Lost] = {}
    for state, reason, cell, key in lost:
        group = groups.setdefault((state, shared(reason)), Lost(state, reason))
        group.cells.append((cell, key))
    return list(groups.values())


def shared(reason: str) -> str:
    """Return a reason without what is said of one cell alone, for comparing reasons.

    >>> shared("The worker was killed by SIGSEGV. Its last output is in logs/one.log.")
    'The worker was killed by SIGSEGV.'
    """
    return _OF_ONE_CELL.sub("", reason)
