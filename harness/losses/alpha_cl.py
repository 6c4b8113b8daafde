"""alpha-CL: a difference of scores, with weights on pairs that can be chosen freely."""

from typing import Annotated

from torch import Tensor

from harness.losses.sums import SumLoss
from harness.settings import Above, Between


class AlphaCL(SumLoss):
    r"""Minimise the difference of negative and positive scores; hard pairs weigh more.

    .. math::
        \alpha_j \propto e^{-(1 - s_j)^p/\tau}, \quad \sum_j \alpha_j = 1, \qquad
        \ell = \sum_j \alpha_j (s_j - s^+)

    Convention: the weights are constants in the gradient and sum to one over the
    anchor's negatives; the mean is over anchors. The paper applies its exponent to a
    distance, the square root of 1 - s: its p = 4 is p = 2 here. An anchor without a
    negative has the loss 0.

    Args:
        temperature: tau.
        p: the exponent.

    Raises:
        InputError: if a setting is invalid.

    >>> import torch
    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> round(AlphaCL()(*cross_view(a, a)).item(), 12)  # one negative, weight 1: 0 - 1
    -1.0

    References:
        Tian, NeurIPS 2022, arXiv 2201.12680.
    """

    label = "alpha-CL"
    detached = True

    temperature: Annotated[float, Between(1e-4, 1e4)] = 0.5
    p: Annotated[float, Above(0, 16)] = 2.0

    def terms(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return the logs of the weight times (s + 2) and of the weight."""
        # Rounding may take a score slightly above 1; a power of the negative number is NaN.
        distance = (1 - scores.detach()).clamp(min=0)
        log_weight = distance**self.p * (-1 / self.temperature)
        # A score may be negative and has no log then; s + 2 is at least 1.
        return log_weight + (scores + 2).log(), log_weight

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return the weighted mean of the negatives' scores minus the positive's."""
        del count
        return (sums[0] - sums[1]).exp() - 2 - pos
