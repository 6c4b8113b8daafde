"""One task and metric: a row for every method and loss, against the baseline."""

import math
from collections.abc import Iterator
from typing import Any

import pandas as pd

from leaderboards.statistics import (
    ALPHA,
    FEWEST,
    LEVEL,
    bayesian_t,
    bootstrap_interval,
    holm,
    mean_interval,
    paired_p,
    seeds_needed,
)

CANNOT_TELL = "cannot tell"
NOT_RESOLVED = "not resolved"
EQUIVALENT = "equivalent"
BETTER, WORSE = "better", "worse"
Row = dict[str, Any]


def panel_rows(panel: pd.DataFrame, baseline: str, rope: float) -> list[Row]:
    """Return the rows of one task and metric.

    Args:
        panel: final test scores of that metric, and the cells that have none.
        baseline: the label of the loss to compare with.
        rope: half the width of the region of practical equivalence, in points.
    """
    done = panel[panel["status"] == "done"]
    block = set(done.loc[done["loss"] == baseline, "seed"])
    rows = []
    for (method, loss), group in panel.groupby(["method", "loss"], sort=False):
        scores = group[group["status"] == "done"]
        reference = done[(done["method"] == method) & (done["loss"] == baseline)]
        differences = paired_differences(scores, reference)
        compared = loss != baseline
        interval = mean_interval(differences)
        wide = bootstrap_interval(differences) if compared else interval
        posterior = bayesian_t(differences, rope)
        on_block = scores[scores["seed"].isin(block)]
        rows.append(
            {
                "task": group["task"].iloc[0],
                "modality": group["modality"].iloc[0],
                "method": method,
                "loss": loss,
                "spec": _one(group["spec"]),
                "mean": scores["value"].mean(),
                "std": scores["value"].std(),
                "seeds": len(scores),
                "planned": group["seed"].nunique(),
                "difference": interval.mean,
                "difference_low": interval.low,
                "difference_high": interval.high,
                "bootstrap_low": wide.low,
                "bootstrap_high": wide.high,
                "pairs": len(differences),
                "p": paired_p(differences) if compared else math.nan,
                "better": posterior.better if compared else math.nan,
                "equivalent": posterior.equivalent if compared else math.nan,
                "worse": posterior.worse if compared else math.nan,
                "seeds_needed": seeds_needed(differences) if compared else math.nan,
                "on_block": on_block["value"].mean()
                if block and len(on_block) == len(block)
                else math.nan,
                "trained": bool((group["steps"] != 0).any()),
            }
        )
    _correct(rows, baseline)
    _rank(rows, done)
    return rows


def paired_differences(scores: pd.DataFrame, baseline: pd.DataFrame) -> list[float]:
    """Return score less baseline by seed, for the seeds that are truly paired.

    Both are rows of one task, metric and method, one a seed. Paired are those that
    started from the same weights, splits, data and code and, where both were trained,
    saw the same batches and views.
    """
    pairs = scores.merge(baseline, on="seed", suffixes=("", "_baseline"))
    untrained = (pairs["steps"] == 0) | (pairs["steps_baseline"] == 0)
    same_start = pairs["start"] == pairs["start_baseline"]
    pairs = pairs[same_start & (untrained | (pairs["seen"] == pairs["seen_baseline"]))]
    pairs = pairs.sort_values("seed")
    return [float(d) for d in pairs["value"] - pairs["value_baseline"]]


def verdict(row: Row) -> str:
    """Return in a word what the differences show.

    ``cannot tell`` from fewer than three pairs; ``equivalent`` where the posterior puts
    95% inside the region of practical equivalence; ``better`` or ``worse`` where Holm's
    corrected p-value is below .05; else ``not resolved``.
    """
    if row["pairs"] < FEWEST:
        return CANNOT_TELL
    if row["equivalent"] >= LEVEL:
        return EQUIVALENT
    if row["p_holm"] < ALPHA:
        return BETTER if row["difference"] > 0 else WORSE
    return NOT_RESOLVED


def _correct(rows: list[Row], baseline: str) -> None:
    """Add Holm's p-values and the verdicts: a family is the losses trained by one method.

    ``untrained`` is the floor and no rival: it is not in the family, and not corrected.
    """
    for row in rows:
        row["p_holm"] = row["p"]
    for family in _by_method([row for row in rows if row["trained"]]):
        tested = [row for row in family if row["pairs"] >= FEWEST]
        for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
            row["p_holm"] = p
    for row in rows:
        row["verdict"] = "baseline" if row["loss"] == baseline else verdict(row)


def _rank(rows: list[Row], done: pd.DataFrame) -> None:
    """Add ranks over the baseline's seeds, the best row, and those not told from it."""
    means = pd.Series([row["on_block"] for row in rows], dtype=float)
    ranks = means.rank(ascending=False, method="average")
    for row, rank in zip(rows, ranks, strict=True):
        row.update(rank=rank, best=rank == ranks.min(), near_best=False)
    for best in [row for row in rows if row["best"]][:1]:
        top = _scores(done, best)
        rivals = [r for r in rows if r["method"] == best["method"] and r is not best]
        differences = [paired_differences(_scores(done, rival), top) for rival in rivals]
        tested = [d if len(d) >= FEWEST else [] for d in differences]
        for rival, p in zip(rivals, holm([paired_p(d) for d in tested]), strict=True):
            rival["near_best"] = p >= ALPHA and not math.isnan(rival["rank"])


def _scores(done: pd.DataFrame, row: Row) -> pd.DataFrame:
    own: pd.DataFrame = done[(done["method"] == row["method"]) & (done["loss"] == row["loss"])]
    return own


def _by_method(rows: list[Row]) -> Iterator[list[Row]]:
    for method in dict.fromkeys(row["method"] for row in rows):
        yield [row for row in rows if row["method"] == method]


def _one(specs: pd.Series) -> str:
    """Return the spec of a row: all of its seeds have the same."""
    return ", ".join(dict.fromkeys(specs.astype(str)))
