"""The built wheel, installed elsewhere, lists its plugins and runs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, THIRD_PARTY, environment, pip_install


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
        "triptych", "harness", "adapters", "tasks", "leaderboards",
    }  # fmt: skip
    assert "tasks/studies/quickstart.toml" in names
    assert {f"{name}/py.typed" for name in ("triptych", "harness", "leaderboards")} <= set(names)
    page = ("render/page.html.jinja", "render/notebook.html.jinja", "render/page.css",
            "render/page.js",
            "analysis/published.csv")  # fmt: skip
    assert {f"leaderboards/{name}" for name in page} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)


COMMANDS = """
from harness.cli import app

run = ["run", "quickstart", "--out", "run", "--tasks", "blobs(steps=3)"]
run += ["--losses", "infonce,margin", "--seeds", "1"]
for command in (["list", "tasks"], ["list", "studies"], run):
    app(command, standalone_mode=False)
    print("---", flush=True)

import adapters, harness, leaderboards, tasks
print(adapters.__path__, harness.__path__, leaderboards.__path__, tasks.__path__)
"""


def test_the_installed_wheel_runs(wheel: Path, tmp_path: Path) -> None:
    """In another folder, without the checkout on the path."""
    site, home = tmp_path / "site", tmp_path / "home"
    home.mkdir()
    pip_install(wheel, site)
    # The editable install of this environment comes after PYTHONPATH.
    path = os.pathsep.join([str(site), environment()["PYTHONPATH"]])
    done = subprocess.run(
        [sys.executable, "-P", "-c", COMMANDS],
        capture_output=True, text=True, cwd=home, env=os.environ | {"PYTHONPATH": path},
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    tasks, studies, run, where = done.stdout.split("\n---\n")
    assert where.count(str(site)) == 4
    assert "images" in tasks
    assert "quickstart" in studies
    assert "3 cells run" in run
    assert "margin" in run


def test_the_example_plugins_are_as_short_as_documented() -> None:
    text = (THIRD_PARTY / "triptych_example.py").read_text()
    loss, task = text.split("class Margin")[1].split("class Blobs")

    def code_lines(part: str) -> int:
        lines = [line for line in part.splitlines() if line.strip()]
        return len([line for line in lines if not line.strip().startswith(('"""', "#"))])

    assert code_lines(loss) <= 10
    assert code_lines(task) <= 42


def test_constraints_pin_torch_and_all_declared_dependencies() -> None:
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


def test_the_lock_has_hashes_for_what_constraints_pin() -> None:
    """``python docs/write_lock.py`` writes it."""
    pins = [line for line in read("constraints.txt") if line and not line.startswith("#")]
    releases: dict[str, list[str]] = {}
    for line in read("requirements.lock"):
        word = line.removesuffix(" \\").strip()
        if line.startswith("    --hash=sha256:"):
            releases[last].append(word)
        elif not line.startswith("#"):
            last = word
            releases[last] = []
    assert list(releases) == pins
    assert all(releases.values())


def read(name: str) -> list[str]:
    return (ROOT / name).read_text().splitlines()
