"""Figures of lines over seeds' means: scores and diagnostics against steps and settings."""

import math
from collections.abc import Iterable, Iterator, Sequence, Sized
from itertools import groupby
from typing import Any

import pandas as pd

from leaderboards.analysis.diagnostics import KNOWN, short
from leaderboards.analysis.series import SCORE
from leaderboards.analysis.tables import UNTRAINED, Leaderboard, each_row
from leaderboards.drawing import (
    NEUTRAL,
    Panel,
    Plot,
    Style,
    faint,
    heading,
    hover,
    look_of,
    marker,
    numbers,
    plain,
    rounded,
    span,
    styles,
    whiskers,
)

LOG_RATIO = 10
"""A setting whose highest value is so many times its lowest has a logarithmic axis."""
MAX_BANDS = 5
"""Losses in a figure: of more, the bands would hide the lines and one another."""
NEAREST = 0.05
"""Of an axis: ticks that are nearer to one another would lie on one another."""


def convergence_curves(board: Leaderboard) -> list[Panel]:
    """Return validation scores during training, a figure a task, main metric and method."""
    main = board.rows[board.rows["main"].astype(bool)]
    panels = set(zip(main["task"], main["metric"], strict=True))
    looks = styles(board)
    return [
        _convergence(board, curves, looks)
        for (task, metric, _), curves in board.curves.groupby(
            ["task", "metric", "method"], sort=False
        )
        if (task, metric) in panels
    ]


def diagnostic_curves(board: Leaderboard) -> dict[str, list[Panel]]:
    """Return {task and method: a figure a diagnostic}: its course during training.

    A reference stands still, and is a dotted line.
    """
    looks = styles(board)
    shown = board.diagnostics[board.diagnostics["loss"].map(board.kinds) != UNTRAINED]
    found: dict[str, list[Panel]] = {}
    for (task, method, name), points in shown.groupby(
        ["task", "method", "diagnostic"], sort=False, observed=True
    ):
        if points["loss"].map(board.is_trained).any():
            panel = _diagnostic(board, str(name), points, looks)
            found.setdefault(heading(board, task, "", method), []).append(panel)
    return found


def response_curves(board: Leaderboard, *, main: bool) -> list[Panel]:
    """Return scores against a setting and, beside each, the differences to the baseline.

    Args:
        board: the leaderboard.
        main: whether to return the main metrics and the diagnostics asked for, or the rest.
    """
    looks = styles(board)
    rows = board.responses[
        board.responses["loss"].map(board.kinds) != UNTRAINED
    ]  # Far below, it flattens them.
    panels: list[Panel] = []
    for _, points in rows.groupby(["series", "setting", "kind", "metric", "method"], sort=False):
        first = points.iloc[0]
        if (bool(first["main"]) or first["kind"] != SCORE) == main:
            panels += _responses(board, list(each_row(points)), looks)
    return panels


def _convergence(board: Leaderboard, curves: pd.DataFrame, looks: dict[str, Style]) -> Panel:
    first = curves.iloc[0]
    task, metric, method = first["task"], first["metric"], first["method"]
    by_loss = _by_loss(each_row(curves.sort_values("step", kind="stable")))
    bands, lines = [], []
    for loss, curve in by_loss.items():
        look = look_of(looks, loss)
        steps = [int(point.step) for point in curve]
        if len(by_loss) <= MAX_BANDS:
            bands += _band(loss, look, steps, [p.low for p in curve], [p.high for p in curve])
        line = _line(loss, look, steps, [point.mean for point in curve])
        said = [_curve_hover(point) for point in curve]
        lines.append(line | {"hovertext": said, "hoverinfo": "text"})
    layout = _layout(360, "optimizer steps", f"validation {metric}")
    caption = f"Validation score during training: {_mean_and('band', by_loss)}"
    if board.baseline in by_loss:
        final = rounded(by_loss[board.baseline][-1].mean)
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
        caption += (
            f" The dotted line is what {board.baseline} ends with; below, the paired difference "
            "of the mean score during training, with its 95% t interval."
        )
    rows = board.rows[
        (board.rows["task"] == task)
        & (board.rows["metric"] == metric)
        & (board.rows["method"] == method)
        & board.rows["loss"].map(board.is_trained).astype(bool)
    ]
    facts = tuple(
        (str(row.loss), f"{row.area:+.2f} [{row.area_low:+.2f}, {row.area_high:+.2f}]")
        for row in each_row(rows)
        if not pd.isna(row.area_low)
    )
    plot = {"data": [*bands, *lines], "layout": layout}
    return Panel(heading(board, task, metric, method), caption, plot, facts=facts)


