"""Sets of one's own to evaluate sentences on: scored pairs, or labelled sentences, in a file.

A file has any format of :mod:`adapters.data.text_tables`. Scored pairs have a column of
:data:`SCORES` and two of sentences; labelled sentences have a column of :data:`CLASSES` and one or
two of sentences. A column ``split``, a folder with a file for each part (``train``, ``dev``,
``test``, or shards such as ``test-00000-of-00002``), or the splits of a set that ``datasets`` has
saved, say which part a row is in; without them, pairs are tested on, and labelled sentences are
cross-validated.
"""

import math
import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from adapters.data import text_tables
from adapters.data.corpora import CLASSES, PAIRED, SCORES, SENTENCES, SINGLE, sentence_columns
from adapters.data.saved_sets import is_saved
from adapters.data.sentence_data import Pairs
from adapters.data.senteval import Labelled
from adapters.data.text_tables import PARTS, Table, files_in, format_of, numbered, parts_of, whole
from harness.core.content import Content
from harness.core.errors import InputError, require
from harness.data import fingerprint, label_of, searched_paths, user_path

_NAME = re.compile(r"([a-z]+)(-([0-9]+)-of-([0-9]+)(-[0-9a-f]+)?)?")
"""The names of parts, and of their shards as the hub writes them."""
_HIDDEN = (
    "Remove a part whose values are hidden, as in GLUE's test sets, and name one that has them "
    "`test`."
)


class OwnSet(NamedTuple):
    """One set: scored pairs, or labelled sentences.

    Attributes:
        pairs: {``validation`` or ``test``: scored pairs}; empty if the set has classes.
        labelled: the labelled sentences; None if the set has scores.
        unread: which columns of values are not read, in a sentence; empty if none is.
    """

    pairs: Mapping[str, Pairs]
    labelled: Labelled | None = None
    unread: str = ""

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
    note = read(name, root).unread if setting == "evaluation" else ""
    place = _place(name, root)
    files = dict(numbered(files_in(place)))
    if place.is_dir() and not is_saved(place):
        # A file's part decides what its rows are for; nothing else of its name counts.
        in_order = sorted(files.values(), key=lambda file: _part(file.name))
        files = {f"{_part(file.name)[0]}/{key}": file for key, file in numbered(in_order)}
    return Content(setting, label_of(place), fingerprint(files), "own", trained_on=False, note=note)


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
    tables = text_tables.read(place)
    if "" not in tables:
        _require_parts(tables, place)
    rows: list[_Row] = []
    unread = []
    for table_name in sorted(tables, key=_part):
        file = place / table_name
        found, ignored = _rows(tables[table_name], file, _part(table_name)[0])
        rows += found
        unread += [f"not read of {file}: {', '.join(ignored)}"] if ignored else []
    require(len(rows) > 1, f"A set to evaluate on must have two rows or more: got {len(rows)}.")
    by_class = [row for row in rows if row.label]
    require(
        len(by_class) in (0, len(rows)),
        f"All files in {place} must hold scored pairs, or all labelled sentences: got both.",
    )
    for part in sorted({row.part for row in rows}):
        values = {row.label or row.score for row in rows if row.part == part}
        require(
            len(values) > 1,
            f"Rows to evaluate on must have two classes, or two scores, or more: all "
            f"{f'of the part {part} ' if part else ''}in {place} have {values.pop()}. {_HIDDEN}",
        )
    note = "; ".join(unread)
    if by_class:
        return OwnSet({}, _labelled(rows, place), note)
    return OwnSet(_pairs(rows), unread=note)


def _part(name: str) -> tuple[str, int, int]:
    """Return the part that a file or a split is of, and which of how many shards it is.

    >>> _part("validation.csv.gz"), _part("test-00001-of-00002.parquet"), _part("mine.csv")
    (('dev', 0, 1), ('test', 1, 2), ('', 0, 1))
    """
    stem = name.lower().removesuffix(".gz").removesuffix(format_of(Path(name)))
    found = _NAME.fullmatch(stem)
    part = PARTS.get(found[1], "") if found else ""
    return part, *((int(found[3]), int(found[4])) if part and found and found[2] else (0, 1))


