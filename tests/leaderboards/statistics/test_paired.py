"""Every figure of a paired difference against an independent computation."""

import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from leaderboards.statistics.paired import (
    bayesian_t,
    bootstrap_interval,
    holm,
    mean_interval,
    of_samples,
    paired_p,
    pairing,
    seeds_needed,
    spread,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # baycomp loads matplotlib
    import baycomp.single
    from statsmodels.stats.multitest import multipletests
    from statsmodels.stats.power import TTestPower

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
    "figure", [spread, mean_interval, bootstrap_interval, paired_p, bayesian_t, seeds_needed]
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
    alphas = [0.05, 0.01, 0.001, 0.05, 0.2]
    expected = [[seeds_needed(*pair) for pair in zip(samples, alphas, strict=True)]]
    assert close(of_samples(seeds_needed, samples, alphas), expected)
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
    assert paired_p([0.0, 0.0, 0.0]) == 1
    assert paired_p([-1.0, 1.0]) == 1


def test_equal_differences_have_no_deviation_to_compare_with() -> None:
    """Scores count test items, so three equal differences occur by chance, in one case of sixteen
    or more. Without a deviation there is no posterior, and only the signs count.
    """
    nearly = np.subtract([80.3, 82.3, 81.3], [80.1, 82.1, 81.1])  # equal but for rounding
    for values in ([0.1, 0.1, 0.1], [-3.0] * 5, nearly.tolist()):
        assert paired_p(values) == stats.binomtest(len(values), len(values)).pvalue
        assert math.isnan(seeds_needed(values))
        assert all(math.isnan(mass) for mass in bayesian_t(values))
    assert bayesian_t([0.0, 0.0, 0.0]) == (0, 1, 0)
    items = np.random.default_rng(0).choice([-1.0, 1.0], size=(4000, 3))
    claimed = np.mean([paired_p(differences.tolist()) < 0.05 for differences in items])
    assert claimed == 0, "a quarter of these are three equal differences"


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


@settings(max_examples=6)  # statsmodels collects garbage in each call: 0.1 s
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    assert close(holm(p_values), multipletests(p_values, method="holm")[1])


@given(st.lists(probabilities, max_size=8), st.randoms(use_true_random=False))
def test_holm_ignores_the_order_and_nan(p_values: list[float], random: Any) -> None:
    order = list(range(len(p_values)))
    random.shuffle(order)
    adjusted = holm(p_values)
    assert close(holm([p_values[i] for i in order]), [adjusted[i] for i in order])
    assert [math.isnan(p) for p in adjusted] == [math.isnan(p) for p in p_values]
    kept = [p for p in p_values if not math.isnan(p)]
    assert [p for p in adjusted if not math.isnan(p)] == holm(kept)
    assert all(before <= after <= 1 for before, after in zip(kept, holm(kept), strict=True))


def test_holm_of_one_and_of_no_p_values() -> None:
    assert holm([0.03]) == [0.03]
    assert holm([]) == []
    assert close(holm([math.nan]), [math.nan])


@pytest.mark.parametrize("p", [-0.1, 1.2, math.inf])
def test_holm_refuses_values_outside_0_and_1(p: float) -> None:
    with pytest.raises(ValueError, match=r"`p_values` must be in \[0, 1\] or NaN: got"):
        holm([0.5, p])


@pytest.mark.parametrize("n", [3, 5, 10])
def test_family_wise_rate_over_losses_that_share_a_baseline(n: int) -> None:
    generator = np.random.default_rng(n)
    baseline = generator.normal(0, 0.4, size=(1500, 1, n))
    losses = generator.normal(0, 0.4, size=(1500, 4, n))
    families = [[paired_p(row) for row in board] for board in losses - baseline]
    plain = rate([min(family) < 0.05 for family in families])
    corrected = rate([min(holm(family)) < 0.05 for family in families])
    assert corrected <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1500)
    assert corrected > 0.02, "a correction that never claims is no correction"
    assert plain > 0.08, "else there was nothing to correct"


# The posterior