def _mean_and(drawn: str, losses: Sized) -> str:
    """Return the end of a sentence on what is drawn of each loss."""
    if len(losses) <= MAX_BANDS:
        return f"mean and 95% t {drawn} over seeds."
    return "mean over seeds; the 95% t intervals are in the hover texts."


def _curve_hover(row: Any) -> str:
    score = f"step {row.step:.0f}: {row.mean:.2f} {span(row.low, row.high, '')}"
    return hover(row.loss, score, f"{row.seeds:.0f} seeds")


def _diagnostic(
    board: Leaderboard, name: str, points: pd.DataFrame, looks: dict[str, Style]
) -> Panel:
    """Return one diagnostic of one task against the steps.

    There may be ten for a task and six points of each: plotly words the hover labels, since
    texts would make the page twice as large.
    """
    last = int(points["step"].max())
    by_loss = _by_loss(each_row(points))
    bands, lines = [], []
    for loss, curve in by_loss.items():
        look = look_of(looks, loss)
        if board.is_reference(loss):
            line = _line(loss, look, [0, last], [curve[-1].mean] * 2) | {"mode": "lines"}
        else:
            steps = [int(point.step) for point in curve]
            if len(by_loss) <= MAX_BANDS:
                bands += _band(loss, look, steps, [p.low for p in curve], [p.high for p in curve])
            line = _line(loss, look, steps, [point.mean for point in curve])
        lines.append(line | {"hoverinfo": "name+x+y", "hoverlabel": {"namelength": -1}})
    layout = _layout(250, "optimizer steps")
    many = f"No bands: more than {MAX_BANDS} losses." if len(by_loss) > MAX_BANDS else ""
    caption = " ".join(filter(None, (KNOWN.get(name, ""), many)))
    return Panel(name, caption, {"data": [*bands, *lines], "layout": layout})


def _responses(
    board: Leaderboard, points: Sequence[Any], looks: dict[str, Style]
) -> Iterator[Panel]:
    """Yield the scores of one metric against a setting, and the differences, if there are any."""
    first = points[0]
    setting, metric = first.setting, first.metric
    scores = first.kind == SCORE
    title = heading(board, f"{first.series} · {setting}", metric, first.method)
    axis = _Axis(sorted({point.at for point in points if not math.isnan(point.at)}))
    apart = any(math.isnan(point.at) for point in points)
    left = f" As is: {first.series}, which does not say its {setting}." if apart else ""
    layout = _layout(320, setting, metric)
    layout["xaxis"] |= axis.ticks(apart)
    data = _response_traces(points, axis, looks, ("mean", "low", "high"))
    caption = f"{metric} against {setting}: {_mean_and('interval', _by_loss(points))}{left}"
    yield Panel(title, caption, {"data": data, "layout": layout})
    compared = [
        point
        for point in points
        if point.loss != board.baseline
        and board.is_trained(point.loss)
        and not pd.isna(point.difference)
    ]
    if not compared:
        return
    layout = _layout(320, setting, f"{'points ' if scores else ''}above {board.baseline}")
    layout["xaxis"] |= axis.ticks(apart)
    layout["yaxis"] |= {"zeroline": True, "zerolinewidth": 2}
    ends = ("difference", "difference_low", "difference_high")
    data = _response_traces(compared, axis, looks, ends)
    drawn = _mean_and("interval", _by_loss(compared))
    caption = f"{metric} less {board.baseline}'s, seed by seed, against {setting}: {drawn}{left}"
    yield Panel(f"{title} · difference", caption, {"data": data, "layout": layout})


