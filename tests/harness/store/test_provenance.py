"""Versions and devices, as a record names them."""

import pytest

from harness.core.errors import InputError
from harness.store import provenance


def test_versions_and_device_are_described() -> None:
    versions = provenance.versions()
    assert {"python", "torch", "triptych"} <= versions.keys()
    assert provenance.describe_device("cpu").startswith("cpu (")
    assert provenance.peak_memory()["resident"] > 10_000_000


def test_an_unavailable_device_is_an_error() -> None:
    assert provenance.choose_device("cpu") == "cpu"
    with pytest.raises(InputError, match="`device` must be one of 'auto', 'cpu', 'cuda'"):
        provenance.choose_device("tpu")
    if provenance.choose_device("auto") == "cpu":
        with pytest.raises(InputError, match="finds no CUDA device"):
            provenance.choose_device("cuda")
