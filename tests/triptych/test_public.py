"""The public face: what users and plugin authors import."""

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, TRIPTYCH, environment

import harness
import triptych
from harness.run.runner import run


def test_every_name_is_there_and_documented() -> None:
    assert triptych.__all__ == sorted(triptych.__all__)
    for name in triptych.__all__:
        assert inspect.getdoc(getattr(triptych, name)), name


@pytest.mark.parametrize("name", ["InputError", "Interrupted", "Study", "load_records"])
def test_what_harness_exported_goes_on_with_a_pointer(name: str) -> None:
    with pytest.warns(DeprecationWarning, match=f"`harness.{name}` .* import it from `triptych`"):
        assert getattr(harness, name) is getattr(triptych, name)
    assert not hasattr(harness, "nothing")


def test_signatures_are_those_of_the_functions() -> None:
    assert inspect.signature(triptych.run) == inspect.signature(run)
    assert "study" in inspect.signature(triptych.run).parameters


def test_a_folder_of_the_same_name_hides_no_package(tmp_path: Path) -> None:
    """`tasks` and `adapters` are the commonest names of folders that there are."""
    for name in ("tasks", "adapters", "leaderboards"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise ImportError('the wrong package')\n")

    def called(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False
        )

    done = called(TRIPTYCH, "run", "quickstart", "--tasks", "images(data='digits', steps=1)",
                  "--losses", "infonce", "--seeds", "1", "--out", "run")  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    named = called(sys.executable, "-m", "triptych", "list", "tasks")
    assert named.returncode == 1
    assert "Triptych's package 'adapters' is hidden by" in named.stderr
    assert "the command `triptych` works everywhere" in named.stderr


def test_the_package_is_the_command(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "triptych", "list", "studies"],
        cwd=tmp_path, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "quickstart  Three panels" in done.stdout, done.stderr


def test_mypy_sees_the_types_of_what_is_exported(tmp_path: Path) -> None:
    script = tmp_path / "mine.py"
    script.write_text(
        "from typing import Annotated\n"
        "import triptych\n"
        "from torch import Tensor\n"
        "class Mine(triptych.SumLoss):\n"
        "    temperature: Annotated[float, triptych.Between(0, 1)] = 0.1\n"
        "    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:\n"
        "        return sums[0]\n"
        "Mine(temperature=0.2)\n"
        "Mine(temperature='high')\n"
        "Mine(tau=0.2)\n"
    )
    # With the project's settings and cache, which `make test` has just filled.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", "pyproject.toml", str(script)],
        cwd=ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    wrong = [line for line in done.stdout.splitlines() if "error" in line]
    assert any(":9:" in line and '"temperature"' in line for line in wrong), done.stdout
    assert any(":10:" in line and '"tau"' in line for line in wrong), done.stdout
    assert not any(f":{number}:" in line for line in wrong for number in range(1, 9)), done.stdout
