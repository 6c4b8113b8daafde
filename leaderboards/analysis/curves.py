"""Convergence: validation scores during training, and the area under them."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from leaderboards.analysis.tables import UNTRAINED
from leaderboards.statistics.paired import mean_interval, of_samples

Key = tuple[str, str, str, str]
"""Task, metric, method and loss."""
Curve = dict[int, dict[int, float]]
"""{step: {seed: score}}."""
Curves = Mapping[Key, tuple[str, Curve]]
"""The modality and the curve of each row."""


class Point(NamedTuple):
    """A point of a validation curve: the mean over seeds with its 95% t band.

    ``difference`` is the mean over paired seeds of the score minus the baseline's at that step,
    with its 95% t interval; each interval is for its step alone.
    """

    task: str
    modality: str
    metric: str
    method: str
    loss: str
    step: int
    mean: float
    low: float
    high: float
    seeds: int
    difference: float
    difference_low: float
    difference_high: float
    pairs: int


def curve_rows(
    curves: Curves, baseline: tuple[str, str], paired: Mapping[Key, Collection[int]]
) -> pd.DataFrame:
    """Return the mean and the paired difference at every probed step, including both ends.

    Args:
        curves: the points of every row.
        baseline: its method and loss.
        paired: {row: the seeds at which it is paired with the baseline}.
    """
    points, samples, differences = [], [], []
    for key, (modality, curve) in curves.items():
        _, other = curves.get((*key[:2], *baseline), ("", {}))
        for step, at in sorted(curve.items()):
            base = {} if key[2:] == baseline else other.get(step, {})
            seeds = sorted(at.keys() & base.keys() & set(paired.get(key, ())))
            points.append((key, modality, step, len(at), len(seeds)))
            samples.append(list(at.values()))
            differences.append([at[seed] - base[seed] for seed in seeds])
    means = of_samples(mean_interval, samples).T.tolist()
    apart = of_samples(mean_interval, differences).T.tolist()
    rows = [
        (task, modality, metric, method, loss, step, *mean, seeds, *difference, pairs)
        for ((task, metric, method, loss), modality, step, seeds, pairs), mean, difference in zip(
            points, means, apart, strict=True
        )
    ]
    return pd.DataFrame(rows, columns=list(Point._fields))


def area_differences(curves: Curves, baseline: tuple[str, str]) -> dict[Key, dict[int, float]]:
    """Return {row: {seed: its mean score during training less the baseline's}}.

    The mean is the area under the line through the probed scores, divided by the steps, over the
    steps and seeds that both curves have.

    Args:
        curves: the points of every row.
        baseline: its method and loss.
    """
    differences = {}
    for key, (_, curve) in curves.items():
        _, other = curves.get((*key[:2], *baseline), ("", {}))
        steps = sorted(curve.keys() & other.keys())
        if len(steps) > 1:
            own, base = _areas(curve, steps), _areas(other, steps)
            both = sorted(own.keys() & base.keys())
            differences[key] = {seed: own[seed] - base[seed] for seed in both}
    return differences


def _areas(curve: Curve, steps: list[int]) -> dict[int, float]:
    """Return the mean score over ``steps``, of each seed.

    >>> _areas({0: {7: 50.0}, 10: {7: 60.0}, 20: {7: 80.0}}, [0, 10, 20])
    {7: 62.5}
    """
    return {
        seed: float(np.trapezoid([curve[step][seed] for step in steps], steps))
        / (steps[-1] - steps[0])
        for seed in sorted(curve[steps[0]])
        if all(seed in curve[step] for step in steps)
    }


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
