"""Diagnostics: what cells measure beside their scores, to explain them; never ranked."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import NamedTuple

import numpy as np
import pandas as pd

from leaderboards.analysis.leaderboard import Leaderboard
from leaderboards.analysis.tables import DIAGNOSTICS, each_row
from leaderboards.statistics.paired import mean_interval, of_samples, spread

KNOWN = {
    "alignment": "Mean squared distance of an example's two projected views, 0 to 4: the lower, "
    "the less the projection depends on the view.",
    "uniformity": "Log of the mean Gaussian kernel between projections, -8 to 0: the lower, the "
    "more evenly they cover the sphere.",
    "effective_rank": "How many dimensions the representations use: the exponential of the "
    "entropy of their singular values (RankMe).",
    "implied_radius": "Radius in nats of the KL ball around the negatives' distribution whose "
    "worst case the loss's temperature stands for: the lower the temperature, the wider the ball.",
    "effective_negatives": "How many negatives carry the loss's weight: one over the sum of the "
    "squared weights.",
    "mean_variance_gap": "How far the worst case over the KL ball is from the mean plus the "
    "variance of the scores over twice the temperature.",
    "false_negative_mass": "Share of an anchor's weight on negatives that lies on its own class, "
    "0 to 1. No other diagnostic reads labels.",
    "gradient_ratio": "Mean gradient of an anchor's hardest tenth of negatives over that of its "
    "easiest half.",
    "mi_infonce": "InfoNCE's lower bound of the mutual information of two views, in nats: at "
    "most the log of the number of candidates.",
    "mi_dv": "Donsker and Varadhan's bound of the mutual information of two views, in nats, of "
    "one batch.",
    "mi_chi2": "Variational bound of the chi-squared information of two views, of one batch; not "
    "in nats.",
}
"""{a diagnostic of the harness: its meaning}, in the order in which boards show them."""
KEY = ["task", "method", "loss", "metric", "step"]
COLUMNS = (
    "task", "modality", "method", "loss", "diagnostic", "step", "final", "mean", "std", "low",
    "high", "seeds",
)  # fmt: skip


class Final(NamedTuple):
    """A diagnostic's mean and deviation over seeds at the end of training."""

    mean: float
    std: float


def diagnostic_rows(records: pd.DataFrame) -> pd.DataFrame:
    """Return mean, deviation and 95% t interval over seeds of every diagnostic and step."""
    wanted = ["modality", "steps", "value", *KEY]
    measured = (records["split"] == DIAGNOSTICS) & (records["stage"] == "final")
    points = records.loc[measured & records["value"].notna(), wanted]
    if not len(points):
        return pd.DataFrame(columns=list(COLUMNS))
    # Sort the values by row, and cut them where a row ends: much faster than a loop over groups.
    row = points.groupby(KEY, sort=False, observed=True).ngroup().to_numpy()
    in_rows = np.argsort(row, kind="stable")
    sizes = np.bincount(row)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    values = points["value"].to_numpy(dtype=float)[in_rows]
    samples = [sample.tolist() for sample in np.split(values, starts[1:])]
    mean, low, high = of_samples(mean_interval, samples)
    _, std = of_samples(spread, samples)
    table = points.iloc[in_rows[starts]].rename(columns={"metric": "diagnostic"})
    table = table.assign(
        final=(table["step"] == table["steps"]).astype(bool),
        mean=mean, std=std, low=low, high=high, seeds=sizes,
    )  # fmt: skip
    names = in_order(table["diagnostic"])
    place = table["diagnostic"].map({name: i for i, name in enumerate(names)})
    table = table.assign(place=place).sort_values(["place", "step"], kind="stable")
    return pd.DataFrame(table[list(COLUMNS)]).reset_index(drop=True)


def in_order(names: Iterable[str]) -> list[str]:
    """Return each of ``names`` once: those of :data:`KNOWN` in its order, then the others.

    >>> in_order(["mine", "uniformity", "alignment", "mine"])
    ['alignment', 'uniformity', 'mine']
    """
    unique = dict.fromkeys(names)
    others = [name for name in unique if name not in KNOWN]
    return [name for name in KNOWN if name in unique] + others


def chosen(names: Iterable[str], diagnostics: pd.DataFrame) -> tuple[str, ...]:
    """Return each of ``names`` once.

    Raises:
        ValueError: if one is not among ``diagnostics``; the message names the nearest ones.
    """
    measured = in_order(diagnostics["diagnostic"])
    wanted = dict.fromkeys([names] if isinstance(names, str) else names)
    for name in wanted:
        if name not in measured:
            near = get_close_matches(name, measured, n=3, cutoff=0.5)
            hint = f" Did you mean {' or '.join(repr(each) for each in near)}?" if near else ""
            rule = (
                f"each be one of {', '.join(measured)}"
                if measured
                else "be left out, as no record has any"
            )
            raise ValueError(f"`diagnostics` must {rule}: got {name!r}.{hint}")
    return tuple(wanted)


def finals(board: Leaderboard) -> Mapping[tuple[str, str, str], Mapping[str, Final]]:
    """Return the final diagnostics of each row: {(task, method, loss): {name: Final}}."""
    by_row: dict[tuple[str, str, str], dict[str, Final]] = {}
    last = board.diagnostics[board.diagnostics["final"].astype(bool)]
    for row in each_row(last):
        by_row.setdefault((row.task, row.method, row.loss), {})[row.diagnostic] = Final(
            row.mean, row.std
        )
    return by_row


def written(final: Final | None, between: str = " ± ") -> str:
    """Return mean and deviation as text, rounded to their digits: diagnostics have no common unit.

    >>> written(Final(0.01234567, 0.000987))
    '0.01235 ± 0.00099'
    >>> written(None)
    ''
    """
    if final is None or pd.isna(final.mean):
        return ""
    return short(final.mean, 4) + ("" if pd.isna(final.std) else between + short(final.std, 2))


def short(value: float, digits: int) -> str:
    """Return ``value`` with this many digits, or its whole part if that has more.

    >>> short(1234.5, 2), short(0.01234, 2), short(1.5e-7, 2)
    ('1234', '0.012', '1.5e-07')
    """
    return f"{value:.0f}" if 10**digits <= abs(value) < 1e7 else f"{value:.{digits}g}"
