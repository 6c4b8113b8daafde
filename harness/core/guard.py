"""Try what plugins from outside define in a child process, before this process does it itself.

A plugin that exits, crashes or hangs when it is imported, built, or asked to fetch its data is
then that plugin's failure, and not the end of a run.
"""

import atexit
import contextlib
import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from harness.core import children, plugin_files
from harness.core.errors import InputError

Action = Literal["load", "build", "fetch"]
LIMITS: Mapping[Action, float] = {"load": 60.0, "build": 60.0, "fetch": 6 * 3600.0}
"""Seconds that each action may take; a download may take hours."""
START_LIMIT = 120.0
"""Seconds that the child may take to start."""

_passed: set[tuple[str, ...]] = set()
_child: "subprocess.Popen[bytes] | None" = None
_is_off = False


def turn_off() -> None:
    """Try nothing from now on: this process is a worker, whose end is its cell's failure."""
    global _is_off
    _is_off = True


def forget() -> None:
    """Forget what was tried, and end the child, which has imported files that were edited."""
    _passed.clear()
    _end()


def require_survival(action: Action, group: str, spec: str, what: str) -> None:
    """Raise :class:`InputError` if ``action`` ends or stalls a child process.

    An exception is no such end: this process will raise it again, with its message.

    Args:
        action: what is tried.
        group: the plugin's kind, such as ``losses``.
        spec: the plugin's name; for ``build`` and ``fetch``, with its settings.
        what: the plugin, as the message names it.
    """
    if _is_off or (action, group, spec) in _passed:
        return
    ending = _ask({"action": action, "group": group, "spec": spec}, LIMITS[action])
    if ending:
        verb = {"load": "imported", "build": "built", "fetch": "asked to fetch its data"}[action]
        raise InputError(f"{what} must not end its process: {ending} when it was {verb}.")
    _passed.add((action, group, spec))


def _ask(request: Mapping[str, Any], limit: float) -> str:
    """Let the child do what ``request`` says; return how the child ended, or an empty text."""
    files = [
        [file.name, file.module, str(file.path), str(file.folder), str(file.origin)]
        for file in plugin_files.known()
    ]
    child = _started()
    assert child.stdin is not None
    try:
        child.stdin.write(json.dumps({**request, "files": files}).encode() + b"\n")
        child.stdin.flush()
    except BrokenPipeError:
        pass  # It has ended: its answer below is empty.
    ending = _answer(child, limit)
    if ending:
        _end()
    return ending


def _answer(child: "subprocess.Popen[bytes]", limit: float) -> str:
    assert child.stdout is not None
    if not select.select([child.stdout], [], [], limit)[0]:
        return f"it took more than {limit:g} seconds"
    if child.stdout.readline():
        return ""
    return f"it {children.ending(child.wait())}"


def _started() -> "subprocess.Popen[bytes]":
    """Return the child; start one if there is none.

    Raises:
        InputError: if it does not start.
    """
    global _child
    if _child is None or _child.poll() is not None:
        path = os.pathsep.join(dict.fromkeys(each or str(Path.cwd()) for each in sys.path))
        _child = subprocess.Popen(
            [sys.executable, "-P", "-m", "harness.run.guarded"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for this process alone.
        )  # fmt: skip
        ending = _answer(_child, START_LIMIT)
        if ending:
            _end()
            raise InputError(
                f"The process that tries plugins from outside did not start: {ending}. Check that "
                f"`{sys.executable} -m harness.run.guarded` runs."
            )
    return _child


@atexit.register
def _end() -> None:
    """End the child, and all that its plugins started."""
    global _child
    if _child is not None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(_child.pid, signal.SIGKILL)
        _child.wait()
        for pipe in (_child.stdin, _child.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()
        _child = None
