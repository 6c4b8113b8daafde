"""Every figure of a paired difference against an independent computation."""

import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from leaderboards.statistics.paired import (
    MIN_SEEDS,
    bootstrap_interval,
    constant,
    mean_interval,
    of_samples,
    paired_interval,
    paired_p,
    pairing,
    seeds_to_decide,
    spread,
)

SAMPLES = [
    [1.0, 2.0, 4.0],
    [0.3, -0.2],
    [0.5, 0.1, 0.6, 0.4, -0.1],
    [float(value) for value in np.random.default_rng(0).normal(0.4, 1.0, size=10)],
    [float(value) for value in range(30)],
]
differences = st.lists(st.integers(-400, 400).map(lambda k: k / 8), min_size=2, max_size=12)
shifts = st.integers(-80, 80).map(lambda k: k / 4)
scales = st.sampled_from([0.25, 0.5, 2.0, 8.0])
probabilities = st.floats(0, 1) | st.just(math.nan)


def close(found: Any, expected: Any) -> bool:
    return bool(np.allclose(found, expected, rtol=1e-8, atol=1e-8, equal_nan=True))


def rate(events: list[bool]) -> float:
    return sum(events) / len(events)


def within(expected: float, draws: int) -> Any:
    """Four standard errors of a rate: exceeded once in 16,000 by chance, and seeds are fixed."""
    return pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / draws))


# Many samples at once


@pytest.mark.parametrize("n", [0, 1, 2, 3, 10])
@pytest.mark.parametrize(
    "figure", [spread, mean_interval, bootstrap_interval, paired_interval, paired_p]
)
def test_a_call_with_many_samples_equals_a_call_for_each(
    figure: Callable[..., Any], n: int
) -> None:
    """They are equal to the last bit, so a row does not depend on what else is on the board."""
    samples = np.random.default_rng(n).normal(0.4, 1.0, size=(4, 3, n)).round(2)
    samples[0, 0], samples[0, 1] = 0.0, 0.1
    samples[1, 0, :1] = math.nan
    found = np.array(figure(samples))
    alone = [[np.array(figure(sample.tolist())) for sample in row] for row in samples]
    assert np.array_equal(found, np.moveaxis(np.array(alone), (0, 1), (-2, -1)), equal_nan=True)


def test_of_samples_takes_samples_of_several_sizes() -> None:
    samples = [[1.0, 2.0, 4.0], [5.0], [0.0, 2.0, 4.0], [], [3.0, 5.0]]
    assert close(of_samples(mean_interval, samples), np.array(list(map(mean_interval, samples))).T)
    steps, alphas = [0.0, 0.1, 5.0, 0.0, 1.0], [0.05, 0.01, 0.001, 0.05, 0.2]
    each = [paired_interval(*own) for own in zip(samples, steps, alphas, strict=True)]
    assert close(of_samples(paired_interval, samples, steps, alphas), np.array(each).T)
    assert of_samples(paired_interval, [], [], []).shape == (3, 0)
    assert of_samples(mean_interval, []).shape == (3, 0)
    assert of_samples(pairing, [], []).shape == (2, 0)


def test_spread_equals_numpys_mean_and_deviation() -> None:
    for values in SAMPLES:
        assert close(spread(values), (np.mean(values), np.std(values, ddof=1)))
    assert close(spread([2.0]), (2.0, math.nan))


# The t interval


@pytest.mark.parametrize("values", SAMPLES)
def test_mean_interval_equals_scipys(values: list[float]) -> None:
    for level in (0.8, 0.95):
        interval = mean_interval(values, level)
        expected = stats.t.interval(level, len(values) - 1, np.mean(values), stats.sem(values))
        assert interval == pytest.approx((np.mean(values), *expected))


@pytest.mark.parametrize("interval", [mean_interval, bootstrap_interval])
def test_intervals_of_too_few_equal_or_missing_values(interval: Callable[..., Any]) -> None:
    assert close(interval([]), (math.nan, math.nan, math.nan))
    assert close(interval([2.0]), (2.0, math.nan, math.nan))
    assert close(interval([1.0, math.nan, 2.0]), (math.nan, math.nan, math.nan))
    for equal in ([0.1] * 2, [0.1] * 3, [0.0] * 5, [-7.3] * 10):
        assert close(interval(equal), (equal[0],) * 3)


@pytest.mark.parametrize("n", [2, 3, 5, 10])
def test_the_t_interval_has_its_documented_coverage(n: int) -> None:
    draws = np.random.default_rng(n).normal(0.3, 2, size=(3000, n))
    covered = [i.low <= 0.3 <= i.high for i in map(mean_interval, draws)]
    assert rate(covered) == within(0.95, 3000)


# The bootstrap interval


def every_resample(values: list[float]) -> np.ndarray:
    """Return the sorted means of all n**n resamples: what the bootstrap draws from."""
    sums = np.zeros(1)
    for _ in values:
        sums = np.add.outer(sums, values).ravel()
    return np.sort(sums / len(values))


