"""The report as text: for a terminal of any width, for a pipe, and for ``print(board)``."""

import io
import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from textwrap import wrap

from rich.box import SIMPLE_HEAD
from rich.console import Console, RenderableType
from rich.table import Table as RichTable
from rich.text import Text

from leaderboards.analysis.visible import visible
from leaderboards.report.model import (
    BETTER,
    OUTCOMES,
    PAGE,
    POOLED,
    SYMBOLS,
    TASK,
    TEXT,
    WORSE,
    Cell,
    Column,
    Report,
    Table,
)  # fmt: skip

COLOURS = {BETTER: "green", WORSE: "red"}
MAX_ROWS = 60
"""Rows of a table that a terminal shows; the files have all of them."""
MIN_NAME, MAX_NAME = 10, 32
"""The width of the column of names, in a terminal."""
GAP = 2
"""Spaces between columns."""
UNBOUNDED = 100_000
"""The width of what has none: a pipe, or a file."""


def to_text(report: Report, width: int | None = None, *, colour: bool = False,
            long: bool = False) -> str:  # fmt: skip
    """Return the report as text.

    Args:
        report: the report.
        width: the terminal's width; None: it has none, and nothing is folded.
        colour: whether the text may hold a terminal's codes for colours.
        long: whether to add all tables, the details of warnings and a sentence for each loss on
            each task.
    """
    return _printed(_parts(report, width, long=long), width, colour=colour)


def table_text(table: Table, width: int | None = None) -> str:
    """Return one table as text."""
    return _printed(_table(table, width), width, colour=False)


def _printed(parts: Iterable[RenderableType], width: int | None, *, colour: bool) -> str:
    """Return what a console of that width shows, without spaces at the ends of lines."""
    buffer = io.StringIO()
    console = Console(
        file=buffer, width=width or UNBOUNDED, force_terminal=colour, highlight=False, emoji=False,
        color_system="standard" if colour else None, legacy_windows=False, force_jupyter=False,
    )  # fmt: skip
    for part in parts:
        console.print(part, soft_wrap=width is None)
    text = re.sub(r"[ ]+((?:\x1b\[[\d;]*m)*)\n", r"\1\n", buffer.getvalue() + "\n")
    return text.strip("\n")


def _parts(report: Report, width: int | None, *, long: bool) -> Iterator[RenderableType]:
    """Yield what is printed: the matrix first, the answer last."""
    yield from _matrix(report.matrix, width)
    base = visible(report.board.baseline_label)
    signs = " ".join(f"{sign} {OUTCOMES[kind]}" for kind, sign in SYMBOLS.items())
    yield Text(f"difference to {base}, ± 95 % interval: {signs}", style="dim")
    if long:
        for section in report.sections:
            for table in (each for each in section.tables if not each.long):
                yield from _table(table, width)
        yield Text("")
        for line in report.sentences:
            yield Text(visible(line))
    yield Text(visible(" · ".join(report.facts)), style="dim")
    for warning in report.warnings:
        yield Text(f"! {visible(warning.text)}", style="yellow")
        for detail in warning.details if long else ():
            yield Text(f"  - {visible(detail)}", style="yellow")
    for line in (*report.answer, *(report.pooled if long else report.pooled[:1])):
        yield Text(visible(line), style="bold")


