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
    ndtr,  # the normal distribution
    stdtr,  # Student's t distribution
    stdtrit,  # its quantiles
)

LEVEL = 0.95
ALPHA = 0.05
MIN_SEEDS = 3
"""Fewest seeds with which anything is claimed."""
MIN_BOOTSTRAP = 8
"""Fewest seeds with which a bootstrap interval or the ratio that pairing buys is shown."""
MAX_DECIDING = 1_000_000
"""The most seeds that :func:`seeds_to_decide` counts to."""
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
        rows = np.array([samples[i] for i in group] or empty)
        arguments = [np.array([values[i] for i in group]) for values in more]
        results.append(np.atleast_2d(figures(rows, *arguments)))
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


def paired_interval(
    differences: ArrayLike, step: ArrayLike = 0.0, alpha: ArrayLike = ALPHA
) -> Interval:
    r"""Return the mean difference and its t interval, wide enough for the score's resolution.

    .. math:: \bar d \pm t_{n-1, 1 - \alpha/2} \sqrt{\frac{s^2 + r^2 / 6}{n}}

    with s the standard deviation of the differences and r the resolution: one test item's share
    of a score. A score is then off by a uniform error within r/2, whose variance is r^2/12, and a
    difference has two of them. Equal differences have the interval of the resolution alone.
    NaN below two differences.

    Args:
        differences: [..., n], in the metric's unit.
        step: [...], the resolution r; NaN: unknown, counts as 0.
        alpha: [...], one minus the level of each interval.

    >>> np.round(paired_interval([1.0, 2.0, 3.0]), 4)  # As mean_interval.
    array([ 2.    , -0.4841,  4.4841])
    >>> np.round(paired_interval([0.0, 0.0, 0.0], step=5.0), 2)  # 3 seeds, 20 test items.
    array([ 0.  , -5.07,  5.07])
    """
    n, mean, error = _error(differences, step)
    reach = -stdtrit(n - 1, np.asarray(alpha) / 2) * error
    return Interval(mean, mean - reach, mean + reach)


def paired_p(differences: ArrayLike, step: ArrayLike = 0.0) -> Array:
    r"""Return the two-sided p-value at which :func:`paired_interval` begins to hold 0.

    .. math:: p = 2 \, P\left(T_{n-1} > |\bar d| \Big/ \sqrt{(s^2 + r^2 / 6) / n}\right)

    Assumed: independent normal differences. NaN below two differences, if one is NaN, or if all
    are equal: they are one observation, and say nothing of other seeds.

    >>> np.round(paired_p([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]]), 4)  # 1 - t / sqrt(t**2 + 2)
    array([0.0742,    nan])
    """
    n, mean, error = _error(differences, step)
    with np.errstate(divide="ignore", invalid="ignore"):  # The error may be 0.
        p = 2 * stdtr(n - 1, -np.abs(mean) / error)
    return np.where(constant(differences), math.nan, p)


def constant(differences: ArrayLike) -> NDArray[np.bool_]:
    """Return which samples hold two or more equal values, up to rounding.

    >>> constant([[1.0, 1.0, 1.0], [1.0, 2.0, 3.0]])
    array([ True, False])
    """
    samples = _samples(differences)
    if samples.shape[-1] < 2:
        return np.zeros(samples.shape[:-1], dtype=bool)
    found: NDArray[np.bool_] = _equal(samples)
    return found


def seeds_to_decide(
    differences: ArrayLike, margin: ArrayLike, step: ArrayLike = 0.0, alpha: ArrayLike = ALPHA
) -> Array:
    r"""Return the fewest pairs whose interval is narrower than the margin, whatever its mean.

    The smallest n of at least ``MIN_SEEDS`` with

    .. math:: t_{n-1, 1 - \alpha/2} \sqrt{(s^2 + r^2 / 6) / n} < m / 2

    Such an interval cannot hold both 0 and m, so it decides: better, worse or equivalent. Only
    the deviation of the differences enters, not their mean. NaN below two differences, without a
    margin, or if all are equal; infinite beyond a million.

    >>> seeds_to_decide([[0.0, 1.0, 2.0]], margin=[1.0])  # s = 1; (2 * 1.96)**2 = 15.4
    array([18.])
    """
    n, _, error = _error(differences, step)
    deviation = error * math.sqrt(n)
    margin = np.asarray(margin, dtype=np.float64)
    low = np.full(np.shape(deviation), float(MIN_SEEDS))
    high = np.full(np.shape(deviation), float(MAX_DECIDING))
    with np.errstate(invalid="ignore"):
        while (low < high).any():
            middle = (low + high) // 2
            wide = -stdtrit(middle - 1, np.asarray(alpha) / 2) * deviation / np.sqrt(middle)
            short = ~(wide < margin / 2)
            low, high = np.where(short, middle + 1, low), np.where(short, high, middle)
            low = np.minimum(low, high)
    low = np.where(low >= MAX_DECIDING, math.inf, low)
    return np.where(np.isnan(error) | np.isnan(margin) | constant(differences), math.nan, low)


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
    if a.size and a.shape != b.shape:
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


def _error(values: ArrayLike, step: ArrayLike) -> tuple[int, Array, Array]:
    """Return the size of the samples, their means, and the errors of the means.

    The errors hold the resolution's part: see :func:`paired_interval`.
    """
    n, mean, error = _summary(values)
    if n < 2:
        return n, mean, error
    own = np.nan_to_num(np.asarray(step, dtype=np.float64)) ** 2 / 6
    return n, mean, np.sqrt(error**2 + own / n)


def _equal(samples: Array) -> Any:
    """Return which samples consist of equal values, up to rounding."""
    return np.ptp(samples, axis=-1) <= ROUNDING


def _samples(values: ArrayLike) -> Array:
    """Return ``values`` as floats; a sample with a value that is not finite becomes all NaN."""
    samples = np.asarray(values, dtype=np.float64)
    return np.where(np.isfinite(samples).all(axis=-1, keepdims=True), samples, math.nan)
