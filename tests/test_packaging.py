"""The built wheel, installed elsewhere, lists its plugins and runs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, THIRD_PARTY, install, pip_install


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel from a copy of what git would clone."""
    import shutil

    source = tmp_path_factory.mktemp("source") / "triptych"
    ignored = shutil.ignore_patterns(".*", "runs", "build", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored)
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out)]
    subprocess.run([*command, str(source)], check=True, capture_output=True)
    (built,) = out.glob("*.whl")
    return built


def test_the_wheel_holds_our_packages_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {t for t in tops if not t.endswith(".dist-info")} == {
        "harness", "adapters", "tasks", "leaderboards",
    }  # fmt: skip
    assert "tasks/studies/quickstart.toml" in names
    page = ("page.html.jinja", "page.css", "page.js", "published.csv")
    assert {f"leaderboards/{name}" for name in page} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_installed_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    """In another folder, without the checkout on the path."""
    site, home = tmp_path / "site", tmp_path / "home"
    home.mkdir()
    pip_install(wheel, site)
    install(THIRD_PARTY, site)

    def call(*arguments: str) -> str:
        # The editable install of this environment comes after PYTHONPATH.
        environment = os.environ | {"PYTHONPATH": str(site)}
        script = [sys.executable, "-P", "-c", "from harness.cli import app; app()"]
        done = subprocess.run(
            [*script, *arguments], capture_output=True, text=True, cwd=home, env=environment,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    show = "import harness, tasks; print(harness.__path__, tasks.__path__)"
    where = subprocess.run(
        [sys.executable, "-P", "-c", show],
        env=os.environ | {"PYTHONPATH": str(site)}, cwd=home, capture_output=True, text=True,
        check=True,
    ).stdout  # fmt: skip
    assert where.count(str(site)) == 2
    assert "images" in call("list", "tasks")
    assert "quickstart" in call("list", "studies")
    out = call(
        "run", "quickstart", "--out", "run", "--tasks", "blobs(steps=3)", "--losses",
        "infonce,margin", "--seeds", "1",
    )  # fmt: skip
    assert "3 cells run" in out
    assert "margin" in out


def test_the_third_partys_plugins_are_as_short_as_promised() -> None:
    text = (THIRD_PARTY / "triptych_example.py").read_text()
    loss, task = text.split("class Margin")[1].split("class Blobs")

    def code_lines(part: str) -> int:
        lines = [line for line in part.splitlines() if line.strip()]
        return len([line for line in lines if not line.strip().startswith(('"""', "#"))])

    assert code_lines(loss) <= 10
    assert code_lines(task) <= 42


def test_constraints_pin_torch_and_all_that_is_declared() -> None:
    import re
    import tomllib

    pinned = {
        re.split("==", line)[0].lower().replace("_", "-")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    declared = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    names = {re.split(r"[<>=\[; ]", item)[0].lower() for item in declared}
    assert names <= pinned
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text()
