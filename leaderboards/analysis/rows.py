"""One task and metric: a row for every method and loss, against one baseline row."""

import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from leaderboards.analysis.marks import marks
from leaderboards.analysis.pairs import Pair, pair_of
from leaderboards.analysis.tables import CONTROL, TRAINED, UNTRAINED
from leaderboards.analysis.words import (
    BASELINE,
    COLLAPSED,
    EQUIVALENT,
    INCOMPLETE,
    OPEN,
    UNDECIDED,
    word,
)
from leaderboards.statistics.paired import (
    ALPHA,
    DIGITS,
    MIN_BOOTSTRAP,
    MIN_SEEDS,
    bootstrap_interval,
    constant,
    of_samples,
    paired_interval,
    paired_p,
    seeds_to_decide,
    spread,
)
from leaderboards.statistics.screening import borrowed
from leaderboards.statistics.simultaneous import adjusted, family_alpha

Row = dict[str, Any]
WORKING = frozenset({
    "scores", "differences", "pair_by_seed", "to_untrained", "compared", "comparable", "whole",
})  # fmt: skip
"""What a row is computed from, and no column of a board."""
Key = tuple[str, str]
"""Method and loss."""


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


MIN_STEP = 1e-6
"""The smallest step between two scores that is not taken for rounding."""
Runs = Mapping[int, Score]
"""A row's cells that have a score, by seed."""


class Terms(NamedTuple):
    """What a table's words depend on beside its scores.

    Attributes:
        baseline: the method and loss that every row is compared with.
        margin: the smallest difference that matters; None: words that need one are not said.
        resolution: one test item's share of a score; NaN: not known.
        lower: whether lower scores are better.
        screening: whether rows borrow one another's variance.
    """

    baseline: Key
    margin: float | None = None
    resolution: float = math.nan
    lower: bool = False
    screening: bool = False


def panel_rows(panel: pd.DataFrame, terms: Terms) -> list[Row]:
    """Return the rows of one task and metric.

    Args:
        panel: final test scores of that metric, and the cells that have none.
        terms: what the words depend on.
    """
    # Sums depend on the order of their terms: the same records must give the same board.
    panel = panel.sort_values(["method", "loss", "seed"], kind="stable")
    terms = _with_resolution(terms, panel)
    if terms.lower:  # Below, higher is better; `_restore_sign` restores the sign of what is shown.
        panel = panel.assign(value=-panel["value"])
    cells: dict[Key, list[Score]] = defaultdict(list)
    for cell in map(Score, *(panel[name].tolist() for name in Score._fields)):
        cells[cell.method, cell.loss].append(cell)
    runs = {
        key: {cell.seed: cell for cell in of_row if cell.status == "done"}
        for key, of_row in cells.items()
    }
    base = runs.get(terms.baseline, {})
    planned = {cell.seed for cell in cells.get(terms.baseline, ()) if cell.status != "missing"}
    # A baseline that failed at a seed ranks no row: the other seeds are a biased sample.
    block = planned if planned <= base.keys() else set()
    untrained = {
        method: runs[method, loss]
        for (method, loss), of_row in cells.items()
        if of_row[0].kind == UNTRAINED
    }
    rows: list[Row] = []
    for (method, loss), of_row in cells.items():
        scored, kind = runs[method, loss], of_row[0].kind
        differences = paired_differences(scored, base)
        # A mean that lacks seeds has no rank.
        whole = len(scored) == len({cell.seed for cell in of_row})
        ranked = bool(block) and block <= scored.keys() and kind in (TRAINED, UNTRAINED) and whole
        collapsed = sum(run.collapsed not in ("", None) for run in scored.values())
        ranked = ranked and (not collapsed or kind == UNTRAINED)
        failed = len({cell.seed for cell in of_row if cell.status in ("failed", "diverged")})
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
                "block_mean": float(np.mean([scored[seed].value for seed in sorted(block)]))
                if ranked
                else math.nan,
                "trained": kind == TRAINED,
                "scores": [run.value for run in scored.values()],
                "failed": failed,
                "collapsed": collapsed,
                "resolution": terms.resolution,
                "differences": differences,
                "pair_by_seed": pairs(scored, base),
                "to_untrained": list(
                    paired_differences(scored, untrained.get(method, {})).values()
                ),
                "compared": (method, loss) != terms.baseline,
            }
        )
    failed = sum(row["failed"] for row in rows if not row["compared"])
    for row in rows:
        row["whole"] = row["seeds"] == row["planned"]
        row["comparable"] = not row["failed"] and not failed and row["pairs"] >= MIN_SEEDS
    _compare(rows, terms)
    if terms.screening:
        _borrow(rows, runs, terms)
    _judge(rows, terms)
    _add_learned(rows)
    _rank(rows, runs, terms)
    for row in rows:
        row["marks"] = marks(row)
        if terms.lower:
            _restore_sign(row)
    return rows


