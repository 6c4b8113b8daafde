"""Images in folders of classes, on disk or in zips: which class and which split each is of."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from adapters.data.image_layouts import EXTENSIONS
from adapters.data.image_rows import (
    SPLITS,
    Found,
    Row,
    endings,
    files_below,
    is_image,
    is_side_file,
    is_table,
    one_split,
    said,
    where_of,
)
from harness.core.archives import Member, is_hidden, opened
from harness.core.errors import InputError, require

Paths = list[tuple[tuple[str, ...], Path | Member]]
"""(The parts of its path, the file) of files; the last part of an empty folder is empty."""


def class_folders(place: Path) -> Found:
    """Return the images in folders of classes; leave out those outside of the splits.

    Raises:
        InputError: if there are none, an image lies in no folder of a class, a folder of a class
            holds no image that is read, or it is not clear which split an image is of.
    """
    paths = _paths(place)
    images = [(parts, file) for parts, file in paths if is_image(parts[-1])]
    require(
        bool(images),
        f"{place} must hold images ({', '.join(sorted(EXTENSIONS))}) in folders train/CLASS and "
        "test/CLASS (or val), in folders CLASS, or with a table metadata.csv: got none.",
    )
    splits = _split_folders(images, place)
    least = 3 if splits else 2
    if not splits:
        _require_no_splits_below(images, place)
    rows: list[tuple[str, Row]] = []
    for parts, file in images:
        where = where_of(file, place)
        split = splits.get(parts[0], "")
        if splits and not split:
            continue
        if split == "unlabelled":
            rows.append((parts[-1], Row(split, None, file, where)))
            continue
        require(
            len(parts) >= least,
            f"An image must lie in the folder of its class: {where} does not. Move "
            f"it into {'/'.join([*parts[:-1], 'CLASS', parts[-1]])}, or name it and its class in a "
            f"table metadata.csv. {_IF_CLASSES}",
        )
        other = next(
            (n for n in parts[least - 1 : -1] if SPLITS.get(n.lower(), split) != split), ""
        )
        require(not other, _below(where, other, parts[least - 2]))
        rows.append((parts[-1], Row(split, parts[least - 2], file, where)))
    _require_readable(paths, splits, [row for _, row in rows], place)
    return _sorted(rows)


_IF_CLASSES = "If these folders are classes, move all of them into one folder train."


def _below(where: str, split: str, label: str) -> str:
    return (
        f"The folder of a split must lie above those of classes: {where} lies in {split} below "
        f"{label}. Move it into {split}/{label}."
    )


def _sorted(rows: Sequence[tuple[str, Row]]) -> Found:
    """Return (file name, row) pairs in the order of the names that are hashed.

    The test split is drawn by the order of the rows. Of two sets with one checksum it must be the
    same, whatever folders or zips their images lie in.
    """
    named = {f"{row.split or '-'}/{row.label}/{name}": row for name, row in rows}
    if len(named) < len(rows):  # Two zips, or two folders of a class, have files of one name.
        named = {row.where: row for _, row in rows}
    named = dict(sorted(named.items()))
    files = {name: row.image for name, row in named.items()}
    return Found([*named.values()], files, "outside of the splits")


def has_class_folders(place: Path) -> bool:
    """Return whether images lie in the folders of two classes or more."""
    try:
        return len({row.label for row in class_folders(place).rows}) > 1
    except InputError:
        return False


def _split_folders(images: Paths, place: Path) -> dict[str, str]:
    """Return {folder at the top: split}; empty if the folders at the top are classes."""
    tops = sorted({parts[0] for parts, _ in images if len(parts) > 1})
    flat = {parts[0] for parts, _ in images if len(parts) == 2}
    deep = {parts[0] for parts, _ in images if len(parts) > 2}
    words = {top: said(top) for top in tops}
    others = [top for top in tops if not words[top]]
    splits = {top: words[top] for top in tops if words[top]}
    if others:
        # Beside `car`, `steam_train` is a class if images lie in it, and a split if the folders
        # of classes do; but if several such names say different splits, they are not classes.
        vague = [top for top in splits if top in flat and top.lower() not in SPLITS]
        if len(set().union(*(splits[top] for top in vague))) < 2:
            splits = {top: found for top, found in splits.items() if top not in vague}
        # Folders beside a `train` that holds those of classes are left out.
        plain = any(top in deep and top.lower() in SPLITS for top in splits)
        trained = any("train" in splits[top] and top in deep for top in splits)
        require(
            not splits or (plain and trained),
            f"Either all folders in {place} must be named after splits, or none: "
            f"{next(iter(splits), '')} is, and {others[0]} is not. Name the folders of splits "
            f"train and test, with folders of classes in each. {_IF_CLASSES}",
        )
    return {top: one_split(found, f"{top} in {place}") for top, found in splits.items()}


def _require_no_splits_below(images: Paths, place: Path) -> None:
    """Raise :class:`InputError` if all images lie in splits below the folders of classes."""
    found = [next((n for n in parts[1:-1] if said(n)), "") for parts, _ in images]
    parts, file = images[0]
    require(not all(found), _below(where_of(file, place), found[0], parts[0]))


def _require_readable(
    paths: Paths, splits: dict[str, str], rows: Sequence[Row], place: Path
) -> None:
    """Raise :class:`InputError` if the folder of a class holds files, none of which is read."""
    known = {(row.split, row.label) for row in rows}
    unread: dict[tuple[str, ...], list[str]] = {}
    at = 1 if splits else 0
    for parts, _ in paths:
        split = splits.get(parts[0], "")
        of_class = len(parts) > at + 1 and bool(split) == bool(splits) and split != "unlabelled"
        if of_class and (split, parts[at]) not in known:
            unread.setdefault(parts[: at + 1], []).append(parts[-1])
    folder = next(iter(unread), ())
    names = [name for name in unread.get(folder, []) if name]
    require(
        not folder,
        f"The folder of a class must hold images ({', '.join(sorted(EXTENSIONS))}): "
        f"{'/'.join(folder)} in {place} holds none of these"
        + (f", and {len(names):,} other files ({endings(names)})" if names else "")
        + ". Convert its images to PNG, or move the folder away.",
    )


# Paths


def _paths(place: Path) -> Paths:
    """Return what may be images, sorted; that in zips if there are no images beside them."""
    if place.is_file():
        require(
            place.suffix.lower() == ".zip",
            f"`data` must be a folder, a zip, a Parquet file or an npz of images: got {place}.",
        )
        return _unwrapped(in_zip(place))
    files = files_below(place)
    if not any(is_image(file.name) for file in files):
        # Unpacked beside itself, a zip would otherwise give each image twice.
        zips = [file for file in files if file.suffix.lower() == ".zip" and file.parent == place]
        return _unwrapped(_in_zips(zips))
    found: Paths = [
        (file.relative_to(place).parts, file)
        for file in files
        if is_image(file.name) or not (is_side_file(file.name) or is_table(file.name))
    ]
    for where, folders, names in os.walk(place):
        parts = Path(where).relative_to(place).parts
        if not (folders or names or any(map(is_hidden, parts))):
            found.append(((*parts, ""), Path(where)))
    return _unwrapped(found)


def _unwrapped(paths: Paths) -> Paths:
    """Remove folders that hold all images, such as the one that a zip was packed from."""
    while True:
        images = [parts for parts, _ in paths if is_image(parts[-1])]
        tops = {parts[0] for parts in images}
        if len(tops) != 1 or any(len(parts) < 3 for parts in images):
            return paths
        (top,) = tops
        is_split = said(top) and not any(said(*parts[1:-1]) for parts in images)
        if top.lower() in SPLITS or is_split:
            return paths
        paths = [(p[1:], file) for p, file in paths if p[0] == top and len(p) > 1]


def _in_zips(archives: Sequence[Path]) -> Paths:
    """Return the files in zips whose names say a split, or a class, if their folders do not."""
    packed = _unwrapped([pair for archive in archives for pair in in_zip(archive)])
    at_top = {
        file.archive
        for parts, file in packed
        if isinstance(file, Member) and len(parts) == 1 and is_image(parts[0])
    }
    found: Paths = []
    for parts, file in packed:
        assert isinstance(file, Member)
        stem, where = file.archive.stem, where_of(file, file.archive.parent)
        plain = [SPLITS[name.lower()] for name in parts[:-1] if name.lower() in SPLITS]
        inside = set(plain[:1]) or (said(parts[0]) if len(parts) > 2 else set())
        if inside:
            # A zip of all splits may be called `train_and_test`.
            both = inside | (said(stem) if len(said(stem)) == 1 else set())
            one_split(both, where)
            found.append((parts, file))
        elif split := one_split(said(stem), str(file.archive)):
            found.append(((split, *parts), file))
        elif file.archive in at_top:
            require(
                len(parts) == 1 or not is_image(parts[-1]),
                f"All images in {file.archive} must lie directly in it, as one class, or all in "
                f"folders: {file.name} lies in a folder, and others do not. Pack it again.",
            )
            found.append(((stem, *parts), file))
        else:
            found.append((parts, file))
    return found


def in_zip(archive: Path) -> Paths:
    """Return what may be images in a zip, sorted.

    Raises:
        InputError: if the zip is not valid, a name leads outside of it, or it holds a table.
    """
    found: Paths = []
    for name in sorted(opened(archive).namelist()):
        # Some programs for Windows write names with backslashes.
        parts = tuple(part for part in re.split(r"[/\\]", name) if part not in ("", "."))
        if name.endswith(("/", "\\")) or not parts or any(map(is_hidden, parts)):
            continue
        require(
            not is_table(parts[-1]) and not parts[-1].lower().endswith(".parquet"),
            f"A table or a Parquet file must lie in a folder: {name} is in {archive}, where it is "
            "not read. Unpack the zip, and name its folder; or pack it without that file.",
        )
        if not is_image(parts[-1]) and is_side_file(parts[-1]):
            continue
        require(
            ".." not in parts and not re.match(r"[/\\]|[A-Za-z]:", name),
            f"Names in {archive} must lead to files inside of it: got {name!r}. Pack it again with "
            "relative names.",
        )
        found.append((parts, Member(archive, name)))
    return found
