"""The ``torch_geometric`` library: graph encoders, on whole graphs and on parts of them."""

from abc import abstractmethod
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from adapters.networks.neighbours import Hop, Sample, needed
from adapters.networks.pyg_library import pyg

ACTIVATIONS = {"prelu": nn.PReLU, "relu": nn.ReLU, "elu": nn.ELU, "rrelu": nn.RReLU}
CHUNK = 1 << 16
"""Edges whose messages GAT holds at a time; with gradients, autograd keeps all of them."""


class Graph(NamedTuple):
    """Node features and directed edges: a view, as an encoder takes it.

    Features may be a coalesced sparse tensor: 1 in 80 of Cora's is not zero.
    """

    x: Float[Tensor, "n f"]
    edges: Int[Tensor, "2 e"]


class Part(NamedTuple):
    """A graph with edge weights, or with the anchors whose representations are needed.

    Attributes:
        x: as in :class:`Graph`.
        edges: likewise.
        weights: one an edge, above 0; None: all are 1.
        anchors: the nodes whose representations are needed; None: all.
    """

    x: Float[Tensor, "n f"]
    edges: Int[Tensor, "2 e"]
    weights: Float[Tensor, " e"] | None
    anchors: Int[Tensor, " a"] | None


class Messages(NamedTuple):
    """The weight of each of a layer's inputs in each of its outputs.

    Attributes:
        matrix: sparse and coalesced, a row an output, a column an input.
        outputs: the index of each output among the inputs; None: they are the same.
    """

    matrix: Float[Tensor, "t s"]
    outputs: Int[Tensor, " t"] | None


class Encoder(nn.Module):
    """Layers of message passing, each followed by its activation, as in GRACE's code.

    A whole :class:`Graph` gives one representation a node. A :class:`Part` gives only its
    anchors' rows of these, and computes no more than they need. A
    :class:`~adapters.networks.neighbours.Sample` gives an estimate of the anchors' rows.

    Without gradients, encoding n nodes and e edges takes at most
    4 n (features + 3 x the widest layer) + 48 e bytes, and GAT
    24 (n + e) heads + 8 x CHUNK x the widest layer more.

    Args:
        inputs: features of a node.
        hidden: width of all layers but the last.
        outputs: width of the last.
        layers: how many.
        activation: ``prelu`` (one slope a layer), ``relu``, ``elu``, or ``rrelu`` (a random
            slope an entry in training, their mean in evaluation).
    """

    def __init__(
        self, inputs: int, hidden: int, outputs: int, layers: int = 2, activation: str = "prelu"
    ) -> None:
        super().__init__()
        self.out_features = outputs
        widths = [inputs, *[hidden] * (layers - 1), outputs]
        self.layers = nn.ModuleList(self.layer(a, b) for a, b in pairwise(widths))
        self.activations = nn.ModuleList(ACTIVATIONS[activation]() for _ in self.layers)

    def forward(self, graph: Graph | Part | Sample) -> Float[Tensor, "n d"]:
        """Return one representation a node, or an anchor."""
        x = graph.x
        plan = self._plan(graph)
        for layer, activation, messages in zip(self.layers, self.activations, plan, strict=True):
            x = activation(self.step(layer, x, messages))
        return x

    def _plan(self, graph: Graph | Part | Sample) -> Sequence[Messages]:
        """Return the messages of each layer."""
        if isinstance(graph, Sample):
            return [Messages(self.drawn(hop), hop.outputs) for hop in graph.hops]
        weights, anchors = graph[2:] if isinstance(graph, Part) else (None, None)
        matrix = self.whole(graph.edges, weights, len(graph.x))
        if anchors is None:
            return [Messages(matrix, None)] * len(self.layers)
        return [Messages(*cut) for cut in needed(matrix, anchors, len(self.layers))]

    @abstractmethod
    def layer(self, inputs: int, outputs: int) -> nn.Module:
        """Return PyG's layer, which holds the parameters."""

    @abstractmethod
    def whole(
        self, edges: Int[Tensor, "2 e"], weights: Float[Tensor, " e"] | None, nodes: int
    ) -> Float[Tensor, "n n"]:
        """Return the messages' matrix of a whole graph."""

    @abstractmethod
    def drawn(self, hop: Hop) -> Float[Tensor, "t s"]:
        """Return the messages' matrix of drawn neighbours."""

    @abstractmethod
    def step(self, layer: Any, x: Float[Tensor, "s f"], messages: Messages) -> Tensor:
        """Return the output of ``layer``: one row an output node."""


