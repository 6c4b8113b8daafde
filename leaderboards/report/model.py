"""The parts of a report: cells, columns, tables, sections. They know no medium."""

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from leaderboards.analysis.leaderboard import Leaderboard
from leaderboards.analysis.visible import anchor_of, brief
from leaderboards.analysis.words import ABOVE, BELOW, EQUIVALENT, OPEN

BETTER, WORSE, SAME, UNSETTLED = "better", "worse", "equivalent", "open"
"""The outcomes of a comparison: a verdict's colour and symbol."""
OUTCOMES = {BETTER: "better", WORSE: "worse", SAME: "equivalent", UNSETTLED: "undecided"}
"""{outcome: its word}."""
SYMBOLS = {BETTER: "▲", WORSE: "▼", SAME: "=", UNSETTLED: "·"}

TASK, POOLED, COST = "task", "pooled", "cost"
"""The kinds of the matrix's columns, by which a medium leaves out what has no room."""

PAGE, TEXT, CSV = "page", "text", "csv"
"""Where a column appears: on the page; in Markdown and the terminal; in its CSV file."""
SHOWN = frozenset({PAGE, TEXT})
EVERYWHERE = frozenset({PAGE, TEXT, CSV})


def outcome(verdict: str) -> str:
    """Return the outcome that a verdict stands for; empty for the baseline and no verdict."""
    for name, words in ((BETTER, ABOVE), (WORSE, BELOW), (SAME, (EQUIVALENT,)), (UNSETTLED, OPEN)):
        if verdict in words:
            return name
    return ""


class Cell(NamedTuple):
    """A cell of a table, which every medium lays out in its own way.

    Attributes:
        text: what it shows. A mean that is not over all its seeds has its flaw in here.
        value: what it is sorted by, and what CSV and JSON hold; None: nothing.
        spread: the standard deviation, after the text.
        change: the paired difference with half its interval, below or beside the text.
        outcome: ``better``, ``worse``, ``equivalent``, ``open``, or empty: its colour and symbol.
        best: whether it is the best of its column.
        link: an address that the text leads to, https alone.
        behind: the key of the drawer that opens from it; empty: none.
    """

    text: str
    value: Any = None
    spread: str = ""
    change: str = ""
    outcome: str = ""
    best: bool = False
    link: str = ""
    behind: str = ""

    @property
    def sort(self) -> str:
        """Return its value as a number that a page's script sorts by; empty if it is none."""
        is_number = isinstance(self.value, int | float) and not isinstance(self.value, bool)
        return f"{self.value:.6g}" if is_number and self.value == self.value else ""

    @property
    def symbol(self) -> str:
        """Return the symbol of its outcome."""
        return SYMBOLS.get(self.outcome, "")

    @property
    def line(self) -> str:
        """Return all of it in one line."""
        parts = (self.text, self.spread and f"± {self.spread}", self.change, self.symbol)
        return " ".join(part for part in parts if part)


@dataclass(frozen=True)
class Column:
    """A column of a table, said once.

    Attributes:
        key: its name in CSV and JSON.
        heading: its name for people.
        help: what it is and how it is computed.
        cell: from a row to its cell.
        where: where it appears.
        number: whether it is set flush right.
        unit: a second line of the heading, such as the metric.
        task: the task that it is of, by which a reader hides it.
        kind: in the matrix: what it holds.
    """

    key: str
    heading: str
    help: str
    cell: Callable[[Any], Cell]
    where: frozenset[str] = EVERYWHERE
    number: bool = False
    unit: str = ""
    task: str = ""
    kind: str = ""


class Line(NamedTuple):
    """A row of a table.

    Attributes:
        cells: its cells.
        rule: whether a line is drawn above it.
        row: METHOD/LOSS, by which a reader hides it; empty: it is of no row.
        task: the task, likewise.
    """

    cells: list[Cell]
    rule: bool
    row: str = ""
    task: str = ""


