"""Score losses that depend on sums over an anchor's negatives, as most do."""

from abc import abstractmethod
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from harness.contrast import Contrast
from harness.core.errors import require
from harness.losses.base import ScoreLoss, count_kept, masked_logsumexp
from harness.losses.engine.rows import mean_by_rows, rows_per_block
from harness.losses.engine.sums import mean_of_sums_by_rows, mean_of_sums_by_strips


class SumLoss(ScoreLoss):
    r"""A score loss that needs only sums over an anchor's negatives.

    .. math:: \ell_i = f\Big(s_i^+, \log \sum_{j} e^{t_1(s_{ij})}, \dots\Big)

    A subclass writes the :meth:`terms` :math:`t_k`, elementwise functions of the
    score, and :meth:`combine`, the function f. If the anchors are the candidates
    themselves, as in ``both_views`` and ``same_view``, the score of i with j is that
    of j with i. Each pair is then scored once for both: the work of two matrix
    products instead of three. The loss of an anchor without a negative is 0.
    """

    by_rows: ClassVar[bool] = False
    """Whether the class overrides :meth:`per_anchor` or :meth:`per_anchor_of`.

    If so, its terms and sums are not used.
    """

    scaled: ClassVar[bool] = True
    """Whether the class keeps the default :meth:`terms`: the score times :meth:`score_scale`."""

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        per_row = (cls.per_anchor, cls.per_anchor_of)
        cls.by_rows = per_row != (SumLoss.per_anchor, SumLoss.per_anchor_of)
        cls.scaled = cls.terms is SumLoss.terms
        complete = cls.combine is not SumLoss.combine and not cls.by_rows
        if complete and cls.scaled and cls.score_scale is ScoreLoss.score_scale:
            raise TypeError(
                f"{cls.__name__} must define what a negative adds to the sum. Override "
                "`score_scale` if a negative adds e^(score_scale * score), else `terms`."
            )

    in_logs: ClassVar[bool] = True
    """Whether terms are logs of the summands; if not, they are the summands themselves."""

    def terms(self, scores: Float[Tensor, "..."]) -> tuple[Float[Tensor, "..."], ...]:
        """Return, elementwise, what a negative with this score adds to each sum.

        With ``in_logs``, return its log. The default is one term, the score times
        :meth:`score_scale`.
        """
        return (scores * self._scale(),)

    def slopes(self) -> tuple[float, ...] | None:
        """Return the terms' derivatives by the score if all are constants, else None.

        Constants make autograd unnecessary. Return None if a derivative varies or a term
        depends on a parameter of the loss, and 0 for a detached term. Override it together
        with :meth:`terms` if the derivatives of your terms are constants.
        """
        return (self._scale(),) if self.scaled else None

    def _scale(self) -> float:
        scale = self.score_scale()
        if scale is None:
            raise TypeError(
                f"`score_scale` of {type(self).__name__} must return a number, because `terms` is "
                "not overridden: got None. Override `terms` or return a number."
            )
        return scale

    @abstractmethod
    def combine(
        self,
        pos: Float[Tensor, " n"],
        sums: tuple[Float[Tensor, " n"], ...],
        count: Float[Tensor, " n"],
    ) -> Float[Tensor, " n"]:
        """Return one value per anchor.

        Args:
            pos: score of each anchor with its positive.
            sums: for each term, the sum over the anchor's negatives, or the log of the
                sum if terms are logs.
            count: how many negatives each anchor has, 1 or more.
        """

    def combine_of(
        self,
        ids: Int[Tensor, " n"],
        pos: Float[Tensor, " n"],
        sums: tuple[Float[Tensor, " n"], ...],
        count: Float[Tensor, " n"],
    ) -> Float[Tensor, " n"]:
        """Return :meth:`combine`; override this method instead to keep state per example."""
        del ids
        return self.combine(pos, sums, count)

    def per_anchor(self, pos: Tensor, neg: Tensor, keep: Tensor) -> Tensor:
        """Return :meth:`combine` of the row's own sums, and 0 without a negative."""
        return self._zero_without_negatives(self.combine, pos, *self._sums(neg, keep))

    def per_anchor_of(self, ids: Tensor, pos: Tensor, neg: Tensor, keep: Tensor) -> Tensor:
        """Return :meth:`combine_of` of the row's own sums, and 0 without a negative."""
        if self.by_rows:
            return self.per_anchor(pos, neg, keep)
        return self.values_of(ids, pos, *self._sums(neg, keep))

    def values_of(
        self, ids: Tensor, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor
    ) -> Tensor:
        """Return :meth:`combine_of`, and 0 for anchors without a negative."""
        return self._zero_without_negatives(partial(self.combine_of, ids), pos, sums, count)

    def _zero_without_negatives(
        self,
        combine: Callable[[Tensor, tuple[Tensor, ...], Tensor], Tensor],
        pos: Tensor,
        sums: tuple[Tensor, ...],
        count: Tensor,
    ) -> Tensor:
        if not len(count) or count.min() > 0:
            return self._checked(combine(pos, sums, count), pos)
        some = count > 0
        # Give rows without negatives harmless numbers, so that no gradient is NaN times zero.
        safe = tuple(torch.where(some, total, 0.0) for total in sums)
        values = self._checked(combine(pos, safe, count.clamp(min=1)), pos)
        return torch.where(some, values, 0.0)

    def _checked(self, values: Tensor, pos: Tensor) -> Tensor:
        require(
            values.shape == pos.shape,
            f"`combine` of {type(self).__name__} must return one value per anchor: got shape "
            f"{tuple(values.shape)} for {len(pos)} anchors. Do not reduce over anchors.",
        )
        return values

    def mean_over_anchors(
        self, contrast: Contrast, pos: Tensor, anchors: Tensor, candidates: Tensor
    ) -> Tensor:
        """Return the mean of :meth:`combine`, scoring each pair once if scores are symmetric."""
        if self.by_rows:
            return mean_by_rows(self, contrast, pos, anchors, candidates)
        shifts = self.shifts(anchors)
        # `is` rather than equality: tensors that are shared make scores symmetric, and comparing
        # their values would cost a pass over them.
        symmetric = (
            candidates is anchors
            and contrast.candidate_ids is contrast.anchor_ids
            and contrast.exclude is None
        )
        if symmetric and shifts and len(anchors) > rows_per_block(self, candidates):
            return mean_of_sums_by_strips(self, shifts, contrast.anchor_ids, pos, anchors)
        return mean_of_sums_by_rows(self, shifts, contrast, pos, anchors, candidates)

    def shifts(self, rows: Tensor) -> list[float] | None:
        """Return for each term a number to subtract before exponentiating, or None.

        A number for all rows saves the pass over the scores that finds each row's maximum.
        None: the terms range so widely over [-1, 1] that with one number some exponentials
        would vanish. Rows are then shifted one by one.
        """
        if self.in_logs and not self.cosines:
            return None  # Scores other than cosines may lie outside [-1, 1].
        if not self.in_logs:
            return [0.0] * len(self.terms(rows.new_zeros(1)))
        with torch.no_grad():
            grid = torch.linspace(-1, 1, 257, dtype=rows.dtype, device=rows.device)
            ends = [tuple(end.item() for end in term.aminmax()) for term in self.terms(grid)]
        # The largest summand becomes e^top, and the least stays above e^-top. Neither sums of
        # millions of them overflow, nor does one of them underflow.
        top = 600.0 if rows.dtype == torch.float64 else 60.0
        if all(high - low <= 2 * top for low, high in ends):
            return [high - top for _, high in ends]
        return None

    def _sums(self, neg: Tensor, keep: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        terms = self.terms(neg)
        if self.in_logs:
            sums = tuple(masked_logsumexp(term, keep) for term in terms)
        else:
            sums = tuple(torch.where(keep, term, 0.0).sum(dim=1) for term in terms)
        return sums, count_kept(keep).to(neg.dtype)
