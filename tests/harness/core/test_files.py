import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.core import locks
from harness.core.files import (
    Owner,
    debris,
    open_log,
    read_plain,
    replacing,
    sweep,
    this_process,
    write_atomically,
    write_through,
)


@pytest.fixture(autouse=True)
def nothing_hangs() -> Iterator[None]:
    """Fail a test that waits for a pipe."""

    def hung(*signalled: object) -> None:
        raise AssertionError("it hangs")

    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


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


ME = this_process()
NUMBERS = ("0", "1", "pid", "00", str(2**22 + 1), str(2**31), str(2**63), "9" * 30)


@pytest.mark.parametrize("born", ["0", "1", "born", "9" * 30])
@pytest.mark.parametrize("pid", NUMBERS)
@pytest.mark.parametrize("place", ["place", "00000000"])
def test_sweep_reads_any_name(tmp_path: Path, place: str, pid: str, born: str) -> None:
    # Words stand for this process's own numbers: a test's name must be the same in all processes.
    own = {"place": ME.place, "pid": str(ME.pid), "born": str(ME.born)}
    place, pid, born = (own.get(each, each) for each in (place, pid, born))
    path = tmp_path / f".tmp-{place}-{pid}-{born}-00000000"
    path.touch()
    found = debris(tmp_path)
    if place != ME.place or (pid == str(ME.pid) and born in ("0", str(ME.born))):
        assert found == []
    if place == ME.place and (int(pid) == 0 or int(pid) > 2**22):
        assert found == [path]
    os.utime(path, (0, 0))
    sweep(tmp_path)
    assert not path.exists(), "whoever wrote it, a day is enough"


@pytest.mark.parametrize("name", ["", "٣-1-00000000", "1-1", "-1-1-00000000", "1-1-0000000g"])
def test_sweep_leaves_other_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / f".tmp-{ME.place}-{name}"
    path.touch()
    os.utime(path, (0, 0))
    sweep(tmp_path)
    assert path.exists()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def second_link(victim: Path) -> Path:
    path = victim.with_name("second")
    path.symlink_to(victim)
    return path


def pipe_beside(victim: Path) -> Path:
    path = victim.with_name("pipe")
    pipe(path)
    return path


