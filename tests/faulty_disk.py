"""A disk on which one call fails: an open, a write, a sync, a rename, a link or a listing."""

import errno
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from forking import FIRST

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
        log: the handle of a file that lists the calls, or 0.
    """

    folder: str = ""
    fails: int = 0
    error: int = errno.EIO
    calls: list[str] = field(default_factory=list)
    log: int = 0

    def call(self, what: str, path: Any) -> None:
        """Count a call; raise an error if it is the one that fails."""
        if isinstance(path, bytes | int) or not self.folder:
            return
        if str(path).startswith(self.folder):
            self.calls.append(f"{what} {path}")
            if self.log:
                os.write(self.log, f"{len(self.calls)} {what} {path}\n".encode())
            if len(self.calls) == self.fails:
                raise OSError(self.error, os.strerror(self.error), str(path))


DISK = Disk()


def _hear(event: str, arguments: tuple[Any, ...]) -> None:
    if event in WATCHED and DISK.folder:
        DISK.call(event, arguments[0])


sys.addaudithook(_hear)  # Python cannot remove a hook: it does nothing without a folder.


real_sync, real_write = os.fsync, Path.write_bytes


def _sync(handle: int) -> None:
    DISK.call("fsync", Path(f"/proc/self/fd/{handle}").readlink())
    real_sync(handle)


def _write(path: Path, content: bytes) -> int:
    """Write a file, or half of it before the call fails."""
    try:
        DISK.call("write", path)
    except OSError:
        real_write(path, content[: len(content) // 2])
        raise
    return real_write(path, content)


def _patch(setattr_: Callable[[Any, str, Any], None]) -> None:
    setattr_(os, "fsync", _sync)
    setattr_(Path, "write_bytes", _write)


@contextmanager
def disk(folder: Path, fails: int, error: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """Let one call of this process below a folder fail; a write that fails has written half."""
    with monkeypatch.context() as patch:
        _patch(patch.setattr)
        DISK.folder, DISK.fails, DISK.error, DISK.calls = str(folder), fails, error, []
        try:
            yield DISK
        finally:
            DISK.folder = ""


VARIABLE = "TRIPTYCH_TESTS_DISK"


@contextmanager
def workers_disk(
    folder: Path, fails: int, error: int, log: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Let one call of the worker process, and of each cell's process, fail as in :func:`disk`.

    A cell's process is forked from the worker, and counts on from the worker's calls. Each call is
    a line in ``log``, with its number.
    """
    with monkeypatch.context() as patch:
        patch.setenv(FIRST, "faulty_disk:in_worker")
        patch.setenv(VARIABLE, json.dumps([str(folder), fails, error, str(log)]))
        yield


def in_worker() -> None:
    """Make this worker's disk the one that its environment asks for."""
    DISK.folder, DISK.fails, DISK.error, log = json.loads(os.environ[VARIABLE])
    DISK.log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    _patch(setattr)
