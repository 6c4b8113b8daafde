"""Data sets by name: where each may lie, where it comes from, and the checksums of its files."""

import contextlib
import hashlib
import http.client
import importlib
import json
import os
import shutil
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile, ZipFile

from harness.core.content import Content
from harness.core.errors import InputError, require, unknown
from harness.core.files import write_atomically

ROOT = "TRIPTYCH_DATA"
"""The environment variable that names a folder of data sets."""

FINGERPRINT_VERSION = 4
"""The version of the fingerprints; cached ones of another version are ignored."""

TIMEOUT_SECONDS = 60.0
"""Seconds without a byte after which a transfer counts as broken off."""
ATTEMPTS = 4
"""How many transfers in a row may bring no new byte."""
FIRST_ATTEMPTS = 2
"""The same before the first byte: without a network, nobody should wait long."""
PAUSE = 1.0
"""Seconds before the second attempt; each further pause takes twice as long."""


class Member(NamedTuple):
    """A file inside a zip, such as a wheel."""

    archive: Path
    name: str


File = Path | Member
Files = Mapping[str, File]
"""{name: file} of the files that are read. Exactly these are hashed: nothing is read unhashed."""


Count = int | tuple[int, int]
"""How many there are, or the lowest and the highest number that there may be."""


@dataclass(frozen=True)
class Source:
    """One data set: what it is, where it may lie, and how to get it.

    Attributes:
        name: as in ``images(data='cifar10')``.
        modality: ``image``, ``sentence`` or ``graph``.
        about: what it holds, with numbers.
        origin: an address, or the wheel that holds it.
        licence: as its authors state it.
        size: bytes to download; 0 if unknown.
        places: files or folders under a root, in the standard layouts of the field;
            the first that exists counts. Capitals and small letters do not matter.
        holds: names of files that such a place has, for the message that it is missing.
        files: {path inside the place: sha256} of the files whose checksum is pinned.
        listed: returns the files of a place that are read; if left out, all files that are
            not hidden.
        download: writes the data into an empty folder, in the layout of the first place.
        embedded: fetches and checks the pinned wheel that holds the data, and returns the
            wheel's path; or returns the path of the data inside an installed library.
        wheel: that wheel's file name.
        counts: {what: how many there are}, such as ``{"graphs": 188}``; a pair is a range, for
            numbers that are published as rounded averages. Empty if nothing is known for certain.
        measure: reads the data at a place and returns the same numbers, as they are there.
    """

    name: str
    modality: str
    about: str
    origin: str
    licence: str
    size: int = 0
    places: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    listed: Callable[[Path], Files] | None = None
    download: Callable[[Path], None] | None = None
    embedded: Callable[[], Path] | None = None
    wheel: str = ""
    holds: tuple[str, ...] = ()
    counts: Mapping[str, Count] = field(default_factory=dict)
    measure: Callable[[Path], Mapping[str, int]] | None = None


