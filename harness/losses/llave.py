"""LLaVE: InfoNCE whose hard negatives have their logits raised."""

from typing import Annotated

import torch
from torch import Tensor

from harness.losses.sums import SumLoss
from harness.settings import Between


class LLaVE(SumLoss):
    r"""Contrast as InfoNCE does, with each negative's logit raised by its own score.

    .. math::
        \ell = -\log \frac{e^{s^+/\tau}}
        {e^{s^+/\tau} + \sum_j e^{s_j/\tau + \alpha\,\mathrm{sg}(s_j)}}

    Convention: sg stops the gradient; the positive is not weighted; the mean is over
    anchors. alpha = 0 gives InfoNCE. An anchor without a negative has the loss 0.

    Args:
        temperature: tau.
        alpha: how much hard negatives weigh.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> loss = LLaVE(temperature=1.0)
    >>> round(loss(*cross_view(a, a)).item(), 6)  # the negative's score is 0: log(1 + 1/e)
    0.313262

    References:
        Lan et al. 2025, arXiv 2503.04812.
    """

    label = "LLaVE"
    detached = True

    temperature: Annotated[float, Between(1e-4, 1e4)] = 0.02
    alpha: Annotated[float, Between(0, 1000)] = 9.0

    def score_scale(self) -> float:
        """Return 1 / tau."""
        return 1 / self.temperature

    def terms(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return s / tau + alpha sg(s)."""
        return (torch.add(self.alpha * scores.detach(), scores, alpha=1 / self.temperature),)

    def slopes(self) -> tuple[float, ...]:
        """Return 1 / tau."""
        return (1 / self.temperature,)

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return log(1 + e^{-s+/tau} times the weighted sum)."""
        del count
        return torch.logaddexp(sums[0] - pos / self.temperature, torch.zeros_like(pos))
