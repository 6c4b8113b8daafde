"""Claims whose content or kind of file is odd neither stop, nor hang, nor mislead a run."""

import contextlib
import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from runs import STUDY, Inside
from synthetic import CELL

from harness.core.cells import Cell
from harness.core.files import Owner, this_process
from harness.run import claims, runner
from harness.run.runner import run
from harness.run.status import faults, states
from harness.store.identity import identify
from harness.store.records import SCHEMA, Store

ME = asdict(this_process())
CLAIM: dict[str, Any] = {
    "token": "theirs", "owner": {**ME, "place": "00000000", "host": "elsewhere"},
    "since": "2026-12-01T04:20:00+00:00", "step": 3, "steps": 10, "beats": 1,
}  # fmt: skip
KINDS = {"token": str, "since": str, "step": int, "steps": int, "beats": int}
HUGE = 10**400
WRONG: dict[type, list[Any]] = {
    str: [None, True, 3, 1.5, [], {"a": 1}],
    int: [None, True, "3", 1.5, float("nan"), float("inf"), [], {}],
}


def with_owner(**values: Any) -> dict[str, Any]:
    return {**CLAIM, "owner": {**CLAIM["owner"], **values}}


MISTYPED = [
    *({**CLAIM, name: value} for name, kind in KINDS.items() for value in WRONG[kind]),
    *({**CLAIM, "owner": value} for value in [None, True, 3, "me", [], {}, [ME], {"host": "h"}]),
    *(with_owner(**{name: value}) for name in ("host", "place") for value in WRONG[str]),
    *(with_owner(**{name: value}) for name in ("pid", "born") for value in WRONG[int]),
    *({**CLAIM, "owner": {**ME, name: value}} for name in ("pid", "born") for value in WRONG[int]),
    *({k: v for k, v in CLAIM.items() if k != name} for name in ("token", "owner")),
]
"""Claims with a value of a wrong type, or without one that they need."""

WELL_TYPED = [
    *(with_owner(pid=pid) for pid in (0, -1, -(2**31), 2**31, 2**63, HUGE)),
    *(with_owner(born=born) for born in (-1, 2**70, HUGE)),
    with_owner(host="\x1b[31mred\x07", place="\u202e" * 9),
    {**CLAIM, "steps": HUGE, "step": -HUGE},
    {**CLAIM, "since": "yesterday"},
    {**CLAIM, "since": "9999-12-31T23:59:59-23:59"},
    {**CLAIM, "unknown": [[[]]]},
]
"""Claims with unusual values of the right types, of another machine's processes."""

TEXTS: list[bytes] = [
    *(json.dumps(values).encode() for values in (*MISTYPED, *WELL_TYPED)),
    *(json.dumps(CLAIM).encode(code) for code in ("utf-16", "utf-32", "utf-8-sig", "utf-16-le")),
    *(text.encode() for text in ("[]", "null", "3", '"x"', "{}", "{", "NaN", "\x00", " ", "\n")),
    json.dumps(CLAIM).encode().replace(b"elsewhere", b"\xff\xfe"),
    json.dumps(CLAIM).encode().replace(b"elsewhere", b"\\ud800"),
    json.dumps(CLAIM).encode().replace(b"elsewhere", b"\xed\xa0\x80"),
    json.dumps(CLAIM).encode().replace(b'"beats": 1', b'"beats": ' + b"1" * 5000),
    json.dumps(CLAIM).encode().replace(b'"beats": 1', b'"beats": 1e999'),
    json.dumps(CLAIM).encode().replace(b'"beats": 1', b'"beats": ' + b"1" * 3500),
    json.dumps(CLAIM).encode().replace(b"{", b'{"deep": ' + b"[" * 1500 + b"]" * 1500 + b",", 1),
    json.dumps(with_owner(deep=0)).encode().replace(b": 0}", b": %s}" % (b"[" * 900 + b"]" * 900)),
    json.dumps(CLAIM).encode() * 2,
    json.dumps(CLAIM).encode()[:-3],
    b"[" * 4000,
    b"[" * 100_000,
    b"x" * 10_000_000,
]


def pipe(path: Path) -> None:
    os.mkfifo(path)


