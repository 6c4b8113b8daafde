"""Evaluate score losses exactly, in memory linear in the batch.

The mean over anchors is a scalar, so a block's gradient is known, up to one factor, as
soon as its value is. The forward pass therefore computes each block's gradient along with
its value and then drops the block's scores: nothing larger than the projections is kept.
The backward pass only multiplies by the factor.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from harness.contrast import Contrast
from harness.core.errors import require

if TYPE_CHECKING:
    from harness.losses.base import ScoreLoss

CPU_SCORES, GPU_SCORES = 2**19, 2**25
"""Scores per block: few enough to stay near a core's cache, or enough to fill a GPU."""

MAX_SQUARE = 512
"""Up to this many candidates, a CPU block has as many anchors as there are candidates."""

MAX_SHARED = 8
"""If at most this many candidates share an anchor's id, mask them by index, which is faster."""


def mean_by_rows(
    loss: "ScoreLoss", contrast: Contrast, pos: Tensor, anchors: Tensor, candidates: Tensor
) -> Tensor:
    """Return the mean of ``per_anchor`` over anchors, one block of rows at a time.

    Each block takes three matrix products, whatever the loss: one for the scores, one
    for the anchors' gradient and one for the candidates'.
    """
    parameters = trained(loss)
    differentiate = differentiable(pos, anchors, candidates, *parameters)
    mean: Tensor = _MeanByRows.apply(  # type: ignore[no-untyped-call]
        loss, contrast, differentiate, pos, anchors, candidates, *parameters
    )
    return mean


