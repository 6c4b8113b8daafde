"""Budget curves: how the best of a loss's tuning trials depends on their number."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from leaderboards.analysis.tables import each_row
from leaderboards.statistics.paired import Array


class Budget(NamedTuple):
    """The expected validation score of the best of some tuning trials.

    Attributes:
        task: the task.
        metric: its main metric.
        method: the method.
        loss: the loss.
        trials: how many trials the best is chosen of.
        best: the mean over all sets of that many trials of the best one's validation score.
        difference: ``best`` minus that of the baseline, over the same sets of trials.
    """

    task: str
    metric: str
    method: str
    loss: str
    trials: int
    best: float
    difference: float


def budget_rows(
    trials: pd.DataFrame, baseline: tuple[str, str], lower: frozenset[str]
) -> pd.DataFrame:
    """Return a row for each tuned loss and each number of trials: 1, 2, 4, ... and all.

    The trials of a search are exchangeable, so every set of n of them is as good as the first n:
    the mean of the best over all sets says what n trials would have brought, with less noise.
    A loss with a trial without a score has no rows, because that trial would count as never tried.

    Args:
        trials: the table of tuning trials, which holds validation scores.
        baseline: the method and loss of the baseline.
        lower: the tasks where lower scores are better.

    References:
        Dodge et al., "Show Your Work", EMNLP 2019, arXiv 1909.03004.
    """
    scores: dict[tuple[str, str, str, str], list[float]] = {}
    for row in each_row(trials[trials["metric"] != ""]):
        key = (row.task, row.metric, row.method, row.loss)
        scores.setdefault(key, []).append(float(row.validation))
    curves = {
        key: expected_best(own, lower=key[0] in lower)
        for key, own in scores.items()
        if np.isfinite(own).all() and len(own) > 1
    }
    return pd.DataFrame(_rows(curves, baseline), columns=list(Budget._fields))


def _rows(
    curves: dict[tuple[str, str, str, str], Array], baseline: tuple[str, str]
) -> Iterator[Budget]:
    for (task, metric, method, loss), curve in curves.items():
        base = curves.get((task, metric, *baseline))
        for number in _numbers(len(curve)):
            best = float(curve[number - 1])
            other = base[number - 1] if base is not None and number <= len(base) else math.nan
            yield Budget(task, metric, method, loss, number, best, best - float(other))


def expected_best(scores: Sequence[float], *, lower: bool = False) -> Array:
    """Return the mean, over all sets of n scores, of the best one, for n from 1 to all of them.

    With the scores in ascending order, the k-th is the best of C(k - 1, n - 1) of the C(N, n) sets.

    >>> expected_best([1.0, 2.0, 4.0]).round(4).tolist()
    [2.3333, 3.3333, 4.0]
    """
    values = np.sort(np.asarray(scores, dtype=np.float64))
    values = values[::-1] if lower else values
    total = len(values)
    weights = [
        [math.comb(k - 1, n - 1) / math.comb(total, n) for k in range(1, total + 1)]
        for n in range(1, total + 1)
    ]
    means: Array = np.asarray(weights) @ values
    return means


def _numbers(total: int) -> list[int]:
    """Return the numbers of trials that a curve shows.

    >>> _numbers(12)
    [1, 2, 4, 8, 12]
    """
    powers = [2**k for k in range(total.bit_length()) if 2**k <= total]
    return list(dict.fromkeys([*powers, total]))
