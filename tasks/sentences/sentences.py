"""Sentences: SimCSE on any encoder, scored by STS and by transfer."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity

from adapters.data import corpora, hf_folders, own_sets, sentence_data, senteval
from adapters.data.hf_folders import EMBEDDED
from adapters.data.own_sets import is_own
from adapters.data.sentence_data import SUBSETS, Pairs
from adapters.networks.text_networks import (
    POOLINGS,
    SentenceEncoder,
    Tokens,
    minilm,
    pad,
    require_two_views,
    save_pretrained,
    sentence_encoder,
    tokenize,
)
from harness import networks
from harness.core.content import Content
from harness.core.errors import require_number
from harness.core.randomness import Randomness
from harness.data import content, label_of
from harness.evaluation.represent import represent
from harness.heads import mlp
from harness.metrics import Evaluation, Metric
from harness.settings import Above, Between, NetworkOf, OneOf, SetsOf, is_in_file, location
from harness.settings import evaluation as scoring
from harness.task import Batch, Task
from tasks.sentences.sets import Material, material, texts
from tasks.sentences.sts import (
    BENCHMARK,
    GEOMETRY,
    average_of_seven,
    evaluation_sets,
    geometry,
    metric_starts,
    metrics_of,
    sets_of,
    spearman,
    year_scores,
)
from tasks.sentences.transfer import FOLDS, cross_validated, draw_folds, given_parts, pair_features

HEADS = ("simcse", "mlp")
EVALUATION_LENGTH = 128
TRIED = 16
"""How many training sentences are encoded to see whether dropout makes two views."""
ENCODED_AT_ONCE = 128
"""How many sentences the evaluation encodes at a time."""

MAX_LAYERS = 6
"""The number of MiniLM's layers."""

HELD_OUT = 48
"""Largest number of sentences for diagnostics."""

QUICK_LAYERS = 2
"""How many of MiniLM's layers to use if ``layers`` is 0."""

log = logging.getLogger("harness")


