"""Over tasks: mean ranks, counts of verdicts, and Friedman's test."""

import math

import numpy as np
import pandas as pd

from leaderboards.analysis.rows import BASELINE, BETTER, EQUIVALENT, NOT_RESOLVED, WORSE
from leaderboards.analysis.tables import OVERALL_COLUMNS, REFERENCE
from leaderboards.statistics.ranking import MIN_TASKS, Friedman, friedman, mean_rank_intervals

ALL = "all"
KEY = ["method", "loss"]
RANKS = ["mean_rank", "rank_low", "rank_high"]


def overall_rows(rows: pd.DataFrame, scores: pd.DataFrame, baseline: str) -> pd.DataFrame:
    """Return a row per scope, method and loss; the scopes are ``all`` and each modality.

    A task counts once, by its main metric. Only rows that have a rank in every task of
    the scope get a mean rank, so that no average leaves a task out. In ``all`` every
    modality weighs the same, however many tasks it has. References, which have no rank,
    do not take part.

    Args:
        rows: the rows of every panel.
        scores: final test scores, one per row.
        baseline: the label of the loss whose seeds the ranks are over.
    """
    main = rows[rows["main"].astype(bool) & (rows["kind"] != REFERENCE)]
    modalities = list(dict.fromkeys(main["modality"]))
    scopes = [(ALL, main), *((m, main[main["modality"] == m]) for m in modalities)]
    tables = [_scope(name, part, scores, baseline) for name, part in scopes]
    return pd.concat(tables, ignore_index=True)[list(OVERALL_COLUMNS)]


def friedman_over_tasks(rows: pd.DataFrame) -> Friedman | str:
    """Return Friedman's test of the trained rows over tasks, or why there is none.

    ``untrained`` is left out: with it, the test would find that training helps, and little
    else.
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


def _scope(name: str, main: pd.DataFrame, scores: pd.DataFrame, baseline: str) -> pd.DataFrame:
    modality = main.drop_duplicates("task").set_index("task")["modality"]
    counted = main.assign(
        tasks=1,
        ranked=main["rank"].notna(),
        won=main["verdict"] == BETTER,
        tied=main["verdict"] == EQUIVALENT,
        lost=main["verdict"] == WORSE,
        not_resolved=main["verdict"] == NOT_RESOLVED,
        compared_with=main["verdict"] == BASELINE,
    )
    verdicts = ["won", "tied", "lost", "not_resolved", "compared_with"]
    rows = counted.groupby(KEY, sort=False)[["tasks", "ranked", *verdicts]].sum()
    # All other tasks are `cannot_tell`, those that the row was not run on included.
    with_verdict = rows[verdicts].sum(axis="columns")
    rows = rows.assign(
        scope=name,
        cannot_tell=len(modality) - with_verdict,
        **dict.fromkeys(RANKS, math.nan),
    )
    complete = rows["ranked"] == len(modality)
    if complete.any():
        # A task weighs 1 over the number of its modality's tasks.
        weights = [1 / float((modality == each).sum()) for each in modality]
        names = list(rows.index[complete])
        blocks = [_block(main, scores, task, names, baseline) for task in modality.index]
        rows.loc[complete, RANKS] = np.column_stack(mean_rank_intervals(blocks, weights))
    rows["rank"] = rows["mean_rank"].rank()
    return rows.reset_index().sort_values(["rank", "loss"], kind="stable")


def _block(
    main: pd.DataFrame,
    scores: pd.DataFrame,
    task: str,
    complete: list[tuple[str, str]],
    baseline: str,
) -> np.ndarray:
    """Return a task's scores by its main metric, [the baseline's seeds, rows]; higher is better."""
    metric, direction = main.loc[main["task"] == task, ["metric", "direction"]].iloc[0]
    here = scores[(scores["task"] == task) & (scores["metric"] == metric)]
    table = here.pivot(index="seed", columns=KEY, values="value")
    seeds = here.loc[here["loss"] == baseline, "seed"].unique()
    block: np.ndarray = table.loc[sorted(seeds), complete].to_numpy(dtype=float)
    return -block if direction == "lower" else block
