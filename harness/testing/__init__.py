"""Contract tests that every loss, method and task must pass, including third-party ones.

Run them on all installed plugins, or on your own, with pytest::

    import pytest
    from harness.testing import contracts

    @pytest.mark.parametrize("check", [pytest.param(c, id=name) for name, c in contracts()])
    def test_contract(check):
        check()

A check that fails raises ``AssertionError`` or ``InputError``, which names the broken rule and the
next step. ``contracts(of="my_losses.py")`` yields those of a file, or of one plugin.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from harness import plugins
from harness.core.errors import InputError, require, unknown
from harness.testing.cells import check_cell, fitting
from harness.testing.common import fresh_head, is_decisive, scores_of, suited_loss
from harness.testing.losses import LOSS_CHECKS
from harness.testing.methods import METHOD_CHECKS
from harness.testing.tasks import TASK_CHECKS

__all__ = [
    "CHECKS", "DECISIVE", "LOSS_CHECKS", "METHOD_CHECKS", "TASK_CHECKS", "Check", "check_all",
    "check_cell", "contracts", "find", "fitting", "fresh_head", "scores_of", "suited_loss",
]  # fmt: skip

Check = Callable[[str], None]
"""A contract: it takes a plugin's spec and raises an error that names the broken rule."""

CHECKS: Mapping[str, Sequence[Check]] = {
    "losses": LOSS_CHECKS, "methods": METHOD_CHECKS, "tasks": TASK_CHECKS,
}  # fmt: skip

DECISIVE: Mapping[str, Sequence[Check]] = {
    group: [check for check in checks if is_decisive(check)] for group, checks in CHECKS.items()
}
"""The contracts without which a plugin's cells cannot be compared; they take no time."""


def contracts(
    groups: Sequence[str] = ("losses", "methods", "tasks"),
    *,
    of: str | Path = "",
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield (name, check) for every plugin of ``groups``.

    Args:
        groups: ``losses``, ``methods`` or ``tasks``, or several of them.
        of: a Python file, or the name or spec of a plugin; empty: all installed plugins.
    """
    for group, spec in find(of) if of else _installed():
        for check in CHECKS[group] if group in groups else ():
            yield f"{spec}-{check.__name__.removeprefix('check_')}", partial(check, spec)


def find(name: str | Path) -> list[tuple[str, str]]:
    """Return (group, spec) of the losses, methods and tasks that ``name`` names.

    Args:
        name: a Python file, which stands for all that it defines, or a plugin's name or spec.

    Raises:
        InputError: if there is none, or a file cannot be imported.

    >>> find("adnce(mu=0.5)")
    [('losses', 'adnce(mu=0.5)')]
    """
    spec = str(name)
    if Path(spec).suffix == ".py":
        return plugins.defined_in_file(spec)
    plain, _ = plugins.read(spec)
    found = [(group, spec) for group in CHECKS if plugins.plugin_name(group, plain) is not None]
    if not found:
        raise unknown("loss, method or task", plain, (one for _, one in _installed()))
    if len(found) > 1:  # Any group may have a class in a file or module.
        found = [(group, spec) for group, spec in found if _is_of(group, plain)]
    require(
        bool(found),
        f"{plain!r} must be a class derived from triptych.Loss, triptych.Method or triptych.Task. "
        "Check its name.",
    )
    return found


def _is_of(group: str, name: str) -> bool:
    """Return whether a class that its module names is of this kind."""
    try:
        plugins.load(group, name)
    except InputError:
        return False
    return True


def _installed() -> list[tuple[str, str]]:
    return [(group, name) for group in CHECKS for name in plugins.names(group)]


def check_all(group: str, spec: str) -> None:
    """Run every check of ``group`` on one spec, such as ``adnce(form="graph")``."""
    for check in CHECKS[group]:
        check(spec)
