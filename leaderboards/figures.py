"""A leaderboard as figures for plotly: plain dicts of ``data`` and ``layout``.

Plotly reads texts as a small HTML (``<b>``, ``<a>``), so every name goes through
:func:`plain` on its way into a figure, and hover labels are whole texts rather than
templates. Colours of the page (ink, paper, grid) are left to its template.
"""

import html
import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from itertools import chain, count
from typing import Any, NamedTuple

import pandas as pd

from leaderboards.panel import BETTER, EQUIVALENT, UNTRAINED, WORSE
from leaderboards.ranking import Friedman
from leaderboards.statistics import ALPHA
from leaderboards.tables import Leaderboard, each_row

Plot = dict[str, Any]
RESOLVED = (BETTER, EQUIVALENT, WORSE)
NEUTRAL = "#808080"
"""The baseline's colour: grey, readable on white and on black."""

# Okabe and Ito's palette, https://jfly.uni-koeln.de/color/: without black, which a dark
# page swallows, and yellow, which a light one does. The three lists have no common
# factor, so that 210 losses go by before one looks like another.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "triangle-down", "cross")
DASHES = ("solid", "dash", "dashdot", "longdash", "longdashdot")
GLYPHS = dict(zip((*SYMBOLS, "hexagon"), "●■◆▲★▼✚⬢", strict=True))

LABEL = 24
HOVER = 48
ROW = 26


class Style(NamedTuple):
    """How a loss looks in every figure."""

    colour: str
    symbol: str
    dash: str


class Panel(NamedTuple):
    """One figure, and what is said about it.

    Attributes:
        title: its heading.
        caption: what it shows, in words.
        plot: plotly's ``data`` and ``layout``; a trace's ``meta`` is the loss it is of.
        width: the pixels that it needs, more than a phone may have.
        facts: (name, value) pairs to print below it.
    """

    title: str
    caption: str
    plot: Plot
    width: int = 0
    facts: tuple[tuple[str, str], ...] = ()


def styles(board: Leaderboard) -> dict[str, Style]:
    """Return how each loss looks: the same in every figure of this board."""
    tables = (board.rows, board.curves, board.trials)
    names = dict.fromkeys(loss for table in tables for loss in table["loss"])
    others = [loss for loss in names if loss != board.baseline]
    looks = {
        loss: Style(COLOURS[i % len(COLOURS)], SYMBOLS[i % len(SYMBOLS)], DASHES[i % len(DASHES)])
        for i, loss in enumerate(others)
    }
    return {board.baseline: Style(NEUTRAL, "hexagon", "solid"), **looks}


def forest_plots(board: Leaderboard, *, untrained: bool = False) -> list[Panel]:
    """Return the paired differences to the baseline, a figure a task and method.

    Args:
        board: the leaderboard.
        untrained: whether to show the untrained encoder, which dwarfs the others.
    """
    rows = board.rows[(board.rows["loss"] != board.baseline) & board.rows["difference"].notna()]
    if not untrained:
        rows = rows[rows["loss"] != UNTRAINED]
    looks = styles(board)
    return [
        _forest_plot(board, rows, looks) for _, rows in rows.groupby(["task", "method"], sort=False)
    ]


