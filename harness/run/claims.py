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
"""

import json
import os
import threading
import time
import uuid
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any

from harness.core.files import Owner, replacing, temporary_beside, this_process

BEAT = 10.0
"""Seconds between two heartbeats of an owner."""

LEASE = 60.0
"""Seconds without a heartbeat after which an owner counts as gone."""


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
        values = {
            "token": self._token,
            "owner": asdict(this_process()),
            "since": self._since,
            "step": self.step,
            "steps": self.steps,
            "beats": self._beats,
        }
        return json.dumps(values)

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


def set_aside(path: Path, text: str) -> None:
    """Remove an expired claim, unless its text differs from ``text``, which shows it is alive."""
    aside = temporary_beside(path)
    try:
        if _text(path) == text:
            path.rename(aside)  # If several observers try this, one succeeds.
            if _text(aside) == text:
                aside.unlink()
            else:  # The owner renewed it between the check and the rename: put it back.
                aside.rename(path)
    except FileNotFoundError:
        pass  # Its owner or another observer has removed it.


class Watch:
    """Observe claims over time to see which have expired."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[str, float]] = {}

    def free(self, path: Path) -> bool:
        """Return whether a cell may be run: its claim is missing or has expired.

        An expired claim is removed. While the file system fails, no cell is free.
        """
        try:
            return self._free(path, path.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
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
        set_aside(path, text)
        return True


def read(path: Path) -> dict[str, Any]:
    """Return the values of the claim at ``path``; empty if it cannot be read."""
    return _parsed(_text(path))


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def owner_of(values: dict[str, Any]) -> Owner | None:
    """Return the owner that a claim names, or None if it names none."""
    try:
        return Owner(**values["owner"])
    except (KeyError, TypeError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
