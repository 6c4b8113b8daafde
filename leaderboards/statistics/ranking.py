"""Ranks over tasks: Friedman's test and Nemenyi's critical difference."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import scipy  # scipy.stats is loaded at its first use, because importing it takes long.

from leaderboards.statistics.paired import ALPHA, DIGITS, Array

MIN_TASKS = 5
"""Fewest tasks for Friedman's test; with fewer, its approximations are too rough."""


@dataclass(frozen=True)
class Friedman:
    """Friedman's test of k rows over tasks, and which rows it cannot tell apart.

    Attributes:
        statistic: Friedman's chi-squared, corrected for ties.
        p: its p-value, from chi-squared with k - 1 degrees of freedom.
        iman_davenport: the less conservative F statistic made from it.
        iman_davenport_p: its p-value, from F with k - 1 and (k - 1)(tasks - 1).
        tasks: the number of tasks.
        names: the rows, in the order given.
        mean_ranks: their mean ranks, in the same order; 1 is best.
        critical_difference: Nemenyi's; mean ranks further apart differ at ``ALPHA``.
        groups: the bars of a critical difference diagram: every largest set of two or
            more rows, adjacent in rank, whose mean ranks differ by at most the critical
            difference. The best come first, among sets and within each.
    """

    statistic: float
    p: float
    iman_davenport: float
    iman_davenport_p: float
    tasks: int
    names: tuple[str, ...]
    mean_ranks: tuple[float, ...]
    critical_difference: float
    groups: tuple[tuple[str, ...], ...]


def rank_rows(scores: Array) -> Array:
    """Rank ``scores`` of shape [tasks, k] within each task; the highest has rank 1.

    Scores that are equal up to rounding share the mean of their ranks. In a task that lacks
    a score all ranks are NaN.

    >>> rank_rows(np.array([[80.0, 82.0, 82.0], [70.0, 60.0, 50.0]]))
    array([[3. , 1.5, 1.5],
           [1. , 2. , 3. ]])
    """
    table = pd.DataFrame(np.round(np.asarray(scores, dtype=np.float64), DIGITS))
    ranks: Array = table.rank(axis=1, ascending=False).to_numpy()
    return np.where(table.isna().any(axis=1).to_numpy()[:, None], math.nan, ranks)


def friedman(scores: Array, names: Sequence[str]) -> Friedman:
    r"""Test whether k rows rank alike over tasks, and find which pairs differ.

    .. math::
        \chi^2_F &= \frac{12 N}{k (k+1)} \sum_j \left(\bar r_j - \frac{k+1}{2}\right)^2
            \Big/ \left(1 - \frac{\sum (m^3 - m)}{N (k^3 - k)}\right) \\
        F_F &= \frac{(N-1) \chi^2_F}{N (k-1) - \chi^2_F} \qquad
        CD = q_{\alpha, k} \sqrt{\frac{k (k+1)}{6 N}}

    with N tasks, m the size of each set of ties, and q the studentized range's quantile
    over sqrt(2). Convention: the first is corrected for ties, unlike Demsar's; F_F made
    from it is the F of a two-way analysis of variance of the ranks. Nemenyi's difference
    ignores ties, and is then conservative. Assumed: tasks are independent, with one score
    for each row. If all tasks rank alike, F_F is infinite. Without any true difference, for
    3 to 20 rows and 5 to 20 tasks, p is below .05 in .033 to .053 of draws, the p of F_F in
    .040 to .057, and Nemenyi's difference separates a pair in .020 to .052.

    Raises:
        ValueError: there are fewer than ``MIN_TASKS`` tasks, fewer than three rows, a
            score is missing, or the names are not one a row.

    >>> ladder = np.array([[3.0, 2.0, 1.0]] * 4 + [[1.0, 2.0, 3.0]])
    >>> result = friedman(ladder, ["a", "b", "c"])
    >>> result.mean_ranks, result.groups
    ((1.4, 2.0, 2.6), (('a', 'b', 'c'),))
    >>> round(result.statistic, 4), round(result.iman_davenport, 4)  # 5 (.36 + 0 + .36)
    (3.6, 2.25)
    >>> round(result.critical_difference, 3)  # 2.3437 sqrt(12 / 30)
    1.482

    References:
        Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets",
        Journal of Machine Learning Research 7, 2006.
        Iman and Davenport, "Approximations of the critical region of the Friedman
        statistic", Communications in Statistics 9, 1980.
    """
    scores = np.asarray(scores, dtype=np.float64)
    _check_scores(scores, names)
    tasks, k = scores.shape
    ranks = rank_rows(scores)
    if (ranks == ranks[0, 0]).all():  # In every task all rows tie: scipy would divide 0 by 0.
        statistic, p = 0.0, 1.0
    else:
        statistic, p = (float(value) for value in scipy.stats.friedmanchisquare(*ranks.T))
    # 0 up to rounding if all tasks rank alike: F is then infinite.
    denominator = tasks * (k - 1) - statistic
    f = (tasks - 1) * statistic / denominator if denominator > 1e-9 else math.inf
    mean_ranks = [float(rank) for rank in ranks.mean(axis=0)]
    difference = critical_difference(tasks, k)
    return Friedman(
        statistic=statistic,
        p=p,
        iman_davenport=f,
        iman_davenport_p=float(scipy.stats.f.sf(f, k - 1, (k - 1) * (tasks - 1))),
        tasks=tasks,
        names=tuple(names),
        mean_ranks=tuple(mean_ranks),
        critical_difference=difference,
        groups=_groups(names, mean_ranks, difference),
    )


def critical_difference(tasks: int, k: int) -> float:
    """Return Nemenyi's critical difference of mean ranks at ``ALPHA``.

    >>> round(critical_difference(14, 4), 2)  # Demsar 2006: 2.569 sqrt(20 / 84)
    1.25
    """
    q = float(scipy.stats.studentized_range.ppf(1 - ALPHA, k, math.inf)) / math.sqrt(2)
    return q * math.sqrt(k * (k + 1) / (6 * tasks))


def _groups(
    names: Sequence[str], mean_ranks: Sequence[float], difference: float
) -> tuple[tuple[str, ...], ...]:
    """Return the largest sets of rows, adjacent in rank, closer than ``difference``."""
    order = sorted(range(len(names)), key=lambda row: mean_ranks[row])
    groups, end = [], 0
    for start, first in enumerate(order):
        near = sum(mean_ranks[row] - mean_ranks[first] <= difference for row in order[start:])
        if near > 1 and start + near > end:  # Otherwise the group is part of the one before.
            end = start + near
            groups.append(tuple(names[row] for row in order[start:end]))
    return tuple(groups)


def _check_scores(scores: Array, names: Sequence[str]) -> None:
    if scores.ndim != 2 or scores.shape[1] != len(names):
        raise ValueError(
            f"`scores` must be [tasks, k] with one column per name: got {scores.shape} for "
            f"{len(names)} names. Pass a row a task and a name a column."
        )
    tasks, k = scores.shape
    if tasks < MIN_TASKS:
        raise ValueError(
            f"`scores` must have at least {MIN_TASKS} tasks: got {tasks}. Add tasks, or "
            "compare the losses within each task."
        )
    if k < 3:
        raise ValueError(
            f"`scores` must have at least 3 columns: got {k}. Compare two by their differences."
        )
    if not np.isfinite(scores).all():
        lacking = [
            name for name, column in zip(names, scores.T, strict=True)
            if not np.isfinite(column).all()
        ]  # fmt: skip
        raise ValueError(
            f"`scores` must be complete: got missing scores of {', '.join(lacking)}. "
            "Leave out those columns, or the tasks that lack them."
        )
