"""One task and metric: a row for every method and loss, against the baseline."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from leaderboards.statistics import (
    ALPHA,
    FEWEST,
    LEVEL,
    Interval,
    bayesian_t,
    bootstrap_interval,
    holm,
    mean_interval,
    paired_p,
    seeds_needed,
)

UNTRAINED = "untrained"
BASELINE = "baseline"
CANNOT_TELL = "cannot tell"
INCOMPLETE = "incomplete"
NOT_RESOLVED = "not resolved"
EQUIVALENT = "equivalent"
BETTER, WORSE = "better", "worse"
NEEDED = ["task", "modality", "method", "loss", "spec", "seed", "status", "value", "steps",
          "start", "seen"]  # fmt: skip
Row = dict[str, Any]


class Run(NamedTuple):
    """One seed of a row: its score, and what tells whether another is paired with it."""

    value: float
    steps: int
    start: str
    seen: str


Runs = Mapping[int, Run]


def panel_rows(panel: pd.DataFrame, baseline: str, rope: float) -> list[Row]:
    """Return the rows of one task and metric.

    Args:
        panel: final test scores of that metric, and the cells that have none.
        baseline: the label of the loss to compare with.
        rope: half the width of the region of practical equivalence, in points.
    """
    cells: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for cell in panel[NEEDED].to_dict("records"):
        cells[cell["method"], cell["loss"]].append({str(key): cell[key] for key in NEEDED})
    runs = {key: _runs(own) for key, own in cells.items()}
    block = {
        cell["seed"]
        for (_, loss), own in cells.items()
        for cell in own
        if loss == baseline and cell["status"] != "missing"
    }
    if not all(block <= own.keys() for (_, loss), own in runs.items() if loss == baseline):
        block = set()  # The baseline failed somewhere: then nobody is ranked on what is left.
    rows = []
    for (method, loss), own in cells.items():
        scored = runs[method, loss]
        scores = [run.value for run in scored.values()]
        differences = paired_differences(scored, runs.get((method, baseline), {}))
        compared = loss != baseline
        p = paired_p(differences) if compared else math.nan
        interval = mean_interval(differences)
        if compared and math.isnan(p):  # Too few, or equal: nothing to judge them by.
            interval = Interval(interval.mean, math.nan, math.nan)
        wide = bootstrap_interval(differences) if compared else interval
        posterior = bayesian_t(differences, rope)
        complete = bool(block) and block <= scored.keys()
        rows.append(
            {
                "task": own[0]["task"],
                "modality": own[0]["modality"],
                "method": method,
                "loss": loss,
                "spec": ", ".join(dict.fromkeys(str(cell["spec"]) for cell in own)),
                "mean": float(np.mean(scores)) if scores else math.nan,
                "std": float(np.std(scores, ddof=1)) if len(scores) > 1 else math.nan,
                "seeds": len(scores),
                "planned": len({cell["seed"] for cell in own}),
                "difference": interval.mean,
                "difference_low": interval.low,
                "difference_high": interval.high,
                "bootstrap_low": wide.low,
                "bootstrap_high": wide.high,
                "pairs": len(differences),
                "p": p,
                "better": posterior.better if compared else math.nan,
                "equivalent": posterior.equivalent if compared else math.nan,
                "worse": posterior.worse if compared else math.nan,
                "block_mean": float(np.mean([scored[seed].value for seed in block]))
                if complete
                else math.nan,
                "trained": loss != UNTRAINED,
                "failed": len({c["seed"] for c in own if c["status"] in ("failed", "diverged")}),
                "differences": differences if compared else [],
                "learned": _learned(scored, runs.get((method, UNTRAINED), {})),
            }
        )
    _correct(rows, baseline)
    _rank(rows, runs)
    return rows


def paired_differences(scores: Runs, baseline: Runs) -> list[float]:
    """Return score less baseline by seed, for the seeds that are truly paired.

    Paired are those that started from the same weights, splits, data and code and,
    where both were trained, saw the same batches and views.
    """
    found = []
    for seed in sorted(scores.keys() & baseline.keys()):
        one, other = scores[seed], baseline[seed]
        untrained = one.steps == 0 or other.steps == 0
        if one.start == other.start and (untrained or one.seen == other.seen):
            found.append(one.value - other.value)
    return found


def verdict(row: Row) -> str:
    """Return in a word what the differences show.

    ``incomplete`` where a seed of it or of the baseline failed or diverged: those that
    are left are no fair sample; ``cannot tell`` from fewer than three pairs; ``equivalent``
    where the posterior puts 95% inside the region of practical equivalence; ``better`` or
    ``worse`` where Holm's corrected p-value is below .05; else ``not resolved``.
    """
    if row["failed"] or row["baseline_failed"]:
        return INCOMPLETE
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
    Seeds needed are at the level of Holm's first step, .05 over the number of losses.
    """
    for row in rows:
        row["p_holm"] = row["p"]
        row["seeds_needed"] = seeds_needed(row["differences"])
    for family in _by_method([row for row in rows if row["trained"]]):
        tested = [row for row in family if row["pairs"] >= FEWEST]
        for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
            row["p_holm"] = p
            row["seeds_needed"] = seeds_needed(row["differences"], ALPHA / len(tested))
    failed = {row["method"]: row["failed"] for row in rows if row["loss"] == baseline}
    for row in rows:
        row["baseline_failed"] = failed.get(row["method"], 0)
        row["verdict"] = BASELINE if row["loss"] == baseline else verdict(row)


def _rank(rows: list[Row], runs: Mapping[tuple[str, str], Runs]) -> None:
    """Add ranks over the baseline's seeds, the best row, and those not told from it.

    Told apart are only rows that were tested: of the same method, with three pairs.
    """
    means = pd.Series([row["block_mean"] for row in rows], dtype=float)
    ranks = means.rank(ascending=False, method="average")
    for row, rank in zip(rows, ranks, strict=True):
        row.update(rank=rank, best=rank == ranks.min(), near_best=False)
    for best in [row for row in rows if row["best"]][:1]:
        top = runs[best["method"], best["loss"]]
        rivals = [r for r in rows if r["method"] == best["method"] and r is not best]
        rivals = [r for r in rivals if r["trained"] or not best["trained"]]
        differences = [paired_differences(runs[r["method"], r["loss"]], top) for r in rivals]
        tested = [d if len(d) >= FEWEST else [] for d in differences]
        for rival, p in zip(rivals, holm([paired_p(d) for d in tested]), strict=True):
            rival["told"] = p < ALPHA  # NaN, where too few pairs were tested, is not told.
        for row in rows:
            told = row.pop("told", False) or (best["trained"] and not row["trained"])
            row["near_best"] = row is not best and not told and not math.isnan(row["rank"])


def _learned(scores: Runs, floor: Runs) -> bool | None:
    """Return whether a row is shown to be above ``untrained``; None where it cannot be."""
    differences = paired_differences(scores, floor)
    if len(differences) < FEWEST or scores is floor:
        return None
    return float(np.mean(differences)) > 0 and not paired_p(differences) >= ALPHA


def _runs(cells: list[Row]) -> Runs:
    return {
        cell["seed"]: Run(cell["value"], cell["steps"], cell["start"], cell["seen"])
        for cell in cells
        if cell["status"] == "done"
    }


def _by_method(rows: list[Row]) -> Iterator[list[Row]]:
    for method in dict.fromkeys(row["method"] for row in rows):
        yield [row for row in rows if row["method"] == method]
