"""InfoNCE, also known as NT-Xent, at a fixed or a learned temperature."""

import math
from typing import Annotated

import torch
from torch import Tensor, nn

from harness.core.errors import require_number
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


class InfoNCELearned(SumLoss):
    r"""Contrast as InfoNCE does, at a temperature that is learned with the encoder.

    .. math::
        \ell = -\log \frac{e^{t s^+}}{e^{t s^+} + \sum_{j} e^{t s_j}}, \qquad
        t = e^{t'} = 1/\tau

    Convention: denominator and mean are those of :class:`InfoNCE`. As in CLIP, the logarithm t'
    of the scale is the parameter, and it is clamped before each step, so that the temperature
    stays at ``low`` or above. CLIP's pairing is ``cross_view_symmetric``.

    Args:
        temperature: tau at the start.
        low: the lowest temperature.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> loss = InfoNCELearned(temperature=1.0).double()
    >>> round(loss(*cross_view(a, a)).item(), 6)  # log(1 + 1/e)
    0.313262

    References:
        Radford et al., ICML 2021, arXiv 2103.00020.
    """

    label = "InfoNCE (learned temperature)"

    temperature: Annotated[float, Between(1e-4, 1e4)] = 0.07
    low: Annotated[float, Between(1e-4, 1e4)] = 0.01

    def setup(self) -> None:
        """Create the learned scale."""
        require_number("temperature", self.temperature, at_least=self.low, at_most=1e4)
        self.log_scale = nn.Parameter(torch.tensor(-math.log(self.temperature)))

    @torch.no_grad()
    def before_step(self, step: int, steps: int) -> None:
        """Clamp the scale, which the last step may have moved too far."""
        del step, steps
        # Clamping the parameter rather than the score's factor keeps its gradient.
        self.log_scale.clamp_(max=-math.log(self.low))

    def terms(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return t s."""
        return (scores * self.log_scale.exp(),)

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return log(1 + sum of e^{t (s_j - s+)}) for each anchor."""
        del count
        return torch.logaddexp(sums[0] - pos * self.log_scale.exp(), torch.zeros_like(pos))

    def score_scale(self) -> float:
        """Return t, as learned so far."""
        return self.log_scale.exp().item()
