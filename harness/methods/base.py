"""Base class of methods, and the check whether a method fits a loss and a task."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

from jaxtyping import Float
from torch import Tensor, nn

from harness.contrast import Contrast
from harness.heads import represent_and_project
from harness.losses.base import Loss
from harness.settings import Configured
from harness.task import Batch, Task

GIFTS = {
    "negatives": "candidates to push away from",
    "example ids": "anchor ids that number the examples, so that a loss can keep state for each",
    "trained positives": "positives through which gradient flows",
    "stopped positives": "positives without gradient, which anchors predict without collapsing",
    "targets": "soft assignments of anchors to prototypes",
    "several positives": "candidates that are further positives, because they have the anchor's id",
    "labels": "the anchors' classes",
    "representations": "the encoder's representations beside the projections",
}
"""What contrasts may hold. A method lists what it ``gives``, a loss what it ``needs``."""


class Method(Configured, nn.Module, ABC):
    """Turn two views of a batch into contrasts.

    A method is the same for every modality: a view is whatever the task's
    encoder takes. It owns the encoder and the head and any state beside them
    (a queue, a momentum encoder, a predictor), as sub-modules and buffers, so
    that all of it is trained, moved and checkpointed together.

    Every setting is a keyword argument of the constructor with a default.
    """

    label: ClassVar[str] = ""
    """What people call it, on boards and in figures: 'MoCo v3'. Empty: its entry point's name.

    A class does not take it from its base.
    """

    gives: ClassVar[frozenset[str]] = frozenset({"negatives", "example ids"})
    """What its contrasts hold: keys of :data:`GIFTS`."""

    pairs: ClassVar[bool] = False
    """Whether the pairing can be chosen, rather than being part of the method."""

    needs_labels: ClassVar[bool] = False
    """Whether it works only with tasks that give labels."""

    needs_distinct_views: ClassVar[bool] = False
    """Whether training destroys a pretrained encoder if views differ by dropout alone."""

    takes_negatives: ClassVar[bool] = False
    """Whether it uses a batch's hard negatives as candidates."""

    cautions: ClassVar[Mapping[str, str]] = {}
    """{modality: a known failure at the defaults, and the settings that avoid it}."""

    depends_on: ClassVar[tuple[str, ...]] = ()
    """Modules of other distributions that it calls. A cell is rerun when one of them changes."""

    @property
    def extra_views(self) -> int:
        """Return how many views it takes beyond the first two; they come in ``batch.further``."""
        return 0

    pairing = cast("str | None", None)
    """The chosen pairing: a setting of methods with ``pairs``. None leaves the choice to the loss
    or the task."""

    def attach(self, encoder: nn.Module, head: nn.Module, *, pairing: str) -> None:
        """Take the networks to train, and the pairing that suits loss and task.

        It is called once, before training, with torch's global generator seeded by the
        cell's ``init`` stream. A method makes its further networks here. The initial
        weights of ``encoder`` and ``head`` do not depend on the method.
        """
        self.encoder: nn.Module = encoder
        self.head: nn.Module = head
        self.used_pairing: str = self.pairing or pairing

    def project(self, view: Any) -> Float[Tensor, "n d"]:
        """Return the projections of ``view``: head(encoder(view))."""
        return self.represent_and_project(view)[1]

    def represent_and_project(self, view: Any) -> tuple[Tensor, Float[Tensor, "n d"]]:
        """Return the representations of ``view``, and their projections.

        Override it rather than :meth:`project`, which calls it.
        """
        return represent_and_project(self.encoder, self.head, view)

    @abstractmethod
    def forward(self, first: Any, second: Any, batch: Batch) -> Sequence[Contrast]:
        """Return the contrasts of one step; the objective is their mean loss.

        Args:
            first: the first view of the batch's data.
            second: the second view.
            batch: the batch itself, for its ids and labels, and for further views.
        """

    def after_step(self, step: int, steps: int) -> None:
        """Update state that is not trained by gradient, after each optimizer step.

        Args:
            step: how many steps were taken before this one: from 0 to ``steps`` - 1, as in
                :meth:`harness.losses.base.Loss.before_step`.
            steps: how many steps the cell takes in all.
        """
        del step, steps


class NoMethod(Method):
    """Hold the networks of a cell that is not trained."""

    def forward(self, first: Any, second: Any, batch: Batch) -> Sequence[Contrast]:
        """Return no contrast: there are no steps."""
        del first, second, batch
        return []


def misfit(method: Method, loss: Loss, task: Task | None = None) -> str | None:
    """Return why a method cannot train with a loss, on a task if one is given; None if it can.

    Args:
        method: the method that makes the contrasts.
        loss: the loss of the contrasts.
        task: the task whose batches become contrasts.
    """
    name = type(method).__name__
    missing = sorted(loss.needs - method.gives)
    if missing:
        lacks = " and ".join(f"{gift} ({GIFTS.get(gift, 'not known')})" for gift in missing)
        return f"{type(loss).__name__} needs {lacks}, which {name} does not give"
    if loss.pairing is not None and not method.pairs:
        return (
            f"{type(loss).__name__} is defined for the pairing {loss.pairing!r}, but the pairing "
            f"of {name} cannot be chosen"
        )
    if loss.pairing is not None and method.pairing not in (None, loss.pairing):
        return (
            f"{type(loss).__name__} is defined for the pairing {loss.pairing!r}, but {name} has "
            f"pairing={method.pairing!r}"
        )
    if task is None:
        return None
    if method.needs_labels and not task.labelled:
        return f"{name} needs labels, but the task gives none"
    if "labels" in loss.needs and not task.labelled:
        return f"{type(loss).__name__} needs labels, but the task gives none"
    if method.extra_views and not task.more_views:
        return f"{name} takes {method.extra_views} further views, but the task gives two"
    if task.hard_negatives and not method.takes_negatives:
        return f"the task gives hard negatives, but {name} cannot use them"
    if task.dropout_views and (method.needs_distinct_views or loss.needs_distinct_views):
        return (
            f"{name} with {type(loss).__name__} has no negatives, and the task's views differ by "
            "dropout alone: training would destroy the pretrained encoder"
        )
    return None


def without_candidates(anchors: Tensor, positives: Tensor, ids: Tensor) -> Contrast:
    """Return a contrast without candidates, for losses without negatives."""
    return Contrast(anchors, positives, anchors[:0], ids, ids[:0])
