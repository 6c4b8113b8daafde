"""Statistics of paired differences on one task.

A difference is a loss's score minus the baseline's for the same seed, hence with the
same weights, batches and views: see :func:`pairing` for what that is worth. Below
``MIN_SEEDS`` seeds a board claims nothing, whatever a function here returns.

Values have the shape [..., n], with a sample of n along the last axis, so that one call
serves a board's thousand rows. Results have the shape [...]. :func:`of_samples` is for
samples of different sizes.
"""

import math
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Import scipy.special alone: importing scipy.stats takes longer than computing a board.
from scipy.special import (
    ncfdtr,  # the noncentral F distribution
    ndtr,  # the normal distribution
    ndtri,  # its quantiles
    stdtr,  # Student's t distribution
    stdtrit,  # its quantiles
)

LEVEL = 0.95
ALPHA = 0.05
POWER = 0.8
ROPE = 0.5
"""Half the width of the region of practical equivalence, in points."""
MIN_SEEDS = 3
"""Fewest seeds with which anything is claimed."""
RESAMPLES = 4999
DIGITS = 9
"""Decimals of a score in points that count; equal scores may differ by rounding beyond them."""
ROUNDING = 10.0**-DIGITS

Array = NDArray[np.float64]


class Interval(NamedTuple):
    """A mean and the ends of its interval; NaN if there are too few values."""

    mean: Array
    low: Array
    high: Array


class Posterior(NamedTuple):
    """Probabilities that the true difference lies above, in and below the region."""

    better: Array
    equivalent: Array
    worse: Array


class Pairing(NamedTuple):
    """Variance of a difference between two scores, with the seeds paired and unpaired."""

    paired: Array
    unpaired: Array


def of_samples(
    figures: Callable[..., NDArray[Any] | tuple[Array, ...]],
    samples: Sequence[Sequence[float]],
    *more: Sequence[Any],
) -> NDArray[Any]:
    """Return ``figures`` of samples of any sizes, [figures, samples], with one call per size.

    Args:
        figures: a function of this file.
        samples: the values of each sample.
        more: further arguments of ``figures``, with one value for each sample.

    >>> of_samples(mean_interval, [[1.0, 2.0, 3.0], [5.0]])[0]
    array([2., 5.])
    """
    by_size: dict[int, list[int]] = {}
    for index, sample in enumerate(samples):
        by_size.setdefault(len(sample), []).append(index)
    # Without samples, one call on an empty array still gives the right number of figures.
    groups = list(by_size.values()) or [[]]
    empty = np.empty((0, 0))
    results = []
    for group in groups:
        arguments = [np.array([values[i] for i in group] or empty) for values in (samples, *more)]
        results.append(np.atleast_2d(figures(*arguments)))
    # The results are in the order of the groups; put them back into the order of the samples.
    in_order = np.argsort(list(chain(*groups)))
    return np.concatenate(results, axis=1)[:, in_order]


def spread(values: ArrayLike) -> tuple[Array, Array]:
    """Return the mean and the standard deviation (n - 1) of ``values``; NaN below 1 and 2 values.

    >>> spread([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]])
    (array([2., 5.]), array([1., 0.]))
    """
    samples = _samples(values)
    n, undefined = samples.shape[-1], np.full(samples.shape[:-1], math.nan)
    return (
        samples.mean(axis=-1) if n > 0 else undefined,
        samples.std(axis=-1, ddof=1) if n > 1 else undefined,
    )


def mean_interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    r"""Return the mean of ``values`` and its Student t interval.

    .. math:: \bar d \pm t_{n-1, (1+level)/2} \, s / \sqrt n

    with s the standard deviation (n - 1 in its denominator). One value has a mean
    but no interval; equal values have an interval of no width. Assumed: independent
    normal values. It then holds the true mean .95 of the time; for exponential values and
    n = 3, 5, 10 it does so .88, .89, .90 of the time.

    >>> np.round(mean_interval([1.0, 2.0, 3.0]), 4)  # 4.3027 * 1 / sqrt(3) = 2.4841
    array([ 2.    , -0.4841,  4.4841])
    """
    n, mean, error = _summary(values)
    reach = stdtrit(n - 1, (1 + level) / 2) * error
    return Interval(mean, mean - reach, mean + reach)


