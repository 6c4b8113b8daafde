"""InfoNCE, also known as NT-Xent."""

from typing import Annotated

import torch
from torch import Tensor

from harness.losses.sums import SumLoss
from harness.settings import Between


class InfoNCE(SumLoss):
    r"""Tell the positive from the negatives by a softmax over scores.

    .. math::
        \ell = -\log \frac{e^{s^+/\tau}}{e^{s^+/\tau} + \sum_{j} e^{s_j/\tau}}

    Convention: the denominator holds the positive once and every kept negative;
    the mean is over anchors. With ``both_views`` this is SimCLR's NT-Xent, with
    ``cross_view`` SimCSE's objective. An anchor without a negative has the loss 0.

    Args:
        temperature: tau.

    Raises:
        InputError: if the temperature is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> round(InfoNCE(temperature=1.0)(*cross_view(a, a)).item(), 6)  # log(1 + 1/e)
    0.313262

    References:
        Oord et al. 2018, arXiv 1807.03748; Chen et al. 2020, arXiv 2002.05709.
    """

    label = "InfoNCE"

    temperature: Annotated[float, Between(1e-4, 1e4)] = 0.1

    def score_scale(self) -> float:
        """Return 1 / tau."""
        return 1 / self.temperature

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return log(1 + sum of e^{(s_j - s+)/tau}) for each anchor."""
        del count
        return torch.logaddexp(sums[0] - pos / self.temperature, torch.zeros_like(pos))
