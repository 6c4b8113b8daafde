"""Text and tables: wrapped at words in a terminal, and never in a file or a pipe."""

import io
import re

import pytest

from harness.cli import terminal
from harness.cli.terminal import Console, say, say_fields

LONG = "adnce(temperature=0.4, mu=0.7, sigma=0.5) on images(false_negatives=0.3, size=14) says so"


def screen(*, width: int | None = None) -> Console:
    """Return a terminal of ``width`` columns, or a pipe, that writes into a text."""
    return Console(
        file=io.StringIO(), force_terminal=width is not None, width=width, no_color=True,
        highlight=False,
    )  # fmt: skip


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())


def test_a_pipe_never_wraps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    pipe = screen()
    say(LONG * 20, to=pipe, indent=2, start="x ")
    assert written(pipe) == f"x {LONG * 20}\n"


def test_a_table_in_a_pipe_is_as_wide_as_its_cells(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    table = terminal.table(("text", "number"), numbers=("number",), title="title")
    table.add_row(LONG * 20, "12.5")
    terminal.show(table)
    assert f"{LONG * 20}    12.5" in capsys.readouterr().out.splitlines()


def test_a_terminal_wraps_at_words() -> None:
    wide = screen(width=40)
    say(f"{LONG}\nand more", to=wide, indent=4, start="one", lines=True)
    lines = written(wide).splitlines()
    assert " ".join(line[4:] for line in lines).split() == f"{LONG} and more".split()
    assert all(len(line) <= 40 and line == line.rstrip() for line in lines)
    assert lines[0].startswith("one adnce(temperature=0.4,")
    assert all(line.startswith("    ") for line in lines[1:])


def test_what_can_be_copied_stays_in_one_piece() -> None:
    wide = screen(width=40)
    say(LONG, to=wide, indent=2, verbatim=True)
    assert written(wide) == f"  {LONG}\n"


def test_nothing_is_read_as_markup_or_moves_the_cursor() -> None:
    for console in (screen(), screen(width=60)):
        say("[red]a[/red] \x1b[31m :smile: \x07", to=console, start="[b]x\r ")
        assert written(console) == "[b]x\\r [red]a[/red] \\x1b[31m :smile: \\x07\n"


@pytest.mark.parametrize("width", [None, 60])
def test_empty_lines_are_kept(width: int | None) -> None:
    console = screen(width=width)
    say("", to=console)
    say("a\n\nb", to=console, indent=2, lines=True)
    assert written(console) == "\n  a\n\n  b\n"


def test_fields_stand_in_one_column_and_empty_ones_are_left_out() -> None:
    console = screen(width=40)
    say_fields({"a": LONG, "longer": "x", "none": ""}, to=console)
    lines = written(console).splitlines()
    assert lines[0].startswith("a       adnce(")
    assert lines[1].startswith("        ")
    assert lines[-1] == "longer  x"
    assert not any("none" in line for line in lines)


def test_a_console_tells_the_width_of_a_terminal() -> None:
    assert screen(width=33).width == 33
    assert screen().width == terminal.UNLIMITED