def _with_resolution(terms: Terms, panel: pd.DataFrame) -> Terms:
    """Return the terms with a resolution.

    A metric that declares none has that of its scores: the smallest step between two of them.
    """
    resolution = terms.resolution
    if math.isnan(resolution):
        # Scores that differ by less are equal but for rounding.
        steps = np.diff(np.unique(panel["value"].dropna().to_numpy(dtype=float)))
        resolution = min(steps[steps > MIN_STEP], default=math.nan)
    return terms._replace(resolution=float(resolution))


def _restore_sign(row: Row) -> None:
    """Turn a row's scores and differences back to the metric's own sign: lower is better.

    The ends of an interval change places.
    """
    for name in ("mean", "block_mean", "difference"):
        row[name] = -row[name]
    for name in ("difference", "bootstrap"):
        row[f"{name}_low"], row[f"{name}_high"] = -row[f"{name}_high"], -row[f"{name}_low"]
    row["scores"] = [-value for value in row["scores"]]
    row["differences"] = {seed: -value for seed, value in row["differences"].items()}


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


def paired_differences(scores: Runs, others: Runs, *, settings: bool = False) -> dict[int, float]:
    """Return {seed: the score minus the other's} for the seeds at which they are a pair."""
    return {
        seed: scores[seed].value - others[seed].value
        for seed, pair in pairs(scores, others, settings=settings).items()
        if pair.paired
    }


def in_family(row: Row) -> bool:
    """Return whether a row shares the table's error rate: a loss that was compared and can win.

    Untrained encoders, references, the control, collapsed and incomplete rows are no rivals; each
    has an interval of its own, at the plain level.
    """
    rival: bool = row["compared"] and row["kind"] == TRAINED
    return rival and row["comparable"] and not row["collapsed"]


def _compare(rows: list[Row], terms: Terms) -> None:
    """Add the statistics of each row's scores and of its differences to the baseline."""
    differences = [
        list(row["differences"].values()) if row["compared"] and row["pairs"] >= MIN_SEEDS else []
        for row in rows
    ]
    family = [row for row in rows if in_family(row)]
    freedom = [row["pairs"] - 1 for row in family]
    shared = family_alpha(freedom)
    alphas = [shared if in_family(row) else ALPHA for row in rows]
    resolutions = [terms.resolution] * len(rows)
    margins = [math.nan if terms.margin is None else terms.margin] * len(rows)
    mean, deviation = of_samples(spread, [row["scores"] for row in rows])
    _, low, high = of_samples(paired_interval, differences, resolutions, alphas)
    enough = [own if len(own) >= MIN_BOOTSTRAP else [] for own in differences]
    _, bootstrap_low, bootstrap_high = of_samples(bootstrap_interval, enough)
    difference, noise = of_samples(spread, [list(row["differences"].values()) for row in rows])
    noise = np.where([row["compared"] for row in rows], noise, math.nan)
    (p,) = of_samples(paired_p, differences, resolutions)
    (constants,) = of_samples(constant, differences)
    (needed,) = of_samples(seeds_to_decide, differences, margins, resolutions, alphas)
    figures = {
        "mean": mean, "std": deviation, "difference": difference,
        # Beyond these digits a difference is rounding, and must not be called better.
        "difference_low": np.round(low, DIGITS), "difference_high": np.round(high, DIGITS),
        "difference_std": noise, "bootstrap_low": bootstrap_low,
        "bootstrap_high": bootstrap_high, "p": p, "constant": constants, "seeds_to_decide": needed,
    }  # fmt: skip
    for row, *values in zip(rows, *(each.tolist() for each in figures.values()), strict=True):
        row.update(zip(figures, values, strict=True))
        row["constant"] = bool(row["constant"])
    for row, p_value in zip(family, adjusted([row["p"] for row in family], freedom), strict=True):
        row["p"] = p_value
    control = [row["difference_std"] for row in rows if row["kind"] == CONTROL]
    for row in rows:
        row["control_std"] = control[0] if control else math.nan


