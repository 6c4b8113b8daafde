"""Each read, write, sync and rename of a run fails in turn; each file has a changed bit in turn.

Nothing is lost, nothing is wrong on a board, and each fault is named.
"""

import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from faulty_disk import disk, workers_disk
from runs import Inside, rows_of, scores
from synthetic import CELL

from harness.cli.board import _write_each
from harness.core import sources
from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.run import attempt
from harness.run.engines import Job
from harness.run.runner import Summary, run
from harness.run.status import faults
from harness.store.checkpoints import Checkpoints
from harness.store.records import Failure, Store
from harness.store.table import load_records
from harness.study.study import Study

STUDY = Study("s", tasks=["blobs(steps=2)"], losses=["infonce"], seeds=1)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    folder = tmp_path_factory.mktemp("whole")
    run(STUDY, folder, engine=Inside(), progress=False)
    return scores(folder)


@pytest.fixture
def same_code(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digest the code once: it does not change, and reading all of it takes a second a run."""
    monkeypatch.setattr(sources, "forget", lambda: None)


class Saving(Inside):
    """An engine that does what a worker does, and saves the cell's state after each step."""

    def attempt(self, job: Job) -> dict[str, str]:
        path = Store(job.folder).checkpoint_path(job.cell, job.key)
        return attempt.attempt(job, checkpoints=Checkpoints(path, every=1e-9))


ERRORS = (errno.ENOSPC, errno.EIO, errno.EACCES)


@pytest.mark.parametrize("part", range(len(ERRORS)))
@pytest.mark.usefixtures("same_code")
def test_no_call_that_fails_costs_or_changes_a_record(
    tmp_path: Path, whole: list[list[Any]], part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with disk(tmp_path / "counted", 0, 0, monkeypatch) as counted:
        run(STUDY, tmp_path / "counted", engine=Saving(), progress=False)
    assert any("checkpoint" in call for call in counted.calls)
    # Every call fails with one of the errors; with TRIPTYCH_ALL_FAULTS, with each of them.
    stride = 1 if os.environ.get("TRIPTYCH_ALL_FAULTS") else len(ERRORS)
    numbers = range(1 + (part if stride > 1 else 0), len(counted.calls) + 1, stride)
    assert len(numbers) > 10
    for number in numbers:
        folder = tmp_path / str(number)
        summary, refused = None, ""
        with disk(folder, number, ERRORS[part], monkeypatch) as failing:
            try:
                summary = run(STUDY, folder, engine=Saving(), progress=False)
            except InputError as error:
                refused = str(error)
        what = failing.calls[number - 1]
        kept = {Cell(**record.cell) for record in Store(folder).records()}
        if summary is None:
            assert str(folder) in refused, what
        else:
            assert set(summary.recorded) <= kept and summary.settled == 2, what
        again = run(STUDY, folder, engine=Saving(), progress=False)
        assert again.complete and set(again.skipped) == kept, what
        assert scores(folder) == whole, what
        assert faults(Store(folder)) == [], what


@pytest.mark.parametrize("part", range(len(ERRORS)))
@pytest.mark.usefixtures("same_code")
def test_no_call_that_fails_in_a_worker_costs_or_changes_a_record(
    tmp_path: Path, whole: list[list[Any]], part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def done(folder: Path, number: int) -> Summary:
        log = tmp_path / f"{number}.log"
        with workers_disk(folder, number, ERRORS[part], log, monkeypatch):
            return run(
                STUDY, folder, engine="local(jobs=1)", checkpoint_minutes=1e-9, progress=False
            )

    assert done(tmp_path / "counted", 0).complete
    calls = (tmp_path / "0.log").read_text().splitlines()
    last = max(int(line.split()[0]) for line in calls)
    assert last > 20 and any("checkpoint" in line for line in calls)
    every = 1 if os.environ.get("TRIPTYCH_ALL_FAULTS") else 4 * len(ERRORS)
    for number in range(1 + part, last + 1, every):
        folder = tmp_path / str(number)
        summary = done(folder, number)
        what = [line for line in calls if line.split()[0] == str(number)]
        kept = {Cell(**record.cell) for record in Store(folder).records()}
        assert set(summary.recorded) <= kept and summary.settled == 2, what
        again = run(STUDY, folder, engine="local(jobs=1)", progress=False)
        assert again.complete and set(again.skipped) == kept, what
        assert scores(folder) == whole, what
        assert faults(Store(folder)) == [], what


@pytest.mark.parametrize("error", ERRORS)
def test_no_call_that_fails_while_records_are_read_changes_a_row_unsaid(
    tmp_path: Path, whole: list[list[Any]], error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    run(STUDY, folder, engine=Inside(), progress=False)
    with disk(folder, 0, 0, monkeypatch) as counted:
        told = load_records(folder).attrs["notes"]
    assert told == [] and len(counted.calls) > 3
    for number in range(1, len(counted.calls) + 1):
        refused = ""
        with disk(folder, number, error, monkeypatch) as failing:
            try:
                table = load_records(folder)
            except InputError as error_said:
                refused = str(error_said)
        what = failing.calls[number - 1]
        if refused:
            assert str(folder) in refused, what
            continue
        rows = rows_of(table)
        assert all(row in whole for row in rows), what
        assert rows == whole or table.attrs["notes"], what


@pytest.mark.parametrize("error", ERRORS)
def test_no_call_that_fails_while_a_plan_is_written_loses_an_earlier_one(
    tmp_path: Path, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def place(label: str) -> dict[str, Any]:
        return {"cell": CELL.to_dict(), "label": label, "key": label, "task": "", "trial": None}

    first = {"baseline": "a", "plan": [place("a[tuned]")]}
    second = {"baseline": None, "plan": [place("b")]}
    store = Store(tmp_path / "counted")
    store.write_study(first)
    with disk(store.folder, 0, 0, monkeypatch) as counted:
        store.write_study(second)
    wanted = store.study()
    assert wanted["earlier"] == first["plan"] and len(counted.calls) > 4
    for number in range(1, len(counted.calls) + 1):
        store = Store(tmp_path / str(number))
        store.write_study(first)
        before = store.study()
        with disk(store.folder, number, error, monkeypatch) as failing:
            try:
                store.write_study(second)
            except OSError:
                assert store.study() in (before, wanted), failing.calls[number - 1]
            else:
                assert store.study() == wanted, failing.calls[number - 1]


@pytest.mark.parametrize("error", ERRORS)
def test_no_call_that_fails_while_a_board_is_written_leaves_half_a_file(
    tmp_path: Path, error: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "board"
    old = {folder / f"{name}.csv": f"old {name}" for name in ("a", "b", "c")}
    new = {path: text.replace("old", "new") * 1000 for path, text in old.items()}

    def write(texts: dict[Path, str]) -> None:
        _write_each((path, lambda text=text: text) for path, text in texts.items())  # type: ignore

    with disk(folder, 0, 0, monkeypatch) as counted:
        write(old)
    assert len(counted.calls) > 10
    for number in range(1, len(counted.calls) + 1):
        write(old)
        with disk(folder, number, error, monkeypatch) as failing, suppress(InputError):
            write(new)
        for path in old:
            assert path.read_text() in (old[path], new[path]), failing.calls[number - 1]
        assert set(folder.iterdir()) == set(old), failing.calls[number - 1]


@pytest.mark.usefixtures("same_code")
def test_no_changed_bit_changes_a_board_or_goes_unnamed(
    tmp_path: Path, whole: list[list[Any]]
) -> None:
    run(STUDY, tmp_path / "run", engine=Inside(), progress=False)
    store = Store(tmp_path / "run")
    store.write_failure(CELL, Failure("k", "failed", "It failed."))
    files = [store.study_path, *store.folder.glob("records/*"), *store.folder.glob("failures/*")]
    assert len(files) == 4
    tried = 0
    for path in files:
        content = path.read_bytes()
        for number in range(0, 8 * len(content), max(1, 8 * len(content) // 100)):
            changed = bytearray(content)
            changed[number // 8] ^= 1 << number % 8
            path.write_bytes(changed)
            assert any(str(path) in line for line in faults(store)), (path, number)
            found = [row for row in scores(store.folder) if row[-2] is not None]
            assert all(row in whole for row in found), (path, number)
            tried += 1
        path.write_bytes(content)
    assert tried >= 300
    assert faults(store) == [] and scores(store.folder) == whole
