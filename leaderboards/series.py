"""Tasks of one board that differ in one setting: how scores and diagnostics respond to it.

The boards' tables know a task by its spec alone, such as ``images(false_negatives=0.1)``,
which leaves defaults out. A task whose name cannot be read as a spec is in no series.
"""

import ast
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from leaderboards.panel import Cell, paired_differences, pairs
from leaderboards.statistics import mean_interval, of_samples, unjudged
from leaderboards.tables import DIAGNOSTICS, RESPONSE_COLUMNS

LONGEST = 10_000
"""Characters of a spec; longer ones are not read."""
SCORE, DIAGNOSTIC = "score", "diagnostic"
_SPEC = re.compile(r"([\w.-]+)(\(.*\))?", re.DOTALL)
Settings = Mapping[str, Any]


class Series(NamedTuple):
    """Tasks that differ in one setting.

    Attributes:
        name: the spec that they share, the setting left out.
        setting: the setting that they differ in.
        points: {its value: the task}, in ascending order. The task whose spec lacks the
            setting stands at the default, or first, at NaN, if the default is not known.
    """

    name: str
    setting: str
    points: Mapping[float, str]


def read(spec: str) -> tuple[str, dict[str, Any]] | None:
    """Return the name and the settings of a spec, or None if ``spec`` is not one.

    >>> read("images(false_negatives=0.1, data='mnist')")
    ('images', {'false_negatives': 0.1, 'data': 'mnist'})
    >>> read("images(open('x'))")
    """
    match = _SPEC.fullmatch(spec) if len(spec) <= LONGEST else None
    if match is None:
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python warns of odd escapes, which help nobody here.
            # A stand-in name, because the real one may hold dots and dashes.
            call = ast.parse(f"f{match[2] or '()'}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            return None
        found = {each.arg: _literal(each.value) for each in call.keywords}
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None
    # An argument `**mapping` has the name None.
    return None if None in found else (match[1], {str(key): own for key, own in found.items()})


def series_of(tasks: Iterable[str], defaults: Mapping[str, Settings] | None = None) -> list[Series]:
    """Return the series among ``tasks``; a task may be in several.

    Args:
        tasks: specs.
        defaults: {task: all of its settings}, for the value that a spec leaves out.

    >>> series_of(["a", "a(x=2)", "a(x=1)", "b(x=1)"])
    [Series(name='a', setting='x', points={nan: 'a', 1.0: 'a(x=1)', 2.0: 'a(x=2)'})]
    """
    specs = {task: spec for task in dict.fromkeys(tasks) if (spec := read(str(task)))}
    as_it_is = {_key(name, settings): task for task, (name, settings) in specs.items()}
    names: dict[str, str] = {}
    groups: dict[tuple[str, str], dict[float, str]] = {}
    for task, (name, settings) in specs.items():
        for setting, value in settings.items():
            at = _number(value)
            if at is not None:
                rest = {key: own for key, own in settings.items() if key != setting}
                names.setdefault(_key(name, rest), written(name, rest))
                groups.setdefault((_key(name, rest), setting), {}).setdefault(at, task)
    every: list[Series] = []
    for (shared, setting), points in groups.items():
        bare = as_it_is.get(shared)
        if bare is not None:
            known = _number((defaults or {}).get(bare, {}).get(setting))
            points.setdefault(math.nan if known is None else known, bare)
        if len(points) > 1:
            rising = sorted(points, key=lambda at: -math.inf if math.isnan(at) else at)
            every.append(Series(names[shared], setting, {at: points[at] for at in rising}))
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


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Name):
        return {"inf": math.inf, "nan": math.nan}.get(node.id, node.id)
    return ast.literal_eval(node)


def written(name: str, settings: Settings) -> str:
    """Return the spec from which :func:`read` gets ``name`` and ``settings``."""
    inside = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    return f"{name}({inside})" if inside else name


def _key(name: str, settings: Settings) -> str:
    """Return a text that identifies a spec, whatever the order of its settings."""
    return written(name, dict(sorted(settings.items())))


def _number(value: object) -> float | None:
    """Return a setting's value as a finite number; None for True, texts and the like."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None
