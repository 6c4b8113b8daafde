"""Locks between processes, on files."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 30.0
"""Seconds to wait for a lock: what is done under one takes much less."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock on ``path``, a file that may not exist; wait up to ``PATIENCE`` for another.

    The lock ends with its process. File systems without locks have none: the block then runs
    without it.

    Raises:
        OSError: if the file cannot be opened, or is a link; or if another process keeps the lock,
            such as one that was suspended.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        _take(handle, path)
        yield
    finally:
        os.close(handle)


def _take(handle: int, path: Path) -> None:
    """Take a lock, unless the file system has none.

    Raises:
        TimeoutError: if another process keeps it.
    """
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"another process has held the lock {path} for {PATIENCE:g} s: end it, or let "
                    "it go on if it is suspended"
                ) from None
            time.sleep(0.05)
        except OSError:
            return None
