"""Over tasks: mean ranks, counts of verdicts, and Friedman's test."""

import math
from typing import Any

import numpy as np
import pandas as pd

from leaderboards.panel import BASELINE, BETTER, EQUIVALENT, NOT_RESOLVED, WORSE
from leaderboards.ranking import MIN_TASKS, Friedman, friedman, mean_rank_intervals
from leaderboards.tables import OVERALL_COLUMNS

ALL = "all"
KEY = ["method", "loss"]


def overall_rows(rows: pd.DataFrame, scores: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return a row a scope, method and loss; the scopes are ``all`` and each modality.

    A task counts once, by its main metric. Mean ranks are among the rows that have a
    rank in every task of the scope: another has none, and no average leaves a task
    out. In ``all`` every modality weighs the same, however many tasks it has.

    Args:
        rows: of every panel.
        scores: final test scores, one a row.
        baseline: whose seeds the ranks are over.
    """
    main = rows[rows["main"]]
    modalities = list(dict.fromkeys(main["modality"]))
    scopes = [(ALL, main), *((m, main[main["modality"] == m]) for m in modalities)]
    found = [_scope(name, part, scores, baseline) for name, part in scopes]
    return pd.DataFrame(
        [row for part in found for row in part], columns=list(OVERALL_COLUMNS)
    ).astype({"mean_rank": float, "rank_low": float, "rank_high": float, "rank": float})


def friedman_over_tasks(rows: pd.DataFrame) -> Friedman | str:
    """Return Friedman's test of the trained rows over tasks, or why there is none.

    With ``untrained`` among them it would find that training helps, and little else.
    """
    main = rows[rows["main"] & rows["trained"]]
    several = main["method"].nunique() > 1
    names = main["method"] + " / " + main["loss"] if several else main["loss"]
    table = main.assign(name=names).pivot(index="task", columns="name", values="block_mean")
    complete = table.dropna(axis="columns")
    tasks, k = complete.shape
    if tasks < MIN_TASKS or k < 3:
        return (
            f"It needs {MIN_TASKS} tasks and three trained rows with a score on each: here are "
            f"{tasks} tasks and {k} such rows."
        )
    return friedman(complete.to_numpy(dtype=float), list(complete.columns))


def _scope(
    name: str, main: pd.DataFrame, scores: pd.DataFrame, baseline: str
) -> list[dict[str, Any]]:
    tasks = list(dict.fromkeys(main["task"]))
    ranked = main[main["rank"].notna()]
    counts = ranked.groupby(KEY, sort=False)["task"].nunique()
    complete = list(counts[counts == len(tasks)].index)
    ranks: dict[object, tuple[float, float, float]] = {}
    if complete:
        per_modality = main.drop_duplicates("task")["modality"].value_counts()
        modality = main.drop_duplicates("task").set_index("task")["modality"]
        weights = [1 / float(per_modality[modality[task]]) for task in tasks]
        blocks = [_block(main, scores, task, complete, baseline) for task in tasks]
        mean, low, high = mean_rank_intervals(blocks, weights)
        ranks = dict(zip(complete, zip(mean, low, high, strict=True), strict=True))
    order = pd.Series({key: mean for key, (mean, _, _) in ranks.items()}, dtype=float).rank()
    rows: list[dict[str, Any]] = []
    for key, group in main.groupby(KEY, sort=False):
        own = ranks.get(key, (math.nan, math.nan, math.nan))
        verdicts = group["verdict"].value_counts()
        won, lost = int(verdicts.get(BETTER, 0)), int(verdicts.get(WORSE, 0))
        tied = int(verdicts.get(EQUIVALENT, 0)) + int(verdicts.get(NOT_RESOLVED, 0))
        told = won + lost + tied + int(verdicts.get(BASELINE, 0))
        unknown = len(tasks) - told
        rows.append(
            {
                "scope": name,
                "method": key[0],
                "loss": key[1],
                "tasks": group["task"].nunique(),
                "mean_rank": own[0],
                "rank_low": own[1],
                "rank_high": own[2],
                "won": won,
                "tied": tied,
                "lost": lost,
                "cannot_tell": unknown,
                "rank": order.get(key, math.nan),
            }
        )
    return sorted(rows, key=lambda row: (np.isnan(row["rank"]), row["rank"], str(row["loss"])))


def _block(
    main: pd.DataFrame,
    scores: pd.DataFrame,
    task: str,
    complete: list[tuple[str, str]],
    baseline: str,
) -> np.ndarray:
    """Return a task's scores by its main metric, [the baseline's seeds, rows]."""
    metric = main.loc[main["task"] == task, "metric"].iloc[0]
    here = scores[(scores["task"] == task) & (scores["metric"] == metric)]
    table = here.pivot(index="seed", columns=KEY, values="value")
    seeds = here.loc[here["loss"] == baseline, "seed"].unique()
    block: np.ndarray = table.loc[sorted(seeds), complete].to_numpy(dtype=float)
    return block
