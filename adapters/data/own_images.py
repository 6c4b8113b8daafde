"""Images of one's own, in the layouts that people have them in.

- Folders of classes, with splits above them (``train/cat/1.png``) or without (``cat/1.png``);
  folders inside a class count as that class. In a folder, in a zip, or in zips in a folder.
- A table ``metadata.csv`` or ``metadata.jsonl`` beside the images: ``file_name`` and ``label``.
- Parquet files that hold the images, and folders that ``datasets`` has saved.
- idx files as MNIST's, CIFAR's own pickles, and an npz as MedMNIST's.

Nothing outside of the given place is read, and no network is asked.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from adapters.data import image_layouts, text_tables
from adapters.data.image_layouts import EXTENSIONS, Bytes, ImageFiles, Part, Parts
from harness.core.errors import InputError, require
from harness.data import File, Files, Member, all_files, is_hidden, opened

SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "val": "validation",
    "valid": "validation", "validation": "validation", "dev": "validation",
    "unlabelled": "unlabelled", "unlabeled": "unlabelled", "unsupervised": "unlabelled",
}  # fmt: skip
"""{the name of a folder, a file or a cell: the split}."""
NAMES = ("file_name", "filename", "file", "path", "image")
LABELS = ("label", "class", "category", "fine_label", "labels")
TABLES = ("metadata.csv", "metadata.jsonl", "labels.csv")


class OwnImages(NamedTuple):
    """A set of images, not yet decoded.

    Attributes:
        files: what is read, and hashed.
        read: returns its parts. Without ``test``, a test split is to be drawn.
        note: what is not used, in a sentence; empty if all is.
    """

    files: Files
    read: Callable[[], Parts]
    note: str = ""


class _Row(NamedTuple):
    split: str
    label: str | int
    image: Any  # A file, or the bytes of one.


def find(place: Path) -> OwnImages:
    """Return the images at a place.

    Raises:
        InputError: if there are none, a class has no training image, or a table names what is
            not there; the message names the file, and the line if it has lines.
    """
    if place.suffix.lower() == ".npz":
        return OwnImages({place.name: place}, lambda: image_layouts.med_npz(place))
    if place.is_dir():
        if all(file.exists() for file in image_layouts.idx_files(place).values()):
            files = image_layouts.idx_files(place)
            return OwnImages(files, lambda: image_layouts.idx(place))
        batches = image_layouts.cifar_pickles(place)
        if batches:
            return OwnImages(batches, lambda: image_layouts.cifar_python(batches))
        if text_tables.is_saved(place):
            listed: Files = all_files(place)
            return OwnImages(listed, *_parts(_saved(place), place))
        tables = [f for f in _files(place) if f.name.lower() in TABLES]
        if tables:
            rows = [row for table in tables for row in _listed(table, place)]
            images = {row.image.relative_to(place).as_posix(): row.image for row in rows}
            named = {table.relative_to(place).as_posix(): table for table in tables}
            return OwnImages({**images, **named}, *_parts(rows, place))
    parquet = _parquet_files(place)
    if parquet:
        rows = [row for file in parquet.values() for row in _parquet(file)]
        return OwnImages(parquet, *_parts(rows, place))
    rows, outside = _class_folders(place)
    found = {f"{row.split or '-'}/{row.label}/{_name(row.image)}": row.image for row in rows}
    if len(found) < len(rows):  # Two zips, or two folders of a class, have files of one name.
        found = {_where(row.image, place): row.image for row in rows}
    return OwnImages(found, *_parts(rows, place, outside))


def _files(place: Path) -> list[Path]:
    """Return all files in and below a folder, sorted; skip hidden ones, follow linked folders."""
    found = all_files(place).values() if any(place.iterdir()) else ()
    return sorted(file for file in found if isinstance(file, Path))


def _name(file: File) -> str:
    return file.name.rpartition("/")[2]


def _where(file: File, place: Path) -> str:
    if isinstance(file, Member):
        return f"{file.archive.name}/{file.name}"
    return file.relative_to(place).as_posix()


# Folders of classes


def _class_folders(place: Path) -> tuple[list[_Row], int]:
    """Return the images in folders of classes, and how many lie outside of the splits."""
    images = _images(place)
    require(
        bool(images),
        f"{place} must hold images ({', '.join(sorted(EXTENSIONS))}) in folders train/CLASS and "
        "test/CLASS (or val), in folders CLASS, or with a table metadata.csv: got none.",
    )
    # Folders that hold everything, such as the one that a zip was packed from.
    while len({parts[0] for parts, _ in images}) == 1 and all(len(p) > 2 for p, _ in images):
        if images[0][0][0].lower() in SPLITS:
            break
        images = [(parts[1:], file) for parts, file in images]
    split = any(parts[0].lower() in SPLITS for parts, _ in images)
    least = 3 if split else 2
    rows, outside = [], 0
    for parts, file in images:
        name = SPLITS.get(parts[0].lower(), "") if split else ""
        if split and not name:
            outside += 1
            continue
        if name == "unlabelled":
            rows.append(_Row(name, -1, file))
            continue
        require(
            len(parts) >= least,
            f"An image must lie in the folder of its class: {_where(file, place)} does not. Move "
            f"it into {'/'.join([*parts[:-1], 'CLASS', parts[-1]])}.",
        )
        rows.append(_Row(name, parts[least - 2], file))
    return rows, outside


def _images(place: Path) -> list[tuple[tuple[str, ...], File]]:
    """Return (parts of its path, image) of all images, sorted; those in zips if there are none."""
    if place.is_file():
        require(
            place.suffix.lower() == ".zip",
            f"`data` must be a folder, a zip, a Parquet file or an npz of images: got {place}.",
        )
        return _in_zip(place)
    images: list[tuple[tuple[str, ...], File]] = [
        (file.relative_to(place).parts, file)
        for file in _files(place)
        if file.suffix.lower() in EXTENSIONS
    ]
    # Unpacked beside itself, a zip would otherwise give each image twice.
    zips = sorted(place.glob("*.zip")) if not images else []
    return images or [pair for archive in zips if not is_hidden(archive.name)
                      for pair in _in_zip(archive)]  # fmt: skip


def _in_zip(archive: Path) -> list[tuple[tuple[str, ...], File]]:
    found: list[tuple[tuple[str, ...], File]] = []
    for name in sorted(opened(archive).namelist()):
        parts = tuple(name.split("/"))
        if Path(parts[-1]).suffix.lower() in EXTENSIONS and not any(map(is_hidden, parts)):
            found.append((parts, Member(archive, name)))
    return found


# Tables


def _listed(table: Path, place: Path) -> list[_Row]:
    """Return the images that a table names, which lie beside it or below."""
    read = text_tables.read(table)
    file_column = next((name for name in NAMES if name in read.columns), "")
    label_column = next((name for name in LABELS if name in read.columns), "")
    require(
        bool(file_column and label_column),
        f"{table} must have the columns {NAMES[0]} and {LABELS[0]}: got "
        f"{', '.join(read.columns) or 'none'}. Rename its columns.",
    )
    above = table.relative_to(place).parts[0].lower()
    rows = []
    for number, row in zip(read.lines, read.rows, strict=True):
        cells = dict(zip(read.columns, row, strict=True))
        name, label = cells[file_column], cells[label_column]
        image = table.parent / name
        inside = "://" not in name and image.resolve().is_relative_to(place.resolve())
        require(
            inside and image.is_file() and bool(label),
            f"{read.word} {number} of {table} must name an image inside of {place} and its class: "
            f"got {name!r} and {label!r}. "
            + ("Copy the image there." if inside else "Correct the name."),
        )
        split = cells.get("split", "").lower() or (above if above in SPLITS else "")
        rows.append(_Row(_split(split, f"{read.word} {number} of {table}"), label, image))
    return rows


def _split(name: str, where: str) -> str:
    require(
        not name or name in SPLITS,
        f"A split must be train, test or validation: {where} has {name!r}.",
    )
    return SPLITS.get(name, "")


def _parquet_files(place: Path) -> dict[str, Path]:
    found = {place.name: place}
    if place.is_dir():
        found = {file.relative_to(place).as_posix(): file for file in _files(place)}
    return {name: file for name, file in found.items() if file.suffix.lower() == ".parquet"}


def _parquet(file: Path) -> list[_Row]:
    import pandas as pd

    try:
        table = pd.read_parquet(file)
    except (ValueError, OSError) as error:  # pyarrow's errors derive from these.
        raise InputError(f"{file} is not a valid Parquet file: {error}. Copy it again.") from error
    first = re.split(r"[-_.]", file.name.lower())[0]
    split = SPLITS.get(first) or SPLITS.get(file.parent.name.lower(), "")
    return _of_columns({str(n): list(table[n]) for n in table}, split, str(file))


def _saved(place: Path) -> list[_Row]:
    """Return the rows of a folder that ``datasets.save_to_disk`` wrote."""
    import datasets

    try:
        loaded = datasets.load_from_disk(str(place))
    except Exception as error:  # `datasets` raises many types of exception.
        raise InputError(
            f"{place} is not a data set that `datasets` has saved: {type(error).__name__}: {error}."
        ) from error
    tables = loaded if isinstance(loaded, dict) else {"": loaded}
    rows = []
    for name, table in tables.items():
        images = [n for n, kind in table.features.items() if isinstance(kind, datasets.Image)]
        for column in images:  # Decoding would follow a path to wherever it leads.
            table = table.cast_column(column, datasets.Image(decode=False))
        columns = {column: table[column][:] for column in table.column_names}
        rows += _of_columns(columns, SPLITS.get(name.lower(), ""), f"{place} ({name or 'rows'})")
    return rows


def _of_columns(columns: Mapping[str, Sequence[Any]], split: str, where: str) -> list[_Row]:
    """Return the rows of a table whose cells are images: their bytes, alone or in a mapping."""
    image = next(
        (name for name, cells in columns.items() if len(cells) and _is_image(cells[0])), ""
    )
    label = next((name for name in LABELS if name in columns), "")
    if not label and image:
        whole = (n for n, cells in columns.items() if n != image and _is_whole(cells))
        label = next(whole, "")
    require(
        bool(image and (label or split == "unlabelled")),
        f"{where} must have a column of images and one of classes ({', '.join(LABELS)}): got "
        f"{', '.join(columns) or 'none'}.",
    )
    rows = []
    for number, cell in enumerate(columns[image]):
        content = cell.get("bytes") if isinstance(cell, dict) else cell
        if not isinstance(content, bytes) or not content:
            raise InputError(
                f"{where} must hold the images themselves: row {number + 1} only names "
                f"{cell.get('path') if isinstance(cell, dict) else cell!r}, which is not read. "
                "Save the set with its images embedded."
            )
        value = columns[label][number] if label else -1
        value = value.item() if hasattr(value, "item") else value
        rows.append(
            _Row(
                split, -1 if value is None else value, Bytes(content, f"{where}, row {number + 1}")
            )
        )
    return rows


def _is_image(cell: Any) -> bool:
    return isinstance(cell, bytes) or (isinstance(cell, dict) and {"bytes", "path"} <= cell.keys())


def _is_whole(cells: Sequence[Any]) -> bool:
    return all(isinstance(cell, int | np.integer) for cell in cells)


# Parts


def _parts(rows: Iterable[_Row], place: Path, outside: int = 0) -> tuple[Callable[[], Parts], str]:
    """Return a reader of the parts, and what is left out, in a sentence."""
    rows = list(rows)
    by_split: dict[str, list[_Row]] = {}
    for row in rows:
        by_split.setdefault(row.split or "train", []).append(row)
    # If the labels of a split are not public, they are all -1: such a split is not used.
    labelled = {s: own for s, own in by_split.items() if any(r.label != -1 for r in own)}
    test = next((split for split in ("test", "validation") if split in labelled), "")
    require(
        "train" in labelled,
        f"{place} must have images to train on: got the splits {', '.join(sorted(by_split))}. Add "
        "train, or remove the folders of splits to have a test split drawn.",
    )
    classes = sorted({row.label for row in labelled["train"]}, key=lambda c: (str(type(c)), c))
    require(
        len(classes) > 1,
        f"{place} must have two classes or more in train: got {len(classes)} "
        f"({', '.join(map(str, classes))}).",
    )
    numbers = {label: number for number, label in enumerate(classes)}
    alone = sorted({str(r.label) for r in labelled.get(test, []) if r.label not in numbers})
    require(
        not alone,
        f"Each class must have images in train: {', '.join(alone[:3])} is in {test or 'test'} "
        f"alone, in {place}. Add training images of it, or remove it.",
    )
    untested = set(map(str, classes)) - {str(row.label) for row in labelled.get(test, [])}
    unused = [s for s in by_split if s not in ("train", test, "unlabelled")]
    said = [f"{len(by_split[s]):,} images of {s}" for s in sorted(unused)]
    said += [f"{outside:,} images outside of the splits"] if outside else []
    if test and untested:
        said.append(f"(no test image of {', '.join(sorted(untested)[:5])})")

    def read() -> Parts:
        parts = {"train": labelled["train"], **({"test": labelled[test]} if test else {})}
        found = {
            name: Part(
                ImageFiles([row.image for row in own]),
                np.array([numbers[row.label] for row in own]),
            )
            for name, own in parts.items()
        }
        if "unlabelled" in by_split:
            found["unlabelled"] = Part(ImageFiles([row.image for row in by_split["unlabelled"]]))
        return found

    counts = Counter(row.label for row in labelled["train"])
    rare = min(counts, key=lambda label: counts[label])
    require(
        bool(test) or counts[rare] >= MIN_UNSPLIT,
        f"Each class must have {MIN_UNSPLIT} images or more for a test split to be drawn: "
        f"{rare} has {counts[rare]}, in {place}. Add images, or make folders train and test.",
    )
    return read, "not used: " + ", ".join(said) if said else ""


MIN_UNSPLIT = 5
"""The fewest images of a class without splits: a fifth of them are for the test."""
