"""The ``torch_geometric`` library itself, imported when it is first used."""

import warnings
from functools import cache
from typing import Any


@cache
def pyg() -> Any:
    """Return the library, with ``nn`` and ``utils``."""
    with warnings.catch_warnings():
        # PyG still asks for torch.jit.script when it is imported; nothing here uses it.
        warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
        import torch_geometric.nn
        import torch_geometric.utils

    return torch_geometric
