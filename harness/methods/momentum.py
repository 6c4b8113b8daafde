"""Momentum copies of networks."""

import copy
import math

import torch
from torch import nn


def frozen_copy(network: nn.Module) -> nn.Module:
    """Return a copy that gets no gradient: a momentum encoder at its start."""
    return copy.deepcopy(network).requires_grad_(False)


@torch.no_grad()
def follow(copied: nn.Module, network: nn.Module, momentum: float) -> None:
    """Move a copy's parameters towards the network's: m old + (1 - m) new.

    Buffers are left alone: a copy's BatchNorm keeps statistics of its own.
    """
    for old, new in zip(copied.parameters(), network.parameters(), strict=True):
        old.lerp_(new, 1 - momentum)


def rising_momentum(start: float, step: int, steps: int) -> float:
    """Return a momentum that goes from ``start`` to 1 along half a cosine.

    >>> [rising_momentum(0.5, step, 4) for step in (0, 2, 4)]
    [0.5, 0.75, 1.0]
    """
    return 1 - (1 - start) * (math.cos(math.pi * step / steps) + 1) / 2