class _MeanByRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        loss: "ScoreLoss",
        contrast: Contrast,
        differentiate: bool,
        pos: Tensor,
        anchors: Tensor,
        candidates: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        grads = zeros(differentiate, pos, anchors, candidates, *parameters)
        # Input 5 is `candidates`. A queue's candidates need no gradient.
        candidates_need_grad = ctx.needs_input_grad[5]
        kept = Kept(contrast.anchor_ids, contrast.candidate_ids, contrast.exclude)
        values = torch.empty_like(pos)
        for rows in blocks(loss, anchors, candidates):
            keep = kept.block(rows)
            # Scores are leaves: autograd differentiates `per_anchor` alone, and the matrix
            # products around it are differentiated by hand below.
            with torch.set_grad_enabled(differentiate):
                block_pos = pos[rows].detach().requires_grad_(differentiate)
                block_neg = (anchors[rows] @ candidates.T).requires_grad_(differentiate)
                block = loss.per_anchor_of(contrast.anchor_ids[rows], block_pos, block_neg, keep)
            require(
                block.shape == block_pos.shape,
                f"`per_anchor` of {type(loss).__name__} must return one value per anchor: got "
                f"shape {tuple(block.shape)} for {len(block_pos)} anchors. Reduce over the "
                "candidates only.",
            )
            values[rows] = block.detach()
            if not block.requires_grad:
                continue
            # Differentiate now, so that the block's scores are freed before the next block.
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
                if candidates_need_grad:
                    grads[2].addmm_(slopes[1].T, anchors[rows])
            add_to(grads[3:], slopes[2:])
        return finish(ctx, grads, values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mean: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, *scaled(ctx, grad_mean)


class Kept:
    """Tell which candidates are negatives of which anchors, one block at a time."""

    def __init__(self, anchor_ids: Tensor, candidate_ids: Tensor, exclude: Tensor | None) -> None:
        self.anchor_ids, self.candidate_ids, self.exclude = anchor_ids, candidate_ids, exclude
        # Sorting by id puts the candidates that share an anchor's id next to each other, in
        # positions `first` to `first + shared`.
        ordered, order = candidate_ids.sort(stable=True)
        first = torch.searchsorted(ordered, anchor_ids)
        self.shared = torch.searchsorted(ordered, anchor_ids, right=True) - first
        fewest, most = (int(self.shared.min()), int(self.shared.max())) if len(order) else (0, 0)
        self.columns: Tensor | None = None
        if most == 0:
            self.columns = first.new_zeros(len(anchor_ids), 0)
        elif fewest > 0 and most <= MAX_SHARED:
            # The candidates that share each anchor's id. An anchor with fewer than `most` repeats
            # its last one, which is harmless because all get the same value.
            step = torch.arange(most, device=first.device)
            self.columns = order[first[:, None] + torch.minimum(step, self.shared[:, None] - 1)]

    def block(self, rows: slice) -> Tensor:
        """Return a boolean block, anchors of ``rows`` x all candidates: True for negatives."""
        ids = self.anchor_ids[rows]
        keep = ids.new_ones((len(ids), len(self.candidate_ids)), dtype=torch.bool)
        return self.fill_(keep, False, rows, 0)

    def fill_(self, values: Tensor, value: float, rows: slice, start: int) -> Tensor:
        """Write ``value`` in place for candidates, from ``start`` on, that are not negatives."""
        if self.columns is None:
            values.masked_fill_(self.anchor_ids[rows, None] == self.candidate_ids[start:], value)
        else:
            columns = self.columns[rows]
            if start:
                # Candidates before `start` have no column here. Use the anchor's own column
                # in their place, which is masked anyway: anchors are the candidates here.
                diagonal = torch.arange(rows.start, rows.stop, device=columns.device)
                columns = torch.where(columns < start, diagonal[:, None], columns) - start
            values.scatter_(1, columns, value)
        if self.exclude is not None:
            values.masked_fill_(self.exclude[rows, start:], value)
        return values

    def count(self, rows: slice, dtype: torch.dtype) -> Tensor:
        """Return how many negatives each anchor of ``rows`` has."""
        if self.exclude is not None:
            return self.block(rows).sum(dim=1).to(dtype)
        return (len(self.candidate_ids) - self.shared[rows]).to(dtype)


def min_exponent(dtype: torch.dtype) -> float:
    """Return the smallest exponent worth computing: e^x is normal but negligible beside 1."""
    return math.log(torch.finfo(dtype).tiny) + 7


def rows_per_block(loss: "ScoreLoss", candidates: Tensor) -> int:
    """Return how many anchors are scored at once."""
    m = max(len(candidates), 1)
    if loss.block_rows is not None:
        return loss.block_rows
    if candidates.device.type != "cpu":
        return max(GPU_SCORES // m, 64)
    return m if m <= MAX_SQUARE else min(max(CPU_SCORES // m, 64), 256)


def blocks(loss: "ScoreLoss", anchors: Tensor, candidates: Tensor) -> list[slice]:
    """Return the rows of each block of anchors."""
    size = rows_per_block(loss, candidates)
    return [slice(i, min(i + size, len(anchors))) for i in range(0, len(anchors), size)]


def differentiable(*inputs: Tensor) -> bool:
    """Return whether a gradient is needed; call it outside a Function, which disables them."""
    return torch.is_grad_enabled() and any(t.requires_grad for t in inputs)


def trained(loss: nn.Module) -> list[nn.Parameter]:
    """Return the loss's own parameters that are learned."""
    return [parameter for parameter in loss.parameters() if parameter.requires_grad]


def zeros(differentiate: bool, *inputs: Tensor) -> list[Tensor]:
    """Return a gradient of zeros for each input, or nothing without ``differentiate``."""
    return [torch.zeros_like(t) for t in inputs] if differentiate else []


def add_to(grads: Sequence[Tensor], slopes: Sequence[Tensor | None]) -> None:
    """Add each slope that is not None to its gradient, in place."""
    for grad, slope in zip(grads, slopes, strict=True):
        if slope is not None:
            grad += slope


def finish(ctx: Any, grads: list[Tensor], values: Tensor) -> Tensor:
    """Save the gradients of the summed values for the backward pass; return the mean."""
    ctx.save_for_backward(*grads)
    ctx.count = len(values)
    return values.mean()


def scaled(ctx: Any, grad_mean: Tensor) -> list[Tensor | None]:
    """Return the saved gradients of the sum, times the mean's gradient over the count."""
    scale = grad_mean / ctx.count
    wanted = ctx.needs_input_grad[-len(ctx.saved_tensors) :]
    return [
        grad * scale if want else None for grad, want in zip(ctx.saved_tensors, wanted, strict=True)
    ]
