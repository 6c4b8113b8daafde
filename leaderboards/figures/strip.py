"""A strip of dots: the paired differences of one row, for its drawer."""

import math

from leaderboards.figures.axes import Scale, padded, x_axis
from leaderboards.figures.svg import Svg
from leaderboards.report.model import Drawer

WIDTH = 300.0


def strip(drawer: Drawer) -> Svg | None:
    """Return the seeds of a row as dots, above its interval; None without a difference."""
    if not drawer.values:
        return None
    ends = [end for end in drawer.ends if math.isfinite(end)]
    margin = [-drawer.margin, drawer.margin] if drawer.margin else []
    low, high = padded(min([0.0, *drawer.values, *ends, *margin]),
                       max([0.0, *drawer.values, *ends, *margin]))  # fmt: skip
    svg = Svg(WIDTH, "Seeds", "Dots: paired differences; line: the interval; grey: the margin.")
    scale = Scale(low, high, 6, WIDTH - 6)
    if margin:
        svg.rect(scale(margin[0]), 2, scale(margin[1]) - scale(margin[0]), 24, "margin")
    x_axis(svg, scale, 2, 26, signed=True)
    svg.line(scale(0), 2, scale(0), 26, "ink")
    if len(ends) == 2:
        svg.line(scale(ends[0]), 20, scale(ends[1]), 20, "open", 2)
    for value in drawer.values:
        svg.circle(scale(value), 10, 2.2, "ink")
    svg.height = 38
    return svg
