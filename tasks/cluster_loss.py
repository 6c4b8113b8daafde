"""InfoNCE's loss over a whole population, exactly, and what its maps are good for.

A map g takes a point to a vertex of the cube {-1, 1}^d. Vertex number v has the coordinates
2 b - 1 of its bits b. Source of the setting: Parulekar et al., COLT 2023, arXiv 2302.07920.
"""

import math
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

STEP = 0.3
"""Of the trapezoidal rule: its error is about e^{-pi^2 / STEP}, the integrand being analytic."""

ROWS = 4096
"""Distributions of negatives that are integrated over at a time."""


def vertices(dimension: int) -> Int[NDArray[np.int64], "v d"]:
    """Return the 2^d vertices of the cube, in the order of their numbers.

    >>> vertices(2).tolist()
    [[-1, -1], [1, -1], [-1, 1], [1, 1]]
    """
    bits = np.arange(2**dimension)[:, None] >> np.arange(dimension) & 1
    return 2 * bits - 1


def vertex_numbers(rows: Float[NDArray[np.floating], "n d"]) -> Int[NDArray[np.int64], " n"]:
    """Return the number of the vertex that each row's signs are; 0 counts as negative.

    >>> vertex_numbers(np.array([[0.3, -2.0], [-0.1, 0.1]])).tolist()
    [1, 2]
    """
    return (rows > 0) @ (1 << np.arange(rows.shape[1]))


def joint_masses(
    naturals: Int[NDArray[np.int64], " n"], augmented: Int[NDArray[np.int64], " n"], dimension: int
) -> Float[NDArray[np.float64], "v v"]:
    """Return the share of pairs (x, x+) of which x is at vertex v and x+ at vertex u."""
    size = 2**dimension
    counts = np.bincount(size * naturals + augmented, minlength=size * size)
    return (counts / len(naturals)).reshape(size, size)


def population_loss(
    joint: Float[NDArray[np.float64], "*maps v v"], *, beta: float, negatives: int
) -> Float[NDArray[np.float64], "*maps"]:
    r"""Return the population loss of maps into the cube, without sampling.

    .. math::
        L(g) = -\beta\, E[g \cdot g^+]
        + E \log\Big(e^{\beta g \cdot g^+} + \sum_{i \le l} e^{\beta g \cdot g^-_i}\Big)

    The l negatives are natural images, independent of everything: they have the
    distribution of x, the rows' sums of ``joint``, and x+ alone has that of the columns.
    Cosine losses divide by the vertices' length: their temperature is tau = 1 / (beta d).

    With h the Hamming distance, :math:`w_i = e^{-2\beta h(g, g^-_i)}` and
    :math:`a = e^{-2\beta h(g, g^+)}`, each term is :math:`\log(1 + \sum_i w_i / a)`, whose
    mean over the negatives is an integral (Frullani's), with
    :math:`\varphi(t) = E[e^{-t w} \mid g]`:

    .. math:: E \log\Big(a + \sum_i w_i\Big)
        = \int_0^\infty \frac{e^{-t} - e^{-a t} \varphi(t)^l}{t}\, dt

    taken by the trapezoidal rule in log t, to about 1e-13.

    Args:
        joint: mass of (g(x), g(x+)) over pairs of vertices, of any number of maps.
        beta: above 0.
        negatives: l, 1 or more.

    Returns:
        One loss a map, in nats.

    >>> round(float(population_loss(np.eye(4) / 4, beta=1.0, negatives=32)), 4)
    2.4058
    """
    shape, size = joint.shape[:-2], joint.shape[-1]
    joint = joint.reshape(-1, size, size)
    corners = vertices(size.bit_length() - 1)
    levels = np.arange(corners.shape[1] + 1)
    # Far fewer than maps: those of one class often differ in their broken pairs alone.
    naturals, which = np.unique(joint.sum(axis=2), axis=0, return_inverse=True)
    losses = np.zeros(len(joint))
    for vertex, corner in enumerate(corners):
        distances = (len(corner) - corners @ corner) // 2
        at = (distances[:, None] == levels).astype(np.float64)
        expected = _expected_logs(naturals @ at, beta, negatives) + 2.0 * beta * levels
        losses += (expected[which.ravel()] * (joint[:, vertex] @ at)).sum(axis=1)
    return losses.reshape(shape)


