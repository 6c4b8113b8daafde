"""A leaderboard as figures for plotly: plain dicts of ``data`` and ``layout``.

Plotly reads texts as a small HTML (``<b>``, ``<a>``), so every name goes through
:func:`plain` on its way into a figure, and hover labels are whole texts rather than
templates. Colours of the page (ink, paper, grid) are left to its template.
"""

import json
import math
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import pandas as pd

from leaderboards.analysis.overall import ALL
from leaderboards.analysis.tables import Leaderboard, each_row
from leaderboards.analysis.words import ABOVE, BASELINE, BELOW, DECIDED, with_margin
from leaderboards.drawing import (
    MAX_LOSSES,
    NEUTRAL,
    ROW,
    Panel,
    Plot,
    Style,
    decades,
    heading,
    hover,
    look_of,
    marker,
    numbers,
    plain,
    region,
    rounded,
    short_names,
    span,
    styles,
    whiskers,
)
from leaderboards.statistics.paired import ALPHA
from leaderboards.statistics.ranking import Friedman

COLUMN = 110
"""Pixels of a column of the heat map: as wide as MAX_HEADING characters of its headings."""
MAX_HEADING = 20
HEADING = 10
"""The headings' size in pixels."""
BREAKS = re.compile(r"(?<=\()|(?<=, )|(?= · )")
"""Where a heading may be broken."""


def forest_plots(board: Leaderboard, *, untrained: bool = False) -> list[Panel]:
    """Return the paired differences to the baseline, a figure a task and method.

    Args:
        board: the leaderboard.
        untrained: whether to show what was not trained, which dwarfs the others.
    """
    rows = board.rows[(board.rows["loss"] != board.baseline) & board.rows["difference"].notna()]
    if not untrained:
        rows = rows[rows["loss"].map(board.is_trained).astype(bool)]
    looks = styles(board)
    return [
        _forest_plot(board, rows, looks) for _, rows in rows.groupby(["task", "method"], sort=False)
    ]


def tuning_landscapes(board: Leaderboard) -> list[Panel]:
    """Return validation scores of tuning trials, a figure a task, method and setting.

    A setting is shown where it is a number and varies over the trials of a loss.
    """
    looks = styles(board)
    logarithmic = {
        setting
        for space in board.records["space"].unique()
        for setting, part in _settings(space).items()
        if isinstance(part, dict) and part.get("log")
    }
    panels = []
    # A trial without a score has no metric: the task's others say which.
    for (task, method), trials in board.trials.groupby(["task", "method"], sort=False):
        metric = next((name for name in trials["metric"] if name), "")
        where = heading(board, task, metric, method)
        points = _trial_points(trials)
        panels += [
            _landscape(where, setting, points[setting], setting in logarithmic, looks)
            for setting in points
        ]
    return panels


