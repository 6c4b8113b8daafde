"""`triptych show` and `status`: one cell in 15 lines, or several on a line each."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest
from synthetic import record

from harness.core.cells import Cell
from harness.run.folders import is_run, newest
from harness.store.records import SCHEMA, Failure, Store, key_of

Call = Callable[..., CompletedProcess[str]]
METRICS = [
    {"name": name, "text": "", "unit": unit, "direction": "higher", "margin": None, "low": None,
     "high": None}
    for name, unit in (("accuracy", "%"), ("macro_f1", "%"), ("nats", ""))
]  # fmt: skip
LOSSES = ("adnce", "adnce(mu=0.5)", "infonce", "dcl")
CELLS = [Cell("blobs(steps=3)", "siamese", loss, seed) for loss in LOSSES for seed in (1, 10)]
TRIAL = Cell("blobs(steps=3)", "siamese", "dcl", 10001, "validation")
FULL: dict[str, Any] = {
    "scores": {
        "validation": {"accuracy": 60.0, "macro_f1": 59.5, "nats": 0.25},
        "test": {"accuracy": 61.234, "macro_f1": 58.0, "nats": 0.125},
    },
    "metrics": METRICS,
    "seconds": {"train": 61.0, "evaluate": 0.5, "total": 75.0},
    "peak_memory": {"resident": 739_737_600, "cuda": 2_000_000_000},
    "data": {"mnist-5k": "71b9500d9cb506642588995783d681a30c99a3b3", "toy": "ab" * 20},
    "versions": {"python": "3.11", "torch": "2.13.0", "triptych": "0.2.0", "numpy": "2"},
    "commit": "ff4904d998e804e5bcfecb866e3fe82f1d06a6b5+changes",
    "device": "cpu (AMD EPYC, 1 thread)",
    "finished": "2026-11-30T14:30:07.303140+00:00",
}


def identity(cell: Cell) -> dict[str, Any]:
    return {"cell": cell.to_dict(), "source": "src"}


def write_run(folder: Path, *, finished: float = 0) -> Store:
    """Write a run of ten cells: six are done, one failed, one diverged, one is to do."""
    store = Store(folder)
    cells = [*CELLS, TRIAL]
    plan = [
        {
            "label": cell.loss,
            "trial": 2 if cell is TRIAL else None,
            "modality": "points",
            "key": key_of(identity(cell)),
            "cell": cell.to_dict(),
        }
        for cell in cells
    ]
    command = "triptych run x"
    store.write_study({"schema": SCHEMA, "baseline": None, "command": command, "plan": plan})
    for cell in (*CELLS[:5], TRIAL):
        values = {"cell": cell.to_dict(), "identity": identity(cell), **FULL}
        store.write_record(cell, record(key_of(identity(cell)), **values))
    details = 'Traceback:\n  File "x.py"\nValueError: bad luck'
    for cell, outcome in ((CELLS[5], "failed"), (CELLS[6], "diverged")):
        failure = Failure(key_of(identity(cell)), outcome, "ValueError: bad luck", details)
        store.write_failure(cell, failure)
    if finished:
        for path in (store.study_path, *(folder / "records").iterdir()):
            os.utime(path, (finished, finished))
    return store


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return write_run(tmp_path / "run")


def test_a_record_is_shown_in_15_lines(here: Call, store: Store) -> None:
    log = store.log_path(CELLS[0], key_of(identity(CELLS[0])))
    log.parent.mkdir()
    log.write_text("")
    done = here("show", str(store.given), "adnce seed 1")
    assert done.returncode == 0, done.stderr
    key = key_of(identity(CELLS[0]))
    record_path = store.record_path(CELLS[0], key)
    assert done.stdout.splitlines() == [
        "blobs(steps=3) / siamese / adnce / seed 1",
        "state         done",
        "score         accuracy 61.23 % (test)",
        "other scores  macro_f1 58 %, nats 0.125",
        "validation    accuracy 60 %, macro_f1 59.5 %, nats 0.25",
        "cost          40 steps in 1:15 min, training 1:01 min, evaluation 0.5 s, "
        "resident memory 740 MB, cuda memory 2,000 MB",
        "device        cpu (AMD EPYC, 1 thread), torch 2.13.0, triptych 0.2.0, python 3.11",
        "data          mnist-5k 71b9500d9cb5, toy abababababab",
        f"key           {key}",
        "commit        ff4904d998e8 with changes",
        "finished      2026-11-30 14:30:07 UTC",
        f"record        {record_path}",
        f"log           {log}",
        "run again     triptych cell 'blobs(steps=3)' --method siamese --loss adnce --seed 1 "
        "--device cpu",
    ]
    assert len(done.stdout.splitlines()) <= 15
    assert done.stderr == ""


def test_json_is_the_record_unchanged(here: Call, store: Store) -> None:
    key = key_of(identity(CELLS[0]))
    done = here("show", str(store.given), key[:6], "--json")
    assert done.stdout == store.record_path(CELLS[0], key).read_text()
    assert json.loads(done.stdout)["key"] == key
    failed = here("show", str(store.given), "--state", "failed", "--json")
    assert json.loads(failed.stdout)["outcome"] == "failed"
    several = here("show", str(store.given), "adnce", "--json")
    assert several.returncode == 2
    assert "`--json` needs one cell: 'adnce' names 2" in several.stderr
    none = here("show", str(store.given), "dcl", "seed", "10", "--json")
    assert none.returncode == 2
    assert "is to do. To run it: triptych cell" in none.stderr


def test_a_failed_cell_is_shown_with_its_traceback(here: Call, store: Store) -> None:
    done = here("show", str(store.given), "--state", "failed")
    lines = done.stdout.splitlines()
    assert lines[:2] == [str(CELLS[5]), "state      failed: ValueError: bad luck"]
    assert lines[3] == f"failure    {store.failure_path(CELLS[5])}"
    assert lines[4].startswith("run again  triptych cell 'blobs(steps=3)'")
    assert lines[5:] == ["", "Traceback:", '  File "x.py"', "ValueError: bad luck"]


def test_a_long_reason_is_shown_in_full(here: Call, store: Store) -> None:
    long = "ValueError: " + "one two three " * 60 + "end"
    failure = Failure(key_of(identity(CELLS[5])), "failed", long)
    store.write_failure(CELLS[5], failure)
    assert f"state      failed: {long}\n" in here("show", str(store.given), "infonce 10").stdout
    for arguments in ([], ["--cells"]):
        cut = here("status", str(store.given), *arguments).stdout
        assert "more characters)" in cut
        assert "end" not in cut.split()


def test_several_cells_are_listed_on_a_line_each(here: Call, store: Store) -> None:
    done = here("show", str(store.given), "--loss", "adnce")
    assert done.returncode == 0, done.stderr
    _, _, *rows = [line.split("  ") for line in done.stdout.splitlines()]
    assert len(rows) == 4
    assert [part.strip() for part in rows[1] if part] == [
        key_of(identity(CELLS[1])), "done", str(CELLS[1]), "accuracy 61.23",
    ]  # fmt: skip
    every = here("show", str(store.given))
    assert len(every.stdout.splitlines()) == 2 + 9
    assert "seed 10001 (tuning trial 2)" in every.stdout
    assert here("show", str(store.given), "dcl", "seed", "1").stdout.startswith(str(CELLS[6]))
    trial = here("show", str(store.given), "dcl trial 2")
    assert "(validation)" in trial.stdout
    assert "validation  " not in trial.stdout


def test_status_counts_the_chosen_cells(here: Call, store: Store) -> None:
    done = here("status", str(store.given))
    assert done.stdout.splitlines() == [
        "9 cells: 6 done, 1 failed, 1 diverged, 1 to do",
        f"  failed     {key_of(identity(CELLS[5]))}  {CELLS[5]}: ValueError: bad luck",
        f"  diverged   {key_of(identity(CELLS[6]))}  {CELLS[6]}: ValueError: bad luck",
        "To run the remaining cells:",
        f"  triptych run x --out {store.given}",
    ]
    some = here("status", str(store.given), "--loss", "dcl,infonce", "--seed", "10,10001")
    assert some.stdout.splitlines()[0] == "3 of 9 cells: 1 done, 1 failed, 1 to do"
    none = here("status", str(store.given), "--state", "damaged")
    assert none.returncode == 0
    assert none.stdout.startswith("0 of 9 cells: ")
    listed = here("status", str(store.given), "--state", "to do", "--cells")
    assert listed.stdout.splitlines()[1].split() == [
        "to", "do", key_of(identity(CELLS[7])), *str(CELLS[7]).split(),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "one"], "`--seed` must be whole numbers, separated by commas: got 'one'"),
        (["--state", "fialed"], "`--state` must be one of 'done'"),
        (["--loss", "adnec"], "`--loss` must name a cell of"),
        (["runs/typo", "adnce"], "`FOLDER` must be the folder of a run: got 'runs/typo'"),
    ],
)
def test_wrong_arguments_are_explained(
    here: Call, store: Store, arguments: list[str], message: str
) -> None:
    folder = [] if arguments[0] == "runs/typo" else [str(store.given)]
    done = here("show", *folder, *arguments)
    assert done.returncode == 2
    assert message in done.stderr


def test_the_latest_run_is_the_default(here: Call, tmp_path: Path) -> None:
    home = tmp_path / "here"  # Where `here` runs commands.
    assert here("show", "adnce").returncode == 2
    none = here("status")
    assert none.returncode == 2
    assert "`FOLDER` must be given where 'runs' holds no run. Run a study" in none.stderr
    write_run(home / "runs" / "old", finished=1000)
    new = write_run(home / "runs" / "new", finished=2000)
    (home / "runs" / "empty").mkdir()
    (home / "adnce").mkdir()  # A folder that is no run is a word.
    for arguments in (["status"], ["show", "adnce", "seed", "1"], ["show", "--seed", "10"]):
        done = here(*arguments)
        assert done.returncode == 0, done.stderr
        assert done.stderr == "Showing the latest run: runs/new\n"
    wrong = here("show", "nothing")
    assert "no cell has 'nothing'" in wrong.stderr
    for path in (new.study_path, *(new.folder / "records").iterdir()):
        os.utime(path, (500, 500))
    assert "runs/old" in here("status").stderr
    assert here("status", "runs/new").stderr == ""
    (newest_record, *_) = (new.folder / "records").iterdir()
    os.utime(newest_record, (3000, 3000))
    assert newest(home / "runs") == home / "runs" / "new"
    assert not is_run(home / "runs" / "empty")


def test_nothing_in_a_record_reaches_the_terminal_unescaped(here: Call, tmp_path: Path) -> None:
    store = Store(tmp_path / "run")
    cell = Cell("blobs", "siamese", "evil\x1b[31m", 1)
    values = FULL | {"device": "cpu \x1b]0;x\x07", "data": {"[red]a": "\x1b" * 40}}
    values |= {"cell": cell.to_dict(), "identity": identity(cell)}
    store.write_record(cell, record(key_of(identity(cell)), **values))
    for arguments in (["seed 1"], ["seed 1", "--json"], []):
        done = here("show", str(store.given), *arguments)
        assert done.returncode == 0, done.stderr
        assert "\x1b" not in done.stdout + done.stderr
