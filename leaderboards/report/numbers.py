"""Numbers as text: no rounding moves an interval's end across the value that decides a word."""

import math

DASH = "\N{EN DASH}"
"""Stands where there is no number."""


def number(value: float | None, form: str) -> str:
    """Return a number as text; a dash for none.

    >>> number(0.254, ".2f"), number(float("nan"), ".2f"), number(float("inf"), ".2f")
    ('0.25', '–', '∞')
    >>> number(-0.001, ".2f"), number(-0.001, "+.2f")
    ('0.00', '+0.00')
    """
    if value is None or math.isnan(value):
        return DASH
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    text = format(value, form)
    zero = text.startswith("-") and not text.strip("-0.%,")
    return format(0.0, form) if zero else text


def interval(
    middle: float, low: float, high: float, thresholds: tuple[float, ...] = (0.0,), digits: int = 2
) -> str:
    """Return a number with its interval; no end is rounded across one of ``thresholds``.

    >>> interval(0.25, 0.0031, 0.4996, (-0.5, 0.0, 0.5))
    '+0.2500 [+0.0031, +0.4996]'
    >>> interval(0.25, -0.1, 0.6), interval(0.25, math.nan, math.nan)
    ('+0.25 [-0.10, +0.60]', '+0.25')
    """
    if math.isnan(middle):
        return DASH
    if math.isnan(low):
        return f"{middle:+.{digits}f}"
    digits = safe_digits((low, high), thresholds, digits)
    texts = [f"{round(value, digits) + 0:+.{digits}f}" for value in (middle, low, high)]
    return f"{texts[0]} [{texts[1]}, {texts[2]}]"


def half_width(
    middle: float, low: float, high: float, thresholds: tuple[float, ...] = (0.0,), digits: int = 2
) -> str:
    """Return a number with half its interval; their sum and difference keep to ``thresholds``.

    >>> half_width(0.25, -0.1, 0.6), half_width(0.25, math.nan, math.nan)
    ('+0.25 ±0.35', '+0.25')
    >>> half_width(0.25, 0.004, 0.496)
    '+0.250 ±0.246'
    """
    if math.isnan(middle):
        return DASH
    if math.isnan(low) or math.isinf(low):
        return f"{middle:+.{digits}f}"
    half = (high - low) / 2
    for more in range(digits, 7):
        ends = [round(middle, more) - round(half, more), round(middle, more) + round(half, more)]
        digits = more
        if half and not round(half, more):  # A half of 0 would say that nothing is uncertain.
            continue
        if all(_same_side(*pair, thresholds) for pair in zip((low, high), ends, strict=True)):
            break
    return f"{round(middle, digits) + 0:+.{digits}f} ±{half:.{digits}f}"


def safe_digits(ends: tuple[float, ...], thresholds: tuple[float, ...], digits: int) -> int:
    """Return the digits from ``digits`` on that keep each end on its side of every threshold."""
    return next(
        (
            more
            for more in range(digits, 7)
            if all(_same_side(end, round(end, more), thresholds) for end in ends)
        ),
        6,
    )


def _same_side(end: float, shown: float, thresholds: tuple[float, ...]) -> bool:
    """Return whether what is shown is on the same side of every threshold as the number itself."""
    shown = round(shown, 9)  # A sum of rounded numbers may miss a threshold by rounding alone.
    return all((end > at) == (shown > at) and (end < at) == (shown < at) for at in thresholds)


def bound(value: float) -> str:
    """Return a bound as text, rounded up.

    >>> bound(0.5004)
    '0.51'
    """
    if math.isnan(value) or value > 1e12:
        return number(value, ".3g")
    return f"{math.ceil(round(value * 100, 6)) / 100:.2f}"


def span(low: float, high: float, form: str = "+.2f") -> str:
    """Return an interval as text; empty where it has no ends."""
    return "" if math.isnan(low) else f"[{low:{form}}, {high:{form}}]"


def p_value(value: float) -> str:
    """Return a p-value as text.

    >>> p_value(0.0001), p_value(0.0321)
    ('<0.001', '0.032')
    """
    return "<0.001" if 0 <= value < 0.0005 else number(value, ".3f")


def seconds(value: float) -> str:
    """Return a duration with its unit.

    >>> seconds(0.0123), seconds(2.5), seconds(7200)
    ('12 ms', '2.5 s', '2.0 h')
    """
    if math.isnan(value):
        return DASH
    if value < 1:
        return f"{value * 1e3:.2g} ms" if value < 0.0995 else f"{value * 1e3:.0f} ms"
    return f"{value:.1f} s" if value < 600 else f"{value / 3600:.1f} h"


def memory(value: float) -> str:
    """Return bytes with their unit.

    >>> memory(1.5 * 2**30), memory(3 * 2**20)
    ('1.5 GiB', '3 MiB')
    """
    if math.isnan(value):
        return DASH
    return f"{value / 2**30:.1f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"
