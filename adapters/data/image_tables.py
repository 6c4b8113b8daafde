"""Tables of images: files that name images, and tables that hold them."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from adapters.data import saved_sets, text_tables
from adapters.data.image_layouts import EXTENSIONS, Bytes
from adapters.data.image_rows import (
    SPLITS,
    SPREADSHEETS,
    Row,
    by_folders,
    column,
    is_image,
    one_split,
    said,
    split_column,
    split_of_cell,
)
from harness.core.errors import InputError, require

NAMES = ("file_name", "file", "path", "image")
LABELS = ("label", "class", "category", "fine_label", "labels")
IMAGES = ("image", "img")
"""The column of images, if several columns hold some."""


# Files that name images


def fault_of(table: Path) -> str:
    """Return why a file called like a table of images is none; empty if it is one.

    Raises:
        InputError: if it may be one, but cannot be read.
    """
    require(
        table.suffix.lower() not in SPREADSHEETS,
        f"{table} must be a table in CSV, TSV or JSONL: got a spreadsheet. Save it as "
        f"{table.stem}.csv, or move it away.",
    )
    try:
        read = text_tables.read_file(table)
    except InputError as error:
        # A file metadata.json often describes a set, and is no table.
        if text_tables.format_of(table) == ".json":
            return str(error)
        raise
    heading = read.columns[0] if len(read.columns) == 1 else ""
    separated = re.split(r"[,;\t|]", heading)
    require(
        not (column(separated, NAMES, table) and column(separated, LABELS, table)),
        f"{table} must have its columns separated by commas (.csv) or tabs (.tsv): got the heading "
        f"{heading!r}. Save it again.",
    )
    file, label = column(read.columns, NAMES, table), column(read.columns, LABELS, table)
    if not (file and label):
        return (
            f"{table} must have the columns {NAMES[0]} and {LABELS[0]}: got "
            f"{', '.join(read.columns) or 'none'}. Rename its columns."
        )
    names = [row[read.columns.index(file)] for row in read.rows]
    if not any(map(is_image, names)):
        return (
            f"{table} must name files of images ({', '.join(sorted(EXTENSIONS))}) in the column "
            f"{file}: got {', '.join(map(repr, names[:3])) or 'no row'}. Correct the names."
        )
    return ""


def listed(table: Path, place: Path) -> list[Row]:
    """Return the images that a table names, relative to its own folder."""
    read = text_tables.read_file(table)
    chosen = [column(read.columns, NAMES, table), column(read.columns, LABELS, table)]
    others = {
        name: [row[at] for row in read.rows]
        for at, name in enumerate(read.columns)
        if name not in chosen
    }
    split_name = split_column(others, table)
    chosen += [split_name] if split_name else []
    rows = []
    for number, cells in zip(read.lines, read.cells(chosen, table), strict=True):
        name, label, *split_cell = cells
        where = f"{read.word} {number} of {table}"
        # Normalised, but not resolved: a folder may hold links to images elsewhere.
        path = Path(os.path.normpath(table.parent.relative_to(place) / name))
        image = place / path
        inside = "://" not in name and not path.is_absolute() and ".." not in path.parts
        require(
            inside and image.is_file(),
            f"{where} must name an image inside of {place}: got {name!r}. "
            + ("Copy the image there, or unpack it." if inside else "Correct the name."),
        )
        split = split_of_cell("".join(split_cell), where)
        split = split or one_split(by_folders(path.parts[:-1]), where)
        rows.append(Row(split, _label(label, where), image, where))
    return rows


def require_once(rows: Iterable[Row]) -> None:
    """Raise :class:`InputError` if tables name an image twice, by whatever name."""
    named: dict[Path, str] = {}
    for row in rows:
        file = row.image.resolve()
        require(
            file not in named,
            f"An image must be in one row: {row.image} is in {named.get(file)} and in {row.where}. "
            "Remove one of the rows, or one of the tables.",
        )
        named[file] = row.where


# Tables that hold images


def parquet(file: Path, place: Path) -> list[Row]:
    """Return the rows of a Parquet file."""
    from pyarrow import parquet

    try:
        # Not by its path, of whose folders Arrow would make columns.
        with file.open("rb") as content:
            table = parquet.read_table(content)
        # pandas would turn whole numbers into 0.0 and 1.0 if a cell of their column is missing.
        columns = table.to_pydict()
    except Exception as error:  # Arrow raises many types of exception.
        raise InputError(f"{file} is not a valid Parquet file: {error}. Copy it again.") from error
    require(
        len(columns) == len(table.column_names),
        f"{file} must have one column of each name: got {', '.join(table.column_names)}. Rename "
        "the others.",
    )
    names = file.relative_to(place).with_suffix("").parts if file != place else ()
    return _of_columns(columns, said(*names), str(file))


def saved(place: Path) -> list[Row]:
    """Return the rows of a folder that ``datasets.save_to_disk`` wrote."""
    rows = []
    for name, table in saved_sets.open_saved(place).items():
        # As Arrow has them, images are bytes: decoding would follow a path to wherever it leads.
        columns = table.with_format("arrow")[:].to_pydict()
        splits = {SPLITS.get(name.lower(), name)} if name else set()
        rows += _of_columns(columns, splits, f"{place / name}")
    return rows


def _of_columns(columns: Mapping[str, Sequence[Any]], splits: set[str], where: str) -> list[Row]:
    """Return the rows of a table whose cells are images: their bytes, alone or in a mapping.

    Args:
        columns: {column: cells}.
        splits: those that the table's name says.
        where: the table, for messages.
    """
    if not any(map(len, columns.values())):
        return []
    image = _image_column(columns, where)
    others = {name: cells for name, cells in columns.items() if name != image}
    label = _label_column(others, where)
    others.pop(label, None)
    split_name = split_column(others, where)
    split = "" if split_name else one_split(splits, where)
    require(
        bool(image and (label or split == "unlabelled")),
        f"{where} must have a column of images and one of classes ({', '.join(LABELS)}): got "
        f"{', '.join(columns) or 'none'}. Rename its columns.",
    )
    rows = []
    for number, cell in enumerate(columns[image]):
        row = f"row {number + 1} of {where}"
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes) or not content:
            raise InputError(
                f"{where} must hold the images themselves: row {number + 1} only names "
                f"{cell.get('path') if isinstance(cell, dict) else cell!r}, which is not read. "
                "Save the set with its images embedded."
            )
        rows.append(
            Row(
                split_of_cell(columns[split_name][number], row) if split_name else split,
                _label(columns[label][number], row) if label else None,
                Bytes(content, f"{where}, row {number + 1}"),
                row,
            )
        )
    return rows


def _image_column(columns: Mapping[str, Sequence[Any]], where: str) -> str:
    """Return the column of images; empty if there is none."""
    firsts = {
        name: next((c for c in cells if c is not None), None) for name, cells in columns.items()
    }
    found = [
        name for name, cell in firsts.items()
        if isinstance(cell, bytes) or (isinstance(cell, dict) and {"bytes", "path"} <= cell.keys())
    ]  # fmt: skip
    named = column(found, IMAGES, where)
    require(
        bool(named) or len(found) < 2,
        f"{where} must have one column of images: got {', '.join(found)}. Name the one to be read "
        f"{IMAGES[0]!r}.",
    )
    return named or next(iter(found), "")


def _label_column(others: Mapping[str, Sequence[Any]], where: str) -> str:
    """Return the column of classes: by its name, or the only one, if it holds whole numbers."""
    named = column(others, LABELS, where)
    rest = [name for name in others if text_tables.plain(name) != "split"]
    whole = len(rest) == 1 and all(isinstance(cell, int) for cell in others[rest[0]])
    return named or (rest[0] if whole else "")


def _label(value: Any, where: str) -> str | int | None:
    """Return a class; None for a missing one, such as the -1 of ``datasets``."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str):
        # A table of texts may write the number 1 as 1.0, and another table of the set as 1.
        value = text_tables.whole(value.strip())
    # NaN alone differs from itself.
    if value is None or value in ("", "-1", -1) or value != value:
        return None
    if not isinstance(value, str | int):
        raise InputError(
            f"A class must be a whole number or a word: {where} has {value!r}. Save the classes as "
            "numbers from 0, or as words."
        )
    return value
