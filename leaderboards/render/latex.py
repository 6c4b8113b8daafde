r"""LaTeX: the matrix as a float that fits a column, or both columns, of a two-column article.

It needs ``\usepackage{booktabs}`` alone. Nothing knows LaTeX's own widths here, so texts are
measured with a font that is wider than LaTeX's, and what does not fit is set smaller, left out
or put into a second block of tasks.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from leaderboards.analysis.visible import visible
from leaderboards.analysis.words import intervals_named
from leaderboards.figures.text import fit, fit_all, width
from leaderboards.report.answer import margin_of, seeds_of
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
)

MAX_IN_COLUMN = 5
"""Tasks that a float of one column has at most."""
COLUMN, BOTH = 226.0, 464.0
"""The room of both floats in points: LaTeX's own at 10 points, less a little."""
SIZE, SMALL = 7.8, 6.2
"""Letters' sizes to measure with. The table is set at 8 points and its small letters at 5, whose
own are wide; the font that is measured is a little wider than LaTeX's at 8."""
GAP = 5.0
"""Between columns: twice ``\\tabcolsep``."""
NAME_SHARES = (0.5, 0.3)
"""The share of the width that names have at most: the first one if the scores fit beside it."""
MAX_HEAD = 48.0
"""The width that a heading may give to a column of narrower numbers."""
MAX_ROWS = 45
"""Rows of one float: more would not fit on a page of an article."""
MARK = 4.4
"""The width of a mark."""
MARKS = {BETTER: r"$^{\uparrow}$", WORSE: r"$^{\downarrow}$", SAME: r"$^{=}$"}
SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': "''",
    "±": r"$\pm$", "\N{EN DASH}": "--", "…": r"\ldots{}", "²": r"$^2$", "·": r"$\cdot$",
    "↑": r"$\uparrow$", "↓": r"$\downarrow$", "∞": r"$\infty$",
}  # fmt: skip

COMPOSED = frozenset("ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ")
"""Letters beyond ASCII that LaTeX composes without another package."""


class Layout(NamedTuple):
    """How much of a cell is shown.

    Attributes:
        spread: the standard deviation: beside the score, ``small``, or not at all.
        pooled: whether the pooled difference has a column.
    """

    spread: str
    pooled: bool


LAYOUTS = (
    Layout("beside", True), Layout("small", True), Layout("beside", False),
    Layout("small", False), Layout("none", False),
)  # fmt: skip
"""From the richest to the plainest; the first that fits is taken."""


def latex(report: Report) -> str:
    """Return the matrix as a float with a caption and a label."""
    columns = report.matrix.columns_in(PAGE)
    lines = list(report.matrix.lines(PAGE))
    tasks = [i for i, column in enumerate(columns) if column.kind == TASK]
    wide = len(tasks) > MAX_IN_COLUMN
    room = BOTH if wide else COLUMN
    pooled = [i for i, column in enumerate(columns) if column.kind == POOLED]
    for share in NAME_SHARES:
        names = fit_all((line.cells[0].text for line in lines), share * room, SIZE)
        longest = max((width(name, SIZE) for name in names.values()), default=0.0)
        layout, blocks = _layout(columns, lines, tasks, pooled, room - longest)
        if len(blocks) == 1 and layout.spread != "none":
            break
    place = "table*" if wide else "table"
    label = re.sub(r"[^A-Za-z0-9-]+", "-", report.title).strip("-") or "board"
    text = [r"% Needs \usepackage{booktabs}. Made by Triptych."]
    for start in range(0, len(lines), MAX_ROWS):
        text += [rf"\begin{{{place}}}[t]", r"\centering"]
        if start:
            text += [r"\addtocounter{table}{-1}", r"\caption{(continued)}"]
        else:
            text += [rf"\caption{{{caption(report, layout)}}}", rf"\label{{tab:{label}}}"]
        text += [r"\footnotesize", rf"\setlength{{\tabcolsep}}{{{GAP / 2:g}pt}}"]
        for number, block in enumerate(blocks):
            text.append(r"\par\medskip" if number else r"\par\smallskip")
            rooms = _rooms(columns, lines, block, layout, room - longest)
            text += _tabular(columns, lines[start : start + MAX_ROWS], names, rooms, layout)
        text.append(rf"\end{{{place}}}")
    return "\n".join([*text, ""])


def _layout(
    columns: Sequence[Column], lines: Sequence[Line], tasks: list[int], pooled: list[int],
    room: float,
) -> tuple[Layout, list[list[int]]]:  # fmt: skip
    """Return how cells are shown, and the columns of each block."""
    for layout in LAYOUTS:
        shown = [*tasks, *(pooled if layout.pooled else [])]
        if sum(_width(columns[i], lines, i, layout) for i in shown) <= room:
            return layout, [shown]
    blocks: list[list[int]] = []
    left = 0.0
    for i in tasks:
        needed = _width(columns[i], lines, i, LAYOUTS[-1])
        if not blocks or needed > left:
            blocks.append([])
            left = room
        blocks[-1].append(i)
        left -= needed
    return LAYOUTS[-1], blocks


def _width(column: Column, lines: Sequence[Line], place: int, layout: Layout) -> float:
    """Return how wide a column is, with the gap before it."""
    widths = [_cell_width(line.cells[place], layout) for line in lines]
    mark = MARK * _is_marked(lines, place)
    return max(*(each + mark for each in widths), min(_head_width(column), MAX_HEAD)) + GAP


def _is_marked(lines: Sequence[Line], place: int) -> bool:
    """Return whether a cell of a column has a mark; then all cells keep room for one."""
    return any(line.cells[place].outcome in MARKS for line in lines)


