"""Child processes that talk with their parent while a plugin's code runs in them."""

import contextlib
import os
import signal
from functools import partial
from typing import TextIO

TERMINATED = 128 + signal.SIGTERM
"""The exit status of a process that stopped on request."""


def take_pipes() -> tuple[TextIO, TextIO]:
    """Return this process's standard input and output, and take them away from plugins.

    Plugins may print, and may start programs that read. They have an empty input from now on, and
    their output goes to standard error.
    """
    given = os.fdopen(os.dup(0), encoding="utf-8")
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)
    # A plugin's child that outlives this process must not keep the pipes open.
    for file in (given, told):
        os.register_at_fork(after_in_child=partial(_close_quietly, file.fileno()))
    return given, told


def _close_quietly(handle: int) -> None:
    with contextlib.suppress(OSError):
        os.close(handle)


def ending(status: int) -> str:
    """Return the end of a sentence on how a process with this exit status ended."""
    if status == TERMINATED:
        return "was stopped by SIGTERM"
    if status >= 0:
        return f"exited with status {status}"
    name = signal.Signals(-status).name
    hint = ", perhaps because memory ran out" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"
