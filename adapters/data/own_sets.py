"""Sets of one's own to evaluate sentences on: scored pairs, or labelled sentences, in a file.

A file has any format of :mod:`adapters.data.text_tables`. Scored pairs have a column of
:data:`SCORES` and two of sentences; labelled sentences have a column of :data:`CLASSES` and one or
two of sentences. A column ``split``, a folder with a file for each part (``train``, ``dev``,
``test``), or the splits of a set that ``datasets`` has saved, say which part a row is in; without
them, pairs are tested on, and labelled sentences are cross-validated.
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adapters.data import text_tables
from adapters.data.corpora import PAIRED, SCORES, SINGLE
from adapters.data.sentence_data import Pairs
from adapters.data.senteval import Labelled
from adapters.data.text_tables import Table
from harness.core.content import Content
from harness.core.errors import InputError, require
from harness.data import fingerprint, label_of, searched_paths, user_path

CLASSES = ("label", "class", "category")
PARTS = {"train": "train", "dev": "dev", "val": "dev", "valid": "dev", "validation": "dev",
         "test": "test"}  # fmt: skip
"""{what files, splits and the column ``split`` say: the part}."""


class OwnSet(NamedTuple):
    """One set: scored pairs, or labelled sentences.

    Attributes:
        pairs: {``validation`` or ``test``: scored pairs}; empty if the set has classes.
        labelled: the labelled sentences; None if the set has scores.
    """

    pairs: Mapping[str, Pairs]
    labelled: Labelled | None = None

    @property
    def has_validation(self) -> bool:
        """Return whether an encoder can be chosen on the set, without its test part."""
        return self.labelled is not None or "validation" in self.pairs


def is_own(name: str) -> bool:
    """Return whether a name in ``evaluation`` is a file or folder of one's own.

    >>> [is_own(name) for name in ("sts-b", "./mine", "pairs.csv", "sets/pairs.tsv.gz")]
    [False, True, True, True]
    """
    return "/" in name or name.startswith((".", "~")) or bool(text_tables.format_of(Path(name)))


def content(name: str, setting: str, root: str = "") -> Content:
    """Return the :class:`Content` of the file or folder ``name``, used in ``setting``."""
    place = _place(name, root)
    files = dict(text_tables.enumerate_files(place))
    return Content(setting, label_of(place), fingerprint(files), "own", trained_on=False)


def _place(name: str, root: str) -> Path:
    place = user_path(name, root)
    if place is None:
        searched = ", ".join(str(path) for path in searched_paths(name, root))
        raise InputError(f"There is no set {name!r} to evaluate on: looked for {searched}.")
    return place


def read(name: str, root: str = "") -> OwnSet:
    """Return a set.

    Raises:
        InputError: if there is no such file, or it lacks a column, a score or a text.
    """
    place = _place(name, root)
    rows: list[_Row] = []
    for name, table in text_tables.read(place).items():
        part = PARTS.get(name.lower().partition(".")[0], "")
        require(
            not name or bool(part),
            f"A folder to evaluate on must have files or splits train, dev and test alone: got "
            f"{name} in {place}. Name one file instead.",
        )
        rows += _rows(table, place / name, part)
    require(len(rows) > 1, f"A set to evaluate on must have two rows or more: got {len(rows)}.")
    by_class = [row for row in rows if row.label]
    require(
        len(by_class) in (0, len(rows)),
        f"All files in {place} must hold scored pairs, or all labelled sentences: got both.",
    )
    found = OwnSet({}, _labelled(rows, place)) if by_class else OwnSet(_pairs(rows))
    for own in sorted({row.part for row in rows}):
        values = {row.label or row.score for row in rows if row.part == own}
        require(
            len(values) > 1,
            f"Rows to evaluate on must have two classes, or two scores, or more: all "
            f"{f'of the part {own} ' if own else ''}in {place} have {values.pop()}. Remove a part "
            "whose values are hidden, as in GLUE's test sets.",
        )
    return found


class _Row(NamedTuple):
    part: str
    texts: tuple[str, ...]
    score: float
    label: str


def _rows(table: Table, file: Path, part: str) -> list[_Row]:
    score = next((name for name in SCORES if name in table.columns), "")
    label = next((name for name in CLASSES if name in table.columns), "")
    pair = next((pair[:2] for pair in PAIRED if set(pair[:2]) <= set(table.columns)), ())
    single = tuple(name for name in SINGLE if name in table.columns)[:1]
    texts = pair or single
    require(
        bool(pair) if score else bool(label and texts),
        f"{file} must have a column {' or '.join(SCORES[:2])} and two of sentences, such as "
        f"{' and '.join(PAIRED[-2])}; or a column {CLASSES[0]} and one of {', '.join(SINGLE)}: got "
        f"{', '.join(table.columns) or 'none'}. Rename its columns.",
    )
    split = ("split",) if "split" in table.columns else ()
    found = []
    chosen = table.cells((*texts, score or label, *split), file)
    for number, row in zip(table.lines, chosen, strict=True):
        where = f"{table.word} {number} of {file}"
        cells, value = row[: len(texts)], row[len(texts)]
        require(all(cells), f"A row must have a text in {' and '.join(texts)}: {where} has none.")
        own = PARTS.get(row[-1].lower(), "?") if split else part
        require(own != "?", f"`split` must be train, dev or test: {where} has another value.")
        require(bool(value), f"A row must have a {score or label}: {where} has none.")
        found.append(
            _Row(own, cells, _number(value, where) if score else 0.0, "" if score else value)
        )
    return found


def _number(value: str, where: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    require(math.isfinite(number), f"A score must be a finite number: {where} has {value!r}.")
    return number


def _pairs(rows: list[_Row]) -> Mapping[str, Pairs]:
    parts = {"validation": "dev", "test": "test"}
    found = {}
    for split, part in parts.items():
        kept = [row for row in rows if (row.part or "test") == part]
        if kept:
            scores = np.array([row.score for row in kept])
            found[split] = Pairs([r.texts[0] for r in kept], [r.texts[1] for r in kept], scores)
    require("test" in found, "Scored pairs must have rows to test on: got none in the part `test`.")
    return found


def _labelled(rows: list[_Row], place: Path) -> Labelled:
    names = sorted({row.label for row in rows})
    parts = np.array([row.part or "train" for row in rows])
    require(
        set(parts) == {"train"} or {"train", "test"} <= set(parts),
        f"Labelled sentences must have the parts train and test, or no parts: got "
        f"{', '.join(sorted(set(parts)))} in {place}.",
    )
    columns = tuple(list(column) for column in zip(*(row.texts for row in rows), strict=True))
    return Labelled(columns, np.array([names.index(row.label) for row in rows]), parts)
