"""The sentences that a task trains on and those it is scored on, kept disjoint."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from adapters.data import corpora, own_sets, sentence_data, senteval
from adapters.data.corpora import Examples
from adapters.data.own_sets import OwnSet, is_own
from adapters.data.sentence_data import SUBSETS, Pairs, normal
from adapters.data.senteval import Labelled
from harness.core.errors import require
from tasks.sentences.sts import BENCHMARK, GEOMETRY, RELATED, evaluation_sets, sets_of

Subsets = Mapping[str, Pairs]


@dataclass(frozen=True, eq=False)
class Material:
    """Training examples and scored sets.

    Attributes:
        rows: training examples: each a sentence, a pair, or a pair and a hard negative.
        left_out: how many of the corpus's examples are left out because they share a sentence
            with a set that is kept out of training.
        pairs: {split: {set: {sub-set: its scored pairs}}}.
        dev_left_out: how many of STS-B's dev pairs are left out, because they are test pairs
            too.
        labelled: {set: its labelled sentences}.
        corpus_left_out: which rows of the corpus are left out, in a sentence.
    """

    rows: Examples
    left_out: int
    pairs: Mapping[str, Mapping[str, Subsets]]
    dev_left_out: int
    labelled: Mapping[str, Labelled]
    corpus_left_out: str = ""


@lru_cache(maxsize=2)
def material(
    corpus: str, columns: str, evaluation: str, keep_out: str, root: str, *checksums: str
) -> Material:
    """Read a corpus and the sets that ``evaluation`` names, and keep them disjoint.

    Training examples that share a sentence with a set of ``keep_out`` are left out. That
    is a separate setting, so that another ``evaluation`` trains on the same examples.
    Validation pairs that are also test pairs are left out too: at least 996 of STS-B's 1,500
    dev pairs are in the tests of STS12 to STS16, from which it was drawn.

    Args:
        corpus: see :func:`adapters.data.corpora.read`.
        columns: see there.
        evaluation: the sets to be scored on.
        keep_out: the sets whose sentences no training example may have.
        root: a folder to look in first.
        checksums: of the files read, so that changed files are read again.

    Raises:
        InputError: if a file is missing, nothing is left to train on, or a training
            example shares a sentence with a scored set that is not kept out.
    """
    del checksums
    names = evaluation_sets(evaluation, root)
    own = {name: own_sets.read(name, root) for name in names if is_own(name)}
    pairs, dev_left_out = _scored_pairs(names, root, own)
    labelled = {name: senteval.read(name, root) for name in names if name in senteval.SOURCES}
    labelled |= {name: found.labelled for name, found in own.items() if found.labelled is not None}
    rows, corpus_left_out = corpora.read(corpus, root, columns)
    kept_out = {
        normal(s)
        for name in sets_of(keep_out)
        for s in sentences_of(name, root)
    }  # fmt: skip
    left = [row for row in rows if not any(normal(sentence) in kept_out for sentence in row)]
    require(
        len(left) > 1,
        f"The corpus {corpus!r} must have two examples or more that share no sentence with "
        f"{keep_out}: {len(left)} of {len(rows)} are left. Set another `corpus`, or another "
        "`keep_out`.",
    )
    trained = {normal(sentence) for row in left for sentence in row}
    for name in names:
        shared = trained & {normal(s) for s in sentences_of(name, root)}
        wanted = "+".join(dict.fromkeys([*filter(None, keep_out.split("+")), name]))
        require(
            not shared,
            f"`keep_out` must name {name!r}, which is scored: {len(shared)} of its sentences are "
            f"in the corpus {corpus!r}, such as {min(shared, default='')[:60]!r}. Set "
            f"keep_out={wanted!r}.",
        )
    return Material(left, len(rows) - len(left), pairs, dev_left_out, labelled, corpus_left_out)


def _scored_pairs(
    names: Sequence[str], root: str, own: Mapping[str, OwnSet]
) -> tuple[Mapping[str, Mapping[str, Subsets]], int]:
    """Return {split: {set: {sub-set: scored pairs}}}, and how many dev pairs are test pairs."""
    test: dict[str, Subsets] = {}
    validation: dict[str, Subsets] = {}
    dev_left_out = 0
    if BENCHMARK in names:
        benchmark = sentence_data.sts_b()
        test[BENCHMARK] = {BENCHMARK: benchmark["test"]}
    test |= {name: sentence_data.sts(name, root) for name in names if name in SUBSETS}
    if RELATED in names:
        test[RELATED] = {RELATED: sentence_data.sick_r(root)}
    if BENCHMARK in names:
        kept = _without(benchmark["validation"], test)
        validation[BENCHMARK] = {BENCHMARK: kept}
        dev_left_out = len(benchmark["validation"].scores) - len(kept.scores)
    for name, found in own.items():
        for split, sets in (("test", test), ("validation", validation)):
            if split in found.pairs:
                sets[name] = {name: found.pairs[split]}
    return {"validation": validation, "test": test}, dev_left_out


def sentences_of(name: str, root: str) -> set[str]:
    """Return all sentences of a scored set, from both of its splits."""
    if name in senteval.SOURCES:
        return {s for column in senteval.read(name, root).columns for s in column}
    if is_own(name):
        own = own_sets.read(name, root)
        if own.labelled is not None:
            return {s for column in own.labelled.columns for s in column}
        subsets = [*own.pairs.values()]
    elif name in (BENCHMARK, GEOMETRY):
        benchmark = sentence_data.sts_b()
        subsets = [benchmark["validation"], benchmark["test"]]
    elif name == RELATED:
        subsets = [sentence_data.sick_r(root)]
    else:
        subsets = [*sentence_data.sts(name, root).values()]
    return {s for pairs in subsets for column in (pairs.first, pairs.second) for s in column}


def texts(sets: Mapping[str, Subsets]) -> list[tuple[str, str]]:
    """Return the pairs of all sets, one after the other."""
    return [
        pair
        for subsets in sets.values()
        for pairs in subsets.values()
        for pair in zip(pairs.first, pairs.second, strict=True)
    ]


def _without(pairs: Pairs, others: Mapping[str, Subsets]) -> Pairs:
    """Return ``pairs`` without those whose two sentences are also a pair of ``others``."""
    taken = {frozenset(map(normal, pair)) for pair in texts(others)}
    kept = [
        row
        for row in zip(pairs.first, pairs.second, pairs.scores, strict=True)
        if frozenset(map(normal, row[:2])) not in taken
    ]
    first, second, scores = zip(*kept, strict=True)
    return Pairs(list(first), list(second), np.array(scores))
