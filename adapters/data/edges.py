"""The form in which all loaders of graphs return edges."""

import torch
from jaxtyping import Int
from torch import Tensor


def undirected(first: Tensor, second: Tensor, nodes: int) -> Int[Tensor, "2 e"]:
    """Return each edge once in each direction, sorted by source, without self-loops.

    >>> undirected(torch.tensor([2, 0, 1, 1]), torch.tensor([0, 2, 1, 0]), 3)
    tensor([[0, 0, 1, 2],
            [1, 2, 0, 0]])
    """
    is_edge = first != second
    first, second = first[is_edge], second[is_edge]
    # Write each pair as one number, so that `unique` sorts the pairs and removes duplicates.
    keys = torch.unique(torch.cat([first * nodes + second, second * nodes + first]))
    return torch.stack([keys // nodes, keys % nodes])
