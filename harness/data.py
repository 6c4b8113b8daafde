"""Data sets by name: where each may lie, where it comes from, and what its files hash to."""

import contextlib
import hashlib
import http.client
import json
import os
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import InputError, require
from harness.files import write_atomically

ROOT = "TRIPTYCH_DATA"
"""The environment variable that names a folder of data sets."""

FORM = 2
"""Of what a fingerprint is: one of another form is not remembered."""

SECONDS = 60.0
"""Without a byte, until a download is given up."""


@dataclass(frozen=True)
class Source:
    """One data set: what it is, where it may lie, and how it is had.

    Attributes:
        name: as in ``images(data='cifar10')``.
        modality: ``image``, ``sentence`` or ``graph``.
        about: what it holds, with numbers.
        origin: an address, or the wheel that holds it.
        licence: as its authors state it.
        size: bytes to download; 0 where not known.
        places: files or folders under a root, in the standard layouts of the field;
            the first that exists counts.
        files: {path inside the place: sha256}, of those that are pinned.
        download: write the layout of the first place into a folder that is empty.
        embedded: fetch the pinned wheel that holds it, check it, and return its path; or
            return the path of what a library that is installed brings.
        wheel: that wheel's file name.
    """

    name: str
    modality: str
    about: str
    origin: str
    licence: str
    size: int
    places: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    download: Callable[[Path], None] | None = None
    embedded: Callable[[], Path] | None = None
    wheel: str = ""


def cache_folder() -> Path:
    """Return where downloads are kept: ``TRIPTYCH_CACHE``, or ~/.cache/triptych."""
    chosen = os.environ.get("TRIPTYCH_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "triptych"


def roots(root: str | None = None) -> list[Path]:
    """Return the folders that are looked in: ``root``, ``TRIPTYCH_DATA``'s, the cache's.

    Raises:
        InputError: where ``root`` is given and is no folder.
    """
    require(
        not root or Path(root).expanduser().is_dir(),
        f"`root` must be a folder: got {root!r}, where there is none.",
    )
    named = [root or "", *os.environ.get(ROOT, "").split(os.pathsep)]
    return [Path(name).expanduser() for name in named if name] + [cache_folder() / "data"]


def here(source: Source, root: str | None = None) -> Path | None:
    """Return where ``source`` lies, or None; nothing is downloaded."""
    for folder in roots(root):
        for place in source.places:
            if (folder / place).exists():
                return folder / place
    if source.embedded is not None and not source.wheel:
        return source.embedded()
    wheel = cache_folder() / "wheels" / source.wheel
    return wheel if source.wheel and wheel.exists() else None


def find(source: Source, root: str | None = None) -> Path | None:
    """Return where ``source`` lies, or None; an embedded one is downloaded, once.

    Raises:
        InputError: where an embedded one's wheel cannot be had.
    """
    found = here(source, root)
    if source.embedded is not None and (found is None or found.name == source.wheel):
        return source.embedded()
    return found


def need(source: Source, root: str | None = None) -> Path:
    """Return where ``source`` lies, downloading it where it can be.

    Raises:
        InputError: where it is not here and cannot be had; with the places looked in.
    """
    roots(root)  # A wrong `root` is an error of its own.
    try:
        found = find(source, root)
        if found is not None:
            return found
        if source.download is not None:
            return fetch(source)
    except InputError as error:
        raise missing(source, root, str(error).rstrip(".")) from error
    raise missing(source, root, "Triptych has no pinned download of it")


def checksum(source: Source, root: str | None = None) -> dict[str, str]:
    """Return {what is read: its checksum}, for records; downloads as :func:`need`.

    What is read is named as the wheel, where it is one, and else as the set.

    Raises:
        InputError: as :func:`need` and :func:`fingerprint`.
    """
    place = need(source, root)
    name = place.name if place.name == source.wheel else source.name
    return {name: fingerprint(place)}


def fetch(source: Source) -> Path:
    """Download ``source`` into the cache, if it is not there, and return its place.

    It appears under its name only when it is whole; pinned files are checked.

    Raises:
        InputError: where it fails.
    """
    assert source.download is not None, f"{source.name} has no download"
    place = cache_folder() / "data" / source.places[0]
    try:
        return place if place.exists() else _fetched(source, source.download, place)
    except OSError as error:
        raise InputError(f"could not write {place}: {error}") from error


def _fetched(source: Source, write: Callable[[Path], None], place: Path) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".download-") as folder:
        made = Path(folder) / "made"
        made.mkdir()
        write(made)
        _require_pinned(source, made)
        try:
            made.rename(place)
        except OSError:
            if not place.exists():  # Another process was first otherwise.
                raise
    return place