def bootstrap_interval(values: ArrayLike, level: float = LEVEL) -> Interval:
    r"""Return the mean of ``values`` and its expanded percentile bootstrap interval.

    The ends are quantiles of the means of ``RESAMPLES`` resamples, not at (1 - level)/2
    but further out, because resamples of a small sample spread too little:

    .. math:: \Phi\left(\mp \sqrt{n / (n-1)} \; t_{n-1, (1+level)/2}\right)

    Assumed: independent values, any distribution. The same values, in any order, give
    the same interval. One value has none; equal values have one of no width.

    It undercovers if n is small: it never leaves the range of the values, which
    holds the mean of a symmetric distribution only 1 - 2 / 2**n of the time. At n = 2
    (.50) and n = 3 it is that range. The table says how often it held the mean in 20,000
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

    A studentized bootstrap covers more, but is of no use here: resamples of equal values
    have no deviation. At n = 3 they are a ninth of all, so that its ends are infinite.

    >>> np.array(bootstrap_interval([3.0, 1.0, 2.0]))  # three values: their range
    array([2., 1., 3.])

    References:
        Hesterberg, "What Teachers Should Know about the Bootstrap", 2014,
        arXiv 1411.5279.
    """
    n, mean, error = _summary(values)
    if n < 2:
        return Interval(mean, error, error)
    drawn = np.random.default_rng(0).integers(n, size=(RESAMPLES, n))
    # The expanded level, at whose quantiles the ends lie.
    wider = 1 - 2 * ndtr(-math.sqrt(n / (n - 1)) * stdtrit(n - 1, (1 + level) / 2))
    # Interpolate linearly between the sorted means, so that the ends equal those of
    # scipy.stats.bootstrap to the last digit.
    ends = np.array([(1 - wider) / 2, 1 - (1 - wider) / 2])
    place, share = np.divmod(ends * RESAMPLES + (1 - ends), 1)
    above = np.minimum(place.astype(int), RESAMPLES - 1)
    below = place.astype(int) - 1

    def ends_of(sample: Array) -> Array:
        means = np.sort(sample[drawn].mean(axis=-1))
        between: Array = (1 - share) * means[below] + share * means[above]
        return between

    # Resample one sample at a time: the resamples of a whole board would fill the memory. Sort
    # it first, so that the order of the values does not change the interval.
    low, high = np.moveaxis(np.apply_along_axis(ends_of, -1, np.sort(_samples(values))), -1, 0)
    return Interval(mean, low, high)


def paired_p(differences: ArrayLike) -> Array:
    r"""Return the two-sided p-value of the paired t-test that the mean difference is 0.

    .. math:: p = 2 \, P\left(T_{n-1} > \frac{|\bar d|}{s / \sqrt n}\right)

    Assumed: independent normal differences. It is below .05 exactly if the interval of
    :func:`mean_interval` leaves out 0. The exception is equal differences, which occur if
    scores count few test items. They have no deviation to compare the mean with, and get the
    p-value of the sign test, 2 / 2**n, or 1 if all are 0. NaN below two differences or if
    one is NaN.

    >>> # 1 - t / sqrt(t**2 + 2); 1 in 4.
    >>> np.round(paired_p([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]), 4)
    array([0.0742, 1.    , 0.25  ])
    """
    n, mean, error = _summary(differences)
    with np.errstate(divide="ignore", invalid="ignore"):  # The standard error may be 0.
        p = 2 * stdtr(n - 1, -np.abs(mean) / error)
    return np.where(error == 0, np.where(mean == 0, 1.0, 2.0 ** (1 - n)), p)


