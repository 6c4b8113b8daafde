"""Tasks of one board that differ in one setting: how scores and diagnostics respond to it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from leaderboards.analysis.naming import Settings, Spec, own_settings, title
from leaderboards.analysis.rows import Score, paired_differences, pairs
from leaderboards.analysis.tables import DIAGNOSTICS
from leaderboards.statistics.paired import constant, mean_interval, of_samples

SCORE, DIAGNOSTIC = "score", "diagnostic"
COLUMNS = (
    "series", "setting", "at", "task", "kind", "metric", "main", "method", "loss", "mean", "low",
    "high", "seeds", "difference", "difference_low", "difference_high", "pairs", "change",
    "change_low", "change_high", "change_pairs", "differs",
)  # fmt: skip
WORKING = ("samples", "differences", "changes")
"""What the intervals are computed from."""


class Series(NamedTuple):
    """Tasks that differ in one setting.

    Attributes:
        name: the settings that they share, as a label, without those that all tasks of the
            board share.
        setting: the setting that they differ in.
        points: {its value: the task}, in ascending order. A task whose spec does not state
            the setting stands at the default; if no record tells the default, it stands
            first, at NaN.
    """

    name: str
    setting: str
    points: Mapping[float, str]


def series_of(tasks: Mapping[str, Spec], labels: Mapping[str, str] | None = None) -> list[Series]:
    """Return the series among ``tasks``; a task may be in several.

    Args:
        tasks: {task: its name and settings}.
        labels: {plugin: its label}.

    >>> tasks = {f"a(x={x})": Spec("a", {"x": x}, {"x": x}) for x in (2, 1)}
    >>> series_of({"a": Spec("a", {}, {"x": 0.5})} | tasks)
    [Series(name='a', setting='x', points={0.5: 'a', 1.0: 'a(x=1)', 2.0: 'a(x=2)'})]
    """
    labels = labels or {}
    own = own_settings(tasks)
    by_settings = {_key(task.name, own[spec]): spec for spec, task in tasks.items()}
    names: dict[str, str] = {}
    groups: dict[tuple[str, str], dict[float, str]] = {}
    for spec, task in tasks.items():
        for setting, value in own[spec].items():
            at = _number(value)
            if at is not None:
                others = {key: each for key, each in own[spec].items() if key != setting}
                key = _key(task.name, others)
                names.setdefault(key, title(labels.get(task.name, task.name), others))
                groups.setdefault((key, setting), {}).setdefault(at, spec)
    series: list[Series] = []
    for (key, setting), points in groups.items():
        # The task with the same other settings that does not state this one.
        unstated = by_settings.get(key)
        if unstated is not None:
            default = _number(tasks[unstated].settings.get(setting))
            points.setdefault(math.nan if default is None else default, unstated)
        if len(points) > 1:
            rising = sorted(points, key=lambda at: -math.inf if math.isnan(at) else at)
            series.append(Series(names[key], setting, {at: points[at] for at in rising}))
    return series


def response_rows(
    values: pd.DataFrame,
    series: Sequence[Series],
    baseline: tuple[str, str],
    main: Mapping[str, str],
) -> pd.DataFrame:
    """Return the mean at each point of each series, and two kinds of paired differences.

    ``difference`` is to the baseline at the same point, over the seeds that the board pairs.
    ``change`` is to the same loss at the series' first point, over the seeds that start from
    the same weights. All have 95% t intervals over seeds.

    Args:
        values: final test scores and the values of the board's diagnostics, one per row.
        series: the series of the board's tasks.
        baseline: the method and loss to compare with.
        main: {task: its main metric}.
    """
    runs: dict[tuple[str, str, str], dict[tuple[str, str], dict[int, Score]]] = {}
    in_series = {task for each in series for task in each.points.values()}
    values = values[values["task"].isin(list(in_series))]
    columns = [values[name].tolist() for name in ("split", "metric", *Score._fields)]
    for split, metric, *fields in zip(*columns, strict=True):
        cell = Score(*fields)
        kind = DIAGNOSTIC if split == DIAGNOSTICS else SCORE
        row = runs.setdefault((cell.task, kind, metric), {})
        row.setdefault((cell.method, cell.loss), {})[cell.seed] = cell
    rows = list(_rows(series, runs, baseline, main))
    table = pd.DataFrame(rows, columns=[*COLUMNS, *WORKING])
    mean, low, high = of_samples(mean_interval, table["samples"].tolist())
    difference, difference_low, difference_high = of_samples(
        mean_interval, table["differences"].tolist()
    )
    change, change_low, change_high = of_samples(mean_interval, table["changes"].tolist())
    without_interval = of_samples(constant, table["differences"].tolist())[0].astype(bool)
    without_interval &= (table["loss"] != baseline[1]).to_numpy()
    figures = {
        "mean": mean, "low": low, "high": high, "difference": difference,
        "difference_low": np.where(without_interval, math.nan, difference_low),
        "difference_high": np.where(without_interval, math.nan, difference_high),
        "change": change, "change_low": change_low, "change_high": change_high,
    }  # fmt: skip
    return table.assign(**figures)[list(COLUMNS)]


def _rows(
    series: Sequence[Series],
    runs: Mapping[tuple[str, str, str], Mapping[tuple[str, str], Mapping[int, Score]]],
    baseline: tuple[str, str],
    main: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    """Yield one row per series, metric, method, loss and point, in that order."""
    measured: dict[str, list[tuple[str, str]]] = {}
    for task, kind, metric in runs:
        measured.setdefault(task, []).append((kind, metric))
    for name, setting, points in series:
        metrics = dict.fromkeys(each for task in points.values() for each in measured.get(task, ()))
        mains = {(SCORE, main.get(task, "")) for task in points.values()}
        # False sorts first: scores before diagnostics, and the main metric before others.
        for kind, metric in sorted(metrics, key=lambda m: (m[0] != SCORE, m not in mains)):
            at_points = {at: runs.get((task, kind, metric), {}) for at, task in points.items()}
            for method, loss in dict.fromkeys(row for rows in at_points.values() for row in rows):
                for at, rows in at_points.items():
                    cells = rows.get((method, loss))
                    if cells is None:
                        continue
                    differences = paired_differences(cells, rows.get(baseline, {}))
                    first = at_points[next(iter(points))].get((method, loss), {})
                    first = {} if first is cells else first  # No change from itself.
                    changes = paired_differences(cells, first, settings=True)
                    differs = [p.differs for p in pairs(cells, first, settings=True).values()]
                    yield {
                        "series": name,
                        "setting": setting,
                        "at": at,
                        "task": points[at],
                        "kind": kind,
                        "metric": metric,
                        "main": (kind, metric) in mains,
                        "method": method,
                        "loss": loss,
                        "seeds": len(cells),
                        "pairs": len(differences),
                        "samples": [cell.value for cell in cells.values()],
                        "differences": list(differences.values()),
                        "changes": list(changes.values()),
                        "change_pairs": len(changes),
                        "differs": ", ".join(
                            dict.fromkeys(reason for reasons in differs for reason in reasons)
                        ),
                    }


def _key(name: str, settings: Settings) -> str:
    """Return a text that identifies a name and settings, whatever the settings' order."""
    return repr((name, sorted(settings.items())))


def _number(value: object) -> float | None:
    """Return a setting's value as a finite number; None for True, texts and the like."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