def heat_map(board: Leaderboard) -> Panel | None:
    """Return the difference to the baseline by loss and task, on the main metrics.

    The colours reach as far as the trained losses do: the untrained encoder, far below
    them, and an oracle would leave the others white. None where nothing is compared.
    """
    rows = board.rows[board.rows["main"].astype(bool) & (board.rows["verdict"] != BASELINE)]
    if rows["difference"].isna().all():
        return None
    everywhere = board.overall[board.overall["scope"] == ALL].sort_values("rank")
    order = [*everywhere["loss"], *rows["loss"]]
    shown = set(rows["loss"])
    losses = [loss for loss in dict.fromkeys(order) if loss in shown]
    columns = list(dict.fromkeys(zip(rows["task"], rows["metric"], rows["method"], strict=True)))
    found = {(row.loss, (row.task, row.metric, row.method)): row for row in each_row(rows)}
    cells = [[found.get((loss, column)) for column in columns] for loss in losses]
    # Colours say better or worse, whatever the metric's direction.
    values = [[_turned(row) if row else math.nan for row in line] for line in cells]
    trained = [
        abs(value)
        for loss, line in zip(losses, values, strict=True)
        for value in line
        if board.is_trained(loss) and math.isfinite(value)
    ]
    reach = max([*trained, 0.5])
    names = short_names(losses)
    titles = [heading(board, *column) for column in columns]
    ticks = [_broken(title) for title in titles]
    data = {
        "type": "heatmap",
        "x": list(range(len(columns))),
        "y": list(range(len(losses))),
        "z": [[rounded(value) for value in line] for line in values],
        "text": [[_cell(row) for row in line] for line in cells],
        "texttemplate": "%{text}",
        "hovertext": [
            [
                hover(loss, title, f"difference: {value:+.3f}")
                for title, value in zip(titles, line, strict=True)
            ]
            for loss, line in zip(losses, values, strict=True)
        ],
        "hoverinfo": "text",
        "hoverongaps": False,
        "xgap": 2,
        "ygap": 2,
        "coloraxis": "coloraxis",
    }
    blanks = [
        {"x": x, "y": y, "text": "no score", "showarrow": False, "font": {"size": 11}}
        for y, line in enumerate(values)
        for x, value in enumerate(line)
        if math.isnan(value)
    ]
    deepest = max(tick.count("<br>") + 1 for tick in ticks)
    height = ROW * 1.2 * len(losses) + 1.3 * HEADING * deepest
    layout = {
        "height": round(height + 110),
        "margin": {"l": 10, "r": 10, "t": 10, "b": 80},
        "hovermode": "closest",
        "xaxis": {
            "side": "top",
            "tickvals": list(range(len(columns))),
            "ticktext": ticks,
            "tickfont": {"size": HEADING},
            "tickangle": 0,
            "automargin": True,
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
        "yaxis": _named_axis([names[loss] for loss in losses]),
        "coloraxis": {
            "cmin": -reach,
            "cmid": 0,
            "cmax": reach,
            "colorbar": {
                "orientation": "h",
                "thickness": 10,
                "y": -0.02,
                "yanchor": "top",
                "title": {"text": "better than the baseline", "side": "bottom"},
            },
        },
        "annotations": blanks,
    }
    caption = (
        f"Difference to {board.baseline} in points, on each task's main metric. "
        "Bold: the whole interval is above or below 0. "
        + ("†: its representations collapsed. " if (board.rows["collapsed"] > 0).any() else "")
        + "The colours end where the trained losses do; a loss beyond has the last colour."
    )
    return Panel(
        "Differences at a glance",
        caption,
        {"data": [data], "layout": layout},
        width=190 + COLUMN * len(columns),
    )


def _turned(row: Any) -> float:
    """Return a difference with the sign turned so that above 0 is better."""
    return -float(row.difference) if row.direction == "lower" else float(row.difference)


def _cell(row: Any) -> str:
    """Return a difference as text, bold where it is resolved; none without a score."""
    if row is None or math.isnan(row.difference):
        return ""
    text = f"{row.difference:+.2f}" + ("†" if row.collapsed else "")
    return f"<b>{text}</b>" if row.verdict in (*ABOVE, *BELOW) else text


def _broken(title: str) -> str:
    """Return a heading in lines: a word is broken only where it is wider than a column.

    >>> _broken("images(size=14, draws=3, false_negatives=0.3) · accuracy")
    'images(size=14,<br>draws=3,<br>false_negatives=0.3)<br>· accuracy'
    """
    lines = [""]
    for part in BREAKS.split(title):
        if len((lines[-1] + part).strip()) > MAX_HEADING:
            lines.append("")
        lines[-1] += part
    pieces = [piece for line in lines for piece in textwrap.wrap(line.strip(), MAX_HEADING)]
    return "<br>".join(plain(piece) for piece in pieces)


def critical_difference(board: Leaderboard) -> Panel | None:
    """Return the diagram of mean ranks, the undecided joined by bars.

    None without a test, or with more rows than a figure can show.
    """
    test = board.friedman
    if not isinstance(test, Friedman) or len(test.names) > MAX_LOSSES:
        return None
    ranks = dict(zip(test.names, test.mean_ranks, strict=True))
    order = sorted(ranks, key=lambda name: (ranks[name], name))
    looks = styles(board)
    names = short_names(order)
    groups = [group for group in test.groups if len(group) > 1]
    # Above the losses' rows, upwards: a bar for each group, then the critical difference.
    bars = [-1 - 0.6 * level for level in range(len(groups))]
    top = -1.2 - 0.6 * len(groups)
    stems: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [ranks[name], ranks[name], 1 - 0.2],
            "y": [top, place, place],
            "line": {"width": 1, "color": NEUTRAL},
            "hoverinfo": "skip",
        }
        for place, name in enumerate(order)
    ]
    joins: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines",
            "x": [min(ranks[n] for n in group) - 0.04, max(ranks[n] for n in group) + 0.04],
            "y": [height, height],
            "line": {"width": 6, "color": NEUTRAL},
            "hovertext": hover("not told apart", *(f"{n}: {ranks[n]:.2f}" for n in group)),
            "hoverinfo": "text",
        }
        for group, height in zip(groups, bars, strict=True)
    ]
    dots: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "markers",
            "x": [ranks[name]],
            "y": [place],
            "marker": marker(look_of(looks, name), 11),
            "hovertext": hover(name, f"mean rank: {ranks[name]:.2f}"),
            "hoverinfo": "text",
        }
        for place, name in enumerate(order)
    ]
    ruler = {
        "type": "scatter",
        "mode": "lines+markers",
        "x": [1, 1 + test.critical_difference],
        "y": [top - 0.9] * 2,
        "line": {"width": 2, "color": NEUTRAL},
        "marker": {"symbol": "line-ns", "size": 10, "line": {"width": 2, "color": NEUTRAL}},
        "hoverinfo": "skip",
    }
    word = {
        "x": 1 + test.critical_difference,
        "y": top - 0.9,
        "text": f"CD = {test.critical_difference:.2f}",
        "showarrow": False,
        "xanchor": "left",
        "xshift": 8,
    }
    reach = max(len(order), 1 + test.critical_difference)
    layout = {
        "height": round(ROW * (len(order) + 2 - top) + 50),
        "margin": {"l": 10, "r": 16, "t": 46, "b": 10},
        "hovermode": "closest",
        "showlegend": False,
        "xaxis": {
            "side": "top",
            "range": [0.8, reach + 0.2],
            "dtick": 1 if reach <= 12 else None,
            "title": {"text": "mean rank (1 is best)"},
            "showgrid": False,
            "zeroline": False,
            "fixedrange": True,
        },
        "yaxis": _named_axis([names[name] for name in order], lowest=top - 1.5),
        "annotations": [word],
    }
    verdict = "differ" if test.p < ALPHA else "are not told apart"
    caption = (
        f"Friedman test over {test.tasks} tasks: chi-squared {test.statistic:.2f}, "
        f"p = {test.p:.3g}; Iman and Davenport's F {test.iman_davenport:.2f}, "
        f"p = {test.iman_davenport_p:.3g}: the losses {verdict} at the {ALPHA:.0%} level. "
        f"A bar joins losses whose mean ranks differ by less than the critical difference "
        f"{test.critical_difference:.2f} (Nemenyi). Here only what was trained is ranked, and "
        "every task weighs the same; the tasks count as independent, which variants of one data "
        "set are not."
    )
    plot = {"data": [*stems, *joins, *dots, ruler], "layout": layout}
    return Panel("Critical difference", caption, plot)


