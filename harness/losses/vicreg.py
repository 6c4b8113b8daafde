"""VICReg: variance, invariance, covariance."""

from typing import Annotated

import torch
from torch import Tensor

from harness.contrast import Contrast
from harness.core.errors import require
from harness.losses.base import Loss, at_least_float32, below_untrained_on_sentences
from harness.settings import Between


class VICReg(Loss):
    r"""Bring views together, and keep every feature varied and uncorrelated with the others.

    .. math::
        \ell = \lambda\, \tfrac{1}{d} \operatorname{E} \lVert a - b \rVert^2
        + \tfrac{\mu}{2} \big(V(a) + V(b)\big) + \nu \big(C(a) + C(b)\big)

    .. math::
        V = \operatorname{mean}_k \max\big(0, 1 - \sqrt{\operatorname{Var}_k + 10^{-4}}\big),
        \qquad C = \tfrac{1}{d} \sum_{k \ne l} \operatorname{Cov}_{kl}^2

    Convention: variances and covariances divide by B - 1; the variance terms of the
    two views are averaged, as in the authors' code. Projections are not normalised. There
    are no negatives, so ids are ignored. The pairing is ``cross_view``.

    Args:
        invariance: lambda.
        variance: mu.
        covariance: nu.

    Raises:
        InputError: if a setting is invalid, or the batch has fewer than 2 rows.

    >>> from harness.contrast import cross_view
    >>> a = torch.tensor([[1.0], [-1.0]], dtype=torch.float64)  # one feature of variance 2
    >>> VICReg()(*cross_view(a, 0 * a)).item()  # 25 * 1 + 25 / 2 * (0 + 1 - .01)
    37.375

    References:
        Bardes et al., ICLR 2022, arXiv 2105.04906.
    """

    label = "VICReg"
    needs = frozenset({"trained positives"})
    pairing = "cross_view"

    cautions = below_untrained_on_sentences(24.8, "`sentences(head_form=mlp)`", 56.6)

    invariance: Annotated[float, Between(0, 1e6)] = 25.0
    variance: Annotated[float, Between(0, 1e6)] = 25.0
    covariance: Annotated[float, Between(0, 1e6)] = 1.0

    def forward(self, contrast: Contrast) -> Tensor:
        """Return the three terms' weighted sum."""
        with torch.autocast(contrast.anchors.device.type, enabled=False):
            a, b = at_least_float32(contrast.anchors), at_least_float32(contrast.positives)
            require_two_rows("VICReg", a)
            return (
                self.invariance * (a - b).pow(2).mean()
                + self.variance / 2 * (_missing_variance(a) + _missing_variance(b))
                + self.covariance * (_covariance(a) + _covariance(b))
            )


def require_two_rows(name: str, rows: Tensor) -> None:
    """Raise unless the batch has the two rows that a variance needs."""
    require(
        len(rows) > 1,
        f"A batch for {name}, which takes variances over it, must have at least 2 rows: "
        f"got {len(rows)}. Raise the task's `batch_size`.",
    )


def off_diagonal(matrix: Tensor) -> Tensor:
    """Return a square matrix's entries off its diagonal, as a vector."""
    return matrix[~torch.eye(len(matrix), dtype=torch.bool, device=matrix.device)]


def _missing_variance(rows: Tensor) -> Tensor:
    return torch.relu(1 - (rows.var(dim=0) + 1e-4).sqrt()).mean()


def _covariance(rows: Tensor) -> Tensor:
    centred = rows - rows.mean(dim=0)
    covariance = centred.T @ centred / (len(rows) - 1)
    return off_diagonal(covariance).pow(2).sum() / rows.shape[1]
