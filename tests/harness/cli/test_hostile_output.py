"""What commands print of failures, cells and boards whose texts are hostile: nothing forged."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from synthetic import grid
from typer.testing import CliRunner

from harness.cli import app, outcome, progress, terminal
from harness.core.cells import Cell
from harness.core.telling import MAX_REASON, one_line
from harness.run.engines import Event
from harness.run.runner import Summary
from harness.run.status import CellState
from harness.store.records import SCHEMA, Failure, Store

BREAKS = "\n\r\x0b\x0c\x1c\x85\u2028\u2029"
HOSTILE = "ValueError: " + "".join(f"{each}FORGED " for each in BREAKS)
HOSTILE += "\x00\x07\x1b[2J\u061c\u200b\u200f\u202e\u2066\u2060\ufeff[red] [9/9] done"
REASONS = (HOSTILE, HOSTILE + "\ud800\udfff", "x" * 300_000, HOSTILE * 3000, "\u202e" * 300_000)
ANY = st.text(st.characters(exclude_categories=()) | st.sampled_from(HOSTILE), max_size=200)


@pytest.fixture(params=["pipe", "80 columns"])
def medium(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A pipe, or a terminal of 80 columns without colours."""
    if request.param != "pipe":
        for console in (terminal.out, terminal.err):
            monkeypatch.setattr(console, "_force_terminal", True)
            monkeypatch.setattr(console, "_width", 80)
            monkeypatch.setattr(console, "_height", 25)
            monkeypatch.setattr(console, "_color_system", None)
    return str(request.param)


def checked(text: str, medium: str) -> list[str]:
    """Return the lines of what was printed; nothing in it acts, and no line is forged.

    Paths, which are not folded, may be longer than a terminal is wide.
    """
    text.encode()
    assert {each for each in text if not each.isprintable()} <= {"\n"}
    lines = text.split("\n")
    if medium == "pipe":
        assert not any(line.lstrip().startswith("FORGED") for line in lines)
    else:
        assert all(len(line) <= 80 or "/pytest-" in line for line in lines)
        assert not any(line.startswith("FORGED") for line in lines)
    return lines


def run_of(folder: Path, reason: str) -> Store:
    """Write a run of one cell that failed and one that diverged, both for a reason."""
    store = Store(folder)
    cells = [Cell("blobs", "siamese", "adnce", seed) for seed in (0, 1)]
    plan = [
        {"label": "adnce", "key": f"{i:016x}", "cell": c.to_dict()} for i, c in enumerate(cells)
    ]
    store.write_study({"schema": SCHEMA, "command": "triptych run x", "plan": plan})
    for number, (cell, kind) in enumerate(zip(cells, ("failed", "diverged"), strict=True)):
        store.write_failure(cell, Failure(f"{number:016x}", kind, reason, reason))
    return store


@pytest.mark.parametrize("reason", REASONS, ids=range(len(REASONS)))
@pytest.mark.parametrize("options", [[], ["--cells"], ["--verify"]])
def test_status_shows_a_reason_in_one_short_line(
    tmp_path: Path, medium: str, reason: str, options: list[str]
) -> None:
    run_of(tmp_path, reason)
    done = CliRunner().invoke(app, ["status", str(tmp_path), *options])
    lines = [line for line in checked(done.output, medium) if str(tmp_path) not in line]
    assert "2 cells: 0 done, 1 failed, 1 diverged, 0 to do" in lines
    assert sum(map(len, lines)) < 2 * MAX_REASON + 1500


@pytest.mark.parametrize("reason", REASONS[:2], ids=range(2))
def test_show_prints_all_of_it_and_nothing_acts(tmp_path: Path, medium: str, reason: str) -> None:
    run_of(tmp_path, reason)
    done = CliRunner().invoke(app, ["show", str(tmp_path), "0" * 16])
    assert done.exit_code == 0, done.output
    assert {each for each in done.output if not each.isprintable()} <= {"\n"}
    assert "\\x1b[2J\\u061c\\u200b" in done.output.replace("\n", "").replace(" ", "")


LISTENED: tuple[Callable[[str], Event], ...] = (
    lambda text: Event("failed", Cell("blobs", "siamese", "adnce", 0), 1, reason=text),
    lambda text: Event("diverged", Cell("blobs", "siamese", "adnce", 1), 1, reason=text),
    lambda text: Event("trying", Cell("blobs", "siamese", "adnce", 1), 1, reason=text),
    lambda text: Event("started", Cell(f"t{text}", f"m{text}", f"l{text}", 0), 1),
    lambda text: Event("done", Cell("t", "m", "l", 0), 1, metric=f"m{text}", score=0.5),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=ANY)
def test_progress_has_a_line_an_event(capsys: pytest.CaptureFixture[str], text: str) -> None:
    capsys.readouterr()
    with progress.progress() as listen:
        for make in LISTENED:
            listen(make(text), Summary(expected=9))
    found = capsys.readouterr().out
    assert {each for each in found if not each.isprintable()} <= {"\n"}
    assert len(found.split("\n")) == len(LISTENED) + 1
    assert all(re.match(r"\[0/9\] 0:\d\d  ", line) for line in found.split("\n")[:-1])
    with progress.progress(as_json=True) as listen:
        for make in LISTENED:
            listen(make(text), Summary(expected=9))
    events = capsys.readouterr().out
    assert [json.loads(line)["settled"] for line in events.splitlines()] == [0] * len(LISTENED)