def _forest_plot(board: Leaderboard, rows: pd.DataFrame, looks: dict[str, Style]) -> Panel:
    """Return the differences of one task and method, main metric first."""
    first = rows.iloc[0]
    names = short_names(rows["loss"].unique())
    ticks: list[str] = []
    by_loss: dict[str, list[tuple[int, Any]]] = {loss: [] for loss in names}
    metrics = rows.sort_values("main", ascending=False, kind="stable")
    for metric, group in metrics.groupby("metric", sort=False):
        is_main = bool(group["main"].iloc[0]) and rows["metric"].nunique() > 1
        ticks.append(f"<b>{plain(metric)}{' (main)' if is_main else ''}</b>")
        for row in each_row(group):
            by_loss[row.loss].append((len(ticks), row))
            ticks.append(plain(names[row.loss]))
    data: list[Plot] = []
    for loss, points in by_loss.items():
        look = look_of(looks, loss)
        own = [row for _, row in points]
        hollow = [row.verdict not in DECIDED for row in own]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "meta": plain(loss),
                "name": plain(loss),
                "x": numbers(row.difference for row in own),
                "y": [place for place, _ in points],
                "error_x": whiskers(
                    look,
                    [row.difference for row in own],
                    [row.difference_low for row in own],
                    [row.difference_high for row in own],
                ),
                "marker": {
                    **marker(look, 11),
                    "symbol": [look.symbol + ("-open" if open_ else "") for open_ in hollow],
                    "line": {"width": [2 if open_ else 0 for open_ in hollow]},
                },
                "hovertext": [_difference_hover(row) for row in own],
                "hoverinfo": "text",
            }
        )
    ends = pd.concat([rows["difference"], rows["difference_low"], rows["difference_high"]])
    ends = ends[ends.abs() < math.inf]
    margin = 0.0 if pd.isna(first["margin"]) else float(first["margin"])
    low, high = min(ends.min(), -1.3 * margin), max(ends.max(), 1.3 * margin)
    room = 0.06 * (high - low) or 1
    layout = {
        "height": ROW * len(ticks) + 80,
        "margin": {"l": 10, "r": 16, "t": 10, "b": 50},
        "hovermode": "closest",
        "showlegend": False,
        "xaxis": {
            "range": [rounded(low - room), rounded(high + room)],
            "title": {"text": "points above the baseline"},
            "zeroline": True,
            "zerolinewidth": 2,
        },
        "yaxis": _named_axis(ticks, escaped=True),
        "shapes": [region(x0=-margin, x1=margin, yref="paper", y0=0, y1=1)] if margin else [],
    }
    method = first["method"] if board.rows["method"].nunique() > 1 else ""
    return Panel(
        " · ".join(filter(None, (str(first["task"]), method))),
        f"Paired differences to {board.baseline}, with intervals that hold for all losses "
        "together in 95% of cases. "
        + (f"The band is the margin, ±{margin:g}. " if margin else "")
        + "Hollow: the seeds do not decide.",
        {"data": data, "layout": layout},
    )


