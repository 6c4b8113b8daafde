"""What a task of sentences trains on and is scored on, kept apart."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from adapters import sentence_data, senteval
from adapters.sentence_data import SUBSETS, Pairs, Rows, normal
from adapters.senteval import Labelled
from harness.errors import require
from tasks.sts import BENCHMARK, RELATED, evaluation_sets

Subsets = Mapping[str, Pairs]


@dataclass(frozen=True, eq=False)
class Material:
    """Training examples, and what is scored.

    Attributes:
        rows: a sentence; a pair; or a pair and a hard negative each.
        left_out: how many more the corpus had: they share a sentence with what is scored.
        pairs: {split: {set: {sub-set: its scored pairs}}}.
        unseen: how many pairs STS-B's dev split had more: they are test pairs too.
        labelled: {set: its labelled sentences}.
    """

    rows: Rows
    left_out: int
    pairs: Mapping[str, Mapping[str, Subsets]]
    unseen: int
    labelled: Mapping[str, Labelled]


@lru_cache(maxsize=2)
def material(corpus: str, evaluation: str, root: str) -> Material:
    """Read a corpus and what ``evaluation`` names, and keep them apart.

    No training example shares a sentence with a scored pair or a labelled set, and no
    validation pair is a test pair: 996 of STS-B's 1,500 dev pairs, and more, are in the
    tests of STS12 to STS16, which it was drawn from.

    Raises:
        InputError: where something is not here, or nothing is left to train on.
    """
    names = evaluation_sets(evaluation)
    test: dict[str, Subsets] = {}
    validation: dict[str, Subsets] = {}
    unseen = 0
    if BENCHMARK in names:
        benchmark = sentence_data.sts_b()
        test[BENCHMARK] = {BENCHMARK: benchmark["test"]}
    test |= {name: sentence_data.sts(name, root) for name in names if name in SUBSETS}
    if RELATED in names:
        test[RELATED] = {RELATED: sentence_data.sick_r(root)}
    if BENCHMARK in names:
        kept = _without(benchmark["validation"], test)
        validation[BENCHMARK] = {BENCHMARK: kept}
        unseen = len(benchmark["validation"].scores) - len(kept.scores)
    labelled = {name: senteval.read(name, root) for name in names if name in senteval.SOURCES}

    pairs = {"validation": validation, "test": test}
    scored = {s for split in pairs.values() for one in texts(split) for s in one}
    scored |= {s for found in labelled.values() for column in found.columns for s in column}
    rows = sentence_data.corpus(corpus, root)
    # The default corpus is compared as it was released: one sentence in it is a scored one
    # but for a space, and without it earlier records would be of another corpus.
    key = str if corpus == BENCHMARK and evaluation == BENCHMARK else normal
    taken = {key(sentence) for sentence in scored}
    left = [row for row in rows if not any(key(sentence) in taken for sentence in row)]
    require(
        len(left) > 1,
        f"The corpus {corpus!r} must have two examples or more that share no sentence with what "
        f"is scored: {len(left)} of {len(rows)} are left. Name another corpus.",
    )
    return Material(left, len(rows) - len(left), pairs, unseen, labelled)


def texts(sets: Mapping[str, Subsets]) -> list[tuple[str, str]]:
    """Return the pairs of all sets, one after the other."""
    return [
        pair
        for subsets in sets.values()
        for pairs in subsets.values()
        for pair in zip(pairs.first, pairs.second, strict=True)
    ]


def _without(pairs: Pairs, others: Mapping[str, Subsets]) -> Pairs:
    """Return ``pairs`` less those whose two sentences are a pair of ``others`` too."""
    taken = {frozenset(map(normal, pair)) for pair in texts(others)}
    kept = [
        row
        for row in zip(pairs.first, pairs.second, pairs.scores, strict=True)
        if frozenset(map(normal, row[:2])) not in taken
    ]
    first, second, scores = zip(*kept, strict=True)
    return Pairs(list(first), list(second), np.array(scores))
