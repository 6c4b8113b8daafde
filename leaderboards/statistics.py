"""Statistics of paired differences on one task: values in, figures out.

A difference is a loss's score minus the baseline's for the same seed, hence with the
same weights, batches and views: see :func:`pairing` for what that is worth. Below
``FEWEST`` seeds a board claims nothing, whatever a function here returns.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import stdtr, stdtrit  # Student's t: its distribution and quantiles

LEVEL = 0.95
ALPHA = 0.05
POWER = 0.8
ROPE = 0.5
"""Half the width of the region of practical equivalence, in points."""
FEWEST = 3
"""Seeds below which nothing is claimed."""
RESAMPLES = 4999
ROUNDING = 1e-9
"""Points: what scores that differ by the same number of test items differ by in float64."""


class Interval(NamedTuple):
    """A mean and the ends of its interval; NaN where there are too few values."""

    mean: float
    low: float
    high: float


class Posterior(NamedTuple):
    """Probabilities that the true difference lies above, in and below the region."""

    better: float
    equivalent: float
    worse: float


class Pairing(NamedTuple):
    """Variance of the difference of one pair, as it was run and had it not been paired."""

    paired: float
    unpaired: float


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    r"""Return the mean of ``values`` and its Student t interval.

    .. math:: \bar d \pm t_{n-1, (1+level)/2} \, s / \sqrt n

    with s the standard deviation (n - 1 in its denominator). One value has a mean
    and no interval; equal values have an interval of no width. Assumed: independent
    normal values. For n = 3, 5, 10 it covers .95 of the time then, and .88, .89, .90
    where the values are exponential.

    >>> interval = mean_interval([1.0, 2.0, 3.0])  # 4.3027 * 1 / sqrt(3) = 2.4841
    >>> round(interval.low, 4), interval.mean, round(interval.high, 4)
    (-0.4841, 2.0, 4.4841)
    """
    if not len(values):
        return Interval(math.nan, math.nan, math.nan)
    mean = float(np.mean(values))
    if not _enough(values):
        return Interval(mean, math.nan, math.nan)
    reach = float(stdtrit(len(values) - 1, (1 + level) / 2)) * _error(values)
    return Interval(mean, mean - reach, mean + reach)


def bootstrap_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    r"""Return the mean of ``values`` and its expanded percentile bootstrap interval.

    The ends are quantiles of the means of ``RESAMPLES`` resamples, not at (1 - level)/2
    but further out, which undoes that resamples spread too little where n is small:

    .. math:: \Phi\left(\mp \sqrt{n / (n-1)} \; t_{n-1, (1+level)/2}\right)

    Assumed: independent values, any distribution. The same values, in any order, give
    the same interval. One value has none; equal values have one of no width.

    It undercovers where n is small: it never leaves the range of the values, which
    holds the mean of a symmetric distribution only 1 - 2 / 2**n of the time. That range
    is what it returns at n = 2 (.50) and n = 3. How often it held the mean in 20,000
    draws at level .95, beside the other methods and Student's t:

    ======================  =====  =====  =====  =====  =====  =====
    values                  normal               exponential
    ----------------------  -------------------  -------------------
    n                       3      5      10     3      5      10
    ======================  =====  =====  =====  =====  =====  =====
    expanded (this)         .755   .922   .946   .699   .869   .903
    percentile              .754   .841   .904   .698   .785   .858
    basic                   .753   .842   .904   .671   .762   .835
    BCa                     .726   .840   .900   .678   .801   .872
    Student t               .950   .952   .952   .885   .884   .898
    ======================  =====  =====  =====  =====  =====  =====

    A studentized bootstrap covers more, but is no use here: resamples of equal values
    have no deviation, and at n = 3 they are a ninth of all, so that its ends are infinite.

    >>> bootstrap_interval([3.0, 1.0, 2.0])  # three values: their range
    Interval(mean=2.0, low=1.0, high=3.0)

    References:
        Hesterberg, "What Teachers Should Know about the Bootstrap", 2014,
        arXiv 1411.5279.
    """
    if not _enough(values):
        return mean_interval(values, level)
    n = len(values)
    wider = math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + level) / 2)
    found = stats.bootstrap(
        (np.sort(values),),
        np.mean,
        confidence_level=1 - 2 * float(stats.norm.sf(wider)),
        method="percentile",
        n_resamples=RESAMPLES,
        rng=0,
    )
    low, high = found.confidence_interval
    return Interval(float(np.mean(values)), float(low), float(high))


def paired_p(differences: Sequence[float]) -> float:
    r"""Return the two-sided p-value of the paired t-test that the mean difference is 0.

    .. math:: p = 2 \, P\left(T_{n-1} > \frac{|\bar d|}{s / \sqrt n}\right)

    Assumed: independent normal differences. It is below .05 exactly where the interval
    of :func:`mean_interval` leaves out 0. NaN below two differences, where one is NaN,
    or where all are equal and not 0: scores are counts of few test items, so three
    equal differences are no rare chance, and there is no deviation to judge them by.
    1 where all are 0.

    >>> round(paired_p([1.0, 2.0, 3.0]), 4)  # t = 2 sqrt(3); 1 - t / sqrt(t**2 + 2)
    0.0742
    """
    if not _enough(differences):
        return math.nan
    mean, error = float(np.mean(differences)), _error(differences)
    if error == 0:
        return 1.0 if mean == 0 else math.nan
    return float(2 * stdtr(len(differences) - 1, -abs(mean) / error))


def holm(p_values: Sequence[float]) -> list[float]:
    r"""Return Holm's adjusted p-values, in the order given.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1) \, p_{(j)})

    with m the number of p-values. Claiming what is at most alpha makes a false claim
    in at most a share alpha of families, however the tests depend on one another:
    losses that share a baseline do. NaN stays NaN and doesn't count.

    Raises:
        ValueError: a p-value is not in [0, 1].

    >>> [round(p, 2) for p in holm([0.01, 0.04, 0.03, float("nan")])]
    [0.03, 0.06, 0.06, nan]

    References:
        Holm, "A simple sequentially rejective multiple test procedure",
        Scandinavian Journal of Statistics 6, 1979.
    """
    p = np.asarray(p_values, dtype=np.float64)
    for value in p[(p < 0) | (p > 1)]:
        raise ValueError(
            f"`p_values` must be in [0, 1] or NaN: got {value}. Pass p-values, not statistics."
        )
    adjusted = np.full(len(p), math.nan)
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # NaN sorts last
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * p[order]))
    return [float(value) for value in adjusted]


def bayesian_t(differences: Sequence[float], rope: float = ROPE) -> Posterior:
    r"""Return the posterior mass of the mean difference above, in and below +-``rope``.

    .. math:: \mu \mid d \sim t_{n-1}\left(\bar d, s^2 / n\right)

    The Bayesian t-test under the prior 1 / sigma (flat in the mean). Assumed:
    independent normal differences, as those of separate seeds are; the correlation of
    overlapping training sets, which the reference corrects for, is 0 here. NaN below
    two differences or where one is NaN; equal differences have all mass on one answer.

    Raises:
        ValueError: ``rope`` is negative or not finite.

    >>> # With three values: P(T < t) = 1/2 + t / (2 sqrt(t**2 + 2)), here at sqrt(3), -3 sqrt(3).
    >>> posterior = bayesian_t([1.0, 2.0, 3.0], rope=1.0)
    >>> [round(mass, 4) for mass in posterior]
    [0.8873, 0.0952, 0.0175]

    References:
        Benavoli et al., "Time for a change: a tutorial for comparing multiple
        classifiers through Bayesian analysis", 2017, arXiv 1606.04316.
    """
    if not 0 <= rope < math.inf:
        raise ValueError(
            f"`rope` must be finite and at least 0: got {rope}. Pass a half-width in points."
        )
    if not _enough(differences):
        return Posterior(math.nan, math.nan, math.nan)
    mean, error = float(np.mean(differences)), _error(differences)
    if error == 0:
        return Posterior(0.0, 1.0, 0.0) if mean == 0 else Posterior(math.nan, math.nan, math.nan)
    better = float(stdtr(len(differences) - 1, (mean - rope) / error))
    worse = float(stdtr(len(differences) - 1, (-mean - rope) / error))
    return Posterior(better, max(0.0, 1 - better - worse), worse)


def seeds_needed(differences: Sequence[float], alpha: float = ALPHA, power: float = POWER) -> float:
    r"""Return the fewest pairs with which :func:`paired_p` finds the seen effect.

    The smallest n of at least 2 with

    .. math:: P\left(|T_{n-1}(\delta \sqrt n)| > t_{n-1, 1-\alpha/2}\right) \ge power,
        \quad \delta = \bar d / s

    and T noncentral t. Assumed: normal differences whose true mean and deviation are
    those seen; from few seeds that is a rough guess. Infinite where the mean is 0;
    NaN below two differences, where one is NaN, or where all are equal and not 0. Beyond
    a million it is the normal test's number, which is smaller by a few pairs.

    Raises:
        ValueError: ``alpha`` or ``power`` is not in (0, 1).

    >>> seeds_needed([0.0, 1.0, 2.0])  # delta = 1; the normal test needs (1.96 + .84)**2 = 7.8
    10.0

    References:
        Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, chapter 2.
    """
    for name, value in (("alpha", alpha), ("power", power)):
        if not 0 < value < 1:
            raise ValueError(f"`{name}` must be in (0, 1): got {value}. Pass .05 or .8, say.")
    if not _enough(differences):
        return math.nan
    mean, error = abs(float(np.mean(differences))), _error(differences)
    if error == 0 and mean != 0:
        return math.nan
    if mean == 0:
        return math.inf
    deviation = error * math.sqrt(len(differences))
    delta = min(mean / deviation, 1e4)  # beyond, 2 are enough, and scipy's series fails
    reach = max(0.0, float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))) / delta
    normal = reach * reach
    if normal > 1e6:
        return float(np.ceil(normal))
    numbers = range(2, 2 * math.ceil(normal) + 100)
    return float(numbers[bisect_left(numbers, power, key=lambda n: _power(n, delta, alpha))])


def pairing(scores: Sequence[float], baseline: Sequence[float]) -> Pairing:
    r"""Return the variance of a difference between runs of one seed, and of two seeds.

    .. math:: \mathrm{var}(a - b) \quad \text{and} \quad \mathrm{var}(a) + \mathrm{var}(b)

    both with n - 1. Their ratio is how many times more seeds the same precision would
    take without pairing; where a seed moves both alike it is large. NaN below two seeds.

    Raises:
        ValueError: ``scores`` and ``baseline`` differ in length.

    >>> pairing([1.0, 2.0, 6.0], [0.0, 1.0, 2.0])  # differences 1, 1, 4; 7 + 1
    Pairing(paired=3.0, unpaired=8.0)
    """
    if len(scores) != len(baseline):
        raise ValueError(
            f"`baseline` must have one score per seed of `scores`: got {len(baseline)} for "
            f"{len(scores)}. Keep the seeds that both have."
        )
    if not _enough(scores) or not _enough(baseline):
        return Pairing(math.nan, math.nan)
    apart = np.var(scores, ddof=1) + np.var(baseline, ddof=1)
    return Pairing(float(np.var(np.subtract(scores, baseline), ddof=1)), float(apart))


def _enough(values: Sequence[float]) -> bool:
    """Return whether there are two values at least and all are numbers."""
    return len(values) >= 2 and bool(np.isfinite(values).all())


def _error(values: Sequence[float]) -> float:
    """Return the standard error of the mean; 0 where values are equal, but for rounding."""
    if np.ptp(values) <= ROUNDING:
        return 0.0
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def _power(n: int, delta: float, alpha: float) -> float:
    """Return the power of the two-sided t-test with n pairs and mean / deviation delta.

    The square of a noncentral t is a noncentral F. It is taken because the lower tail
    of scipy's noncentral t is NaN here and there (1.17: 2 pairs, delta 20).
    """
    critical = -stdtrit(n - 1, alpha / 2)
    return float(stats.ncf.sf(critical**2, 1, n - 1, n * delta**2))
