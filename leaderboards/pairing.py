"""What pairing buys: the variance of a difference, paired and had it not been."""

import math
from collections import defaultdict
from typing import Any

import pandas as pd

from leaderboards.panel import BASELINE
from leaderboards.statistics import FEWEST, of_samples, pairing
from leaderboards.tables import ROW, Leaderboard, each_row, scored

PAIRING_COLUMNS = (
    "scope", "metric", "method", "loss", "seeds", "paired_variance", "unpaired_variance", "ratio",
)  # fmt: skip


def pairing_table(board: Leaderboard) -> pd.DataFrame:
    """Return both variances and their ratio for every loss on every task, and by modality.

    ``ratio`` is how many times more seeds the same precision would take if losses were
    compared over runs that share nothing. A modality's row pools its tasks' main metrics:
    it is the ratio of the sums of the variances, and says how many comparisons it lacks.
    Fewer than three pairs, or a row with seeds that are not paired, give none.
    """
    single = _rows(board)
    rows = list(single)
    rivals = board.rows[
        board.rows["main"] & board.rows["trained"] & (board.rows["verdict"] != BASELINE)
    ]
    for modality in dict.fromkeys(board.rows["modality"]):
        own = [r for r in single if r["modality"] == modality and r["main"]]
        asked = int((rivals["modality"] == modality).sum())
        paired = sum(r["paired_variance"] for r in own)
        unpaired = sum(r["unpaired_variance"] for r in own)
        if own:
            rows.append(
                {
                    "scope": f"all {modality} tasks"
                    if len(own) == asked
                    else f"{len(own)} of {asked} {modality} comparisons",
                    "metric": "main",
                    "method": "",
                    "loss": "all",
                    "seeds": min(r["seeds"] for r in own),
                    "paired_variance": paired,
                    "unpaired_variance": unpaired,
                    "ratio": _ratio(unpaired, paired),
                }
            )
    return pd.DataFrame(rows, columns=list(PAIRING_COLUMNS))


def _rows(board: Leaderboard) -> list[dict[str, Any]]:
    by_seed: dict[tuple[str, ...], dict[int, float]] = defaultdict(dict)
    for *key, seed, value in each_row(scored(board.records, [*ROW, "seed", "value"])):
        by_seed[tuple(key)][seed] = value
    rows, scores, baselines = [], [], []
    for row in board.rows[board.rows["verdict"] != BASELINE].to_dict("records"):
        a = by_seed[row["task"], row["metric"], row["method"], row["loss"]]
        b = by_seed[row["task"], row["metric"], row["method"], board.baseline]
        seeds = sorted(a.keys() & b.keys())
        if len(seeds) >= FEWEST and row["pairs"] >= len(seeds) and row["trained"]:
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
            "seeds": len(own),
            "paired_variance": paired,
            "unpaired_variance": unpaired,
            "ratio": _ratio(unpaired, paired),
        }
        for row, own, (paired, unpaired) in zip(rows, scores, variances, strict=True)
    ]


def _ratio(unpaired: float, paired: float) -> float:
    return unpaired / paired if paired > 0 else math.nan
