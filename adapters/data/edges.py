"""Put edges into the form that all loaders of graphs return, and count those of a node."""

import torch
from jaxtyping import Float, Int
from torch import Tensor

DEGREES = 100
"""Columns of the one-hot degrees; the last stands for ``DEGREES`` - 1 edges and more."""


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


def one_hot_degrees(edges: Int[Tensor, "2 e"], nodes: int) -> Float[Tensor, "n f"]:
    """Return each node's number of edges, one-hot in ``DEGREES`` columns."""
    degrees = torch.bincount(edges[0], minlength=nodes).clamp(max=DEGREES - 1)
    return torch.nn.functional.one_hot(degrees, DEGREES).float()