def _head_width(column: Column) -> float:
    """Return the width of a heading's longest word, or of the unit below it."""
    words = [width(word, SIZE) for word in column.heading.split()]
    return max(*words, 0.0, width(column.unit, SMALL))


def _rooms(
    columns: Sequence[Column], lines: Sequence[Line], block: Sequence[int], layout: Layout,
    room: float,
) -> dict[int, float]:  # fmt: skip
    """Return {column: its width without the gap}; headings take what room is left."""
    rooms = {i: _width(columns[i], lines, i, layout) for i in block}
    left = room - sum(rooms.values())
    for i in sorted(block, key=lambda i: _head_width(columns[i])):
        more = min(max(0.0, _head_width(columns[i]) + GAP - rooms[i]), max(0.0, left))
        rooms[i] += more
        left -= more
    return {i: each - GAP for i, each in rooms.items()}


def _cell_width(cell: Cell, layout: Layout) -> float:
    score, flaw = _parts(cell)
    found = width(score, SIZE, bold=cell.best)
    if cell.spread and layout.spread != "none":
        size = SIZE if layout.spread == "beside" else SMALL
        found += width(f"±{cell.spread}", size)
    return max(found, width(flaw, SMALL))


def _parts(cell: Cell) -> tuple[str, str]:
    """Return a cell's number, and what its mean lacks."""
    text = cell.text or cell.change
    score, _, flaw = text.partition(" (")
    return score, flaw.removesuffix(")")


def _tabular(
    columns: Sequence[Column], lines: Sequence[Line], names: Mapping[str, str],
    rooms: Mapping[int, float], layout: Layout,
) -> Iterator[str]:  # fmt: skip
    """Yield the lines of one tabular with the columns of ``rooms``, {column: its width}."""
    yield r"\begin{tabular}{@{}l" + "r" * len(rooms) + "@{}}"
    yield r"\toprule"
    heads = [_head(columns[i].heading, room) for i, room in rooms.items()]
    yield " & ".join(["", *heads]) + r" \\"
    fitted = [fit(columns[i].unit, room, SMALL) for i, room in rooms.items()]
    units = [rf"\multicolumn{{1}}{{r}}{{\tiny {escape(unit)}}}" for unit in fitted]
    yield " & ".join([r"Loss", *units]) + r" \\"
    yield r"\midrule"
    marked = {i: _is_marked(lines, i) for i in rooms}
    for line in lines:
        if line.rule:
            yield r"\midrule"
        cells = [_cell(line.cells[i], layout, marked[i]) for i in rooms]
        yield " & ".join([escape(names[line.cells[0].text]), *cells]) + r" \\"
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _head(text: str, room: float) -> str:
    """Return a heading, broken between words into lines that fit."""
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and width(longer, SIZE) <= room:
            lines[-1] = longer
        else:
            lines.append(fit(word, room, SIZE))
    kept = lines[:3] if len(lines) <= 3 else [*lines[:2], fit(" ".join(lines[2:]), room, SIZE)]
    stacked = r"\\".join(map(escape, kept))
    return rf"\multicolumn{{1}}{{r}}{{\shortstack[r]{{{stacked}}}}}"


def _cell(cell: Cell, layout: Layout, marked: bool) -> str:
    """Return a cell: its score, deviation and mark, with what it lacks below.

    In a column with marks a cell without one keeps its room, so that the digits are aligned.
    """
    score, flaw = _parts(cell)
    signed = score.startswith(("+", "-"))
    number = rf"${score.partition(' ')[0]}$" if signed else escape(score)
    number += escape(score[len(score.partition(" ")[0]) :]) if signed else ""
    text = rf"\textbf{{{number}}}" if cell.best else number
    if cell.spread and layout.spread == "beside":
        text += rf"$\pm${cell.spread}"
    elif cell.spread and layout.spread == "small":
        text += rf"{{\tiny$\pm${cell.spread}}}"
    if marked:
        text += MARKS.get(cell.outcome, rf"\phantom{{{MARKS[BETTER]}}}")
    return rf"\shortstack[r]{{{text}\\{{\tiny {escape(flaw)}}}}}" if flaw else text


def caption(report: Report, layout: Layout) -> str:
    """Return the caption: what is shown, over how many seeds, and how marks were decided."""
    board = report.board
    base = escape(fit(board.baseline_label, 200))
    spread = "" if layout.spread == "none" else r" $\pm$ standard deviation"
    margin = f" ({escape(margin_of(board))})" if margin_of(board) else ""
    flawed = any(_parts(c)[1] for line in report.matrix.lines(PAGE) for c in line.cells[1:])
    return (
        rf"Mean test score{spread} over {seeds_of(board)}. $\uparrow$ better and $\downarrow$ "
        rf"worse than {base}, $=$ equivalent within the margin{margin}, by "
        rf"{escape(intervals_named(screening=board.screening))}. Bold: best."
        + (" A mean with a note below it lacks seeds or collapsed, and is no result."
           if flawed else "")
    )  # fmt: skip


def escape(text: str) -> str:
    r"""Return a text in which nothing is a command of LaTeX.

    >>> print(escape(r"\input{x} 5%"))
    \textbackslash{}input\{x\} 5\%
    """
    escaped = "".join(SPECIAL.get(letter, _letter(letter)) for letter in visible(text))
    return "{}" + escaped if escaped.startswith(("[", "*")) else escaped  # Else `\\` takes it.


def _letter(letter: str) -> str:
    """Return a letter that LaTeX has in every encoding, else its number: another would stop it."""
    known = letter.isascii() or letter in COMPOSED
    return letter if known else rf"\texttt{{U+{ord(letter):04X}}}"
