"""Claims: files that say who is running a cell, so that several runs on one folder share the work.

A claim only saves work; records do not depend on it. A record appears complete, two runs of one
cell write the same record, and a cell with a valid record is never run again. If two processes
ever held the same claim, the cell would run twice, and nothing worse would happen.

The protocol relies on three properties of a local or network file system. Creating a name
that must not exist (a link, or O_EXCL if there are no links) succeeds for one process only.
Renaming is atomic. A file opened anew shows what was in it when a writer last closed it.

The protocol needs no locks, and never compares the clocks of two machines. A claim expires
when its text has not changed for ``LEASE`` seconds of the observer's own clock, and at once
if its owner is a process of this machine that is gone. A claim shows that its process lives,
not that its cell makes progress.

Only a plain file is a claim. Anything else in its place, such as a pipe, a link, a folder, or a
file that may not be read, is no claim. It counts as one of an unknown owner, and expires when
neither its inode nor its modification time has changed for ``LEASE`` seconds.
"""

import json
import os
import stat
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.core.files import Owner, read_plain, replacing, temporary_beside, this_process
from harness.core.schema import from_values, read_json

BEAT = 10.0
"""Seconds between two heartbeats of an owner."""

LEASE = 60.0
"""Seconds without a heartbeat after which an owner counts as gone."""

MAX_CLAIM = 4096
"""The largest size of a claim in bytes; a larger file is not a claim."""


@dataclass(frozen=True)
class _Values:
    """The values in a claim's file.

    Attributes:
        token: a random text, which distinguishes two claims of one process.
        owner: the fields of an :class:`Owner`.
        since: the time when the claim was made, in UTC, ISO 8601.
        step: optimizer steps done so far.
        steps: optimizer steps in all; 0 if that is not known yet.
        beats: the number of heartbeats.
    """

    token: str
    owner: dict[str, Any]
    since: str = ""
    step: int = 0
    steps: int = 0
    beats: int = 0


@dataclass
class Claim:
    """This process's claim on a cell. Inside its ``with`` block it is kept alive.

    Attributes:
        path: the claim's file.
        step: optimizer steps done so far, which the file shows to observers.
        steps: optimizer steps in all.
    """

    path: Path
    step: int = 0
    steps: int = 0
    _token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _since: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    _beats: int = 0

    def text(self) -> str:
        """Serialise the claim; the heartbeat counter makes every call's text different."""
        self._beats += 1
        owner = asdict(this_process())
        values = _Values(self._token, owner, self._since, self.step, self.steps, self._beats)
        return json.dumps(asdict(values))

    def __enter__(self) -> "Claim":
        """Start the heartbeat."""
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the heartbeat, and remove the file if it is still this claim's."""
        self._ended.set()
        self._thread.join()
        with suppress(OSError):
            if read(self.path).get("token") == self._token:
                self.path.unlink(missing_ok=True)

    def _keep(self) -> None:
        while not self._ended.wait(BEAT):
            with suppress(OSError):  # A full disk may have room again by the next beat.
                if read(self.path).get("token", self._token) != self._token:
                    return  # Taken over while this process was suspended.
                with replacing(self.path, durable=False) as temporary:
                    temporary.write_text(self.text(), encoding="utf-8")


