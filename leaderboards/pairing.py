"""What pairing buys: the variance of a difference, paired and had it not been."""

import math
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import pandas as pd

from leaderboards.panel import BASELINE
from leaderboards.statistics import FEWEST, pairing
from leaderboards.tables import Leaderboard, scored

PAIRING_COLUMNS = (
    "scope", "metric", "method", "loss", "seeds", "paired_variance", "unpaired_variance", "ratio",
)  # fmt: skip


def pairing_table(board: Leaderboard) -> pd.DataFrame:
    """Return both variances and their ratio for every loss on every task, and by modality.

    ``ratio`` is how many times more seeds the same precision would take if losses were
    compared over runs that share nothing. A modality's row pools its tasks' main metrics:
    it is the ratio of the sums of the variances. Fewer than three pairs give no ratio.
    """
    single = list(_rows(board))
    rows = list(single)
    for modality in dict.fromkeys(board.rows["modality"]):
        own = [r for r in single if r["modality"] == modality and r["main"]]
        paired = sum(r["paired_variance"] for r in own)
        unpaired = sum(r["unpaired_variance"] for r in own)
        if own:
            rows.append(
                {
                    "scope": f"all {modality} tasks",
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


def _rows(board: Leaderboard) -> Iterator[dict[str, Any]]:
    by_seed: dict[tuple[str, ...], dict[int, float]] = defaultdict(dict)
    wanted = ["task", "metric", "method", "loss", "seed", "value"]
    for *key, seed, value in scored(board.records)[wanted].itertuples(index=False):
        by_seed[tuple(key)][seed] = value
    for row in board.rows[board.rows["verdict"] != BASELINE].to_dict("records"):
        panel = row["task"], row["metric"], row["method"]
        a, b = by_seed[*panel, row["loss"]], by_seed[*panel, board.baseline]
        seeds = sorted(set(a) & set(b))
        if len(seeds) < FEWEST or row["pairs"] < len(seeds) or not row["trained"]:
            continue
        found = pairing([a[seed] for seed in seeds], [b[seed] for seed in seeds])
        yield {
            "scope": row["task"],
            "modality": row["modality"],
            "main": row["main"],
            "metric": row["metric"],
            "method": row["method"],
            "loss": row["loss"],
            "seeds": len(seeds),
            "paired_variance": found.paired,
            "unpaired_variance": found.unpaired,
            "ratio": _ratio(found.unpaired, found.paired),
        }


def _ratio(unpaired: float, paired: float) -> float:
    return unpaired / paired if paired > 0 else math.nan