@pytest.mark.parametrize("reason", REASONS, ids=range(len(REASONS)))
def test_the_end_of_a_run_tells_each_reason_in_one_short_line(
    tmp_path: Path, medium: str, capsys: pytest.CaptureFixture[str], reason: str
) -> None:
    cells = [Cell("blobs", "siamese", "adnce", seed) for seed in range(4)]
    said = one_line(reason)
    summary = Summary(
        4,
        failed={cells[0]: reason, cells[1]: said},
        diverged={cells[2]: reason},
        waiting={f"row{reason[:20]}": reason},
    )
    outcome.report_lost(summary, Path("runs/x"), "triptych run x")
    outcome.show_states(
        [CellState(cells[3], "k", "failed", reason)], [], Path("runs/x"), every=True
    )
    lines = checked(capsys.readouterr().err, medium)
    assert sum(map(len, lines)) < 5 * MAX_REASON + 1500
    assert "4 cells" not in lines[0]


@pytest.mark.parametrize("width", [None, 80])
@given(text=ANY)
def test_what_is_said_is_one_line_unless_it_may_have_several(width: int | None, text: str) -> None:
    import io

    for lines in (False, True):
        console = terminal.Console(
            file=io.StringIO(), force_terminal=width is not None, width=width, no_color=True,
            highlight=False, color_system=None,
        )  # fmt: skip
        terminal.say(text, to=console, start="x", indent=4, lines=lines)
        assert isinstance(console.file, io.StringIO)
        found = console.file.getvalue()
        assert {each for each in found if not each.isprintable()} <= {"\n"}
        if width is None:
            assert found.count("\n") == 1 + text.count("\n") * lines
        assert all(line.startswith(("    ", "x")) or not line for line in found.split("\n"))


def test_a_table_has_a_line_a_row_in_a_pipe(capsys: pytest.CaptureFixture[str]) -> None:
    made = terminal.table(("key", "cell"), title=HOSTILE)
    for _ in range(3):
        made.add_row(terminal.escape(HOSTILE), terminal.escape(f"{HOSTILE}\ud800"))
    terminal.show(made)
    lines = checked(capsys.readouterr().out, "pipe")
    assert sum("[red] [9/9] done" in line for line in lines) == 3 + 1


@pytest.mark.parametrize("option", [[], ["--long"], ["--json"]])
def test_a_board_of_hostile_cells_is_shown_and_written(
    tmp_path: Path, medium: str, monkeypatch: pytest.MonkeyPatch, option: list[str]
) -> None:
    made = grid({"infonce": 0.0, f"a{HOSTILE}": 1.0, "dcl": 0.5}, {"images": 80.0}, 3,
                failing={"dcl": (0,)})  # fmt: skip
    made["reason"] = made["reason"].mask(made["status"] == "failed", HOSTILE * 3000)
    made.attrs |= {"title": f"{HOSTILE}\ud800", "notes": [("records", f"{HOSTILE}\udfff", ())]}
    monkeypatch.setattr("harness.store.table.load_records", lambda *_: made)
    done = CliRunner().invoke(app, ["board", str(tmp_path), *option, "--to", str(tmp_path / "b")])
    assert done.exit_code == 0, done.output
    printed = [line for line in done.stdout.split("\n") if str(tmp_path) not in line]
    assert {each for line in printed for each in line if not each.isprintable()} == set()
    if "--json" in option:
        json.loads(done.stdout)
    elif medium != "pipe":
        assert max(map(len, printed)) <= 80
    files = list((tmp_path / "b").iterdir())
    assert {"leaderboard.md", "board.html", "records.csv"} <= {file.name for file in files}
    assert all(file.stat().st_size < 1_000_000 for file in files)


def test_a_format_of_another_package_that_holds_half_a_character_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And one that fails with a hostile message stops no other file."""
    from leaderboards.render import formats

    def fail(report: object) -> str:
        raise ValueError(HOSTILE * 1000)

    more = {**formats.installed(), "half.txt": lambda report: "\udc80\n", "fails.txt": fail}
    monkeypatch.setattr(formats, "installed", lambda: more)
    made = grid({"infonce": 0.0, "dcl": 1.0}, {"images": 80.0}, 3)
    monkeypatch.setattr("harness.store.table.load_records", lambda *_: made)
    done = CliRunner().invoke(app, ["board", str(tmp_path), "--to", str(tmp_path / "b")])
    assert done.exit_code == 1
    assert (tmp_path / "b/half.txt").read_text() == "\\udc80\n"
    assert (tmp_path / "b/summary.txt").exists()
    failed = [line for line in done.output.split("\n") if "fails.txt could not be made" in line]
    assert len(failed) == 1 and len(failed[0]) < MAX_REASON + 100 and failed[0].isprintable()
