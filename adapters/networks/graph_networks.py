"""Batches of graphs, GraphCL's augmentations, and its encoder, a GIN.

An augmentation works on a whole batch at once, on the CPU or a GPU, and draws from
torch's global generator.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from adapters.data.graph_data import GraphSet
from adapters.networks.pyg_library import pyg


class GraphBatch(NamedTuple):
    """Some graphs side by side: a view, as an encoder takes it.

    Attributes:
        x: features, a node a row, grouped by graph.
        edges: both directions of each edge, with nodes numbered across the batch.
        sizes: number of nodes of each graph.
    """

    x: Float[Tensor, "n f"]
    edges: Int[Tensor, "2 e"]
    sizes: Int[Tensor, " g"]


class GIN(nn.Module):
    r"""A graph isomorphism network; it concatenates every layer's sum over the nodes.

    .. math::
        h_v^{(k)} = \operatorname{BN}(\operatorname{ReLU}(\operatorname{MLP}^{(k)}(
        (1 + \epsilon) h_v^{(k-1)} + \textstyle\sum_{u \sim v} h_u^{(k-1)}))), \qquad
        r = [\textstyle\sum_v h_v^{(1)}, \dots, \sum_v h_v^{(L)}]

    As in GraphCL's code: MLP is Linear - ReLU - Linear, the normalisation comes after
    the ReLU, and weights are drawn from Glorot's uniform distribution, biases zero.

    Args:
        inputs: features of a node.
        width: features of each layer; the representation has ``layers`` times as many.
        layers: number of convolutions.
        epsilon: weight of a node itself, above that of a neighbour. 1 is a self-loop
            on each node, which GraphCL's code adds.

    References:
        Xu et al., ICLR 2019, arXiv 1810.00826; You et al., NeurIPS 2020, arXiv 2010.13902.
    """

    def __init__(self, inputs: int, width: int, layers: int, epsilon: float = 0.0) -> None:
        super().__init__()
        self.out_features = width * layers
        widths = [inputs] + [width] * (layers - 1)
        self.convolutions = nn.ModuleList(
            pyg().nn.GINConv(
                nn.Sequential(nn.Linear(n, width), nn.ReLU(), nn.Linear(width, width)), eps=epsilon
            )
            for n in widths
        )
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for _ in widths)
        glorot(self)

    def forward(self, graphs: GraphBatch) -> Float[Tensor, "g d"]:
        """Return one representation a graph."""
        x, owner, layers = graphs.x, owners(graphs.sizes, len(graphs.x)), []
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x = norm(convolution(x, graphs.edges).relu())
            layers.append(pyg().nn.global_add_pool(x, owner, size=len(graphs.sizes)))
        return torch.cat(layers, dim=1)


def glorot(module: nn.Module) -> None:
    """Draw the weights of all linear layers from Glorot's uniform distribution."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.xavier_uniform_(part.weight)
            nn.init.zeros_(part.bias)


def take(graphs: GraphSet, index: Int[Tensor, " g"]) -> GraphBatch:
    """Return the graphs at ``index``, side by side, their nodes numbered from 0."""
    sizes, edge_sizes = graphs.sizes[index], graphs.edge_sizes[index]
    first_nodes = _starts(graphs.sizes)[index]
    nodes = _ranges(first_nodes, sizes)
    columns = _ranges(_starts(graphs.edge_sizes)[index], edge_sizes)
    # A graph's nodes move from their place in the set to their place in the batch.
    shift = torch.repeat_interleave(_starts(sizes) - first_nodes, edge_sizes)
    return GraphBatch(graphs.x[nodes], graphs.edges[:, columns] + shift, sizes)


def owners(sizes: Int[Tensor, " g"], items: int) -> Int[Tensor, " n"]:
    """Return the group of each item, for groups of ``sizes`` items that follow each other."""
    groups = torch.arange(len(sizes), device=sizes.device)
    return torch.repeat_interleave(groups, sizes, output_size=items)


