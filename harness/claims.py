"""Claims: who is running a cell, so that several runs on one folder share the work.

A claim only saves work. What keeps records right is that each appears whole, that two
runs of one cell make the same one, and that a good one is never run again: were two
processes ever to hold the same claim, the cell would be run twice, and nothing else.

What is relied on, of a local or a network file system: giving a file a name that must
not be taken (link, or O_EXCL where there are no links) succeeds for one process alone,
renaming is atomic, and a file opened anew shows what was in it when a writer last closed
it. No locks are asked for, and no two machines' clocks decide who runs a cell: a claim
expires when its text has not changed for ``LEASE`` seconds of the observer's own clock,
and at once where its owner is a process of this machine that is gone. It says that the
process lives, not that its cell gets on.
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

from harness.files import Owner, replacing, temporary_beside, this_process

BEAT = 10.0
"""Seconds after which an owner says again that it is there."""

LEASE = 60.0
"""Seconds of silence after which an owner is taken for gone."""


@dataclass
class Claim:
    """A cell that this process runs. As a context manager it is kept, then given back.

    Attributes:
        path: of the claim's file.
        step: optimizer steps done so far, for whoever asks.
        steps: optimizer steps in all.
    """

    path: Path
    step: int = 0
    steps: int = 0
    _token: str = field(default_factory=lambda: uuid.uuid4().hex)
    _since: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    _beats: int = 0

    def text(self) -> str:
        """Return what the claim's file says, another text at each call."""
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
        """Keep saying that this process is there."""
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._keep, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the claim back."""
        self._over.set()
        self._thread.join()
        with suppress(OSError):
            if read(self.path).get("token") == self._token:
                self.path.unlink(missing_ok=True)

    def _keep(self) -> None:
        while not self._over.wait(BEAT):
            with suppress(OSError):  # A full disk: it may be free again by the next beat.
                if read(self.path).get("token", self._token) != self._token:
                    return  # Another's by now: this one was taken for gone, asleep perhaps.
                with replacing(self.path, durable=False) as temporary:
                    temporary.write_text(self.text(), encoding="utf-8")


def take(path: Path) -> Claim | None:
    """Return the claim at ``path``, or None where a process has it that may be alive.

    Raises:
        OSError: where no claim can be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    claim = Claim(path)
    try:
        _create(claim)
        return claim
    except FileExistsError:
        text = _text(path)
    owner = owner_of(_parsed(text))
    if owner is None or not owner.gone():
        return None
    set_aside(path, text)
    try:
        _create(claim)
        return claim
    except FileExistsError:
        return None  # Another process was quicker.


def _create(claim: Claim) -> None:
    """Write the claim where there is none: whole, so that it always says whose it is.

    Raises:
        FileExistsError: where there is one.
        OSError: where it cannot be written.
    """
    temporary = temporary_beside(claim.path)
    try:
        temporary.write_text(claim.text(), encoding="utf-8")
        try:
            os.link(temporary, claim.path)
        except FileExistsError:
            # NFS may ask twice, where the answer to the first time was lost.
            if temporary.stat().st_nlink == 1:
                raise
        except OSError:  # A file system without hard links: not whole for a moment.
            with claim.path.open("x", encoding="utf-8") as file:
                file.write(claim.text())
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def set_aside(path: Path, text: str) -> None:
    """Remove an expired claim, unless it no longer says ``text``: it is another by now."""
    aside = temporary_beside(path)
    try:
        if _text(path) == text:
            path.rename(aside)  # Of several observers, one succeeds.
            if _text(aside) == text:
                aside.unlink()
            else:
                aside.rename(path)
    except FileNotFoundError:
        pass  # Given back, or set aside by another.


class Watch:
    """Observe claims over time, to see which have expired."""

    def __init__(self) -> None:
        self._seen: dict[Path, tuple[str, float]] = {}

    def free(self, path: Path) -> bool:
        """Return whether the cell may be tried: without a claim, or with an expired one.

        An expired claim is set aside. While the file system fails, nothing is free.
        """
        try:
            return self._free(path, path.read_text(encoding="utf-8", errors="replace"))
        except FileNotFoundError:
            return True
        except OSError:
            return False

    def _free(self, path: Path, text: str) -> bool:
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
    """Return what the claim at ``path`` says: nothing where it cannot be read."""
    return _parsed(_text(path))


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def owner_of(values: dict[str, Any]) -> Owner | None:
    """Return the owner that a claim names, or None where it names none."""
    try:
        return Owner(**values["owner"])
    except (KeyError, TypeError):
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
