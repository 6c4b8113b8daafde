"""Child processes that talk with their parent while a plugin's code runs in them."""

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import IO, Any, TextIO

from harness.core.errors import InputError

START = 120.0
"""Seconds that a child may take to start, which includes importing torch."""

_HINTS = {
    "SIGKILL": ", perhaps because memory ran out",
    "SIGBUS": ", perhaps because a file that it read was cut short, or its disk is full; run the "
    "same command again",
}
"""{signal: what may have sent it}."""

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
    for file in (given, told):
        close_in_children(file)
    return given, told


def close_in_children(file: TextIO) -> None:
    """Close a pipe in forked children: a child that outlives this process must not keep it open.

    The pipe's number is not freed in the child, but leads to /dev/null. The hook also runs in the
    child's own children: if the child had reused the number for a file, they would lose that file.
    """
    os.register_at_fork(after_in_child=partial(_to_null, file.fileno()))


def _to_null(handle: int) -> None:
    """Redirect a handle to /dev/null."""
    with contextlib.suppress(OSError):
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, handle, inheritable=False)
        os.close(null)


def import_path() -> list[str]:
    """Return where children look for modules: where this process does, but for two.

    Triptych itself comes first, and the folder of the running script last: a file beside it may
    have the name of a library.
    """
    ours = str(Path(__file__).parents[2])
    script = sys.path[0] if sys.path and not sys.flags.safe_path else ""
    found = [path for path in sys.path if path not in ("", script)]
    # Installed among other packages, it keeps its place: Python's own modules come before it.
    first = (
        [] if ours in found and Path(ours).name in ("site-packages", "dist-packages") else [ours]
    )
    return [
        *first,
        *(path for path in found if path not in first),
        *([script] if script and script not in first else []),
    ]


class Child:
    """Run a child process that answers requests; start a new one if it has ended.

    Requests and answers are lines of JSON.

    The child's module has a function ``main``: it takes its pipes with :func:`take_pipes`,
    writes ``{}`` once it is ready, and then answers each line that it reads with one line.

    Args:
        module: the module that the process runs.
    """

    def __init__(self, module: str) -> None:
        self.module = module
        self.process: subprocess.Popen[str] | None = None
        self.output: IO[str]
        # Two threads that run studies share this child. Without the lock, one thread could read the
        # answer to the other's request, and that thread would wait for ever.
        self._asking = threading.Lock()

    def ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any] | str:
        """Return the answer, or, if the process ended without one, a text that says how it ended.

        Raises:
            InputError: if the process does not start.
        """
        with self._asking:
            return self._asked(request, seconds)

    def _asked(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any] | str:
        if self.process is None or self.process.poll() is not None:
            self._start()
        assert self.process is not None and self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # It has ended: so says the answer below.
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        line = self._line(seconds)
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        if line is None:
            self.end()
            return f"took more than {seconds:g} s"
        how = ending(self.process.wait())
        return how + self.end()

    def ends_by_itself(self, seconds: float) -> bool:
        """Return whether the process ends once it has no more requests to wait for."""
        with self._asking:
            if self.process is None or self.process.stdin is None:
                return True
            try:
                self.process.stdin.close()
                self.process.stdin = None  # `communicate` would write to it.
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                return False
            finally:
                self.end()
            return True

    def end(self) -> str:
        """End the process and all that its plugins started; return its last words."""
        if self.process is None:
            return ""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.output.seek(0)
        lines = self.output.read().strip().splitlines()
        self.output.close()
        self.process = None
        return f" (its last output: {lines[-1].strip()})" if lines else ""

    def _start(self) -> None:
        self.end()
        self.output = tempfile.TemporaryFile(  # noqa: SIM115 - it lives as long as the process
            "w+", encoding="utf-8", errors="replace"
        )
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", self.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.output,
            text=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(import_path())},
            start_new_session=True,  # Ctrl-C is for the parent alone.
        )
        if not self._line(START):
            raise InputError(f"Could not start `{sys.executable} -m {self.module}`{self.end()}.")

    def _line(self, seconds: float) -> str | None:
        """Return the next line of the process; empty if it has ended, None if it is late."""
        assert self.process is not None and self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline() if ready else None


def ending(status: int) -> str:
    """Return the end of a sentence on how a process with this exit status ended."""
    if status == TERMINATED:
        return "was stopped by SIGTERM"
    if status >= 0:
        return f"exited with status {status}"
    name = signal.Signals(-status).name
    return f"was killed by {name}{_HINTS.get(name, '')}"
