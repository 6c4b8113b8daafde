"""BYOL: predict a momentum encoder's projection of the other view."""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import nn

from harness.contrast import Contrast
from harness.heads import MAX_LAYERS, mlp, output_width, project, projector_for
from harness.methods.base import Method, without_candidates
from harness.methods.momentum import follow, frozen_copy, rising_momentum
from harness.settings import Between
from harness.task import Batch


class BYOL(Method):
    """Predict from each view the momentum encoder's projection of the other.

    There are no negatives. Its loss is ``regression``.

    Args:
        momentum: how slowly the copy follows at the start; it rises to 1
            along half a cosine.
        projector: linear layers of its own projector, which replaces the task's head and has
            the head's widths; 2 in the paper, with BatchNorm. 0: keep the task's head.
        hidden: the predictor's hidden width; 0: twice the projections' width.

    Raises:
        InputError: if a setting is invalid.

    References:
        Grill et al., NeurIPS 2020, arXiv 2006.07733.
    """

    label = "BYOL"
    gives = frozenset({"stopped positives"})

    momentum: Annotated[float, Between(0, 1)] = 0.996
    projector: Annotated[int, Between(0, MAX_LAYERS)] = 2
    hidden: Annotated[int, Between(0)] = 0

    def attach(self, encoder: nn.Module, head: nn.Module, *, pairing: str) -> None:
        """Take the networks, copy them, and make the predictor."""
        head = projector_for(head, layers=self.projector)
        super().attach(encoder, head, pairing=pairing)
        width = output_width(head)
        self.predictor = mlp([width, self.hidden or 2 * width, width])
        self.target_encoder, self.target_head = frozen_copy(encoder), frozen_copy(head)

    def forward(self, first: Any, second: Any, batch: Batch) -> Sequence[Contrast]:
        """Return two contrasts: each view's predictions with the other's targets."""
        predictions = [self.predictor(self.project(view)) for view in (first, second)]
        with torch.no_grad():
            targets = [
                project(self.target_encoder, self.target_head, view) for view in (second, first)
            ]
        return [
            without_candidates(p, t, batch.ids) for p, t in zip(predictions, targets, strict=True)
        ]

    def after_step(self, step: int, steps: int) -> None:
        """Move the copies towards the trained networks."""
        momentum = rising_momentum(self.momentum, step, steps)
        follow(self.target_encoder, self.encoder, momentum)
        follow(self.target_head, self.head, momentum)
