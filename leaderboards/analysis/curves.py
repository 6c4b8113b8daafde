"""Convergence: validation scores during training, and steps to the baseline's last score."""

import math
from collections import defaultdict
from collections.abc import Collection, Mapping

import numpy as np
import pandas as pd

from leaderboards.analysis.tables import CURVE_COLUMNS, UNTRAINED
from leaderboards.statistics.paired import mean_interval, of_samples

Key = tuple[str, str, str, str]
"""Task, metric, method and loss."""
Curve = dict[int, dict[int, float]]
"""{step: {seed: score}}."""
Curves = Mapping[Key, tuple[str, Curve]]
"""The modality and the curve of each row."""


def curve_rows(curves: Curves) -> pd.DataFrame:
    """Return the mean and 95% t band over seeds at every probed step, including both ends."""
    points = [
        (key, modality, step, list(at.values()))
        for key, (modality, curve) in curves.items()
        for step, at in sorted(curve.items())
    ]
    intervals = of_samples(mean_interval, [scores for *_, scores in points]).T.tolist()
    return pd.DataFrame(
        [
            (task, modality, metric, method, loss, step, *interval, len(scores))
            for ((task, metric, method, loss), modality, step, scores), interval in zip(
                points, intervals, strict=True
            )
        ],
        columns=list(CURVE_COLUMNS),
    )


def steps_to_baseline(
    curves: Curves, baseline: str, lower: Collection[tuple[str, str]] = ()
) -> Mapping[Key, float]:
    """Return the step at which the mean of each curve first reaches the baseline's last mean.

    Means are over the seeds that both have, and linear between probed steps. The step is
    infinite if the mean never gets there: "not within the budget" differs from "not measured".
    """
    reached: dict[Key, float] = {}
    for key, (_, curve) in curves.items():
        reference = curves.get((*key[:3], baseline))
        if reference is None:
            continue
        last = reference[1][max(reference[1])]
        seeds = sorted(last.keys() & curve[max(curve)].keys())
        if seeds:
            steps = sorted(curve)
            lines = [last, *(curve[step] for step in steps)]
            # If lower is better, turn the sign: `_first_step_at` takes rising curves.
            sign = -1 if key[:2] in lower else 1
            goal, *means = (
                sign * np.mean([[at[s] for s in seeds] for at in lines], axis=1)
            ).tolist()
            reached[key] = _first_step_at(steps, means, goal)
    return reached


def curves_of(final: pd.DataFrame) -> Curves:
    """Return the points of every row that was probed.

    Step 0 is the ``untrained`` row's score. A row that was not probed has no curve. Every
    point of a curve is over the same seeds: those that were probed at all of its steps.

    Args:
        final: the board's cells, with validation scores at every step.
    """
    points = final[(final["status"] == "done") & (final["split"] == "validation")]
    wanted = ["task", "metric", "method", "loss", "modality", "kind", "seed", "step", "value"]
    curves: dict[Key, Curve] = defaultdict(lambda: defaultdict(dict))
    starts: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    modalities: dict[str, str] = {}
    columns = (points[name].tolist() for name in wanted)
    for task, metric, method, loss, modality, kind, seed, step, value in zip(*columns, strict=True):
        modalities[task] = modality
        if kind == UNTRAINED:
            starts[task, metric, method][seed] = value
        else:
            curves[task, metric, method, loss][int(step)][seed] = value
    complete_curves = {}
    for key, curve in curves.items():
        if len(curve) < 2:  # Not probed: there is only the last score.
            continue
        complete = set.intersection(*(set(at) for at in curve.values()))
        if complete <= starts[key[:3]].keys():
            curve = {0: starts[key[:3]], **curve}
        if complete:
            kept = {step: {s: at[s] for s in sorted(complete)} for step, at in curve.items()}
            complete_curves[key] = modalities[key[0]], kept
    return complete_curves


def _first_step_at(steps: list[int], means: list[float], goal: float) -> float:
    """Return where the line through the points first reaches ``goal``.

    >>> _first_step_at([0, 10, 20], [50.0, 60.0, 80.0], 70.0)
    15.0
    """
    if means and means[0] >= goal:
        return float(steps[0])
    for i in range(1, len(steps)):
        if means[i] >= goal:
            share = (goal - means[i - 1]) / (means[i] - means[i - 1])
            return steps[i - 1] + share * (steps[i] - steps[i - 1])
    return math.inf
