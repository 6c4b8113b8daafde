"""The critical difference diagram of mean ranks."""

from leaderboards.figures.axes import Scale
from leaderboards.figures.svg import SIZE, Svg
from leaderboards.figures.text import fit_all
from leaderboards.report.model import Report, row_key
from leaderboards.statistics.paired import ALPHA
from leaderboards.statistics.ranking import Friedman

ROW = 11.0
MAX_ROWS = 40
"""More losses than this make no diagram that anybody reads."""


def critical_difference(report: Report, width: float) -> Svg | None:
    """Return mean ranks over tasks; a bar joins losses that the test cannot tell apart."""
    test = report.board.friedman
    if not isinstance(test, Friedman) or len(test.names) > MAX_ROWS:
        return None
    # The test names a row by its loss, or by METHOD / LOSS where the board has several methods.
    keys: dict[str, tuple[str, str]] = {}
    for method, loss in report.board.order:
        keys[f"{method} / {loss}"] = keys[loss] = (method, loss)

    def label(name: str) -> str:
        return report.board.labels.row(*keys[name])

    ranks = dict(zip(test.names, test.mean_ranks, strict=True))
    order = sorted(ranks, key=lambda name: (ranks[name], name))
    half = (len(order) + 1) // 2
    side = 0.27 * width
    short = fit_all([label(name) for name in order], side - 8)
    svg = Svg(
        width,
        "Critical difference",
        f"Friedman test over {test.tasks} tasks: p = {test.p:.3g} (Iman and Davenport: "
        f"{test.iman_davenport_p:.3g}); the losses "
        f"{'differ' if test.p < ALPHA else 'are not told apart'} at the {ALPHA:.0%} level. A bar "
        "joins losses whose mean ranks differ by less than the critical difference (Nemenyi). The "
        "tasks count as independent, which variants of one data set are not.",
    )
    scale = Scale(1, max(len(order), 1 + test.critical_difference), side, width - side)
    cd_end = scale(1 + test.critical_difference)
    svg.line(scale(1), 12, cd_end, 12, "ink", 1.4)
    for x in (scale(1), cd_end):
        svg.line(x, 9.5, x, 14.5, "ink", 1)
    svg.text((scale(1) + cd_end) / 2, 8, f"CD = {test.critical_difference:.2f}", "middle")
    axis = 34.0
    svg.line(scale.start, axis, scale.end, axis, "ink")
    whole = [tick for tick in scale.ticks() if tick == int(tick)]
    for tick in whole:
        svg.line(scale(tick), axis - 3, scale(tick), axis, "ink")
        svg.text(scale(tick), axis - 5, f"{tick:g}", "middle", "muted", SIZE - 1)
    groups = [group for group in test.groups if len(group) > 1]
    bars = axis + 5
    for level, group in enumerate(groups):
        y = bars + 4.0 * level
        ends = [scale(min(ranks[name] for name in group)), scale(max(ranks[n] for n in group))]
        svg.line(ends[0] - 2, y, ends[1] + 2, y, "ink", 2.2)
    first = bars + 4.0 * len(groups) + 8
    for place, name in enumerate(order):
        left = place < half
        y = first + ROW * (place if left else len(order) - 1 - place)
        x = scale(ranks[name])
        edge = side - 5 if left else width - side + 5
        with svg.group(row_key(keys[name])):
            svg.path([(x, axis), (x, y), (edge, y)], "muted", 0.7)
            svg.text(edge - 3 if left else edge + 3, y + 2.7, short[label(name)],
                     "end" if left else "start")  # fmt: skip
    svg.height = first + ROW * half
    return svg
