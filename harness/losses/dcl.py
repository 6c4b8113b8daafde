"""DCL, InfoNCE without the positive in the denominator, and DCLW."""

from typing import Annotated

import torch
from torch import Tensor

from harness.losses.sums import SumLoss
from harness.settings import Between


class DCL(SumLoss):
    r"""Decouple the positive from the negatives by leaving it out of the denominator.

    .. math:: \ell = -s^+/\tau + \log \sum_j e^{s_j/\tau}

    Convention: the sum is over the anchor's negatives; ``mean`` replaces it by their
    mean, as in GraphCL. The mean is over anchors; the paper's pairing is ``both_views``.
    The loss can be negative. An anchor without a negative has the loss 0.

    Args:
        temperature: tau.
        mean: average the negatives instead of adding them up.

    Raises:
        InputError: if the temperature is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> DCL(temperature=1.0)(*cross_view(a, a)).item()  # -1 + log e^0
    -1.0

    References:
        Yeh et al., ECCV 2022, arXiv 2110.06848; You et al. 2020, arXiv 2010.13902.
    """

    label = "DCL"

    temperature: Annotated[float, Between(1e-4, 1e4)] = 0.1
    mean: bool = False

    def score_scale(self) -> float:
        """Return 1 / tau."""
        return 1 / self.temperature

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return -s+/tau plus the log of the negatives' sum or mean."""
        values = sums[0] - pos / self.temperature
        return values - count.log() if self.mean else values


class DCLW(DCL, fixed={"mean": False}):
    r"""Contrast as DCL does, with less weight on positives that are already close.

    .. math::
        w_i = 2 - \frac{e^{s_i^+/\sigma}}{\operatorname{mean}_k e^{s_k^+/\sigma}}, \qquad
        \ell_i = -w_i s_i^+/\tau + \log \sum_j e^{s_{ij}/\tau}

    Convention: as :class:`DCL`. The mean in the weights is over the anchors of the
    contrast. The weights are constants in the gradient.

    Args:
        temperature: tau.
        sigma: the weights' own temperature.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> DCLW(temperature=1.0)(*cross_view(a, a)).item()  # equal positives: w = 1
    -1.0

    References:
        Yeh et al., ECCV 2022, arXiv 2110.06848.
    """

    label = "DCL-W"
    detached = True

    sigma: Annotated[float, Between(1e-3, 1e4)] = 0.5

    def positive_scores(self, pos: Tensor) -> Tensor:
        """Return the positives' scores times their weights."""
        return pos * (2 - len(pos) * torch.softmax(pos.detach() / self.sigma, dim=0))
