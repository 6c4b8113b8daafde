"""Over tasks: a pooled difference to the baseline for every row, and Friedman's test."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from leaderboards.analysis.rows import Row
from leaderboards.analysis.tables import CONTROL, REFERENCE
from leaderboards.analysis.words import BASELINE, word
from leaderboards.statistics.paired import ALPHA, DIGITS, MIN_SEEDS
from leaderboards.statistics.pooled import Pooled, pool
from leaderboards.statistics.ranking import MIN_TASKS, Friedman, friedman
from leaderboards.statistics.simultaneous import family_alpha

ALL = "all"
POINTS = "%"
"""The unit of the metrics that are pooled."""


def overall_rows(rows: Sequence[Row], data: Mapping[str, str]) -> pd.DataFrame:
    """Return a row a scope, method and loss; the scopes are ``all`` and each modality.

    Differences are pooled over data sets: a data set's difference is the mean over its tasks (a
    task with label noise is another variant of the same data), seed by seed. Only main metrics in
    points are pooled. A row that was not compared on every task of a scope has no pooled
    difference there, nor has one that lacks seeds, so that no average leaves anything out. The
    intervals of a scope hold
    simultaneously over its losses.

    Args:
        rows: the rows of every table, with their differences.
        data: {task: what identifies its data set}.
    """
    main = [
        row for row in rows if row["main"] and (row["kind"] != REFERENCE or not row["compared"])
    ]
    modalities = list(dict.fromkeys(row["modality"] for row in main))
    scopes = [(ALL, main)] + [
        (name, [row for row in main if row["modality"] == name]) for name in modalities
    ]
    found = [each for name, own in scopes for each in _scope(name, own, data)]
    return pd.DataFrame(found)


def _scope(name: str, rows: Sequence[Row], data: Mapping[str, str]) -> list[dict[str, Any]]:
    # A task without any score has no metric yet; it may turn out to be one in points.
    pooled = [row for row in rows if row["unit"] == POINTS or not row["metric"]]
    tasks = {row["task"] for row in pooled}
    by_row: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        by_row[row["method"], row["loss"]].append(row)
    of_sets = {key: _by_data(own, data) for key, own in by_row.items()}
    # The baseline's missing seeds are missing in every difference.
    of_baseline = all(row["whole"] for row in pooled if not row["compared"])
    whole = {
        key
        for key, own in by_row.items()
        if tasks
        and of_baseline
        and all(row["whole"] for row in own)
        and {row["task"] for row in own if _can_pool(row)} == tasks
        and min(map(len, of_sets[key])) >= MIN_SEEDS
    }
    rivals = [key for key in whole if by_row[key][0]["trained"]]
    alpha = family_alpha([_freedom(of_sets[key]) for key in rivals])
    margins = {row["margin"] for row in pooled if row["metric"]}
    margin = next(iter(margins)) if len(margins) == 1 else None
    found = []
    for (method, loss), own in by_row.items():
        sets = of_sets[method, loss]
        figures = Pooled.nothing(len(sets))
        if (method, loss) in whole:
            figures = _pooled(own, sets, alpha if own[0]["trained"] else ALPHA)
        compared = any(row["compared"] for row in own)
        found.append(
            {
                "scope": name,
                "method": method,
                "loss": loss,
                "kind": own[0]["kind"],
                "tasks": len({row["task"] for row in own if _can_pool(row)}),
                "of_tasks": len(tasks),
                "sets": len(sets),
                "pooled": figures.mean,
                "low": figures.low,
                "high": figures.high,
                "tau": figures.tau,
                "i2": figures.i2,
                "next_low": figures.next_low,
                "next_high": figures.next_high,
                "improvement": _improvement(sets) if (method, loss) in whole else math.nan,
                "margin": margin,
                "verdict": _verdict(figures, margin, compared=compared),
                "not_pooled": ", ".join(
                    row["task"] for row in own if row["metric"] and row["unit"] != POINTS
                ),
            }
        )
    order = sorted(found, key=lambda each: (_sort_key(each), each["loss"], each["method"]))
    for place, each in enumerate(order, start=1):
        ranked = each["kind"] != CONTROL and not math.isnan(each["pooled"])
        ranked = ranked or each["verdict"] == BASELINE
        each["rank"] = float(place) if ranked else math.nan
    return order


def _freedom(sets: Sequence[Mapping[int, float]]) -> int:
    """Return the degrees of freedom of a pooled interval: over data sets, or seeds of the one."""
    return len(sets) - 1 if len(sets) > 1 else max(1, len(sets[0]) - 1)


def _verdict(figures: Pooled, margin: float | None, *, compared: bool) -> str:
    """Return the word of a pooled interval; empty for a row that was not pooled."""
    if not compared:
        return BASELINE
    return "" if math.isnan(figures.low) else word(figures.low, figures.high, margin)


def _sort_key(each: Mapping[str, Any]) -> tuple[bool, float]:
    """Return the order of a row: by its pooled difference, the baseline at 0."""
    if each["verdict"] == BASELINE:
        return False, 0.0
    last = math.isnan(each["pooled"]) or each["kind"] == CONTROL
    return last, 0.0 if math.isnan(each["pooled"]) else -each["pooled"]


def _can_pool(row: Row) -> bool:
    """Return whether a row's differences can be pooled."""
    whole: bool = row["comparable"] and row["unit"] == POINTS
    return whole and row["compared"] and not row["collapsed"]


