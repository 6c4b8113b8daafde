"""HCL (hard negatives by importance weighting) and its special case, Debiased."""

import math
from typing import Annotated

import torch
from torch import Tensor

from harness.losses.sums import SumLoss
from harness.settings import Between


class HCL(SumLoss):
    r"""Weight negatives by their hardness, and subtract the share of false negatives.

    .. math::
        r_j = \frac{e^{\beta s_j/\tau}}{\operatorname{mean}_k e^{\beta s_k/\tau}}, \qquad
        N_g = \max\Big\{\frac{\sum_j r_j e^{s_j/\tau} - \tau^+ N e^{s^+/\tau}}{1 - \tau^+},
        \; N e^{-1/\tau}\Big\}, \qquad
        \ell = -\log \frac{e^{s^+/\tau}}{e^{s^+/\tau} + N_g}

    Convention: N is the anchor's number of negatives; the weights r take part in
    the gradient unless ``detach`` is set. The paper's pairing is ``both_views``; the
    mean is over anchors. An anchor without a negative has the loss 0. With
    ``detach``, tau+ = 0 and beta = mu tau / sigma^2 the log weights are the linear part
    of ADNCE's.

    Args:
        temperature: tau.
        tau_plus: the assumed share of false negatives.
        beta: how much more hard negatives weigh; 0: all weigh the same.
        detach: whether the weights are constants in the gradient.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> loss = HCL(temperature=1.0)  # one negative: N_g = (1 - .1 e) / .9
    >>> round(loss(*cross_view(a, a)).item(), 6) == round(math.log(1 + (1 / math.e - 0.1) / 0.9), 6)
    True

    References:
        Robinson et al., ICLR 2021, arXiv 2010.04592.
    """

    label = "HCL"

    temperature: Annotated[float, Between(1e-4, 1e4)] = 0.5
    tau_plus: Annotated[float, Between(0, 0.99)] = 0.1
    beta: Annotated[float, Between(0, 1000)] = 1.0
    detach: bool = False

    def setup(self) -> None:
        """Set ``detached`` as the setting ``detach`` says."""
        self.detached = self.detach

    def score_scale(self) -> float:
        """Return 1 / tau."""
        return 1 / self.temperature

    def hardness(self) -> float:
        """Return beta; override it for a schedule."""
        return self.beta

    def terms(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return the logs of the weighted summand and of the weight alone."""
        scaled = scores * (1 / self.temperature)
        log_weight = self.hardness() * (scaled.detach() if self.detach else scaled)
        return scaled + log_weight, log_weight

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return log(1 + N_g e^{-s+/tau}) for each anchor."""
        log_count, scaled_pos = count.log(), pos / self.temperature
        hard = sums[0] - (sums[1] - log_count)
        if self.tau_plus:
            false = math.log(self.tau_plus) + log_count + scaled_pos
            # Now log(e^hard - e^false). It does not exist if the false negatives' share is
            # larger than the sum; -inf then leaves the floor of N_g. The -1 keeps the branch
            # that is not taken finite, so that its gradient is not NaN.
            exists = hard > false + torch.finfo(pos.dtype).eps
            gap = torch.where(exists, false - hard, -1.0)
            hard = torch.where(exists, hard + torch.log(-torch.expm1(gap)), -torch.inf)
            hard = hard - math.log1p(-self.tau_plus)
        log_negatives = torch.maximum(hard, log_count - 1 / self.temperature)
        return torch.logaddexp(log_negatives - scaled_pos, torch.zeros_like(pos))


class Debiased(HCL, fixed={"beta": 0.0, "detach": False}):
    r"""Subtract the expected share of false negatives from InfoNCE's denominator.

    .. math::
        N_g = \max\Big\{\frac{\sum_j e^{s_j/\tau} - \tau^+ N e^{s^+/\tau}}{1 - \tau^+},
        \; N e^{-1/\tau}\Big\}, \qquad
        \ell = -\log \frac{e^{s^+/\tau}}{e^{s^+/\tau} + N_g}

    Convention: :class:`HCL` with beta = 0. tau+ = 0 gives InfoNCE.

    Args:
        temperature: tau.
        tau_plus: the assumed share of false negatives.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> loss = Debiased(temperature=1.0, tau_plus=0.0)
    >>> round(loss(*cross_view(a, a)).item(), 6)  # InfoNCE: log(1 + 1/e)
    0.313262

    References:
        Chuang et al., NeurIPS 2020, arXiv 2007.00224.
    """

    label = "Debiased"

    temperature: float = 0.1
