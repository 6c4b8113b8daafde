"""SigLIP: a binary decision for every pair, with learned scale and bias."""

import math
from typing import Annotated

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from harness.losses.sums import SumLoss
from harness.settings import Between


class SigLIP(SumLoss):
    r"""Tell positive pairs from negative ones by a sigmoid, one pair at a time.

    .. math::
        \ell = \log(1 + e^{-(t s^+ + b)}) + \sum_j \log(1 + e^{t s_j + b})

    t = e^{t'} and b are learned together with the encoder.

    Convention: the sum over negatives is not divided by their number; the mean is over
    anchors. With ``cross_view`` each pair of the batch is counted once, as published. An
    anchor without a negative has the loss 0.

    Args:
        scale: t at the start.
        bias: b at the start.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> loss = SigLIP(scale=1.0, bias=-0.5).double()
    >>> round(loss(*cross_view(a, a)).item(), 6)  # twice log(1 + e^-.5)
    0.948154

    References:
        Zhai et al., ICCV 2023, arXiv 2303.15343.
    """

    label = "SigLIP"
    in_logs = False

    scale: Annotated[float, Between(1e-3, 1000)] = 10.0
    bias: Annotated[float, Between(-100, 100)] = -10.0

    def setup(self) -> None:
        """Create the learned scale and offset."""
        self.log_scale = nn.Parameter(torch.tensor(math.log(self.scale)))
        self.offset = nn.Parameter(torch.tensor(self.bias))

    def terms(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return log(1 + e^{t s + b})."""
        return (softplus(self._logits(scores)),)

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return the positive's term plus the negatives'."""
        del count
        return softplus(-self._logits(pos)) + sums[0]

    def score_scale(self) -> float:
        """Return t, as learned so far."""
        return self.log_scale.exp().item()

    def _logits(self, scores: Tensor) -> Tensor:
        return scores * self.log_scale.exp() + self.offset
