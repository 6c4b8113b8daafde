"""Save nested states and weights as safetensors files; nothing is pickled.

All values that are not tensors stand as JSON in the file's header.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from harness.core.digests import Digest
from harness.core.files import replacing

PLAIN = (str, int, float, bool, type(None))


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
    with suppress(Exception):  # What is in a damaged or forged file may fail anywhere.
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
        # Save the strides too: fused optimizers assume, without a check, that a state has the
        # memory layout of its weights. `empty_like` on the device meta allocates nothing.
        return {"tensor": [name, torch.empty_like(value, device="meta").stride()]}
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, Mapping):  # Write pairs: JSON would turn keys that are numbers to texts.
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
    ((kind, content),) = value.items()
    if kind == "tensor":
        name, stride = content
        tensor = tensors[name]
        return torch.empty_strided(tensor.shape, stride, dtype=tensor.dtype).copy_(tensor)
    if kind == "items":
        return {key: _unpacked(item, tensors) for key, item in content}
    items = [_unpacked(item, tensors) for item in content]
    return tuple(items) if kind == "tuple" else items


def _digest(tree: str, tensors: Mapping[str, Tensor]) -> str:
    digest = Digest()
    digest.update((tree, dict(tensors)))
    return digest.hexdigest()
