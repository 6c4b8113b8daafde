"""Folders that ``datasets.save_to_disk`` wrote: which files they are, and their tables.

A folder holds one table (``state.json``, ``dataset_info.json`` and the data files that the first
names), or ``dataset_dict.json`` and such a folder for each split that it names. Files that no
other file names, such as ``cache-*.arrow``, are neither read nor hashed.
"""

import re
from pathlib import Path
from typing import Any

from harness.core.errors import InputError, require
from harness.core.schema import read_json

SPLITS_FILE, STATE_FILE, INFO_FILE = "dataset_dict.json", "state.json", "dataset_info.json"


def is_saved(place: Path) -> bool:
    """Return whether a place is a folder that ``datasets.save_to_disk`` wrote."""
    return (place / SPLITS_FILE).is_file() or _is_table(place)


def _is_table(place: Path) -> bool:
    return (place / STATE_FILE).is_file() and (place / INFO_FILE).is_file()


def saved_files(place: Path) -> dict[str, Path]:
    """Return {name: file} of the files that :func:`open_saved` reads.

    Raises:
        InputError: if a file is missing, or one of them names a file outside of the folder.
    """
    # As `datasets` decides, if a folder has the files of both.
    if _is_table(place):
        return _files_of_table(place)
    found = {SPLITS_FILE: place / SPLITS_FILE}
    for split in _names(place / SPLITS_FILE, "splits"):
        files = _files_of_table(place / split)
        found |= {f"{split}/{name}": file for name, file in files.items()}
    return found


def open_saved(place: Path) -> dict[str, Any]:
    """Return {split: ``datasets.Dataset``}; a table without splits has the name ``''``.

    Raises:
        InputError: as :func:`saved_files`; or if the files cannot be read.
    """
    import datasets

    saved_files(place)
    try:
        loaded = datasets.load_from_disk(str(place))
    except Exception as error:  # `datasets` raises many types of exception.
        raise _not_saved(place, f"{type(error).__name__}: {error}") from error
    tables = loaded if isinstance(loaded, dict) else {"": loaded}
    # A set may be saved with a format that turns cells into tensors or hides columns.
    return {str(split): table.with_format(None) for split, table in tables.items()}


def _files_of_table(folder: Path) -> dict[str, Path]:
    names = [STATE_FILE, INFO_FILE, *_names(folder / STATE_FILE, "_data_files", "filename")]
    files = {name: folder / name for name in names}
    missing = [name for name, file in files.items() if not file.is_file()]
    if missing:
        raise _not_saved(folder, f"{missing[0]} is missing")
    return files


def _names(file: Path, key: str, inner: str = "") -> list[str]:
    """Return the names in a file's list ``key``; each must be that of something beside the file."""
    try:
        listed = read_json(file.read_text(encoding="utf-8"))[key]
        names = [str(each[inner] if inner else each) for each in listed]
    except (OSError, ValueError, LookupError, TypeError) as error:
        reason = f"{file.name} cannot be read ({type(error).__name__}: {error})"
        raise _not_saved(file.parent, reason) from error
    outside = [n for n in names if n in (".", "..") or not re.fullmatch(r"[^/\\:\0]+", n)]
    require(
        not outside,
        f"{file} must name what lies beside it: got {', '.join(map(repr, outside[:3]))}, which is "
        "not read. Save the set again with `save_to_disk`.",
    )
    if not names:
        raise _not_saved(file.parent, f"{file.name} names nothing")
    return names


def _not_saved(place: Path, reason: str) -> InputError:
    return InputError(
        f"{place} must be a folder that `datasets` has saved: {reason.rstrip('.')}. Copy all of it "
        "again, or save it again with `save_to_disk`."
    )
