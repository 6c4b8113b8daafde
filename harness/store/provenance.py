"""The provenance of a score: versions, commit, device, memory."""

import contextlib
import platform
import resource
import subprocess
import sys
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch

from harness.core.errors import InputError, require_choice
from harness.core.sources import LIBRARIES


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that scores depend on."""
    found = {"python": platform.python_version()}
    for library in LIBRARIES:
        with contextlib.suppress(PackageNotFoundError):
            found[library] = version(library)
    return found


@cache
def commit() -> str | None:
    """Return the commit of this checkout, with ``+changes`` appended if it is dirty.

    Return None if the package was not installed from a checkout.
    """
    root = Path(__file__).resolve().parent.parent.parent
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
    """Resolve ``auto`` to ``cpu`` or ``cuda``; check any other name and return it.

    Args:
        name: ``auto``, ``cpu``, ``cuda`` or ``cuda:1``.
        elsewhere: whether cells run on other machines, whose devices are not known here;
            ``auto`` then means ``cpu``.

    Raises:
        InputError: if the device is not available here.
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
            f"`device` must be available: got {name!r}, but torch {torch.__version__} finds no "
            "CUDA device. Use `--device cpu`."
        )
    count, (_, _, number) = torch.cuda.device_count(), name.partition(":")
    if number and int(number) >= count:
        raise InputError(
            f"`device` must be available: got {name!r}, but torch finds {count} CUDA devices. "
            f"Use cuda:0 to cuda:{count - 1}."
        )
    return name


def describe_device(name: str) -> str:
    """Return the device's name and its model."""
    if name.startswith("cuda"):
        return f"{name} ({_model(name)})"
    return f"cpu ({_model(name)}, {torch.get_num_threads()} thread)"


def machine_type(name: str) -> str:
    """Return the device's kind and model: machines of one type round in the same way."""
    return f"{torch.device(name).type} ({_model(name)})"


def _model(device: str) -> str:
    if device.startswith("cuda"):
        return torch.cuda.get_device_name(device)
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def reset_peak_memory() -> None:
    """Reset the peak memory, so that a cell does not report an earlier cell's (Linux)."""
    with contextlib.suppress(OSError):
        # 5 resets the peak resident memory, VmHWM: see proc(5).
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def peak_memory() -> dict[str, int]:
    """Return the peak resident memory, and the GPU's if there is one, in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # macOS reports bytes, Linux units of 1024 bytes.
    peak *= 1 if sys.platform == "darwin" else 1024
    with contextlib.suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                peak = int(line.split()[1]) * 1024
    found = {"resident": peak}
    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.max_memory_allocated()
    return found
