"""What the tests share: a third party's distribution, installed like anybody's."""

import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import forking
import jaxtyping
import pytest

THIRD_PARTY = Path(__file__).parent / "thirdparty"
ROOT = Path(__file__).parent.parent
TRIPTYCH = str(Path(sys.executable).with_name("triptych"))


def pytest_configure(config: pytest.Config) -> None:
    """Install the third party's plugins before any test asks for entry points."""
    # Import these before our modules do. When jaxtyping's hook loads our modules, Python does not
    # find the compiled files of what they import, and compiles them again: up to 15 s a process.
    for name in ("torch._dynamo", "evaluate", "torch_geometric"):
        importlib.import_module(name)
    # Several pytest processes share the machine's cores, and scores are one thread's.
    os.environ["OMP_NUM_THREADS"] = "1"
    # A core each: a run has a worker a core, and each worker imports torch for seconds.
    number = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
    if number and hasattr(os, "sched_setaffinity"):
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(number) % len(cores)]})
    # The process that starts the others has installed them already.
    folder = os.environ.get("TRIPTYCH_TEST_PLUGINS") if number else None
    if folder is None:
        folder = str(Path(config.rootpath) / ".pytest_cache" / f"thirdparty-{os.getpid()}")
        install(THIRD_PARTY, Path(folder))
        os.environ["TRIPTYCH_TEST_PLUGINS"] = folder
        config.add_cleanup(lambda: shutil.rmtree(folder, ignore_errors=True))
    sys.path.append(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the long files first: at the end one process would wait for the other's last."""
    long = ("test_survival.py", "test_cli.py", "test_packaging.py", "test_runner.py")
    items.sort(key=lambda item: item.path.name not in long)


def install(project: Path, folder: Path) -> None:
    """Build and install a distribution into ``folder``, without its dependencies."""
    with tempfile.TemporaryDirectory() as copy:
        source = Path(copy) / "source"  # setuptools writes into the tree it builds
        ignored = shutil.ignore_patterns(".venv", ".git", "runs", "build", "*.egg-info", ".*_cache")
        shutil.copytree(project, source, ignore=ignored)
        pip_install(source, folder)


def pip_install(what: Path, folder: Path) -> None:
    """Install a source tree or a wheel into ``folder``, without its dependencies."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--target", str(folder), str(what)]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)


def environment(**extra: str) -> dict[str, str]:
    """Return this process's environment, with the third party's plugins on the path."""
    plugins = os.pathsep.join(p for p in sys.path if "thirdparty-" in p)
    return os.environ | {"PYTHONPATH": plugins} | extra


@pytest.fixture(autouse=True)
def workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the worker processes of a test; those of a command line are started as usual."""
    forking.fork_workers(monkeypatch)


@pytest.fixture
def as_a_user(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off the tests' own type checker: users see our messages, not its."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Install a module as a distribution with one entry point, for one test."""
    from harness.core import registry

    def write(module: str, entry: str, text: str) -> None:
        group, _, value = entry.partition(":")
        site = tmp_path / "site"
        info = site / f"{module}-1.0.dist-info"
        info.mkdir(parents=True)
        (site / f"{module}.py").write_text(text)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[harness.{group}]\n{value}\n")
        monkeypatch.syspath_prepend(site)
        registry._entries.cache_clear()

    yield write
    registry._entries.cache_clear()


@pytest.fixture
def triptych(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in a fresh process, from an empty folder."""
    home = tmp_path / "elsewhere"
    home.mkdir()

    def call(*arguments: str, timeout: float = 240) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [TRIPTYCH, *arguments],
            capture_output=True,
            text=True,
            cwd=home,
            env=environment(COLUMNS="100"),
            timeout=timeout,
            check=False,
        )

    return call


@pytest.fixture
def small(tmp_path: Path) -> str:
    """A study of six cells, on the third party's task: `quickstart` imports for seconds more."""
    path = tmp_path / "small.toml"
    path.write_text(
        'tasks = ["blobs(steps=3)"]\n'
        'losses = ["infonce", "adnce(mu=0.5, sigma=2)"]\n'
        "seeds = 2\n"
        "probes = 4\n"
    )
    return str(path)


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_a_user: None
) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line in this process: a fresh one imports torch and plugins for seconds.

    What a cell does is done by a worker process all the same.
    """
    import signal

    from typer.testing import CliRunner

    from harness.cli import app

    home = tmp_path / "here"
    home.mkdir()

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        handlers = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}
        with monkeypatch.context() as patch:
            patch.chdir(home)
            patch.setenv("COLUMNS", "100")
            patch.setattr(sys, "argv", ["triptych", *arguments])
            done = CliRunner().invoke(app, list(arguments))
        for name, handler in handlers.items():
            signal.signal(name, handler)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return call
