"""One encoder and one head, shared by both views."""

from collections.abc import Sequence
from typing import Annotated, Any

from harness.contrast import PAIRINGS, Contrast, with_candidates
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
    gives = frozenset({"negatives", "trained positives", "example ids"})
    pairs = True
    takes_negatives = True

    pairing: Annotated[str | None, OneOf(PAIRINGS)] = None

    def forward(self, first: Any, second: Any, batch: Batch) -> Sequence[Contrast]:
        """Return the contrasts that the pairing makes of both projections."""
        contrasts = PAIRINGS[self.used_pairing](
            self.project(first), self.project(second), batch.ids
        )
        if batch.negatives is None:
            return contrasts
        negatives = self.project(batch.negatives)
        return [with_candidates(contrast, negatives) for contrast in contrasts]
