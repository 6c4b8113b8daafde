"""Evaluate sum losses with fewer passes, scoring each pair once if scores are symmetric."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from harness.contrast import Contrast
from harness.losses.engine.rows import (
    Kept,
    add_to,
    blocks,
    differentiable,
    finish,
    min_exponent,
    rows_per_block,
    scaled,
    trained,
    zeros,
)

if TYPE_CHECKING:
    from harness.losses.sums import SumLoss

Shifts = Sequence[float] | None
"""For each term, a number to subtract before exponentiating; None: each row's maximum.

Exponentials of unshifted terms could overflow. The shift is added to the log of the sum.
"""


def mean_of_sums_by_rows(
    loss: "SumLoss",
    shifts: Shifts,
    contrast: Contrast,
    pos: Tensor,
    anchors: Tensor,
    candidates: Tensor,
) -> Tensor:
    """Return the mean of ``combine`` over anchors, one block of rows at a time.

    This is :func:`mean_by_rows` with fewer passes over a block: autograd differentiates
    the terms only. Without ``shifts`` each row's own maximum is subtracted.
    """
    parameters = trained(loss)
    differentiate = differentiable(pos, anchors, candidates, *parameters)
    # If all anchors fit into one block, add the two gradients of each symmetric pair first,
    # which saves one matrix product: candidates then need no gradient of their own.
    together = candidates is anchors and len(anchors) <= rows_per_block(loss, candidates)
    if together:
        candidates = candidates.detach()
    mean: Tensor = _MeanOfSumsByRows.apply(  # type: ignore[no-untyped-call]
        loss, shifts, contrast, differentiate, together, pos, anchors, candidates, *parameters
    )
    return mean


def mean_of_sums_by_strips(
    loss: "SumLoss", shifts: Sequence[float], ids: Tensor, pos: Tensor, rows: Tensor
) -> Tensor:
    """Return the mean of ``combine`` over ``rows``, each a candidate of all others.

    The score of i with j is that of j with i, so it is enough to score the upper
    triangle, in strips of rows. The gradient of a pair needs the sums of both its rows:
    a first pass over the strips adds up the sums, and a second scores again and computes
    the gradient. Each pass takes half a matrix product to score, and the gradient takes
    two halves: two products in all.
    """
    parameters = trained(loss)
    differentiate = differentiable(pos, rows, *parameters)
    mean: Tensor = _MeanOfSumsByStrips.apply(  # type: ignore[no-untyped-call]
        loss, shifts, ids, differentiate, pos, rows, *parameters
    )
    return mean


class _MeanOfSumsByRows(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        loss: "SumLoss",
        shifts: Shifts,
        contrast: Contrast,
        differentiate: bool,
        together: bool,
        pos: Tensor,
        anchors: Tensor,
        candidates: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        grads = zeros(differentiate, pos, anchors, candidates, *parameters)
        # Input 7 is `candidates`. A queue's candidates, or those of `together`, need no gradient.
        candidates_need_grad = ctx.needs_input_grad[7]
        kept = Kept(contrast.anchor_ids, contrast.candidate_ids, contrast.exclude)
        values = torch.empty_like(pos)
        for rows in blocks(loss, anchors, candidates):
            scores = anchors[rows] @ candidates.T
            terms = _terms(loss, scores, differentiate)
            block_shifts: Sequence[float | Tensor] = shifts or [
                _row_maxima(term, kept, rows) for term in terms.values
            ]
            summands = [
                _summand(loss, terms, k, shift, kept, rows) for k, shift in enumerate(block_shifts)
            ]
            values[rows], slopes = _combine(
                loss,
                block_shifts,
                contrast.anchor_ids[rows],
                pos[rows],
                [summand.sum(dim=1) for summand in summands],
                kept.count(rows, pos.dtype),
                differentiate,
                parameters,
            )
            if not differentiate:
                continue
            add_to([grads[0][rows], *grads[3:]], [slopes.pos, *slopes.parameters])
            # All summands of a row enter one sum, and so share the slope of that sum.
            weights = [
                None if slope is None else (slope * terms.factor(k))[:, None]
                for k, slope in enumerate(slopes.sums)
            ]
            by_scores, *by_parameters = _gradients(
                loss, terms, summands, weights, kept, rows, parameters
            )
            if by_scores is not None:
                of_anchors = by_scores + by_scores.T if together else by_scores
                torch.mm(of_anchors, candidates, out=grads[1][rows])
                if candidates_need_grad:
                    grads[2].addmm_(by_scores.T, anchors[rows])
            add_to(grads[3:], by_parameters)
        return finish(ctx, grads, values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mean: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, None, None, *scaled(ctx, grad_mean)


class _MeanOfSumsByStrips(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        loss: "SumLoss",
        shifts: Sequence[float],
        ids: Tensor,
        differentiate: bool,
        pos: Tensor,
        rows: Tensor,
        *parameters: Tensor,
    ) -> Tensor:
        grads = zeros(differentiate, pos, rows, *parameters)
        kept = Kept(ids, ids, None)
        strips = blocks(loss, rows, rows)
        totals = [torch.zeros_like(pos) for _ in shifts]
        # First pass, the sums. A strip has the columns from its own first row on. By symmetry,
        # the columns right of its diagonal block are scores of later rows too: add them there.
        for strip in strips:
            terms = _terms(loss, rows[strip] @ rows[strip.start :].T, False)
            for k, (total, shift) in enumerate(zip(totals, shifts, strict=True)):
                summand = _summand(loss, terms, k, shift, kept, strip, strip.start)
                total[strip] += summand.sum(dim=1)
                total[strip.stop :] += summand[:, strip.stop - strip.start :].sum(dim=0)
        count = kept.count(slice(None), pos.dtype)
        values, slopes = _combine(loss, shifts, ids, pos, totals, count, differentiate, parameters)
        if not differentiate:
            return finish(ctx, grads, values)
        add_to([grads[0], *grads[2:]], [slopes.pos, *slopes.parameters])
        # Second pass, the gradient: the gradient by a score reaches both rows of the pair.
        for strip in strips:
            terms = _terms(loss, rows[strip] @ rows[strip.start :].T, True)
            summands: list[Tensor | None] = []
            weights: list[Tensor | None] = []
            for k, (shift, slope) in enumerate(zip(shifts, slopes.sums, strict=True)):
                if slope is None or not terms.moves(k):  # A detached term has no gradient.
                    summands.append(None)
                    weights.append(None)
                    continue
                summands.append(_summand(loss, terms, k, shift, kept, strip, strip.start))
                weights.append(_pair_weights(slope * terms.factor(k), strip))
            by_scores, *by_parameters = _gradients(
                loss, terms, summands, weights, kept, strip, parameters, strip.start
            )
            if by_scores is not None:
                grads[1][strip].addmm_(by_scores, rows[strip.start :])
                grads[1][strip.start :].addmm_(by_scores.T, rows[strip])
            add_to(grads[2:], by_parameters)
        return finish(ctx, grads, values)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_mean: Tensor) -> tuple[Tensor | None, ...]:
        return None, None, None, None, *scaled(ctx, grad_mean)


class _Slopes(NamedTuple):
    """Gradients of the summed values by the inputs of ``combine`` and the loss's parameters."""

    pos: Tensor | None
    sums: Sequence[Tensor | None]
    parameters: Sequence[Tensor | None]


