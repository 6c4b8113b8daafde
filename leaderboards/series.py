"""Tasks of one board that differ in one setting: how scores and diagnostics respond to it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from leaderboards.naming import Settings, TaskSpec, label, own_settings
from leaderboards.panel import Cell, paired_differences, pairs
from leaderboards.statistics import mean_interval, of_samples, unjudged
from leaderboards.tables import DIAGNOSTICS, RESPONSE_COLUMNS

SCORE, DIAGNOSTIC = "score", "diagnostic"


class Series(NamedTuple):
    """Tasks that differ in one setting.

    Attributes:
        name: the settings that they share, as a label, without those that all tasks of the
            board share.
        setting: the setting that they differ in.
        points: {its value: the task}, in ascending order. The task whose spec lacks the
            setting stands at its default, or first, at NaN, where no record tells the default.
    """

    name: str
    setting: str
    points: Mapping[float, str]


def series_of(tasks: Mapping[str, TaskSpec]) -> list[Series]:
    """Return the series among ``tasks``; a task may be in several.

    >>> tasks = {f"a(x={x})": TaskSpec("a", {"x": x}, {"x": x}) for x in (2, 1)}
    >>> series_of({"a": TaskSpec("a", {}, {"x": 0.5})} | tasks)
    [Series(name='a', setting='x', points={0.5: 'a', 1.0: 'a(x=1)', 2.0: 'a(x=2)'})]
    """
    own = own_settings(tasks)
    as_it_is = {_key(task.name, own[spec]): spec for spec, task in tasks.items()}
    names: dict[str, str] = {}
    groups: dict[tuple[str, str], dict[float, str]] = {}
    for spec, task in tasks.items():
        for setting, value in own[spec].items():
            at = _number(value)
            if at is not None:
                rest = {key: each for key, each in own[spec].items() if key != setting}
                key = _key(task.name, rest)
                names.setdefault(key, label(task.name, rest))
                groups.setdefault((key, setting), {}).setdefault(at, spec)
    every: list[Series] = []
    for (key, setting), points in groups.items():
        bare = as_it_is.get(key)
        if bare is not None:
            default = _number(tasks[bare].settings.get(setting))
            points.setdefault(math.nan if default is None else default, bare)
        if len(points) > 1:
            rising = sorted(points, key=lambda at: -math.inf if math.isnan(at) else at)
            every.append(Series(names[key], setting, {at: points[at] for at in rising}))
    return every


def response_rows(
    values: pd.DataFrame, series: Sequence[Series], baseline: str, main: Mapping[str, str]
) -> pd.DataFrame:
    """Return the mean at each point of each series, and paired differences.

    ``difference`` is to the baseline at the same point, over the seeds that the board pairs.
    ``change`` is to the same loss at the series' first point, over the seeds that start from
    the same weights. All have 95% t intervals over seeds.

    Args:
        values: final test scores and the diagnostics asked for, a row each.
        series: the series of the board's tasks.
        baseline: the label of the loss to compare with.
        main: {task: its main metric}.
    """
    runs: dict[tuple[str, str, str], dict[tuple[str, str], dict[int, Cell]]] = {}
    wanted = {task for each in series for task in each.points.values()}
    values = values[values["task"].isin(list(wanted))]
    columns = [values[name].tolist() for name in ("split", "metric", *Cell._fields)]
    for split, metric, *own in zip(*columns, strict=True):
        cell = Cell(*own)
        kind = DIAGNOSTIC if split == DIAGNOSTICS else SCORE
        row = runs.setdefault((cell.task, kind, metric), {})
        row.setdefault((cell.method, cell.loss), {})[cell.seed] = cell
    rows = list(_rows(series, runs, baseline, main))
    table = pd.DataFrame(rows, columns=[*RESPONSE_COLUMNS, "samples", "differences", "changes"])
    mean, low, high = of_samples(mean_interval, table["samples"].tolist())
    gap, gap_low, gap_high = of_samples(mean_interval, table["differences"].tolist())
    change, change_low, change_high = of_samples(mean_interval, table["changes"].tolist())
    without = of_samples(unjudged, table["differences"].tolist())[0]
    without &= (table["loss"] != baseline).to_numpy()
    figures = {
        "mean": mean, "low": low, "high": high, "difference": gap,
        "difference_low": np.where(without, math.nan, gap_low),
        "difference_high": np.where(without, math.nan, gap_high),
        "change": change, "change_low": change_low, "change_high": change_high,
    }  # fmt: skip
    return table.assign(**figures)[list(RESPONSE_COLUMNS)]


def _rows(
    series: Sequence[Series],
    runs: Mapping[tuple[str, str, str], Mapping[tuple[str, str], Mapping[int, Cell]]],
    baseline: str,
    main: Mapping[str, str],
) -> Iterator[dict[str, Any]]:
    """Yield a row a series, metric, method, loss and point, in that order."""
    measured: dict[str, list[tuple[str, str]]] = {}
    for task, kind, metric in runs:
        measured.setdefault(task, []).append((kind, metric))
    for name, setting, points in series:
        metrics = dict.fromkeys(each for task in points.values() for each in measured.get(task, ()))
        mains = {(SCORE, main.get(task, "")) for task in points.values()}
        for kind, metric in sorted(metrics, key=lambda own: (own[0] != SCORE, own not in mains)):
            at_points = {at: runs.get((task, kind, metric), {}) for at, task in points.items()}
            for method, loss in dict.fromkeys(row for own in at_points.values() for row in own):
                for at, own in at_points.items():
                    cells = own.get((method, loss))
                    if cells is None:
                        continue
                    differences = paired_differences(cells, own.get((method, baseline), {}))
                    first = at_points[next(iter(points))].get((method, loss), {})
                    first = {} if first is cells else first
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
                        "differences": differences,
                        "changes": changes,
                        "change_pairs": len(changes),
                        "differs": ", ".join(dict.fromkeys(w for words in differs for w in words)),
                    }


def _key(name: str, settings: Settings) -> str:
    """Return a text that identifies a name and settings, whatever the settings' order."""
    return label(name, dict(sorted(settings.items())))


def _number(value: object) -> float | None:
    """Return a setting's value as a finite number; None for True, texts and the like."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
