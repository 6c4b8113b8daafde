"""One task and metric: a row for every method and loss, against the baseline."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from leaderboards.pairs import Pair, pair_of
from leaderboards.statistics import (
    ALPHA,
    DIGITS,
    FEWEST,
    LEVEL,
    bayesian_t,
    bootstrap_interval,
    holm,
    mean_interval,
    of_samples,
    paired_p,
    seeds_needed,
    spread,
    unjudged,
)
from leaderboards.tables import REFERENCE, TRAINED, UNTRAINED

BASELINE = "baseline"
CANNOT_TELL = "cannot tell"
INCOMPLETE = "incomplete"
NOT_RESOLVED = "not resolved"
EQUIVALENT = "equivalent"
BETTER, WORSE = "better", "worse"
Row = dict[str, Any]


class Cell(NamedTuple):
    """One seed of a row: its score, and the proof that tells which cells are paired with it."""

    task: str
    modality: str
    method: str
    loss: str
    kind: str
    spec: str
    seed: int
    status: str
    collapsed: str
    value: float
    steps: int
    proof: str


Runs = Mapping[int, Cell]
"""A row's cells that have a score, by seed."""


def panel_rows(
    panel: pd.DataFrame, baseline: str, rope: float, *, lower: bool = False
) -> list[Row]:
    """Return the rows of one task and metric.

    Args:
        panel: final test scores of that metric, and the cells that have none.
        baseline: the label of the loss to compare with.
        rope: half the width of the region of practical equivalence, in points.
        lower: whether lower scores are better.
    """
    if lower:  # Below, higher is better; `_turn` restores the sign of scores and differences.
        panel = panel.assign(value=-panel["value"])
    cells: dict[tuple[str, str], list[Cell]] = defaultdict(list)
    for cell in map(Cell, *(panel[name].tolist() for name in Cell._fields)):
        cells[cell.method, cell.loss].append(cell)
    runs = {
        key: {cell.seed: cell for cell in own if cell.status == "done"}
        for key, own in cells.items()
    }
    block = {
        cell.seed
        for (_, loss), own in cells.items()
        for cell in own
        if loss == baseline and cell.status != "missing"
    }
    if not all(block <= own.keys() for (_, loss), own in runs.items() if loss == baseline):
        block = set()  # The baseline failed at a seed: no row is ranked on the other seeds.
    floors = {
        method: runs[method, loss]
        for (method, loss), own in cells.items()
        if own[0].kind == UNTRAINED
    }
    rows = []
    for (method, loss), own in cells.items():
        scored, kind = runs[method, loss], own[0].kind
        found = pairs(scored, runs.get((method, baseline), {}))
        differences = paired_differences(scored, runs.get((method, baseline), {}))
        complete = bool(block) and block <= scored.keys() and kind != REFERENCE
        rows.append(
            {
                "task": own[0].task,
                "modality": own[0].modality,
                "method": method,
                "loss": loss,
                "kind": kind,
                "spec": ", ".join(dict.fromkeys(str(cell.spec) for cell in own)),
                "seeds": len(scored),
                "planned": len({cell.seed for cell in own}),
                "pairs": len(differences),
                "block_mean": float(np.mean([scored[seed].value for seed in block]))
                if complete
                else math.nan,
                "trained": kind == TRAINED,
                "scores": [run.value for run in scored.values()],
                "failed": len({c.seed for c in own if c.status in ("failed", "diverged")}),
                "collapsed": sum(run.collapsed not in ("", None) for run in scored.values()),
                "differences": differences,
                "found": found,
                "to_untrained": paired_differences(scored, floors.get(method, {})),
            }
        )
    _compare(rows, baseline, rope)
    _correct(rows, baseline)
    _learn(rows)
    _rank(rows, runs)
    if lower:
        for row in rows:
            _turn(row)
    return rows


def _turn(row: Row) -> None:
    """Restore the sign of a row's scores and differences, where lower is better."""
    for name in ("mean", "block_mean", "difference"):
        row[name] = -row[name]
    for name in ("difference", "bootstrap"):
        row[f"{name}_low"], row[f"{name}_high"] = -row[f"{name}_high"], -row[f"{name}_low"]
    for name in ("scores", "differences", "to_untrained"):
        row[name] = [-value for value in row[name]]


def pairs(scores: Runs, others: Runs, *, settings: bool = False) -> dict[int, Pair]:
    """Return {seed: whether the two cells are a pair, and why not} for the seeds that both have.

    Args:
        scores: a row's cells.
        others: the cells that they are compared with.
        settings: whether they are of two settings of one task: see :func:`pair_of`.
    """
    return {
        seed: pair_of(scores[seed].proof, others[seed].proof, settings=settings)
        for seed in sorted(scores.keys() & others.keys())
    }


def paired_differences(scores: Runs, others: Runs, *, settings: bool = False) -> list[float]:
    """Return the score minus the other's score, for each seed at which they are a pair."""
    return [
        scores[seed].value - others[seed].value
        for seed, pair in pairs(scores, others, settings=settings).items()
        if pair.paired
    ]