def _expected_logs(
    shares: NDArray[np.float64], beta: float, negatives: int
) -> Float[NDArray[np.float64], "n levels"]:
    """Return E log(a + sum of l w) for each a; ``shares`` are of a negative's distances."""
    weights = np.exp(-2.0 * beta * np.arange(shares.shape[1]))
    lowest, highest = -30.0 - math.log(negatives), math.log(750.0 / weights[-1])
    nodes = np.exp(np.arange(lowest, highest, STEP))
    decays = np.exp(-np.outer(weights, nodes))
    parts = [shares[i : i + ROWS] for i in range(0, len(shares), ROWS)]
    # Without the positive's factor e^{-a t}, which one phi^l shares with all distances.
    moments = np.concatenate([(part @ decays) ** negatives @ decays.T for part in parts])
    expected: NDArray[np.float64] = STEP * (np.exp(-nodes).sum() - moments)
    return expected


def uniform_loss(dimension: int, *, beta: float, negatives: int) -> float:
    """Return the loss of a map that keeps all pairs and gives each vertex the mass 2^-d.

    >>> [round(uniform_loss(d, beta=1.0, negatives=32), 4) for d in (2, 3, 4)]
    [2.4058, 1.8901, 1.4151]
    """
    joint = np.eye(2**dimension) / 2**dimension
    return float(population_loss(joint, beta=beta, negatives=negatives))


# What a map is good for


def vertex_shares(
    numbers: Int[NDArray[np.int64], " n"], clusters: Int[NDArray[np.int64], " n"], dimension: int
) -> Float[NDArray[np.float64], "m v"]:
    """Return the share of each cluster's points that lies at each vertex; rows sum to 1."""
    counts = np.zeros((int(clusters.max()) + 1, 2**dimension))
    np.add.at(counts, (clusters, numbers), 1.0)
    shares: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
    return shares


def vertex_entropy(masses: Float[NDArray[np.float64], " v"]) -> float:
    """Return the entropy of the vertices' masses, in bits; at most d, where all are equal.

    >>> vertex_entropy(np.array([0.5, 0.5, 0.0, 0.0]))
    1.0
    """
    some = masses[masses > 0]
    return float(-(some * np.log2(some)).sum()) + 0.0


def balanced_labellings(clusters: int) -> Int[NDArray[np.int64], "k m"]:
    """Return every labelling that gives half of the clusters 1 and the others -1.

    Up to its sign; of an odd number, the smaller half.

    >>> balanced_labellings(4).tolist()
    [[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]
    """
    chosen = np.array(list(combinations(range(clusters), clusters // 2)))
    if clusters % 2 == 0:
        chosen = chosen[: len(chosen) // 2]  # The first cluster is in these, and in no other.
    labels = np.full((len(chosen), clusters), -1)
    np.put_along_axis(labels, chosen, 1, axis=1)
    return labels


def task_accuracies(
    fitted: Float[NDArray[np.float64], "m v"], scored: Float[NDArray[np.float64], "m v"]
) -> Float[NDArray[np.float64], " k"]:
    """Return the accuracy of the best head on each balanced labelling of the clusters.

    A head gives each vertex a label: the one of most points at it, clusters weighing the
    same. :func:`constructed_head` is that head as a network. Chance, and collapse, are 1/2.

    Args:
        fitted: each cluster's share at each vertex, which the head is chosen on.
        scored: the same of the points that it is scored on.

    >>> apart, together = np.eye(4), np.eye(4)[[0, 0, 0, 0]]
    >>> task_accuracies(apart, apart).tolist(), task_accuracies(together, together).tolist()
    ([1.0, 1.0, 1.0], [0.5, 0.5, 0.5])
    """
    labels = balanced_labellings(len(fitted))
    # Shares are sums of fractions: a tie must not be decided by its rounding.
    heads = np.where(labels @ fitted > 1e-9, 1, -1)
    accuracies: NDArray[np.float64] = 0.5 + 0.5 * (heads * (labels @ scored)).sum(axis=1) / len(
        fitted
    )
    return accuracies


def constructed_head(
    rows: Float[NDArray[np.floating], "n d"], labels: Int[NDArray[np.int64], "v *k"]
) -> Bool[NDArray[np.bool_], "n *k"]:
    r"""Return the paper's two-layer ReLU head, read by its sign: whether a row's label is 1.

    .. math:: f(z) = \sum_v a_v \operatorname{ReLU}(w_v \cdot z - (d - 2))

    with the vertices as w and their labels, -1 or 1, as a. At vertex z only its own unit
    is above 0, at 2: the sign of f is z's label, whatever the labelling.

    >>> constructed_head(vertices(2) / 1.0, np.array([1, -1, -1, 1])).tolist()
    [True, False, False, True]
    """
    dimension = rows.shape[1]
    hidden = np.maximum(rows @ vertices(dimension).T - (dimension - 2), 0)
    positive: NDArray[np.bool_] = hidden @ labels > 0
    return positive