def _matrix(table: Table, width: int | None) -> Iterator[RichTable]:
    """Yield the matrix, in as many blocks of tasks as the width needs."""
    columns = table.columns_in(PAGE)
    lines = list(table.lines(PAGE))
    names = [visible(line.cells[0].text) for line in lines]
    label = max([len("Loss"), *map(len, names)])
    if width is not None:
        label = min(label, max(MIN_NAME, min(MAX_NAME, width // 3)))
    shown = [i for i, column in enumerate(columns) if column.kind in (TASK, POOLED)]
    needed = {
        i: max(
            *(_measure(line.cells[i]) for line in lines),
            *(len(word) for word in visible(columns[i].heading).split()),
            len(columns[i].unit),
        )
        for i in shown
    }
    blocks: list[list[int]] = [[]]
    left = (width or UNBOUNDED) - label
    for i in shown:
        if blocks[-1] and needed[i] + GAP > left:
            if columns[i].kind == POOLED:
                continue  # A sentence says it; alone it would cost a second table.
            blocks.append([])
            left = (width or UNBOUNDED) - label
        blocks[-1].append(i)
        left -= needed[i] + GAP
    for block in blocks:
        made = _grid()
        made.add_column("Loss", width=label, overflow="fold", vertical="bottom")
        for i in block:
            head = Text(visible(columns[i].heading) + "\n" + columns[i].unit, justify="right")
            made.add_column(head, justify="right", no_wrap=width is None, overflow="fold")
        for number, line in enumerate(lines):
            if line.rule and number:
                made.add_section()
            made.add_row(Text(names[number]), *(_scored(line.cells[i]) for i in block))
        yield made


def _measure(cell: Cell) -> int:
    return len(_scored(cell))


def _scored(cell: Cell) -> Text:
    """Return a score with its difference and symbol; the deviation is left to other media."""
    colour = "" if cell.change else COLOURS.get(cell.outcome, "")
    text = Text()  # A style of its own would spread to what is appended.
    text.append(visible(cell.text), style="bold" if cell.best else colour)
    if cell.change:
        style = COLOURS.get(cell.outcome, "dim" if not cell.outcome else "")
        symbol = cell.symbol or " "
        text.append(f" {cell.change} {symbol}".rstrip(), style=style)
    elif cell.symbol:
        text.append(f" {cell.symbol}")
    return text


def _table(table: Table, width: int | None) -> Iterator[RenderableType]:
    """Yield a table; where its groups change, another begins, with what they share in its title."""
    columns = table.columns_in(TEXT)
    groups: list[list[list[Cell]]] = []
    for line in islice(table.lines(TEXT), MAX_ROWS):
        if line.rule or not groups:
            groups.append([])
        groups[-1].append(line.cells)
    yield Text(f"\n{visible(table.title)}", style="bold")
    for rows in groups:
        shared = [i for i in range(len(columns)) if len({row[i] for row in rows}) == 1]
        hoisted = [i for i in shared if not columns[i].number and len(rows) > 1]
        if hoisted:
            yield Text(": ".join(visible(rows[0][i].line) for i in hoisted), style="italic")
        kept = [i for i in range(len(columns)) if i not in hoisted]
        for part in _parts_that_fit(columns, rows, kept, width):
            cells = [[row[i] for i in part] for row in rows]
            yield _block([columns[i] for i in part], cells, width)
    if len(table.source) > MAX_ROWS:
        where = f", in {table.file}" if table.file else ""
        yield Text(f"and {len(table.source) - MAX_ROWS} more rows{where}")


def _parts_that_fit(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], places: Sequence[int],
    width: int | None,
) -> Iterator[list[int]]:  # fmt: skip
    """Yield the places of the columns of each block: the first column begins every one."""
    needed = {i: _width(columns[i], [row[i] for row in rows]) for i in places}
    # Texts can be wrapped, so they ask for less.
    needed = {i: n if columns[i].number else min(n, MIN_NAME) for i, n in needed.items()}
    first, *others = places
    part, left = [first], (width or UNBOUNDED) - needed[first]
    for i in others:
        if needed[i] + GAP > left and len(part) > 1:
            yield part
            part, left = [first], (width or UNBOUNDED) - needed[first]
        part.append(i)
        left -= needed[i] + GAP
    yield part


def _heading(column: Column, narrowest: int) -> str:
    """Return a heading, wrapped at words to the width of what stands below it."""
    return "\n".join(wrap(visible(column.heading), max(narrowest, 6), break_long_words=False))


def _width(column: Column, cells: Sequence[Cell]) -> int:
    """Return how wide a column is: as its widest cell, or as a word of its heading."""
    widest = max(len(_one_line(cell)) for cell in cells)
    return max([widest, *map(len, _heading(column, widest).split("\n"))])


def _block(
    columns: Sequence[Column], rows: Sequence[Sequence[Cell]], width: int | None
) -> RichTable:
    """Return rows as a grid: numbers are never broken, texts are wrapped at words."""
    made = _grid()
    needed = [_width(column, [row[i] for row in rows]) for i, column in enumerate(columns)]
    heads = [_heading(column, wide) for column, wide in zip(columns, needed, strict=True)]
    if width is not None:
        texts = [i for i, column in enumerate(columns) if not column.number]
        left = width - sum(needed) - GAP * (len(columns) - 1)
        for i in sorted(texts, key=lambda i: -needed[i]):  # The widest text gives way first.
            if left < 0:
                given = min(-left, max(0, needed[i] - MIN_NAME))
                needed[i] -= given
                left += given
    for i, column in enumerate(columns):
        made.add_column(
            Text(heads[i]), justify="right" if column.number else "left", width=needed[i],
            overflow="fold", vertical="top",
        )  # fmt: skip
    for row in rows:
        made.add_row(*map(_one_line, row))
    return made


def _one_line(cell: Cell) -> Text:
    style = COLOURS.get(cell.outcome, "bold" if cell.best else "")
    return Text(visible(cell.line), style=style)


def _grid() -> RichTable:
    made = RichTable(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    made.padding = (0, GAP - 1, 0, 0)  # The box adds a space of its own.
    return made