def listening(path: Path) -> None:
    made = socket.socket(socket.AF_UNIX)
    with contextlib.chdir(path.parent):  # Its address may have about 100 characters.
        made.bind(path.name)
    made.close()


def full_folder(path: Path) -> None:
    path.mkdir()
    (path / "a file").write_text("somebody's")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**40)


def beside(path: Path, make: Callable[[Path], None]) -> Path:
    there = path.with_name(f"{path.name}.there")
    make(there)
    return there


def unreadable(path: Path) -> None:
    path.write_text(json.dumps(CLAIM))
    path.chmod(0)


def anothers(path: Path) -> None:
    unreadable(path)
    if os.geteuid() == 0:
        os.chown(path, 12345, 12345)


FILES: dict[str, Callable[[Path], None]] = {
    "an empty file": Path.touch,
    "a huge file": sparse,
    "an unreadable file": unreadable,
    "another user's file": anothers,
    "a folder": Path.mkdir,
    "a full folder": full_folder,
    "a pipe": pipe,
    "a socket": listening,
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a terminal": lambda path: path.symlink_to("/dev/tty"),
    "a link to a pipe": lambda path: path.symlink_to(beside(path, pipe)),
    "a link to a folder": lambda path: path.symlink_to("/"),
    "a link to a claim": lambda path: path.symlink_to(
        beside(path, lambda there: there.write_text(json.dumps(CLAIM)) and None)
    ),
}
"""Makers of what may stand in a claim's place and is no claim."""

ODD: dict[str, Callable[[Path], Any]] = FILES | {
    f"content {i}": lambda path, text=text: path.write_bytes(text)  # type: ignore[misc]
    for i, text in enumerate(TEXTS)
}
every = pytest.mark.parametrize("make", ODD.values(), ids=ODD.keys())
files_alone = pytest.mark.parametrize("make", FILES.values(), ids=FILES.keys())


@pytest.fixture(autouse=True)
def nothing_hangs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fail a test that waits for a pipe; let nobody, root included, read what has no permission."""

    def hung(*signalled: object) -> None:
        raise AssertionError("it hangs")

    opened = os.open

    def as_user(path: Any, *args: Any, **kwargs: Any) -> int:
        if os.path.lexists(path) and not os.lstat(path).st_mode & 0o777:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(os, "open", as_user)
    before = signal.signal(signal.SIGALRM, hung)
    signal.alarm(100)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


def test_the_inputs_are_many() -> None:
    assert len(TEXTS) >= 60
    assert len(FILES) >= 10


@every
def test_an_odd_claim_has_values_of_the_right_types_or_none(
    tmp_path: Path, make: Callable[[Path], Any]
) -> None:
    path = tmp_path / "claim.json"
    make(path)
    values = claims.read(path)
    owner = claims.owner_of(values)
    assert (owner is None) == (not values)
    if owner is not None:
        assert [type(value) for value in asdict(owner).values()] == [str, str, int, int]
        assert all(type(values[name]) is kind for name, kind in KINDS.items())
        owner.gone()
    assert claims.holder(path).isprintable()


@pytest.mark.parametrize("values", MISTYPED)
def test_a_claim_with_a_value_of_a_wrong_type_names_no_owner(
    tmp_path: Path, values: dict[str, Any]
) -> None:
    (tmp_path / "claim.json").write_text(json.dumps(values))
    assert claims.read(tmp_path / "claim.json") == {}


@pytest.mark.parametrize("values", [{}, *({"owner": value} for value in WRONG[str])])
def test_values_without_an_owner_name_none(values: dict[str, Any]) -> None:
    assert claims.owner_of(values) is None


@every
def test_an_odd_claim_is_taken_for_anothers_until_it_expires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Any]
) -> None:
    path = tmp_path / "claims" / "claim.json"
    path.parent.mkdir()
    make(path)
    now = [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    watch = claims.Watch()
    assert claims.take(path) is None
    assert not watch.free(path)
    now[0] = claims.LEASE - 1
    assert not watch.free(path)
    now[0] = claims.LEASE + 1
    assert watch.free(path)
    assert not os.path.lexists(path), "it is set aside"
    assert watch.free(path)
    taken = claims.take(path)
    assert taken is not None
    with taken:
        assert claims.owner_of(claims.read(path)) == this_process()
    assert not os.path.lexists(path)


@files_alone
def test_what_is_replaced_meanwhile_does_not_expire(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Any]
) -> None:
    path, other = tmp_path / "claim.json", tmp_path / "new"
    now = [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    watch = claims.Watch()
    make(path)
    for _ in range(3):
        assert not watch.free(path)
        now[0] += claims.LEASE - 1
        path.rename(tmp_path / f"old-{now[0]}")
        (tmp_path / f"{other.name}.there").unlink(missing_ok=True)
        make(other)
        other.rename(path)


def test_a_claim_that_cannot_be_removed_keeps_its_cell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise workers would try the cell again and again, each in vain."""
    path = tmp_path / "claim.json"
    path.symlink_to("nowhere")
    now = [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])

    def refused(*paths: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "rename", refused)
    watch = claims.Watch()
    for _ in range(3):
        assert not watch.free(path)
        now[0] += claims.LEASE


