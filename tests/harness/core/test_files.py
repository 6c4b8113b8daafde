import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core.files import Owner, debris, replacing, sweep, this_process, write_atomically


def test_a_process_is_gone_once_it_has_ended() -> None:
    assert not this_process().gone()
    with subprocess.Popen(
        [sys.executable, "-c", "import harness.core.files as f; print(f.this_process()); input()"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as child:  # fmt: skip
        assert child.stdout is not None
        owner = eval(child.stdout.readline(), {"Owner": Owner})
        assert owner.pid == child.pid
        assert not owner.gone()
        child.send_signal(signal.SIGKILL)
        while os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT) is None:
            pass
        assert owner.gone(), "a zombie does nothing any more"
    assert owner.gone()


def test_a_process_that_cannot_be_inspected_does_not_count_as_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With too many open files, or /proc hidden from us, a live process lives on."""
    me, pid = this_process(), os.getpid()

    def refused(path: Path, *args: object, **kwargs: object) -> str:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(Path, "read_text", refused)
    assert not me.gone()
    assert Owner(me.host, me.place, 2**22 + 1, 1).gone(), "no such process, says the system"
    assert me.pid == pid


def test_a_reused_process_number_is_another_process() -> None:
    me = this_process()
    assert Owner(me.host, me.place, me.pid, me.born - 1).gone()


def test_a_process_of_another_machine_never_counts_as_gone() -> None:
    assert not Owner("elsewhere", "00000000", 2**22 + 1, 1).gone()


def test_readers_see_the_old_file_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, "old")
    with replacing(path) as temporary:
        temporary.write_text("ne")
        assert path.read_text() == "old"
        temporary.write_text("new")
    assert path.read_text() == "new"
    with pytest.raises(FileNotFoundError), replacing(path) as temporary:
        temporary.with_name("nothing").read_text()
    assert list(tmp_path.iterdir()) == [path]


WRITER = """
import os, sys, pathlib
from harness.core.files import replacing
with replacing(pathlib.Path(sys.argv[1])) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_sweep_removes_only_the_files_of_killed_writers(tmp_path: Path) -> None:
    target = tmp_path / "records" / "record.json"
    subprocess.run([sys.executable, "-c", WRITER, str(target)], check=False)
    (left,) = debris(tmp_path)
    with replacing(tmp_path / "records" / "other.json") as mine:
        mine.write_text("being written")
        (tmp_path / "records" / ".hidden").write_text("a user's own")
        sweep(tmp_path)
        assert not left.exists()
    kept = {path.name for path in (tmp_path / "records").iterdir()}
    assert kept == {"other.json", ".hidden"}
    assert not target.exists()


def test_sweep_removes_only_old_files_of_another_machine(tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    fresh, old = (tmp_path / "records" / f".tmp-00000000-1-{i}-00000000" for i in (1, 2))
    top = tmp_path / ".tmp-00000000-1-3-00000000"
    for path in (fresh, old, top):
        path.touch()
    for path in (old, top):
        os.utime(path, (0, 0))
    assert debris(tmp_path) == [top, old]
