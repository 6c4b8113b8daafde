"""Scores of projections with prototypes, which several methods learn."""

import torch
from torch import Tensor
from torch.nn.functional import normalize

from harness.losses.base import at_least_float32


@torch.no_grad()
def cosines(rows: Tensor, prototypes: Tensor) -> Tensor:
    """Return the scores of rows with prototypes, in float32 at least and without gradient."""
    with torch.autocast(rows.device.type, enabled=False):
        unit, directions = (normalize(at_least_float32(t), dim=1) for t in (rows, prototypes))
        return unit @ directions.T
