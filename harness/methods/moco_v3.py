"""MoCo v3: momentum keys of the batch, a predictor, both directions."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar

import torch
from torch import nn

from harness.contrast import Contrast, labelled
from harness.heads import MAX_LAYERS, mlp, output_width, project, projector_for
from harness.methods.base import Method
from harness.methods.momentum import follow, frozen_copy, rising_momentum
from harness.settings import Between
from harness.task import Batch


class MoCoV3(Method):
    """Contrast predictions of each view with momentum keys of the other, without a queue.

    Negatives are the keys of the batch's other examples. (The paper multiplies the
    loss by 2 tau, a factor that AdamW cancels.)

    Args:
        momentum: how slowly the copy follows at the start; it rises to 1
            along half a cosine.
        projector: linear layers of its own projector, which replaces the task's head and has
            the head's widths; 2 in the authors' code for ResNets, with BatchNorm, the last one
            without scale and shift. 0: keep the task's head.
        hidden: the predictor's hidden width; 0: twice the projections' width.

    Raises:
        InputError: if a setting is invalid.

    References:
        Chen et al., ICCV 2021, arXiv 2104.02057.
    """

    label = "MoCo v3"
    gives = frozenset({"negatives", "stopped positives", "example ids", "labels"})
    cautions: ClassVar[Mapping[str, str]] = {
        "sentence": "with its defaults and most losses it shows no sign of learning (53.8 to 57.1 "
        "on STS-B, untrained 56.1); `siamese` reaches 61"
    }

    momentum: Annotated[float, Between(0, 1)] = 0.99
    projector: Annotated[int, Between(0, MAX_LAYERS)] = 2
    hidden: Annotated[int, Between(0)] = 0

    def attach(self, encoder: nn.Module, head: nn.Module, *, pairing: str) -> None:
        """Take the networks, copy them, and make the predictor."""
        head = projector_for(head, layers=self.projector, last_norm=True)
        super().attach(encoder, head, pairing=pairing)
        width = output_width(head)
        self.predictor = mlp([width, self.hidden or 2 * width, width])
        self.key_encoder, self.key_head = frozen_copy(encoder), frozen_copy(head)

    def forward(self, first: Any, second: Any, batch: Batch) -> Sequence[Contrast]:
        """Return two contrasts: each view's predictions with the other's keys."""
        predictions = [self.predictor(self.project(view)) for view in (first, second)]
        with torch.no_grad():
            keys = [project(self.key_encoder, self.key_head, view) for view in (second, first)]
        return [
            labelled(Contrast(p, k, k, batch.ids, batch.ids), batch.labels)
            for p, k in zip(predictions, keys, strict=True)
        ]

    def after_step(self, step: int, steps: int) -> None:
        """Move the copies towards the trained networks."""
        momentum = rising_momentum(self.momentum, step, steps)
        follow(self.key_encoder, self.encoder, momentum)
        follow(self.key_head, self.head, momentum)
