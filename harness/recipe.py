"""The training settings that all tasks share."""

import math
from collections.abc import Iterable
from functools import partial
from typing import Annotated, Any

import torch

from harness.core.errors import require
from harness.optimizers import OPTIMIZERS
from harness.settings import Above, Between, Configured, OneOf

SCHEDULES = ("constant", "cosine", "linear")
PRECISIONS = ("float32", "bfloat16")


class Recipe(Configured):
    """Set a cell's number of steps, batch size, optimizer and learning rate schedule.

    Args:
        steps: how many steps a cell trains.
        epochs: how many times a cell goes through the training examples; 0: ``steps`` decides.
        batch_size: examples per batch, 2 or more; 0 means all examples.
        learning_rate: the optimizer's highest learning rate.
        weight_decay: the optimizer's weight decay.
        optimizer: ``adamw``, ``adam``, ``sgd`` or ``lars``; the last two have a momentum of .9.
        schedule: the learning rate after the warm-up: ``constant``, or down to 0 along
            half a ``cosine`` (arXiv 1608.03983) or a line (``linear``).
        warmup: the share of steps in which the rate rises linearly to its highest value.
        precision: the precision of training steps: ``bfloat16`` uses torch's autocast.
            The evaluation is in float32.
        accumulate: batches per step, whose objectives are averaged. A batch has no negatives
            from another one, so two batches of 128 do not equal one of 256.

    Raises:
        InputError: if a setting breaks its rule.
    """

    steps: Annotated[int, Between(1)] = 100
    epochs: Annotated[float, Between(0)] = 0.0
    batch_size: Annotated[int, Between(0)] = 256
    learning_rate: Annotated[float, Above(0)] = 1e-3
    weight_decay: Annotated[float, Between(0)] = 0.0
    optimizer: Annotated[str, OneOf(OPTIMIZERS)] = "adamw"
    schedule: Annotated[str, OneOf(SCHEDULES)] = "constant"
    warmup: Annotated[float, Between(0, 1)] = 0.0
    precision: Annotated[str, OneOf(PRECISIONS)] = "float32"
    accumulate: Annotated[int, Between(1)] = 1

    def setup(self) -> None:
        """Raise :class:`InputError` unless a batch holds negatives."""
        super().setup()
        require(
            self.batch_size != 1,
            "`batch_size` must be 0, for all examples, or 2 or more: got 1. An anchor's negatives "
            "are the other examples of its batch, and BatchNorm takes the batch's statistics.",
        )

    def make_optimizer(self, groups: Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
        """Return the optimizer that the setting ``optimizer`` names.

        Args:
            groups: torch's parameter groups: the networks' parameters without settings of
                their own, and the loss's parameters, if it has any, with their settings.
        """
        make = OPTIMIZERS[self.optimizer]
        return make(groups, lr=self.learning_rate, weight_decay=self.weight_decay)

    def make_scheduler(
        self, optimizer: torch.optim.Optimizer, steps: int
    ) -> torch.optim.lr_scheduler.LRScheduler | None:
        """Return the learning rate scheduler, or None for a constant rate.

        Args:
            optimizer: the optimizer whose learning rates it changes.
            steps: how many steps the cell trains.
        """
        if self.schedule == "constant" and not self.warmup:
            return None
        factor = partial(rate_at, steps=steps, warmup=self.warmup, schedule=self.schedule)
        return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)


def rate_at(step: int, *, steps: int, warmup: float, schedule: str) -> float:
    """Return the learning rate of step ``step`` as a share of the highest.

    >>> [round(rate_at(s, steps=4, warmup=0.5, schedule="linear"), 3) for s in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    >>> [round(rate_at(s, steps=4, warmup=0.0, schedule="cosine"), 3) for s in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising  # Step 0 has a rate above 0; the last of them has the full one.
    if schedule == "constant":
        return 1.0
    done = (step - rising) / max(1, steps - rising)
    return 1 - done if schedule == "linear" else (1 + math.cos(math.pi * done)) / 2
