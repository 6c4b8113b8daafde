"""What all figures share: how a loss looks, texts that plotly shows as they are, numbers.

Plotly reads texts as a small HTML (``<b>``, ``<a>``), so every name goes through
:func:`plain` on its way into a figure. Colours of the page (ink, paper, grid) are left to
its template.
"""

import html
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import chain, count
from typing import Any, NamedTuple

import pandas as pd

from leaderboards.analysis.overall import ALL
from leaderboards.analysis.tables import Leaderboard

Plot = dict[str, Any]
NEUTRAL = "#808080"
"""The baseline's colour: grey, readable on white and on black."""

# Okabe and Ito's palette, https://jfly.uni-koeln.de/color/: without black, which a dark
# page swallows, and yellow, which a light one does. The hues are theirs, the lightness is
# not: their orange and sky blue have less than 3:1 on a light page, and their blue nearly so
# on a dark one. These have 3:1 on both, in a region of the figures too. To a colour-blind
# reader the two most alike, the grey among them, are no nearer than the two of theirs.
# The three lists have no common factor, so that 210 losses go by before one looks like
# another.
COLOURS = ("#0090f6", "#ae5a1e", "#009c6c", "#ae7ea2", "#c67e00", "#606cb4")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "star", "triangle-down", "cross")
DASHES = ("solid", "dash", "dashdot", "longdash", "longdashdot")
REFERENCE = "dot"
"""The dash of what was not trained."""
GLYPHS = dict(zip((*SYMBOLS, "hexagon"), "●■◆▲★▼✚⬢", strict=True))

MAX_LOSSES = 40
"""Trained losses in a figure: of more, nobody tells one from another, and a page is slow."""
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


def of_the_best(board: Leaderboard) -> Leaderboard:
    """Return ``board`` with no more losses than its figures can show.

    Those are the :data:`MAX_LOSSES` with the best pooled difference over all tasks (those without
    one last), the baseline and what was not trained. Tuning trials stay: there are few tuned
    losses.
    """
    everywhere = board.overall[board.overall["scope"] == ALL]
    ranks = everywhere.groupby("loss", sort=False)["rank"].min().sort_values(kind="stable")
    trained = [loss for loss in ranks.index if board.is_trained(loss) and loss != board.baseline]
    others = set(trained[MAX_LOSSES:])
    if not others:
        return board

    def without(table: pd.DataFrame) -> pd.DataFrame:
        return table[~table["loss"].isin(others)]

    return replace(
        board,
        rows=without(board.rows),
        curves=without(board.curves),
        diagnostics=without(board.diagnostics),
        responses=without(board.responses),
    )


def styles(board: Leaderboard) -> dict[str, Style]:
    """Return how each loss looks: the same in every figure of this board."""
    tables = (board.rows, board.curves, board.trials)
    names = dict.fromkeys(loss for table in tables for loss in table["loss"])
    others = [loss for loss in names if loss != board.baseline]
    looks = {
        loss: Style(
            COLOURS[i % len(COLOURS)],
            SYMBOLS[i % len(SYMBOLS)],
            REFERENCE if board.is_reference(loss) else DASHES[i % len(DASHES)],
        )
        for i, loss in enumerate(others)
    }
    return {board.baseline: Style(NEUTRAL, "hexagon", "solid"), **looks}


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


def heading(board: Leaderboard, task: object, metric: object, method: object) -> str:
    """Return a heading: the method is named where there are several."""
    several = board.rows["method"].nunique() > 1
    return " · ".join(str(part) for part in (task, metric, method if several else "") if part)


def decades(values: Sequence[float]) -> Plot:
    """Return the ticks of a logarithmic axis as whole numbers: 0.05, 0.1, 0.2.

    Plotly's own say 5 for 0.05. Over many decades, each has one tick alone.
    """
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    steps = (1, 2, 5) if high - low <= 3 else (1,)
    ticks = [float(f"{step}e{power}") for power in range(low, high + 1) for step in steps]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def look_of(looks: dict[str, Style], name: object) -> Style:
    """Return how a loss looks, or a row over tasks, named ``method / loss``."""
    if name in looks:
        return looks[str(name)]
    return next(
        (look for loss, look in looks.items() if str(name).endswith(f" / {loss}")),
        Style(NEUTRAL, "circle", "solid"),
    )


def marker(look: Style, size: int) -> Plot:
    """Return a marker as the loss looks."""
    return {"color": look.colour, "symbol": look.symbol, "size": size}


def faint(colour: str, opacity: float) -> str:
    """Return ``colour``, #rrggbb, so that what is behind shows through."""
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def region(**ends: object) -> Plot:
    """Return a grey region behind the data: so faint that the colours show on it."""
    return {
        **ends,
        "type": "rect",
        "fillcolor": faint(NEUTRAL, 0.08),
        "line": {"width": 1, "color": faint(NEUTRAL, 0.5)},
        "layer": "below",
    }


def whiskers(
    look: Style, middle: Sequence[float], low: Sequence[float], high: Sequence[float]
) -> Plot:
    """Return intervals as bars in the colour of the loss."""
    return {
        "type": "data",
        "symmetric": False,
        "array": numbers(end - at for end, at in zip(high, middle, strict=True)),
        "arrayminus": numbers(at - end for end, at in zip(low, middle, strict=True)),
        "thickness": 3,
        "width": 0,
        "color": look.colour,
    }


def hover(title: object, *lines: str) -> str:
    """Return a hover label: a bold title and lines, none too wide for a phone."""
    first, *rest = (_folded(line) for line in (str(title), *lines) if line)
    return "<br>".join([f"<b>{first}</b>", *rest])


def _folded(line: str) -> str:
    return (
        "<br>".join(plain(part) for part in textwrap.wrap(line, HOVER))
        if len(line) > HOVER
        else plain(line)
    )


def span(low: float, high: float, sign: str = "+") -> str:
    """Return an interval as text; none where it has no ends."""
    return "" if pd.isna(low) else f"[{low:{sign}.2f}, {high:{sign}.2f}]"


def numbers(values: Iterable[float]) -> list[float | None]:
    """Return each of ``values`` as :func:`rounded` does."""
    return [rounded(value) for value in values]


def rounded(value: float) -> float | None:
    """Return six digits of ``value``, enough for a screen; None, JSON's null, for NaN."""
    return float(f"{value:.6g}") if math.isfinite(value) else None
