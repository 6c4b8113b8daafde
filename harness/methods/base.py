"""What every method is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from harness.contrast import Contrast
from harness.task import Batch


class Method(nn.Module, ABC):
    """Turn two views of a batch into contrasts.

    A method is the same for every modality: a view is whatever the task's
    encoder takes. It owns the encoder and the head and any state beside them
    (a queue, a momentum encoder, a predictor), as sub-modules and buffers, so
    that all of it is trained, moved and checkpointed together.

    Every setting is a keyword argument of the constructor with a default.
    """

    encoder: nn.Module
    head: nn.Module
    pairing: str | None = None
    """The pairing asked for; None leaves the choice to the task."""

    def attach(self, encoder: nn.Module, head: nn.Module, *, pairing: str) -> None:
        """Take the networks to train, and the pairing that suits the task.

        Called once, before training, with torch's global generator seeded by the
        cell's ``init`` stream; further networks are made here.
        """
        self.encoder = encoder
        self.head = head
        self.pairing = self.pairing or pairing

    def project(self, view: Any) -> Float[Tensor, "n d"]:
        """Return the projections of ``view``: head(encoder(view))."""
        projections: Tensor = self.head(self.encoder(view))
        return projections

    @abstractmethod
    def forward(self, first: Any, second: Any, batch: Batch) -> Sequence[Contrast]:
        """Return the contrasts of one step; the objective is their mean loss.

        Args:
            first: the first view of the batch's data.
            second: the second view.
            batch: the batch itself, for its ids.
        """

    def after_step(self, step: int, steps: int) -> None:
        """Update state that is not trained by gradient, after each step."""
        del step, steps
