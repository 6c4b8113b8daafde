"""What every loss is, and how score losses are evaluated in linear memory."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import normalize

from harness.contrast import Contrast
from harness.errors import require


class Loss(nn.Module, ABC):
    """Turn a contrast into a scalar to minimise.

    Every setting is a keyword argument of the constructor with a default, and
    is kept as an attribute of the same name. A loss draws no randomness. It is
    a module, so that a temperature can be learned: its parameters are trained
    together with the encoder's.
    """

    detached: ClassVar[bool] = False
    """Whether some weight is held constant in the gradient, by definition."""

    @abstractmethod
    def forward(self, contrast: Contrast) -> Float[Tensor, ""]:
        """Return the loss of ``contrast``, a scalar of the anchors' dtype."""


class ScoreLoss(Loss):
    """A loss that sees projections only through their cosine scores.

    With unit rows, the score of two projections is their cosine, in [-1, 1],
    before any temperature. The loss is the mean over anchors of
    :meth:`per_anchor`, which is all that a sub-class has to write.

    An anchor sees only its own row of scores, so the mean is evaluated exactly,
    ``block_rows`` anchors at a time, in memory linear in the batch; the block
    size never changes the value. Half-precision projections are scored in
    float32, because temperatures of .05 magnify rounding twentyfold.
    """

    block_rows: int = 64
    """How many anchors are scored at once: a matter of speed, not of value."""

    @abstractmethod
    def per_anchor(
        self,
        pos: Float[Tensor, " n"],
        neg: Float[Tensor, "n m"],
        keep: Bool[Tensor, "n m"],
    ) -> Float[Tensor, " n"]:
        """Return one value an anchor.

        Args:
            pos: score of each anchor with its positive.
            neg: score of each anchor with every candidate.
            keep: which candidates are negatives of which anchor. The others
                must not influence the value: mask them before exponentiating.
        """

    def forward(self, contrast: Contrast) -> Float[Tensor, ""]:
        """Return the mean of :meth:`per_anchor` over the anchors."""
        dtype = contrast.anchors.dtype
        with torch.autocast(contrast.anchors.device.type, enabled=False):
            anchors, positives, candidates = (
                normalize(_at_least_float32(rows), dim=1)
                for rows in (contrast.anchors, contrast.positives, contrast.candidates)
            )
            pos = (anchors * positives).sum(dim=1)
            inputs = (pos, anchors, candidates, *_trained(self))
            # Said here, because inside a Function gradients are always off.
            differentiate = torch.is_grad_enabled() and any(t.requires_grad for t in inputs)
            mean: Tensor = _BlockedMean.apply(  # type: ignore[no-untyped-call]
                self, contrast, differentiate, *inputs
            )
        return mean.to(dtype)


class _BlockedMean(torch.autograd.Function):
    """The mean of a score loss over anchors, one block of rows at a time.

    The mean is a scalar, so each block's gradient is known up to one factor as
    soon as its value is. It is taken in the same pass, and the block's scores are
    then dropped: three matrix products a block, nothing computed twice, and
    nothing kept that is larger than the projections.
    """

    @staticmethod
    def forward(
        ctx: Any,
        loss: ScoreLoss,
        contrast: Contrast,
        differentiate: bool,
        pos: Tensor,
        anchors: Tensor,
        candidates: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        inputs = (pos, anchors, candidates, *parameters)
        grads = [torch.zeros_like(t) for t in inputs] if differentiate else []
        values = torch.empty_like(pos)
        for start in range(0, len(pos), loss.block_rows):
            rows = slice(start, start + loss.block_rows)
            keep = contrast.anchor_ids[rows, None] != contrast.candidate_ids
            if contrast.exclude is not None:
                keep &= ~contrast.exclude[rows]
            with torch.set_grad_enabled(differentiate):
                block_pos = pos[rows].detach().requires_grad_(differentiate)
                block_neg = (anchors[rows] @ candidates.T).detach().requires_grad_(differentiate)
                block = loss.per_anchor(block_pos, block_neg, keep)
            require(
                block.shape == block_pos.shape,
                f"`per_anchor` of {type(loss).__name__} must return one value an anchor: got "
                f"shape {tuple(block.shape)} for {len(block_pos)} anchors. Reduce over the "
                "candidates only.",
            )
            values[rows] = block.detach()
            if not block.requires_grad:
                continue
            slopes = torch.autograd.grad(
                block,
                (block_pos, block_neg, *parameters),
                torch.ones_like(block),
                allow_unused=True,
            )
            if slopes[0] is not None:
                grads[0][rows] = slopes[0]
            if slopes[1] is not None:
                torch.mm(slopes[1], candidates, out=grads[1][rows])
                grads[2].addmm_(slopes[1].T, anchors[rows])
            for grad, slope in zip(grads[3:], slopes[2:], strict=True):
                if slope is not None:
                    grad += slope
        ctx.save_for_backward(*grads)
        ctx.count = len(pos)
        return values.mean()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mean: Tensor) -> tuple[Tensor | None, ...]:
        scale = grad_mean / ctx.count
        return None, None, None, *(grad * scale for grad in ctx.saved_tensors)


def masked_logsumexp(
    values: Float[Tensor, "n m"], keep: Bool[Tensor, "n m"]
) -> Float[Tensor, " n"]:
    r"""Return log of the sum of exp over the kept entries of each row.

    .. math:: \log \sum_{j \in keep_i} e^{v_{ij}}

    Left-out entries have no influence on value or gradient, whatever they hold.
    A row with nothing kept, or with no entry at all, gives a large negative
    number, not minus infinity, so that its gradient is zero and not NaN.

    >>> import torch
    >>> kept = torch.tensor([[True, False]])
    >>> masked_logsumexp(torch.tensor([[2.0, 99.0]]), kept).item()
    2.0
    """
    floor = torch.finfo(values.dtype).min / 4
    if not values.shape[1]:
        return values.new_full((len(values),), floor)
    return values.masked_fill(~keep, floor).logsumexp(dim=1)


def _trained(loss: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in loss.parameters() if parameter.requires_grad]


def _at_least_float32(rows: Tensor) -> Tensor:
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
