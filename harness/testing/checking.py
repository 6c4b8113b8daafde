"""Check plugins against their contracts without pytest, in a process that they may break.

A plugin may end its process, or take for ever: that is a failure of the check that ran, and the
next check gets a new process.
"""

import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from harness import plugins
from harness.core.children import ending, take_pipes
from harness.core.errors import InputError
from harness.core.telling import told
from harness.testing import CHECKS, Check, find

SECONDS = 120.0
"""How long a check may take."""
START = 120.0
"""How long a process may take to import torch and Triptych."""


@dataclass(frozen=True)
class Checked:
    """What became of one contract of a plugin.

    Attributes:
        rule: the contract in words.
        fault: how the plugin breaks it, in a sentence; empty if it keeps it.
        seconds: how long the check took.
    """

    rule: str
    fault: str = ""
    seconds: float = 0.0


def check(group: str, spec: str, *, file: str = "", seconds: float = SECONDS) -> Iterator[Checked]:
    """Check one plugin against each contract of its group, and yield what became of each.

    If the plugin cannot be built, no contract is checked.

    Args:
        group: ``losses``, ``methods`` or ``tasks``.
        spec: the plugin's spec.
        file: the Python file that defines it; empty if it is installed.
        seconds: how long each check may take.
    """
    child = _Child(file)
    try:
        for one in (can_be_built, *CHECKS[group]):
            started = time.monotonic()
            fault = child.fault(group, spec, one.__name__, seconds)
            yield Checked(rule_of(one), fault, time.monotonic() - started)
            if fault and one is can_be_built:
                return
    finally:
        child.end()


def rule_of(check: Check) -> str:
    """Return a contract in words: the first line of its docstring.

    >>> rule_of(CHECKS["losses"][2])
    "A loss's needs and pairing are names that the harness knows."
    """
    return (check.__doc__ or check.__name__).partition("\n")[0].replace("`", "")


def can_be_built(spec: str) -> None:
    """It can be imported and built with its settings' defaults."""
    raise NotImplementedError(spec)  # The child knows the group.


class _Child:
    """A process that makes checks; a new one is started in the place of one that has ended."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.process: subprocess.Popen[str] | None = None
        self.output: IO[str]

    def fault(self, group: str, spec: str, check: str, seconds: float) -> str:
        """Make one check and return the fault; empty if there is none."""
        process = self._ready()
        assert process.stdin is not None
        request = {"group": group, "spec": spec, "check": check, "file": self.file}
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
        answer = self._line(seconds)
        if answer is None:
            self.end()
            return (
                f"The check must end within {seconds:g} s: it did not. Look for an endless loop, "
                "lower the task's default `steps`, or give it longer with `--seconds`."
            )
        if not answer:
            status = process.wait()
            said = self._last_output()
            self.end()
            return f"The process that ran the check {ending(status)}.{said}"
        fault: str = json.loads(answer)["fault"]
        return fault

    def end(self) -> None:
        """End the process, and all that the plugin started."""
        if self.process is None:
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()
        self.output.close()
        self.process = None

    def _ready(self) -> "subprocess.Popen[str]":
        if self.process is None:
            self.output = tempfile.TemporaryFile(  # noqa: SIM115 - it lives as long as the process
                "w+", encoding="utf-8", errors="replace"
            )
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "harness.testing.checking"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self.output,
                text=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
                start_new_session=True,
            )
            if not self._line(START):
                said = self._last_output()
                self.end()
                raise InputError(f"Could not start a process for the checks.{said}")
        return self.process

    def _line(self, seconds: float) -> str | None:
        """Return the next line of the process; empty if it has ended, None if it is late."""
        assert self.process is not None and self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        return self.process.stdout.readline() if ready else None

    def _last_output(self) -> str:
        self.output.seek(0)
        lines = self.output.read().split("\n")
        last = next((line.strip() for line in reversed(lines) if line.strip()), "")
        return f" Its last output was: {last}" if last else ""


def main() -> None:
    """Make the checks that standard input asks for, and answer each with a line."""
    requests, answers = take_pipes()

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    import torch

    torch.set_num_threads(1)
    answer(ready=True)
    for line in requests:
        asked = json.loads(line)
        answer(fault=fault_of(asked["group"], asked["spec"], asked["check"], asked["file"]))
    os._exit(0)  # A plugin's threads may still run.


_registered: set[str] = set()


def fault_of(group: str, spec: str, name: str, file: str = "") -> str:
    """Make the check called ``name`` in this process, and return the fault in a sentence.

    The text is empty if the plugin keeps the contract.
    """
    try:
        if file and file not in _registered:
            find(file)
            _registered.add(file)
        if name == can_be_built.__name__:
            plugins.build(group, spec)
        else:
            next(check for check in CHECKS[group] if check.__name__ == name)(spec)
    except AssertionError as error:
        return _sentence(str(error) or told(error))
    except (Exception, SystemExit) as error:
        return _sentence(told(error))
    return ""


def _sentence(text: str) -> str:
    r"""Return a message as one line that begins with a capital letter and ends with a full stop.

    >>> _sentence("the value\n is nan")
    'The value is nan.'
    """
    line = " ".join(text.split())
    return line[:1].upper() + line[1:].removesuffix(".") + "."


if __name__ == "__main__":
    main()
