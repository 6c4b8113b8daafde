"""One task and metric: a row for every method and loss, against the baseline."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from leaderboards.analysis.pairs import Pair, pair_of
from leaderboards.analysis.tables import REFERENCE, TRAINED, UNTRAINED
from leaderboards.statistics.paired import (
    ALPHA,
    DIGITS,
    LEVEL,
    MIN_SEEDS,
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

BASELINE = "baseline"
CANNOT_TELL = "cannot tell"
INCOMPLETE = "incomplete"
NOT_RESOLVED = "not resolved"
EQUIVALENT = "equivalent"
BETTER, WORSE = "better", "worse"
Row = dict[str, Any]


class Score(NamedTuple):
    """A row's cell at one seed: its score, and the proof of what it can be paired with."""

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


Runs = Mapping[int, Score]
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
    if lower:  # Below, higher is better; `_restore_sign` turns scores and differences back.
        panel = panel.assign(value=-panel["value"])
    cells: dict[tuple[str, str], list[Score]] = defaultdict(list)
    for cell in map(Score, *(panel[name].tolist() for name in Score._fields)):
        cells[cell.method, cell.loss].append(cell)
    runs = {
        key: {cell.seed: cell for cell in of_row if cell.status == "done"}
        for key, of_row in cells.items()
    }
    # The seeds that ranks are over: those at which the baseline was run.
    block = {
        cell.seed
        for (_, loss), of_row in cells.items()
        for cell in of_row
        if loss == baseline and cell.status != "missing"
    }
    if not all(block <= done.keys() for (_, loss), done in runs.items() if loss == baseline):
        block = set()  # The baseline failed at a seed: no row is ranked on the other seeds.
    untrained = {
        method: runs[method, loss]
        for (method, loss), of_row in cells.items()
        if of_row[0].kind == UNTRAINED
    }
    rows = []
    for (method, loss), of_row in cells.items():
        scored, kind = runs[method, loss], of_row[0].kind
        of_baseline = runs.get((method, baseline), {})
        differences = paired_differences(scored, of_baseline)
        complete = bool(block) and block <= scored.keys() and kind != REFERENCE
        rows.append(
            {
                "task": of_row[0].task,
                "modality": of_row[0].modality,
                "method": method,
                "loss": loss,
                "kind": kind,
                "spec": ", ".join(dict.fromkeys(str(cell.spec) for cell in of_row)),
                "seeds": len(scored),
                "planned": len({cell.seed for cell in of_row}),
                "pairs": len(differences),
                "block_mean": float(np.mean([scored[seed].value for seed in block]))
                if complete
                else math.nan,
                "trained": kind == TRAINED,
                "scores": [run.value for run in scored.values()],
                "failed": len({c.seed for c in of_row if c.status in ("failed", "diverged")}),
                "collapsed": sum(run.collapsed not in ("", None) for run in scored.values()),
                "differences": differences,
                "pair_by_seed": pairs(scored, of_baseline),
                "to_untrained": paired_differences(scored, untrained.get(method, {})),
            }
        )
    _compare(rows, baseline, rope)
    _correct(rows, baseline)
    _add_learned(rows)
    _rank(rows, runs)
    if lower:
        for row in rows:
            _restore_sign(row)
    return rows


def _restore_sign(row: Row) -> None:
    """Turn a row's scores and differences back to the metric's own sign: lower is better.

    The ends of an interval change places.
    """
    for name in ("mean", "block_mean", "difference"):
        row[name] = -row[name]
    for name in ("difference", "bootstrap"):
        row[f"{name}_low"], row[f"{name}_high"] = -row[f"{name}_high"], -row[f"{name}_low"]
    for name in ("scores", "differences", "to_untrained"):
        row[name] = [-value for value in row[name]]


