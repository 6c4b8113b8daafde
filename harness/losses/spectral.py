"""The spectral contrastive loss."""

from typing import Annotated

import torch
from torch import Tensor

from harness.losses.sums import SumLoss
from harness.settings import Above


class Spectral(SumLoss):
    r"""Factorise the augmentation graph with dot products, squared for negatives.

    .. math:: \ell = -2\, x \cdot x^+ + \operatorname{mean}_j (x \cdot x_j)^2

    Convention: projections longer than ``radius`` are scaled down to it, and others are
    unchanged, as in the authors' code. That code also divides the loss by mu, the radius
    squared. The paper's pairing is ``cross_view``. The mean is over each anchor's own
    negatives. An anchor without a negative has the loss 0.

    Args:
        radius: the largest length of a projection. The authors' mu is 1 on
            CIFAR-10 and 10 on ImageNet: a radius of 1 and 3.16.

    Raises:
        InputError: if the radius is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> Spectral()(*cross_view(a, a)).item()  # -2 + 0
    -2.0

    References:
        HaoChen et al., NeurIPS 2021, arXiv 2106.04156.
    """

    label = "Spectral"
    in_logs = False

    radius: Annotated[float, Above(0, 1000)] = 2.0

    def embed(self, rows: Tensor) -> Tensor:
        """Return the rows, those longer than the radius scaled down to it."""
        length = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
        scaled: Tensor = rows * (self.radius / length.clamp(min=self.radius))
        return scaled

    def terms(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return the squared dot product."""
        return (scores * scores,)

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return minus twice the positive's dot product plus the negatives' mean square."""
        return sums[0] / count - 2 * pos