def _by_data(rows: Sequence[Row], data: Mapping[str, str]) -> list[dict[int, float]]:
    """Return {seed: difference} of each data set: the mean over its tasks, better above 0."""
    variants: dict[str, list[dict[int, float]]] = defaultdict(list)
    for row in sorted(rows, key=lambda row: str(row["task"])):
        if _can_pool(row):
            sign = -1 if row["direction"] == "lower" else 1
            own = {seed: sign * value for seed, value in row["differences"].items()}
            variants[data[row["task"]]].append(own)
    return [
        {
            seed: float(np.mean([own[seed] for own in group]))
            for seed in sorted(set.intersection(*map(set, group)))
        }
        for group in variants.values()
    ]


def _pooled(rows: Sequence[Row], sets: Sequence[Mapping[int, float]], alpha: float) -> Pooled:
    # A mean of variants is at least as fine as the coarsest of them.
    known = [row["resolution"] for row in rows if not math.isnan(row["resolution"])]
    resolution = max(known, default=0.0)
    if len(sets) == 1:
        if len(rows) == 1:  # Its own interval, so that one task has one verdict.
            row = rows[0]
            ends = (row["difference_low"], row["difference_high"])
            low, high = (-ends[1], -ends[0]) if row["direction"] == "lower" else ends
            mean = float(np.mean(list(sets[0].values())))
            return Pooled.nothing(1)._replace(mean=mean, low=low, high=high)
        return _rounded(Pooled.of_one(list(sets[0].values()), resolution, alpha))
    values = [list(own.values()) for own in sets]
    errors = [
        math.sqrt((float(np.var(own, ddof=1)) + resolution**2 / 6) / len(own)) for own in values
    ]
    means = [float(np.mean(own)) for own in values]
    freedom = sum(map(len, values)) - len(values)
    return _rounded(pool(means, errors, freedom, alpha))


def _rounded(pooled: Pooled) -> Pooled:
    """Return the ends without digits that are rounding alone."""
    return pooled._replace(low=round(pooled.low, DIGITS), high=round(pooled.high, DIGITS))


def _improvement(sets: Sequence[Mapping[int, float]]) -> float:
    """Return the mean over data sets of the share of seeds that are better; a tie is half."""
    signs = [np.round(list(own.values()), DIGITS) for own in sets]
    shares = [np.mean((own > 0) + 0.5 * (own == 0)) for own in signs]
    return float(np.mean(shares))


def friedman_over_tasks(rows: pd.DataFrame) -> Friedman | str:
    """Return Friedman's test of the trained rows over tasks, or why there is none.

    If ``untrained`` were among them, it would find that training helps, and little else.
    """
    main = rows[rows["main"] & rows["trained"]]
    several = main["method"].nunique() > 1
    names = main["method"] + " / " + main["loss"] if several else main["loss"]
    means = main["block_mean"].where(main["direction"] != "lower", -main["block_mean"])
    table = main.assign(name=names, means=means).pivot(index="task", columns="name", values="means")
    complete = table.dropna(axis="columns")
    tasks, k = complete.shape
    if tasks < MIN_TASKS or k < 3:
        return (
            f"Friedman's test needs {MIN_TASKS} tasks and three trained rows with a score on each: "
            f"this board has {tasks} tasks and {k} such rows."
        )
    return friedman(complete.to_numpy(dtype=float), list(complete.columns))