@dataclass(frozen=True)
class Table:
    """A table: its columns, and the rows that they are computed from.

    Attributes:
        key: its name, such as ``overall``.
        title: its heading.
        caption: what it shows, in a sentence.
        columns: its columns.
        source: a row each; what a column's ``cell`` takes.
        file: the CSV file that holds it; empty: none.
        group: a rule is drawn where this value changes from one row to the next.
        long: whether it is left to the page and its CSV file: Markdown and terminals skip it.
    """

    key: str
    title: str
    caption: str
    columns: Sequence[Column]
    source: Sequence[Any]
    file: str = ""
    group: Callable[[Any], Hashable] | None = None
    long: bool = False

    def columns_in(self, where: str) -> list[Column]:
        """Return the columns that appear there; all but CSV has headings of a bounded length."""
        found = [column for column in self.columns if where in column.where]
        if where == CSV:
            return found
        return [replace(c, heading=brief(c.heading), unit=brief(c.unit)) for c in found]

    def lines(self, where: str) -> Iterator[Line]:
        """Yield its rows, with the cells of the columns that appear there.

        What a cell shows has a bounded length. CSV and JSON hold its value, which is whole.
        """
        columns = [column for column in self.columns if where in column.where]
        before: Hashable = None
        for number, row in enumerate(self.source):
            group = self.group(row) if self.group else None
            cells = [column.cell(row) for column in columns]
            cells = [cell._replace(text=brief(cell.text)) for cell in cells]
            yield Line(cells, number > 0 and group != before, row_key(row), _task_of(row))
            before = group


def row_key(row: Any) -> str:
    """Return METHOD/LOSS of a row of a table, or of a (method, loss); empty if it has none.

    >>> row_key(("siamese", "infonce"))
    'siamese/infonce'
    """
    if type(row) is tuple:
        return anchor_of("/".join(row))
    known = hasattr(row, "method") and hasattr(row, "loss")
    return anchor_of(f"{row.method}/{row.loss}") if known else ""


def _task_of(row: Any) -> str:
    return anchor_of(str(getattr(row, "task", "")))


@dataclass(frozen=True)
class Section:
    """A heading with figures, by name, and tables."""

    key: str
    title: str
    text: str = ""
    figures: Sequence[str] = ()
    tables: Sequence[Table] = ()


class Seed(NamedTuple):
    """A seed of a row, with the baseline's score and the paired difference, where there are any."""

    seed: int
    score: str
    baseline: str
    difference: str
    record: str
    command: str


class Drawer(NamedTuple):
    """What lies behind one cell.

    Attributes:
        key: its name on the page.
        title: the row and the task.
        said: what the interval says, in a sentence.
        facts: (name, text) pairs: interval, p, settings, versions, device.
        seeds: a line for each seed.
        values: the paired differences, to be drawn as dots.
        ends: the interval, to be drawn as a line.
        margin: the smallest difference that matters, or None.
    """

    key: str
    title: str
    said: str
    facts: tuple[tuple[str, str], ...]
    seeds: tuple[Seed, ...]
    values: tuple[float, ...]
    ends: tuple[float, float]
    margin: float | None


class Notice(NamedTuple):
    """What a reader has to know before believing the board: one line, and the details."""

    kind: str
    text: str
    details: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Report:
    """All that is shown of a board, in the order in which it is shown.

    Attributes:
        board: the leaderboard.
        title: the studies' names, or what the user called it.
        facts: its size, time, machine and budgets.
        answer: at most three sentences: which loss is better, worse or neither, and where.
        pooled: a sentence a loss on its difference over all tasks.
        warnings: what to know before believing it.
        matrix: losses down, tasks across.
        legend: what the matrix's figures and marks mean.
        sections: all else.
        sentences: a sentence for each loss on each task.
        methods: a paragraph on how losses were compared, with references.
        figures: whether figures are written beside the other files, so that a page can link them.
        drawers: {(task, method, loss): what lies behind its cell in the matrix}.
        tables: {key: table} of all tables, those of the CSV files alone too.
    """

    board: Leaderboard
    title: str
    facts: tuple[str, ...]
    answer: tuple[str, ...]
    pooled: tuple[str, ...]
    warnings: tuple[Notice, ...]
    matrix: Table
    legend: str
    sections: tuple[Section, ...]
    sentences: tuple[str, ...]
    methods: str
    figures: bool = False
    drawers: Mapping[tuple[str, str, str], Drawer] = field(default_factory=dict)
    tables: dict[str, Table] = field(default_factory=dict)
