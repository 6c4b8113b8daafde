"""Everything that is written into the cache, on a disk that is full at the n-th call that writes.

Each writer either works all the same or raises an InputError; nothing half-written is believed.
"""

import builtins
import errno
import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from zipfile import ZipFile

import huggingface_hub
import numpy as np
import pytest
from PIL import Image

from adapters.data import hub_files, image_data, wheels
from harness import data
from harness.core import transfers
from harness.core.errors import InputError

CALLS = (
    "fsync", "ftruncate", "link", "mkdir", "posix_fallocate", "rename", "replace", "sendfile",
    "symlink", "truncate", "write",
)  # fmt: skip
"""Functions of ``os`` that a full disk makes fail, beside those that open a new file."""


class FullDisk:
    """Let the n-th call that writes fail; what writes a file leaves half of it.

    Args:
        at: the number of the call, from 1.
        lasting: whether all later calls fail, too.
    """

    def __init__(self, at: int, *, lasting: bool) -> None:
        self.at, self.lasting, self.calls = at, lasting, 0

    def fails(self) -> bool:
        self.calls += 1
        return self.calls == self.at or (self.lasting and self.calls > self.at)

    def check(self) -> None:
        if self.fails():
            raise OSError(errno.ENOSPC, "No space left on device")


@contextmanager
def writing_to(disk: FullDisk) -> Iterator[None]:
    """Replace what Python writes with."""
    really_open, really_os_open = io.open, os.open

    class Raw(io.FileIO):
        def write(self, content: Any) -> int:
            if disk.fails():
                super().write(bytes(content)[: len(content) // 2])
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content) or 0

        def truncate(self, size: int | None = None) -> int:
            disk.check()
            return super().truncate(size)

    def opened(file: Any, mode: str = "r", *more: Any, **options: Any) -> Any:
        if isinstance(file, int) or not set(mode) & set("wxa+"):
            return really_open(file, mode, *more, **options)
        if not Path(file).exists():
            disk.check()
        raw = Raw(file, mode.replace("b", "").replace("t", ""))
        binary = (io.BufferedRandom if "+" in mode else io.BufferedWriter)(raw)  # type: ignore[type-var]
        return binary if "b" in mode else io.TextIOWrapper(binary, options.get("encoding"))

    def os_opened(path: Any, flags: int, *more: Any, **options: Any) -> int:
        if flags & os.O_CREAT:
            disk.check()
        return really_os_open(path, flags, *more, **options)

    def checked(call: Callable[..., Any]) -> Callable[..., Any]:
        def replaced(*given: Any, **options: Any) -> Any:
            disk.check()
            return call(*given, **options)

        return replaced

    with pytest.MonkeyPatch.context() as patch:
        for module in (io, builtins):
            patch.setattr(module, "open", opened)
        patch.setattr(os, "open", os_opened)
        for name in CALLS:
            patch.setattr(os, name, checked(getattr(os, name)))
        yield


# The writers: each takes a folder with what the fixture has put there, and returns what it made


def contents(folder: Path) -> dict[str, str]:
    """Return {path: sha256} of the files of a folder."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): sha256(file.read_bytes()).hexdigest() for file in files}


def a_fingerprint(given: Path) -> Any:
    return data.fingerprint(given / "mine")


def a_wheel(given: Path) -> Any:
    wheels._verify.cache_clear()
    path = given / "toy-1.0-py3-none-any.whl"
    wheel = wheels.Wheel("toy", "1.0", path.name, sha256(path.read_bytes()).hexdigest())
    return wheels.read(wheel, "toy/data.txt")


def a_file_of_the_hub(given: Path) -> Any:
    return contents(hub_files.fetch("owner/set", "main", "wiki.txt").parent)["wiki.txt"]


def a_download(given: Path, *, write: Callable[[Path], None]) -> Any:
    source = data.Source(
        "a-set", "image", "", "somewhere", "none", places=("a-set",), download=write
    )
    return contents(data.need(source))


def several_files(folder: Path) -> None:
    for number in range(3):
        (folder / f"{number}.txt").write_text(f"{number}\n" * 1000)


def from_an_archive(folder: Path, *, given: Path) -> None:
    archive = given / "set.zip"
    checksum = sha256(archive.read_bytes()).hexdigest()
    image_data._get_archive(f"{SERVER[0]}/set.zip", checksum, "inside", folder)


def decoded_images(given: Path) -> Any:
    image_data._opened.cache_clear()
    found = image_data.load(str(given / "mine"), "", 0)
    arrays = (found.images, found.labels, found.train, found.test)
    return [*(array.tolist() for array in arrays), found.mean, found.std]


SERVER: list[str] = []
"""The address of the server of this module's files."""
WRITERS: dict[str, Callable[[Path], Any]] = {
    "fingerprint": a_fingerprint,
    "wheel": a_wheel,
    "hub": a_file_of_the_hub,
    "download": partial(a_download, write=several_files),
    "archive": lambda given: a_download(given, write=partial(from_an_archive, given=given)),
    "decoded": decoded_images,
}


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """What is downloaded, decoded and hashed; a server of it, and a script in pip's place."""
    folder = tmp_path_factory.mktemp("given")
    rng = np.random.default_rng(0)
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            (folder / "mine" / split / name).mkdir(parents=True)
            for number in range(3):
                pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "mine" / split / name / f"{number}.png")
    with ZipFile(folder / "toy-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("toy/data.txt", "content")
    with ZipFile(folder / "set.zip", "w") as archive:
        for number in range(3):
            archive.writestr(f"inside/{number}.txt", f"{number}\n" * 1000)
    (folder / "wiki.txt").write_text("A line.\n" * 10_000)
    (folder / "python").write_text(
        '#!/bin/sh\nwhile [ "$1" != --dest ]; do shift; done\n'
        f'cp {folder}/toy-1.0-py3-none-any.whl "$2"\n'
    )
    (folder / "python").chmod(0o755)

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *more: Any) -> None:
            super().__init__(*more, directory=str(folder))

        def log_message(self, *more: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        SERVER[:] = [f"http://127.0.0.1:{server.server_port}"]
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield folder
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("lasting", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("writer", WRITERS)
def test_a_disk_that_is_full_at_any_call_is_an_error_and_does_no_harm(
    writer: str, lasting: bool, given: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = partial(WRITERS[writer], given)
    etag = sha256((given / "wiki.txt").read_bytes()).hexdigest()
    stated = type("Stated", (), {"etag": etag})
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda *_, **more: f"{SERVER[0]}/wiki.txt")
    monkeypatch.setattr(huggingface_hub, "get_hf_file_metadata", lambda url: stated)
    monkeypatch.setattr(transfers, "PAUSE", 0.0)
    monkeypatch.setattr(sys, "executable", str(given / "python"))
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "whole"))
    truth = make()
    refused, at, disk = 0, 0, FullDisk(0, lasting=False)
    while disk.calls >= at:  # Until no call is left that could fail.
        at += 1
        cache, disk = tmp_path / str(at), FullDisk(at, lasting=lasting)
        monkeypatch.setenv("TRIPTYCH_CACHE", str(cache))
        with writing_to(disk):
            made = made_or_refused(make)
        if isinstance(made, InputError):
            refused += 1
            assert "No space left on device" in str(made), f"call {at}: {made}"
            named = (str(cache),)
            assert any(words in str(made) for words in named), f"call {at}: {made}"
        else:
            assert made == truth, f"call {at}: it made something else"
        assert make() == truth, f"call {at}: something half-written was believed"
        left = [path for path in cache.rglob(".*") if not path.name.endswith(".lock")]
        assert not left, f"call {at}: {left}"
    print(f"{writer}, lasting={lasting}: {at - 1} calls, {refused} refused")
    assert at > 3


def made_or_refused(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except InputError as error:
        return error
