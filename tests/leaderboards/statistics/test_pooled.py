"""One difference over data sets: against statsmodels, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from leaderboards.statistics.pooled import Pooled, pool


def test_equal_weights_are_a_t_test_of_the_data_sets_means() -> None:
    effects = [0.2, 0.5, -0.1, 0.4]
    found = pool(effects, [0.1, 0.1, 0.2, 0.1], 16)
    low, high = stats.t.interval(0.95, 3, np.mean(effects), stats.sem(effects))
    assert (found.mean, found.low, found.high) == pytest.approx((np.mean(effects), low, high))


def test_heterogeneity_is_statsmodels() -> None:
    effects, errors = [1.0, 0.0, 2.0, 4.0], [0.5, 0.5, 0.5, 0.5]
    theirs = combine_effects(np.array(effects), np.square(errors), method_re="iterated")
    found = pool(effects, errors, 16)
    assert found.tau == pytest.approx(math.sqrt(theirs.tau2))
    assert found.i2 == pytest.approx(theirs.i2)
    ahead = stats.t.isf(0.025, 3) * np.std(effects, ddof=1) * math.sqrt(1 + 1 / 4)
    assert found.next_high - found.mean == pytest.approx(ahead)


@pytest.mark.parametrize(("tau", "true"), [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3)])
def test_the_interval_and_the_next_data_sets_hold(tau: float, true: float) -> None:
    generator = np.random.default_rng(0)
    held, ahead, claimed = [], [], []
    for _ in range(600):
        means = true + tau * generator.normal(size=10)
        own = means[:9, None] + 0.4 * math.sqrt(2) * generator.normal(size=(9, 5))
        found = pool(own.mean(axis=1).tolist(), stats.sem(own, axis=1).tolist(), 36)
        held.append(found.low <= true <= found.high)
        ahead.append(found.next_low <= means[9] <= found.next_high)
        claimed.append(found.low > 0)
    assert np.mean(held) > 0.93
    assert np.mean(ahead) > 0.93
    if true:
        assert np.mean(claimed) > 0.85, "a difference of .3 on 9 data sets, 5 seeds, noise .4"


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=9), st.floats(0, 2))
def test_the_interval_holds_the_mean(effects: list[float], error: float) -> None:
    found = pool(effects, [error] * len(effects), 12)
    assert found.low <= found.mean + 1e-9 and found.mean <= found.high + 1e-9
    assert 0 <= found.i2 <= 1 and found.tau >= 0
    assert math.isnan(found.next_low) == (len(effects) < 3)


def test_one_data_set_has_its_own_interval() -> None:
    found = Pooled.of_one([1.0, 2.0, 3.0], 0.0, 0.05)
    assert (found.mean, found.low) == pytest.approx((2.0, -0.4841), abs=1e-4)
    assert math.isnan(Pooled.nothing(2).mean)