class GCN(Encoder):
    """Graph convolutions (arXiv 1609.02907): h_i = sum_j w_ij / sqrt(d_i d_j) W x_j + b.

    The sum is over the neighbours and the node itself (w_ii = 1), d_i = sum_j w_ij. Drawn
    neighbours stand for all; the degrees are those of the whole view.
    """

    def layer(self, inputs: int, outputs: int) -> nn.Module:
        """Return PyG's layer."""
        layer: nn.Module = pyg().nn.GCNConv(inputs, outputs)
        return layer

    def whole(
        self, edges: Int[Tensor, "2 e"], weights: Float[Tensor, " e"] | None, nodes: int
    ) -> Float[Tensor, "n n"]:
        """Return the adjacency with self-loops, divided by the roots of both ends' degrees."""
        return normalized(edges, nodes, weights)

    def drawn(self, hop: Hop) -> Float[Tensor, "t s"]:
        """Return the same for drawn neighbours, each times the number that it stands for."""
        edges, weights = _with_outputs(hop.edges, hop.scales, hop.outputs)
        root = (hop.degrees + 1).rsqrt()
        weights = weights * root[edges[0]] * root[hop.outputs][edges[1]]
        return _matrix(edges, weights, len(hop.outputs), len(hop.degrees))

    def step(self, layer: Any, x: Float[Tensor, "s f"], messages: Messages) -> Tensor:
        """Return what GCNConv computes, as a product of matrices instead of a sum edge by edge."""
        out: Tensor = _spread(messages.matrix, x, layer.lin.weight) + layer.bias
        return out


class SAGE(Encoder):
    """GraphSAGE's mean (arXiv 1706.02216): h_i = W_1 mean_j x_j + W_2 x_i + b.

    The mean is over all neighbours or over the drawn ones, and weighted if edges have
    weights. It is 0 for a node without neighbours.
    """

    def layer(self, inputs: int, outputs: int) -> nn.Module:
        """Return PyG's layer."""
        layer: nn.Module = pyg().nn.SAGEConv(inputs, outputs)
        return layer

    def whole(
        self, edges: Int[Tensor, "2 e"], weights: Float[Tensor, " e"] | None, nodes: int
    ) -> Float[Tensor, "n n"]:
        """Return the adjacency, each row divided by its sum."""
        weights = torch.ones_like(edges[0], dtype=torch.float32) if weights is None else weights
        return _mean_matrix(edges, weights, nodes, nodes)

    def drawn(self, hop: Hop) -> Float[Tensor, "t s"]:
        """Return the same of drawn neighbours."""
        return _mean_matrix(hop.edges, hop.scales, len(hop.outputs), len(hop.degrees))

    def step(self, layer: Any, x: Float[Tensor, "s f"], messages: Messages) -> Tensor:
        """Return what SAGEConv computes."""
        weight: Tensor = layer.lin_r.weight  # Of the node itself; `lin_l` is its neighbours'.
        outputs = messages.outputs
        mean: Tensor = _spread(messages.matrix, x, layer.lin_l.weight) + layer.lin_l.bias
        if outputs is None:
            return mean + x @ weight.T
        if x.is_sparse:  # A sparse tensor's rows cannot be picked in any order.
            return mean + (x @ weight.T)[outputs]
        return mean + x[outputs] @ weight.T


