"""Parts shared by several methods: momentum copies, and scores with prototypes."""

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from harness.contrast import Contrast
from harness.losses.base import at_least_float32


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


@torch.no_grad()
def cosines(rows: Tensor, prototypes: Tensor) -> Tensor:
    """Return the scores of rows with prototypes, in float32 at least and without gradient."""
    with torch.autocast(rows.device.type, enabled=False):
        unit, directions = (normalize(at_least_float32(t), dim=1) for t in (rows, prototypes))
        return unit @ directions.T


def without_candidates(anchors: Tensor, positives: Tensor, ids: Tensor) -> Contrast:
    """Return a contrast without candidates, for losses without negatives."""
    return Contrast(anchors, positives, anchors[:0], ids, ids[:0])
