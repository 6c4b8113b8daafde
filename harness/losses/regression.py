"""The regression loss of BYOL and SimSiam."""

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity

from harness.contrast import Contrast
from harness.losses.base import Loss, at_least_float32


class Regression(Loss):
    r"""Predict the positive's direction, and push nothing away.

    .. math:: \ell = 2 - 2 \cos(p, z^+) = \lVert \hat p - \hat z^+ \rVert^2

    Convention: the mean is over anchors, and over both directions if the method gives
    both. BYOL adds up the two directions, which is twice this loss; SimSiam uses minus the
    mean cosine, which is half this loss minus 1. The method must stop the gradient through
    the positives, or all representations collapse to one point. Ids are ignored.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> Regression()(*cross_view(a, -a)).item()
    4.0

    References:
        Grill et al., NeurIPS 2020, arXiv 2006.07733; Chen & He, CVPR 2021, arXiv 2011.10566.
    """

    label = "Regression"
    needs = frozenset({"stopped positives"})
    needs_distinct_views = True

    def forward(self, contrast: Contrast) -> Tensor:
        """Return the mean squared distance of the unit vectors."""
        with torch.autocast(contrast.anchors.device.type, enabled=False):
            predictions = at_least_float32(contrast.anchors)
            targets = at_least_float32(contrast.positives)
            return (2 - 2 * cosine_similarity(predictions, targets, dim=1)).mean()
