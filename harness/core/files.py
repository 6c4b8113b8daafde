"""Write files that appear whole or not at all, and remove what killed writers left behind."""

import os
import re
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

DEBRIS = re.compile(r"\.tmp-([0-9a-f]{8})-(\d+)-(\d+)-[0-9a-f]{8}")
"""The names of temporary files: the writer's ``place``, ``pid`` and ``born``, and a random part."""

UNKNOWN = 0
"""The start time of a process whose start time cannot be read."""

MAX_WRITE_SECONDS = 24 * 3600.0
"""No write takes that long, so any older temporary file is debris."""


@dataclass(frozen=True)
class Owner:
    """A process, told apart from all others on every machine that shares a folder.

    Attributes:
        host: the machine's name, for people.
        place: a digest of the machine, its last boot and its process namespace: processes
            with the same digest can see each other.
        pid: the process's number there.
        born: when it started, in ticks since boot, or ``UNKNOWN``. The system reuses numbers;
            the start time distinguishes processes that had the same one.
    """

    host: str
    place: str
    pid: int
    born: int

    def gone(self) -> bool:
        """Return whether the process is known to be gone, which only its own machine can tell."""
        if self.place != _place():
            return False
        born = _born(self.pid)
        return born is None or (born != self.born and UNKNOWN not in (born, self.born))


def this_process() -> Owner:
    """Return this process as an owner."""
    pid = os.getpid()
    return Owner(socket.gethostname(), _place(), pid, _born(pid) or UNKNOWN)


@cache
def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # Not Linux: a random text, so that no other process takes this one for gone.
        boot = namespace = uuid.uuid4().hex
    return sha256("\0".join((socket.gethostname(), boot, namespace)).encode()).hexdigest()[:8]


def _born(pid: int) -> int | None:
    """Return when a process started, ``UNKNOWN`` if that cannot be read, None if it is gone."""
    try:
        # Split behind the last ")": the name before it may hold spaces and brackets. Field 22
        # of the line, here rest[18], is the start time.
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else int(rest[18])  # Z and X: it has ended.
    except (OSError, ValueError, IndexError):  # It is gone or hidden, or too many files are open.
        # Signal 0 is not delivered: it only tests whether the process exists.
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except OSError:
            pass
        return UNKNOWN


def temporary_beside(path: Path) -> Path:
    """Return a path in the same folder whose name identifies its writer: see :func:`debris`."""
    me = this_process()
    return path.with_name(f".tmp-{me.place}-{me.pid}-{me.born}-{uuid.uuid4().hex[:8]}")


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Yield a temporary path, then replace ``path`` by the file that was written there.

    Readers see the old file or the whole new one, even if the writer is killed; if
    ``durable``, even if the machine loses power.

    Raises:
        OSError: if it cannot be written; nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        if durable:  # Without a sync, the rename may reach the disk before the data does.
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a text, or bytes, to ``path``: readers see the old file or the whole new one.

    A link is followed; a device or a pipe is written to directly.

    Raises:
        OSError: if it cannot be written; nothing is left behind then.
    """
    path = path.resolve()
    content = content.encode() if isinstance(content, str) else content
    if path.exists() and not path.is_file():
        path.write_bytes(content)
        return
    with replacing(path) as temporary:
        # This is not mkstemp, whose files only the owner can read: colleagues read boards.
        temporary.write_bytes(content)


def debris(folder: Path) -> list[Path]:
    """Return the temporary files under ``folder`` whose writers are gone."""
    temporary = (*folder.glob(".tmp-*"), *folder.glob("*/.tmp-*"))
    return [path for path in temporary if _is_debris(path)]


def _is_debris(path: Path) -> bool:
    match = DEBRIS.fullmatch(path.name)
    if match is None:
        return False
    place, pid, born = match.groups()
    if Owner("", place, int(pid), int(born)).gone():
        return True
    with suppress(OSError):  # It was removed meanwhile.
        return time.time() - path.stat().st_mtime > MAX_WRITE_SECONDS
    return False


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed writers left under ``folder``."""
    for path in debris(folder):
        with suppress(OSError):
            path.unlink()
