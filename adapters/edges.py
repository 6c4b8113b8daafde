"""Edges of graphs, as all loaders give them."""

import torch
from jaxtyping import Int
from torch import Tensor


def undirected(first: Tensor, second: Tensor, nodes: int) -> Int[Tensor, "2 e"]:
    """Return each pair in both directions, once, sorted, without self-loops.

    >>> undirected(torch.tensor([2, 0, 1, 1]), torch.tensor([0, 2, 1, 0]), 3)
    tensor([[0, 0, 1, 2],
            [1, 2, 0, 0]])
    """
    apart = first != second
    first, second = first[apart], second[apart]
    # One number for each pair, so that `unique` sorts the pairs and removes duplicates.
    keys = torch.unique(torch.cat([first * nodes + second, second * nodes + first]))
    return torch.stack([keys // nodes, keys % nodes])
