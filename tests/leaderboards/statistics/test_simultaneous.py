"""The largest |t| of a family: against scipy's Dunnett test, brute force, and its own intervals."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from leaderboards.statistics.paired import paired_interval, paired_p
from leaderboards.statistics.simultaneous import adjusted, family_alpha, family_error

SIZES = st.lists(st.integers(1, 60), min_size=1, max_size=20)


@pytest.mark.parametrize("losses", [2, 4, 9])
def test_many_seeds_give_dunnetts_limit(losses: int) -> None:
    """With many seeds own and pooled variances are one, and Dunnett's test is the oracle."""
    groups = np.random.default_rng(0).normal(size=(losses + 1, 2000))
    found = stats.dunnett(*groups[1:], control=groups[0])
    interval = found.confidence_interval(0.95)
    error = np.sqrt(np.mean(groups.var(axis=1, ddof=1)) * 2 / 2000)
    limit = (interval.high - interval.low)[0] / 2 / error
    ours = stats.t.isf(family_alpha([10**6] * losses) / 2, 10**6)
    assert ours == pytest.approx(limit, abs=0.02)


@pytest.mark.parametrize(("losses", "seeds"), [(2, 3), (8, 3), (36, 5), (8, 10)])
def test_brute_force(losses: int, seeds: int) -> None:
    """Own variances of differences that share a baseline: at most a false finding in 20 tables."""
    generator = np.random.default_rng(1)
    limit = stats.t.isf(family_alpha([seeds - 1] * losses) / 2, seeds - 1)
    tables = generator.normal(size=(4000, losses + 1, seeds))
    gaps = tables[:, 1:] - tables[:, :1]
    largest = np.abs(stats.ttest_1samp(gaps, 0, axis=2).statistic).max(axis=1)
    assert 0.035 < np.mean(largest > limit) < 0.06


@given(SIZES)
def test_the_level_is_between_bonferronis_and_one_tests(freedom: list[int]) -> None:
    level = family_alpha(freedom)
    assert 0.05 / len(freedom) * (1 - 1e-6) <= level <= 0.05
    assert family_error(level, freedom) == pytest.approx(0.05, abs=1e-6)


@given(st.lists(st.lists(st.floats(-5, 5), min_size=4, max_size=4), min_size=1, max_size=6))
def test_an_adjusted_p_is_below_the_level_exactly_if_the_interval_leaves_out_0(
    samples: list[list[float]],
) -> None:
    freedom = [3] * len(samples)
    p = paired_p(samples)
    found = adjusted(p.tolist(), freedom)
    _, low, high = paired_interval(samples, alpha=np.full(len(samples), family_alpha(freedom)))
    for own, corrected, a, b in zip(p, found, low, high, strict=True):
        assert math.isnan(own) == math.isnan(corrected)
        if not math.isnan(own) and abs(corrected - 0.05) > 1e-4:
            assert (corrected < 0.05) == (a > 0 or b < 0)
            assert corrected >= own - 1e-12


def test_a_larger_family_has_wider_intervals() -> None:
    levels = [family_alpha([4] * losses) for losses in (1, 2, 8, 36)]
    assert levels == sorted(levels, reverse=True)
    assert family_alpha([]) == 0.05