@pytest.mark.parametrize("level", [0.5, 0.8])
def test_bootstrap_is_close_to_the_exact_one_over_all_resamples(level: float) -> None:
    values = SAMPLES[3][:7]
    every, found = every_resample(values), bootstrap_interval(values, level)
    tail = stats.norm.sf(math.sqrt(7 / 6) * stats.t.ppf((1 + level) / 2, 6))
    assert found.mean == pytest.approx(np.mean(values))
    below, above = np.searchsorted(every, [found.low, found.high]) / len(every)
    assert (below, 1 - above) == (within(tail, 4999), within(tail, 4999))


@pytest.mark.parametrize("values", SAMPLES)
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_bootstrap_equals_scipys_to_the_last_digit(values: list[float], level: float) -> None:
    n = len(values)
    wider = math.sqrt(n / (n - 1)) * stats.t.ppf((1 + level) / 2, n - 1)
    expected = stats.bootstrap(
        (np.sort(values),), np.mean, confidence_level=1 - 2 * stats.norm.sf(wider),
        method="percentile", n_resamples=4999, rng=0,
    ).confidence_interval  # fmt: skip
    found = bootstrap_interval(values, level)
    assert (found.low, found.high) == (expected.low, expected.high)


@pytest.mark.parametrize("values", SAMPLES[:2])
def test_bootstrap_of_two_or_three_values_is_their_range(values: list[float]) -> None:
    assert bootstrap_interval(values) == (np.mean(values), min(values), max(values))


def test_bootstrap_is_close_to_students_t_for_many_normal_values() -> None:
    values = stats.norm.ppf((np.arange(40) + 0.5) / 40).tolist()
    found, expected = bootstrap_interval(values), mean_interval(values)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=0.03)


def test_bootstrap_follows_the_skew() -> None:
    found = bootstrap_interval([0.0, 0.1, 0.2, 0.1, 0.0, 5.0])
    assert found.high - found.mean > 1.5 * (found.mean - found.low)


@pytest.mark.parametrize(("n", "normal", "skewed"), [(3, 0.755, 0.699), (5, 0.922, 0.869)])
def test_bootstrap_has_its_documented_coverage(n: int, normal: float, skewed: float) -> None:
    generator = np.random.default_rng(n)
    for documented, draws in (
        (normal, generator.normal(size=(250, n))),
        (skewed, generator.exponential(size=(250, n)) - 1),
    ):
        covered = [i.low <= 0 <= i.high for i in map(bootstrap_interval, draws)]
        assert rate(covered) == within(documented, 250)


def test_bootstrap_is_quick() -> None:
    start = time.process_time()
    for _ in range(20):
        bootstrap_interval(SAMPLES[3])
    assert (time.process_time() - start) / 20 < 0.02, "about a millisecond on an idle machine"


# The p-value


@pytest.mark.parametrize("values", SAMPLES)
def test_paired_p_equals_scipys(values: list[float]) -> None:
    baseline = np.random.default_rng(1).normal(80, 1.3, size=len(values))
    expected = stats.ttest_rel(baseline + values, baseline).pvalue
    assert paired_p(values) == pytest.approx(expected)
    assert paired_p(values) == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_p_of_degenerate_differences() -> None:
    assert math.isnan(paired_p([]))
    assert math.isnan(paired_p([1.0]))
    assert math.isnan(paired_p([1.0, math.nan]))
    assert math.isnan(paired_p([0.0, 0.0, 0.0])), "one observation"
    assert paired_p([0.0, 0.0, 0.1], 5.0) > paired_p([0.0, 0.0, 0.1])
    assert paired_p([-1.0, 1.0]) == 1


def test_equal_differences_are_one_observation() -> None:
    """Scores count test items, so three equal differences occur by chance, in one case of sixteen
    or more. They get no p-value, and the interval of the resolution alone.
    """
    nearly = np.subtract([80.3, 82.3, 81.3], [80.1, 82.1, 81.1])  # equal but for rounding
    for values in ([0.1, 0.1, 0.1], [-3.0] * 5, nearly.tolist()):
        assert constant(values) and math.isnan(paired_p(values))
        assert math.isnan(seeds_to_decide(values, 1.0))
        mean, low, high = paired_interval(values, 2.0)
        half = stats.t.isf(0.025, len(values) - 1) * 2.0 / math.sqrt(6 * len(values))
        assert (high - mean, mean - low) == pytest.approx((half, half))
    assert not constant([1.0]) and not constant([])


@pytest.mark.parametrize("n", [3, 5])
def test_the_resolution_covers_scores_that_count_few_items(n: int) -> None:
    """Of true differences of 0, on 20 items: the interval without it leaves out 0 too often."""
    generator = np.random.default_rng(0)
    right = generator.random((20_000, 2, n, 20)) < 0.8
    gaps = np.diff(right.mean(axis=3) * 100, axis=1)[:, 0]
    _, low, high = paired_interval(gaps, np.full(len(gaps), 5.0))
    assert np.mean((low > 0) | (high < 0)) < 0.05