@pytest.mark.parametrize("values", SAMPLES)
@pytest.mark.parametrize("rope", [0.0, 0.1, 0.5])
def test_posterior_equals_baycomps_without_its_correction(values: list[float], rope: float) -> None:
    n = len(values)
    peer = baycomp.single.Posterior(np.mean(values), np.var(values, ddof=1) / n, n - 1, rope)
    left, *middle, right = peer.probs()
    assert close(bayesian_t(values, rope), (right, sum(middle), left))


@pytest.mark.parametrize(("size", "runs"), [(10, 1), (20, 2), (30, 3)])
def test_posterior_equals_baycomps_two_on_single_with_the_correction(size: int, runs: int) -> None:
    """baycomp widens the variance by 1 + n / (folds - 1); these differences are widened too."""
    values = np.random.default_rng(runs).normal(0.4, 1, size=size)
    wider = values.mean() + (values - values.mean()) * math.sqrt(1 + size / (size / runs - 1))
    left, middle, right = baycomp.two_on_single(np.zeros(size), values, rope=0.5, runs=runs)
    assert close(bayesian_t(wider.tolist(), 0.5), (right, middle, left))


def test_posterior_agrees_with_sampled_means_and_variances() -> None:
    """Draw sigma**2 from its inverse chi-squared, then mu: this uses no t distribution."""
    values, generator = SAMPLES[2], np.random.default_rng(0)
    n = len(values)
    variance = (n - 1) * np.var(values, ddof=1) / generator.chisquare(n - 1, size=200_000)
    mu = generator.normal(np.mean(values), np.sqrt(variance / n))
    expected = (np.mean(mu > 0.2), np.mean(np.abs(mu) <= 0.2), np.mean(mu < -0.2))
    assert bayesian_t(values, 0.2) == pytest.approx(expected, abs=0.005)


def test_posterior_of_degenerate_differences() -> None:
    for few in ([], [1.0], [1.0, math.nan]):
        assert all(math.isnan(mass) for mass in bayesian_t(few))
    assert bayesian_t([0.0, 0.0]) == (0, 1, 0)
    assert bayesian_t([0.0, 0.0], rope=0) == (0, 1, 0)


@pytest.mark.parametrize("rope", [-0.1, math.inf, math.nan])
def test_a_negative_or_infinite_region_is_refused(rope: float) -> None:
    with pytest.raises(ValueError, match="`rope` must be finite and at least 0: got"):
        bayesian_t([1.0, 2.0], rope)


@given(differences, st.sampled_from([0.0, 0.5, 3.0]))
def test_posterior_sums_to_one_and_swaps_with_the_sign(values: list[float], rope: float) -> None:
    assume(np.ptp(values) > 1e-6)
    found = bayesian_t(values, rope)
    assert sum(found) == pytest.approx(1) and min(found) >= 0
    assert close(bayesian_t([-value for value in values], rope), found[::-1])
    if rope == 0 and len(set(values)) > 1:
        assert 2 * min(found.better, found.worse) == pytest.approx(paired_p(values), abs=1e-9)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_better_is_uniform_if_the_truth_is_at_the_border(n: int) -> None:
    draws = np.random.default_rng(n).normal(0.5, 0.7, size=(3000, n))
    better = [bayesian_t(row).better for row in draws]
    assert stats.kstest(better, "uniform").pvalue > 0.001
    assert rate([mass > 0.95 for mass in better]) == within(0.05, 3000)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_posterior_is_calibrated_over_its_prior(n: int) -> None:
    """If boards say "better with 30%", the true mean is better on 30% of them."""
    generator = np.random.default_rng(n)
    mu = generator.uniform(-20, 20, size=(100_000, 1))
    sigma = np.exp(generator.uniform(-5, 3, size=(100_000, 1)))
    rows = generator.normal(mu, sigma, size=(100_000, n))
    # Data far from the ends to which a prior that can be drawn from is cut.
    deviations, means = rows.std(axis=1, ddof=1), rows.mean(axis=1)
    middle = (deviations > 0.2) & (deviations < 1) & (np.abs(means) < 1.5)
    found = np.array([bayesian_t(row) for row in rows[middle]])
    truth = mu[middle, 0]
    for mass, event in zip(found.T, (truth > 0.5, np.abs(truth) <= 0.5, truth < -0.5), strict=True):
        for low, high in ((0.0, 0.2), (0.2, 0.5), (0.5, 0.8), (0.8, 1.0)):
            inside = (mass > low) & (mass < high)
            assert inside.sum() > 30
            assert np.mean(event[inside]) == within(mass[inside].mean(), inside.sum())


