"""Where a number comes from: source, versions, commit, device, memory."""

import ast
import contextlib
import importlib.util
import platform
import resource
import subprocess
import sys
from collections.abc import Iterable
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from harness.errors import InputError, require_choice

OURS = frozenset({"harness", "adapters", "tasks"})
LIBRARIES = (
    "triptych", "torch", "transformers", "datasets", "torch-geometric", "kornia",
    "scikit-learn", "scipy", "numpy", "pandas", "evaluate", "tokenizers", "pillow",
    "pytorch-optimizer",
)  # fmt: skip


def source_digest(modules: Iterable[str]) -> str:
    """Return a digest of the source of ``modules`` and of all they import.

    Imports are followed, by reading and not by running, through our packages and
    through those that ``modules`` belong to: a change in an adapter changes the
    digest of the task that uses it, a change in another task does not.
    """
    roots = sorted(set(modules))
    own = OURS | {name.split(".")[0] for name in roots}
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        path = _source(name)
        if name in found or path is None or name.split(".")[0] not in own:
            continue
        found[name] = path
        waiting += _imports(name, path)
    digest = sha256()
    for name in sorted(found):
        digest.update(f"{name}\0".encode() + sha256(found[name].read_bytes()).digest())
    return digest.hexdigest()[:32]


@cache
def _source(name: str) -> Path | None:
    """Return the file of module ``name``, or None: a name inside a module, say.

    Looked up on disk: ``find_spec`` would import the parents of a dotted name.
    """
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except ValueError:  # a module without a spec, such as __main__
        return None
    if spec is None or spec.origin is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or ():
        base = Path(folder, *rest)
        for path in (base.parent / f"{base.name}.py", base / "__init__.py"):
            if path.is_file():
                return path
    return None


@cache
def _imports(name: str, path: Path) -> tuple[str, ...]:
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return tuple(found)


def forget() -> None:
    """Read sources anew: they may have changed since this process last looked."""
    _source.cache_clear()
    _imports.cache_clear()


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that make the scores."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[library] = version(library)
    return found


@cache
def commit() -> str | None:
    """Return the commit of this checkout, ``+changes`` appended where it is dirty.

    None where the package was not installed from a checkout.
    """
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return None
    try:
        head = _git(root, "rev-parse", "HEAD")
        return head + ("+changes" if _git(root, "status", "--porcelain") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *arguments: str) -> str:
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def choose_device(name: str, *, elsewhere: bool = False) -> str:
    """Return ``cpu`` or ``cuda`` for ``auto``; check any other name.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        elsewhere: that it is of other machines, whose devices are not known here:
            ``auto`` is the CPU then.

    Raises:
        InputError: where the device is not to be had here.
    """
    if name == "auto":
        return "cuda" if torch.cuda.is_available() and not elsewhere else "cpu"
    require_choice("device", name.partition(":")[0], ("auto", "cpu", "cuda"))
    try:
        torch.device(name)
    except RuntimeError as error:
        raise InputError(f"`device` must read cpu, cuda or cuda:1: got {name!r}.") from error
    if elsewhere:
        return name
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise InputError(
            f"`device` must be to be had: got {name!r}, and torch {torch.__version__} finds no "
            "CUDA device. Use `--device cpu`."
        )
    count, (_, _, number) = torch.cuda.device_count(), name.partition(":")
    if number and int(number) >= count:
        raise InputError(
            f"`device` must be to be had: got {name!r}, and there are {count} CUDA devices. "
            f"Use cuda:0 to cuda:{count - 1}."
        )
    return name


def describe_device(name: str) -> str:
    """Return the device's name and the model behind it."""
    if name.startswith("cuda"):
        return f"{name} ({torch.cuda.get_device_name(name)})"
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return f"cpu ({model}, {torch.get_num_threads()} thread)"


def reset_peak_memory() -> None:
    """Start a new peak, so that a cell does not report an earlier cell's (Linux)."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> dict[str, int]:
    """Return the peak resident memory, and the GPU's where one is used, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak *= 1 if sys.platform == "darwin" else 1024
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
    found = {"resident": peak}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.max_memory_allocated()
    return found
