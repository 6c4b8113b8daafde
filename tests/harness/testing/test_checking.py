"""`triptych check` says in a sentence how a plugin breaks a contract, whatever the plugin does."""

import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from harness.core.errors import InputError
from harness.testing import CHECKS, contracts, find
from harness.testing.checking import Checked, check

LOSSES = """
import ctypes, os, sys, time
from triptych_example import Margin

class Slip(Margin):
    label = "x" * 200
    def setup(self):
        if os.environ.get("SLIP") == "load":
            sys.exit("no licence")
    def per_anchor(self, pos, neg, keep):
        print("{not an answer}", flush=True)
        how = os.environ.get("SLIP")
        if how == "exit":
            os.write(2, b"the last words")
            os._exit(0)
        if how == "segfault":
            ctypes.string_at(0)
        if how == "sleep":
            time.sleep(600)
        return super().per_anchor(pos, neg, keep)
"""
FIRST = "Two fresh losses return the same value, and do not use the global generator."
"""The first contract that asks for a loss's value."""


@pytest.fixture
def slip(plugin: Callable[..., None]) -> None:
    plugin("slips", "losses:slip = slips:Slip", LOSSES)


def first(checked: Any, count: int = 5) -> dict[str, Checked]:
    """Return the first of the checks, by their rules."""
    taken = {}
    for one in checked:
        taken[one.rule] = one
        if len(taken) == count:
            break
    checked.close()
    return taken


def test_each_contract_is_kept_or_broken_for_itself(slip: None) -> None:
    found = list(check("losses", "slip"))
    assert len(found) == len(CHECKS["losses"]) + 1
    assert [one.fault for one in found if one.fault] == [
        "`label` must be a text of at most 80 characters, none of them a control character: got "
        f"'{'x' * 200}'."
    ]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("exit", "The process that ran the check exited with status 0 (its last output: the"),
        ("segfault", "The process that ran the check was killed by SIGSEGV"),
    ],
)
def test_a_plugin_that_ends_its_process_fails_its_check_alone(
    slip: None, monkeypatch: pytest.MonkeyPatch, how: str, said: str
) -> None:
    monkeypatch.setenv("SLIP", how)
    found = first(check("losses", "slip"), 6)
    assert found[FIRST].fault.startswith(said)
    assert not found["A loss's needs and pairing are names that the harness knows."].fault
    assert list(found)[-1] != FIRST, "the next check got a new process"


def test_a_check_has_a_time_limit(slip: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLIP", "sleep")
    found = first(check("losses", "slip", seconds=8))
    assert found[FIRST].fault.startswith(
        "The check must end in time: it took more than 8 s. Look for"
    )


def test_a_plugin_that_cannot_be_built_is_checked_no_further(
    slip: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLIP", "load")
    (found,) = check("losses", "slip")
    assert "could not be built: SystemExit: no licence (in `setup`, slips.py, line" in found.fault


def test_the_command_exits_with_1_if_a_contract_is_broken(
    slip: None, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = here("check", "slip")
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert f"{len(CHECKS['losses'])} contracts kept, 1 broken." in done.stdout + done.stderr
    done = here("check", "margin(margin=0.3)")
    assert done.returncode == 0
    assert "0 broken." in done.stdout
    assert "FAILED" not in done.stdout


def test_an_unknown_name_is_an_error_with_a_hint() -> None:
    with pytest.raises(InputError, match=r"no loss, method or task 'infonec'.*'infonce'"):
        find("infonec")


def test_contracts_can_be_those_of_one_plugin() -> None:
    assert [name for name, _ in contracts(of="siamese")] == [
        f"siamese-{each.__name__.removeprefix('check_')}" for each in CHECKS["methods"]
    ]
    assert list(contracts(("losses",), of="siamese")) == []