class GAT(Encoder):
    """Graph attention (arXiv 1710.10903): h_i = sum_j a_ij W x_j + b, a head at a time.

    a_i = softmax over j of LeakyReLU(p . W x_i + q . W x_j), slope .2; j runs over the
    node itself and its neighbours, or the drawn ones. Edge weights are ignored. The heads'
    rows are concatenated in every layer.

    Args:
        inputs: features of a node.
        hidden: width of all layers but the last, all heads together.
        outputs: width of the last, all heads together.
        layers: how many.
        activation: as in :class:`Encoder`.
        heads: how many share a layer's width; must divide it.
    """

    def __init__(
        self,
        inputs: int,
        hidden: int,
        outputs: int,
        layers: int = 2,
        activation: str = "prelu",
        heads: int = 4,
    ) -> None:
        self.heads = heads
        super().__init__(inputs, hidden, outputs, layers, activation)

    def layer(self, inputs: int, outputs: int) -> nn.Module:
        """Return PyG's layer."""
        layer: nn.Module = pyg().nn.GATConv(inputs, outputs // self.heads, self.heads)
        return layer

    def whole(
        self, edges: Int[Tensor, "2 e"], weights: Float[Tensor, " e"] | None, nodes: int
    ) -> Float[Tensor, "n n"]:
        """Return the adjacency of zeros and ones, with a self-loop at each node."""
        edges, _ = pyg().utils.add_remaining_self_loops(edges, num_nodes=nodes)
        ones = torch.ones_like(edges[0], dtype=torch.float32)
        return _matrix(edges, ones, nodes, nodes)

    def drawn(self, hop: Hop) -> Float[Tensor, "t s"]:
        """Return the same of drawn neighbours."""
        edges, ones = _with_outputs(hop.edges, torch.ones_like(hop.scales), hop.outputs)
        return _matrix(edges, ones, len(hop.outputs), len(hop.degrees))

    def step(self, layer: Any, x: Float[Tensor, "s f"], messages: Messages) -> Tensor:
        """Return what GATConv computes."""
        values = layer.lin(x).view(len(x), layer.heads, layer.out_channels)
        targets, sources = messages.matrix.indices()
        outputs = values if messages.outputs is None else values[messages.outputs]
        of_target = (outputs * layer.att_dst).sum(-1)[targets]
        of_source = (values * layer.att_src).sum(-1)[sources]
        scores = functional.leaky_relu(of_target + of_source, layer.negative_slope)
        shares = pyg().utils.softmax(scores, targets, num_nodes=len(outputs))
        out = torch.zeros_like(outputs)
        # In chunks, because the messages of all edges at once would fill the memory.
        for start in range(0, len(targets), CHUNK):
            part = slice(start, start + CHUNK)
            sent = values[sources[part]] * shares[part, :, None]
            out.index_add_(0, targets[part], sent)
        merged: Tensor = out.flatten(1) + layer.bias
        return merged


NETWORKS = {"gcn": GCN, "gat": GAT, "sage": SAGE}


def normalized(
    edges: Int[Tensor, "2 e"], nodes: int, weights: Float[Tensor, " e"] | None = None
) -> Float[Tensor, "n n"]:
    """Return the sparse matrix that each layer of a GCN multiplies by.

    It is the adjacency with self-loops, each edge divided by the roots of both ends' degrees.
    """
    edges, weights = pyg().nn.conv.gcn_conv.gcn_norm(edges, weights, nodes)
    return _matrix(edges, weights, nodes, nodes)


def _matrix(
    edges: Int[Tensor, "2 e"], weights: Float[Tensor, " e"], targets: int, sources: int
) -> Float[Tensor, "t s"]:
    matrix = torch.sparse_coo_tensor(
        edges.flip(0),
        weights,
        (targets, sources),
        check_invariants=False,  # Explicit, because torch warns if this is left out.
    )
    return matrix.coalesce()


def _mean_matrix(
    edges: Int[Tensor, "2 e"], weights: Float[Tensor, " e"], targets: int, sources: int
) -> Float[Tensor, "t s"]:
    sums = weights.new_zeros(targets).index_add_(0, edges[1], weights)
    return _matrix(edges, weights / sums[edges[1]], targets, sources)


def _with_outputs(
    edges: Int[Tensor, "2 e"], weights: Float[Tensor, " e"], outputs: Int[Tensor, " t"]
) -> tuple[Int[Tensor, "2 m"], Float[Tensor, " m"]]:
    """Add an edge of weight 1 from each output to itself."""
    loops = torch.stack([outputs, torch.arange(len(outputs), device=outputs.device)])
    return torch.cat([edges, loops], dim=1), torch.cat([weights, weights.new_ones(len(outputs))])


def _spread(
    matrix: Float[Tensor, "t s"], x: Float[Tensor, "s f"], weight: Float[Tensor, "d f"]
) -> Float[Tensor, "t d"]:
    """Return ``matrix @ x @ weight.T``, in the order that takes fewer multiplications."""
    (targets, sources), (outputs, inputs) = matrix.shape, weight.shape
    edges = matrix._nnz()
    after = sources * inputs * outputs + edges * outputs
    before = edges * inputs + targets * inputs * outputs
    if x.is_sparse or after <= before:
        product: Tensor = torch.sparse.mm(matrix, functional.linear(x, weight))
        return product
    summed: Tensor = torch.sparse.mm(matrix, x)
    return summed @ weight.T
