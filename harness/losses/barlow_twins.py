"""Barlow Twins: redundancy reduction."""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import batch_norm

from harness.contrast import Contrast
from harness.losses.base import Loss, at_least_float32
from harness.losses.vicreg import off_diagonal, require_two_rows
from harness.settings import Between


class BarlowTwins(Loss):
    r"""Bring the cross-correlation matrix of the two views close to the identity.

    .. math::
        C = \tfrac{1}{B} \hat a^\top \hat b, \qquad
        \ell = \sum_k (C_{kk} - 1)^2 + \lambda \sum_{k \ne l} C_{kl}^2

    Convention: features are standardised over the batch by BatchNorm's statistics
    (variance divided by B, plus 1e-5). There are no negatives, so ids are ignored. The
    pairing is ``cross_view``.

    Args:
        redundancy: lambda.

    Raises:
        InputError: if a setting is invalid, or the batch has fewer than 2 rows.

    >>> from harness.contrast import cross_view
    >>> a = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)
    >>> round(BarlowTwins()(*cross_view(a, -a)).item(), 3)  # C = -1
    4.0

    References:
        Zbontar et al., ICML 2021, arXiv 2103.03230.
    """

    label = "Barlow Twins"
    needs = frozenset({"trained positives"})
    pairing = "cross_view"

    redundancy: Annotated[float, Between(0, 1e6)] = 0.0051

    def forward(self, contrast: Contrast) -> Tensor:
        """Return the on-diagonal term plus the weighted off-diagonal one."""
        with torch.autocast(contrast.anchors.device.type, enabled=False):
            a, b = at_least_float32(contrast.anchors), at_least_float32(contrast.positives)
            require_two_rows("Barlow Twins", a)
            a, b = (batch_norm(rows, None, None, training=True) for rows in (a, b))
            correlation = a.T @ b / len(a)
            on_diagonal = (correlation.diagonal() - 1).pow(2).sum()
            return on_diagonal + self.redundancy * off_diagonal(correlation).pow(2).sum()
