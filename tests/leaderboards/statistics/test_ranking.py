"""Ranks over tasks against independent computations and published figures."""

import itertools
import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from leaderboards.statistics.ranking import (
    MIN_TASKS,
    Friedman,
    critical_difference,
    friedman,
    rank_rows,
)

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # scikit_posthocs loads seaborn and statsmodels
    from scikit_posthocs import posthoc_nemenyi_friedman

# Demsar 2006, Table 6: AUC of C4.5, C4.5+m, C4.5+cf, C4.5+m+cf on 14 data sets. The paper
# ranks the two of "voting" printed as .975 apart: .9751 stands for the first.
DEMSAR = np.array([
    [0.763, 0.768, 0.771, 0.798], [0.599, 0.591, 0.590, 0.569], [0.954, 0.971, 0.968, 0.967],
    [0.628, 0.661, 0.654, 0.657], [0.882, 0.888, 0.886, 0.898], [0.936, 0.931, 0.916, 0.931],
    [0.661, 0.668, 0.609, 0.685], [0.583, 0.583, 0.563, 0.625], [0.775, 0.838, 0.866, 0.875],
    [1.000, 1.000, 1.000, 1.000], [0.940, 0.962, 0.965, 0.962], [0.619, 0.666, 0.614, 0.669],
    [0.972, 0.981, 0.9751, 0.975], [0.957, 0.978, 0.946, 0.970],
])  # fmt: skip
FOUR = ["C4.5", "C4.5+m", "C4.5+cf", "C4.5+m+cf"]
# The same paper, Table 5 (a): Nemenyi's q at .05, from two rows on.
NEMENYI_Q = [1.960, 2.343, 2.569, 2.728, 2.850, 2.949, 3.031, 3.102, 3.164]


@st.composite
def tables(draw: Any) -> np.ndarray:
    """Return scores of some rows over some tasks, with ties."""
    tasks, k = draw(st.integers(MIN_TASKS, 9)), draw(st.integers(3, 6))
    cells = st.lists(st.integers(0, 5), min_size=tasks * k, max_size=tasks * k)
    return np.array(draw(cells), dtype=np.float64).reshape(tasks, k)


def compared(scores: np.ndarray) -> Friedman:
    return friedman(scores, [f"row {column}" for column in range(scores.shape[1])])


# Ranks


@given(tables())
def test_a_rank_counts_the_better_rows(scores: np.ndarray) -> None:
    """A rank is 1, plus 1 for each better row, plus a half for each equal one."""
    better = (scores[:, None, :] > scores[:, :, None]).sum(axis=2)
    equal = (scores[:, None, :] == scores[:, :, None]).sum(axis=2) - 1
    assert (rank_rows(scores) == 1 + better + equal / 2).all()


def test_a_task_without_a_score_has_no_ranks() -> None:
    ranks = rank_rows(np.array([[1.0, math.nan, 3.0], [1.0, 2.0, 3.0]]))
    assert np.isnan(ranks[0]).all()
    assert ranks[1].tolist() == [3, 2, 1]


# Mean ranks and their intervals


def test_scores_equal_up_to_rounding_tie() -> None:
    """In float64, the sum of the same values depends on their order."""
    block = np.array([[0.1, 0.3, 0.2], [0.2, 0.2, 0.3], [0.3, 0.1, 0.1]])
    assert len(set(block.mean(axis=0))) > 1
    assert rank_rows(block.mean(axis=0)[None]).tolist() == [[2.0, 2.0, 2.0]]


# Friedman and Nemenyi


def test_friedman_reproduces_demsars_published_example() -> None:
    result = friedman(DEMSAR, FOUR)
    assert [round(rank, 3) for rank in result.mean_ranks] == [3.143, 2.000, 2.893, 1.964]
    assert (result.tasks, result.names) == (14, tuple(FOUR))
    assert round(result.critical_difference, 2) == 1.25
    # The paper's statistics are not corrected for ties: 9.28 and 3.69.
    centred = np.array(result.mean_ranks) - 2.5
    plain = 12 * 14 / (4 * 5) * (centred**2).sum()
    assert round(plain, 2) == 9.28
    assert round(13 * plain / (14 * 3 - plain), 2) == 3.69
    # Ours is; this is what scipy's own tests expect (checked with R and Matlab).
    assert (result.statistic, result.p) == pytest.approx((10.2283464566929, 0.0167215803284414))
    # The largest gap, 1.179, is below 1.25: one bar over all four.
    assert result.groups == (("C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"),)


@pytest.mark.parametrize(("k", "q"), list(enumerate(NEMENYI_Q, start=2)))
def test_critical_differences_equal_the_published_table(k: int, q: float) -> None:
    # The table truncates some of its entries to three decimals.
    assert critical_difference(10, k) == pytest.approx(q * math.sqrt(k * (k + 1) / 60), rel=6e-4)


