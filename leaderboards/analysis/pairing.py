"""What pairing buys: the variance of a difference with and without it."""

import math
from collections import defaultdict
from typing import Any

import pandas as pd

from leaderboards.analysis.leaderboard import Leaderboard
from leaderboards.analysis.tables import ROW, each_row, scored
from leaderboards.analysis.words import BASELINE
from leaderboards.statistics.paired import MIN_BOOTSTRAP, of_samples, pairing

PAIRING_COLUMNS = (
    "scope", "metric", "method", "loss", "seeds", "paired_variance", "unpaired_variance", "ratio",
)  # fmt: skip


def pairing_table(board: Leaderboard) -> pd.DataFrame:
    """Return both variances and their ratio for every loss on every task, and by modality.

    ``ratio`` is how many times more seeds the same precision would take if losses were
    compared over runs that share nothing. A modality's row pools its tasks' main metrics:
    it is the ratio of the sums of the variances, and its scope says how many comparisons it
    has. A comparison with fewer than three pairs, or with seeds that are not paired, has none.
    """
    comparisons = _rows(board)
    rows = list(comparisons)
    rivals = board.rows[
        board.rows["main"] & board.rows["trained"] & (board.rows["verdict"] != BASELINE)
    ]
    for modality in dict.fromkeys(board.rows["modality"]):
        pooled = [r for r in comparisons if r["modality"] == modality and r["main"]]
        possible = int((rivals["modality"] == modality).sum())
        paired = sum(r["paired_variance"] for r in pooled)
        unpaired = sum(r["unpaired_variance"] for r in pooled)
        if pooled:
            rows.append(
                {
                    "scope": f"all {modality} tasks"
                    if len(pooled) == possible
                    else f"{len(pooled)} of {possible} {modality} comparisons",
                    "metric": "main",
                    "method": "",
                    "loss": "all",
                    "seeds": min(r["seeds"] for r in pooled),
                    "paired_variance": paired,
                    "unpaired_variance": unpaired,
                    "ratio": _ratio(unpaired, paired),
                }
            )
    return pd.DataFrame(rows, columns=list(PAIRING_COLUMNS))


def _rows(board: Leaderboard) -> list[dict[str, Any]]:
    by_seed: dict[tuple[str, ...], dict[int, float]] = defaultdict(dict)
    base = (board.baseline_method, board.baseline)
    for *key, seed, value in each_row(scored(board.records, [*ROW, "seed", "value"])):
        by_seed[tuple(key)][seed] = value
    # The variances of all rows are computed at once, so collect the rows' scores first.
    rows, scores, baselines = [], [], []
    for row in board.rows[board.rows["verdict"] != BASELINE].to_dict("records"):
        a = by_seed[row["task"], row["metric"], row["method"], row["loss"]]
        b = by_seed[(row["task"], row["metric"], *base)]
        seeds = sorted(a.keys() & b.keys())
        if len(seeds) >= MIN_BOOTSTRAP and row["pairs"] >= len(seeds) and row["trained"]:
            rows.append(row)
            scores.append([a[seed] for seed in seeds])
            baselines.append([b[seed] for seed in seeds])
    variances = of_samples(pairing, scores, baselines).T.tolist()
    return [
        {
            "scope": row["task"],
            "modality": row["modality"],
            "main": row["main"],
            "metric": row["metric"],
            "method": row["method"],
            "loss": row["loss"],
            "seeds": len(values),
            "paired_variance": paired,
            "unpaired_variance": unpaired,
            "ratio": _ratio(unpaired, paired),
        }
        for row, values, (paired, unpaired) in zip(rows, scores, variances, strict=True)
    ]


def _ratio(unpaired: float, paired: float) -> float:
    return unpaired / paired if paired > 0 else math.nan