@pytest.mark.parametrize("pid", [0, -1, -(2**31), 2**22 + 1, 2**31, 2**63, HUGE])
def test_a_number_that_no_process_has_is_of_none_that_lives(tmp_path: Path, pid: int) -> None:
    me = this_process()
    assert Owner(me.host, me.place, pid, 1).gone()
    path = tmp_path / "claim.json"
    path.write_text(json.dumps({**CLAIM, "owner": {**ME, "pid": pid}}))
    assert claims.take(path) is not None


@pytest.mark.parametrize("born", [0, -1, 1, HUGE])
def test_a_claim_of_the_first_process_expires(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, born: int
) -> None:
    path = tmp_path / "claim.json"
    path.write_text(json.dumps({**CLAIM, "owner": {**ME, "pid": 1, "born": born}}))
    now = [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    watch = claims.Watch()
    watch.free(path)
    now[0] = claims.LEASE + 1
    assert watch.free(path)


@every
def test_an_owner_ends_well_whatever_stands_in_its_place(
    tmp_path: Path, make: Callable[[Path], Any]
) -> None:
    taken = claims.take(tmp_path / "claim.json")
    assert taken is not None
    with taken:
        taken.path.unlink()
        make(taken.path)
    assert os.path.lexists(taken.path), "it is not this claim's"


@every
def test_an_owner_goes_on_whatever_stands_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], Any]
) -> None:
    """It renews its claim, or stops if another has it; it writes to no target of a link."""
    monkeypatch.setattr(claims, "BEAT", 0.005)
    taken = claims.take(tmp_path / "claim.json")
    assert taken is not None
    with taken:
        taken.path.unlink(missing_ok=True)
        with contextlib.suppress(FileExistsError):  # A heartbeat was quicker.
            make(taken.path)
        time.sleep(0.05)
        owner = claims.owner_of(claims.read(taken.path))
    assert owner in (this_process(), None) or owner.host != ME["host"]
    with contextlib.suppress(FileNotFoundError):
        there = (tmp_path / "claim.json.there").lstat()
        assert there.st_size in (0, len(json.dumps(CLAIM)))


@pytest.fixture
def odd_run(tmp_path: Path) -> Store:
    """A folder with as many planned cells as there are odd claims, and one for each."""
    store = Store(tmp_path / "run")
    cells = [replace(CELL, seed=seed) for seed in range(len(ODD))]
    plan = [
        {"label": CELL.loss, "trial": None, "modality": "points", "key": f"{cell.seed:016x}",
         "cell": cell.to_dict()}
        for cell in cells
    ]  # fmt: skip
    store.write_study({"schema": SCHEMA, "baseline": None, "command": "x", "plan": plan})
    for cell, make in zip(cells, ODD.values(), strict=True):
        path = store.claim_path(cell, f"{cell.seed:016x}")
        path.parent.mkdir(exist_ok=True)
        make(path)
    return store


