"""Read files on disk and inside archives, with a limit on what these may unpack to."""

import contextlib
import gzip
import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple
from zipfile import ZipFile, ZipInfo

from harness.core.errors import InputError, require

MAX_BYTES = 16 * 2**30
"""The most that is downloaded as one file, or unpacked from one archive.

STL-10, the largest set that Triptych downloads, has 3 GB. A small file may be made to unpack to
more than any disk holds.
"""

CHUNK = 1 << 20
"""Bytes that are read at a time, of what may turn out to be too large."""


class Member(NamedTuple):
    """A file inside a zip, such as a wheel."""

    archive: Path
    name: str


File = Path | Member

Files = Mapping[str, File]
"""{name: file} of the files that are read. Exactly these are hashed: nothing is read unhashed."""


def is_hidden(name: str) -> bool:
    """Return whether ``name`` is that of a file or folder which tools create and nobody reads.

    The parts . and .. of a path hide nothing.

    >>> [is_hidden(name) for name in (".ipynb_checkpoints", "__MACOSX", "cat", ".")]
    [True, True, False, False]
    """
    return name == "__MACOSX" or (name.startswith(".") and name not in (".", ".."))


def stamp_of(file: Path) -> tuple[int, int, int, int]:
    """Return numbers of which one changes whenever a file's content does.

    A tool may restore the modification time of a file that it changed, and no tool the change
    time; another file in its place has another inode.
    """
    stat = file.stat()
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def in_zip(archive: Path, folder: str) -> dict[str, File]:
    """Return {name: file} of the files directly in a folder of a zip."""
    inside = [name for name in opened(archive).namelist() if name.startswith(f"{folder}/")]
    names = {name: name.removeprefix(f"{folder}/") for name in inside}
    return {short: Member(archive, name) for name, short in names.items() if "/" not in short}


def opened(archive: Path) -> ZipFile:
    """Return an open zip; it is cached, because reading the list of its members is slow.

    Raises:
        InputError: if it is no valid zip, or two of its members have one name.
    """
    with _reading(f"The file {archive}"):
        return _opened(archive, stamp_of(archive))


@lru_cache(maxsize=16)
def _opened(archive: Path, stamp: tuple[int, ...]) -> ZipFile:
    del stamp  # It is part of the cache's key, so that a changed file is opened again.
    return _open_zip(archive)


def _open_zip(archive: Path) -> ZipFile:
    with _reading(f"The file {archive}"):
        found = ZipFile(archive)
    twice = [name for name, number in Counter(found.namelist()).items() if number > 1]
    require(
        not twice,
        f"{archive} must have one member of each name: got several named {', '.join(twice[:3])}. "
        "Pack it again.",
    )
    return found


@contextlib.contextmanager
def _reading(what: str) -> Iterator[None]:
    """Turn what an unreadable or broken file raises into an error that names it."""
    try:
        yield
    except (InputError, MemoryError):
        raise
    except Exception as error:  # `zipfile`, `gzip` and what unpacks for them raise many types.
        reason = f"{type(error).__name__}: {error}".rstrip(": .")
        raise InputError(
            f"{what} must be readable: got {reason}. Copy it again; if it is a zip with a "
            "password, pack it without one."
        ) from error


def _chunks(read: Callable[[int], bytes], what: str) -> Iterator[bytes]:
    """Yield what a stream holds, in parts that ``read`` returns.

    Raises:
        InputError: if it is broken, or holds more than ``MAX_BYTES``.
    """
    size = 0
    while True:
        with _reading(what):
            chunk = read(CHUNK)
        size += len(chunk)
        _require_small(size, what)
        if not chunk:
            return
        yield chunk


def _require_small(size: int, what: str) -> None:
    require(
        size <= MAX_BYTES,
        f"{what} must unpack to at most {MAX_BYTES:,} bytes: got at least {size:,}. Copy it again; "
        "if it is right, unpack it yourself.",
    )


def _member_chunks(zipped: ZipFile, name: str) -> Iterator[bytes]:
    what = f"The member {name} of {zipped.filename}"
    with _reading(what):
        size = zipped.getinfo(name).file_size
        stream = zipped.open(name)
    _require_small(size, what)  # What it states bounds what it unpacks to.
    with stream:
        yield from _chunks(stream.read, what)


def read_bytes(file: File) -> bytes:
    """Return the content of a file, inside a zip or not.

    Raises:
        InputError: if it is inside a zip that is broken, encrypted, or unpacks to more than
            ``MAX_BYTES``.
    """
    if isinstance(file, Member):
        return b"".join(_member_chunks(opened(file.archive), file.name))
    return file.read_bytes()


def gunzip(content: bytes, where: object) -> bytes:
    """Return what gzipped bytes unpack to.

    Args:
        content: the bytes.
        where: the file that holds them, for messages.

    Raises:
        InputError: if they are cut short or broken, or unpack to more than ``MAX_BYTES``.
    """
    with gzip.open(io.BytesIO(content)) as packed:
        return b"".join(_chunks(packed.read, f"The file {where}"))


def unpack(archive: Path, into: Path) -> None:
    """Write the files of a zip into a folder, without the folders that hold them.

    Raises:
        InputError: if it is no valid zip, if two of its files have one name, or if it unpacks to
            more than ``MAX_BYTES``.
    """
    with _open_zip(archive) as zipped:
        found: dict[str, ZipInfo] = {}
        for member in zipped.infolist():
            *_, name = parts = member.filename.split("/")
            if name in ("", ".", "..") or any(map(is_hidden, parts)):
                continue
            require(
                name not in found,
                f"{archive.name} must have one file of each name: got several named {name}. "
                "Pack it again.",
            )
            found[name] = member
        # Several members may share their packed bytes, so the sum counts, not the zip's own size.
        _require_small(sum(member.file_size for member in found.values()), f"The zip {archive}")
        for name, member in found.items():
            with (into / name).open("wb") as file:
                file.writelines(_member_chunks(zipped, member.filename))


def sha256_of(file: File) -> str:
    """Return the sha256 of a file's content."""
    if isinstance(file, Member):
        return hashlib.sha256(read_bytes(file)).hexdigest()
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
