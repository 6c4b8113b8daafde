"""Write files that appear whole or not at all, and remove what killed writers left behind.

Several people may write to a run's folder or a cache. No function here but :func:`write_through`
writes to what a link leads to.
"""

import errno
import os
import re
import socket
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

DEBRIS = re.compile(r"\.tmp-([0-9a-f]{8})-([0-9]+)-([0-9]+)-[0-9a-f]{8}")
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
    if pid < 1:  # No process has such a number; to `os.kill` it means many processes.
        return None
    try:
        # Split behind the last ")": the name before it may hold spaces and brackets. Field 22
        # of the line, here rest[18], is the start time.
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else int(rest[18])  # Z and X: it has ended.
    except (OSError, ValueError, IndexError):  # It is gone or hidden, or too many files are open.
        # Signal 0 is not delivered: it only tests whether the process exists.
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):  # Overflow: no process has so high a number.
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
    ``durable``, even if the machine loses power. A link at ``path`` is itself replaced.

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

    A link, a pipe or a device in its place is itself replaced: nobody can have other files
    overwritten by a link in a folder that we write to.

    Raises:
        OSError: if it cannot be written; nothing is left behind then.
    """
    with replacing(path) as temporary:
        # This is not mkstemp, whose files only the owner can read: colleagues read boards.
        temporary.write_bytes(_encoded(content))


def write_through(path: Path, content: str | bytes) -> None:
    """Write to a path that the user has named, such as ``/dev/stdout`` or a link to a board.

    Unlike :func:`write_atomically`, this follows a link, and writes to a device or a pipe. It
    appends to what ``/dev/stdout`` leads to, which may be a file that the shell has opened.

    Raises:
        OSError: if it cannot be written; of a plain file, nothing is left behind then.
    """
    is_handle = str(path).startswith(("/dev/stdout", "/dev/stderr", "/dev/fd/", "/proc/"))
    if is_handle or (path.exists() and not path.is_file()):
        with path.open("ab" if is_handle else "wb") as file:
            file.write(_encoded(content))
    else:
        write_atomically(path.resolve(), content)


def _encoded(content: str | bytes) -> bytes:
    # A text may hold half a surrogate pair, such as from a file's name, which UTF-8 has not.
    return content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content


def read_plain(path: Path, most: int = -1, *, follow: bool = False) -> bytes:
    """Return a plain file's content, or its first ``most`` bytes; wait for no pipe.

    Raises:
        OSError: if it cannot be read, or is not a plain file; so is no link, unless ``follow``.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.EINVAL, "not a plain file", str(path))
        return file.read(most)


def open_log(path: Path) -> int:
    """Open a log for reading and appending, and return its handle.

    A link or a pipe in its place is itself replaced; so is a file with a second name, which may
    be somebody else's.

    Raises:
        OSError: if it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with suppress(FileNotFoundError):
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_nlink > 1:
            path.unlink()
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
    return os.open(path, flags, 0o666)


def debris(folder: Path) -> list[Path]:
    """Return the temporary files under ``folder`` whose writers are gone."""
    temporary = (*folder.glob(".tmp-*"), *folder.glob("*/.tmp-*"))
    return [path for path in temporary if _is_debris(path)]


def _is_debris(path: Path) -> bool:
    match = DEBRIS.fullmatch(path.name)
    if match is None:
        return False
    place, pid, born = match.groups()
    with suppress(OSError):  # It was removed meanwhile.
        about = path.lstat()
        if stat.S_ISDIR(about.st_mode):  # We write files alone.
            return False
        silent = time.time() - about.st_mtime
        return silent > MAX_WRITE_SECONDS or Owner("", place, int(pid), int(born)).gone()
    return False


def sweep(folder: Path) -> None:
    """Remove the temporary files that killed writers left under ``folder``."""
    for path in debris(folder):
        with suppress(OSError):
            path.unlink()