def test_the_states_of_cells_with_odd_claims(
    odd_run: Store, triptych: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    found = states(odd_run)
    assert len(found) == len(ODD)
    assert {state.state for state in found} == {"to do", "running"}
    assert faults(odd_run) == []
    shown = triptych("status", str(odd_run.folder), "--cells", timeout=90)
    assert shown.returncode == 0, shown.stderr
    assert "Traceback" not in shown.stdout + shown.stderr
    assert shown.stdout.replace("\n", "").isprintable()


def first_cells(number: int) -> dict[Cell, str]:
    cells = STUDY.but(losses=["infonce"], seeds=number).cells()[:number]
    return {cell: identify(cell).key for cell in cells}


def test_a_run_takes_over_odd_claims_and_starts_few_interpreters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "POLL", 0.05)
    monkeypatch.setattr(claims, "LEASE", 1.0)
    store = Store(tmp_path)
    names = ("an empty file", "an unreadable file", "a folder", "a pipe", "a dangling link")
    chosen = [FILES[name] for name in names]
    cells = first_cells(len(chosen))
    store.claim_path(CELL, "").parent.mkdir(parents=True)
    for (cell, key), make in zip(cells.items(), chosen, strict=True):
        make(store.claim_path(cell, key))
    opened = []

    class Counting(Inside):
        def open(self, folder: Path) -> Inside:
            opened.append(folder)
            return super().open(folder)

    summary = run(
        STUDY.but(losses=["infonce"], seeds=len(cells)), tmp_path, engine=Counting(),
        progress=False,
    )  # fmt: skip
    assert summary.complete
    assert set(cells) <= set(summary.done)
    assert len(opened) <= 4


def test_a_run_says_at_once_whom_it_waits_for_and_then_every_minute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(runner, "POLL", 0.01)
    store = Store(tmp_path)
    cells = first_cells(5)
    paths = [store.claim_path(cell, key) for cell, key in cells.items()]
    paths[0].parent.mkdir(parents=True)
    for i, path in enumerate(paths):
        path.write_text(json.dumps(with_owner(pid=4711 + i, host="gpu\x1b3")))
    started = time.monotonic()
    minutes = [0.0]
    sleep = time.sleep

    def a_minute_a_poll(seconds: float) -> None:
        minutes[0] += 25.0
        if minutes[0] > 200:
            for path in paths:
                path.unlink(missing_ok=True)
        sleep(0.01)

    monkeypatch.setattr(runner.time, "sleep", a_minute_a_poll)
    monkeypatch.setattr(runner.time, "monotonic", lambda: started + minutes[0])
    monkeypatch.setattr(claims, "LEASE", 1e9)
    heard: list[str] = []
    study = STUDY.but(losses=["infonce"], seeds=5)
    with caplog.at_level(logging.WARNING, "harness"):
        summary = run(
            study, tmp_path, engine=Inside(), progress=False,
            listen=lambda event, _: heard.append(event.reason) if event.kind == "claimed" else None,
        )  # fmt: skip
    assert summary.complete
    assert heard == [
        rf"by process {4711 + i} on 'gpu\x1b3' since 2026-12-01 04:20:00+00:00" for i in range(5)
    ]
    said = [line for line in caplog.messages if line.startswith("Waiting for")]
    assert len(said) == 3, "at 0, 75 and 150 s"
    assert all(line.isprintable() for line in said)
    for words in ("5 cells", "process 4711 on 'gpu", "since 2026-12-01", "3 more", "expires"):
        assert words in said[0]


WAITER = """
import sys, pathlib
sys.path[:0] = sys.argv[2:]
from runs import STUDY, Inside
from harness.run.runner import run
run(STUDY.but(losses=["infonce"], seeds=1), sys.argv[1], engine=Inside(), progress=False)
"""


def test_a_waiting_script_says_so_on_standard_error(tmp_path: Path) -> None:
    store = Store(tmp_path)
    ((cell, key),) = first_cells(1).items()
    path = store.claim_path(cell, key)
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(CLAIM))
    here = [folder for folder in sys.path if "thirdparty" in folder or folder.endswith("tests")]
    with subprocess.Popen(
        [sys.executable, "-c", WAITER, str(tmp_path), *here], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        process.kill()
    assert line.startswith("Waiting for 1 cell that other runs have claimed: by process"), line
