"""What the tests share: a third party's distribution, installed like anybody's."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

THIRD_PARTY = Path(__file__).parent / "thirdparty"
ROOT = Path(__file__).parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Install the third party's plugins before any test asks for entry points."""
    # Several pytest processes share the machine's cores, and scores are one thread's.
    os.environ["OMP_NUM_THREADS"] = "1"
    folder = Path(config.rootpath) / ".pytest_cache" / f"thirdparty-{os.getpid()}"
    install(THIRD_PARTY, folder)
    sys.path.append(str(folder))


def pytest_unconfigure() -> None:
    """Remove what pytest_configure installed."""
    import shutil

    for path in [p for p in sys.path if "thirdparty-" in p]:
        shutil.rmtree(path, ignore_errors=True)


def install(project: Path, folder: Path) -> None:
    """Build and install a distribution into ``folder``, without its dependencies."""
    import shutil
    import tempfile

    with tempfile.TemporaryDirectory() as copy:
        source = Path(copy) / "source"  # setuptools writes into the tree it builds
        ignored = shutil.ignore_patterns(".venv", ".git", "runs", "build", "*.egg-info", ".*_cache")
        shutil.copytree(project, source, ignore=ignored)
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        command += ["--no-build-isolation", "--target", str(folder), str(source)]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


@pytest.fixture
def triptych(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a fresh process, from an empty folder."""
    home = tmp_path / "elsewhere"
    home.mkdir()

    def call(*arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if "thirdparty-" in p),
            "COLUMNS": "100",
        }
        return subprocess.run(
            [str(Path(sys.executable).with_name("triptych")), *arguments],
            capture_output=True,
            text=True,
            cwd=home,
            env=environment,
            timeout=timeout,
            check=False,
        )

    return call