def convergence_curves(board: Leaderboard) -> list[Panel]:
    """Return validation scores during training, a figure a task, main metric and method."""
    main = board.rows[board.rows["main"].astype(bool)]
    panels = set(zip(main["task"], main["metric"], strict=True))
    looks = styles(board)
    return [
        _curves(board, curves, looks)
        for (task, metric, _), curves in board.curves.groupby(
            ["task", "metric", "method"], sort=False
        )
        if (task, metric) in panels
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
        where = _where(board, task, metric, method)
        points = _trial_points(trials)
        panels += [
            _landscape(where, setting, points[setting], setting in logarithmic, looks)
            for setting in points
        ]
    return panels


def heat_map(board: Leaderboard) -> Panel | None:
    """Return the difference to the baseline by loss and task, on the main metrics.

    The colours reach as far as the trained losses do: the untrained encoder, far
    below them, would leave the others white. None where nothing is compared.
    """
    rows = board.rows[board.rows["main"].astype(bool) & (board.rows["loss"] != board.baseline)]
    if rows["difference"].isna().all():
        return None
    everywhere = board.overall[board.overall["scope"] == "all"].sort_values("rank")
    order = [*everywhere["loss"], *rows["loss"]]
    shown = set(rows["loss"])
    losses = [loss for loss in dict.fromkeys(order) if loss in shown]
    columns = list(dict.fromkeys(zip(rows["task"], rows["metric"], rows["method"], strict=True)))
    found = {
        (row.loss, (row.task, row.metric, row.method)): float(row.difference)
        for row in each_row(rows)
    }
    values = [[found.get((loss, column), math.nan) for column in columns] for loss in losses]
    trained = [
        abs(value)
        for loss, line in zip(losses, values, strict=True)
        for value in line
        if loss != UNTRAINED and math.isfinite(value)
    ]
    reach = max([*trained, board.rope])
    names = short_names(losses)
    titles = [_where(board, *column) for column in columns]
    data = {
        "type": "heatmap",
        "x": list(range(len(columns))),
        "y": list(range(len(losses))),
        "z": [[_round(value) for value in line] for line in values],
        "text": [["" if math.isnan(v) else f"{v:+.2f}" for v in line] for line in values],
        "texttemplate": "%{text}",
        "hovertext": [
            [
                _hover(loss, title, f"difference: {value:+.3f}")
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
    height = ROW * 1.2 * len(losses)
    layout = {
        "height": round(height + 170),
        "margin": {"l": 10, "r": 10, "t": 10, "b": 80},
        "hovermode": "closest",
        "xaxis": {
            "side": "top",
            "tickvals": list(range(len(columns))),
            "ticktext": [
                "<br>".join(plain(line) for line in textwrap.wrap(title, 13)) for title in titles
            ],
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
                "title": {"text": "points above the baseline", "side": "bottom"},
            },
        },
        "annotations": blanks,
    }
    caption = (
        f"Difference to {board.baseline} in points, on each task's main metric. "
        "The colours end where the trained losses do; a loss beyond has the last colour."
    )
    return Panel(
        "Differences at a glance",
        caption,
        {"data": [data], "layout": layout},
        width=180 + 86 * len(columns),
    )


def critical_difference(board: Leaderboard) -> Panel | None:
    """Return the diagram of mean ranks, the undecided joined by bars; None without a test."""
    test = board.friedman
    if not isinstance(test, Friedman):
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
            "hovertext": _hover("not told apart", *(f"{n}: {ranks[n]:.2f}" for n in group)),
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
            "marker": _marker(_look(looks, name), 11),
            "hovertext": _hover(name, f"mean rank: {ranks[name]:.2f}"),
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
        f"{test.critical_difference:.2f} (Nemenyi)."
    )
    plot = {"data": [*stems, *joins, *dots, ruler], "layout": layout}
    return Panel("Critical difference", caption, plot)


def plain(text: object) -> str:
    """Return ``text`` so that plotly shows it as it is: nothing in it acts as markup."""
    return html.escape(str(text), quote=False)


def short_names(names: Iterable[str], length: int = LABEL) -> dict[str, str]:
    """Return {name: name cut in its middle}; names that would look alike get a number.

    >>> short_names(["adnce", "adnce(temperature=0.4, mu=0.7)"], 15)
    {'adnce': 'adnce', 'adnce(temperature=0.4, mu=0.7)': 'adnce(t…mu=0.7)'}
    """
    short: dict[str, str] = {}
    taken: set[str] = set()
    for name in names:
        half = (length - 1) // 2
        cut = name if len(name) <= length else f"{name[:half]}…{name[-half:]}"
        numbered = (f"{cut} #{number}" for number in count(2))
        short[name] = next(text for text in chain([cut], numbered) if text not in taken)
        taken.add(short[name])
    return short


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
        look = _look(looks, loss)
        own = [row for _, row in points]
        hollow = [row.verdict not in RESOLVED for row in own]
        data.append(
            {
                "type": "scatter",
                "mode": "markers",
                "meta": plain(loss),
                "name": plain(loss),
                "x": _numbers(row.difference for row in own),
                "y": [place for place, _ in points],
                "error_x": {
                    "type": "data",
                    "symmetric": False,
                    "array": _numbers(row.difference_high - row.difference for row in own),
                    "arrayminus": _numbers(row.difference - row.difference_low for row in own),
                    "thickness": 4,
                    "width": 0,
                    "color": _faint(look.colour, 0.7),
                },
                "marker": {
                    **_marker(look, 11),
                    "symbol": [look.symbol + ("-open" if open_ else "") for open_ in hollow],
                    "line": {"width": [2 if open_ else 0 for open_ in hollow]},
                },
                "hovertext": [_difference_hover(row) for row in own],
                "hoverinfo": "text",
            }
        )
    ends = pd.concat([rows["difference"], rows["difference_low"], rows["difference_high"]])
    ends = ends[ends.abs() < math.inf]
    low, high = min(ends.min(), -1.3 * board.rope), max(ends.max(), 1.3 * board.rope)
    room = 0.06 * (high - low) or 1
    layout = {
        "height": ROW * len(ticks) + 80,
        "margin": {"l": 10, "r": 16, "t": 10, "b": 50},
        "hovermode": "closest",
        "showlegend": False,
        "xaxis": {
            "range": [_round(low - room), _round(high + room)],
            "title": {"text": "points above the baseline"},
            "zeroline": True,
            "zerolinewidth": 2,
        },
        "yaxis": _named_axis(ticks, escaped=True),
        "shapes": [
            {
                "type": "rect",
                "x0": -board.rope,
                "x1": board.rope,
                "yref": "paper",
                "y0": 0,
                "y1": 1,
                "fillcolor": _faint(NEUTRAL, 0.2),
                "line": {"width": 0},
                "layer": "below",
            }
        ],
    }
    method = first["method"] if board.rows["method"].nunique() > 1 else ""
    return Panel(
        " · ".join(filter(None, (str(first["task"]), method))),
        f"Paired differences to {board.baseline}, with the 95% t interval. The band is "
        f"±{board.rope:g} points; the seeds do not decide where a marker is hollow.",
        {"data": data, "layout": layout},
    )


def _difference_hover(row: Any) -> str:
    interval = _span(row.difference_low, row.difference_high)
    bootstrap = _span(row.bootstrap_low, row.bootstrap_high)
    return _hover(
        row.loss,
        f"{row.task} · {row.metric}",
        f"difference: {row.difference:+.3f} over {row.pairs:.0f} pairs",
        f"95% t interval: {interval}" if interval else "no interval: one pair",
        f"bootstrap: {bootstrap}" if bootstrap else "",
        "" if pd.isna(row.p_holm) else f"p (Holm): {row.p_holm:.3g}",
        ""
        if pd.isna(row.better)
        else "P(better/equivalent/worse): "
        f"{row.better:.2f} / {row.equivalent:.2f} / {row.worse:.2f}",
        f"verdict: {row.verdict}",
    )


def _curves(board: Leaderboard, curves: pd.DataFrame, looks: dict[str, Style]) -> Panel:
    first = curves.iloc[0]
    task, metric, method = first["task"], first["metric"], first["method"]
    by_loss: dict[str, list[Any]] = {}
    for point in each_row(curves.sort_values("step", kind="stable")):
        by_loss.setdefault(point.loss, []).append(point)
    bands, lines = [], []
    for loss, curve in by_loss.items():
        look = _look(looks, loss)
        banded = [point for point in curve if not math.isnan(point.low)]
        if len(banded) > 1:
            ahead = [int(point.step) for point in banded]
            behind = banded[::-1]
            bands.append(
                {
                    "type": "scatter",
                    "mode": "lines",
                    "meta": plain(loss),
                    "x": ahead + ahead[::-1],
                    "y": _numbers([*(p.high for p in banded), *(p.low for p in behind)]),
                    "fill": "toself",
                    "fillcolor": _faint(look.colour, 0.13),
                    "line": {"width": 0},
                    "hoverinfo": "skip",
                }
            )
        lines.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "meta": plain(loss),
                "name": plain(loss),
                "x": [int(point.step) for point in curve],
                "y": _numbers(point.mean for point in curve),
                "line": {"width": 2, "color": look.colour, "dash": look.dash},
                "marker": _marker(look, 7),
                "hovertext": [_curve_hover(point) for point in curve],
                "hoverinfo": "text",
            }
        )
    layout: Plot = {
        "height": 360,
        "margin": {"l": 10, "r": 16, "t": 10, "b": 50},
        "hovermode": "closest",
        "showlegend": False,
        "xaxis": {"title": {"text": "optimizer steps"}, "zeroline": False},
        "yaxis": {
            "title": {"text": plain(f"validation {metric}")},
            "automargin": True,
            "zeroline": False,
        },
    }
    if board.baseline in by_loss:
        final = _round(by_loss[board.baseline][-1].mean)
        layout["shapes"] = [
            {
                "type": "line",
                "xref": "paper",
                "x0": 0,
                "x1": 1,
                "y0": final,
                "y1": final,
                "line": {"color": NEUTRAL, "width": 2, "dash": "dot"},
            }
        ]
    rows = board.rows[
        (board.rows["task"] == task)
        & (board.rows["metric"] == metric)
        & (board.rows["method"] == method)
        & (board.rows["loss"] != UNTRAINED)
    ]
    facts = tuple(
        (str(loss), "not within the budget" if math.isinf(steps) else f"{steps:.0f}")
        for loss, steps in zip(rows["loss"], rows["steps_to_baseline"], strict=True)
        if not pd.isna(steps)
    )
    caption = (
        "Validation score during training: mean over seeds and its band. "
        f"The dotted line is what {board.baseline} ends with; below, the steps to reach it."
    )
    plot = {"data": [*bands, *lines], "layout": layout}
    return Panel(_where(board, task, metric, method), caption, plot, facts=facts)


