"""Scales and axes: from values to places, with ticks at round numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from leaderboards.figures.svg import SIZE, Svg
from leaderboards.figures.text import width

MINUS = "\N{MINUS SIGN}"


@dataclass(frozen=True)
class Scale:
    """A scale from values to places in points.

    Attributes:
        low: the value at ``start``.
        high: the value at ``end``.
        start: the place of ``low``.
        end: the place of ``high``.
        logarithmic: whether equal ratios have equal lengths.
    """

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def __call__(self, value: float) -> float:
        """Return the place of a value."""
        low, high, at = self.low, self.high, value
        if self.logarithmic:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)

    def ticks(self, apart: float = 32.0) -> list[float]:
        """Return round values that lie on the scale, about ``apart`` points from one another."""
        if self.logarithmic:
            return log_ticks(self.low, self.high)
        most = max(2, int(abs(self.end - self.start) / apart))
        return ticks(self.low, self.high, most)


def ticks(low: float, high: float, most: int) -> list[float]:
    """Return at most ``most`` multiples of 1, 2 or 5 times a power of ten between two values.

    >>> ticks(-1.2, 0.9, 5)
    [-1.0, -0.5, 0.0, 0.5]
    """
    if not high > low:
        return [low]
    power = math.floor(math.log10(high - low)) - 1
    for step in (factor * 10.0 ** (power + k) for k in range(4) for factor in (1, 2, 5)):
        first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
        if last - first + 1 <= most:
            return [round(number * step, 12) + 0.0 for number in range(first, last + 1)]
    return [low]


def log_ticks(low: float, high: float) -> list[float]:
    """Return ticks of a logarithmic scale: powers of ten, and 2 and 5 of them over few decades.

    >>> log_ticks(0.02, 1.0)
    [0.02, 0.05, 0.1, 0.2, 0.5, 1.0]
    """
    steps = (1, 2, 5) if high / low <= 200 else (1,)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found = [float(f"{step}e{power}") for power in range(first, last + 1) for step in steps]
    return [tick for tick in found if low * 0.999 <= tick <= high * 1.001] or [low, high]


def written(value: float, *, signed: bool = False) -> str:
    """Return a tick's value.

    >>> written(-0.5), written(0.5, signed=True), written(0.0, signed=True), written(20000)
    ('−0.5', '+0.5', '0', '20000')
    """
    text = f"{value:.6g}"
    return text.replace("-", MINUS) if value < 0 else f"+{text}" if signed and value else text


def x_axis(
    svg: Svg, scale: Scale, top: float, bottom: float, at: Sequence[float] | None = None, *,
    signed: bool = False, grid: bool = True,
) -> None:  # fmt: skip
    """Draw the ticks of a horizontal axis, and a faint line up from each."""
    last = -math.inf
    values = scale.ticks() if at is None else at
    for tick in (value for value in values if scale.low <= value <= scale.high):
        x = scale(tick)
        if grid:
            svg.line(x, top, x, bottom, "grid", 0.5)
        text = written(tick, signed=signed)
        half = width(text, SIZE - 1) / 2
        if x - half > last + 3:
            svg.text(x, bottom + SIZE + 1, text, "middle", "muted", SIZE - 1)
            last = x + half


def y_axis(svg: Svg, scale: Scale, left: float, right: float, *, signed: bool = False) -> None:
    """Draw the ticks of a vertical axis, left of it, and a faint line from each."""
    for tick in scale.ticks(17.0):
        y = scale(tick)
        svg.line(left, y, right, y, "grid", 0.5)
        svg.text(left - 3, y + 2.4, written(tick, signed=signed), "end", "muted", SIZE - 1)


def padded(low: float, high: float, share: float = 0.06) -> tuple[float, float]:
    """Return a range with some room at both ends; never an empty one."""
    room = share * (high - low) or abs(high) * share or 1.0
    return low - room, high + room
