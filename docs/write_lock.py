"""Write ``requirements.lock``: the releases that ``constraints.txt`` pins, with their hashes.

    python docs/write_lock.py

Run it after each change of ``constraints.txt``. PyPI's index states the hash of each file; the lock
lists those that Python 3.11 can install. Of torch it lists the CPU wheel, because PyPI's wheels
for Linux also install CUDA's packages, which are not pinned.
"""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.request import Request, urlopen

from packaging.requirements import Requirement
from packaging.tags import Tag
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

ROOT = Path(__file__).parents[1]
INDEX = "https://pypi.org/simple"
CPU_WHEELS = Path("/opt/wheels")
"""The folder with torch's CPU wheel on the machines where we test."""
HEAD = """\
# docs/write_lock.py writes this file from constraints.txt, and `make install-locked` reads it.
"""


def main() -> None:
    """Write ``requirements.lock``."""
    lines = [HEAD]
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            pin = Requirement(line)
            found = sorted(set(_torch_hashes(pin) if pin.name == "torch" else _hashes(pin)))
            if not found:
                raise SystemExit(f"No file of {pin} was found that Python 3.11 can install.")
            hashes = [f"    --hash=sha256:{one}" for one in found]
            lines.append(" \\\n".join([line, *hashes]) + "\n")
    (ROOT / "requirements.lock").write_text("".join(lines), encoding="utf-8")


def _hashes(pin: Requirement) -> Iterator[str]:
    """Yield the sha256 of each file of a pinned release that Python 3.11 can install."""
    request = Request(  # noqa: S310  The address is ours.
        f"{INDEX}/{canonicalize_name(pin.name)}/",
        headers={"Accept": "application/vnd.pypi.simple.v1+json"},
    )
    with urlopen(request, timeout=60) as answer:  # noqa: S310
        for file in json.load(answer)["files"]:
            if _fits(file["filename"], pin):
                yield file["hashes"]["sha256"]


def _fits(name: str, pin: Requirement) -> bool:
    """Return whether a file is of a pinned release, and Python 3.11 can install it."""
    try:
        if not name.endswith(".whl"):
            return pin.specifier.contains(parse_sdist_filename(name)[1])
        _, version, _, tags = parse_wheel_filename(name)
    except (InvalidSdistFilename, InvalidWheelFilename):  # Old releases have names of other forms.
        return False
    return pin.specifier.contains(version) and any(map(_runs, tags))


def _runs(tag: Tag) -> bool:
    """Return whether Python 3.11 can run what has a tag, on the platform of the tag."""
    if tag.abi == "abi3":  # Such a wheel runs on the release of Python that it names, and later.
        return int(tag.interpreter.removeprefix("cp3")) <= 11
    return tag.interpreter in ("py3", "py311", "cp311")


def _torch_hashes(pin: Requirement) -> Iterator[str]:
    """Yield the sha256 of each of torch's CPU wheels in ``CPU_WHEELS``."""
    for wheel in CPU_WHEELS.glob("torch-*.whl"):
        if _fits(wheel.name, pin):
            yield sha256(wheel.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
