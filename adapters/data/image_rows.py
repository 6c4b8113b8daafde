"""What the layouts of images of one's own share: a row, the words of splits, and kinds of files."""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate
from pathlib import Path
from typing import Any, NamedTuple

from adapters.data import text_tables
from adapters.data.image_layouts import EXTENSIONS
from harness.core.archives import File, Files, Member
from harness.core.errors import require
from harness.data import all_files

SPLITS = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "val": "validation",
    "valid": "validation", "validation": "validation", "dev": "validation",
    "unlabelled": "unlabelled", "unlabeled": "unlabelled", "unsupervised": "unlabelled",
}  # fmt: skip
"""{the name of a folder, a file or a cell: the split}."""
SIDE_FILES = (
    "*.txt", "*.md", "*.rst", "*.html", "*.htm", "*.pdf", "*.bib", "*.csv", "*.tsv", "*.json",
    "*.jsonl", "*.xml", "*.yaml", "*.yml", "*.toml", "*.ini", "*.log", "*.md5", "*.sha256", "*.py",
    "*.ipynb", "*.sh", "*.txt~", "thumbs.db", "cache-*.arrow", "*-ubyte", "meta", "batches.meta",
    *(f"{name}*" for name in text_tables.NO_TEXTS),
)  # fmt: skip
"""Names of files, without .gz, that stand beside images and hold none: nobody expects them read."""
_IS_SIDE_FILE = re.compile("|".join(map(translate, SIDE_FILES)))
TABLES = ("metadata", "labels")
"""The names of tables of images, without their endings."""
TABLE_FORMATS = (".csv", ".tsv", ".jsonl", ".json")
SPREADSHEETS = (".xlsx", ".xls", ".ods")


class Row(NamedTuple):
    """One image.

    Attributes:
        split: empty if nothing says it.
        label: its class; None if it has none.
        image: a File, or the bytes of one.
        where: where it is said, for messages.
    """

    split: str
    label: str | int | None
    image: Any
    where: str


class Found(NamedTuple):
    """What a layout holds.

    Attributes:
        rows: its images.
        files: what is read, and hashed.
        others: which images it does not read, in words.
        strays: files that are called like tables of images, and are none.
    """

    rows: list[Row]
    files: Files
    others: str
    strays: Sequence[Path] = ()


# Files


def files_below(place: Path) -> list[Path]:
    """Return a file, or all files in and below a folder, sorted.

    Hidden ones are skipped, and linked folders followed.
    """
    found = all_files(place).values() if place.is_file() or any(place.iterdir()) else ()
    return sorted(file for file in found if isinstance(file, Path))


def where_of(file: File, place: Path) -> str:
    """Return the path of a file below a place, for messages and as the name that is hashed."""
    if isinstance(file, Member):
        return f"{file.archive.name}/{file.name}"
    return file.relative_to(place).as_posix() if file != place else file.name


def is_image(name: str) -> bool:
    """Return whether a file has the name of an image that is read."""
    return Path(name).suffix.lower() in EXTENSIONS


def is_packed(name: str) -> bool:
    """Return whether a file has the name of one that may hold many images."""
    return Path(name).suffix.lower() in (".zip", ".parquet")


def is_table(name: str) -> bool:
    """Return whether a file is called like a table of images.

    >>> is_table("metadata.csv"), is_table("Labels.TSV.gz"), is_table("labels.txt")
    (True, True, False)
    """
    stem, dot, ending = name.lower().removesuffix(".gz").partition(".")
    return stem in TABLES and f"{dot}{ending}" in (*TABLE_FORMATS, *SPREADSHEETS)


def is_side_file(name: str) -> bool:
    """Return whether a file stands beside images, such as a README, and holds none."""
    lower = name.lower().removesuffix(".gz")
    return not lower.startswith("metadata.") and _IS_SIDE_FILE.match(lower) is not None


def endings(names: Iterable[str]) -> str:
    """Return the endings of names, for messages.

    >>> endings(["a.HEIC", "b.heic", "c.avif"]), endings(["data"])
    ('.avif, .heic', 'without an ending')
    """
    found = sorted({Path(name).suffix.lower() for name in names} - {""})
    return ", ".join(found[:5]) or "without an ending"


# The splits that names say


def said(*names: str) -> set[str]:
    """Return the splits that names say in any of their words.

    >>> said("pets_train"), said("ILSVRC2012_img_val"), said("testset-00000"), said("cats")
    ({'train'}, {'validation'}, {'test'}, set())
    """
    words = [w.lower() for name in names for w in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]
    stems = [re.sub("(set|data|images)$", "", word) for word in words]
    return {SPLITS[word] for word in (*words, *stems) if word in SPLITS}


def one_split(splits: set[str], where: str) -> str:
    """Return the split that a name says, or an empty string.

    Raises:
        InputError: if it says several.
    """
    require(
        len(splits) < 2,
        f"A name must say one split: {where} says {' and '.join(sorted(splits))}. Rename it, such "
        "as to train or test, or give the table a column `split`.",
    )
    return next(iter(splits), "")


def by_folders(folders: Sequence[str]) -> set[str]:
    """Return the splits that the folders of an image say."""
    # A folder `train` says it, whatever the others are called: a class may be `crash_test`.
    return {SPLITS[name.lower()] for name in folders if name.lower() in SPLITS} or said(*folders)


def split_of_cell(cell: Any, where: str) -> str:
    """Return the split that a cell of a table says; empty if the cell is.

    Raises:
        InputError: if it says something else.
    """
    name = str(cell or "").strip().lower()
    require(
        not name or name in SPLITS,
        f"A split must be train, test or validation: {where} has {cell!r}. Correct it, or rename "
        "the column.",
    )
    return SPLITS.get(name, "")


# Columns


def column(columns: Iterable[str], names: Sequence[str], where: object) -> str:
    """Return the column that has the first of some names that occurs; empty if none does.

    Capitals, spaces and marks in a name do not count.

    Raises:
        InputError: if two columns have that name.
    """
    by_name: dict[str, list[str]] = {}
    for each in columns:
        by_name.setdefault(text_tables.plain(each), []).append(each)
    name = next((name for name in names if text_tables.plain(name) in by_name), "")
    found = by_name[text_tables.plain(name)] if name else [""]
    require(
        len(found) == 1,
        f"{where} must have one column {name!r}: got {', '.join(found)}. Rename the others.",
    )
    return found[0]


def split_column(columns: Mapping[str, Sequence[Any]], where: object) -> str:
    """Return the column ``split``; empty if there is none.

    Args:
        columns: {column: cells} of columns that may say splits.
        where: their table, for messages.

    Raises:
        InputError: if there is none, but another column names splits alone.
    """
    own = column(columns, ["split"], where)
    for name, cells in columns.items():
        words = {cell.strip().lower() if isinstance(cell, str) else "" for cell in cells}
        splits = {SPLITS.get(word, "") for word in words}
        require(
            bool(own) or len(splits) < 2 or "" in splits,
            f"The column of splits in {where} must be called split: got {name!r}, which holds "
            f"{', '.join(sorted(words))}. Rename it; or remove it, if it says no splits.",
        )
    return own