def drop_nodes(graphs: GraphBatch, share: float, chosen: Bool[Tensor, " g"]) -> GraphBatch:
    """Drop a share of the nodes, and their edges, from each chosen graph."""
    owner = owners(graphs.sizes, len(graphs.x))
    return keep_nodes(graphs, ~_draw(owner, _amounts(graphs.sizes, share, chosen)))


def perturb_edges(graphs: GraphBatch, share: float, chosen: Bool[Tensor, " g"]) -> GraphBatch:
    """Drop a share of each chosen graph's edges, and add as many between random nodes.

    An edge that is drawn twice, or exists already, is kept once. GraphCL's published code
    only drops edges, and drops each direction of an edge on its own.
    """
    owner = owners(graphs.sizes, len(graphs.x))
    pairs = graphs.edges[:, graphs.edges[0] < graphs.edges[1]]
    group = owner[pairs[0]]
    amounts = _amounts(torch.bincount(group, minlength=len(graphs.sizes)), share, chosen)
    kept = pairs[:, ~_draw(group, amounts)]

    # A graph without edges has an amount of 0, so every `size` here is 2 or more.
    first, size = (
        torch.repeat_interleave(t, amounts) for t in (_starts(graphs.sizes), graphs.sizes)
    )
    one = _below(size)
    other = _below(size - 1)
    other = other + (other >= one)  # Any node of the graph but `one`, all equally likely.
    added = first + torch.stack([torch.minimum(one, other), torch.maximum(one, other)])
    keys = torch.cat([kept, added], dim=1)
    # Write each edge as one number, so that `unique` removes duplicates.
    keys = torch.unique(keys[0] * len(owner) + keys[1])
    low, high = keys // len(owner), keys % len(owner)
    return graphs._replace(edges=torch.stack([torch.cat([low, high]), torch.cat([high, low])]))


def mask_attributes(graphs: GraphBatch, share: float, chosen: Bool[Tensor, " g"]) -> GraphBatch:
    """Replace the features of a share of the nodes by Gaussian noise, mean .5, deviation .5."""
    owner = owners(graphs.sizes, len(graphs.x))
    masked = _draw(owner, _amounts(graphs.sizes, share, chosen))
    noise = 0.5 + 0.5 * torch.randn_like(graphs.x)
    return graphs._replace(x=torch.where(masked[:, None], noise, graphs.x))


def walk(graphs: GraphBatch, share: float, chosen: Bool[Tensor, " g"]) -> GraphBatch:
    """Keep the nodes that a random walk visits in each chosen graph: a share of them plus one.

    The walk starts at a random node. It ends early at a node without edges, or after as many
    steps as the graph has nodes.
    """
    sizes, edges = graphs.sizes, graphs.edges
    has_nodes = sizes > 0
    wanted = torch.where(chosen & has_nodes, _amounts(sizes, share, chosen) + 1, 0)
    neighbours = edges[1][edges[0].argsort()]
    degrees = torch.bincount(edges[0], minlength=len(graphs.x))
    first = _starts(degrees)
    # An empty graph has no node to start from: its index belongs to another graph, or to none.
    current = (_starts(sizes) + _below(sizes)).clamp(max=len(graphs.x) - 1)
    seen = torch.repeat_interleave(~chosen, sizes, output_size=len(graphs.x))
    seen[current[has_nodes]] = True
    steps, count = 0, torch.ones_like(sizes)
    # All graphs take a step at a time; `walking` says which have not ended.
    while bool((walking := (count < wanted) & (steps < sizes) & (degrees[current] > 0)).any()):
        # The clamp is for walks that ended at a node without edges, whose index may be too high.
        onward = (first[current] + _below(degrees[current])).clamp(max=len(neighbours) - 1)
        current = torch.where(walking, neighbours[onward], current)
        count += ~seen[current]
        seen[current[has_nodes]] = True
        steps += 1
    return keep_nodes(graphs, seen)