def cache_folder() -> Path:
    """Return where downloads are kept: ``TRIPTYCH_CACHE``, or ~/.cache/triptych."""
    chosen = os.environ.get("TRIPTYCH_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "triptych"


def roots(root: str | None = None) -> list[Path]:
    """Return the folders to search: ``root``, those in ``TRIPTYCH_DATA``, the cache's.

    Raises:
        InputError: if ``root`` is given and is not a folder.
    """
    require(
        not root or Path(root).expanduser().is_dir(),
        f"`root` must be an existing folder: got {root!r}. Create it, or name another one.",
    )
    named = [root or "", *os.environ.get(ROOT, "").split(os.pathsep)]
    return [Path(name).expanduser() for name in named if name] + [cache_folder() / "data"]


def user_path(name: str, root: str = "") -> Path | None:
    """Return the user's own file or folder that ``name`` refers to, or None.

    Args:
        name: a path, or the name of a file or folder here or in one of :func:`roots`.
        root: a folder to search first.
    """
    given = plugin_source(name)
    if given is not None:
        return need(given, root)
    return next((place for place in searched_paths(name, root) if name and place.exists()), None)


def plugin_source(name: str) -> Source | None:
    """Return the data set of a plugin of the group ``data``; it is read as a user's own data."""
    # Keys cover what an import statement names, and how plugins are found changes no score.
    registry = importlib.import_module("harness.core.registry")
    for listed in registry.names("data") if name and not is_path(name) else ():
        if registry.find("data", listed).is_foreign:
            found: Source | None = registry.load("data", listed).get(name)
            if found is not None:
                return found
    return None


def known(name: str, sources: Mapping[str, Source]) -> Source | None:
    """Return the data set that a name means: capitals, and _ in the place of -, do not matter."""
    return sources.get(name) or sources.get(name.lower().replace("_", "-"))


def searched_paths(name: str, root: str = "") -> list[Path]:
    """Return the paths that :func:`user_path` tries: in the current folder, then in each root."""
    return [folder / Path(name).expanduser() for folder in (Path(), *roots(root))]


def unknown_data(kind: str, name: str, known: Iterable[str], root: str = "") -> InputError:
    """Return the error for a name that is neither a known set nor a user's own."""
    looked = ", ".join(str(place) for place in searched_paths(name, root))
    return InputError(
        f"{unknown(kind, name, known)} To use your own file or folder, give its path, or "
        f"put it into a folder named in {ROOT} and give its name. Looked for {looked}."
    )


def require_known(kind: str, name: str, sources: Mapping[str, Source], root: str = "") -> None:
    """Raise :class:`InputError` unless ``name`` is a known set, a path, or names a user's data.

    Whether a path leads to usable data is checked later, when the data are fetched.
    """
    found = known(name, sources)
    if found is not None:
        require_unambiguous(found, root)
    elif plugin_source(name) is None and user_path(name, root) is None and not is_path(name):
        raise unknown_data(kind, name, sources, root)


def is_path(name: str) -> bool:
    """Return whether ``name`` is written as a path, and not as an address on a hub.

    >>> [is_path(name) for name in ("./pets", "home/pets", "pets", "hub:owner/pets")]
    [True, True, False, False]
    """
    return not name.startswith("hub:") and ("/" in name or name.startswith((".", "~")))


def label_of(place: Path) -> str:
    """Return the label that boards give the data at ``place``: the last part of its path.

    PyG keeps each set's files in a folder ``raw``, which names nothing.

    >>> label_of(Path("home/pets/")), label_of(Path("sets/MINE/raw"))
    ('pets', 'MINE')
    """
    whole = Path(os.path.abspath(place))  # noqa: PTH100  `resolve` would follow a link and lose its name.
    return whole.parent.name if whole.name == "raw" else whole.name


def find_local(source: Source, root: str | None = None) -> Path | None:
    """Return the path where ``source`` lies, or None; download nothing.

    Raises:
        InputError: if a folder of the source's name holds something else: see
            :func:`require_unambiguous`.
    """
    require_unambiguous(source, root)
    for folder in roots(root):
        for place in source.places:
            found = _in_any_case(folder, place)
            if found is not None:
                return found
    if source.embedded is not None and not source.wheel:
        return source.embedded()
    wheel = cache_folder() / "wheels" / source.wheel
    return wheel if source.wheel and wheel.exists() else None


def _in_any_case(folder: Path, place: str) -> Path | None:
    """Return the path of a place in a folder, whose parts may have other capitals; else None."""
    if (folder / place).exists():
        return folder / place
    for part in Path(place).parts:
        alike = folder.iterdir() if folder.is_dir() else ()
        folder = next((p for p in sorted(alike) if p.name.lower() == part.lower()), folder / part)
    return folder if folder.exists() else None


def require_counts(source: Source, found: Mapping[str, int], where: object) -> None:
    """Raise :class:`InputError` if a copy of a data set has other sizes than ``source.counts``.

    Args:
        source: the data set.
        found: {what: how many there are} in the copy.
        where: the place of the copy, for the message.
    """
    for what, known in source.counts.items():
        low, high = known if isinstance(known, tuple) else (known, known)
        require(
            low <= found[what] <= high,
            f"The data set {source.name!r} must have {count_text(known)} {what}: got "
            f"{found[what]:,} in {where}. Get the whole set from {source.origin}; to use other "
            "data, give their path.",
        )


def count_text(known: Count) -> str:
    """Return a number, or a range of numbers, as a text.

    >>> count_text(1113), count_text((80234, 81855))
    ('1,113', '80,234 to 81,855')
    """
    return f"{known[0]:,} to {known[1]:,}" if isinstance(known, tuple) else f"{known:,}"


def require_unambiguous(source: Source, root: str | None = None) -> None:
    """Raise :class:`InputError` if a known set's name is also that of a user's folder.

    A folder that is or holds one of the set's own places counts as that set.
    """
    tops = {Path(place).parts[0] for place in source.places}
    for folder in roots(root):
        rival = folder / source.name
        own = filter(None, (_in_any_case(folder, top) for top in tops))
        if rival.exists() and not any(rival.samefile(place) for place in own):
            raise InputError(
                f"{source.name!r} is a known data set, and {rival} holds other data under the same "
                f"name. To use that folder, write its path, such as './{source.name}'; to use the "
                "known data set, rename the folder."
            )


def find(source: Source, root: str | None = None) -> Path | None:
    """Return the path where ``source`` lies, or None; an embedded set is downloaded once.

    Raises:
        InputError: if the wheel of an embedded set is not available.
    """
    found = find_local(source, root)
    if source.embedded is not None and (found is None or found.name == source.wheel):
        return source.embedded()
    return found


def need(source: Source, root: str | None = None) -> Path:
    """Return the path where ``source`` lies; download it if it is missing.

    Raises:
        InputError: if it is missing and cannot be downloaded; the message lists the places
            searched.
    """
    roots(root)  # Outside the `try`, so that a wrong `root` keeps its own message.
    try:
        found = find(source, root)
        if found is not None:
            return found
        if source.download is not None:
            return fetch(source)
    except InputError as error:
        raise missing(source, root, str(error).rstrip(".")) from error
    raise missing(source, root, "Triptych has no pinned download of it")


def content(
    source: Source,
    root: str | None = None,
    *,
    setting: str = "data",
    form: str = "",
    trained_on: bool = True,
) -> Content:
    """Return the content of ``source`` that a task reads; download it as :func:`need` does.

    Args:
        source: the data set.
        root: a folder to search first.
        setting: the task's setting that names it.
        form: see :class:`~harness.core.content.Content`.
        trained_on: see :class:`~harness.core.content.Content`.

    Raises:
        InputError: see :func:`need` and :func:`fingerprint`.
    """
    checksum = fingerprint(files_of(source, need(source, root)))
    return Content(setting, source.name, checksum, form, trained_on)


def files_of(source: Source, place: Path) -> Files:
    """Return the files at ``place`` that the reader of ``source`` reads.

    Raises:
        InputError: if there are none, or one is missing.
    """
    found = all_files(place) if source.listed is None else source.listed(place)
    require_complete(found, f"{source.name!r} at {place}", f"Get it again from {source.origin}")
    return found


def require_complete(files: Files, what: str, advice: str) -> None:
    """Raise :class:`InputError` if there are no files, or if one of them is missing."""
    missing = [f for f in files.values() if isinstance(f, Path) and not f.is_file()]
    require(
        bool(files) and not missing,
        f"The data set {what} must be complete: {missing[0].name if missing else 'every file'} is "
        f"missing. {advice}.",
    )


def all_files(place: Path) -> dict[str, File]:
    """Return {name: file} of a file, or of all files in a folder that are not hidden.

    Raises:
        InputError: if a folder holds no file.
    """
    if place.is_file():
        return {place.name: place}
    found: dict[str, File] = {}
    seen = set()
    # Follow links: users make a subset of ImageNet as a folder of links to its classes. Links
    # may form a loop, so descend into each folder once.
    for where, folders, names in os.walk(place, followlinks=True):
        folder = Path(where)
        new = folder.resolve() not in seen
        seen.add(folder.resolve())
        folders[:] = [name for name in folders if new and not is_hidden(name)]
        files = [folder / name for name in names if not is_hidden(name)]
        found |= {f.relative_to(place).as_posix(): f for f in files if f.is_file()}
    require(bool(found), f"The folder {place} must hold files: it is empty. Copy the data into it.")
    return found


def is_hidden(name: str) -> bool:
    """Return whether ``name`` is that of a file or folder which tools create and nobody reads.

    >>> [is_hidden(name) for name in (".ipynb_checkpoints", "__MACOSX", "cat")]
    [True, True, False]
    """
    return name.startswith(".") or name == "__MACOSX"


def in_zip(archive: Path, folder: str) -> dict[str, File]:
    """Return {name: file} of the files directly in a folder of a zip."""
    inside = [name for name in opened(archive).namelist() if name.startswith(f"{folder}/")]
    names = {name: name.removeprefix(f"{folder}/") for name in inside}
    return {short: Member(archive, name) for name, short in names.items() if "/" not in short}


def opened(archive: Path) -> ZipFile:
    """Return an open zip; it is cached, because reading the list of its members is slow."""
    return _opened(archive, archive.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _opened(archive: Path, modified: int) -> ZipFile:
    del modified  # It is part of the cache's key, so that a changed file is opened again.
    return ZipFile(archive)


def read_bytes(file: File) -> bytes:
    """Return the content of a file, inside a zip or not."""
    return opened(file.archive).read(file.name) if isinstance(file, Member) else file.read_bytes()


def fetch(source: Source) -> Path:
    """Download ``source`` into the cache, if it is not there, and return its path.

    It appears under its name only once it is complete and its pinned files are checked.

    Raises:
        InputError: if the download fails.
    """
    assert source.download is not None, f"{source.name} has no download"
    place = cache_folder() / "data" / source.places[0]
    try:
        return place if place.exists() else _fetched(source, source.download, place)
    except OSError as error:
        raise InputError(f"could not write {place}: {error}") from error


def _fetched(source: Source, write: Callable[[Path], None], place: Path) -> Path:
    # Not in the place's own parent: a download that fails must not leave that folder behind,
    # which may be a place of the set too.
    kept = cache_folder() / "data"
    kept.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept, prefix=".download-") as folder:
        made = Path(folder) / "made"
        made.mkdir()
        write(made)
        _require_pinned(source, made)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            made.rename(place)
        except OSError:
            if not place.exists():  # Otherwise another process has downloaded the same data.
                raise
    return place


def download(url: str, to: Path, sha256: str = "") -> None:
    """Download one file; a transfer that breaks off is resumed where it ended.

    Args:
        url: its address.
        to: the file to write.
        sha256: its checksum; empty only if the address itself names the content, such as that of
            a file at a commit.

    Raises:
        InputError: if it cannot be downloaded, or has another checksum.
    """
    if not url.startswith("https://") and not url.startswith("http://"):
        raise InputError(f"`url` must start with https:// or http://: got {url!r}.")
    to.unlink(missing_ok=True)
    failures, had = 0, 0
    while True:
        try:
            _continue(url, to)
            break
        except urllib.error.HTTPError as error:
            raise InputError(f"could not download {url}: {error}") from error
        except (urllib.error.URLError, http.client.HTTPException, OSError) as error:
            have = to.stat().st_size if to.exists() else 0
            failures = failures + 1 if have <= had else 1
            had = have
            if failures == (ATTEMPTS if have else FIRST_ATTEMPTS):
                raise InputError(
                    f"could not download {url}: {failures} attempts brought nothing more: {error}"
                ) from error
            time.sleep(PAUSE * 2 ** (failures - 1))
    if sha256 and (actual := _sha256(to)) != sha256:
        raise InputError(f"{url} must have the pinned sha256 {sha256}: got {actual}")


def _continue(url: str, to: Path) -> None:
    """Download what a file lacks.

    Raises:
        OSError: if the transfer ends before the length that the server gave.
    """
    have = to.stat().st_size if to.exists() else 0
    request = urllib.request.Request(url, headers={"Range": f"bytes={have}-"} if have else {})  # noqa: S310
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310
        # A server that does not know ranges sends the whole file with another status.
        have = have if answer.status == http.HTTPStatus.PARTIAL_CONTENT else 0
        length = answer.headers.get("Content-Length")
        with to.open("ab" if have else "wb") as file:
            shutil.copyfileobj(answer, file, 1 << 20)
        wanted = None if length is None else have + int(length)
    if wanted is not None and to.stat().st_size != wanted:
        raise OSError(f"it ended after {to.stat().st_size:,} of {wanted:,} bytes")


def unpack(archive: Path, into: Path) -> None:
    """Write the files of a zip into a folder, without the folders that hold them.

    Raises:
        InputError: if it is no valid zip.
    """
    try:
        with ZipFile(archive) as opened:
            for member in opened.infolist():
                name = member.filename.rpartition("/")[2]
                if name and not any(map(is_hidden, member.filename.split("/"))):
                    (into / name).write_bytes(opened.read(member))
    except BadZipFile as error:
        raise InputError(f"{archive.name} is not a valid zip: {error}") from error


def checksums(*paths: str | Path, setting: str = "data", trained_on: bool = True) -> list[Content]:
    """Return the contents of files and folders, for :meth:`harness.task.Task.fetch` to return.

    No key depends on where they lie: only on what is in them.

    Args:
        paths: files, and folders with all that is not hidden in them.
        setting: the task's setting that names them.
        trained_on: whether training examples come from them.

    Raises:
        InputError: if there is no such file or folder, or if a folder is empty.
    """
    found = []
    for path in map(Path, paths):
        require(
            path.exists(),
            f"`{setting}` must be a file or folder that exists: got {str(path)!r} in {Path.cwd()}. "
            "Check the path.",
        )
        checksum = fingerprint(path if path.is_dir() else {path.name: path})
        found.append(Content(setting, label_of(path), checksum, trained_on=trained_on))
    return found


def fingerprint(place: Path | Files, *, remembered: bool = True) -> str:
    """Return the sha256 of one file's content, or one over the names and contents of several.

    The cache remembers it until a file's size, its modification or change time, or its inode
    changes, so that a large set is not read in every run.

    Args:
        place: a file, a folder with all that is not hidden, or {name: file}.
        remembered: whether a remembered result may be returned.

    Raises:
        InputError: if a folder holds no file.
    """
    files = all_files(place.resolve()) if isinstance(place, Path) else place
    # The cache is keyed by names, paths and stamps: if all of them are unchanged, so are the
    # contents.
    state = []
    for name in sorted(files):
        file = files[name]
        on_disk = file.archive if isinstance(file, Member) else file.resolve()
        # A file whose checksum is remembered is read as well: see harness.core.reads.
        sys.audit("triptych.read", str(on_disk))
        inside = file.name if isinstance(file, Member) else ""
        stat = on_disk.stat()
        # A tool may restore the modification time of a file that it changed, and no tool the
        # change time; another file in its place has another inode.
        stamp = (stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino)
        state.append((name, str(on_disk), inside, *stamp))
    listing = hashlib.sha256(json.dumps([FINGERPRINT_VERSION, state]).encode()).hexdigest()
    cache_file = cache_folder() / "fingerprints" / f"{listing[:32]}.json"
    try:
        known = json.loads(cache_file.read_text())
        if remembered and known["listing"] == listing:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    digests = {name: _sha256(files[name]) for name in sorted(files)}
    digest = next(iter(digests.values()))
    if len(digests) > 1 or (isinstance(place, Path) and place.is_dir()):
        # Leave out the folder's own name: the same files elsewhere are the same data.
        lines = "".join(f"{name}\0{one}\n" for name, one in digests.items())
        digest = hashlib.sha256(lines.encode()).hexdigest()
    with contextlib.suppress(OSError):  # A cache that cannot be written only costs time.
        write_atomically(cache_file, json.dumps({"listing": listing, "sha256": digest}))
    return digest


def faults(source: Source, path: Path) -> list[str]:
    """Return the faults of the pinned files of a data set that lies at ``path``."""
    if path.name == source.wheel:  # The wheel is pinned as one file, and checked when fetched.
        return []
    wrong = []
    for name, pinned in source.files.items():
        file = path / name if path.is_dir() else path
        if not file.is_file():
            wrong.append(f"{name} is missing")
        elif (actual := _sha256(file)) != pinned:
            wrong.append(f"{name} has the sha256 {actual} instead of the pinned {pinned}")
    return wrong


def _require_pinned(source: Source, folder: Path) -> None:
    wrong = faults(source, folder)
    if wrong:
        faulty = "; ".join(wrong)
        raise InputError(f"the files from {source.origin} differ from the pinned ones: {faulty}")


def missing(source: Source, root: str | None, why: str) -> InputError:
    """Return the error that lists the places searched, and the ways to get the data."""
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
    number = {1: "One way", 2: "Two ways", 3: "Three ways", 4: "Four ways"}[len(ways)]
    files = tuple(source.files) or source.holds
    inside = f" (each with {', '.join(files)})" if files else ""
    return InputError(
        f"The data set {source.name!r} is not here: {why}. Looked for {', '.join(places)}{inside}. "
        f"{number} to get it: {'; or '.join(ways)}."
    )


def _sha256(file: File) -> str:
    if isinstance(file, Member):
        return hashlib.sha256(read_bytes(file)).hexdigest()
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
