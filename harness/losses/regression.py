"""The regression loss of BYOL and SimSiam."""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from harness.contrast import Contrast
from harness.losses.base import Loss, at_least_float32


class Regression(Loss):
    r"""Predict the positive's direction; nothing is pushed away.

    .. math:: \ell = 2 - 2 \cos(p, z^+) = \lVert \hat p - \hat z^+ \rVert^2

    Convention: the mean is over anchors, and over both directions where the method
    gives both. BYOL adds the two directions up, which is twice this; SimSiam has minus
    the mean cosine, half of it less 1. It needs a method that keeps gradient from
    the positives, or everything collapses to one point. Ids play no part.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> Regression()(*cross_view(a, -a)).item()
    4.0

    References:
        Grill et al., NeurIPS 2020, arXiv 2006.07733; Chen & He, CVPR 2021, arXiv 2011.10566.
    """

    needs = frozenset({"stopped positives"})
    needs_distinct_views = True

    def forward(self, contrast: Contrast) -> Tensor:
        """Return the mean squared distance of the unit vectors."""
        with torch.autocast(contrast.anchors.device.type, enabled=False):
            predictions = at_least_float32(contrast.anchors)
            targets = at_least_float32(contrast.positives)
            return (2 - 2 * cosine_similarity(predictions, targets, dim=1)).mean()
