"""Show a run's progress as one bar over its cells, in a notebook or in a terminal."""

import warnings
from typing import TYPE_CHECKING

from harness.core.telling import visible
from harness.run.engines import Event
from harness.run.short_labels import short_label

if TYPE_CHECKING:
    from harness.run.runner import Summary

WIDTH = 40
"""The characters of the last finished cell's name."""


class Bar:
    """Draw a bar over the cells of a run, with the last finished cell's score at its end.

    Args:
        total: the number of cells, as far as it is known.
    """

    def __init__(self, total: int) -> None:
        with warnings.catch_warnings():
            # A notebook without ipywidgets gets the plain bar; tqdm would warn of it.
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm

            self.bar = tqdm(total=total, unit="cell", dynamic_ncols=True)

    def draw(self, event: Event, summary: "Summary") -> None:
        """Show an event."""
        if event.score is not None:
            score = f"{event.metric} {event.score:.4g}"
            shown = visible(f"{short_label(event.cell, WIDTH)}: {score}")
            self.bar.set_postfix_str(shown, refresh=False)
        self._count(summary)

    def close(self, summary: "Summary") -> None:
        """Draw the bar for the last time."""
        self._count(summary)
        self.bar.close()

    def _count(self, summary: "Summary") -> None:
        counted = summary.expected, summary.settled
        if counted == (self.bar.total, self.bar.n):
            return
        # Cells that had a record took no time: the estimate of the time left must not count them.
        self.bar.initial = len(summary.skipped)
        self.bar.total, self.bar.n = counted
        self.bar.refresh()
