"""Borrowed variance, for screening many losses at a few seeds: intervals that share their noise.

With 3 seeds a row's own variance is hardly known, and a family of 36 rows can find nothing below
ten points. Here each loss's variance is estimated from the residuals of the whole table, and
shrunk to that of the others. The price: pairing that is special to one loss is lost (a twin of the
baseline gets an interval 2 to 6 times as wide as its own), and where losses differ much in their
noise, a false finding comes in up to .11 of tables where .05 is meant. Use it to choose what to
run with more seeds, and never as a verdict.
"""

import math
from typing import NamedTuple

import numpy as np
from scipy.special import digamma, polygamma

from leaderboards.statistics.paired import ALPHA, Array

DRAWS = 20_000


class Borrowed(NamedTuple):
    """The standard errors of the mean differences, and how many of them a half-width is."""

    errors: Array
    limit: float


def borrowed(scores: Array, step: float = 0.0, alpha: float = ALPHA) -> Borrowed:
    r"""Return the errors of each row's mean difference to row 0, and their simultaneous limit.

    Residuals are scores less the means of their row and of their seed. A row's variance is the
    mean of its squared residuals, shrunk to the common prior of all rows (an inverse chi-squared
    whose centre and degrees of freedom are fitted to the logarithms); a difference has the sum of
    two. The limit is the 1 - alpha quantile of the largest |t|, by ``DRAWS`` draws of a generator
    of fixed seed.

    Args:
        scores: [rows, seeds], of one task; row 0 is the baseline. Two seeds and three rows at
            least.
        step: the resolution of a score, whose uniform error adds step^2 / 12 to each variance.
        alpha: one minus the level of the family.

    References:
        Smyth, "Linear models and empirical Bayes methods for assessing differential expression
        in microarray experiments", Statistical Applications in Genetics and Molecular Biology 3,
        2004: the prior.
    """
    rows, n = scores.shape
    rest = scores - scores.mean(axis=1, keepdims=True)
    rest -= rest.mean(axis=0)
    variances, freedom = _shrunk((rest**2).sum(axis=1) / ((n - 1) * (1 - 1 / rows)), n - 1)
    variances += step**2 / 12
    both = variances[0] + variances[1:]
    generator = np.random.default_rng(0)
    own = generator.standard_normal((DRAWS, rows - 1)) * np.sqrt(variances[1:])
    noise = own - generator.standard_normal((DRAWS, 1)) * math.sqrt(variances[0])
    scale = np.sqrt(freedom / generator.chisquare(freedom, DRAWS))
    largest = np.abs(noise / np.sqrt(both)).max(axis=1) * scale
    return Borrowed(np.sqrt(both / n), float(np.quantile(largest, 1 - alpha)))


def _shrunk(variances: Array, freedom: int) -> tuple[Array, float]:
    """Return variances shrunk to their common prior, and their degrees of freedom."""
    from scipy import optimize

    logs = np.log(np.maximum(variances, 1e-18)) - digamma(freedom / 2) + math.log(freedom / 2)
    excess = logs.var(ddof=1) - polygamma(1, freedom / 2)
    most, least = polygamma(1, 1e-3), polygamma(1, 1e4)
    if not least < excess < most:  # The variances differ no more than by chance: they are one.
        return np.full_like(variances, math.exp(logs.mean())), float(freedom * len(variances))
    prior = 2 * optimize.brentq(lambda half: polygamma(1, half) - excess, 1e-3, 1e4)
    centre = math.exp(logs.mean() + digamma(prior / 2) - math.log(prior / 2))
    shrunk = (prior * centre + freedom * variances) / (prior + freedom)
    return shrunk, min(prior + freedom, float(freedom * len(variances)))
