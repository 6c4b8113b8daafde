"""Some nodes' neighbourhoods: the part of a graph that their representations need.

PyG's samplers need pyg-lib or torch-sparse, compiled for one version of torch; this
one is torch alone, on the CPU or a GPU, and draws from torch's global generator.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Links(NamedTuple):
    """A graph's edges by the node that they lead to.

    Attributes:
        starts: where each node's edges begin in the columns of ``edges``; the last is
            the number of edges.
        edges: source and target, sorted by target.
    """

    starts: Int[Tensor, " n_and_1"]
    edges: Int[Tensor, "2 e"]


class Drawn(NamedTuple):
    """The edges drawn for one layer, from its inputs to its outputs.

    Attributes:
        inputs: the nodes that send, in rising order, and the outputs themselves.
        outputs: the place of each output among the inputs.
        edges: which input sends to which output, both by their places in the layer.
        scales: how many of the output's neighbours each edge stands for.
        numbers: of each edge among the graph's.
    """

    inputs: Int[Tensor, " s"]
    outputs: Int[Tensor, " t"]
    edges: Int[Tensor, "2 e"]
    scales: Float[Tensor, " e"]
    numbers: Int[Tensor, " e"]


class Hop(NamedTuple):
    """What one layer is given of a view: as :class:`Drawn`, edges dropped.

    Attributes:
        edges: which input sends to which output, both by their places in the layer.
        scales: how many of the output's neighbours each edge stands for.
        outputs: the place of each output among the inputs.
        degrees: of each input, how many neighbours it has in the whole view.
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
    """Return the edges sorted by the node that they lead to."""
    edges = edges[:, edges[1].argsort(stable=True)]
    bounds = torch.arange(nodes + 1, device=edges.device)
    return Links(torch.searchsorted(edges[1].contiguous(), bounds), edges)


def spans(
    starts: Int[Tensor, " n"], counts: Int[Tensor, " n"]
) -> tuple[Int[Tensor, " m"], Int[Tensor, " m"]]:
    """Return the numbers from each start on, as many as its count, and whose they are.

    >>> spans(torch.tensor([10, 20, 30]), torch.tensor([2, 0, 3]))
    (tensor([0, 0, 2, 2, 2]), tensor([10, 11, 30, 31, 32]))
    """
    owners = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
    before = counts.cumsum(0) - counts
    return owners, torch.arange(len(owners), device=counts.device) + (starts - before)[owners]


def draw_without_replacement(sizes: Int[Tensor, " n"], count: int) -> Int[Tensor, "n k"]:
    """Draw ``count`` different numbers below each size, all sets equally likely.

    Robert Floyd's algorithm, a row for each size: the i-th draw is below
    size - count + i + 1; what was drawn before is replaced by the highest of these.

    Args:
        sizes: each at least ``count``.
        count: how many to draw.
    """
    drawn = torch.empty(len(sizes), count, dtype=torch.int64, device=sizes.device)
    for i in range(count):
        highest = sizes - count + i
        # In float64: float32 has no number for each edge of a node with many millions.
        share = torch.rand(len(sizes), dtype=torch.float64, device=sizes.device)
        pick = (share * (highest + 1)).long()
        taken = (drawn[:, :i] == pick[:, None]).any(dim=1)
        drawn[:, i] = torch.where(taken, highest, pick)
    return drawn


def draw(links: Links, anchors: Int[Tensor, " n"], *, fan_out: int, layers: int) -> list[Drawn]:
    """Draw up to ``fan_out`` neighbours of each anchor, of each of those, and so on.

    A node with more is left with ``fan_out`` of them, drawn without replacement, and each
    stands for degree / fan_out of them, so that a weighted sum over neighbours keeps its
    expectation (GraphSAGE, arXiv 1706.02216). Memory is bounded by
    anchors x (fan_out + 1)^layers rows, whatever the graph's size.

    Returns:
        One for each layer, the first layer's first: its inputs are the nodes whose
        features are needed, the last one's outputs the anchors in their order.
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
        places = torch.cat([few[owners], many.repeat_interleave(fan_out)])
        scales = torch.ones(len(numbers), device=anchors.device)
        scales[len(owners) :] = (degrees[many] / fan_out).repeat_interleave(fan_out)
        sources = links.edges[0, numbers]
        inputs = torch.unique(torch.cat([targets, sources]))
        edges = torch.stack([torch.searchsorted(inputs, sources), places])
        outputs = torch.searchsorted(inputs, targets)
        layered.insert(0, Drawn(inputs, outputs, edges, scales, numbers))
        targets = inputs
    return layered


def rows(x: Float[Tensor, "n f"], nodes: Int[Tensor, " s"]) -> Float[Tensor, "s f"]:
    """Return some rows of a matrix; of a coalesced sparse one without reading the others.

    Args:
        x: dense, or sparse and coalesced.
        nodes: in rising order.
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

    Nothing is drawn: the anchors' rows of the result are those of the whole product.

    Returns:
        For each product, the first one's first, the rows and columns that are needed,
        and the place of each row among the columns. The first has all columns.
    """
    size = matrix.shape[1]
    cuts: list[tuple[Tensor, Tensor]] = []
    wanted = anchors
    for layer in reversed(range(layers)):
        row, column = matrix.indices()
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