def _require_parts(names: Collection[str], place: Path) -> None:
    """Raise :class:`InputError` unless each name is that of a part, whole and named once."""
    parts = {name: _part(name) for name in names}
    strange = [name for name, (part, _, _) in parts.items() if not part]
    require(
        not strange,
        f"A folder to evaluate on must have files or splits train, dev and test alone: got "
        f"{', '.join(strange[:3])} in {place}. Name one file instead.",
    )
    for part in sorted({part for part, _, _ in parts.values()}):
        own = {name: shard for name, (each, *shard) in parts.items() if each == part}
        (_, count), *_ = own.values()
        require(
            sorted(own.values()) == [[i, count] for i in range(count)],
            f"The part {part} must be in one file, or in all shards of one set: got "
            f"{', '.join(sorted(own))} in {place}. Remove the files that are too many, or copy "
            "those that are missing.",
        )


class _Row(NamedTuple):
    part: str
    texts: tuple[str, ...]
    score: float
    label: str


def _rows(table: Table, file: Path, part: str) -> tuple[list[_Row], tuple[str, ...]]:
    """Return the rows of a file, and the columns of values that are not read."""
    texts = sentence_columns(table, file)
    scores, classes = table.named(SCORES), table.named(CLASSES)
    if len(texts) == 1 and classes:  # No score of one sentence is evaluated on.
        scores, ignored = (), scores
    else:
        ignored = ()
    values = (*scores, *classes)
    require(
        bool(texts and values) and (len(texts) == 2 or not scores),
        f"{file} must have a column {' or '.join(SCORES[:2])} and two of sentences, such as "
        f"{' and '.join(PAIRED[4])}; or a column {CLASSES[0]} and one of {', '.join(SINGLE)}: got "
        f"{', '.join(table.columns) or 'none'}. "
        + (_HIDDEN if texts and part else "Rename its columns."),
    )
    require(
        len(set(values)) == 1,
        f"{file} must have one column of scores or classes: got {', '.join(values)}. Remove or "
        "rename the others.",
    )
    others = [name for name in table.named(SENTENCES) if name not in texts]
    require(
        not others,
        f"All columns of sentences in {file} must be read: got {', '.join(others)} beside "
        f"{' and '.join(texts)}. Remove or rename those that do not belong to the set.",
    )
    own = parts_of(table, file) or [part] * len(table.rows)
    found = []
    cells = table.cells((*texts, values[0]), file)
    for number, own_part, row in zip(table.lines, own, cells, strict=True):
        where = f"{table.word} {number} of {file}"
        *sentences, value = row
        require(
            all(sentences), f"A row must have a text in {' and '.join(texts)}: {where} has none."
        )
        require(bool(value), f"A row must have a {values[0]}: {where} has none.")
        require(
            part in ("", own_part),
            f"`split` must be {part}, as the file's name says: {where} has {own_part}. Correct one "
            "of them.",
        )
        score = _number(value, where) if scores else 0.0
        found.append(
            _Row(own_part, tuple(sentences), score, "" if scores else _class(value, where))
        )
    return found, ignored


def _class(value: str, where: str) -> str:
    name = whole(value)
    require(
        not re.fullmatch(r"[+-]?[0-9]*\.[0-9]+", name),
        f"A class must be a word or a whole number: {where} has {value!r}. Name the column "
        f"`{SCORES[0]}` if it says how similar two sentences are.",
    )
    return name


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
    known = {row.label for row in rows if (row.part or "train") == "train"}
    strange = next((row for row in rows if row.label not in known), None)
    require(
        strange is None,
        f"Each class must be in the part train: got {strange.label!r} in the part {strange.part} "
        f"of {place}, and train has {', '.join(sorted(known)[:5])}. Write classes alike in all "
        "parts, or remove the rows."
        if strange
        else "",
    )
    columns = tuple(list(column) for column in zip(*(row.texts for row in rows), strict=True))
    return Labelled(columns, np.array([names.index(row.label) for row in rows]), parts)
