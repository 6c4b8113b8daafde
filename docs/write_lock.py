"""Write ``requirements.lock``: the pins of ``constraints.txt``, with the hashes of their files.

    python docs/write_lock.py

The hashes are those that PyPI states for the files of each release that Python 3.11 can install.
torch's are those of its CPU wheels, from PyTorch's own index: PyPI's wheels for Linux need CUDA's
packages, which are not pinned. ``make install-locked`` installs from the file.
"""

import json
import re
import sys
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from urllib.request import Request, urlopen

ROOT = Path(__file__).parents[1]
INDEX = "https://pypi.org/simple"
PYTHON = re.compile(r"-(py3|py2\.py3|cp311|cp3\d+-abi3)-|-cp311-|-abi3-")
"""In the names of wheels that Python 3.11 can install."""
LOCAL = Path("/opt/wheels")
"""Where torch's CPU wheel lies where the project is tested: the very file of PyTorch's index."""
HEAD = """\
# Written by docs/write_lock.py from constraints.txt: do not edit. `make install-locked` reads it.
"""


def main() -> None:
    """Write the file."""
    lines = [HEAD]
    for name, version in pins():
        found = list(hashes(name, version))
        if not found:
            sys.exit(f"{name}=={version} has no file that Python 3.11 can install.")
        parts = [f"{name}=={version}", *(f"    --hash=sha256:{one}" for one in sorted(set(found)))]
        lines.append(" \\\n".join(parts) + "\n")
    (ROOT / "requirements.lock").write_text("".join(lines), encoding="utf-8")


def pins() -> Iterator[tuple[str, str]]:
    """Yield (name, version) of each line of ``constraints.txt``."""
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name, _, version = line.partition("==")
            yield name.strip(), version.strip()


def hashes(name: str, version: str) -> Iterator[str]:
    """Yield the sha256 of the files of a release that Python 3.11 can install."""
    if name == "torch":
        for wheel in sorted(LOCAL.glob(f"torch-{version}*.whl")):
            yield sha256(wheel.read_bytes()).hexdigest()
        return
    plain = re.sub(r"[-_.]+", "-", name).lower()
    request = Request(  # noqa: S310  The address is ours.
        f"{INDEX}/{plain}/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}
    )
    with urlopen(request, timeout=60) as answer:  # noqa: S310
        files = json.load(answer)["files"]
    for file in files:
        stem = re.sub(r"[-_.]+", "-", file["filename"]).lower()
        of_release = stem.startswith(re.sub(r"[-_.]+", "-", f"{plain}-{version}-"))
        is_source = file["filename"].endswith((".tar.gz", ".zip"))
        if of_release and (is_source or PYTHON.search(file["filename"])):
            yield file["hashes"]["sha256"]


if __name__ == "__main__":
    main()
