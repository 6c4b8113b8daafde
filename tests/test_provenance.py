"""Source digests follow imports, and nothing else."""

import sys
from pathlib import Path

import pytest

from harness import provenance
from harness.errors import InputError


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose ``loss`` imports ``helper``; ``other`` is not imported."""
    folder = tmp_path / "sourced"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "loss.py").write_text("import os\nfrom sourced.helper import f\n")
    (folder / "helper.py").write_text("def f():\n    from . import late\n")
    (folder / "late.py").write_text("x = 1\n")
    (folder / "other.py").write_text("y = 1\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    sys.modules.pop("sourced", None)


def digest() -> str:
    provenance._source.cache_clear()
    provenance._imports.cache_clear()
    return provenance.source_digest(["sourced.loss"])


@pytest.mark.parametrize(
    ("file", "changes"),
    [("loss.py", True), ("helper.py", True), ("late.py", True), ("other.py", False)],
)
def test_the_digest_follows_imports(package: Path, file: str, changes: bool) -> None:
    before = digest()
    assert digest() == before
    (package / file).write_text((package / file).read_text() + "# changed\n")
    assert (digest() != before) is changes


def test_a_loss_does_not_depend_on_another_family() -> None:
    digests = {
        name: provenance.source_digest([f"harness.losses.{name}"]) for name in ("infonce", "adnce")
    }
    assert digests["infonce"] != digests["adnce"]
    for name in digests:
        own = Path(provenance._source(f"harness.losses.{name}") or "")
        assert all("adnce" not in i for i in provenance._imports(f"harness.losses.{name}", own))


def test_a_task_depends_on_its_adapters() -> None:
    path = provenance._source("tasks.nodes")
    assert path is not None
    assert "adapters.pyg" in provenance._imports("tasks.nodes", path)


def test_versions_and_device_are_named() -> None:
    versions = provenance.versions()
    assert {"python", "torch", "triptych"} <= versions.keys()
    assert provenance.describe_device("cpu").startswith("cpu (")
    assert provenance.peak_memory()["resident"] > 10_000_000


def test_a_device_that_is_not_there() -> None:
    assert provenance.choose_device("cpu") == "cpu"
    with pytest.raises(InputError, match="`device` must be one of 'auto', 'cpu', 'cuda'"):
        provenance.choose_device("tpu")
    if provenance.choose_device("auto") == "cpu":
        with pytest.raises(InputError, match="finds no CUDA device"):
            provenance.choose_device("cuda")
