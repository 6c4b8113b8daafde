"""RINCE: robust InfoNCE, for noisy views."""

import math
from typing import Annotated

import torch
from torch import Tensor

from harness.core.errors import InputError
from harness.losses.sums import SumLoss
from harness.settings import Above, Between

MAX_SCALE = 60.0
"""Largest q / temperature: e^60 times a batch's size still fits in float32."""


class RINCE(SumLoss):
    r"""Contrast robustly, between InfoNCE (q to 0) and a symmetric loss (q = 1).

    .. math::
        \ell = -\frac{e^{q s^+/\tau}}{q}
               + \frac{\big(\lambda (e^{s^+/\tau} + \sum_j e^{s_j/\tau})\big)^q}{q}

    Convention: the sum is over the anchor's negatives; the mean is over anchors. As
    q goes to 0 the loss becomes InfoNCE plus log lambda. Values grow as e^{q/tau}, so
    q/tau may be at most 60. An anchor without a negative has the loss 0.

    Args:
        temperature: tau.
        q: robustness.
        lam: lambda, the weight of the denominator.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> loss = RINCE(temperature=1.0, q=1.0, lam=1.0)
    >>> round(loss(*cross_view(a, a)).item(), 12)  # -e + (e + 1)
    1.0

    References:
        Chuang et al., CVPR 2022, arXiv 2201.04309.
    """

    label = "RINCE"

    temperature: Annotated[float, Between(1e-4, 1e4)] = 0.2
    q: Annotated[float, Between(1e-3, 1)] = 0.1
    lam: Annotated[float, Above(0, 1)] = 0.025

    def setup(self) -> None:
        """Raise if powers would overflow."""
        if self.q / self.temperature > MAX_SCALE:
            raise InputError(
                f"`q` / `temperature` must be at most {MAX_SCALE:g}, so that e^(q/temperature) "
                f"does not overflow: got {self.q:g} / {self.temperature:g} = "
                f"{self.q / self.temperature:g}. Lower `q` or raise `temperature`."
            )

    def score_scale(self) -> float:
        """Return 1 / tau."""
        return 1 / self.temperature

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return the loss of each anchor; powers are taken in log space."""
        del count
        scaled_pos = pos / self.temperature
        log_denominator = torch.logaddexp(scaled_pos, sums[0])
        # For a small q, exp is close to 1 and loses digits that expm1 keeps. The 1s that it
        # subtracts cancel in the difference below.
        pulled = torch.expm1(self.q * scaled_pos) / self.q
        pushed = torch.expm1(self.q * (log_denominator + math.log(self.lam))) / self.q
        return pushed - pulled
