"""Proof that two cells are a pair: how each started, and what data it saw.

The start is the splits and the initial weights. The data seen are a chained digest of every
batch's ids and of the seed of its random stream, and digests of both views of some batches.
They are noted at marks, the steps 1, 2, 4, 8, ... and the last one, so that cells of
different lengths have marks in common. Between marks only ids are read: no view is copied
from a GPU.
"""

from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from typing import Any

import torch
from torch import Tensor, nn

from harness.core.digests import Digest, digest_of

SAMPLED = 16
"""How many weights of a network are recorded as numbers."""


def is_mark(step: int, steps: int) -> bool:
    """Return whether step number ``step`` of ``steps`` is a mark: a power of 2, or the last.

    >>> [step for step in range(1, 12) if is_mark(step, 11)]
    [1, 2, 4, 8, 11]
    """
    return step == steps or step & (step - 1) == 0


def chained(before: str, ids: Tensor, seed: int) -> str:
    """Return the digest of all batches so far: extend ``before`` by one batch.

    Args:
        before: the digest of the earlier batches; empty at first.
        ids: the batch's ids.
        seed: the seed of the random stream that the step draws its dropout masks from.

    >>> chained("", torch.tensor([3, 1]), 7) == chained("", torch.tensor([1, 3]), 7)
    False
    """
    content = ids.detach().cpu().to(torch.int64).contiguous().numpy().tobytes()
    return sha256(f"{before} {seed} ".encode() + content).hexdigest()[:32]


def start_of(
    splits: Iterable[Mapping[str, Iterable[object]]], networks: Mapping[str, nn.Module]
) -> dict[str, Any]:
    """Describe how a cell starts: its splits, and each network's shapes and weights.

    The digest of the weights serves cells of one type of machine. A sample of the weights is
    also recorded as numbers, because generators round differently on other machines.

    Args:
        splits: the task's divisions, each {split: its examples}.
        networks: {name: network}, before the first step.
    """
    divisions = [
        {name: [str(item) for item in items] for name, items in division.items()}
        for division in splits
    ]
    return {"splits": digest_of(divisions)} | {
        name: {
            "shapes": digest_of([(key, str(tuple(t.shape))) for key, t in _tensors(network)])[:16],
            "weights": digest_of(dict(_tensors(network))),
            "sample": _sample([t for _, t in _tensors(network) if t.is_floating_point()]),
        }
        for name, network in networks.items()
    }


class SeenViews:
    """Digest the views of one step, if it is a mark."""

    def __init__(self, marked: bool) -> None:
        self._digest = Digest() if marked else None

    def add(self, first: Any, second: Any) -> None:
        """Add the views of one batch."""
        if self._digest is not None:
            self._digest.update((first, second))

    def hexdigest(self) -> str:
        """Return the digest of the views added; empty between marks."""
        return "" if self._digest is None else self._digest.hexdigest()


def _tensors(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from network.state_dict().items()


def _sample(tensors: list[Tensor]) -> list[float]:
    """Return a sample of the values of ``tensors``, at evenly spaced positions."""
    total = sum(tensor.numel() for tensor in tensors)
    count = min(SAMPLED, total)
    # Positions count through all tensors as if they were laid end to end.
    positions = [total * number // count for number in range(count)]
    values, before = [], 0
    for tensor in tensors:
        flat = tensor.detach().reshape(-1)
        while positions and positions[0] < before + flat.numel():
            values.append(float(flat[positions.pop(0) - before]))
        before += flat.numel()
    return values
