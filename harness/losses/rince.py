"""RINCE: robust InfoNCE, for noisy views."""

import math

import torch
from torch import Tensor

from harness.errors import InputError, require_number
from harness.losses.base import below_untrained_on_sentences
from harness.losses.sums import SumLoss

MOST = 60.0
"""e^60 times a batch still is a float32."""


class RINCE(SumLoss):
    r"""Contrast robustly: between InfoNCE (q to 0) and a symmetric loss (q = 1).

    .. math::
        \ell = -\frac{e^{q s^+/\tau}}{q}
               + \frac{\big(\lambda (e^{s^+/\tau} + \sum_j e^{s_j/\tau})\big)^q}{q}

    Convention: the sum is over the anchor's negatives; the mean is over anchors. As
    q goes to 0 it is InfoNCE plus log lambda. Values grow as e^{q/tau}, so that q/tau
    may be at most 60. An anchor without a negative has the loss 0.

    Args:
        temperature: tau, 1e-4 to 1e4.
        q: robustness, 1e-3 to 1.
        lam: lambda, the weight of the denominator, above 0 to 1.

    Raises:
        InputError: where a setting breaks its rule.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> loss = RINCE(temperature=1.0, q=1.0, lam=1.0)
    >>> round(loss(*cross_view(a, a)).item(), 12)  # -e + (e + 1)
    1.0

    References:
        Chuang et al., CVPR 2022, arXiv 2201.04309.
    """

    cautions = below_untrained_on_sentences(54.0, "`temperature`")

    def __init__(self, *, temperature: float = 0.5, q: float = 0.5, lam: float = 0.025) -> None:
        super().__init__()
        require_number("temperature", temperature, at_least=1e-4, at_most=1e4)
        require_number("q", q, at_least=1e-3, at_most=1)
        require_number("lam", lam, above=0, at_most=1)
        if q / temperature > MOST:
            raise InputError(
                f"`q` / `temperature` must be at most {MOST:g}, or e^(q/temperature) overflows: "
                f"got {q:g} / {temperature:g} = {q / temperature:g}. Lower `q`."
            )
        self.temperature = temperature
        self.q = q
        self.lam = lam

    def terms(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return s / tau."""
        return (scores * (1 / self.temperature),)

    def slopes(self) -> tuple[float, ...]:
        """Return 1 / tau."""
        return (1 / self.temperature,)

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return the loss of each anchor, each power taken in log space."""
        del count
        scaled_pos = pos / self.temperature
        log_denominator = torch.logaddexp(scaled_pos, sums[0])
        # expm1 keeps the digits that a small q takes away from exp; the 1s cancel.
        pulled = torch.expm1(self.q * scaled_pos) / self.q
        pushed = torch.expm1(self.q * (log_denominator + math.log(self.lam))) / self.q
        return pushed - pulled
