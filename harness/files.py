"""Files that appear whole or not at all, and what is left of writers that were killed."""

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
UNKNOWN = 0
OLD = 24 * 3600.0
"""Seconds after which a temporary file is debris, whoever wrote it: writing takes less."""


@dataclass(frozen=True)
class Owner:
    """A process, told apart from all others on every machine that shares a folder.

    Attributes:
        host: the machine's name, for people.
        place: a digest of the machine, its last boot and its process namespace:
            processes with the same one can see each other.
        pid: the process's number there.
        born: when it started, in ticks since boot, or ``UNKNOWN``; numbers are used again.
    """

    host: str
    place: str
    pid: int
    born: int

    def gone(self) -> bool:
        """Return whether the process is known to be gone; of elsewhere nothing is known."""
        if self.place != _place():
            return False
        born = _born(self.pid)
        return born is None or (born != self.born and UNKNOWN not in (born, self.born))


def this_process() -> Owner:
    """Return the owner that this process is."""
    pid = os.getpid()
    return Owner(socket.gethostname(), _place(), pid, _born(pid) or UNKNOWN)


@cache
def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        namespace = str(Path("/proc/self/ns/pid").readlink())
    except OSError:  # A place of its own: nobody takes this process for gone.
        boot = namespace = uuid.uuid4().hex
    return sha256("\0".join((socket.gethostname(), boot, namespace)).encode()).hexdigest()[:8]


def _born(pid: int) -> int | None:
    """Return when a process started, ``UNKNOWN`` where nobody says, None if there is none."""
    try:
        # The name before the last ")" may hold anything.
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state in "ZX" else int(rest[18])
    except (OSError, ValueError, IndexError):  # None there, or hidden, or too many open files.
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except OSError:
            pass
        return UNKNOWN


def temporary_beside(path: Path) -> Path:
    """Return a path in the same folder that says whose it is: see :func:`debris`."""
    me = this_process()
    return path.with_name(f".tmp-{me.place}-{me.pid}-{me.born}-{uuid.uuid4().hex[:8]}")


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Give a temporary path, and put what was written there in place of ``path``.

    Readers see the old file or the whole new one, whenever the writer is killed; if
    it is ``durable``, whenever the machine loses power.

    Raises:
        OSError: where it cannot be written; nothing is left behind then.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        yield temporary
        if durable:  # A rename may reach the disk ahead of what was written.
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_atomically(path: Path, text: str) -> None:
    """Write ``text`` to ``path``: readers see the old file or the whole new one.

    A link is followed; a device or a pipe is written to as it is.

    Raises:
        OSError: where it cannot be written; nothing is left behind then.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    with replacing(path) as temporary:
        # Not mkstemp: its files are for their owner only, and colleagues read boards.
        temporary.write_text(text, encoding="utf-8")


def debris(folder: Path) -> list[Path]:
    """Return the temporary files under ``folder`` whose writers are gone."""
    found = (*folder.glob(".tmp-*"), *folder.glob("*/.tmp-*"))
    return [path for path in found if _is_debris(path)]


def _is_debris(path: Path) -> bool:
    found = DEBRIS.fullmatch(path.name)
    if found is None:
        return False
    place, pid, born = found.groups()
    with suppress(OSError):
        return (
            Owner("", place, int(pid), int(born)).gone() or time.time() - path.stat().st_mtime > OLD
        )
    return False


def sweep(folder: Path) -> None:
    """Remove what killed writers left under ``folder``."""
    for path in debris(folder):
        with suppress(OSError):
            path.unlink()
