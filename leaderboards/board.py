"""The leaderboard: a row per task, metric, method and loss, from a table of scores."""

import math

import pandas as pd

from leaderboards.statistics import mean_interval

BOARD_COLUMNS = (
    "task", "modality", "metric", "method", "loss", "mean", "std", "seeds",
    "difference", "difference_low", "difference_high", "rank",
)  # fmt: skip
TIDY_COLUMNS = (
    "task", "modality", "method", "loss", "seed", "split", "metric", "value", "steps", "seconds",
)  # fmt: skip
NEEDED_COLUMNS = (*TIDY_COLUMNS, "start", "seen")
MODALITIES = ("image", "sentence", "graph")
OVERALL = "overall"
MEAN_RANK = "mean_rank"


def leaderboard(
    records: pd.DataFrame, baseline: str | None = None, *, split: str = "test"
) -> pd.DataFrame:
    """Return the board of ``records``, with an overall mean rank per method and loss.

    A row has the mean and standard deviation (n - 1) of its scores over seeds and
    their number. ``difference`` is the mean over seeds of this row's score less the
    baseline's of the same task, metric, method and seed, with its 95% Student t
    interval; only pairs count that started from the same weights, splits, data and
    code and, where both were trained, saw the same batches and views. ``rank`` is
    the rank in the task of the mean over the baseline's seeds, 1 the highest, ties
    averaged; a row that lacks one of those seeds has none.

    The rows of the task ``overall`` hold in ``mean`` and ``std`` the mean and
    deviation over tasks of a method and loss's rank (averaged over a task's metrics
    first), in ``seeds`` the fewest that it has in any task, and in ``rank`` the
    order of that mean. It is left empty where a rank is missing in any task.

    Args:
        records: one row a score, with the columns ``NEEDED_COLUMNS``.
        baseline: a loss; without it, ``infonce`` where present, else the first one.
        split: which split's scores to show.

    Raises:
        ValueError: where a column, the split or the baseline is not in ``records``.
    """
    missing = [column for column in NEEDED_COLUMNS if column not in records]
    if missing:
        raise ValueError(f"`records` must have the columns {missing}: got {list(records)}.")
    scores = records[records["split"] == split]
    if scores.empty:
        found = sorted(records["split"].unique())
        raise ValueError(f"`split` must be one of {found}: got {split!r}.")
    losses = list(dict.fromkeys(scores["loss"]))
    baseline = baseline or ("infonce" if "infonce" in losses else losses[0])
    if baseline not in losses:
        raise ValueError(f"`baseline` must be one of {', '.join(losses)}: got {baseline!r}.")
    rows: list[dict[str, object]] = []
    for _, panel in scores.groupby(["task", "metric"], sort=False):
        rows += _panel_rows(panel, baseline)
    board = pd.DataFrame(rows, columns=list(BOARD_COLUMNS))
    others = sorted(set(board["modality"]) - set(MODALITIES))
    order = {name: place for place, name in enumerate([*MODALITIES, *others])}
    board["place"] = board["modality"].map(order)
    board = board.sort_values(["place", "task", "metric", "rank", "loss"], kind="stable")
    board = board[list(BOARD_COLUMNS)]
    board = pd.concat([board, _overall(board)], ignore_index=True)
    board.attrs["baseline"] = baseline
    return board


def tidy(records: pd.DataFrame) -> pd.DataFrame:
    """Return one row a score, with the columns ``TIDY_COLUMNS``, in a fixed order."""
    keys = ["task", "method", "loss", "seed", "split", "metric"]
    return records.sort_values(keys, ignore_index=True)[list(TIDY_COLUMNS)]


def paired_differences(scores: pd.DataFrame, baseline: pd.DataFrame) -> pd.Series:
    """Return score less baseline by seed, for the seeds that are truly paired.

    Both are rows of one task, metric and method, one a seed.
    """
    pairs = scores.merge(baseline, on="seed", suffixes=("", "_baseline"))
    untrained = (pairs["steps"] == 0) | (pairs["steps_baseline"] == 0)
    same_start = pairs["start"] == pairs["start_baseline"]
    pairs = pairs[same_start & (untrained | (pairs["seen"] == pairs["seen_baseline"]))]
    pairs = pairs.set_index("seed")
    return pairs["value"] - pairs["value_baseline"]


def _panel_rows(panel: pd.DataFrame, baseline: str) -> list[dict[str, object]]:
    """Return the rows of one task and metric."""
    groups = [group for _, group in panel.groupby(["method", "loss"], sort=False)]
    block = set(panel.loc[panel["loss"] == baseline, "seed"])
    blocks = [group[group["seed"].isin(block)] for group in groups]
    means = [rows["value"].mean() if len(rows) == len(block) else math.nan for rows in blocks]
    ranks = pd.Series(means, dtype=float).rank(ascending=False, method="average")
    rows: list[dict[str, object]] = []
    for group, rank in zip(groups, ranks, strict=True):
        first = group.iloc[0]
        same_method = panel["method"] == first["method"]
        reference = panel[same_method & (panel["loss"] == baseline)]
        interval = mean_interval(paired_differences(group, reference).tolist())
        rows.append(
            {
                "task": first["task"],
                "modality": first["modality"],
                "metric": first["metric"],
                "method": first["method"],
                "loss": first["loss"],
                "mean": group["value"].mean(),
                "std": group["value"].std(),
                "seeds": len(group),
                "difference": interval.mean,
                "difference_low": interval.low,
                "difference_high": interval.high,
                "rank": rank,
            }
        )
    return rows


def _overall(board: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of mean ranks, best first."""
    tasks = board["task"].nunique()
    rows = []
    for (method, loss), group in board.groupby(["method", "loss"], sort=False):
        by_task = group.groupby("task")["rank"].apply(lambda ranks: ranks.mean(skipna=False))
        complete = len(by_task) == tasks and bool(by_task.notna().all())
        rows.append(
            {
                "task": OVERALL,
                "modality": OVERALL,
                "metric": MEAN_RANK,
                "method": method,
                "loss": loss,
                "mean": by_task.mean() if complete else math.nan,
                "std": by_task.std() if complete else math.nan,
                "seeds": int(group["seeds"].min()),
            }
        )
    overall = pd.DataFrame(rows, columns=list(BOARD_COLUMNS))
    overall["rank"] = overall["mean"].rank(method="average")
    floats = ["difference", "difference_low", "difference_high"]
    overall[floats] = overall[floats].astype(float)
    return overall.sort_values(["rank", "loss"], kind="stable")