@given(differences, st.floats(0.1, 5))
def test_that_many_seeds_decide_and_one_less_does_not(values: list[float], margin: float) -> None:
    needed = float(seeds_to_decide(values, margin))
    assume(math.isfinite(needed) and needed > MIN_SEEDS)
    deviation = np.std(values, ddof=1)
    widths = [
        2 * stats.t.isf(0.025, n - 1) * deviation / math.sqrt(n) for n in (needed, needed - 1)
    ]
    assert widths[0] < margin <= widths[1] * (1 + 1e-9)


def test_seeds_to_decide_depend_on_the_deviation_alone() -> None:
    values = [0.0, 1.0, 2.5, 0.3]
    moved = [value + 7 for value in values]
    assert seeds_to_decide(values, 0.5) == seeds_to_decide(moved, 0.5)
    assert seeds_to_decide(values, 0.5, 0.0, 0.001) > seeds_to_decide(values, 0.5)
    assert math.isinf(seeds_to_decide([-1e4, 1e4], 0.01))
    assert math.isnan(seeds_to_decide(values, math.nan))


@given(differences)
def test_p_is_below_alpha_exactly_if_the_interval_leaves_out_zero(values: list[float]) -> None:
    interval, p = mean_interval(values), paired_p(values)
    if abs(p - 0.05) > 1e-9 and interval.low < interval.high:
        assert (p < 0.05) == (interval.low > 0 or interval.high < 0)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_without_a_true_difference_p_is_below_alpha_one_time_in_twenty(n: int) -> None:
    generator = np.random.default_rng(n)
    seeds = generator.normal(80, 1.3, size=(4000, n))  # each seed moves both alike
    scores = [seeds + generator.normal(0, 0.4, size=(4000, n)) for _ in range(2)]
    false = [paired_p(row) < 0.05 for row in scores[0] - scores[1]]
    assert rate(false) == within(0.05, 4000)


# Holm


# The posterior


# The number of seeds


def power_by_integration(n: int, delta: float, alpha: float) -> float:
    """Average the normal test's power over the deviation that n pairs would show."""
    critical = stats.t.isf(alpha / 2, n - 1)

    def integrand(chi2: float) -> float:
        reach = critical * math.sqrt(chi2 / (n - 1))
        shift = delta * math.sqrt(n)
        rejects = stats.norm.sf(reach - shift) + stats.norm.cdf(-reach - shift)
        return float(stats.chi2.pdf(chi2, n - 1) * rejects)

    low, high = stats.chi2.ppf([1e-12, 1 - 1e-12], n - 1)
    return float(integrate.quad(integrand, low, high, limit=200)[0])


# Pairing


def test_pairing_equals_the_covariance_matrix() -> None:
    scores, baseline = np.random.default_rng(0).normal(80, 1, size=(2, 6))
    (a, shared), (_, b) = np.cov(scores, baseline)
    assert close(pairing(scores.tolist(), baseline.tolist()), (a + b - 2 * shared, a + b))


def test_pairing_removes_the_variance_of_a_shared_seed() -> None:
    generator = np.random.default_rng(0)
    seeds = generator.normal(80, 1.3, size=5000)
    a, b = (seeds + generator.normal(0, 0.4, size=5000) for _ in range(2))
    assert pairing(a.tolist(), b.tolist()) == pytest.approx((2 * 0.16, 2 * (1.69 + 0.16)), rel=0.1)


def test_pairing_of_degenerate_scores() -> None:
    assert close(pairing([1.0], [2.0]), (math.nan, math.nan))
    assert close(pairing([1.0, math.nan], [2.0, 3.0]), (math.nan, math.nan))
    assert pairing([1.0, 1.0], [2.0, 2.0]) == (0, 0)
    nearly = pairing([80.3, 82.3, 81.3], [80.1, 82.1, 81.1])
    assert nearly == pytest.approx((0, 2)) and nearly.paired == 0, "rounding is no variance"
    with pytest.raises(ValueError, match="`baseline` must have one score per seed of `scores`"):
        pairing([1.0, 2.0], [1.0])


# What moving, scaling and shuffling the values does


@settings(max_examples=40)
@given(differences, shifts, scales, st.randoms(use_true_random=False))
def test_intervals_shift_and_scale_with_the_values(
    values: list[float], shift: float, scale: float, random: Any
) -> None:
    shuffled = random.sample(values, len(values))
    for interval in (mean_interval, bootstrap_interval):
        found = np.array(interval(values))
        assert found[1] <= found[0] + 1e-9 and found[0] <= found[2] + 1e-9
        assert close(interval([scale * value + shift for value in values]), scale * found + shift)
        assert close(interval(shuffled), found)


@given(differences, shifts, scales, st.randoms(use_true_random=False))
def test_tests_ignore_scale_and_order(
    values: list[float], shift: float, scale: float, random: Any
) -> None:
    scaled = [scale * value for value in random.sample(values, len(values))]
    assert close(paired_p(scaled), paired_p(values))
    moved = pairing([value + shift for value in values], [0.0] * len(values))
    assert close(moved, pairing(values, [0.0] * len(values)))
