"""The optimizers that a recipe can name."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch

MOMENTUM = 0.9
"""The momentum of SGD and LARS."""

TRUST = 1e-3
"""LARS's trust coefficient, the one that SimCLR uses."""

Groups = Iterable[dict[str, Any]]
"""Torch's parameter groups: the settings of a group override those of the optimizer."""


def adamw(groups: Groups, **rates: Any) -> torch.optim.Optimizer:
    """Return Adam with decoupled weight decay."""
    return torch.optim.AdamW(groups, fused=True, **rates)


def adam(groups: Groups, **rates: Any) -> torch.optim.Optimizer:
    """Return Adam, whose weight decay is part of the gradient."""
    return torch.optim.Adam(groups, fused=True, **rates)


def sgd(groups: Groups, **rates: Any) -> torch.optim.Optimizer:
    """Return stochastic gradient descent with a momentum of .9."""
    return torch.optim.SGD(groups, momentum=MOMENTUM, **rates)


def lars(groups: Groups, **rates: Any) -> torch.optim.Optimizer:
    """Return LARS: SGD that adapts the learning rate of each weight matrix.

    For a weight w of two dimensions or more, its gradient g and the weight decay d,
    step = lr * TRUST * |w| / (|g| + d * |w|) * (g + d * w), then momentum. Biases and the
    parameters of norms, which have one dimension, take plain SGD steps without weight decay.
    SimCLR uses a learning rate of .3 times the batch size over 256, and a weight decay of 1e-6.

    References:
        You et al., Large batch training of convolutional networks, arXiv 1708.03888;
        Chen et al., SimCLR, arXiv 2002.05709.
    """
    # Imported here because the import takes seconds and few cells need LARS.
    from pytorch_optimizer.optimizer.lars import LARS

    optimizer: torch.optim.Optimizer = LARS(
        list(groups), momentum=MOMENTUM, trust_coefficient=TRUST, **rates
    )
    return optimizer


OPTIMIZERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": adamw,
    "adam": adam,
    "sgd": sgd,
    "lars": lars,
}
"""{name: function that takes parameter groups, ``lr`` and ``weight_decay``}."""
