"""Compute InfoNCE's exact loss over a whole population, and how well its maps serve tasks.

A map g takes a point to a vertex of the cube {-1, 1}^d. The coordinates of vertex number v
are 2 b - 1, where b are the bits of v. The setting is that of Parulekar et al., COLT 2023,
arXiv 2302.07920.
"""

import math
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray

STEP = 0.3
"""Step of the trapezoidal rule. The integrand is analytic, so the error is about e^{-pi^2 / STEP}.
"""

ROWS = 4096
"""How many distributions of negatives are integrated at a time."""


def vertices(dimension: int) -> Int[NDArray[np.int64], "v d"]:
    """Return the 2^d vertices of the cube, in the order of their numbers.

    >>> vertices(2).tolist()
    [[-1, -1], [1, -1], [-1, 1], [1, 1]]
    """
    bits = np.arange(2**dimension)[:, None] >> np.arange(dimension) & 1
    return 2 * bits - 1


def vertex_numbers(rows: Float[NDArray[np.floating], "n d"]) -> Int[NDArray[np.int64], " n"]:
    """Return the number of the vertex given by each row's signs; 0 counts as negative.

    >>> vertex_numbers(np.array([[0.3, -2.0], [-0.1, 0.1]])).tolist()
    [1, 2]
    """
    return (rows > 0) @ (1 << np.arange(rows.shape[1]))


