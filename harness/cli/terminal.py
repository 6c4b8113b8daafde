"""The output of the command line: consoles, text, tables and numbers."""

import io
import os
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import IO

from rich.box import SIMPLE_HEAD
from rich.console import Console as RichConsole
from rich.console import ConsoleDimensions
from rich.markup import escape as escape_markup
from rich.table import Table
from rich.text import Text

from harness.core.telling import visible

for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        # Nothing must fail on a terminal without "±", nor on half a character.
        stream.reconfigure(errors="backslashreplace")

UNLIMITED = 100_000
"""The width, in columns, of an output that is not a terminal."""
MIN_ROOM = 20
"""Columns that text gets at least, however narrow the terminal is."""


class Console(RichConsole):
    """A console whose files and pipes are as wide as their longest line.

    Rich takes 80 columns for them and clamps the width of every table to these.
    """

    @property
    def size(self) -> ConsoleDimensions:
        """Return the terminal's size; a file or a pipe has no width."""
        return super().size if self.is_terminal else ConsoleDimensions(UNLIMITED, 25)

    @size.setter
    def size(self, new_size: tuple[int, int]) -> None:
        self._width, self._height = new_size


out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)


class Unfailing(io.TextIOBase):
    """Wrap standard output so that a run continues when writing to it fails.

    It fails if its reader is gone or the disk is full. The failure is reported once on standard
    error; the records do not depend on the output.
    """

    def __init__(self, stream: IO[str]) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write ``text``; ignore it if the stream has failed."""
        with self._failure_reported():
            self.stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush the stream, unless it has failed."""
        with self._failure_reported():
            self.stream.flush()

    def fileno(self) -> int:
        """Return the stream's file descriptor."""
        return self.stream.fileno()

    def isatty(self) -> bool:
        """Return whether the stream is a terminal."""
        return self.stream.isatty()

    @contextmanager
    def _failure_reported(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            say(f"Could not write to standard output: {error}. No more is shown.", to=err)
            # Redirect the stream, so that flushing its buffer, now and at exit, cannot fail again.
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.stream.fileno())
            os.close(null)


def escape(text: str) -> str:
    r"""Escape the markup of rich, line breaks and what could act in a terminal in ``text``.

    >>> print(escape("[red]a\x1b[31m\nb"))
    \[red]a\x1b[31m\nb
    """
    return escape_markup(visible(text))


def say(
    text: str,
    *,
    style: str = "",
    to: RichConsole = out,
    start: str = "",
    indent: int = 0,
    verbatim: bool = False,
    lines: bool = False,
) -> None:
    """Print ``text``, wrapped at words in a terminal; in a file or a pipe a line stays a line.

    The text may come from anywhere: markup is printed as it stands, what could act visibly.

    Args:
        text: the text.
        style: its style, such as ``red``.
        to: the console, ``out`` or ``err``.
        start: what stands before the first line, in bold.
        indent: the columns that the lines are indented by.
        verbatim: whether long lines are left to the terminal, so that a command or a path can be
            copied in one piece.
        lines: whether a newline starts another line. Otherwise it is printed visibly: a name with
            a newline must not forge a line of its own.
    """
    shown = Text(visible(text, keep="\n" if lines else ""), style=style)
    head = Text(visible(start), style="bold")
    if to.is_terminal and not verbatim:
        parts = shown.wrap(to, max(to.width - max(indent, head.cell_len), MIN_ROOM))
    else:
        parts = shown.split("\n", allow_blank=True)
    for number, line in enumerate(parts or [Text()]):
        line.rstrip()
        left = head if number == 0 else Text()
        space = " " * (indent - left.cell_len) if line else ""
        to.print(Text.assemble(left, space, line), soft_wrap=True)


def say_fields(
    fields: Mapping[str, str], *, verbatim: Collection[str] = (), to: RichConsole = out
) -> None:
    """Print a line for each field that is not empty: its name, then its text in one column.

    Fields named in ``verbatim`` are not wrapped: see :func:`say`.
    """
    width = max(map(len, fields), default=0) + 2
    for name, text in fields.items():
        if text:
            say(text, start=f"{name:<{width}}", indent=width, verbatim=name in verbatim, to=to)


def counted(number: int, thing: str) -> str:
    """Return a number with its noun.

    >>> counted(1, "cell"), counted(2000, "loss")
    ('1 cell', '2,000 losses')
    """
    plural = "es" if thing.endswith("s") else "s"
    return f"{number:,} {thing}{'' if number == 1 else plural}"


def table(
    columns: Iterable[str], *, numbers: Collection[str] = (), title: str | None = None
) -> Table:
    """Return an empty table; columns named in ``numbers`` are aligned right and never wrap."""
    made = Table(
        title=escape(title) if title else None, title_justify="left", title_style="bold",
        box=SIMPLE_HEAD, show_edge=False,
    )  # fmt: skip
    made.padding, made.pad_edge = (0, 1, 0, 0), False
    for column in columns:
        number = column in numbers
        made.add_column(
            escape(column),
            justify="right" if number else "left",
            no_wrap=number,
            overflow="fold",
            min_width=None if number else 9,
        )
    return made


def show(made: Table) -> None:
    """Print a table: folded to the terminal's width, or unfolded into a file or a pipe."""
    out.print(made)


def show_text(text: str) -> None:
    """Print the text of a file unchanged, except that what could act is made visible."""
    out.print(visible(text.rstrip("\n"), keep="\n"), markup=False, soft_wrap=True)


def warn(lines: Iterable[str]) -> None:
    """Print known problems of a study, before anything is trained."""
    for line in lines:
        say(line, style="yellow", to=err, lines=True)


def clock(seconds: float) -> str:
    """Format seconds as minutes and seconds, with hours if there are any.

    >>> clock(75), clock(3675)
    ('1:15', '1:01:15')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def duration(seconds: float) -> str:
    """Format a duration with its unit.

    >>> duration(0.25), duration(34.4), duration(75), duration(3675)
    ('0.2 s', '34 s', '1:15 min', '1:01:15 h')
    """
    if seconds < 59.5:
        return f"{seconds:.0f} s" if seconds >= 9.5 else f"{seconds:.1f} s"
    return f"{clock(seconds)} {'h' if round(seconds) >= 3600 else 'min'}"