def verdict(row: Row) -> str:
    """Return in a word what the differences show.

    ``incomplete``: a seed of the row or of the baseline failed or diverged, so that the
    remaining seeds are a biased sample. ``cannot tell``: there are fewer than three pairs.
    ``equivalent``: the posterior puts 95% inside the region of practical equivalence.
    ``better`` or ``worse``: Holm's corrected p-value is below .05. ``not resolved``: none
    of these.
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


def _compare(rows: list[Row], baseline: str, rope: float) -> None:
    """Add the statistics of each row's scores and of their differences to the baseline."""
    score, deviation = of_samples(spread, [row["scores"] for row in rows])
    differences = [row["differences"] for row in rows]
    compared = np.array([row["loss"] != baseline for row in rows])
    mean, low, high = of_samples(mean_interval, differences)
    _, bootstrap_low, bootstrap_high = of_samples(bootstrap_interval, differences)
    p = np.where(compared, of_samples(paired_p, differences)[0], math.nan)
    masses = of_samples(partial(bayesian_t, rope=rope), differences)
    better, equivalent, worse = np.where(compared, masses, math.nan)
    without = compared & of_samples(unjudged, differences)[0]
    few = np.array([row["pairs"] < FEWEST for row in rows])
    p, better, equivalent, worse, bootstrap_low, bootstrap_high = (
        np.where(few, math.nan, figure)
        for figure in (p, better, equivalent, worse, bootstrap_low, bootstrap_high)
    )
    found = {
        "mean": score,
        "std": deviation,
        "difference": mean,
        "difference_low": np.where(without, math.nan, low),
        "difference_high": np.where(without, math.nan, high),
        "bootstrap_low": np.where(without, math.nan, bootstrap_low),
        "bootstrap_high": np.where(without, math.nan, bootstrap_high),
        "p": p,
        "better": better,
        "equivalent": equivalent,
        "worse": worse,
    }
    for row, *figures in zip(rows, *(each.tolist() for each in found.values()), strict=True):
        row.update(zip(found, figures, strict=True))


def _correct(rows: list[Row], baseline: str) -> None:
    """Add Holm's p-values and the verdicts: a family is the losses trained by one method.

    ``untrained`` is the floor and a reference is a mark; neither is a rival. They are not in
    the family, and their p-values are not corrected. The seeds needed are for the level of
    Holm's first step, .05 over the number of losses.
    """
    for row in rows:
        row.update(p_holm=row["p"], alpha=ALPHA)
    for family in _by_method([row for row in rows if row["trained"]]):
        tested = [row for row in family if row["pairs"] >= FEWEST and row["loss"] != baseline]
        for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
            row.update(p_holm=p, alpha=ALPHA / len(tested))
    compared = [
        row["differences"] if row["loss"] != baseline and row["pairs"] >= FEWEST else []
        for row in rows
    ]
    (needed,) = of_samples(seeds_needed, compared, [row["alpha"] for row in rows])
    failed = {row["method"]: row["failed"] for row in rows if row["loss"] == baseline}
    for row, seeds in zip(rows, needed.tolist(), strict=True):
        row.update(seeds_needed=seeds, baseline_failed=failed.get(row["method"], 0))
        row["verdict"] = BASELINE if row["loss"] == baseline else verdict(row)


def _learn(rows: list[Row]) -> None:
    """Add whether a row is shown to be above ``untrained``; None if that cannot be shown."""
    differences = [row["to_untrained"] for row in rows]
    mean, *_ = of_samples(mean_interval, differences)
    (p,) = of_samples(paired_p, differences)
    for row, above in zip(rows, (mean > 0) & (p < ALPHA), strict=True):
        told = row["trained"] and len(row["to_untrained"]) >= FEWEST
        row["learned"] = bool(above) if told else None


def _rank(rows: list[Row], runs: Mapping[tuple[str, str], Runs]) -> None:
    """Add ranks over the baseline's seeds, and mark the best row and those near it.

    A reference has no rank: it shows how far the others could get. A trained row of the best
    row's method is near the best if a t-test does not separate them. The tests need three
    pairs, and are corrected for all pairs of these rows, because the best is chosen by the
    scores that are tested. Rows of other methods share no pairs with the best, and are not
    marked.
    """
    means = pd.Series([row["block_mean"] for row in rows], dtype=float).round(DIGITS)
    ranks = means.rank(ascending=False, method="average")
    for row, rank in zip(rows, ranks, strict=True):
        row.update(rank=rank, best=rank == ranks.min(), near_best=False)
    for best in [row for row in rows if row["best"]][:1]:
        top = runs[best["method"], best["loss"]]
        rivals = [r for r in rows if r["method"] == best["method"] and r is not best]
        rivals = [r for r in rivals if r["trained"] and not math.isnan(r["rank"])]
        differences = [paired_differences(runs[r["method"], r["loss"]], top) for r in rivals]
        tested = [d if len(d) >= FEWEST else [] for d in differences]
        pairs = (len(rivals) + 1) * len(rivals) / 2
        for rival, p in zip(rivals, of_samples(paired_p, tested)[0], strict=True):
            rival["near_best"] = not pairs * p < ALPHA  # NaN (too few pairs) separates nothing.


def _by_method(rows: list[Row]) -> Iterator[list[Row]]:
    for method in dict.fromkeys(row["method"] for row in rows):
        yield [row for row in rows if row["method"] == method]
