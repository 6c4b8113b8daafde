"""Convergence: validation scores during training, and steps to the baseline's last one."""

import math
from collections.abc import Mapping

import pandas as pd

from leaderboards.statistics import mean_interval
from leaderboards.tables import CURVE_COLUMNS

Key = tuple[str, str, str, str]


def curve_rows(final: pd.DataFrame) -> pd.DataFrame:
    """Return mean and 95% t band over seeds of every probed step, the ends included.

    Step 0 is the ``untrained`` row's score. A row that was not probed has no curve.

    Args:
        final: the board's cells, validation scores at every step.
    """
    points = final[(final["status"] == "done") & (final["split"] == "validation")]
    start = points[points["steps"] == 0]
    rows = []
    trained = points[points["steps"] > 0]
    for key, group in trained.groupby(["task", "metric", "method", "loss"], sort=False):
        if (group["step"] == group["steps"]).all():
            continue
        task, metric, method, loss = key
        own = (start["task"] == task) & (start["metric"] == metric) & (start["method"] == method)
        first = start[own & start["seed"].isin(group["seed"])]
        for step, at in pd.concat([first, group]).groupby("step"):
            interval = mean_interval(at["value"].tolist())
            rows.append(
                {
                    "task": task,
                    "modality": group["modality"].iloc[0],
                    "metric": metric,
                    "method": method,
                    "loss": loss,
                    "step": int(str(step)),
                    "mean": interval.mean,
                    "low": interval.low,
                    "high": interval.high,
                    "seeds": len(at),
                }
            )
    return pd.DataFrame(rows, columns=list(CURVE_COLUMNS))


def steps_to_baseline(curves: pd.DataFrame, baseline: str) -> Mapping[Key, float]:
    """Return, for every curve, the step at which it first reaches the baseline's end.

    Between probed steps the mean is taken as linear. Infinite where it never gets
    there, so that "not within the budget" is not taken for "not measured".
    """
    found: dict[Key, float] = {}
    for (task, metric, method), panel in curves.groupby(["task", "metric", "method"], sort=False):
        own = panel[panel["loss"] == baseline].sort_values("step")
        if own.empty:
            continue
        goal = float(own["mean"].iloc[-1])
        for loss, curve in panel.groupby("loss", sort=False):
            curve = curve.sort_values("step")
            found[str(task), str(metric), str(method), str(loss)] = _first(
                curve["step"].tolist(), curve["mean"].tolist(), goal
            )
    return found


def _first(steps: list[int], means: list[float], goal: float) -> float:
    """Return where the line through the points first reaches ``goal``.

    >>> _first([0, 10, 20], [50.0, 60.0, 80.0], 70.0)
    15.0
    """
    if means and means[0] >= goal:
        return float(steps[0])
    for i in range(1, len(steps)):
        if means[i] >= goal:
            share = (goal - means[i - 1]) / (means[i] - means[i - 1])
            return steps[i - 1] + share * (steps[i] - steps[i - 1])
    return math.inf
