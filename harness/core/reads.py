"""Record which files are read, so that a contract can find those that a task does not declare.

Python reports each file that it opens, and `harness.data.fingerprint` those whose checksums it
remembers, as the event ``triptych.read``. What a library opens in C or C++ alone, such as a parquet
file given to pyarrow by its path, is not seen.
"""

import os
import site
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

_watching: list["_Seen"] = []
at_import: dict[str, set[Path]] = {}
"""{module of a plugin: the files that were read while it was imported}."""


class _Seen:
    def __init__(self) -> None:
        self.read: set[Path] = set()
        self.written: set[Path] = set()


@contextmanager
def watch() -> Iterator[set[Path]]:
    """Yield a set that collects the paths of all files that are read until the block ends.

    A file that is also written in the block does not count.
    """
    _install()
    seen = _Seen()
    _watching.append(seen)
    try:
        yield seen.read
    finally:
        _watching.remove(seen)
        seen.read -= seen.written


def data_among(paths: Iterable[Path], apart_from: Path) -> list[Path]:
    """Return the files that may hold data, sorted.

    No data are the files of Python, of libraries, of the system and of a cache, and hidden files
    and folders in the home folder, where tools keep settings and caches.

    Args:
        paths: the files.
        apart_from: the folder of the cache.
    """
    libraries = (sys.prefix, sys.base_prefix, site.getusersitepackages())
    system = ("/proc", "/sys", "/dev", "/etc", "/usr", "/lib", "/lib64")
    folders = [Path(folder).resolve() for folder in (*libraries, *system, apart_from)]
    home = Path.home().resolve()

    def is_data(path: Path) -> bool:
        hidden = path.is_relative_to(home) and path.relative_to(home).parts[0].startswith(".")
        code = path.suffix in (".py", ".pyc") or path.parent.suffix in (".dist-info", ".egg-info")
        return path.is_file() and not (hidden or code or any(map(path.is_relative_to, folders)))

    return [path for path in sorted(paths) if is_data(path)]


@cache  # A hook cannot be removed.
def _install() -> None:
    sys.addaudithook(_see)


def _see(event: str, arguments: tuple[Any, ...]) -> None:
    if not _watching or event not in ("open", "triptych.read"):
        return
    path, mode, flags = arguments if event == "open" else (*arguments, "r", 0)
    if not isinstance(path, str | bytes | os.PathLike):  # A number stands for an open file.
        return
    path = Path(os.path.realpath(os.fsdecode(path)))
    writes = any(letter in mode for letter in "wax+") if mode else flags & (os.O_WRONLY | os.O_RDWR)
    for seen in _watching:
        (seen.written if writes else seen.read).add(path)
