"""Try what plugins from outside define in a child process, before this process does it itself.

A plugin that exits, crashes or hangs when it is imported, built, or asked to fetch its data is
then that plugin's failure, and not the end of a run.
"""

import atexit
import contextlib
import os
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from harness.core import children, plugin_files, reads
from harness.core.errors import InputError

Action = Literal["import", "load", "build", "fetch"]
"""What is tried: to import a plugin's file, to load or build a plugin, to fetch its data."""
LIMITS: Mapping[Action, float] = {"import": 60.0, "load": 60.0, "build": 60.0, "fetch": 6 * 3600.0}
"""{action: how many seconds it may take}; fetching may download for hours."""
ENDING = 10.0
"""Seconds that a process may take to end after its last request."""
CONTRACT = 120.0
"""Seconds that one contract may take in ``triptych check``."""
DONE = {
    "import": "imported", "load": "imported", "build": "built", "fetch": "asked to fetch its data",
}  # fmt: skip

_passed: set[tuple[str, ...]] = set()
_is_off = False


def turn_off() -> None:
    """Try plugins in no child from now on: if this process, a worker, ends, only its cell fails."""
    global _is_off
    _is_off = True


def forget() -> None:
    """Forget what was tried, and end the child, which has imported files that were edited."""
    _passed.clear()
    _child.end()


def require_survival(action: Action, group: str, spec: str, what: str) -> None:
    """Raise :class:`InputError` if ``action`` ends a child process, or keeps it from ending.

    An exception is no such end: this process will raise it again, with its message.

    Args:
        action: what is tried.
        group: the plugin's kind, such as ``losses``; for ``import``, the file's path.
        spec: the plugin's name; for ``build`` and ``fetch``, with its settings; for ``import``, the
            name of the file.
        what: the plugin, as the message names it.
    """
    if _is_off or (action, group, spec) in _passed:
        return
    answer = _ask({"action": action, "group": group, "spec": spec}, LIMITS[action])
    if isinstance(answer, str):
        raise InputError(
            f"{what} must not end its process: it {answer} when it was {DONE[action]}."
        )
    thread = answer.get("thread")
    # The idle threads of a ThreadPoolExecutor are no daemons either, and end with their process.
    if thread is not None and not _child.ends_by_itself(ENDING):
        raise InputError(
            f"{what} must leave no thread running that keeps its process from ending: {thread!r} "
            f"went on for {ENDING:g} s after it was {DONE[action]}. Start it with daemon=True."
        )
    _passed.add((action, group, spec))


def _ask(request: Mapping[str, Any], seconds: float) -> dict[str, Any] | str:
    """Let the child do what ``request`` says; return its answer, or how it ended."""
    files = [
        [file.name, file.module, str(file.path), str(file.folder), str(file.origin)]
        for file in plugin_files.known()
    ]
    return _child.ask({**request, "files": files}, seconds)


@contextlib.contextmanager
def contained(module: str) -> Iterator[None]:
    """Restore the current folder after an import, and send what it prints to standard error.

    The files that it reads are noted in ``reads.at_import``.
    """
    folder = Path.cwd()
    try:
        with contextlib.redirect_stdout(sys.stderr), reads.watch() as read:
            yield
        reads.at_import.setdefault(module, read)
    finally:
        os.chdir(folder)


_child = children.Child("harness.run.guarded")
atexit.register(_child.end)