def holm(p_values: ArrayLike) -> list[float]:
    r"""Return Holm's adjusted p-values, in the order given.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (m - j + 1) \, p_{(j)})

    with m the number of p-values. If all results with an adjusted p-value of at most alpha
    are claimed, at most a share alpha of families has a false claim, however the tests
    depend on one another. Those of losses that share a baseline do. NaN stays NaN and
    does not count.

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
    order = np.argsort(p)[: np.count_nonzero(~np.isnan(p))]  # NaN sorts last.
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(factors * p[order]))
    return [float(value) for value in adjusted]


def bayesian_t(differences: ArrayLike, rope: float = ROPE) -> Posterior:
    r"""Return the posterior mass of the mean difference above, in and below +-``rope``.

    .. math:: \mu \mid d \sim t_{n-1}\left(\bar d, s^2 / n\right)

    The Bayesian t-test under the prior 1 / sigma (flat in the mean). Assumed:
    independent normal differences, as those of separate seeds are; the correlation of
    overlapping training sets, which the reference corrects for, is 0 here. NaN below
    two differences, if one is NaN, or if all are equal and not 0. If all are 0, all mass
    is in the region.

    Raises:
        ValueError: ``rope`` is negative or not finite.

    >>> # With three values: P(T < t) = 1/2 + t / (2 sqrt(t**2 + 2)), here at sqrt(3), -3 sqrt(3).
    >>> np.round(bayesian_t([1.0, 2.0, 3.0], rope=1.0), 4)
    array([0.8873, 0.0952, 0.0175])

    References:
        Benavoli et al., "Time for a change: a tutorial for comparing multiple
        classifiers through Bayesian analysis", 2017, arXiv 1606.04316.
    """
    if not 0 <= rope < math.inf:
        raise ValueError(
            f"`rope` must be finite and at least 0: got {rope}. Pass a half-width in points."
        )
    n, mean, error = _summary(differences)
    with np.errstate(divide="ignore", invalid="ignore"):  # The standard error may be 0.
        better = stdtr(n - 1, (mean - rope) / error)
        worse = stdtr(n - 1, (-mean - rope) / error)
    inside = np.maximum(0.0, 1 - better - worse)
    masses = ((better, 0.0), (inside, 1.0), (worse, 0.0))
    return Posterior(
        *(
            np.where(error == 0, np.where(mean == 0, without_any, math.nan), mass)
            for mass, without_any in masses
        )
    )


def seeds_needed(differences: ArrayLike, alpha: ArrayLike = ALPHA, power: float = POWER) -> Array:
    r"""Return the fewest pairs with which :func:`paired_p` detects the observed effect.

    The smallest n of at least 2 with

    .. math:: P\left(|T_{n-1}(\delta \sqrt n)| > t_{n-1, 1-\alpha/2}\right) \ge power,
        \quad \delta = \bar d / s

    and T noncentral t. Assumed: normal differences whose true mean and deviation are
    the observed ones; from few seeds that is a rough guess. Infinite if the mean is 0;
    NaN below two differences, if one is NaN, or if all are equal and not 0. Beyond a
    million it is the normal test's number, which is smaller by a few pairs.

    Raises:
        ValueError: ``alpha`` or ``power`` is not in (0, 1).

    >>> seeds_needed([[0.0, 1.0, 2.0]])  # delta = 1; the normal test needs (1.96 + .84)**2 = 7.8
    array([10.])

    References:
        Cohen, "Statistical Power Analysis for the Behavioral Sciences", 1988, chapter 2.
    """
    alpha = np.asarray(alpha, dtype=np.float64)
    for name, value in (("alpha", alpha), ("power", np.asarray(power))):
        if not ((value > 0) & (value < 1)).all():
            raise ValueError(f"`{name}` must be in (0, 1): got {value}. Pass .05 or .8, say.")
    n, mean, error = _summary(differences)
    # The mean or the standard error may be 0.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        # Above 1e4 two pairs are always enough, and scipy's series fails.
        delta = np.minimum(np.abs(mean) / (error * math.sqrt(n)), 1e4)
        normal = (np.maximum(0.0, ndtri(1 - alpha / 2) + ndtri(power)) / delta) ** 2
    # Bisect n for all samples at once, from 2 to a bound well above the normal test's number.
    countable = normal <= 1e6
    low, high = np.full((2, *np.shape(delta)), 2.0)
    high = np.where(countable, 2 * np.ceil(normal) + 100, low)
    while (low < high).any():
        middle = (low + high) // 2
        # The power is NaN if it is 1 up to rounding, and then counts as enough.
        too_few = _power(middle, delta, alpha) < power
        low, high = (
            np.where((low < high) & too_few, middle + 1, low),
            np.where((low < high) & ~too_few, middle, high),
        )
    pairs = np.where(mean == 0, math.inf, np.where(countable, low, np.ceil(normal)))
    return np.where(unjudged(differences), math.nan, pairs)


def unjudged(differences: ArrayLike) -> NDArray[np.bool_]:
    """Return which samples have no deviation to compare their mean with.

    Those have fewer than two values, a NaN, or equal values that are not 0.

    >>> unjudged([[1.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    array([ True, False, False])
    """
    _, mean, error = _summary(differences)
    result: NDArray[np.bool_] = np.isnan(error) | ((error == 0) & (mean != 0))
    return result


def pairing(scores: ArrayLike, baseline: ArrayLike) -> Pairing:
    r"""Return the variance of a difference between runs of one seed, and of two seeds.

    .. math:: \mathrm{var}(a - b) \quad \text{and} \quad \mathrm{var}(a) + \mathrm{var}(b)

    both with n - 1. Their ratio is how many times more seeds the same precision would
    take without pairing; it is large if a seed moves both scores alike. Equal differences
    have a variance of exactly 0, despite rounding. NaN below two seeds.

    Raises:
        ValueError: ``scores`` and ``baseline`` differ in length.

    >>> np.array(pairing([1.0, 2.0, 6.0], [0.0, 1.0, 2.0]))  # differences 1, 1, 4; 7 + 1
    array([3., 8.])
    """
    a, b = _samples(scores), _samples(baseline)
    if a.shape != b.shape:
        raise ValueError(
            f"`baseline` must have one score per seed of `scores`: got {b.shape[-1]} for "
            f"{a.shape[-1]}. Keep the seeds that both have."
        )
    if a.shape[-1] < 2:
        undefined = np.full(a.shape[:-1], math.nan)
        return Pairing(undefined, undefined)
    paired, *alone = (spread(values)[1] ** 2 for values in (a - b, a, b))
    return Pairing(np.where(_equal(a - b), 0.0, paired), alone[0] + alone[1])


def _summary(values: ArrayLike) -> tuple[int, Array, Array]:
    """Return the size of the samples, their means, and the standard errors of the means.

    An error is 0 if the values are equal up to rounding, and NaN below two values.
    """
    samples = _samples(values)
    n = samples.shape[-1]
    mean, deviation = spread(samples)
    if n < 2:
        return n, mean, deviation
    return n, mean, np.where(_equal(samples), 0.0, deviation / math.sqrt(n))


def _equal(samples: Array) -> Any:
    """Return which samples consist of equal values, up to rounding."""
    return np.ptp(samples, axis=-1) <= ROUNDING


def _samples(values: ArrayLike) -> Array:
    """Return ``values`` as floats; a sample with a value that is not finite becomes all NaN."""
    samples = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(samples).all(axis=-1, keepdims=True), samples, math.nan)


def _power(n: Array, delta: Array, alpha: Array) -> Array:
    """Return the power of the two-sided t-test with n pairs and mean / deviation delta.

    The square of a noncentral t is a noncentral F. The F is used because the lower tail
    of scipy's noncentral t is NaN for some arguments (1.17: 2 pairs, delta 20). The F is
    NaN if the power is 1 up to rounding.
    """
    critical = stdtrit(n - 1, alpha / 2)
    power: Array = 1 - ncfdtr(1, n - 1, n * delta**2, critical**2)
    return power
