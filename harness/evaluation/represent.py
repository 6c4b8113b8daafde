"""Encode many inputs, a batch at a time."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from harness.heads import representations_of
from harness.task import device_of, to_device


def represent(encoder: nn.Module, batches: Iterable[Any]) -> Float[np.ndarray, "n d"]:
    """Return the encoder's representations of all rows of ``batches``, on the CPU.

    Args:
        encoder: the encoder in eval mode, as a task's ``evaluate`` gets it.
        batches: the encoder's inputs; each batch is moved to its device.

    Returns:
        One row an input, in order, in float32, or in float64 if the encoder returns that.
    """
    device = device_of(encoder)
    rows = [representations_of(encoder, to_device(batch, device)) for batch in batches]
    kept = torch.cat([row if row.dtype == torch.float64 else row.float() for row in rows])
    representations: np.ndarray = kept.cpu().numpy()
    return representations