def take(path: Path) -> Claim | None:
    """Claim ``path`` for this process; return None if its owner may be alive.

    Raises:
        OSError: if no claim can be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    claim = Claim(path)
    try:
        _create(claim)
        return claim
    except FileExistsError:
        pass
    with suppress(FileNotFoundError):  # Its owner has removed it meanwhile.
        text = _text(path)  # Only a claim that still has this text may be set aside below.
        owner = owner_of(_parsed(text))
        if owner is None or not owner.gone():
            return None
        set_aside(path, text)
    try:
        _create(claim)
        return claim
    except FileExistsError:
        return None  # Another process has claimed the cell meanwhile.


def _create(claim: Claim) -> None:
    """Create the claim's file, complete from the start so that it always names its owner.

    Raises:
        FileExistsError: if there is one.
        OSError: if it cannot be written.
    """
    temporary = temporary_beside(claim.path)
    try:
        temporary.write_text(claim.text(), encoding="utf-8")
        try:
            os.link(temporary, claim.path)
        except FileExistsError:
            # NFS repeats a request if the reply was lost, and the repeat fails. Two links to
            # the temporary file show that the first request succeeded.
            if temporary.stat().st_nlink == 1:
                raise
        except OSError:  # This file system has no hard links: the file is incomplete for a moment.
            with claim.path.open("x", encoding="utf-8") as file:
                file.write(claim.text())
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def set_aside(path: Path, text: str) -> bool:
    """Remove an expired claim, unless its text differs from ``text``, which shows it is alive.

    Return whether its name is free now.

    Raises:
        OSError: if it cannot be removed.
    """
    aside = temporary_beside(path)
    try:
        if _text(path) != text:
            return False
        path.rename(aside)  # If several observers try this, one succeeds.
        if _text(aside) != text:  # The owner renewed it between the check and the rename.
            aside.rename(path)
            return False
        with suppress(OSError):  # A folder that is not empty is kept under its new name.
            if aside.is_dir() and not aside.is_symlink():
                aside.rmdir()
            else:
                aside.unlink()
    except FileNotFoundError:
        pass  # Its owner or another observer has removed it.
    return True


class Watch:
    """Observe claims over time to see which have expired."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[str, float]] = {}

    def free(self, path: Path) -> bool:
        """Return whether a cell may be run: its claim is missing or has expired.

        An expired claim is removed. While the file system fails, no cell is free.
        """
        try:
            return self._free(path, _text(path))
        except FileNotFoundError:
            self._seen.pop(path, None)
            return True
        except OSError:
            return False

    def _free(self, path: Path, text: str) -> bool:
        # Only this process's monotonic clock counts: clocks of two machines may differ.
        before, since = self._seen.setdefault(path, (text, time.monotonic()))
        if before != text:
            self._seen[path] = (text, time.monotonic())
            return False
        owner = owner_of(_parsed(text))
        if time.monotonic() - since < LEASE and (owner is None or not owner.gone()):
            return False
        return set_aside(path, text)


def read(path: Path) -> dict[str, Any]:
    """Return the values of the claim at ``path``, each of its type; empty if there is none."""
    try:
        return _parsed(_text(path))
    except OSError:
        return {}


def owner_of(values: dict[str, Any]) -> Owner | None:
    """Return the owner that a claim names, or None if it names none."""
    try:
        return from_values(Owner, values["owner"])
    except (KeyError, ValueError):
        return None


def holder(path: Path) -> str:
    """Return who holds the claim at ``path``, in words; an empty text if nobody does."""
    try:
        values = _parsed(_text(path))
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"a claim that cannot be read ({error})"
    owner = owner_of(values)
    if owner is None:
        return f"a file that names no process ({path})"
    # A claim comes from outside: show no control character of it.
    words = f"process {owner.pid} on {owner.host!r}"
    with suppress(ValueError):
        words += f" since {datetime.fromisoformat(values['since'])}"
    return words


def _parsed(text: str) -> dict[str, Any]:
    try:
        values = asdict(from_values(_Values, read_json(text)))
        from_values(Owner, values["owner"])
    except ValueError:
        return {}
    return values


def _text(path: Path) -> str:
    """Return the text of a claim; of anything else in its place, a line that changes as it does.

    Raises:
        FileNotFoundError: if nothing is there.
        OSError: if the file system fails.
    """
    about = path.lstat()
    if stat.S_ISREG(about.st_mode) and 0 < about.st_size <= MAX_CLAIM:
        with suppress(PermissionError):
            return read_plain(path, MAX_CLAIM).decode("utf-8", "backslashreplace")
    return f"no claim: {stat.filemode(about.st_mode)} {about.st_ino} {about.st_mtime_ns}"