# The number of seeds


def effect(delta: float) -> list[float]:
    """Return three differences whose mean is delta times their deviation, 1."""
    return [delta - 1, delta, delta + 1]


@pytest.mark.parametrize("delta", [0.02, 0.1, 0.3, 0.7, 1.0, 1.5, 2.0, 3.0, 5.0])
@pytest.mark.parametrize(("alpha", "power"), [(0.05, 0.8), (0.01, 0.9), (0.1, 0.5)])
def test_seeds_needed_are_statsmodels_rounded_up(delta: float, alpha: float, power: float) -> None:
    expected = 2.0
    if TTestPower().power(delta, 2, alpha) < power:  # else its root finder looks below 2
        expected = math.ceil(float(TTestPower().solve_power(delta, power=power, alpha=alpha)))
    assert seeds_needed(effect(delta), alpha, power) == expected
    assert seeds_needed(effect(-delta), alpha, power) == expected


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


@pytest.mark.parametrize(
    ("delta", "alpha", "power"),
    [(20.0, 0.05, 0.98), (5.0, 1e-6, 0.8), (0.5, 0.05, 0.06), (0.1, 1e-6, 0.8), (1.0, 0.5, 0.9)],
)
def test_seeds_needed_are_the_fewest_where_scipys_noncentral_t_fails(
    delta: float, alpha: float, power: float
) -> None:
    found = int(seeds_needed(effect(delta), alpha, power))
    assert power_by_integration(found, delta, alpha) >= power
    assert found == 2 or power_by_integration(found - 1, delta, alpha) < power


def test_seeds_needed_reach_the_power_in_a_simulation() -> None:
    n = int(seeds_needed(effect(1.2)))
    rows = np.random.default_rng(0).normal(1.2, 1, size=(3000, n))
    found = rate([paired_p(row) < 0.05 for row in rows])
    assert found > 0.8 - 4 * math.sqrt(0.16 / 3000)
    fewer = rate([paired_p(row) < 0.05 for row in rows[:, 1:]])
    assert fewer < 0.8 + 4 * math.sqrt(0.16 / 3000)


def test_seeds_needed_of_degenerate_differences() -> None:
    for few in ([], [1.0], [1.0, math.nan]):
        assert math.isnan(seeds_needed(few))
    assert seeds_needed([0.0, 0.0]) == math.inf
    assert seeds_needed([-1.0, 1.0]) == math.inf
    tiny = seeds_needed(effect(1e-6))
    assert tiny == pytest.approx((stats.norm.ppf(0.975) + stats.norm.ppf(0.8)) ** 2 / 1e-12)
    for values in (range(1, 4), [1e-9, 1.0], effect(1e-200)):
        assert seeds_needed(list(values)) >= 2


@pytest.mark.parametrize("wrong", [{"alpha": 0.0}, {"power": 1.0}, {"power": 80.0}])
def test_seeds_needed_refuses_values_that_are_not_probabilities(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"` must be in \(0, 1\): got"):
        seeds_needed([1.0, 2.0], **wrong)


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
    assert close(bayesian_t(scaled, scale * 0.5), bayesian_t(values, 0.5))
    needed = pytest.approx(seeds_needed(values), rel=1e-6, abs=1, nan_ok=True)
    assert seeds_needed(scaled) == needed
    moved = pairing([value + shift for value in values], [0.0] * len(values))
    assert close(moved, pairing(values, [0.0] * len(values)))
