"""Alignment and uniformity."""

from typing import Annotated

import torch
from torch import Tensor

from harness.contrast import Contrast
from harness.losses.engine.rows import Kept
from harness.losses.sums import SumLoss
from harness.settings import Above, Between


class AlignUniform(SumLoss):
    r"""Bring positives together, and spread each view uniformly over the sphere.

    .. math::
        \ell = \operatorname{E} \lVert x - y \rVert^2 + \frac{\lambda}{2}
        \big(U(x) + U(y)\big), \qquad
        U(x) = \log \operatorname{E}_{i \ne j} e^{-t \lVert x_i - x_j \rVert^2}

    Convention: the pairing is ``same_view_symmetric``, whose two contrasts hold one U
    each. Inside the log, the mean is over each anchor's negatives, then over anchors.
    Without any negatives U is 0.

    Args:
        t: the kernel's inverse width.
        weight: lambda.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import same_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> AlignUniform()(*same_view(a, a)).item()  # 0 + log e^(-2 * 2)
    -4.0

    References:
        Wang & Isola, ICML 2020, arXiv 2005.10242.
    """

    label = "Align+Uniform"
    pairing = "same_view_symmetric"

    t: Annotated[float, Above(0, 10)] = 2.0
    weight: Annotated[float, Between(0, 1e6)] = 1.0

    def terms(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return the log of the kernel: minus t times the squared distance."""
        return ((scores - 1) * (2 * self.t),)

    def slopes(self) -> tuple[float, ...]:
        """Return 2 t."""
        return (2 * self.t,)

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return the mean kernel of the anchor's negatives, between e^{-4t} and 1."""
        del pos
        return (sums[0] - count.log()).exp()

    def mean_over_anchors(
        self, contrast: Contrast, pos: Tensor, anchors: Tensor, candidates: Tensor
    ) -> Tensor:
        """Return alignment plus the weighted log of the mean kernel."""
        kernel = super().mean_over_anchors(contrast, pos, anchors, candidates)
        kept = Kept(contrast.anchor_ids, contrast.candidate_ids, contrast.exclude)
        share = (kept.count(slice(None), torch.float64) > 0).double().mean()
        # The mean counts anchors without negatives as 0. Rescale it to those that have some.
        kernel = kernel / share.clamp(min=1e-30).to(kernel)
        some = kernel > 0
        uniformity = torch.where(some, torch.where(some, kernel, 1.0).log(), 0.0)
        return 2 - 2 * pos.mean() + self.weight * uniformity