class _Axis:
    """The values of a setting, and to their left a place for what is as it is."""

    def __init__(self, values: Sequence[float]) -> None:
        self.values = values
        low, high = values[0], values[-1]
        self.logarithmic = low > 0 and high / low >= LOG_RATIO
        self.width = self._scaled(high) - self._scaled(low) or abs(high) or 1.0

    def place(self, at: float, number: int) -> float:
        """Return where a point lies; those apart lie side by side, by their number."""
        if not math.isnan(at):
            return at
        left = self._scaled(self.values[0]) - (0.15 - 0.015 * number) * self.width
        return 10**left if self.logarithmic else left

    def ticks(self, apart: bool) -> Plot:
        """Return the axis with a tick a value, but for those that would lie on another."""
        shown: list[float] = []
        for value in self.values:
            if not shown or self._scaled(value) - self._scaled(shown[-1]) > NEAREST * self.width:
                shown.append(value)
        return {
            "type": "log" if self.logarithmic else "linear",
            "tickvals": [*([self.place(math.nan, 0)] if apart else []), *shown],
            "ticktext": [*(["as is"] if apart else []), *(f"{value:g}" for value in shown)],
        }

    def _scaled(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def _response_traces(
    points: Sequence[Any], axis: _Axis, looks: dict[str, Style], figures: tuple[str, str, str]
) -> list[Plot]:
    """Return a line and a band a loss; what stands alone has its interval as a bar.

    Of many losses there are neither bands nor bars.
    """
    bands: list[Plot] = []
    lines: list[Plot] = []
    by_loss = _by_loss(points)
    few = len(by_loss) <= MAX_BANDS
    for number, (loss, own) in enumerate(by_loss.items()):
        look = look_of(looks, loss)
        joined = [point for point in own if not math.isnan(point.at)]
        for part in (joined, [point for point in own if math.isnan(point.at)]):
            x = [axis.place(point.at, number) for point in part]
            mean, low, high = ([getattr(p, name) for p in part] for name in figures)
            line = _line(loss, look, x, mean)
            if few and len(part) == 1:
                line["error_y"] = whiskers(look, mean, low, high)
            said = [_response_hover(point, *figures) for point in part]
            bands += _band(loss, look, x, low, high) if few else []
            lines += [line | {"hovertext": said, "hoverinfo": "text"}] if part else []
    return [*bands, *lines]


def _response_hover(point: Any, mean: str, low: str, high: str) -> str:
    ends = [getattr(point, name) for name in (low, high)]
    interval = "" if math.isnan(ends[0]) else f" [{', '.join(short(end, 4) for end in ends)}]"
    return hover(
        point.loss,
        f"{point.setting}: {'as is' if math.isnan(point.at) else f'{point.at:g}'}",
        f"{point.metric}{' difference' if mean != 'mean' else ''}: "
        f"{short(getattr(point, mean), 4)}{interval}",
        f"{point.seeds if mean == 'mean' else point.pairs} seeds",
    )


def _by_loss(points: Iterable[Any]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for point in points:
        found.setdefault(point.loss, []).append(point)
    return found


def _line(loss: str, look: Style, x: Sequence[float], y: Iterable[float]) -> Plot:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "meta": plain(loss),
        "name": plain(loss),
        "x": list(x),
        "y": numbers(y),
        "line": {"width": 2, "color": look.colour, "dash": look.dash},
        "marker": marker(look, 7),
    }


def _band(
    loss: str, look: Style, x: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> list[Plot]:
    """Return the band of a line, broken where a point has no interval."""
    points = zip(x, low, high, strict=True)
    runs = [(known, [*run]) for known, run in groupby(points, lambda p: not math.isnan(p[1]))]
    return [_filled(loss, look, ends) for known, ends in runs if known and len(ends) > 1]


def _filled(loss: str, look: Style, ends: list[tuple[float, float, float]]) -> Plot:
    back = ends[::-1]
    return {
        "type": "scatter",
        "mode": "lines",
        "meta": plain(loss),
        "x": [at for at, _, _ in (*ends, *back)],
        "y": numbers([*(high for _, _, high in ends), *(low for _, low, _ in back)]),
        "fill": "toself",
        "fillcolor": faint(look.colour, 0.13),
        "line": {"width": 0},
        "hoverinfo": "skip",
    }


def _layout(height: int, x: str, y: str = "") -> Plot:
    return {
        "height": height,
        "margin": {"l": 10, "r": 16, "t": 10, "b": 50},
        "hovermode": "closest",
        "showlegend": False,
        "xaxis": {"title": {"text": plain(x)}, "zeroline": False},
        "yaxis": {"title": {"text": plain(y)}, "automargin": True, "zeroline": False},
    }
