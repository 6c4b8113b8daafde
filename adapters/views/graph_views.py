"""Views of a graph: edges dropped, feature columns zeroed, edges replaced by a diffusion.

Random choices are drawn from torch's global generator, on the device of the data.
"""

from collections.abc import Sequence
from math import exp
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from adapters.networks.neighbours import Drawn, Hop, Sample, rows
from adapters.networks.node_networks import Graph, Part, normalized

CENTRALITIES = ("degree", "pagerank", "eigenvector")
DIFFUSIONS = ("ppr", "heat")
DAMPING = 0.85
"""PageRank's damping factor."""
LEFT_OUT = 1e-4
"""Largest total weight of the powers that are left out of a diffusion's infinite series."""
COLUMNS = 512
"""Nodes whose diffusion is computed at a time."""


class Corruption(NamedTuple):
    """How to make one view of a graph.

    Attributes:
        edges: the graph's edges before any is dropped, undirected.
        weights: the weights of these edges; None: all are 1.
        drop_edges: chance that an edge is dropped: one for all edges, or one for each.
        mask_features: chance that a feature is zeroed in all nodes: one for all, or one for each.
        degrees: how many neighbours a node keeps on average.
    """

    edges: Int[Tensor, "2 e"]
    weights: Float[Tensor, " e"] | None
    drop_edges: float | Float[Tensor, " e"]
    mask_features: float | Float[Tensor, " f"]
    degrees: Float[Tensor, " n"]


def corruption(
    edges: Int[Tensor, "2 e"],
    nodes: int,
    drop_edges: float | Float[Tensor, " e"],
    mask_features: float | Float[Tensor, " f"],
    weights: Float[Tensor, " e"] | None = None,
) -> Corruption:
    """Return how to make a view, including the degrees that it keeps on average."""
    kept = (1 - drop_edges) * torch.ones(edges.shape[1], device=edges.device)
    degrees = torch.zeros(nodes, device=edges.device).index_add_(0, edges[1], kept)
    return Corruption(edges, weights, drop_edges, mask_features, degrees)


def whole_view(x: Float[Tensor, "n f"], how: Corruption) -> Graph | Part:
    """Return a corrupted copy of the whole graph.

    Both directions of an undirected edge are dropped together, as in GRACE's paper, arXiv
    2006.04131; its code drops each direction on its own.
    """
    edges, weights = dropped(how.edges, how.weights, how.drop_edges)
    x = masked(x, how.mask_features)
    return Graph(x, edges) if weights is None else Part(x, edges, weights, None)


def anchored_view(x: Float[Tensor, "n f"], how: Corruption, anchors: Int[Tensor, " a"]) -> Part:
    """Return the view of :func:`whole_view`, of which only the anchors' rows are needed."""
    view = whole_view(x, how)
    weights = view.weights if isinstance(view, Part) else None
    return Part(view.x, view.edges, weights, anchors)


def sampled_view(x: Float[Tensor, "n f"], how: Corruption, layers: Sequence[Drawn]) -> Sample:
    """Return drawn neighbourhoods with edges dropped and features masked.

    Whether an edge is dropped is drawn separately for each layer and direction. The whole
    view is never made, so a node's degree is the one that it would have there on average.

    Args:
        x: features of all nodes.
        how: how to make the view; ``layers`` were drawn from its edges.
        layers: the drawn neighbourhoods, the first layer's first.
    """
    hops = []
    for drawn in layers:
        share = how.drop_edges
        share = share[drawn.numbers] if isinstance(share, Tensor) else share
        kept = torch.rand(len(drawn.numbers), device=drawn.numbers.device) >= share
        degrees = how.degrees[drawn.inputs]
        hops.append(Hop(drawn.edges[:, kept], drawn.scales[kept], drawn.outputs, degrees))
    return Sample(masked(rows(x, layers[0].inputs), how.mask_features), tuple(hops))


def dropped(
    edges: Int[Tensor, "2 e"],
    weights: Float[Tensor, " e"] | None,
    share: float | Float[Tensor, " e"],
) -> tuple[Int[Tensor, "2 k"], Float[Tensor, " k"] | None]:
    """Drop each edge with its chance, and return the edges that are left.

    Both directions are dropped together: the draw for the one towards the higher node number
    decides. Self-loops stay.
    """
    if not isinstance(share, Tensor) and share == 0:
        return edges, weights
    # Draw for both directions, in this order, so that a seed drops the same edges as in PyG's
    # dropout_edge.
    kept = torch.rand(edges.shape[1], device=edges.device) >= share
    kept &= edges[0] < edges[1]
    forward, loops = edges[:, kept], edges[0] == edges[1]
    left = torch.cat([forward, forward.flip(0), edges[:, loops]], dim=1)
    if weights is None:
        return left, None
    return left, torch.cat([weights[kept], weights[kept], weights[loops]])


