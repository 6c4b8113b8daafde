"""Digests of tensors, arrays and texts, nested in any way."""

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor


class Digest:
    """Fold tensors, arrays and texts, nested in any way, into one sha256.

    >>> digest_of({"x": torch.zeros(2)}) == digest_of({"x": torch.zeros(2)})
    True
    >>> digest_of(torch.zeros(2)) == digest_of(torch.zeros(1, 2))
    False
    """

    def __init__(self) -> None:
        self._hash = sha256()

    def update(self, value: Any) -> None:
        """Add ``value``: a tensor, array, text, number, None, or a nesting of them.

        Raises:
            TypeError: if it is something else. Give views as (named) tuples,
                lists or mappings of tensors.
        """
        if isinstance(value, Tensor) and value.is_sparse:
            value = value.coalesce()
            self._text(f"sparse {tuple(value.shape)}")
            self.update((value.indices(), value.values()))
        elif isinstance(value, Tensor):
            value = value.detach().cpu()
            if value.dtype == torch.bfloat16:  # NumPy lacks the type, so digest its bits.
                self._text("bfloat16")
                value = value.view(torch.int16)
            self.update(value.numpy())
        elif isinstance(value, np.ndarray | np.generic):
            value = np.asarray(value)
            self._text(f"array {value.dtype} {value.shape}")
            self._hash.update(np.ascontiguousarray(value).data)
        elif isinstance(value, Mapping):
            self._text(f"mapping {len(value)}")
            for name in sorted(value):
                self._text(str(name))
                self.update(value[name])
        elif value is None or isinstance(value, str | int | float):
            self._text(f"{type(value).__name__} {value!r}")
        elif isinstance(value, Sequence):
            self._text(f"sequence {len(value)}")
            for item in value:
                self.update(item)
        else:
            raise TypeError(
                f"A view must be made of tensors, texts and numbers in tuples, lists or "
                f"mappings: got {type(value).__name__}. Use a NamedTuple of tensors."
            )

    def hexdigest(self) -> str:
        """Return the first 32 hexadecimal digits of the digest so far."""
        return self._hash.hexdigest()[:32]

    def _text(self, text: str) -> None:
        # The length keeps ("ab", "c") and ("a", "bc") apart.
        self._hash.update(f"{len(text)}:{text}".encode())


def digest_of(value: Any) -> str:
    """Return the digest of one value: see :class:`Digest`."""
    digest = Digest()
    digest.update(value)
    return digest.hexdigest()
