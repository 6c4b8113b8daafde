"""The matrix as a figure: losses down, tasks across, coloured by the verdict."""

from collections.abc import Iterator, Sequence

from leaderboards.figures.svg import SIZE, Svg
from leaderboards.figures.text import fit, fit_all
from leaderboards.figures.text import width as width_of
from leaderboards.report.model import (
    BETTER,
    PAGE,
    POOLED,
    SAME,
    TASK,
    WORSE,
    Cell,
    Column,
    Line,
    Report,
)  # fmt: skip

ROW = 21.0
SMALL = SIZE - 1.5


def matrix(report: Report, width: float) -> Svg | None:
    """Return the matrix of losses and tasks; a tint says better or worse."""
    columns = report.matrix.columns_in(PAGE)
    lines = list(report.matrix.lines(PAGE))
    shown = [i for i, column in enumerate(columns) if column.kind in (TASK, POOLED)]
    if not shown or not lines:
        return None
    names = [line.cells[0].text for line in lines]
    label = min(max(map(width_of, names)), 0.34 * width) + 8
    short = fit_all(names, label - 8)
    svg = Svg(width, "Losses and tasks", report.legend)
    top = 0.0
    for block in _blocks(lines, shown, width - label):
        each = (width - label) / len(block)
        top = _heads(svg, [columns[i] for i in block], label, each, top)
        for line, name in zip(lines, names, strict=True):
            role, thickness = ("ink", 0.8) if line.rule else ("grid", 0.5)
            svg.line(0, top, width, top, role, thickness)
            with svg.group(line.row):
                svg.text(0, top + 13, short[name])
                for number, i in enumerate(block):
                    _cell(svg, line.cells[i], label + number * each, each, top)
            top += ROW
        svg.line(0, top, width, top, "grid", 0.5)
        top += 10
    svg.height = top - 8
    return svg


def _blocks(lines: Sequence[Line], shown: Sequence[int], room: float) -> Iterator[list[int]]:
    """Yield the columns of each block, so many that every number has its room."""
    block: list[int] = []
    widest = 0.0
    for i in shown:
        needed = max(_narrowest(line.cells[i]) for line in lines) + 8
        if block and max(widest, needed) * (len(block) + 1) > room:
            yield block
            block, widest = [], 0.0
        block.append(i)
        widest = max(widest, needed)
    yield block


def _narrowest(cell: Cell) -> float:
    """Return the room that a cell needs: its number, and what its mean lacks."""
    score, _, flaw = cell.text.partition(" (")
    number = score.partition(" ")[0]
    return max(width_of(number, bold=cell.best), width_of(flaw, SMALL) + 6 * bool(flaw))


def _heads(svg: Svg, columns: Sequence[Column], label: float, each: float, top: float) -> float:
    """Write the headings of a block, and return where its rows begin."""
    heads = [_broken(column.heading, each - 6) for column in columns]
    deepest = max(map(len, heads))
    for number, (column, head) in enumerate(zip(columns, heads, strict=True)):
        right = label + (number + 1) * each - 4
        for level, text in enumerate(head):
            y = top + SIZE + 1 + (deepest - len(head) + level) * (SIZE + 1)
            svg.text(right, y, text, "end", bold=True)
        # The font of PDF files has no arrows; higher is better unless the heading says otherwise.
        unit = column.unit.replace(" ↑", "").replace("↓", "(lower is better)")
        y = top + SIZE + 1 + deepest * (SIZE + 1)
        svg.text(right, y, fit(unit, each - 6, SMALL), "end", "muted", SMALL)
    return top + (deepest + 1) * (SIZE + 1) + 6


def _broken(text: str, room: float) -> list[str]:
    """Return a heading in at most two lines, broken between words."""
    first, *rest = text.split(" ")
    while rest and width_of(f"{first} {rest[0]}", bold=True) <= room:
        first += f" {rest.pop(0)}"
    lines = [first, " ".join(rest)] if rest else [first]
    return [fit(line, room / 1.1) for line in lines]


def _cell(svg: Svg, cell: Cell, left: float, wide: float, top: float) -> None:
    """Draw a score with its difference below; what its mean lacks stands in the place of that."""
    if cell.outcome in (BETTER, WORSE):
        svg.rect(left + 1, top + 0.5, wide - 1, ROW - 1, f"{cell.outcome}-tint")
    right, room = left + wide - 4, wide - 6
    role = cell.outcome if cell.outcome in (BETTER, WORSE) else "muted"
    score, _, flaw = cell.text.partition(" (")
    spread = f" ± {cell.spread}" if cell.spread else ""
    first = _shortened(score + spread, score.partition(" ")[0], room)
    beside = 6 if cell.outcome else 0
    alone = not flaw and not cell.change  # Then the symbol stands beside the number itself.
    svg.text(right - beside * alone, top + 9, first, "end", bold=cell.best)
    second = flaw.removesuffix(")") or cell.change
    second = _shortened(second, second if flaw else second.partition(" ")[0], room - beside, SMALL)
    if second:
        svg.text(right - beside, top + 17.5, second, "end", role, SMALL)
    _symbol(svg, cell.outcome, right - 2, top + (6.6 if alone else 15.3), role)


def _shortened(text: str, less: str, room: float, size: float = SIZE) -> str:
    """Return a text, or ``less`` of it where it has no room, cut if that has none either."""
    return text if width_of(text, size) <= room else fit(less, room, size)


def _symbol(svg: Svg, outcome: str, x: float, y: float, role: str) -> None:
    """Draw a verdict's symbol as a shape, which needs no letter of any font."""
    if outcome == BETTER:
        svg.area([(x - 2.2, y + 1.8), (x + 2.2, y + 1.8), (x, y - 2)], role, 1)
    elif outcome == WORSE:
        svg.area([(x - 2.2, y - 1.8), (x + 2.2, y - 1.8), (x, y + 2)], role, 1)
    elif outcome == SAME:
        svg.line(x - 2, y - 1, x + 2, y - 1, role)
        svg.line(x - 2, y + 1, x + 2, y + 1, role)
    elif outcome:
        svg.circle(x, y, 0.7, role)
