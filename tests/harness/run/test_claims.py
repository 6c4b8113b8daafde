import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness.core.files import this_process
from harness.run import claims

HOLDER = """
import sys, pathlib
from harness.run import claims
claim = claims.take(pathlib.Path(sys.argv[1]))
with claim:
    claim.step, claim.steps = 3, 10
    print("taken", flush=True)
    input()
"""


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the claim."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "claim.json")],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == "taken\n"
        yield process
        process.kill()


def test_only_one_process_holds_a_claim_until_it_is_released(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    path = tmp_path / "claim.json"
    assert claims.take(path) is None
    owner = claims.owner_of(claims.read(path))
    assert owner is not None and owner.pid == holder.pid
    holder.communicate("\n")
    assert not path.exists()
    claim = claims.take(path)
    assert claim is not None
    with claim:
        assert claims.take(path) is None
    assert not list(tmp_path.iterdir())


def test_a_killed_owners_claim_is_taken_over_at_once(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    path = tmp_path / "claim.json"
    holder.kill()
    holder.wait()
    assert path.exists()
    claim = claims.take(path)
    assert claim is not None
    assert claims.owner_of(claims.read(path)) == this_process()


def elsewhere(path: Path) -> str:
    """Write a claim of another machine's."""
    owner = asdict(replace(this_process(), host="elsewhere", place="00000000"))
    text = json.dumps({"token": "theirs", "owner": owner, "beats": 1})
    path.write_text(text)
    return text


@pytest.mark.parametrize("half_written", [False, True])
def test_another_machines_claim_expires_without_heartbeats(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, half_written: bool
) -> None:
    path = tmp_path / "claim.json"
    text = elsewhere(path)
    if half_written:
        path.write_text(text[:20])
    now = [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    watch = claims.Watch()
    assert not watch.free(path)
    now[0] = claims.LEASE - 1
    assert not watch.free(path)
    assert claims.take(path) is None, "one look cannot tell whether its owner is gone"
    now[0] = claims.LEASE + 1
    assert watch.free(path)
    assert not path.exists()
    assert claims.take(path) is not None


def test_a_heartbeat_renews_the_lease(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "claim.json"
    now = [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    watch = claims.Watch()
    text = elsewhere(path)
    for i in range(5):
        path.write_text(text.replace('"beats": 1', f'"beats": {i}'))
        assert not watch.free(path)
        now[0] += claims.LEASE - 1


@pytest.fixture
def claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> claims.Claim:
    """A claim of this process, whose owner says every moment that it is there."""
    monkeypatch.setattr(claims, "BEAT", 0.01)
    taken = claims.take(tmp_path / "claim.json")
    assert taken is not None
    return taken


def test_an_owner_sends_heartbeats(tmp_path: Path, claim: claims.Claim) -> None:
    texts = set()
    with claim:
        claim.step, claim.steps = 7, 9
        deadline = time.monotonic() + 20
        while len(texts) < 4 and time.monotonic() < deadline:
            texts.add(claim.path.read_text())
    assert len(texts) >= 4
    assert {json.loads(text)["step"] for text in texts} >= {7}
    assert not list(tmp_path.iterdir())


def test_an_owner_that_cannot_read_its_claim_keeps_it(claim: claims.Claim) -> None:
    """A network file system's hiccup, or an observer that has the file aside for a moment."""
    with claim:
        claim.path.unlink()
        deadline = time.monotonic() + 20
        while not claim.path.exists() and time.monotonic() < deadline:
            time.sleep(0.01)
        assert claim.path.exists()


def test_claims_work_on_a_file_system_without_hard_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*paths: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(claims.os, "link", refused)
    claim = claims.take(tmp_path / "claim.json")
    assert claim is not None
    with claim:
        assert claims.take(tmp_path / "claim.json") is None
        assert claims.owner_of(claims.read(claim.path)) == this_process()
    assert not list(tmp_path.iterdir())


def test_a_link_that_nfs_reports_as_existing_can_be_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def twice(one: Path, two: Path) -> None:
        link(one, two)
        link(one, two)

    monkeypatch.setattr(claims.os, "link", twice)
    assert claims.take(tmp_path / "claim.json") is not None


@pytest.mark.parametrize("call", ["open", "lstat"])
@pytest.mark.parametrize("number", [5, 24, 116])
def test_no_cell_is_free_while_the_file_system_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, call: str
) -> None:
    path = tmp_path / "claim.json"
    elsewhere(path)
    now = [0.0]
    monkeypatch.setattr(claims.time, "monotonic", lambda: now[0])
    watch = claims.Watch()

    def failing(*args: object, **kwargs: object) -> int:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(*{"open": (os, "open", failing), "lstat": (Path, "lstat", failing)}[call])
        for now[0] in (0.0, 2 * claims.LEASE):
            assert not watch.free(path)
            assert claims.read(path) == {}
            assert "cannot be read" in claims.holder(path)
    assert path.exists()
    path.unlink()
    assert watch.free(path)


def test_a_claim_that_cannot_be_written_keeps_the_claim_of_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "claim.json"
    text = elsewhere(path)

    def refused(path: Path, *args: object, **kwargs: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refused)
        with pytest.raises(OSError, match="Too many"):
            claims.take(path)
    assert path.read_text() == text


def test_a_suspended_owner_keeps_the_claim_of_its_successor(claim: claims.Claim) -> None:
    path = claim.path
    with claim:
        claims.set_aside(path, path.read_text())
        text = elsewhere(path)
        time.sleep(0.1)
        assert path.read_text() == text
    assert path.read_text() == text


def test_a_claim_that_has_changed_is_not_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "claim.json"
    old = elsewhere(path)
    new = old.replace("theirs", "somebody else's")
    path.write_text(new)
    claims.set_aside(path, old)
    assert path.read_text() == new
    path.unlink()
    claims.set_aside(path, old)  # Gone by itself: nothing to do.


RACER = """
import sys, pathlib, time
from harness.run import claims
path, wins = pathlib.Path(sys.argv[1]), 0
print("ready", flush=True)
input()
for i in range(200):
    claim = claims.take(path.with_name(f"{i}.json"))
    if claim is not None:
        with (path.parent / f"{i}.won").open("a") as file:
            file.write("x")
print("done", flush=True)
input()  # Whose owner is gone, that claim is free.
"""


def test_one_of_many_racing_processes_gets_the_claim(tmp_path: Path) -> None:
    with ExitStack() as stack:
        racers = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", RACER, str(tmp_path / "x.json")],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(4)
        ]
        for racer in racers:
            assert racer.stdout is not None and racer.stdout.readline()
        for word in ("done\n", ""):
            for racer in racers:
                assert racer.stdin is not None
                racer.stdin.write("\n")
                racer.stdin.flush()
            for racer in racers:
                assert racer.stdout is not None
                assert racer.stdout.readline() == word
    assert [path.read_text() for path in tmp_path.glob("*.won")] == ["x"] * 200


def test_a_full_disk_leaves_no_empty_claim(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(claim: claims.Claim) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(claims.Claim, "text", full)
    with pytest.raises(OSError, match="No space left"):
        claims.take(tmp_path / "claim.json")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    if os.geteuid() == 0:
        (tmp_path / "claims").touch()
        with pytest.raises(OSError, match=r"exists|directory"):
            claims.take(tmp_path / "claims" / "claim.json")
    else:
        tmp_path.chmod(0o500)
        with pytest.raises(PermissionError):
            claims.take(tmp_path / "claims" / "claim.json")


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "\x00", '{"owner": 3}', '{"owner": {}}'])
def test_an_unreadable_claim_has_no_known_owner(tmp_path: Path, text: str) -> None:
    path = tmp_path / "claim.json"
    path.write_text(text)
    assert claims.take(path) is None
    assert claims.owner_of(claims.read(path)) is None
