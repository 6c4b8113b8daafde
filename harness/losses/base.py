"""What every loss is, and score losses."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from harness.contrast import Contrast
from harness.losses.blocks import least_exponent, mean_by_rows
from harness.settings import Configured

SHORTEST = 1e-12
"""Rows that are no longer count as zero: they score 0 with all others."""


def below_untrained_on_sentences(score: float, needs: str, reached: float) -> Mapping[str, str]:
    """Return the caution of a loss that ends below the untrained encoder on sentences.

    Args:
        score: what it reaches on STS-B at the defaults, where the untrained encoder has 56.1.
        needs: settings with which it learns.
        reached: the score with these.
    """
    return {
        "sentence": f"it ends below the untrained encoder at the defaults ({score} on STS-B, "
        f"where that has 56.1); with {needs} it reaches {reached}"
    }


class Loss(Configured, nn.Module, ABC):
    """Turn a contrast into a scalar to minimise.

    Every setting is a keyword argument of the constructor with a default, and
    is kept as an attribute of the same name. A loss draws no randomness. It is
    a module, so that a temperature can be learned: its parameters are trained
    together with the encoder's.
    """

    detached = False
    """Whether some weight is held constant in the gradient, by definition."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """What a method's contrasts must hold: words of :data:`harness.methods.base.GIFTS`.

    A sub-class that states its own states all of them: a score loss needs negatives.
    """

    pairing: ClassVar[str | None] = None
    """The pairing that is part of the definition; None where any will do."""

    depends_on: ClassVar[tuple[str, ...]] = ()
    """Modules of other distributions that it calls: a cell is run again when they change."""

    needs_distinct_views: ClassVar[bool] = False
    """Whether it forgets what the encoder knew where views differ by dropout alone."""

    cautions: ClassVar[Mapping[str, str]] = {}
    """{modality: what is known to go wrong there at the defaults, and what it needs}."""

    rate = 1.0
    """How much faster than the encoder's weights the loss's own parameters are learned."""

    def score_scale(self) -> float | None:
        """Return what scores are multiplied by before they are exponentiated, as it is now.

        That is 1 / tau for most losses. None, the default: there is no such number. Sums are
        made with it (:class:`~harness.losses.sums.SumLoss`), and diagnostics ask for it.
        """
        return None

    @abstractmethod
    def forward(self, contrast: Contrast) -> Float[Tensor, ""]:
        """Return the loss of ``contrast``, a scalar, in float32 at least."""


class ScoreLoss(Loss):
    """A loss that sees projections only through their cosine scores.

    With unit rows, the score of two projections is their cosine, in [-1, 1],
    before any temperature. The loss is the mean over anchors of
    :meth:`per_anchor`, which is all that a sub-class has to write.

    An anchor sees only its own row of scores, so the mean is evaluated exactly,
    a block of rows at a time, in memory linear in the batch; the block size
    never changes the value. A block's gradient is taken in the same pass that
    computes its value: three matrix products and nothing computed twice.
    Half-precision projections are scored in float32, because temperatures of
    .05 magnify rounding twentyfold.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"negatives"})

    cosines: ClassVar[bool] = True
    """Whether scores are cosines: not where a class has an :meth:`embed` of its own."""

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        cls.cosines = cls.embed is ScoreLoss.embed

    block_rows = cast("int | None", None)
    """How many anchors are scored at once: a matter of speed, not of value."""

    @abstractmethod
    def per_anchor(
        self,
        pos: Float[Tensor, " n"],
        neg: Float[Tensor, "n m"],
        keep: Bool[Tensor, "n m"],
    ) -> Float[Tensor, " n"]:
        """Return one value an anchor.

        Called with a block of the anchors at a time, also without gradient: the value
        may depend on ``pos``, ``neg`` and the loss's own parameters, and on nothing
        else that has a gradient.

        Args:
            pos: score of each anchor with its positive.
            neg: score of each anchor with every candidate.
            keep: which candidates are negatives of which anchor. The others
                must not influence the value: mask them before exponentiating.
        """

    def per_anchor_of(
        self,
        ids: Int[Tensor, " n"],
        pos: Float[Tensor, " n"],
        neg: Float[Tensor, "n m"],
        keep: Bool[Tensor, "n m"],
    ) -> Float[Tensor, " n"]:
        """Return :meth:`per_anchor`; override this one to keep state by example."""
        del ids
        return self.per_anchor(pos, neg, keep)

    def embed(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return rows whose dot products are the scores: here, of unit length.

        Override it for scores that are no cosines; sums are then shifted row by row.
        """
        unit: Tensor = _UnitRows.apply(rows)  # type: ignore[no-untyped-call]
        return unit

    def positive_scores(self, pos: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the positives' scores; override to weigh them over the whole batch."""
        return pos

    def forward(self, contrast: Contrast) -> Float[Tensor, ""]:
        """Return the mean of :meth:`per_anchor` over the anchors."""
        with torch.autocast(contrast.anchors.device.type, enabled=False):
            anchors = self.embed(at_least_float32(contrast.anchors))
            positives = self.embed(at_least_float32(contrast.positives))
            candidates = (
                anchors
                if contrast.candidates is contrast.anchors
                else self.embed(at_least_float32(contrast.candidates))
            )
            pos = self.positive_scores((anchors * positives).sum(dim=1))
            return self.mean_over_anchors(contrast, pos, anchors, candidates)

    def mean_over_anchors(
        self,
        contrast: Contrast,
        pos: Float[Tensor, " n"],
        anchors: Float[Tensor, "n d"],
        candidates: Float[Tensor, "m d"],
    ) -> Float[Tensor, ""]:
        """Return the mean of :meth:`per_anchor`, in linear memory."""
        return mean_by_rows(self, contrast, pos, anchors, candidates)


class _UnitRows(torch.autograd.Function):
    """Divide rows by their lengths: ``normalize`` with half the passes over its gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min_(SHORTEST)
        unit: Tensor = rows / length
        ctx.save_for_backward(unit, length)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        unit, length = ctx.saved_tensors
        along = torch.linalg.vecdot(grad, unit)[:, None]
        across: Tensor = torch.addcmul(grad, along, unit, value=-1)
        # A row of zeros has no direction to turn: no gradient, and not one of 1e12.
        return across.mul_(torch.where(length > SHORTEST, 1 / length, 0.0))


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
    kept = torch.where(keep, values, floor)
    top = kept.detach().amax(dim=1)
    # Exponentials too small to count beside the largest are slow to compute with.
    shifted = (kept - top[:, None]).clamp(min=least_exponent(values.dtype))
    return shifted.exp().sum(dim=1).log() + top


def count_kept(keep: Bool[Tensor, "n m"]) -> Int[Tensor, " n"]:
    """Return how many entries of each row are kept."""
    return keep.sum(dim=1, dtype=torch.int32)  # A third of the time of torch's own choice.


def at_least_float32(rows: Tensor) -> Tensor:
    """Return half-precision ``rows`` as float32, others as they are."""
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
