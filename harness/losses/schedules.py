"""Losses with a setting that changes as the training goes on."""

import math
from typing import Annotated

import torch
from torch import Tensor

from harness.core.errors import require_number
from harness.losses.hcl import HCL
from harness.losses.scheduled import Scheduled
from harness.losses.sums import SumLoss
from harness.settings import Above, Between


class InfoNCECosine(Scheduled, SumLoss):
    r"""Contrast as InfoNCE does, at a temperature that falls and rises along a cosine.

    .. math::
        \tau = \tau_- + (\tau_+ - \tau_-) \, \frac{1 + \cos 2 \pi k p}{2}, \qquad
        \ell = -\log \frac{e^{s^+/\tau}}{e^{s^+/\tau} + \sum_{j} e^{s_j/\tau}}

    p is the share of the training that is done, 0 at the first step and 1 at the last.

    Convention: denominator and mean are those of :class:`~harness.losses.infonce.InfoNCE`. The
    temperature starts at ``high``. All contrasts of a step have the same one. The paper's period
    is 400 of 2000 epochs, k = 5. With k = .5 the temperature falls once from ``high`` to ``low``.

    Args:
        low: tau-, the lowest temperature.
        high: tau+, the highest temperature.
        periods: k, how many times the temperature falls and rises again.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> loss = InfoNCECosine(low=0.5, high=1.0, periods=0.5)
    >>> round(loss(*cross_view(a, a)).item(), 6)  # tau = 1: log(1 + 1/e)
    0.313262
    >>> loss.before_step(9, 10)  # the last step
    >>> round(loss(*cross_view(a, a)).item(), 6)  # tau = .5: log(1 + 1/e^2)
    0.126928

    References:
        Kukleva et al., ICLR 2023, arXiv 2303.13664.
    """

    label = "InfoNCE (cosine temperature)"

    low: Annotated[float, Between(1e-4, 1e4)] = 0.1
    high: Annotated[float, Between(1e-4, 1e4)] = 1.0
    periods: Annotated[float, Above(0, 1e6)] = 5.0

    def setup(self) -> None:
        """Check that the temperatures are in order."""
        super().setup()
        require_number("high", self.high, at_least=self.low, at_most=1e4)

    def score_scale(self) -> float:
        """Return 1 / tau, at this step."""
        wave = math.cos(2 * math.pi * self.periods * self.progress.item())
        return 1 / (self.low + (self.high - self.low) * (1 + wave) / 2)

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return log(1 + sum of e^{(s_j - s+)/tau}) for each anchor."""
        del count
        return torch.logaddexp(sums[0] - pos * self.score_scale(), torch.zeros_like(pos))


class HCLCurriculum(Scheduled, HCL):
    r"""Weight negatives by their hardness as HCL does, hard ones more and more.

    .. math:: \beta_p = (1 - p) \, \beta_0 + p \, \beta

    p is the share of the training that is done, 0 at the first step and 1 at the last.

    Convention: equation and other settings are those of :class:`~harness.losses.hcl.HCL`, with
    beta_p in place of beta. At ``start=0`` the first step's loss is ``debiased``.

    Args:
        temperature: tau.
        tau_plus: the assumed share of false negatives.
        start: beta at the first step.
        beta: beta at the last step.
        detach: whether the weights are constants in the gradient.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a, b = torch.eye(2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)
    >>> loss = HCLCurriculum(temperature=1.0, tau_plus=0.0)
    >>> round(loss(*cross_view(a, b)).item(), 6)  # one negative, as close as the positive: log 2
    0.693147
    >>> loss.before_step(1, 3)
    >>> loss.hardness()  # half way from 0 to 1
    0.5

    References:
        Robinson et al., ICLR 2021, arXiv 2010.04592; Bengio et al., ICML 2009, Curriculum learning.
    """

    label = "HCL (curriculum)"

    start: Annotated[float, Between(0, 1000)] = 0.0

    def hardness(self) -> float:
        """Return beta, at this step."""
        progress = self.progress.item()
        return (1 - progress) * self.start + progress * self.beta
