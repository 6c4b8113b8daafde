"""How far the training has come, for losses with a schedule."""

import torch
from torch import Tensor

from harness.losses.base import Loss


class Scheduled(Loss):
    """Keep how far the training has come, for losses with a schedule.

    ``progress`` rises evenly from 0 at the first step to 1 at the last. It is a buffer, so that
    a checkpoint holds it. Name this class before the loss that it extends:
    ``class Mine(Scheduled, HCL)``.
    """

    progress: Tensor

    def setup(self) -> None:
        """Create the progress: 0 before the first step."""
        super().setup()
        self.register_buffer("progress", torch.zeros(()))

    def before_step(self, step: int, steps: int) -> None:
        """Note the progress."""
        self.progress.fill_(step / max(1, steps - 1))