def pairs(scores: Runs, others: Runs, *, settings: bool = False) -> dict[int, Pair]:
    """Return {seed: whether the two cells are a pair, or why not} for the seeds that both have.

    Args:
        scores: a row's cells.
        others: the cells that they are compared with.
        settings: whether the cells are of two settings of one task: see :func:`pair_of`.
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
    """Return the word for what a row's differences show.

    ``incomplete``: a seed of the row or of the baseline failed or diverged, so that the
    remaining seeds are a biased sample. ``cannot tell``: there are fewer than three pairs.
    ``equivalent``: the posterior puts 95% inside the region of practical equivalence.
    ``better`` or ``worse``: Holm's corrected p-value is below .05. ``not resolved``: none
    of these.
    """
    if row["failed"] or row["baseline_failed"]:
        return INCOMPLETE
    if row["pairs"] < MIN_SEEDS:
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
    # Equal differences have no deviation, and hence no interval that could be believed.
    without_interval = compared & of_samples(unjudged, differences)[0]
    few = np.array([row["pairs"] < MIN_SEEDS for row in rows])
    p, better, equivalent, worse, bootstrap_low, bootstrap_high = (
        np.where(few, math.nan, figure)
        for figure in (p, better, equivalent, worse, bootstrap_low, bootstrap_high)
    )
    columns = {
        "mean": score,
        "std": deviation,
        "difference": mean,
        "difference_low": np.where(without_interval, math.nan, low),
        "difference_high": np.where(without_interval, math.nan, high),
        "bootstrap_low": np.where(without_interval, math.nan, bootstrap_low),
        "bootstrap_high": np.where(without_interval, math.nan, bootstrap_high),
        "p": p,
        "better": better,
        "equivalent": equivalent,
        "worse": worse,
    }
    for row, *figures in zip(rows, *(each.tolist() for each in columns.values()), strict=True):
        row.update(zip(columns, figures, strict=True))


def _correct(rows: list[Row], baseline: str) -> None:
    """Add Holm's p-values and the verdicts; a family is the losses trained by one method.

    ``untrained`` and references do not compete with the losses: they are not in the family,
    and their p-values are not corrected. The seeds needed are for the level of Holm's first
    step, .05 over the number of losses.
    """
    for row in rows:
        row.update(p_holm=row["p"], alpha=ALPHA)
    for family in _by_method([row for row in rows if row["trained"]]):
        tested = [row for row in family if row["pairs"] >= MIN_SEEDS and row["loss"] != baseline]
        for row, p in zip(tested, holm([row["p"] for row in tested]), strict=True):
            row.update(p_holm=p, alpha=ALPHA / len(tested))
    compared = [
        row["differences"] if row["loss"] != baseline and row["pairs"] >= MIN_SEEDS else []
        for row in rows
    ]
    (needed,) = of_samples(seeds_needed, compared, [row["alpha"] for row in rows])
    failed = {row["method"]: row["failed"] for row in rows if row["loss"] == baseline}
    for row, seeds in zip(rows, needed.tolist(), strict=True):
        row.update(seeds_needed=seeds, baseline_failed=failed.get(row["method"], 0))
        row["verdict"] = BASELINE if row["loss"] == baseline else verdict(row)


def _add_learned(rows: list[Row]) -> None:
    """Add whether a row is shown to be above ``untrained``; None if that cannot be shown."""
    differences = [row["to_untrained"] for row in rows]
    mean, *_ = of_samples(mean_interval, differences)
    (p,) = of_samples(paired_p, differences)
    for row, above in zip(rows, (mean > 0) & (p < ALPHA), strict=True):
        testable = row["trained"] and len(row["to_untrained"]) >= MIN_SEEDS
        row["learned"] = bool(above) if testable else None


def _rank(rows: list[Row], runs: Mapping[tuple[str, str], Runs]) -> None:
    """Add ranks over the baseline's seeds, and mark the best row and those near it.

    A reference has no rank: it only shows how far a loss could get. A trained row of the best
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
        tested = [d if len(d) >= MIN_SEEDS else [] for d in differences]
        comparisons = (len(rivals) + 1) * len(rivals) / 2
        for rival, p in zip(rivals, of_samples(paired_p, tested)[0], strict=True):
            # NaN, from too few pairs, separates nothing: not (NaN < ALPHA) is True.
            rival["near_best"] = not comparisons * p < ALPHA


def _by_method(rows: list[Row]) -> Iterator[list[Row]]:
    for method in dict.fromkeys(row["method"] for row in rows):
        yield [row for row in rows if row["method"] == method]