class Sentences(Task):
    """Train on sentences without scores, two dropout masks as views; score by STS.

    By default the corpus is the sentences of STS-B's train split, each once, and the encoder
    is MiniLM's embeddings and first two layers. The main score is Spearman's correlation
    (x100) of the cosine of two representations with the human score, over STS-B's test
    pairs, and for validation over its dev pairs. The head is used in training only. If the
    corpus has pairs, these are the two views, and its hard negatives, if any, repel every
    anchor (supervised SimCSE).

    Training examples that share a sentence with a set of ``keep_out`` are left out, and a
    set whose sentences are trained on cannot be scored. Dev pairs that are also test pairs
    are left out: 3 with STS-B alone, and two thirds with STS12-16, from whose tests STS-B
    was drawn. Published runs leave out neither.

    Args:
        network: ``minilm``, the embedded encoder; the folder of any ``transformers``
            encoder; its name on the hub, such as ``bert-base-uncased``; or a network of one's
            own, ``my_nets.py:Net``, which gets MiniLM's tokens.
        root: a folder to look in first for data sets, corpora and encoders.
        corpus: ``sts-b``, ``wiki1m``, ``nli``; a file of texts (txt, csv, tsv, jsonl, parquet,
            each with .gz too) or a folder of them, by its path or its name in
            ``TRIPTYCH_DATA``; or ``hub:owner/name``, optionally with ``@revision``: see
            :func:`adapters.data.corpora.read`.
        columns: those of the corpus to read, joined by +, such as ``question+answer``; empty:
            the usual names are recognised.
        evaluation: sets to be scored on, joined by +: ``sts-b``, ``sts12`` to ``sts16``,
            ``sick-r``; the transfer sets ``mr``, ``cr``, ``subj``, ``mpqa``, ``sst-2``,
            ``trec``, ``mrpc``; ``geometry``, alignment and uniformity on STS-B; ``sts`` or
            ``transfer``, all seven of a kind and their mean; ``all``, both kinds; or the path of
            one's own scored pairs or labelled sentences: see :mod:`adapters.data.own_sets`.
            STS12-16 and SICK-R have no validation part and are scored on test only.
        keep_out: sets whose sentences are kept out of training, named as in ``evaluation``.
        layers: how many of the encoder's layers to start from; 0: all. For the embedded
            MiniLM, whose six layers make a slow quickstart, 0 means its first 2.
        dropout: of hidden states and attention; the only difference between the views.
        pooling: ``mean``, ``cls``, or ``first-last``, the mean of the first and the last
            layer.
        length: tokens that a training sentence is cut to; half of STS-B's have 12 or fewer.
        head_form: ``simcse``, Linear - tanh, or ``mlp``, Linear - BatchNorm - ReLU - Linear, for
            losses that need projections of any size, such as VICReg.

    References:
        Gao et al. 2021, arXiv 2104.08821; Conneau and Kiela 2018, arXiv 1803.05449.
    """

    label = "Sentences"
    modality = "sentence"
    pairing = "cross_view"
    more_views = False  # Tokens are given, not drawn.

    network: Annotated[str, NetworkOf((EMBEDDED,), ("",)), location] = EMBEDDED
    root: Annotated[str, location] = ""
    corpus: Annotated[str, location] = BENCHMARK
    columns: str = ""
    evaluation: Annotated[str, SetsOf(), scoring] = BENCHMARK
    keep_out: Annotated[str, SetsOf()] = BENCHMARK
    layers: Annotated[int, Between(0)] = 0
    dropout: Annotated[float, Above(0, 0.9)] = 0.1
    pooling: Annotated[str, OneOf(POOLINGS)] = "mean"
    length: Annotated[int, Between(4, 512)] = 20
    head_form: Annotated[str, OneOf(HEADS)] = "simcse"
    steps: int = 60
    batch_size: int = 64
    learning_rate: float = 1e-4

    def setup(self) -> None:
        """Check settings that depend on one another."""
        super().setup()
        if self.network == EMBEDDED:
            require_number("layers", self.layers, at_least=0, at_most=MAX_LAYERS, whole=True)
        # A network of one's own gets the tokens of the embedded encoder.
        self._tokenizer = EMBEDDED if is_in_file(self.network) else self.network
        self._sets = evaluation_sets(self.evaluation, self.root)
        self._starts = metric_starts(self._sets)
        self._kept_out = sets_of(self.keep_out)
        self._set_example_kind(corpora.sentences_per_example(self.corpus, self.root, self.columns))

    def fetch(self) -> list[Content]:
        """Download missing data and check them; return the contents of corpus, sets and encoder."""
        sources = {**sentence_data.SOURCES, **senteval.SOURCES}
        found = [corpora.content(self.corpus, self.root, self.columns)]
        for setting, sets in (("evaluation", self._sets), ("keep_out", self._kept_out)):
            # If STS12 lacks the file of its sub-set MSRvid, its pairs are read from STS-B.
            also = [BENCHMARK] if "sts12" in sets and BENCHMARK not in sets else []
            found += [
                content(sources[name], self.root, setting=setting, trained_on=False)
                for name in (*also, *sets)
                if name in sources
            ]
            found += [own_sets.content(name, setting, self.root) for name in sets if is_own(name)]
        found.append(hf_folders.content(self._tokenizer, self.root))
        self._read(found)
        return found

    def _read(self, contents: Sequence[Content]) -> None:
        """Read all sentences, which checks them, and note them."""
        checksums = tuple(one.checksum for one in contents)
        self._words = Words(
            self._tokenizer, self.root, self.corpus, self.columns, self.evaluation,
            self.keep_out, checksums,
        )  # fmt: skip
        self._data = self._words.material()

    def load(self, randomness: Randomness) -> None:
        """Read and tokenize the sentences; draw the folds of the labelled sets."""
        from adapters.metrics.hf_evaluate import require_working

        require_working("spearman")
        self.fetch()
        longest = hf_folders.max_tokens(self._tokenizer, self.root)
        require_number("length", self.length, at_most=longest)
        # The columns of a corpus on the hub are known only now that it is read.
        self._set_example_kind(len(self._data.rows[0]))
        self._tokens = _corpus_tokens(self._words, self.length)
        self._ids = _ids(self._words)
        self._padding = hf_folders.padding(self._tokenizer, self.root)
        self._folds = {
            name: draw_folds(found.classes, randomness.numpy("split", i))
            for i, (name, found) in enumerate(self._data.labelled.items())
        }
        repeated = len(self._ids) - len(set(self._ids.tolist()))
        log.info(
            "%d training examples of %s, %d of which repeat an earlier first sentence; left out: "
            "%d more that share a sentence with %s, and %d of STS-B's dev pairs, which are test "
            "pairs too",
            len(self._data.rows), self.corpus, repeated, self._data.left_out, self.keep_out,
            self._data.dev_left_out,
        )  # fmt: skip
        if self._data.corpus_left_out:
            log.info("left out of the corpus: %s", self._data.corpus_left_out)

    def _set_example_kind(self, columns: int | None) -> None:
        """Note whether the corpus has sentences, pairs, or pairs with a hard negative."""
        self.dropout_views = columns == 1
        self.hard_negatives = columns == 3

    def splits(self) -> Sequence[Mapping[str, Iterable[tuple[str, ...]]]]:
        """Return the training and scored sentences, one division per fold."""
        crossed = any(found.is_crossed for found in self._data.labelled.values())
        return [self._division(fold) for fold in range(FOLDS if crossed else 1)]

    def _division(self, fold: int) -> Mapping[str, Iterable[tuple[str, ...]]]:
        division: dict[str, list[tuple[str, ...]]] = {
            "train": self._data.rows,
            **{split: [*texts(sets)] for split, sets in self._data.pairs.items()},
        }
        for name, found in self._data.labelled.items():
            for number, part in enumerate(found.parts):
                tested = self._folds[name][number] == fold if found.is_crossed else part == "test"
                # A set with a dev part (SST-2) uses its training rows only to fit the probe, so
                # these belong to neither split.
                if tested or part == "dev" or "dev" not in found.parts:
                    split = "test" if tested else "validation"
                    division[split].append((name, str(number)))
        return division

    def train_size(self) -> int:
        """Return the number of training examples, duplicates counted."""
        return len(self._data.rows)

    def batch(self, index: Tensor) -> Batch:
        """Return padded tokens; examples with equal first sentences share an id."""
        first, *others = (self._padded(column, index) for column in self._tokens)
        data = TwoViews(first, others[0]) if others else first
        negatives = others[1] if len(others) > 1 else None
        return Batch(data, self._ids[index], negatives=negatives)

    def views(self, data: "Tokens | TwoViews") -> tuple[Tokens, Tokens]:
        """Return the tokens twice, for dropout to tell apart, or the two sides of a pair."""
        return (data.first, data.second) if isinstance(data, TwoViews) else (data, data)

    def encoder(self) -> nn.Module:
        """Return the pretrained encoder; of MiniLM's embeddings, train the corpus's tokens only.

        Embeddings of tokens that occur only in scored sets are loaded and stay fixed, so that
        the choice of scored sets does not change training.

        Raises:
            InputError: if dropout does not make the two views differ.
        """
        if self.network == EMBEDDED:
            trained, read = _vocabularies(self._words, self.length)
            return minilm(
                layers=self.layers or QUICK_LAYERS, dropout=self.dropout, pooling=self.pooling,
                vocabulary=trained, also_read=read,
            )  # fmt: skip
        if is_in_file(self.network):
            encoder = networks.build(
                self.network, vocabulary=hf_folders.minilm_files()[0]["vocab_size"],
                dropout=self.dropout, layers=self.layers, pooling=self.pooling,
            )  # fmt: skip
        else:
            encoder = sentence_encoder(
                self.network, layers=self.layers, dropout=self.dropout, pooling=self.pooling,
                root=self.root,
            )  # fmt: skip
        if self.dropout_views:
            some = self._padded(self._tokens[0], torch.arange(min(TRIED, self.train_size())))
            require_two_views(encoder, some, f"{self.network!r}", self.dropout)
        return encoder

    def head(self, width: int) -> nn.Module:
        """Return a fresh head of the kind that ``head_form`` names."""
        if self.head_form == "mlp":
            return mlp([width] * 3)
        return nn.Sequential(nn.Linear(width, width), nn.Tanh())

    @property
    def metrics(self) -> Sequence[Metric]:
        """Return the scored sets' metrics, first the main one: Spearman on STS-B, if scored."""
        own = {name: own_sets.read(name, self.root) for name in self._sets if is_own(name)}
        labelled = [
            name for name in self._sets
            if name in senteval.SOURCES or (name in own and own[name].labelled is not None)
        ]  # fmt: skip
        pairs = metrics_of([name for name in self._sets if name not in labelled], self._starts)
        accuracies = [
            Metric(
                f"{self._starts[name]}_accuracy",
                f"The accuracy of a probe on {label_of(Path(name))}.",
                margin=0.5,
            )
            for name in labelled
        ]
        if {*senteval.SOURCES} <= {*labelled}:
            text = "The mean accuracy over the seven transfer tasks."
            accuracies.insert(
                0, Metric("transfer_avg7_accuracy", text, margin=0.5, label="transfer average")
            )
        # The main metric must have a validation part.
        validated = {
            f"{self._starts[name]}_spearman"
            for name in self._sets
            if name == BENCHMARK or (name in own and own[name].has_validation)
        }
        main = [metric for metric in pairs if metric.name in validated]
        return [*main, *accuracies, *(metric for metric in pairs if metric not in main)]

    def evaluate(self, encoder: nn.Module, splits: Sequence[str]) -> Evaluation:
        """Return the correlations and accuracies of the sets that have a part in each split."""
        scores: dict[str, dict[str, float]] = {
            split: self._sts(encoder, split) if self._data.pairs[split] else {} for split in splits
        }
        accuracies = {name: self._accuracy(encoder, name, splits) for name in self._data.labelled}
        for split in splits:
            own = {f"{self._starts[n]}_accuracy": by[split] for n, by in accuracies.items()}
            if {*senteval.SOURCES} <= {*accuracies}:
                seven = [accuracies[name][split] for name in senteval.SOURCES]
                own["transfer_avg7_accuracy"] = float(np.mean(seven))
            scores[split] |= own
        return Evaluation(scores)

    def held_out(self) -> Batch | None:
        """Return sentences of validation pairs, no longer than training's, without labels."""
        short = [
            row
            for row in _scored_tokens(self._words, "validation").values()
            if len(row) <= self.length
        ]
        chosen = short[:: -(-len(short) // HELD_OUT)] if short else []
        ids = torch.arange(len(chosen)) + self.train_size()
        return Batch(pad(chosen, self._padding), ids) if chosen else None

    def save(self, encoder: nn.Module, folder: Path) -> None:
        """Write the encoder as a folder that ``SentenceTransformer`` loads.

        That library lacks ``first-last`` pooling; such an encoder is written without pooling,
        as a folder that transformers loads.
        """
        from adapters.export.sentence_transformers_folder import MODES, export

        if not isinstance(encoder, SentenceEncoder):  # A network of the user's own.
            super().save(encoder, folder)
            return
        # sentence-transformers has no such pooling module, so save the encoder without pooling.
        if self.pooling not in MODES:
            save_pretrained(
                encoder, folder, name=self.network, root=self.root, length=EVALUATION_LENGTH
            )
            return
        export(encoder, folder, name=self.network, root=self.root, length=EVALUATION_LENGTH)

    def _sts(self, encoder: nn.Module, split: str) -> dict[str, float]:
        sets, tokens = self._data.pairs[split], _scored_tokens(self._words, split)
        row = {sentence: i for i, sentence in enumerate(tokens)}
        rows = torch.from_numpy(self._represented(encoder, list(tokens.values())))

        def sides(pairs: Pairs) -> tuple[Tensor, Tensor]:
            return rows[[row[s] for s in pairs.first]], rows[[row[s] for s in pairs.second]]

        def cosine(pairs: Pairs) -> NDArray[np.float64]:
            found: NDArray[np.float64] = cosine_similarity(*sides(pairs)).double().numpy()
            return found

        scores: dict[str, float] = {}
        for name in sets:
            if name not in SUBSETS:
                pairs = sets[name][name]
                scores[f"{self._starts[name]}_spearman"] = spearman(cosine(pairs), pairs.scores)
        for name in SUBSETS:
            if name in sets:
                scores |= year_scores(name, sets[name], cosine)
        if GEOMETRY in self._sets:
            pairs = sets[BENCHMARK][BENCHMARK]
            own = sorted({row[s] for s in (*pairs.first, *pairs.second)})
            scores |= geometry(*sides(pairs), pairs.scores, rows[own])
        return scores | average_of_seven(scores)

    def _accuracy(self, encoder: nn.Module, name: str, splits: Sequence[str]) -> dict[str, float]:
        """Return {split: accuracy} of a probe on one labelled set."""
        found, folds = self._data.labelled[name], self._folds[name]
        tokens = _labelled_tokens(self._words, name)
        row = {sentence: i for i, sentence in enumerate(tokens)}
        rows = self._represented(encoder, list(tokens.values())).astype(np.float64)
        columns = [rows[[row[s] for s in column]] for column in found.columns]
        features = pair_features(*columns) if len(columns) == 2 else columns[0]
        if found.is_crossed:
            return cross_validated(features, found.classes, folds, splits)
        return given_parts(features, found.classes, found.parts, folds, splits)

    def _padded(self, rows: Sequence[NDArray[np.int32]], index: Tensor) -> Tokens:
        return pad([rows[i] for i in index.tolist()], self._padding)

    def _represented(self, encoder: nn.Module, tokens: Sequence[NDArray[np.int32]]) -> np.ndarray:
        """Return the representations of tokenized sentences, which come in rising length."""
        starts = range(0, len(tokens), ENCODED_AT_ONCE)
        batches = (pad(tokens[i : i + ENCODED_AT_ONCE], self._padding) for i in starts)
        return represent(encoder, batches)


class TwoViews(NamedTuple):
    """The two views of examples from a corpus of pairs."""

    first: Tokens
    second: Tokens


class Words(NamedTuple):
    """The settings and checksums that determine the sentences and their tokens.

    The functions below cache by it, so that the cells of a process tokenize a corpus once.
    """

    tokenizer: str
    root: str
    corpus: str
    columns: str
    evaluation: str
    keep_out: str
    checksums: tuple[str, ...]

    def material(self) -> Material:
        """Return the sentences."""
        return material(
            self.corpus, self.columns, self.evaluation, self.keep_out, self.root,
            *self.checksums,
        )  # fmt: skip

    def tokens(self, sentences: Sequence[str], length: int) -> list[NDArray[np.int32]]:
        """Return the sentences' tokens."""
        return tokenize(sentences, length=length, encoder=self.tokenizer, root=self.root)

    def sorted_tokens(self, sentences: Iterable[str]) -> dict[str, NDArray[np.int32]]:
        """Return {scored sentence: its tokens}, the shortest first."""
        different = sorted(set(sentences))
        cut = min(EVALUATION_LENGTH, hf_folders.max_tokens(self.tokenizer, self.root))
        tokens = zip(different, self.tokens(different, cut), strict=True)
        return dict(sorted(tokens, key=lambda pair: len(pair[1])))


@lru_cache(maxsize=2)
def _corpus_tokens(words: Words, length: int) -> list[list[NDArray[np.int32]]]:
    columns = zip(*words.material().rows, strict=True)
    return [words.tokens(column, length) for column in columns]


@lru_cache(maxsize=2)
def _ids(words: Words) -> Tensor:
    """Return for each example the number of the first one that begins with the same sentence."""
    first: dict[str, int] = {}
    return torch.tensor([first.setdefault(r[0], i) for i, r in enumerate(words.material().rows)])


@lru_cache(maxsize=4)
def _scored_tokens(words: Words, split: str) -> dict[str, NDArray[np.int32]]:
    pairs = texts(words.material().pairs[split])
    return words.sorted_tokens(sentence for pair in pairs for sentence in pair)


@lru_cache(maxsize=14)
def _labelled_tokens(words: Words, name: str) -> dict[str, NDArray[np.int32]]:
    columns = words.material().labelled[name].columns
    return words.sorted_tokens(sentence for column in columns for sentence in column)


@lru_cache(maxsize=2)
def _vocabularies(words: Words, length: int) -> tuple[frozenset[int], frozenset[int]]:
    """Return the set of tokens in training sentences, and that in scored sentences."""
    found = words.material()
    trained = [row for column in _corpus_tokens(words, length) for row in column]
    scored = [row for split in found.pairs for row in _scored_tokens(words, split).values()]
    scored += [row for name in found.labelled for row in _labelled_tokens(words, name).values()]
    return _tokens_in(trained), _tokens_in(scored)


def _tokens_in(rows: Sequence[NDArray[np.int32]]) -> frozenset[int]:
    return frozenset(np.unique(np.concatenate(rows)).tolist())
