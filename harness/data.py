"""Data sets by name: where each may lie, where it comes from, and the checksums of its files."""

import contextlib
import hashlib
import importlib
import json
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

from harness.core.archives import (
    File,
    Files,
    Member,
    is_hidden,
    sha256_of,
    stamp_of,
)
from harness.core.content import Content
from harness.core.errors import InputError, require, unknown
from harness.core.files import read_plain, write_atomically
from harness.core.schema import read_json

ROOT = "TRIPTYCH_DATA"
"""The environment variable that names a folder of data sets."""

FINGERPRINT_VERSION = 5
"""The version of the fingerprints; cached ones of another version are ignored."""


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
            the first that exists counts, and if none does, the first that exists in other
            capitals.
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
    found = known(name, sources) or plugin_source(name)
    if found is not None:
        require_unambiguous(found, root, name)
    elif user_path(name, root) is None and not is_path(name):
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
        InputError: if several folders have the name of one place, in other capitals.
    """
    found = _find_in_roots(source, root)
    if found is not None:
        return found
    if source.embedded is not None and not source.wheel:
        return source.embedded()
    wheel = cache_folder() / "wheels" / source.wheel
    return wheel if source.wheel and wheel.exists() else None


def _find_in_roots(source: Source, root: str | None) -> Path | None:
    for folder in roots(root):
        # As written first, so that the place `MNIST/raw` is not taken for the place `mnist`.
        for place in source.places:
            if (folder / place).exists():
                return folder / place
        for place in source.places:
            found = _in_any_capitals(folder, place)
            require(
                len(found) < 2,
                f"The data set {source.name!r} must lie at one place: got "
                f"{' and '.join(map(str, found))}, which differ only in capitals. Rename the one "
                f"that is meant to {folder / place}, or remove the others.",
            )
            if found:
                return found[0]
    return None


def _in_any_capitals(folder: Path, place: str | Path) -> list[Path]:
    """Return the paths that a place may mean: the one as written, else all in other capitals."""
    if (folder / place).exists():
        return [folder / place]
    found = [folder]
    for part in Path(place).parts:
        inside = [path for above in found if above.is_dir() for path in sorted(above.iterdir())]
        found = [path for path in inside if path.name.lower() == part.lower() and path.exists()]
    # Links may give one place several names.
    return list({path.resolve(): path for path in found}.values())


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


def require_unambiguous(source: Source, root: str | None = None, spelled: str = "") -> None:
    """Raise :class:`InputError` if a known set's name is also that of a user's file or folder.

    The user's own are looked for where :func:`user_path` does. Not among them are the places of
    the set itself, the folders that hold these, and folders without data.

    Args:
        source: the known set.
        root: a folder to search, too.
        spelled: the name as the user wrote it, if it differs in capitals from the set's.
    """
    folders = roots(root)
    places = {part for place in map(Path, source.places) for part in (place, *place.parents)}
    own = [path for folder in folders for place in places - {Path()}
           for path in _in_any_capitals(folder, place)]  # fmt: skip
    for folder in (Path(), *folders):
        for name in dict.fromkeys((spelled or source.name, source.name)):
            rival = folder / name
            require(
                not _holds_data(rival) or any(rival.samefile(place) for place in own),
                f"{source.name!r} is a known data set, and {rival.absolute()} holds other data "
                f"under the same name. To use these, write their path, such as './{name}' from the "
                "folder that holds them; to use the known data set, rename them or run elsewhere.",
            )


def _holds_data(place: Path) -> bool:
    files = _files_below(place) if place.is_dir() else iter([place])
    return any(file.is_file() for file in files)


def find(source: Source, root: str | None = None) -> Path | None:
    """Return the path where ``source`` lies, or None; an embedded set is downloaded once.

    Raises:
        InputError: if the wheel of an embedded set is not available, or if the set's name is
            ambiguous: see :func:`require_unambiguous`.
    """
    require_unambiguous(source, root)
    found = _find_in_roots(source, root)
    return source.embedded() if found is None and source.embedded is not None else found


def need(source: Source, root: str | None = None) -> Path:
    """Return the path where ``source`` lies; download it if it is missing.

    Raises:
        InputError: if it is missing and cannot be downloaded; the message lists the places
            searched. As :func:`find`, too.
    """
    # Outside the `try`: the message of a wrong `root` or an ambiguous name says what to do.
    require_unambiguous(source, root)
    found = _find_in_roots(source, root)
    if found is not None:
        return found
    try:
        if source.embedded is not None:
            return source.embedded()
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
    for file in _files_below(place):
        if file.is_file():
            found[file.relative_to(place).as_posix()] = file
        else:  # What else there is, such as a socket, holds no data.
            require(
                not file.is_symlink(),
                f"The link {file} must lead to a file: got none. Copy the file there, or remove "
                "the link.",
            )
    require(bool(found), f"The folder {place} must hold files: it is empty. Copy the data into it.")
    return found


def _files_below(place: Path) -> Iterator[Path]:
    """Yield the files below a folder that are not hidden, and links that lead nowhere.

    Links to folders are followed: users make a subset of ImageNet as a folder of links to its
    classes. All names of a folder are followed, so that no class is lost, and nothing depends on
    the order on disk; but no folder is followed below itself, where links form a loop.
    """
    for where, folders, names in os.walk(place, followlinks=True, onerror=_raise_unreadable):
        folder = Path(where)
        above = (path.resolve() for path in folder.parents if path.is_relative_to(place))
        loop = folder.resolve() in above
        folders[:] = [] if loop else sorted(name for name in folders if not is_hidden(name))
        yield from (folder / name for name in sorted(names) if not is_hidden(name))


def _raise_unreadable(error: OSError) -> NoReturn:
    raise InputError(
        f"The folder {error.filename} must be readable: got {error.strerror}. Change its "
        "permissions, or copy it again."
    ) from error


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
        raise InputError(
            f"could not write {place}: {error}. Free some space, or name another folder in the "
            "environment variable TRIPTYCH_CACHE."
        ) from error


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
        _sync(made)
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            made.rename(place)
        except OSError:
            if not place.exists():  # Otherwise another process has downloaded the same data.
                raise
    return place


def _sync(folder: Path) -> None:
    """Write the files of a folder to the disk: its new name may otherwise reach it before them."""
    for where, _, names in os.walk(folder):
        for path in (Path(where) / name for name in names):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())


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
        InputError: if there is no file.
    """
    files = all_files(place.resolve()) if isinstance(place, Path) else place
    require(bool(files), "The data must have a file: got none. Name one.")
    # One file alone has its own checksum; a folder never has.
    of_several = len(files) > 1 or (isinstance(place, Path) and place.is_dir())
    # The cache is keyed by names, paths and stamps: if all of them are unchanged, so are the
    # contents.
    state = []
    for name in sorted(files):
        file = files[name]
        on_disk = file.archive if isinstance(file, Member) else file.resolve()
        # A file whose checksum is remembered is read as well: see harness.core.reads.
        sys.audit("triptych.read", str(on_disk))
        inside = file.name if isinstance(file, Member) else ""
        state.append((name, str(on_disk), inside, *stamp_of(on_disk)))
    key = json.dumps([FINGERPRINT_VERSION, of_several, state])
    listing = hashlib.sha256(key.encode()).hexdigest()
    cache_file = cache_folder() / "fingerprints" / f"{listing[:32]}.json"
    try:
        known = read_json(read_plain(cache_file))
        if remembered and known["listing"] == listing:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    digests = {name: sha256_of(files[name]) for name in sorted(files)}
    digest = next(iter(digests.values()))
    if of_several:
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
        elif (actual := sha256_of(file)) != pinned:
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
