"""Each read, write, sync and rename of a run fails in turn; each file has a changed bit in turn.

Nothing is lost, nothing is wrong on a board, and each fault is named.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from runs import Inside, rows_of, scores
from synthetic import CELL

from harness.cli.board import _write_each
from harness.core import sources
from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.run import attempt
from harness.run.engines import Job
from harness.run.runner import run
from harness.run.status import faults
from harness.store.checkpoints import Checkpoints
from harness.store.records import Failure, Store
from harness.store.table import load_records
from harness.study.study import Study

STUDY = Study("s", tasks=["blobs(steps=2)"], losses=["infonce"], seeds=1)
WATCHED = {"open", "os.rename", "os.remove", "os.link", "os.mkdir", "os.listdir", "os.scandir"}
"""The audit events of the calls that may fail; writes and syncs have none."""


@dataclass
class Disk:
    """A disk on which one call fails.

    Attributes:
        folder: the folder whose calls are counted; empty: none.
        fails: the number of the call that fails; 0: none.
        error: the error's number.
        calls: what was called so far.
    """

    folder: str = ""
    fails: int = 0
    error: int = errno.EIO
    calls: list[str] = field(default_factory=list)

    def call(self, what: str, path: Any) -> None:
        """Count a call; raise an error if it is the one that fails."""
        if isinstance(path, bytes | int) or not self.folder:
            return
        if str(path).startswith(self.folder):
            self.calls.append(f"{what} {path}")
            if len(self.calls) == self.fails:
                raise OSError(self.error, os.strerror(self.error), str(path))


DISK = Disk()


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event in WATCHED and DISK.folder:
        DISK.call(event, arguments[0])


sys.addaudithook(_hear)  # Python cannot remove a hook: it does nothing without a folder.


@contextmanager
def disk(folder: Path, fails: int, error: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Let one call below a folder fail; a write that fails has written half."""
    real_sync, real_write = os.fsync, Path.write_bytes

    def sync(handle: int) -> None:
        DISK.call("fsync", Path(f"/proc/self/fd/{handle}").readlink())
        real_sync(handle)

    def write(self: Path, content: bytes) -> int:
        try:
            DISK.call("write", self)
        except OSError:
            real_write(self, content[: len(content) // 2])
            raise
        return real_write(self, content)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", sync)
        patch.setattr(Path, "write_bytes", write)
        DISK.folder, DISK.fails, DISK.error, DISK.calls = str(folder), fails, error, []
        try:
            yield DISK
        finally:
            DISK.folder = ""


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