def _difference_hover(row: Any) -> str:
    interval = span(row.difference_low, row.difference_high)
    without = "fewer than 3 pairs"
    bootstrap = span(row.bootstrap_low, row.bootstrap_high)
    return hover(
        row.loss,
        f"{row.task} · {row.metric}",
        f"difference: {row.difference:+.3f} over {row.pairs:.0f} pairs",
        f"simultaneous 95% interval: {interval}" if interval else f"no interval: {without}",
        f"bootstrap: {bootstrap}" if bootstrap else "",
        "" if pd.isna(row.p) else f"p: {row.p:.3g}",
        f"verdict: {with_margin(row.verdict, row.margin, row.unit)}",
    )


def _trial_points(trials: pd.DataFrame) -> dict[str, list[tuple[Any, float]]]:
    """Return {setting: (trial, value) pairs} of the numbers that vary within a loss."""
    found: dict[tuple[str, str], list[tuple[Any, float]]] = {}
    for trial in each_row(trials):
        for setting, value in _settings(trial.settings).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault((setting, trial.loss), []).append((trial, float(value)))
    points: dict[str, list[tuple[Any, float]]] = {}
    for (setting, _), pairs in found.items():
        if len({value for _, value in pairs}) > 1:
            points.setdefault(setting, []).extend(pairs)
    return points


