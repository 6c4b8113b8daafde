"""SupCon: InfoNCE with all rows of an anchor's class as its positives."""

from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor

from harness.contrast import Contrast
from harness.core.errors import InputError
from harness.losses.base import at_least_float32
from harness.losses.sums import SumLoss
from harness.settings import Between


class SupCon(SumLoss):
    r"""Tell every positive from all other rows by a softmax over scores.

    .. math::
        \ell_i = -\frac{1}{|P_i|} \sum_{p \in P_i}
        \log \frac{e^{s_{ip}/\tau}}{\sum_{a \ne i} e^{s_{ia}/\tau}}

    Convention: the published :math:`\mathcal{L}^{sup}_{out}`. P_i are the other candidates with
    the anchor's id. The denominator holds all candidates but the anchor itself, so the other
    positives too; the mean is over anchors. An anchor without a positive has the loss 0. With one
    positive per anchor the loss is InfoNCE. (The authors' code multiplies it by tau / .07.)

    Args:
        temperature: tau.

    Raises:
        InputError: if the temperature is invalid.

    >>> rows, ids = torch.eye(4, dtype=torch.float64)[[0, 0, 1, 2]], torch.tensor([0, 0, 0, 1])
    >>> contrast = Contrast(rows, rows, rows, ids, ids, places=torch.arange(4))
    >>> # (2 (log(e + 2) - 1/2) + log 3) / 4: the last anchor has no positive, and adds 0.
    >>> round(SupCon(temperature=1.0)(contrast).item(), 6)
    0.800375

    References:
        Khosla et al., NeurIPS 2020, arXiv 2004.11362.
    """

    label = "SupCon"
    needs = frozenset({"negatives", "several positives"})

    temperature: Annotated[float, Between(1e-4, 1e4)] = 0.1

    def score_scale(self) -> float:
        """Return 1 / tau."""
        return 1 / self.temperature

    def forward(self, contrast: Contrast) -> Tensor:
        """Return the mean over the anchors, and over each one's positives.

        Raises:
            InputError: if the contrast does not say which candidates are the anchors themselves.
        """
        if contrast.places is None:
            raise InputError(
                "`places` must hold the anchors' own rows among the candidates: got None. Use a "
                "method with several positives: `supervised_contrastive`."
            )
        with torch.autocast(contrast.anchors.device.type, enabled=False):
            anchors = self.embed(at_least_float32(contrast.anchors))
            same = contrast.candidates is contrast.anchors
            rows = anchors if same else self.embed(at_least_float32(contrast.candidates))
            # A score is linear in the candidate, so an anchor's mean score over its positives is
            # its score with the mean of these positives: one product instead of many.
            means, counts = mean_positives(contrast, contrast.places, rows)
            pos: Tensor = torch.linalg.vecdot(anchors, means)
            # With places in the role of ids, only the anchor itself does not repel. If anchors and
            # candidates share them, the matrix of scores stays symmetric.
            own = contrast.places if same else torch.arange(len(rows), device=rows.device)
            others = replace(contrast, anchor_ids=contrast.places, candidate_ids=own)
            some = counts > 0
            if some.all():
                return self.mean_over_anchors(others, pos, anchors, rows)
            if not some.any():
                return pos.mean() * 0
            # Leave out the anchors without a positive, which add 0 to the mean.
            others = only_anchors(others, some)
            value = self.mean_over_anchors(others, pos[some], anchors[some], rows)
            return value * some.to(pos).mean()

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return the log of the sum of e^{s_a/tau} less the positives' mean of s_p/tau."""
        del count
        return sums[0] - pos / self.temperature


def mean_positives(contrast: Contrast, places: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean row of each anchor's positives, and their number.

    Args:
        contrast: its ids and ``exclude`` say which candidates are positives.
        places: each anchor's own row among the candidates, -1 if it has none.
        rows: the candidates.
    """
    has_place = places >= 0
    if contrast.exclude is not None:
        # The matrix has an entry for each pair already, so another one costs no more memory.
        positive = contrast.anchor_ids[:, None] == contrast.candidate_ids
        positive &= ~contrast.exclude
        positive[has_place.nonzero()[:, 0], places[has_place]] = False
        counts = positive.sum(dim=1)
        return positive.to(rows) @ rows / counts.clamp(min=1)[:, None], counts
    # Sum the rows of each id, then subtract the anchor's own row: memory is linear in the batch.
    ids = torch.cat([contrast.anchor_ids, contrast.candidate_ids])
    found, group = torch.unique(ids, return_inverse=True)
    of_anchors, of_rows = group[: len(places)], group[len(places) :]
    sums = rows.new_zeros(len(found), rows.shape[1]).index_add(0, of_rows, rows)
    counts = torch.bincount(of_rows, minlength=len(found))[of_anchors] - has_place.long()
    totals = sums[of_anchors]
    if len(rows):  # A contrast without candidates has no row to take away.
        totals = totals - torch.where(has_place[:, None], rows[places.clamp(min=0)], 0.0)
    return totals / counts.clamp(min=1)[:, None], counts


def only_anchors(contrast: Contrast, kept: Tensor) -> Contrast:
    """Return the contrast without the anchors that ``kept`` does not mark; candidates stay."""
    return Contrast(
        contrast.anchors[kept],
        contrast.positives[kept],
        contrast.candidates,
        contrast.anchor_ids[kept],
        contrast.candidate_ids,
        exclude=None if contrast.exclude is None else contrast.exclude[kept],
    )
