"""Check plugins against their contracts without pytest, in a process that they may break.

A plugin may end its process, or take for ever: that is a failure of the check that ran, and the
next check gets a new process.
"""

import json
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness import plugins
from harness.core import guard
from harness.core.children import Child, take_pipes
from harness.core.telling import told
from harness.testing import CHECKS, Check, find


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


def check(
    group: str, spec: str, *, file: str = "", seconds: float = guard.CONTRACT
) -> Iterator[Checked]:
    """Check one plugin against each contract of its group, and yield what became of each.

    If the plugin cannot be built, no contract is checked.

    Args:
        group: ``losses``, ``methods`` or ``tasks``.
        spec: the plugin's spec.
        file: the Python file that defines it; empty if it is installed.
        seconds: how long each check may take.
    """
    child = Child("harness.testing.checking")
    request = {"group": group, "spec": spec, "file": file}
    try:
        for one in (can_be_built, *CHECKS[group]):
            started = time.monotonic()
            answer = child.ask({**request, "check": one.__name__}, seconds)
            fault = _ended(answer) if isinstance(answer, str) else answer["fault"]
            yield Checked(rule_of(one), fault, time.monotonic() - started)
            if fault and one is can_be_built:
                return
    finally:
        child.end()


def _ended(how: str) -> str:
    """Return the fault of a check that has ended its process, or was too slow."""
    if how.startswith("took more"):
        return (
            f"The check must end in time: it {how}. Look for an endless loop, lower the task's "
            "default `steps`, or give it longer with `--seconds`."
        )
    return f"The process that ran the check {how}."


def rule_of(check: Check) -> str:
    """Return a contract in words: the first line of its docstring.

    >>> rule_of(CHECKS["losses"][2])
    "A loss's needs and pairing are names that the harness knows."
    """
    return (check.__doc__ or check.__name__).partition("\n")[0].replace("`", "")


def can_be_built(spec: str) -> None:
    """It can be imported and built with its settings' defaults."""
    raise NotImplementedError(spec)  # The child knows the group.


def main() -> None:
    """Make the checks that standard input asks for, and answer each with a line."""
    requests, answers = take_pipes()

    def answer(**values: Any) -> None:
        print(json.dumps(values), file=answers, flush=True)

    import torch

    torch.set_num_threads(1)
    guard.turn_off()
    answer()
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