def _landscape(
    where: str,
    setting: str,
    points: Sequence[tuple[Any, float]],
    logarithmic: bool,
    looks: dict[str, Style],
) -> Panel:
    """Return the validation score against one setting, a trace a loss."""
    scores = [trial.validation for trial, _ in points if math.isfinite(trial.validation)]
    low, high = (min(scores), max(scores)) if scores else (0.0, 1.0)
    bottom = low - 0.08 * ((high - low) or 1)
    by_loss: dict[str, list[tuple[Any, float]]] = {}
    for trial, value in points:
        by_loss.setdefault(trial.loss, []).append((trial, value))
    data: list[Plot] = []
    for loss, pairs in by_loss.items():
        look = look_of(looks, loss)
        scored = [(trial, value) for trial, value in pairs if math.isfinite(trial.validation)]
        lost = [(trial, value) for trial, value in pairs if not math.isfinite(trial.validation)]
        chosen = [bool(trial.chosen) for trial, _ in scored]
        trace: Plot = {
            "type": "scatter",
            "mode": "markers",
            "meta": plain(loss),
            "hoverinfo": "text",
        }
        data.append(
            {
                **trace,
                "x": numbers(value for _, value in scored),
                "y": numbers(trial.validation for trial, _ in scored),
                "marker": {
                    **marker(look, 8),
                    # The baseline's stays in sight where another loss chose alike.
                    "size": [
                        8 if not best else 20 if look.colour == NEUTRAL else 15 for best in chosen
                    ],
                    "opacity": 1,  # Plotly's own is less where the sizes differ.
                    "line": {"width": [2.5 if best else 0 for best in chosen]},
                },
                "hovertext": [_trial_hover(trial, setting, value) for trial, value in scored],
            }
        )
        if lost:
            data.append(
                {
                    **trace,
                    "x": numbers(value for _, value in lost),
                    "y": [rounded(bottom)] * len(lost),
                    "marker": {"symbol": "x", "size": 9, "color": look.colour},
                    "hovertext": [_trial_hover(trial, setting, value) for trial, value in lost],
                }
            )
    positive = all(value > 0 for _, value in points)
    layout: Plot = {
        "height": 320,
        "margin": {"l": 10, "r": 16, "t": 10, "b": 50},
        "hovermode": "closest",
        "showlegend": False,
        "xaxis": {
            "title": {"text": plain(setting)},
            "type": "log" if logarithmic and positive else "linear",
            "zeroline": False,
        },
        "yaxis": {
            "title": {"text": "validation score"},
            "automargin": True,
            "zeroline": False,
        },
    }
    if logarithmic and positive:
        layout["xaxis"] |= decades([value for _, value in points])
    failed = sum(not math.isfinite(trial.validation) for trial, _ in points)
    caption = f"One marker a trial, the chosen one large and outlined, against {setting}" + (
        f"; crosses at the bottom: {failed} without a score." if failed else "."
    )
    return Panel(f"{where} · {setting}", caption, {"data": data, "layout": layout})


def _trial_hover(trial: Any, setting: str, value: float) -> str:
    scored = math.isfinite(trial.validation)
    return hover(
        trial.loss,
        f"trial {trial.trial:.0f}{', chosen' if trial.chosen else ''}",
        f"{setting} = {value:.4g}",
        f"validation: {trial.validation:.3f} over {trial.seeds:.0f} seeds"
        if scored
        else str(trial.status),
    )


def _settings(text: object) -> dict[str, Any]:
    """Return the settings in a JSON text; none where it is not one of an object."""
    try:
        found = json.loads(text) if isinstance(text, str) else {}
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _named_axis(names: Sequence[str], *, escaped: bool = False, lowest: float = -0.5) -> Plot:
    """Return a y axis with a name a row, the first on top."""
    return {
        "range": [len(names) - 0.5, lowest],
        "tickvals": list(range(len(names))),
        "ticktext": [name if escaped else plain(name) for name in names],
        "automargin": True,
        "showgrid": False,
        "zeroline": False,
        "ticks": "",
        "fixedrange": True,
    }
