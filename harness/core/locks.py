"""Locks between processes, on files."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 30.0
"""How many seconds to wait for a lock that another process holds; usually it is a moment."""


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock on the file ``path``, which is made if it is missing.

    If another process holds the lock, wait for it up to ``PATIENCE``. The lock ends with its
    process. On a file system without locks, the block runs without one.

    Raises:
        OSError: if the file cannot be opened, or is a link; or if another process keeps the lock,
            such as one that was suspended.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        deadline = time.monotonic() + PATIENCE
        while not _take(handle):
            if time.monotonic() > deadline:
                raise TimeoutError(
                    f"another process has held the lock {path} for {PATIENCE:g} s: end it, or let "
                    "it go on if it is suspended"
                )
            time.sleep(0.05)
        yield
    finally:
        os.close(handle)


def _take(handle: int) -> bool:
    """Try to take a lock; return False if another process holds it.

    On a file system without locks, return True.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        pass  # This file system has no locks.
    return True
