"""Base classes: `Loss`, and `ScoreLoss` for losses that are functions of scores."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from harness.contrast import Contrast
from harness.losses.engine.rows import mean_by_rows, min_exponent
from harness.settings import Configured

MIN_LENGTH = 1e-12
"""Rows are divided by their length, or by this if they are shorter; they get no gradient then."""


def below_untrained_on_sentences(score: float, needs: str, reached: float) -> Mapping[str, str]:
    """Return the caution for a loss that ends below the untrained encoder on sentences.

    Args:
        score: its score on STS-B at the defaults; the untrained encoder's is 56.1.
        needs: settings with which it learns.
        reached: its score with these settings.
    """
    return {
        "sentence": f"with its defaults it ends below the untrained encoder ({score} on STS-B, "
        f"untrained 56.1); with {needs} it reaches {reached}"
    }


class Loss(Configured, nn.Module, ABC):
    """Turn a contrast into a scalar to minimise.

    Every setting is a keyword argument of the constructor with a default, and
    is kept as an attribute of the same name. A loss draws no randomness. It is
    a module, so that a temperature can be learned: its parameters are trained
    together with the encoder's.
    """

    label: ClassVar[str] = ""
    """What people call it, on boards and in figures: 'InfoNCE'. Empty: its entry point's name.

    A class does not take it from its base.
    """

    detached = False
    """Whether the loss by definition holds some weight constant in the gradient."""

    needs: ClassVar[frozenset[str]] = frozenset()
    """What the loss needs of a method's contrasts: keys of :data:`harness.methods.base.GIFTS`.

    A subclass that sets it must list all its needs: those of the base class are replaced.
    """

    pairing: ClassVar[str | None] = None
    """The pairing that the loss is defined for; None if any pairing will do."""

    depends_on: ClassVar[tuple[str, ...]] = ()
    """Modules of other distributions that it calls. A cell is rerun when one of them changes."""

    needs_distinct_views: ClassVar[bool] = False
    """Whether training destroys a pretrained encoder if views differ by dropout alone."""

    cautions: ClassVar[Mapping[str, str]] = {}
    """{modality: a known failure at the defaults, and the settings that avoid it}."""

    rate = 1.0
    """Learning rate of the loss's own parameters, as a multiple of the encoder's."""

    def score_scale(self) -> float | None:
        """Return the current factor on scores before they are exponentiated.

        Most losses return 1 / tau. The default, None, says that there is no such factor.
        :class:`~harness.losses.sums.SumLoss` builds its sums with it; diagnostics read it.
        """
        return None

    def before_step(self, step: int, steps: int) -> None:
        """Prepare for an optimizer step, such as by moving a schedule on.

        It is called once before each optimizer step, however many contrasts and batches the
        step has. Keep what it changes in buffers or parameters, which checkpoints hold: an
        attribute of another kind is lost when a cell is stopped and continued.

        Args:
            step: how many steps were taken before: from 0 to ``steps`` - 1.
            steps: how many steps the cell takes in all.
        """
        del step, steps

    @abstractmethod
    def forward(self, contrast: Contrast) -> Float[Tensor, ""]:
        """Return the loss of ``contrast``, a scalar, in float32 at least.

        A step may call it several times: once for each contrast of each batch.
        """


class ScoreLoss(Loss):
    """A loss that sees projections only through their cosine scores.

    The score of two projections is their cosine, in [-1, 1], before any
    temperature. The loss is the mean of :meth:`per_anchor` over anchors; a
    subclass only has to write that method.

    An anchor's value depends only on its own row of scores. The mean is therefore
    computed exactly, one block of rows at a time, in memory linear in the batch;
    the block size never changes the value. A block's gradient is computed in the
    same pass as its value: three matrix products, and nothing is computed twice.
    Half-precision projections are scored in float32, because temperatures of
    .05 magnify rounding twentyfold.
    """

    needs: ClassVar[frozenset[str]] = frozenset({"negatives"})

    cosines: ClassVar[bool] = True
    """Whether scores are cosines: False if the class overrides :meth:`embed`."""

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        cls.cosines = cls.embed is ScoreLoss.embed

    block_rows = cast("int | None", None)
    """How many anchors are scored at once; changes the speed only. None: chosen for the device."""

    @abstractmethod
    def per_anchor(
        self,
        pos: Float[Tensor, " n"],
        neg: Float[Tensor, "n m"],
        keep: Bool[Tensor, "n m"],
    ) -> Float[Tensor, " n"]:
        """Return one value per anchor.

        It is called with one block of anchors at a time, with or without gradient. The
        value may depend on ``pos``, ``neg`` and the loss's own parameters, but on nothing
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
        """Return :meth:`per_anchor`; override this method instead to keep state per example."""
        del ids
        return self.per_anchor(pos, neg, keep)

    def embed(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n d"]:
        """Return rows whose dot products are the scores; by default, rows of unit length.

        Override it if scores are not cosines. Sums are then shifted row by row.
        """
        unit: Tensor = _UnitRows.apply(rows)  # type: ignore[no-untyped-call]
        return unit

    def positive_scores(self, pos: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the positives' scores; override it if their weights need the whole batch."""
        return pos

    def forward(self, contrast: Contrast) -> Float[Tensor, ""]:
        """Return the mean of :meth:`per_anchor` over the anchors."""
        with torch.autocast(contrast.anchors.device.type, enabled=False):
            anchors = self.embed(at_least_float32(contrast.anchors))
            positives = self.embed(at_least_float32(contrast.positives))
            # Keep one tensor for both if they are the same: `SumLoss` then knows that scores are
            # symmetric.
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
    """Divide rows by their lengths, as ``normalize`` does, with half the passes in backward."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        length = torch.linalg.vector_norm(rows, dim=1, keepdim=True).clamp_min_(MIN_LENGTH)
        unit: Tensor = rows / length
        ctx.save_for_backward(unit, length)
        return unit

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        unit, length = ctx.saved_tensors
        # Unit rows can only turn: drop the gradient's component along them.
        along = torch.linalg.vecdot(grad, unit)[:, None]
        across: Tensor = torch.addcmul(grad, along, unit, value=-1)
        # A row of zeros has no direction: set its gradient to 0 instead of multiplying it by 1e12.
        return across.mul_(torch.where(length > MIN_LENGTH, 1 / length, 0.0))


def masked_logsumexp(
    values: Float[Tensor, "n m"], keep: Bool[Tensor, "n m"]
) -> Float[Tensor, " n"]:
    r"""Return the log of the sum of exp over the kept entries of each row.

    .. math:: \log \sum_{j \in keep_i} e^{v_{ij}}

    Masked entries have no influence on value or gradient, whatever they hold.
    A row without kept entries, or without any, gives a large negative number
    rather than minus infinity, so that its gradient is zero and not NaN.

    >>> import torch
    >>> kept = torch.tensor([[True, False]])
    >>> masked_logsumexp(torch.tensor([[2.0, 99.0]]), kept).item()
    2.0
    """
    # A quarter of the lowest number, so that differences of floors and values do not overflow.
    floor = torch.finfo(values.dtype).min / 4
    if not values.shape[1]:
        return values.new_full((len(values),), floor)
    kept = torch.where(keep, values, floor)
    top = kept.detach().amax(dim=1)
    # Exponents below this are negligible beside the largest, 0, and their exponentials would
    # be subnormal numbers, which are slow to compute with.
    shifted = (kept - top[:, None]).clamp(min=min_exponent(values.dtype))
    return shifted.exp().sum(dim=1).log() + top


def count_kept(keep: Bool[Tensor, "n m"]) -> Int[Tensor, " n"]:
    """Return how many entries of each row are kept."""
    # Summing in int32 takes a third of the time that torch's default, int64, takes.
    return keep.sum(dim=1, dtype=torch.int32)


def at_least_float32(rows: Tensor) -> Tensor:
    """Return half-precision ``rows`` as float32, and others unchanged."""
    return rows.float() if rows.dtype in (torch.float16, torch.bfloat16) else rows
