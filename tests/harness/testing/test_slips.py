"""The commonest slips of whoever writes a loss or a task end in one sentence that helps.

``task_slips.txt`` and ``loss_slips.txt`` hold them: a line with the slip's name, the body of a
class ``Slip`` derived from one in ``*_to_spoil.txt``, and what the sentence says: its parts, in
order, with `` … `` between them.
"""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from harness.core.cells import Cell
from harness.run.dry_run import try_cell
from harness.testing import CHECKS
from harness.testing.checking import fault_of
from harness.testing.tasks import _loaded_task

HERE = Path(__file__).parent
CELLS = {
    "tasks": [Cell("slip", "siamese", "infonce", 0), Cell("slip", "", "untrained", 0)],
    "losses": [Cell("blobs(steps=5)", "siamese", "slip", 0)],
}
"""What `triptych run` tries before the grid."""


class Slip(NamedTuple):
    group: str
    name: str
    base: str
    body: str
    said: str

    def module(self) -> str:
        text = (HERE / f"{self.group}_to_spoil.txt").read_text()
        indented = "".join(f"    {line}\n" for line in self.body.splitlines())
        return f"{text}\n\nclass Slip({self.base}):\n{indented}"


def slips() -> Iterator[Slip]:
    for group, usual in (("tasks", "Points"), ("losses", "Plain")):
        text = (HERE / f"{group}_slips.txt").read_text()
        form = r"^# ([^\[\n]*?)(?: \[(\w+)\])?\n(.*?)\n> (.*?)\n"
        for name, base, body, said in re.findall(form, text, re.DOTALL | re.MULTILINE):
            yield Slip(group, name, base or usual, body, said)


SLIPS = list(slips())


def forget() -> None:
    """Forget the plugin `slip` of an earlier test."""
    _loaded_task.cache_clear()


def sentence(group: str) -> str:
    """Return what a user is told of the plugin `slip`: before the grid, or by its contracts."""
    for cell in CELLS[group]:
        event = try_cell(cell)
        if event["kind"] != "done":
            return event["reason"]
    faults = (fault_of(group, "slip", check.__name__) for check in CHECKS[group])
    return next(filter(None, faults), "")


def test_there_are_forty_slips_of_each_kind() -> None:
    for group in CELLS:
        assert len({slip.name for slip in SLIPS if slip.group == group}) >= 40


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: f"{slip.group}-{slip.name}")
def test_a_slip_ends_in_a_sentence(
    slip: Slip, plugin: Callable[..., None], as_a_user: None
) -> None:
    module = "slip_" + re.sub(r"\W", "_", f"{slip.group}_{slip.name}")
    forget()
    plugin(module, f"{slip.group}:slip = {module}:Slip", slip.module())
    said = sentence(slip.group)
    for part in slip.said.split(" … "):
        assert part in said
    assert "\n" not in said


@pytest.mark.parametrize(("group", "base"), [("tasks", "Points"), ("losses", "Plain"),
                                             ("losses", "Own")])  # fmt: skip
def test_what_is_spoilt_is_right_before(
    group: str, base: str, plugin: Callable[..., None], as_a_user: None
) -> None:
    """Otherwise a slip's sentence could come from what it is made of."""
    forget()
    plugin(f"right_{base}", f"{group}:slip = right_{base}:Slip",
           Slip(group, "", base, "pass", "").module())  # fmt: skip
    assert sentence(group) == ""