class _Terms(NamedTuple):
    """A block's terms, and what their gradient by the scores takes.

    ``constants`` are the terms' slopes if these are constant; else autograd computes them.
    """

    values: tuple[Tensor, ...]
    scores: Tensor
    constants: tuple[float, ...] | None
    fresh: bool
    """Whether the terms may be overwritten: none shares memory with scores or another term."""

    def moves(self, k: int) -> bool:
        """Return whether the k-th term has a gradient."""
        return self.values[k].requires_grad if self.constants is None else self.constants[k] != 0

    def factor(self, k: int) -> float:
        """Return the k-th term's slope if it is constant, else 1: autograd then supplies it."""
        return 1.0 if self.constants is None else self.constants[k]


def _terms(loss: "SumLoss", scores: Tensor, differentiate: bool) -> _Terms:
    """Return the terms of a block of scores, with an autograd graph only if slopes vary."""
    constants = loss.slopes() if not trained(loss) else None
    with torch.set_grad_enabled(differentiate and constants is None):
        values = loss.terms(scores.requires_grad_(constants is None))
    # `terms` may return its input, or one tensor twice: such terms share their memory.
    places = {tensor.data_ptr() for tensor in (scores, *values)}
    fresh = constants is not None and len(places) == 1 + len(values)
    return _Terms(values, scores, constants, fresh)