def _borrow(rows: list[Row], runs: Mapping[Key, Runs], terms: Terms) -> None:
    """Replace the family's intervals by those of :mod:`leaderboards.statistics.screening`.

    Only rows with a score at every seed of the baseline take part.
    """
    seeds = sorted(runs.get(terms.baseline, {}))
    rivals = [row for row in rows if in_family(row)]
    family = [row for row in rivals if sorted(row["differences"]) == seeds]
    for row in rivals:  # Rows that cannot take part have no interval: two kinds do not mix.
        row.update(difference_low=math.nan, difference_high=math.nan, p=math.nan)
        row.update(seeds_to_decide=math.nan)
    if len(family) < 2:
        return
    keys = [terms.baseline, *((row["method"], row["loss"]) for row in family)]
    scores = np.array([[runs[key][seed].value for seed in seeds] for key in keys])
    errors, limit = borrowed(scores, 0.0 if math.isnan(terms.resolution) else terms.resolution)
    for row, error in zip(family, errors.tolist(), strict=True):
        row["difference_low"] = round(row["difference"] - limit * error, DIGITS)
        row["difference_high"] = round(row["difference"] + limit * error, DIGITS)


def _judge(rows: list[Row], terms: Terms) -> None:
    """Add the word that each row's interval says, and its bound."""
    failed = any(row["failed"] for row in rows if not row["compared"])
    collapsed = any(row["collapsed"] for row in rows if not row["compared"])
    for row in rows:
        low, high = row["difference_low"], row["difference_high"]
        row["bound"] = max(abs(low), abs(high))
        if not row["compared"]:
            row["verdict"] = BASELINE
        elif row["failed"] or failed:
            row["verdict"] = INCOMPLETE
        elif row["collapsed"] or collapsed:
            row["verdict"] = COLLAPSED
        else:
            row["verdict"] = word(low, high, terms.margin)
        coarse = terms.margin is not None and terms.resolution > terms.margin
        if coarse:  # One test item weighs more than the margin.
            row["seeds_to_decide"] = math.nan
            if row["verdict"] == EQUIVALENT:
                row["verdict"] = UNDECIDED
        if row["verdict"] not in OPEN:
            row["seeds_to_decide"] = math.nan


def _add_learned(rows: list[Row]) -> None:
    """Add whether a row is shown to be above ``untrained``; None if that cannot be shown."""
    low = of_samples(paired_interval, [row["to_untrained"] for row in rows])[1]
    for row, above in zip(rows, low > 0, strict=True):
        shown = row["trained"] and len(row["to_untrained"]) >= MIN_SEEDS
        row["learned"] = bool(above) if shown else None


def _rank(rows: list[Row], runs: Mapping[Key, Runs], terms: Terms) -> None:
    """Add ranks over the baseline's seeds, and mark the best row and those tied with it.

    A reference and the control have no rank. A trained row is tied with the best if the interval
    of their difference holds 0, simultaneously over all pairs of the ranked rows, because the
    best is chosen by the scores that are tested. Fewer than three pairs separate nothing.
    """
    means = pd.Series([row["block_mean"] for row in rows], dtype=float).round(DIGITS)
    ranks = means.rank(ascending=False, method="average")
    for row, rank in zip(rows, ranks, strict=True):
        row.update(rank=rank, best=rank == ranks.min(), tied=False)
    for best in [row for row in rows if row["best"]][:1]:
        top = runs[best["method"], best["loss"]]
        rivals = [r for r in rows if r is not best and r["trained"] and not math.isnan(r["rank"])]
        differences = [
            list(paired_differences(runs[r["method"], r["loss"]], top).values()) for r in rivals
        ]
        tested = [own if len(own) >= MIN_SEEDS else [] for own in differences]
        alpha = ALPHA / max(1, (len(rivals) + 1) * len(rivals) // 2)
        resolutions, alphas = [terms.resolution] * len(rivals), [alpha] * len(rivals)
        _, low, high = of_samples(paired_interval, tested, resolutions, alphas)
        for rival, apart in zip(rivals, (low > 0) | (high < 0), strict=True):
            rival["tied"] = not apart  # NaN, from too few pairs, separates nothing.