def masked(x: Float[Tensor, "n f"], share: float | Float[Tensor, " f"]) -> Float[Tensor, "n f"]:
    """Return ``x`` with each column zeroed with its chance."""
    if not isinstance(share, Tensor) and share == 0:
        return x
    kept = torch.rand(1, x.shape[1], device=x.device) >= share
    return x * kept.to(x.dtype)


def normalised(x: Float[Tensor, "n f"]) -> Float[Tensor, "n f"]:
    """Return features with each row divided by its sum, if that is above 1.

    As in PyG's NormalizeFeatures, the lowest feature of all nodes is subtracted first. In a
    sparse matrix it must be 0.
    """
    if not x.is_sparse:
        x = x - x.min()
        return x / x.sum(dim=1, keepdim=True).clamp(min=1)
    sums = x.sum(dim=1).to_dense().clamp(min=1)
    values = x.values() / sums[x.indices()[0]]
    return torch.sparse_coo_tensor(
        x.indices(), values, x.shape, is_coalesced=True, check_invariants=False
    )


def edge_chances(
    edges: Int[Tensor, "2 e"],
    centrality: Float[Tensor, " n"],
    mean: float,
    cut_off: float,
) -> Float[Tensor, " e"]:
    r"""Return GCA's chance of each edge to be dropped: the less central, the higher.

    .. math::
        s_{uv} = \log\Bigl(1 + \tfrac{\varphi(u) + \varphi(v)}{2}\Bigr), \qquad
        p_{uv} = \min\Bigl(\frac{s_\max - s_{uv}}{s_\max - \bar s}\, p,\; p_\tau\Bigr)

    Convention: the 1 inside the logarithm is the code's, not the paper's; both ends
    count, as in the paper for undirected graphs (the code takes the target's alone).

    Args:
        edges: undirected.
        centrality: of each node, 0 or above.
        mean: p, the average chance before the cut-off.
        cut_off: p_tau, the highest chance.

    References:
        Zhu et al. 2021, "Graph Contrastive Learning with Adaptive Augmentation",
        arXiv 2010.14945, equations 2 and 3.
    """
    return _chances((centrality[edges[0]] + centrality[edges[1]]) / 2, mean, cut_off)


def feature_chances(
    x: Float[Tensor, "n f"], centrality: Float[Tensor, " n"], mean: float, cut_off: float
) -> Float[Tensor, " f"]:
    r"""Return GCA's chance of each feature to be zeroed: the rarer in central nodes, the higher.

    .. math::
        s_i = \log\Bigl(1 + \sum_u |x_{ui}|\, \varphi(u)\Bigr), \qquad
        p_i = \min\Bigl(\frac{s_\max - s_i}{s_\max - \bar s}\, p,\; p_\tau\Bigr)

    Args:
        x: features, dense or sparse.
        centrality: of each node, 0 or above.
        mean: p, the average chance before the cut-off.
        cut_off: p_tau, the highest chance.

    References:
        Zhu et al. 2021, arXiv 2010.14945, equations 4 to 6.
    """
    size = torch.sparse.mm(x.abs().t(), centrality[:, None])[:, 0]
    return _chances(size, mean, cut_off)


def _chances(importance: Tensor, mean: float, cut_off: float) -> Tensor:
    scores = importance.log1p()
    spread = scores.max() - scores.mean()
    if spread <= 0:  # All are equally important.
        return torch.full_like(scores, min(mean, cut_off))
    return ((scores.max() - scores) / spread * mean).clamp(max=cut_off)


