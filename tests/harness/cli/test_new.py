"""What `triptych new` writes works as it stands."""

import ast
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import ROOT, environment, pip_install

from harness.cli.new import write
from harness.core.errors import InputError
from harness.testing import CHECKS
from harness.testing.checking import fault_of


@pytest.mark.parametrize(("kind", "group"), [("loss", "losses"), ("task", "tasks")])
def test_a_new_plugin_keeps_every_contract(
    kind: str, group: str, tmp_path: Path, plugin: Callable[..., None], as_a_user: None
) -> None:
    file, test = write(kind, "soft-margin", tmp_path / "new")
    assert (file.name, test.name) == ("soft_margin.py", "test_soft_margin.py")
    plugin(f"new_{kind}", f"{group}:fresh = new_{kind}:SoftMargin", file.read_text())
    faults = [fault_of(group, "fresh", check.__name__) for check in CHECKS[group]]
    assert list(filter(None, faults)) == []


def test_a_new_loss_has_about_fifteen_lines(tmp_path: Path) -> None:
    file, _ = write("loss", "margin", tmp_path)
    assert len(file.read_text().splitlines()) <= 20


@pytest.mark.parametrize("kind", ["loss", "task"])
def test_a_new_file_passes_check_and_its_own_test(
    kind: str, tmp_path: Path, triptych: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    written = triptych("new", kind, "own", "--to", str(tmp_path / "mine"))
    assert written.returncode == 0, written.stderr
    checked = triptych("check", str(tmp_path / "mine/own.py"))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 broken." in checked.stdout
    tested = _pytest(tmp_path / "mine", PYTHONPATH=str(ROOT))
    assert tested.returncode == 0, tested.stdout


def test_a_new_package_passes_check_and_its_own_test(tmp_path: Path) -> None:
    write("package", "soft-margin", tmp_path)
    site = tmp_path / "site"
    pip_install(tmp_path / "soft_margin", site)
    path = f"{site}:{ROOT}"
    checked = subprocess.run(
        [sys.executable, "-m", "triptych", "check", "soft_margin"], capture_output=True, text=True,
        check=False, env=environment(PYTHONPATH=path), cwd=tmp_path,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "0 broken." in checked.stdout
    tested = _pytest(tmp_path / "soft_margin", PYTHONPATH=path)
    assert tested.returncode == 0, tested.stdout


def _pytest(folder: Path, **extra: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        command, capture_output=True, text=True, cwd=folder, env=environment(**extra), check=False
    )


def test_the_command_says_what_it_wrote_and_what_is_next(
    tmp_path: Path, here: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = here("new", "loss", "margin", "--to", str(tmp_path))
    assert done.returncode == 0
    assert str(tmp_path / "margin.py") in done.stdout
    assert f"triptych check {tmp_path / 'margin.py'}" in done.stdout
    assert f"infonce,{tmp_path / 'margin.py'}:Margin" in done.stdout
    ast.parse((tmp_path / "test_margin.py").read_text())


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "test_margin.py").write_text("mine")
    with pytest.raises(InputError, match=r"`NAME` must be new: .*test_margin.py exists already"):
        write("loss", "margin", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["test_margin.py"]


@pytest.mark.parametrize("name", ["2fast", "a/b", "class", "", "a b", "../x"])
def test_a_name_must_be_that_of_a_module(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="`NAME` must be letters, digits and underscores"):
        write("loss", name, tmp_path)
