"""Contract tests that every loss, method and task must pass, including third-party ones.

Run them on all installed plugins, or on your own, with pytest::

    import pytest
    from harness.testing import contracts

    @pytest.mark.parametrize("check", [pytest.param(c, id=name) for name, c in contracts()])
    def test_contract(check):
        check()

A check that fails raises ``AssertionError``, which names the broken rule.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from harness import plugins
from harness.testing.cells import check_cell, fitting
from harness.testing.common import fresh_head, is_decisive, scores_of, suited_loss
from harness.testing.losses import LOSS_CHECKS
from harness.testing.methods import METHOD_CHECKS
from harness.testing.tasks import TASK_CHECKS

__all__ = [
    "CHECKS", "DECISIVE", "LOSS_CHECKS", "METHOD_CHECKS", "TASK_CHECKS", "Check", "check_all",
    "check_cell", "contracts", "fitting", "fresh_head", "scores_of", "suited_loss",
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
) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yield (name, check) for every installed plugin of ``groups``."""
    for group in groups:
        for spec in plugins.names(group):
            for check in CHECKS[group]:
                yield f"{spec}-{check.__name__.removeprefix('check_')}", partial(check, spec)


def check_all(group: str, spec: str) -> None:
    """Run every check of ``group`` on one spec, such as ``adnce(form="graph")``."""
    for check in CHECKS[group]:
        check(spec)