def centrality(edges: Int[Tensor, "2 e"], nodes: int, kind: str) -> Float[Tensor, " n"]:
    """Return how central each node is.

    ``degree``: its number of edges. ``pagerank``: damping .85, with a mean of 1 over the nodes.
    ``eigenvector``: the adjacency's leading eigenvector, of length 1.
    """
    import scipy.sparse
    from scipy.sparse.linalg import eigsh

    row, column = edges.cpu().numpy()
    adjacency = scipy.sparse.csr_matrix((np.ones(len(row)), (column, row)), (nodes, nodes))
    degrees = np.bincount(row, minlength=nodes).astype(float)
    if kind == "degree":
        values = degrees
    elif kind == "pagerank":
        values = _pagerank(adjacency, degrees)
    else:
        # ARPACK starts at a random vector unless one is given, and would then end at slightly
        # different values; start at the degrees.
        _, vectors = eigsh(adjacency, k=1, which="LA", v0=degrees + 1)
        values = np.abs(vectors[:, 0])
    return torch.from_numpy(values).float().to(edges.device)


def _pagerank(adjacency: Any, degrees: np.ndarray) -> np.ndarray:
    ranks = np.ones(len(degrees))
    while True:
        # A node without edges spreads its rank over all nodes.
        per_edge = np.where(degrees > 0, ranks / np.maximum(degrees, 1), 0)
        to_all = ranks[degrees == 0].sum() / len(ranks)
        new = 1 - DAMPING + DAMPING * (adjacency @ per_edge + to_all)
        if np.abs(new - ranks).max() < 1e-9:
            return np.asarray(new)
        ranks = new


def diffused(
    edges: Int[Tensor, "2 e"],
    nodes: int,
    kind: str,
    *,
    teleport: float = 0.2,
    time: float = 5.0,
    degree: int = 64,
) -> tuple[Int[Tensor, "2 k"], Float[Tensor, " k"]]:
    r"""Return a graph's diffusion as weighted edges, including self-loops.

    .. math::
        S = \sum_k \theta_k T^k, \qquad T = D^{-1/2} (A + I) D^{-1/2}

    theta_k is a (1 - a)^k for personalised PageRank (``ppr``) and exp(-t) t^k / k! for
    the ``heat`` kernel. The series is cut off where the weights left out sum to less than
    1e-4. Each column keeps its ``degree`` largest entries, and an entry that is kept in one
    direction is kept in both. Columns are computed in blocks: memory is linear in the
    nodes, while PyG's GDC inverts a dense n x n matrix.

    Args:
        edges: undirected, without self-loops.
        nodes: how many there are.
        kind: ``ppr`` or ``heat``.
        teleport: a, PageRank's chance to go back to the start.
        time: t, the heat kernel's.
        degree: entries of a column that are kept.

    References:
        Hassani and Khasahmadi 2020 (MVGRL), arXiv 2006.05582, equations 1 to 3;
        Gasteiger et al. 2019 (GDC), arXiv 1911.05485.
    """
    transition = normalized(edges, nodes)
    shares = _series(kind, teleport, time)
    columns, kept_rows, values = [], [], []
    for start in range(0, nodes, COLUMNS):
        block = torch.arange(start, min(start + COLUMNS, nodes), device=edges.device)
        power = torch.zeros(nodes, len(block), device=edges.device)
        power[block, torch.arange(len(block), device=edges.device)] = 1
        total = shares[0] * power
        for share in shares[1:]:
            power = torch.sparse.mm(transition, power)
            total += share * power
        largest = total.topk(min(degree, nodes), dim=0)
        columns.append(block.repeat(len(largest.values)))
        kept_rows.append(largest.indices.flatten())
        values.append(largest.values.flatten())
    row, column, value = (torch.cat(parts) for parts in (kept_rows, columns, values))
    row, column, value = (part[value > 0] for part in (row, column, value))
    # S is symmetric, so an entry that is kept in both directions has the same value twice, up
    # to rounding; take the larger one.
    keys = torch.cat([row * nodes + column, column * nodes + row])
    keys, inverse = torch.unique(keys, return_inverse=True)
    weights = value.new_zeros(len(keys)).scatter_reduce_(
        0, inverse, value.repeat(2), "amax", include_self=False
    )
    return torch.stack([keys // nodes, keys % nodes]), weights


def _series(kind: str, teleport: float, time: float) -> list[float]:
    """Return the weights of a diffusion's powers.

    >>> [round(share, 3) for share in _series("ppr", 0.5, 0.0)[:3]]
    [0.5, 0.25, 0.125]
    """
    shares = [teleport if kind == "ppr" else exp(-time)]
    while sum(shares) < 1 - LEFT_OUT:
        shares.append(shares[-1] * ((1 - teleport) if kind == "ppr" else time / len(shares)))
    return shares
