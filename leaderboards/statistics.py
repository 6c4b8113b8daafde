"""Statistics of paired differences."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

LEVEL = 0.95


class Interval(NamedTuple):
    """A mean and the ends of its interval; NaN where there are too few values."""

    mean: float
    low: float
    high: float


def mean_interval(values: Sequence[float], level: float = LEVEL) -> Interval:
    r"""Return the mean of ``values`` and its Student t interval.

    .. math:: \bar d \pm t_{n-1, (1+level)/2} \, s / \sqrt n

    with s the standard deviation (n - 1 in its denominator). One value has a mean
    and no interval; equal values have an interval of no width.

    >>> interval = mean_interval([1.0, 2.0, 3.0])  # 4.3027 * 1 / sqrt(3) = 2.4841
    >>> round(interval.low, 4), interval.mean, round(interval.high, 4)
    (-0.4841, 2.0, 4.4841)
    """
    if not len(values):
        return Interval(math.nan, math.nan, math.nan)
    mean = float(np.mean(values))
    if len(values) < 2:
        return Interval(mean, math.nan, math.nan)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    reach = float(stats.t.ppf((1 + level) / 2, len(values) - 1)) * error
    return Interval(mean, mean - reach, mean + reach)
