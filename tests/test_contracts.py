"""Every installed plugin, ours and the third party's, keeps its contract."""

import pytest

from harness import plugins
from harness.testing import Check, check_all, contracts


@pytest.mark.parametrize("check", [pytest.param(c, id=name) for name, c in contracts()])
def test_contract(check: Check) -> None:
    check()


@pytest.mark.parametrize("spec", ["adnce(form='sentence')", "adnce(form='graph')"])
def test_the_other_forms_keep_the_contract(spec: str) -> None:
    check_all("losses", spec)


@pytest.mark.parametrize("pairing", ["both_views", "cross_view", "same_view"])
def test_every_pairing_keeps_the_contract(pairing: str) -> None:
    check_all("methods", f"siamese(pairing={pairing!r})")


def test_the_third_partys_plugins_are_among_them() -> None:
    assert "margin" in plugins.names("losses")
    assert "blobs" in plugins.names("tasks")
