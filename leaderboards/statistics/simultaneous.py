"""Simultaneous intervals of paired differences to one shared baseline.

The differences of a table's losses are one family: with the probability ``LEVEL``, every interval
of the family holds its true difference. The largest of |t| decides how wide they are, as in
Dunnett's test, but every row keeps the variance of its own paired differences.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ncfdtr, stdtrit

from leaderboards.statistics.paired import ALPHA, Array

CORRELATION = 0.5
"""Between the differences of two losses to one baseline, if all scores vary alike.

If the baseline varies much less than the losses do, they are less correlated, and the family's
error is above its level: .08 for 36 losses at 50 seeds, where .05 is meant.
"""
NODES = 80
"""Nodes of the quadrature over the shared noise; the integrand is even, so half are used."""


@cache
def _shared() -> tuple[Array, Array]:
    """Return the squares of a standard normal variable at quadrature nodes, and their weights."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(NODES)
    # An even function: the nodes above 0 are enough, with twice the weight.
    above = nodes > 0
    return nodes[above] ** 2, 2 * weights[above] / math.sqrt(2 * math.pi)


def family_error(alpha: ArrayLike, freedom: Sequence[int]) -> Array:
    r"""Return the probability that any t of a family is beyond its own two-sided level ``alpha``.

    .. math::
        1 - \int \varphi(u) \prod_i P\left(|T_i| \le t_{f_i, 1 - \alpha/2} \mid u\right) du,
        \quad T_i = (\sqrt{1 - \rho} \, e_i + \sqrt{\rho} \, u) / s_i

    u is the part of the noise that all differences share through the baseline, e_i a row's own,
    both standard normal, rho = ``CORRELATION``, and s_i^2 is chi-squared over its f_i degrees of
    freedom, independent between rows. Given u, T_i^2 / (1 - rho) is a noncentral F.

    Args:
        alpha: levels, in (0, 1).
        freedom: the degrees of freedom f_i of each row of the family, pairs - 1.

    >>> round(float(family_error(0.05, [9])), 6)  # A family of one.
    0.05
    >>> bool(0.05 < family_error(0.05, [9, 9]) < 1 - 0.95**2)  # Between one test and two apart.
    True
    """
    alpha = np.asarray(alpha, dtype=np.float64)
    squares, weights = _shared()
    apart = 1 - CORRELATION
    held = np.ones((*alpha.shape, len(squares)))
    for f in sorted(set(freedom)):
        limit = stdtrit(f, alpha / 2)[..., None] ** 2 / apart
        inside = ncfdtr(1, f, squares * CORRELATION / apart, limit)
        # scipy returns NaN where the probability is 0 or 1 up to rounding.
        inside = np.where(np.isnan(inside), limit > squares * CORRELATION / apart, inside)
        held *= inside ** list(freedom).count(f)
    return np.clip(1 - held @ weights, 0.0, 1.0)


def family_alpha(freedom: Sequence[int], error: float = ALPHA) -> float:
    """Return the level of each test at which a family's error is ``error``.

    >>> round(family_alpha([4] * 8), 5)
    0.00663
    """
    if len(freedom) < 2:
        return error
    return _solved(tuple(sorted(freedom)), error)


@cache
def _solved(freedom: tuple[int, ...], error: float) -> float:
    low, high = math.log(error / len(freedom)), math.log(error)  # Bonferroni's level is too small.
    for _ in range(40):
        middle = (low + high) / 2
        above = family_error(math.exp(middle), freedom) > error
        low, high = (low, middle) if above else (middle, high)
    return math.exp(low)


def adjusted(p_values: Sequence[float], freedom: Sequence[int]) -> list[float]:
    """Return the p-values of the largest |t|: the error of the family at each row's own p.

    A row's simultaneous interval leaves out 0 exactly if this is below ``ALPHA``. NaN stays NaN:
    equal differences have no p-value.

    >>> [round(p, 3) for p in adjusted([0.01, 0.2, float("nan")], [4, 4, 4])]
    [0.029, 0.452, nan]
    """
    p = np.asarray(p_values, dtype=np.float64)
    found = np.full(p.shape, math.nan)
    known = np.isfinite(p)
    # The smallest positive level keeps the quantile finite.
    found[known] = family_error(np.clip(p[known], 1e-300, 1 - 1e-12), freedom)
    return [float(value) for value in np.maximum(found, p)]