def download(url: str, to: Path, sha256: str) -> None:
    """Download one file whose checksum is known.

    Raises:
        InputError: where it cannot be had, or is another file.
    """
    if not url.startswith("https://") and not url.startswith("http://"):
        raise InputError(f"`url` must start with https:// or http://: got {url!r}.")
    try:
        with (
            urllib.request.urlopen(url, timeout=SECONDS) as answer,  # noqa: S310
            to.open("wb") as file,
        ):
            shutil.copyfileobj(answer, file, 1 << 20)
    except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
        raise InputError(f"could not download {url}: {error}") from error
    actual = _sha256([to], to.parent)[to.name]
    if actual != sha256:
        raise InputError(
            f"{url} is another file than the pinned one: sha256 {actual}, not {sha256}"
        )


def fingerprint(path: Path, *, remembered: bool = True) -> str:
    """Return the sha256 of a file, or one over names and contents of all files in a folder.

    Remembered, so that a large set is read once and not in every run: until a size or
    a time of change differs, or where ``remembered`` is False.

    Raises:
        InputError: where a folder holds no file.
    """
    path = path.resolve()
    files = sorted(_files(path))
    # The folder's own name is no part of it: the same files elsewhere are the same data.
    base = path if path.is_dir() else path.parent
    state = [(str(f.relative_to(base)), f.stat().st_size, f.stat().st_mtime_ns) for f in files]
    listing = hashlib.sha256(json.dumps([FORM, str(path), state]).encode()).hexdigest()
    memory = cache_folder() / "fingerprints" / f"{listing[:32]}.json"
    try:
        known = json.loads(memory.read_text())
        if remembered and known["listing"] == listing:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    digests = _sha256(files, base)
    made = digests.get(path.name, "")
    if path.is_dir():
        lines = "".join(f"{name}\0{digest}\n" for name, digest in digests.items())
        made = hashlib.sha256(lines.encode()).hexdigest()
    with contextlib.suppress(OSError):  # A cache that cannot be written costs time, no more.
        write_atomically(
            memory, json.dumps({"path": str(path), "listing": listing, "sha256": made})
        )
    return made


def faults(source: Source, path: Path) -> list[str]:
    """Return what is wrong with the pinned files of a data set that lies at ``path``."""
    if path.name == source.wheel:  # Pinned as a whole, and checked where it is fetched.
        return []
    wrong = []
    for name, pinned in source.files.items():
        file = path / name if path.is_dir() else path
        if not file.is_file():
            wrong.append(f"{name} is missing")
        elif (actual := _sha256([file], file.parent)[file.name]) != pinned:
            wrong.append(f"{name} has sha256 {actual}, and not the pinned {pinned}")
    return wrong


def _require_pinned(source: Source, folder: Path) -> None:
    wrong = faults(source, folder)
    if wrong:
        raise InputError(f"what {source.origin} serves is not as pinned: {'; '.join(wrong)}")


def missing(source: Source, root: str | None, why: str) -> InputError:
    """Return the error that says where was looked, and the ways to get it."""
    places = [str(folder / place) for folder in roots(root) for place in source.places]
    if source.wheel:
        places.append(str(cache_folder() / "wheels" / source.wheel))
    ways = [f"get it from {source.origin}"]
    if source.download is not None or source.embedded is not None:
        ways = [f"`triptych data fetch {source.name}` with the internet (from {source.origin})"]
    if source.wheel:
        ways.append(f"copy {source.wheel} to {cache_folder() / 'wheels'}")
    if source.places:
        where = os.environ.get(ROOT) or "a folder"
        ways += [
            f"put it at {source.places[0]} in {where} and name that folder in the environment "
            f"variable {ROOT}",
            "name the folder in the task's setting `root`",
        ]
    number = {2: "Two", 3: "Three", 4: "Four"}[len(ways)]
    return InputError(
        f"The data set {source.name!r} is not here: {why}. Looked for {', '.join(places)}. "
        f"{number} ways to get it: {'; or '.join(ways)}."
    )


def _files(path: Path) -> Iterable[Path]:
    if path.is_file():
        return [path]
    found, seen = [], set()
    # Links are followed: a subset of ImageNet is a folder of links to its classes.
    for where, folders, names in os.walk(path, followlinks=True):
        folder = Path(where)
        new = folder.resolve() not in seen
        seen.add(folder.resolve())
        folders[:] = [name for name in folders if new and not name.startswith(".")]
        found += [folder / name for name in names if not name.startswith(".")]
    require(bool(found), f"{path} must hold files: it is empty.")
    return [file for file in found if file.is_file()]


def _sha256(files: Iterable[Path], base: Path) -> dict[str, str]:
    found = {}
    for path in files:
        with path.open("rb") as file:
            found[path.relative_to(base).as_posix()] = hashlib.file_digest(
                file, "sha256"
            ).hexdigest()
    return found