def keep_nodes(graphs: GraphBatch, kept: Bool[Tensor, " n"]) -> GraphBatch:
    """Return the graphs with only the kept nodes and the edges between them."""
    owner = owners(graphs.sizes, len(graphs.x))
    number = kept.cumsum(0) - 1  # The new number of each node that is kept.
    edges = number[graphs.edges[:, kept[graphs.edges].all(dim=0)]]
    return GraphBatch(
        graphs.x[kept], edges, torch.bincount(owner[kept], minlength=len(graphs.sizes))
    )


AUGMENTATIONS: Mapping[str, Callable[[GraphBatch, float, Bool[Tensor, " g"]], GraphBatch]] = (
    MappingProxyType(
        {
            "node-dropping": drop_nodes,
            "subgraph": walk,
            "edge-perturbation": perturb_edges,
            "attribute-masking": mask_attributes,
        }
    )
)
"""By name, in GraphCL's order: ``random2`` draws among the first two, and so on."""

VIEWS = ("identity", *AUGMENTATIONS, "random2", "random3", "random4")


def view(graphs: GraphBatch, name: str, *, share: float, subgraph: float) -> GraphBatch:
    """Return an augmented copy of a batch.

    Args:
        graphs: the batch.
        name: one of ``VIEWS``. ``random2``, ``random3`` and ``random4`` draw, for each
            graph, one of the first 2, 3 or 4 ``AUGMENTATIONS``, as GraphCL's code does.
        share: of the nodes dropped or masked, or of the edges dropped and added.
        subgraph: share of the nodes that a subgraph keeps.
    """
    names = list(AUGMENTATIONS)
    count = len(graphs.sizes)
    if name.startswith("random"):
        names = names[: int(name.removeprefix("random"))]
        drawn = torch.randint(len(names), (count,), device=graphs.sizes.device)
    elif name in AUGMENTATIONS:
        drawn = torch.full((count,), names.index(name), device=graphs.sizes.device)
    else:
        return graphs
    for number, augmentation in enumerate(names):
        # Each augmentation changes only the graphs that drew it.
        amount = subgraph if augmentation == "subgraph" else share
        graphs = AUGMENTATIONS[augmentation](graphs, amount, drawn == number)
    return graphs


def _draw(group: Int[Tensor, " n"], amounts: Int[Tensor, " g"]) -> Bool[Tensor, " n"]:
    """Return which items are drawn: ``amounts`` of each group, without replacement."""
    # Sort by group and, within a group, at random: then draw the first `amounts` of each. In
    # float64, so that the random part keeps its digits beside a large group number.
    order = (group + torch.rand(len(group), dtype=torch.float64, device=group.device)).argsort()
    sorted_group = group[order]
    starts = _starts(torch.bincount(group, minlength=len(amounts)))
    rank = torch.arange(len(group), device=group.device) - starts[sorted_group]
    drawn = torch.empty_like(group, dtype=torch.bool)
    drawn[order] = rank < amounts[sorted_group]
    return drawn


def _amounts(
    sizes: Int[Tensor, " g"], share: float, chosen: Bool[Tensor, " g"]
) -> Int[Tensor, " g"]:
    """Return a share of each chosen graph's size, rounded down, and 0 for the others."""
    # Without the 1e-6, a product that should be whole, such as .2 * 35, might lose one.
    return (sizes * share + 1e-6).floor().long() * chosen


def _below(bounds: Int[Tensor, " n"]) -> Int[Tensor, " n"]:
    """Return a random whole number from 0 up to, and not including, each bound."""
    drawn = torch.rand(len(bounds), dtype=torch.float64, device=bounds.device)
    return (drawn * bounds).long()


def _starts(sizes: Int[Tensor, " g"]) -> Int[Tensor, " g"]:
    """Return the index of each group's first item."""
    return sizes.cumsum(0) - sizes


def _ranges(starts: Int[Tensor, " g"], sizes: Int[Tensor, " g"]) -> Int[Tensor, " n"]:
    """Return the numbers of all ranges [start, start + size), one range after the other."""
    shift = torch.repeat_interleave(starts - _starts(sizes), sizes)
    return shift + torch.arange(len(shift), device=starts.device)
