"""Images of one's own, in the layouts that people have them in.

- Folders of classes, with splits above them (``train/cat/1.png``) or without (``cat/1.png``);
  folders inside a class count as that class. In a folder, in a zip, or in zips in a folder.
- A table ``metadata.csv`` (or ``.tsv``, ``.jsonl``) beside the images: ``file_name``, ``label``.
- Parquet files that hold the images, and folders that ``datasets`` has saved.
- idx files as MNIST's, CIFAR's own pickles, and an npz as MedMNIST's.

An image's split is that of the column ``split``, if its table has one; otherwise that which the
names of its folders, of its Parquet file or of its zip say, as ``train``, ``pets_test`` or
``val-00000-of-00002`` do. Nothing outside of the given place is read, and no network is asked.

``image_folders`` reads folders of classes, ``image_tables`` tables, ``image_layouts`` the others.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adapters.data import image_folders, image_layouts, image_tables, saved_sets
from adapters.data.image_layouts import ImageFiles, Part, Parts, class_numbers
from adapters.data.image_rows import (
    Found,
    Row,
    by_folders,
    endings,
    files_below,
    is_image,
    is_packed,
    is_side_file,
    is_table,
    where_of,
)
from harness.core.archives import File, Files, Member
from harness.core.errors import require

MIN_UNSPLIT = 5
"""The fewest images of a class without splits: a fifth of them are for the test."""


class OwnImages(NamedTuple):
    """A set of images, not yet decoded.

    Attributes:
        files: what is read, and hashed.
        read: returns its parts.
        drawn: whether it has no test split, so that one is to be drawn.
        note: what is not used, in a sentence; empty if all is.
    """

    files: Files
    read: Callable[[], Parts]
    drawn: bool = False
    note: str = ""


def find(place: Path) -> OwnImages:
    """Return the images at a place.

    Raises:
        InputError: if there are none, a class has no training image, a table names what is not
            there, or it is not clear which split an image is of; the message names the file, and
            the line if it has lines.
    """
    if place.suffix.lower() == ".npz":
        unused = image_layouts.unused_of_npz(place)
        read = partial(image_layouts.med_npz, place)
        return OwnImages({place.name: place}, read, note=_not_used(unused))
    if place.is_dir():
        idx = image_layouts.idx_files(place)
        if all(file.exists() for file in idx.values()):
            note = _not_used(_left_out(idx, ["train", "test"], "beside the idx files", place))
            return OwnImages(idx, partial(image_layouts.idx, place), note=note)
        batches = image_layouts.cifar_pickles(place)
        if batches:
            note = _not_used(_left_out(batches, ["train", "test"], "beside the pickles", place))
            return OwnImages(batches, partial(image_layouts.cifar_python, batches), note=note)
    found = _found(place)
    strays = [f"{where_of(table, place)}, which is no table of images" for table in found.strays]
    splits = {row.split or "train" for row in found.rows}
    others = _left_out(found.files, splits, found.others, place, found.strays)
    return _of_rows(found, [*strays, *others], place)


def _found(place: Path) -> Found:
    """Return what the first layout that fits holds."""
    if saved_sets.is_saved(place):
        files = saved_sets.saved_files(place)
        return Found(image_tables.saved(place), files, "beside the saved set")
    here = files_below(place)
    named = [file for file in here if is_table(file.name)] if place.is_dir() else []
    faults = {table: fault for table in named if (fault := image_tables.fault_of(table))}
    tables = [table for table in named if table not in faults]
    strays = [*faults]
    if tables:
        rows = [row for table in tables for row in image_tables.listed(table, place)]
        image_tables.require_once(rows)
        files = {where_of(file, place): file for file in (*(row.image for row in rows), *tables)}
        return Found(rows, files, "that no table names", strays)
    parquet = {where_of(f, place): f for f in here if f.suffix.lower() == ".parquet"}
    if parquet:
        rows = [row for file in parquet.values() for row in image_tables.parquet(file, place)]
        return Found(rows, parquet, "beside the Parquet files", strays)
    if faults:
        require(image_folders.has_class_folders(place), next(iter(faults.values())))
    return image_folders.class_folders(place)._replace(strays=strays)


def _left_out(
    files: Files, splits: Iterable[str], others: str, place: Path, told: Iterable[Path] = ()
) -> list[str]:
    """Return which images and other files are not read, in words.

    Args:
        files: what is read.
        splits: those that have an image which is read.
        others: which images are not read, in words.
        place: where all of them are.
        told: files that the note already says.

    Raises:
        InputError: if a split of which nothing is read lies among them.
    """
    read = set(files.values())
    archives = {file.archive for file in read if isinstance(file, Member)}
    members = [
        member for archive in sorted(archives) for _, member in image_folders.in_zip(archive)
    ]
    below = {*files_below(place), *members} - read - archives - {*told}
    left = sorted(below, key=lambda file: where_of(file, place))
    images = [file for file in left if is_image(file.name)]
    packed = [file for file in left if is_packed(file.name)]
    rest = [file for file in left if not (is_image(file.name) or is_packed(file.name))]
    rest = [file for file in rest if not is_side_file(_base(file))]
    for file in (*images, *packed, *rest):
        names = Path(where_of(file, place)).with_suffix("").parts
        # Nobody names a zip that is read by itself after what it does not hold.
        names = names[1:] if isinstance(file, Member) and file.archive == place else names
        unread = by_folders(names if file in packed else names[:-1]) - {*splits}
        require(
            not unread,
            f"All splits in {place} must be read: {where_of(file, place)} is named after "
            f"{', '.join(sorted(unread))}, of which no image is. Name its images in the table, "
            "unpack it, convert it to PNG, or move it away.",
        )
    said = [f"{len(images):,} images {others}"] if images else []
    said += [where_of(file, place) for file in packed]
    return said + ([f"{len(rest):,} other files ({endings(map(_base, rest))})"] if rest else [])


def _base(file: File) -> str:
    return file.name.replace("\\", "/").rpartition("/")[2]


# Parts


def _of_rows(found: Found, left_out: Sequence[str], place: Path) -> OwnImages:
    """Return the images of rows, with classes numbered in their order."""
    by_split = _by_split(found.rows, place)
    labelled = {split: own for split, own in by_split.items() if own[0].label is not None}
    test = next((split for split in ("test", "validation") if split in labelled), "")
    require(
        "train" in labelled,
        f"{place} must have images with classes to train on: got "
        f"{', '.join(s if s in labelled else f'{s} without classes' for s in sorted(by_split))}. "
        "Add train with a class for each image; or, to have a test split drawn, say no splits.",
    )
    classes = {split: [row.label for row in own] for split, own in labelled.items()}
    numbers = class_numbers(classes["train"], classes.get(test, ()), str(place))
    count = Counter(classes["train"])
    rare = min(count, key=lambda label: count[label])
    require(
        bool(test) or count[rare] >= MIN_UNSPLIT,
        f"Each class must have {MIN_UNSPLIT} images or more for a test split to be drawn: "
        f"{rare} has {count[rare]}, in {place}. Add images, or make folders train and test.",
    )
    unused = [s for s in by_split if s not in ("train", test, "unlabelled")]
    said = [f"{len(by_split[s]):,} images of {s}" for s in sorted(unused)] + [*left_out]
    untested = set(map(str, numbers)) - set(map(str, classes.get(test, ())))
    if test and untested:
        said.append(f"(no test image of {', '.join(sorted(untested)[:5])})")

    def read() -> Parts:
        parts = {
            name: Part(
                ImageFiles([row.image for row in labelled[split]]),
                np.array([numbers[label] for label in classes[split]]),
            )
            for name, split in (("train", "train"), ("test", test)) if split
        }  # fmt: skip
        if "unlabelled" in by_split:
            parts["unlabelled"] = Part(ImageFiles([row.image for row in by_split["unlabelled"]]))
        return parts

    return OwnImages(found.files, read, not test, _not_used(said))


def _by_split(rows: Sequence[Row], place: Path) -> dict[str, list[Row]]:
    """Return {split: its rows}; rows without splits are all to train on.

    Raises:
        InputError: if only some rows have a split, or only some of a split have a class.
    """
    unsaid = [row for row in rows if not row.split]
    require(
        len(unsaid) in (0, len(rows)),
        f"Either all images in {place} must have a split, or none: "
        f"{unsaid[0].where if unsaid else ''} and {len(unsaid) - 1:,} more have none, and the "
        f"others have {', '.join(sorted({row.split for row in rows if row.split}))}. Name files "
        "or folders after their splits, or fill the column `split`.",
    )
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.split or "train", []).append(row)
    for split, own in found.items():
        without = [row for row in own if row.label is None]
        require(
            # The classes of a test split may be kept secret: such a split is not used.
            split == "unlabelled" or len(without) in (0, len(own)),
            f"All images of {split} in {place} must have a class, or none: {len(without):,} of "
            f"{len(own):,} have none, the first in {without[0].where if without else ''}. Give "
            "them one, or give them the split unlabelled.",
        )
    return found


def _not_used(said: Sequence[str]) -> str:
    return "not used: " + ", ".join(said) if said else ""
