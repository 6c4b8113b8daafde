"""One encoder and one head, shared by both views."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated, Any

from torch import Tensor

from harness.contrast import PAIRINGS, Contrast, labelled, with_candidates
from harness.methods.base import Method
from harness.settings import OneOf
from harness.task import Batch


class Siamese(Method):
    """Send both views through one encoder and head, and pair the projections.

    A batch's hard negatives are candidates of every anchor, as in supervised SimCSE.

    Args:
        pairing: ``both_views`` (SimCLR, GRACE), ``cross_view`` (SimCSE),
            ``cross_view_symmetric`` (CLIP), ``same_view`` (f-MICL) or
            ``same_view_symmetric`` (DHEL). None: the loss's own pairing if it has one,
            else the task's.

    Raises:
        InputError: if the pairing is none of these.

    References:
        Chen et al. 2020, arXiv 2002.05709; Gao et al. 2021, arXiv 2104.08821.
    """

    label = "Siamese"
    gives = frozenset(
        {"negatives", "trained positives", "example ids", "labels", "representations"}
    )
    pairs = True
    takes_negatives = True

    pairing: Annotated[str | None, OneOf(PAIRINGS)] = None

    def forward(self, first: Any, second: Any, batch: Batch) -> Sequence[Contrast]:
        """Return the contrasts that the pairing makes of both projections."""
        views = [first, second, *([] if batch.negatives is None else [batch.negatives])]
        rows = [self.represent_and_project(view) for view in views]
        representations, projections = (
            self._paired(list(part), batch.ids) for part in zip(*rows, strict=True)
        )
        return [
            labelled(replace(contrast, representations=encoded), batch.labels)
            for contrast, encoded in zip(projections, representations, strict=True)
        ]

    def _paired(self, rows: list[Tensor], ids: Tensor) -> Sequence[Contrast]:
        """Return the pairing's contrasts of two views' rows, and of the negatives if there are."""
        first, second, *negatives = rows
        contrasts: Sequence[Contrast] = PAIRINGS[self.used_pairing](first, second, ids)
        for further in negatives:
            contrasts = [with_candidates(contrast, further) for contrast in contrasts]
        return contrasts