def _curve_hover(row: Any) -> str:
    score = f"step {row.step:.0f}: {row.mean:.2f} {_span(row.low, row.high, '')}"
    return _hover(row.loss, score, f"{row.seeds:.0f} seeds")


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
        look = _look(looks, loss)
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
                "x": _numbers(value for _, value in scored),
                "y": _numbers(trial.validation for trial, _ in scored),
                "marker": {
                    **_marker(look, 8),
                    # The baseline's stays in sight where another loss chose alike.
                    "size": [
                        8 if not best else 20 if look.colour == NEUTRAL else 15 for best in chosen
                    ],
                    "opacity": [1 if best else 0.8 for best in chosen],
                    "line": {"width": [2.5 if best else 0 for best in chosen]},
                },
                "hovertext": [_trial_hover(trial, setting, value) for trial, value in scored],
            }
        )
        if lost:
            data.append(
                {
                    **trace,
                    "x": _numbers(value for _, value in lost),
                    "y": [_round(bottom)] * len(lost),
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
        layout["xaxis"] |= _decades([value for _, value in points])
    failed = sum(not math.isfinite(trial.validation) for trial, _ in points)
    caption = f"One marker a trial, the chosen one large and outlined, against {setting}" + (
        f"; crosses at the bottom: {failed} without a score." if failed else "."
    )
    return Panel(f"{where} · {setting}", caption, {"data": data, "layout": layout})


def _trial_hover(trial: Any, setting: str, value: float) -> str:
    scored = math.isfinite(trial.validation)
    return _hover(
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


def _where(board: Leaderboard, task: object, metric: object, method: object) -> str:
    """Return a heading: the method is named where there are several."""
    several = board.rows["method"].nunique() > 1
    return " · ".join(str(part) for part in (task, metric, method if several else "") if part)


def _decades(values: Sequence[float]) -> Plot:
    """Return the ticks of a logarithmic axis as whole numbers: 0.05, 0.1, 0.2.

    Plotly's own say 5 for 0.05. Over many decades, each has one tick alone.
    """
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = (1, 2, 5) if high - low <= 3 else (1,)
    ticks = [float(f"{step}e{power}") for power in range(low, high + 1) for step in steps]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


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


def _look(looks: dict[str, Style], name: object) -> Style:
    """Return how a loss looks, or a row over tasks, named ``method / loss``."""
    if name in looks:
        return looks[str(name)]
    return next(
        (look for loss, look in looks.items() if str(name).endswith(f" / {loss}")),
        Style(NEUTRAL, "circle", "solid"),
    )


def _marker(look: Style, size: int) -> Plot:
    return {"color": look.colour, "symbol": look.symbol, "size": size}


def _faint(colour: str, opacity: float) -> str:
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def _hover(title: object, *lines: str) -> str:
    """Return a hover label: a bold title and lines, none too wide for a phone."""
    first, *rest = (_folded(line) for line in (str(title), *lines) if line)
    return "<br>".join([f"<b>{first}</b>", *rest])


def _folded(line: str) -> str:
    return (
        "<br>".join(plain(part) for part in textwrap.wrap(line, HOVER))
        if len(line) > HOVER
        else plain(line)
    )


def _span(low: float, high: float, sign: str = "+") -> str:
    return "" if pd.isna(low) else f"[{low:{sign}.2f}, {high:{sign}.2f}]"


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [_round(value) for value in values]


def _round(value: float) -> float | None:
    """Return six digits of ``value``, enough for a screen; None, JSON's null, for NaN."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