@settings(max_examples=40)
@given(tables())
def test_friedman_equals_scipys_and_an_analysis_of_variance(scores: np.ndarray) -> None:
    result = compared(scores)
    ranks = rank_rows(scores)
    tasks, k = ranks.shape
    assert result.mean_ranks == pytest.approx(ranks.mean(axis=0))
    between = tasks * ((ranks.mean(axis=0) - (k + 1) / 2) ** 2).sum()
    within = ((ranks - (k + 1) / 2) ** 2).sum() - between
    if between + within == 0:
        assert (result.statistic, result.p) == (0, 1)
        assert (result.iman_davenport, result.iman_davenport_p) == (0, 1)
        return
    expected = stats.friedmanchisquare(*scores.T)
    assert (result.statistic, result.p) == pytest.approx((expected.statistic, expected.pvalue))
    if within < 1e-9:
        assert (result.iman_davenport, result.iman_davenport_p) == (math.inf, 0)
        return
    f = (between / (k - 1)) / (within / ((k - 1) * (tasks - 1)))
    assert result.iman_davenport == pytest.approx(f)
    assert result.iman_davenport_p == pytest.approx(stats.f.sf(f, k - 1, (k - 1) * (tasks - 1)))


@pytest.mark.parametrize("seed", range(12))
def test_separated_pairs_are_those_of_scikit_posthocs(seed: int) -> None:
    generator = np.random.default_rng(seed)
    k = 3 + seed % 5
    scores = generator.normal(np.linspace(0, 2, k), 1.0, size=(5 + seed, k)).round(1)
    result = compared(scores)
    peers = posthoc_nemenyi_friedman(scores).to_numpy()
    for i, j in itertools.combinations(range(k), 2):
        gap = abs(result.mean_ranks[i] - result.mean_ranks[j])
        assert (gap > result.critical_difference) == (peers[i, j] < 0.05)
        pair = {result.names[i], result.names[j]}
        joined = any(pair <= set(group) for group in result.groups)
        assert joined == (gap <= result.critical_difference)


@settings(max_examples=40)
@given(tables())
def test_groups_are_the_largest_sets_of_neighbours(scores: np.ndarray) -> None:
    result = compared(scores)
    rank = dict(zip(result.names, result.mean_ranks, strict=True))
    order = sorted(result.names, key=lambda name: rank[name])
    # Independently: every run of neighbours that fits, less those inside another.
    runs = [
        tuple(order[i:j])
        for i, j in itertools.combinations(range(len(order) + 1), 2)
        if j - i > 1 and rank[order[j - 1]] - rank[order[i]] <= result.critical_difference
    ]
    largest = [run for run in runs if not any(set(run) < set(other) for other in runs)]
    assert list(result.groups) == largest


def test_groups_may_overlap_and_leave_out_single_rows() -> None:
    ladder = np.tile([5.0, 4.0, 3.0, 2.0, 1.0], (30, 1))  # CD 1.11: neighbours only
    result = friedman(ladder, list("abcde"))
    assert result.groups == (("a", "b"), ("b", "c"), ("c", "d"), ("d", "e"))
    assert (result.iman_davenport, result.iman_davenport_p) == (math.inf, 0)
    result = friedman(np.tile([9.0, 2.0, 1.0], (60, 1)), list("abc"))  # CD 0.43: no two
    assert result.groups == ()


@settings(max_examples=30)
@given(tables(), st.randoms(use_true_random=False))
def test_friedman_ignores_order_and_scale(scores: np.ndarray, random: Any) -> None:
    result = compared(scores)
    rows = random.sample(range(len(scores)), len(scores))
    columns = random.sample(range(scores.shape[1]), scores.shape[1])
    changed = np.exp(scores[rows][:, columns])  # any increasing function leaves the ranks
    again = friedman(changed, [result.names[column] for column in columns])
    assert (again.statistic, again.p) == pytest.approx((result.statistic, result.p))
    assert again.mean_ranks == pytest.approx([result.mean_ranks[column] for column in columns])
    assert again.critical_difference == result.critical_difference


def test_friedman_of_equal_rows_finds_nothing() -> None:
    result = friedman(np.ones((5, 3)), list("abc"))
    assert (result.statistic, result.p) == (0, 1)
    assert (result.iman_davenport, result.iman_davenport_p) == (0, 1)
    assert result.mean_ranks == (2, 2, 2)
    assert result.groups == (("a", "b", "c"),)


def test_without_a_true_difference_the_rates_are_as_documented() -> None:
    generator = np.random.default_rng(0)
    results = [compared(table) for table in generator.normal(size=(300, 10, 5))]
    error = 4 * math.sqrt(0.05 * 0.95 / 300)
    assert np.mean([result.iman_davenport_p < 0.05 for result in results]) == pytest.approx(
        0.05, abs=error
    )
    assert np.mean([result.p < 0.05 for result in results]) <= 0.05 + error
    assert np.mean([len(result.groups[0]) < 5 for result in results]) <= 0.05 + error


@pytest.mark.parametrize(
    ("scores", "names", "message"),
    [
        (np.ones((4, 3)), "abc", "`scores` must have at least 5 tasks: got 4. Add tasks"),
        (np.ones((6, 2)), "ab", "`scores` must have at least 3 columns: got 2. Compare two"),
        (np.ones((6, 3)), "ab", r"one column per name: got \(6, 3\) for 2 names"),
        (np.ones(6), "abcdef", r"`scores` must be \[tasks, k\]"),
        (
            np.where(np.eye(6, 3) > 0, [[1.0, math.nan, 1.0]], 1.0),
            "abc",
            "`scores` must be complete: got missing scores of b. Leave out",
        ),
    ],
)
def test_friedman_refuses_wrong_input(scores: np.ndarray, names: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        friedman(scores, list(names))
