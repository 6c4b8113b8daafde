"""How ``triptych board`` reads what a user names, and where it writes."""

from pathlib import Path

import pandas as pd
import pytest
from synthetic import grid
from typer.testing import CliRunner

from harness.cli import app
from harness.cli import board as board_module
from harness.core.errors import InputError

LOSSES = {"infonce": 0.0, "adnce(sigma=0.25)": 1.0, "adnce(sigma=0.5)": 2.0, "untrained": -15.0}
TASKS = {"images": 84.0, "nodes": 79.0}


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    """The records of two losses and a sweep, which every folder holds."""
    made = grid(LOSSES, TASKS, 3)
    made.attrs["labels"] = {"adnce": "ADNCE", "infonce": "InfoNCE", "nodes": "Cora, nodes"}
    monkeypatch.setattr("harness.store.table.load_records", lambda *_: made)
    return made


@pytest.mark.usefixtures("records")
def test_what_a_board_shows_is_what_its_options_take(tmp_path: Path) -> None:
    board = board_module.board_of(
        [tmp_path], "ADNCE, sigma 0.25", "Cora, nodes=2",
        tasks="Cora, nodes", losses="infonce, adnce(sigma=.5)",
    )  # fmt: skip
    assert board.baseline == "adnce(sigma=0.25)"
    assert set(board.rows["task"]) == {"nodes"}
    assert set(board.rows["loss"]) == {"infonce", "adnce(sigma=0.25)", "adnce(sigma=0.5)"}
    assert set(board.rows["margin"]) == {2.0}
    assert board_module.board_of([tmp_path], None, None, losses="adnce").rows.shape[0] == 6


@pytest.mark.usefixtures("records")
@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("--tasks", "", "`--tasks` must name a task: got ''. Leave it out"),
        ("--losses", " ", "`--losses` must name a loss: got ' '"),
        ("--losses", "infonec", "There is no row 'infonec'. Did you mean 'infonce'"),
        ("--tasks", "node", "There is no task 'node'. Did you mean 'nodes'"),
        ("--margin", "", "`--margin` must be a number, or TASK=NUMBER"),
        ("--margin", "nodes", "`--margin` must be a number, or TASK=NUMBER"),
        ("--baseline", "", "There is no row ''"),
        ("--to", "/dev/null/x", " cannot be written: .*Name another folder"),
        ("--digits", "0", "Invalid value for '--digits'"),
    ],
)
def test_what_names_nothing_is_refused(
    tmp_path: Path, option: str, text: str, message: str
) -> None:
    done = CliRunner().invoke(app, ["board", str(tmp_path), option, text])
    assert done.exit_code == 2
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(done.stderr)


def test_a_task_is_not_offered_in_place_of_a_loss(records: pd.DataFrame, tmp_path: Path) -> None:
    records.attrs["aliases"] = {"ours": "adnce(sigma=0.5)", "points": "nodes"}
    with pytest.raises(InputError, match=r"Known: (?!.*points).*ours"):
        board_module.board_of([tmp_path], "poinst", None)


@pytest.mark.usefixtures("records")
def test_the_board_of_several_folders_is_written_to_none_of_them(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    arguments = ["board", *map(str, folders)]
    shown = CliRunner().invoke(app, arguments)
    assert shown.exit_code == 0, shown.output
    assert "Add --to FOLDER" in shown.stderr and "InfoNCE" in shown.stdout
    assert not any(path for folder in folders for path in folder.iterdir())
    figures = CliRunner().invoke(app, [*arguments, "--figures"])
    assert figures.exit_code == 2
    assert "`--figures` needs `--to FOLDER` for the board of several folders" in figures.stderr
    written = CliRunner().invoke(app, [*arguments, "--to", str(tmp_path / "both")])
    assert written.exit_code == 0 and (tmp_path / "both" / "board.html").exists()