def _row_maxima(term: Tensor, kept: "Kept", rows: slice) -> Tensor:
    """Return the largest term of each row's negatives, as a column; 0 without negatives."""
    top = kept.fill_(term.detach().clone(), -torch.inf, rows, 0).amax(dim=1, keepdim=True)
    return torch.where(top > -torch.inf, top, 0.0)


def _summand(
    loss: "SumLoss",
    terms: _Terms,
    k: int,
    shift: float | Tensor,
    kept: "Kept",
    rows: slice,
    start: int = 0,
) -> Tensor:
    """Return the summands: exp of the shifted term, or the term itself; 0 if not a negative."""
    term = terms.values[k].detach()
    if not loss.in_logs:
        return kept.fill_(term.clone(), 0.0, rows, start)
    shifted = term.sub_(shift) if terms.fresh else term - shift
    # A row's maximum, unlike a fixed shift, leaves exponents without a lower bound, and
    # subnormal exponentials are slow to compute with.
    if isinstance(shift, Tensor):
        shifted.clamp_(min=min_exponent(term.dtype))
    return kept.fill_(shifted.exp_(), 0.0, rows, start)


def _combine(
    loss: "SumLoss",
    shifts: Sequence[float | Tensor],
    ids: Tensor,
    pos: Tensor,
    totals: Sequence[Tensor],
    count: Tensor,
    differentiate: bool,
    parameters: Sequence[Tensor],
) -> tuple[Tensor, _Slopes]:
    """Return the anchors' values, and their slopes by positive score, totals and parameters."""
    with torch.set_grad_enabled(differentiate):
        leaves = [t.detach().requires_grad_(differentiate) for t in (pos, *totals)]
        sums = tuple(leaves[1:])
        if loss.in_logs:
            # The total of a row without negatives is 0, whose log is -inf. Its value does not
            # depend on the total: put a 1 there.
            if count.min() <= 0:
                sums = tuple(torch.where(count > 0, total, 1.0) for total in sums)
            sums = tuple(
                total.log() + (shift.flatten() if isinstance(shift, Tensor) else shift)
                for total, shift in zip(sums, shifts, strict=True)
            )
        values = loss.values_of(ids, leaves[0], sums, count)
    if not values.requires_grad:
        return values, _Slopes(None, [None] * len(totals), [None] * len(parameters))
    slopes = torch.autograd.grad(
        values, (*leaves, *parameters), torch.ones_like(values), allow_unused=True
    )
    return values.detach(), _Slopes(slopes[0], slopes[1 : len(leaves)], slopes[len(leaves) :])


def _pair_weights(slope: Tensor, strip: slice) -> Tensor:
    """Return each pair's weight: the slope of its row plus that of its column.

    The diagonal block holds each pair twice. There only the row's slope counts.
    """
    tail = slope[strip.start :].clone()
    tail[: strip.stop - strip.start] = 0
    return slope[strip, None] + tail


def _gradients(
    loss: "SumLoss",
    terms: _Terms,
    summands: Sequence[Tensor | None],
    weights: Sequence[Tensor | None],
    kept: "Kept",
    rows: slice,
    parameters: Sequence[Tensor],
    start: int = 0,
) -> Sequence[Tensor | None]:
    """Return the gradients by the scores and by each parameter; overwrite ``summands``.

    The slope of e^t is e^t itself times the slope of t. Autograd therefore only
    differentiates the terms, and is not needed if their slopes are constants.
    """
    outputs, slopes = [], []
    for k, (summand, weight) in enumerate(zip(summands, weights, strict=True)):
        if summand is None or weight is None or not terms.moves(k):
            continue
        outputs.append(terms.values[k])
        if loss.in_logs:
            slopes.append(summand.mul_(weight))
        else:
            slopes.append(kept.fill_(weight.expand_as(summand).clone(), 0.0, rows, start))
    if not outputs:
        return [None] * (1 + len(parameters))
    if terms.constants is not None:  # The constant slopes are in the weights already.
        total = slopes[0]
        for slope in slopes[1:]:
            total += slope
        return [total]
    return torch.autograd.grad(outputs, (terms.scores, *parameters), slopes, allow_unused=True)
