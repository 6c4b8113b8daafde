"""MoCo: a queue of keys from a momentum encoder."""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from harness.contrast import Contrast, labelled
from harness.heads import output_width, project
from harness.methods.base import Method
from harness.methods.momentum import follow, frozen_copy
from harness.settings import Between
from harness.task import Batch


class MoCo(Method):
    """Contrast the first view with keys of the second, and with a queue of older keys.

    Keys come from a copy of encoder and head that follows them slowly and gets no
    gradient. Negatives are the queue's keys alone. The queue starts with random directions;
    after each step the batch's keys replace the oldest ones. (MoCo v2 is this with a
    two-layer head, tau = .2 and the views of SimCLR.) BatchNorm is not shuffled: the copy
    normalises the batch in its own order.

    Args:
        queue: how many keys it holds; 65536 in the paper.
        momentum: how slowly the copy follows.

    Raises:
        InputError: if a setting is invalid.

    References:
        He et al., CVPR 2020, arXiv 1911.05722; Chen et al. 2020, arXiv 2003.04297.
    """

    label = "MoCo"
    gives = frozenset({"negatives", "example ids", "labels"})
    queue_keys: Tensor
    queue_end: Tensor

    queue: Annotated[int, Between(1, 1_000_000)] = 4096
    momentum: Annotated[float, Between(0, 1)] = 0.999

    def setup(self) -> None:
        """Prepare to collect the keys of all batches of a step."""
        self._keys: list[Tensor] = []

    def attach(self, encoder: nn.Module, head: nn.Module, *, pairing: str) -> None:
        """Take the networks, copy them, and fill the queue with random directions."""
        super().attach(encoder, head, pairing=pairing)
        self.key_encoder, self.key_head = frozen_copy(encoder), frozen_copy(head)
        keys = normalize(torch.randn(self.queue, output_width(head)), dim=1)
        self.register_buffer("queue_keys", keys)
        self.register_buffer("queue_end", torch.zeros((), dtype=torch.int64))

    def forward(self, first: Any, second: Any, batch: Batch) -> Sequence[Contrast]:
        """Return one contrast: anchors, their keys as positives, the queue as candidates."""
        with torch.no_grad():
            keys = project(self.key_encoder, self.key_head, second)
        if self.training:
            self._keys.append(keys)
        queue = self.queue_keys.to(keys)
        ids = batch.ids.new_full((len(queue),), -1)
        contrast = Contrast(self.project(first), keys, queue, batch.ids, ids)
        return [labelled(contrast, batch.labels)]

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """Move the copies towards the trained networks, and put the step's keys into the queue."""
        del step, steps
        follow(self.key_encoder, self.encoder, self.momentum)
        follow(self.key_head, self.head, self.momentum)
        if not self._keys:
            return
        # If a step has more keys than the queue has places, keep the last ones.
        keys = normalize(torch.cat(self._keys), dim=1)[-self.queue :]
        places = (self.queue_end + torch.arange(len(keys), device=keys.device)) % self.queue
        self.queue_keys[places] = keys.to(self.queue_keys)
        self.queue_end.add_(len(keys)).remainder_(self.queue)
        self._keys = []
