"""Checkpoints: the state of a long cell, so that it resumes where it was stopped.

Each cell has one safetensors file: its header holds, as JSON, all that is not a tensor.
Nothing is pickled. No generator's state is saved: every step seeds its streams anew from the
cell's own key, so the number of steps done fixes the position of every generator and of the
data.
"""

import json
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from harness.digests import Digest
from harness.files import replacing

PLAIN = (str, int, float, bool, type(None))

log = logging.getLogger("harness")


class Stopped(Exception):
    """Raised in a cell that was asked to stop, once its state is saved or cannot be."""


class Checkpoints:
    """Save a cell's state at intervals and when it is asked to stop; load it again.

    Args:
        path: the checkpoint file; None saves nothing.
        every: seconds between two checkpoints; 0 saves only when asked to stop.

    Attributes:
        asked_to_stop: set by whoever wants the cell to save its state and stop.
        training: whether the cell is in its training steps, where its state can be saved.
        versions: of the libraries; a state saved under other versions is not loaded.
    """

    def __init__(self, path: Path | None = None, every: float = 0.0) -> None:
        self.asked_to_stop = False
        self.versions: dict[str, str] = {}
        self.start(path, every)

    def start(self, path: Path | None, every: float) -> None:
        """Switch to the next cell's file, and restart the clock."""
        self.path = path
        self.every = every
        self.training = False
        self._last = time.monotonic()

    def due(self) -> bool:
        """Return whether it is time to save."""
        if self.path is None:
            return False
        late = self.every > 0 and time.monotonic() - self._last >= self.every
        return late or self.asked_to_stop

    def save(self, state: Mapping[str, Any]) -> None:
        """Save ``state``; raise :class:`Stopped` if a stop was requested.

        If the disk is full or the state cannot be saved, the log says so; the checkpoint is
        lost, not the cell.
        """
        assert self.path is not None
        try:
            save(self.path, {"versions": self.versions, **state})
        except Exception as error:  # A plugin's state may be anything: a sparse tensor, say.
            log.warning("no checkpoint: %s: %s", type(error).__name__, error)
        self._last = time.monotonic()
        if self.asked_to_stop:
            raise Stopped

    def load(self, start: Any) -> dict[str, Any] | None:
        """Return the saved state, or None if it is missing, damaged or does not match.

        It matches if it was saved with the same ``start`` and versions of libraries.
        """
        if self.path is None:
            return None
        state = load(self.path)
        if state is None or (state.get("start"), state.get("versions")) != (start, self.versions):
            return None
        return state

    def forget(self) -> None:
        """Delete the checkpoint file, which is no longer needed."""
        if self.path is not None:
            with suppress(OSError):
                self.path.unlink()


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Write ``state``, a nesting of mappings, lists and tuples, to ``path``.

    Raises:
        TypeError: if a value is not a tensor, a number, a text or None.
        OSError: if it cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    tree = json.dumps(_packed(state, tensors))
    about = {"tree": tree, "digest": _digest(tree, tensors)}
    with replacing(path) as temporary:
        safetensors.torch.save_file(tensors, temporary, metadata=about)


def save_weights(module: nn.Module, path: Path) -> None:
    """Write a module's weights and buffers as safetensors, under their own names.

    Raises:
        OSError: if it cannot be written.
    """
    weights = {name: tensor.contiguous().clone() for name, tensor in module.state_dict().items()}
    with replacing(path) as temporary:
        safetensors.torch.save_file(weights, temporary)


def load(path: Path) -> dict[str, Any] | None:
    """Return the state in ``path``, or None if it is missing or damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
        with safetensors.safe_open(path, framework="pt") as file:
            about = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if about["digest"] == _digest(about["tree"], tensors):
            state: dict[str, Any] = _unpacked(json.loads(about["tree"]), tensors)
            return state
    return None


def _packed(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return ``value`` in JSON's types, with its tensors moved to ``tensors`` and numbered."""
    if isinstance(value, Tensor):
        name = str(len(tensors))
        # Tied weights share memory, which the format cannot express: write a copy of each.
        tensors[name] = value.detach().cpu().clone(memory_format=torch.contiguous_format)
        # Save the strides too: fused optimizers assume, unchecked, that a state is laid out in
        # memory like its weights.
        return {"tensor": [name, torch.empty_like(value, device="meta").stride()]}
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Mapping):  # Pairs, because JSON would turn number keys to texts.
        return {"items": [[_key(k), _packed(v, tensors)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        kind = "tuple" if isinstance(value, tuple) else "list"
        return {kind: [_packed(item, tensors) for item in value]}
    raise TypeError(
        f"A state must be made of tensors, numbers and texts in mappings, lists or tuples: got "
        f"{type(value).__name__}. Keep it in a buffer, or in plain values."
    )


def _key(key: Any) -> Any:
    if isinstance(key, str | int):
        return key
    raise TypeError(f"The keys of a state must be texts or whole numbers: got {key!r}.")


def _unpacked(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, held),) = value.items()
    if kind == "tensor":
        name, stride = held
        tensor = tensors[name]
        return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(tensor)
    if kind == "items":
        return {key: _unpacked(item, tensors) for key, item in held}
    items = [_unpacked(item, tensors) for item in held]
    return tuple(items) if kind == "tuple" else items


def _digest(tree: str, tensors: Mapping[str, Tensor]) -> str:
    digest = Digest()
    digest.update((tree, dict(tensors)))
    return digest.hexdigest()
