"""The ``pytorch_optimizer`` library's LARS, as SimCLR uses it."""

from collections.abc import Iterable
from typing import Any

import torch

TRUST = 1e-3
"""SimCLR's trust coefficient."""


def lars(
    groups: Iterable[dict[str, Any]], *, lr: float, weight_decay: float, momentum: float
) -> torch.optim.Optimizer:
    """Return LARS: SGD whose every weight matrix has a rate of its own.

    With w a weight of two dimensions or more, g its gradient and d the weight decay:
    step = lr * TRUST * |w| / (|g| + d * |w|) * (g + d * w), then momentum. Biases and
    norms, which have one dimension, take plain SGD steps without weight decay.

    Args:
        groups: torch's parameter groups; a group's own settings come first.
        lr: SimCLR's is 0.3 times the batch size over 256.
        weight_decay: SimCLR's is 1e-6.
        momentum: SimCLR's is .9.

    References:
        You et al., Large batch training of convolutional networks, arXiv 1708.03888;
        Chen et al., SimCLR, arXiv 2002.05709.
    """
    # Imported here because it takes seconds, and few cells need it.
    from pytorch_optimizer.optimizer.lars import LARS

    optimizer: torch.optim.Optimizer = LARS(
        list(groups), lr=lr, weight_decay=weight_decay, momentum=momentum, trust_coefficient=TRUST
    )
    return optimizer
