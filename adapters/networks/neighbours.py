"""Neighbourhoods of nodes: the part of a graph that their representations depend on.

PyG's samplers need pyg-lib or torch-sparse, compiled for one version of torch. This one
needs torch alone, runs on the CPU or a GPU, and draws from torch's global generator.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Links(NamedTuple):
    """A graph's edges, sorted by target node.

    Attributes:
        starts: the column of ``edges`` at which each node's edges begin; the last entry
            is the number of edges.
        edges: source and target, sorted by target.
    """

    starts: Int[Tensor, " n_and_1"]
    edges: Int[Tensor, "2 e"]


class Drawn(NamedTuple):
    """The edges drawn for one layer, from its inputs to its outputs.

    Attributes:
        inputs: the sending nodes and the outputs themselves, in ascending order.
        outputs: the index of each output among the inputs.
        edges: for each edge, the index of its input and the index of its output.
        scales: how many of the output's neighbours each edge stands for.
        numbers: the column of each edge in the graph's ``Links.edges``.
    """

    inputs: Int[Tensor, " s"]
    outputs: Int[Tensor, " t"]
    edges: Int[Tensor, "2 e"]
    scales: Float[Tensor, " e"]
    numbers: Int[Tensor, " e"]


class Hop(NamedTuple):
    """One layer's share of a view: a :class:`Drawn` from which edges were dropped.

    Attributes:
        edges: for each edge, the index of its input and the index of its output.
        scales: how many of the output's neighbours each edge stands for.
        outputs: the index of each output among the inputs.
        degrees: how many neighbours each input has in the whole view.
    """

    edges: Int[Tensor, "2 e"]
    scales: Float[Tensor, " e"]
    outputs: Int[Tensor, " t"]
    degrees: Float[Tensor, " s"]


class Sample(NamedTuple):
    """Features of the nodes that some anchors need, and a hop for each layer.

    The last hop's outputs are the anchors, in their order.
    """

    x: Float[Tensor, "s f"]
    hops: Sequence[Hop]


def by_target(edges: Int[Tensor, "2 e"], nodes: int) -> Links:
    """Return the edges sorted by target node."""
    edges = edges[:, edges[1].argsort(stable=True)]
    bounds = torch.arange(nodes + 1, device=edges.device)
    return Links(torch.searchsorted(edges[1].contiguous(), bounds), edges)


def spans(
    starts: Int[Tensor, " n"], counts: Int[Tensor, " n"]
) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
    """Return, for the ranges [start, start + count), each number's range and the numbers.

    >>> spans(torch.tensor([10, 20, 30]), torch.tensor([2, 0, 3]))
    (tensor([0, 0, 2, 2, 2]), tensor([10, 11, 30, 31, 32]))
    """
    owners = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    before = counts.cumsum(0) - counts
    return owners, torch.arange(len(owners), device=counts.device) + (starts - before)[owners]


def draw_without_replacement(sizes: Int[Tensor, " n"], count: int) -> Int[Tensor, "n k"]:
    """Draw ``count`` different numbers below each size, all sets equally likely.

    Robert Floyd's algorithm, with a row for each size: the i-th draw (from 0) is at most
    size - count + i, and this bound replaces the draw if that number was drawn before.

    Args:
        sizes: each at least ``count``.
        count: how many to draw.
    """
    drawn = torch.empty(len(sizes), count, dtype=torch.int64, device=sizes.device)
    for i in range(count):
        highest = sizes - count + i
        # In float64, because float32 cannot number the edges of a node that has many millions.
        share = torch.rand(len(sizes), dtype=torch.float64, device=sizes.device)
        pick = (share * (highest + 1)).long()
        taken = (drawn[:, :i] == pick[:, None]).any(dim=1)
        drawn[:, i] = torch.where(taken, highest, pick)
    return drawn


def draw(links: Links, anchors: Int[Tensor, " n"], *, fan_out: int, layers: int) -> list[Drawn]:
    """Draw up to ``fan_out`` neighbours of each anchor, of each of those, and so on.

    A node with more neighbours keeps ``fan_out`` of them, drawn without replacement. Each
    of these stands for degree / fan_out neighbours, so that a weighted sum over neighbours
    keeps its expectation (GraphSAGE, arXiv 1706.02216). Memory is bounded by
    anchors x (fan_out + 1)^layers rows, whatever the graph's size.

    Returns:
        One for each layer, the first layer's first. The first one's inputs are the nodes
        whose features are needed; the last one's outputs are the anchors in their order.
    """
    layered: list[Drawn] = []
    targets = anchors
    for _ in range(layers):
        starts = links.starts[targets]
        degrees = links.starts[targets + 1] - starts
        few = (degrees <= fan_out).nonzero().flatten()
        many = (degrees > fan_out).nonzero().flatten()
        owners, numbers = spans(starts[few], degrees[few])
        drawn = draw_without_replacement(degrees[many], fan_out) + starts[many][:, None]
        numbers = torch.cat([numbers, drawn.flatten()])
        # The target of each edge, as its index among the targets.
        places = torch.cat([few[owners], many.repeat_interleave(fan_out)])
        scales = torch.ones(len(numbers), device=anchors.device)
        scales[len(owners) :] = (degrees[many] / fan_out).repeat_interleave(fan_out)
        sources = links.edges[0, numbers]
        inputs = torch.unique(torch.cat([targets, sources]))
        edges = torch.stack([torch.searchsorted(inputs, sources), places])
        outputs = torch.searchsorted(inputs, targets)
        # From the anchors backwards: the last layer is drawn first.
        layered.insert(0, Drawn(inputs, outputs, edges, scales, numbers))
        targets = inputs
    return layered


def rows(x: Float[Tensor, "n f"], nodes: Int[Tensor, " s"]) -> Float[Tensor, "s f"]:
    """Return some rows of a matrix, without reading the others if it is sparse.

    Args:
        x: dense, or sparse and coalesced.
        nodes: the rows, in ascending order.
    """
    if not x.is_sparse:
        return x[nodes]
    first = x.indices()[0]
    starts = torch.searchsorted(first, nodes)
    owners, places = spans(starts, torch.searchsorted(first, nodes, right=True) - starts)
    kept = torch.stack([owners, x.indices()[1, places]])
    return torch.sparse_coo_tensor(
        kept,
        x.values()[places],
        (len(nodes), x.shape[1]),
        is_coalesced=True,
        check_invariants=False,
    )


def needed(
    matrix: Float[Tensor, "n n"], anchors: Int[Tensor, " a"], layers: int
) -> list[tuple[Float[Tensor, "t s"], Int[Tensor, " t"]]]:
    """Cut a coalesced sparse matrix down to what ``layers`` products with it need.

    Nothing is sampled: the anchors' rows of the result equal those of the whole product.

    Returns:
        For each product, the first one's first: the part of the matrix that is needed,
        and the index of each of its rows among its columns. The first has all columns.
    """
    size = matrix.shape[1]
    cuts: list[tuple[Tensor, Tensor]] = []
    wanted = anchors
    # Backwards: the columns that a product needs are the rows that the one before must give.
    for layer in reversed(range(layers)):
        row, column = matrix.indices()
        # The index of each column among the wanted rows, and later among the inputs.
        place = torch.full((size,), -1, device=row.device)
        place[wanted] = torch.arange(len(wanted), device=row.device)
        row = place[row]
        kept: Bool[Tensor, " e"] = row >= 0
        row, column, values = row[kept], column[kept], matrix.values()[kept]
        outputs, columns = wanted, size
        if layer:
            inputs = torch.unique(torch.cat([wanted, column]))
            place[inputs] = torch.arange(len(inputs), device=row.device)
            column, outputs, columns = place[column], place[wanted], len(inputs)
        shape = (len(wanted), columns)
        cut = torch.sparse_coo_tensor(
            torch.stack([row, column]), values, shape, check_invariants=False
        )
        cuts.insert(0, (cut.coalesce(), outputs))
        if layer:
            wanted = inputs
    return cuts