IN_THE_WAY: dict[str, Callable[[Path, Path], None]] = {
    "a link": lambda path, victim: path.symlink_to(victim),
    "a link to a link": lambda path, victim: path.symlink_to(second_link(victim)),
    "a relative link": lambda path, victim: path.symlink_to(os.path.relpath(victim, path.parent)),
    "a second name": lambda path, victim: path.hardlink_to(victim),
    "a dangling link": lambda path, victim: path.symlink_to(victim.with_name("new")),
    "a link to itself": lambda path, victim: path.symlink_to(path.name),
    "a link to a device": lambda path, victim: path.symlink_to("/dev/full"),
    "a link to a pipe": lambda path, victim: path.symlink_to(pipe_beside(victim)),
    "a link to a folder": lambda path, victim: path.symlink_to(victim.parent),
    "a pipe": lambda path, victim: pipe(path),
}
"""Makers of what may be in the way of a file that we write."""
in_the_way = pytest.mark.parametrize("block", IN_THE_WAY.values(), ids=IN_THE_WAY.keys())


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A file, alone in a folder, which no write to another folder may change."""
    path = tmp_path / "home" / "victim"
    path.parent.mkdir()
    path.write_text("dear")
    return path


def unharmed(victim: Path) -> bool:
    files = {path.name for path in victim.parent.iterdir()}
    return victim.read_text() == "dear" and files <= {"victim", "second", "pipe"}


@in_the_way
def test_a_write_replaces_what_is_in_its_way(
    tmp_path: Path, victim: Path, block: Callable[[Path, Path], None]
) -> None:
    path = tmp_path / "file"
    block(path, victim)
    write_atomically(path, "new")
    assert path.is_file() and not path.is_symlink()
    assert path.read_text() == "new"
    assert unharmed(victim)


@in_the_way
def test_a_log_replaces_what_is_in_its_way(
    tmp_path: Path, victim: Path, block: Callable[[Path, Path], None]
) -> None:
    path = tmp_path / "logs" / "log"
    path.parent.mkdir()
    block(path, victim)
    for word in (b"one ", b"two"):
        handle = open_log(path)
        os.write(handle, word)
        os.close(handle)
    assert not path.is_symlink()
    assert path.read_text() == "one two"
    assert unharmed(victim)


def test_a_folder_in_the_way_of_a_file_is_kept(tmp_path: Path) -> None:
    for write in (open_log, lambda path: write_atomically(path, "new")):
        with pytest.raises(OSError, match=r"directory|not permitted"):
            write(tmp_path)
    assert list(tmp_path.iterdir()) == []


@in_the_way
def test_debris_is_removed_and_not_what_it_leads_to(
    tmp_path: Path, victim: Path, block: Callable[[Path, Path], None]
) -> None:
    path = tmp_path / f".tmp-{ME.place}-{2**22 + 1}-1-00000000"
    block(path, victim)
    assert debris(tmp_path) == [path]
    sweep(tmp_path)
    assert not os.path.lexists(path)
    assert unharmed(victim)


def test_a_folder_is_no_debris(tmp_path: Path) -> None:
    (tmp_path / f".tmp-{ME.place}-{2**22 + 1}-1-00000000").mkdir()
    assert debris(tmp_path) == []


@in_the_way
def test_only_a_plain_file_is_read(
    tmp_path: Path, victim: Path, block: Callable[[Path, Path], None]
) -> None:
    path = tmp_path / "file"
    block(path, victim)
    if path.is_symlink() or path.is_fifo():
        with pytest.raises(OSError, match=r"link|plain"):
            read_plain(path, 100)
    else:
        assert read_plain(path, 2) == b"de"


def test_a_path_that_the_user_names_may_be_a_link_or_a_pipe(tmp_path: Path) -> None:
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    write_through(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    device = tmp_path / "device"
    pipe(device)
    reader = os.open(device, os.O_RDONLY | os.O_NONBLOCK)
    write_through(device, b"text")
    assert os.read(reader, 100) == b"text"
    os.close(reader)
    assert device.is_fifo()
    write_through(tmp_path / "folder" / "new", "text")
    assert (tmp_path / "folder" / "new").read_text() == "text"


WRITE = "import sys; from pathlib import Path; from harness.core.files import write_through; "
WRITE += "write_through(Path(sys.argv[1]), 'new\\n')"


@pytest.mark.skipif(not Path("/dev/stdout").exists(), reason="this system has no /dev/stdout")
def test_standard_output_is_written_to_whatever_it_is(tmp_path: Path) -> None:
    """A pipe, and a file that a shell appends to."""
    command = [sys.executable, "-c", WRITE, "/dev/stdout"]
    piped = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    assert piped.stdout == "new\n"
    (tmp_path / "log").write_text("old\n")
    with (tmp_path / "log").open("a") as log:
        subprocess.run(command, check=True, stdout=log)
    assert (tmp_path / "log").read_text() == "old\nnew\n"


@pytest.mark.skipif(not Path("/dev/shm").is_dir(), reason="this system has no /dev/shm")
def test_a_plain_file_below_dev_is_replaced() -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        board = Path(folder, "board.csv")
        write_through(board, "old")
        write_through(board, "new")
        assert board.read_text() == "new"


def test_a_lock_that_is_kept_is_an_error_after_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.2)
    path = tmp_path / "lock"
    held = r"another process has held the lock .*lock for 0.2"
    with (
        locks.locked(path),
        pytest.raises(TimeoutError, match=held),
        locks.locked(path),
    ):
        pass
    with locks.locked(path):
        pass