def joint_masses(
    naturals: Int[NDArray[np.int64], " n"], augmented: Int[NDArray[np.int64], " n"], dimension: int
) -> Float[NDArray[np.float64], "v v"]:
    """Return the share of pairs (x, x+) with x at vertex v and x+ at vertex u, as [v, u]."""
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

    The l negatives are independent natural images. They have the distribution of x, the
    row sums of ``joint``; x+ has that of the column sums. Cosine losses divide by the
    length of the vertices, so their temperature is tau = 1 / (beta d).

    With h the Hamming distance, :math:`w_i = e^{-2\beta h(g, g^-_i)}` and
    :math:`a = e^{-2\beta h(g, g^+)}`, each term is :math:`\log(1 + \sum_i w_i / a)`. Its
    mean over the negatives is an integral (Frullani's), with
    :math:`\varphi(t) = E[e^{-t w} \mid g]`:

    .. math:: E \log\Big(a + \sum_i w_i\Big)
        = \int_0^\infty \frac{e^{-t} - e^{-a t} \varphi(t)^l}{t}\, dt

    The integral is computed by the trapezoidal rule in log t, to about 1e-13.

    Args:
        joint: mass of (g(x), g(x+)) over pairs of vertices, for any number of maps.
        beta: above 0.
        negatives: l, 1 or more.

    Returns:
        One loss per map, in nats.

    >>> round(float(population_loss(np.eye(4) / 4, beta=1.0, negatives=32)), 4)
    2.4058
    """
    shape, size = joint.shape[:-2], joint.shape[-1]
    joint = joint.reshape(-1, size, size)
    corners = vertices(size.bit_length() - 1)
    levels = np.arange(corners.shape[1] + 1)
    # There are far fewer distributions of x than maps: maps of one class often differ only in
    # their broken pairs.
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
    """Return E log(a + the sum of l weights w) for each a.

    ``shares`` holds the probabilities of a negative's distances, 0 to d, one row per
    distribution; a takes one value for each distance of the positive.
    """
    weights = np.exp(-2.0 * beta * np.arange(shares.shape[1]))
    lowest, highest = -30.0 - math.log(negatives), math.log(750.0 / weights[-1])
    nodes = np.exp(np.arange(lowest, highest, STEP))
    decays = np.exp(-np.outer(weights, nodes))
    parts = [shares[i : i + ROWS] for i in range(0, len(shares), ROWS)]
    # phi(t)^l does not depend on the positive, so it is computed once for all its distances.
    # The product with `decays` brings in the factors e^{-a t} and sums over t.
    moments = np.concatenate([(part @ decays) ** negatives @ decays.T for part in parts])
    expected: NDArray[np.float64] = STEP * (np.exp(-nodes).sum() - moments)
    return expected


def uniform_loss(dimension: int, *, beta: float, negatives: int) -> float:
    """Return the loss of a map that breaks no pair and gives each vertex the mass 2^-d.

    >>> [round(uniform_loss(d, beta=1.0, negatives=32), 4) for d in (2, 3, 4)]
    [2.4058, 1.8901, 1.4151]
    """
    joint = np.eye(2**dimension) / 2**dimension
    return float(population_loss(joint, beta=beta, negatives=negatives))


# How well a map serves tasks


def vertex_shares(
    numbers: Int[NDArray[np.int64], " n"], clusters: Int[NDArray[np.int64], " n"], dimension: int
) -> Float[NDArray[np.float64], "m v"]:
    """Return the share of each cluster's points that lies at each vertex; rows sum to 1."""
    counts = np.zeros((int(clusters.max()) + 1, 2**dimension))
    np.add.at(counts, (clusters, numbers), 1.0)
    shares: NDArray[np.float64] = counts / counts.sum(axis=1, keepdims=True)
    return shares


def vertex_entropy(masses: Float[NDArray[np.float64], " v"]) -> float:
    """Return the entropy of the vertices' masses, in bits; d if all masses are equal.

    >>> vertex_entropy(np.array([0.5, 0.5, 0.0, 0.0]))
    1.0
    """
    some = masses[masses > 0]
    return float(-(some * np.log2(some)).sum()) + 0.0  # Adding 0 turns -0.0 into 0.0.


def balanced_labellings(clusters: int) -> Int[NDArray[np.int64], "k m"]:
    """Return every labelling that gives half of the clusters 1 and the others -1.

    Of a labelling and its negative, only one is returned. If the number of clusters is odd,
    the smaller half gets 1.

    >>> balanced_labellings(4).tolist()
    [[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]
    """
    chosen = np.array(list(combinations(range(clusters), clusters // 2)))
    if clusters % 2 == 0:
        # These are the choices with the first cluster; the others are their complements.
        chosen = chosen[: len(chosen) // 2]
    labels = np.full((len(chosen), clusters), -1)
    np.put_along_axis(labels, chosen, 1, axis=1)
    return labels


def task_accuracies(
    fitted: Float[NDArray[np.float64], "m v"], scored: Float[NDArray[np.float64], "m v"]
) -> Float[NDArray[np.float64], " k"]:
    """Return the accuracy of the best head on each balanced labelling of the clusters.

    A head gives each vertex the label that most points at it have; all clusters weigh the
    same. :func:`constructed_head` is that head as a network. Chance, and collapse, are 1/2.

    Args:
        fitted: each cluster's share at each vertex, from the points that choose the head.
        scored: the same from the points that it is scored on.

    >>> apart, together = np.eye(4), np.eye(4)[[0, 0, 0, 0]]
    >>> task_accuracies(apart, apart).tolist(), task_accuracies(together, together).tolist()
    ([1.0, 1.0, 1.0], [0.5, 0.5, 0.5])
    """
    labels = balanced_labellings(len(fitted))
    # Shares are rounded sums of fractions; rounding must not decide ties.
    heads = np.where(labels @ fitted > 1e-9, 1, -1)
    accuracies: NDArray[np.float64] = 0.5 + 0.5 * (heads * (labels @ scored)).sum(axis=1) / len(
        fitted
    )
    return accuracies


def constructed_head(
    rows: Float[NDArray[np.floating], "n d"], labels: Int[NDArray[np.int64], "v *k"]
) -> Bool[NDArray[np.bool_], "n *k"]:
    r"""Apply the paper's two-layer ReLU head: return whether it gives a row the label 1.

    .. math:: f(z) = \sum_v a_v \operatorname{ReLU}(w_v \cdot z - (d - 2))

    The vertices are w, and their labels, -1 or 1, are a. At vertex z only z's own unit is
    above 0, namely 2. So the sign of f is z's label, for every labelling.

    >>> constructed_head(vertices(2) / 1.0, np.array([1, -1, -1, 1])).tolist()
    [True, False, False, True]
    """
    dimension = rows.shape[1]
    hidden = np.maximum(rows @ vertices(dimension).T - (dimension - 2), 0)
    positive: NDArray[np.bool_] = hidden @ labels > 0
    return positive
