"""Topics of two-word documents: all expectations are finite sums, so risks are exact."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import one_hot

from harness.core.errors import require_number
from harness.core.randomness import Randomness
from harness.metrics import Evaluation, Metric
from harness.settings import Above, Between
from harness.task import Batch, Task, consecutive
from tasks.known.sufficiency import (
    DIVERGENCES,
    DRAWS,
    critic_risk,
    critic_rows,
    information,
    risks_of_critic,
    sufficiency,
)

LABELLED = (50, 200, 1000)
"""How many labelled documents a fit gets."""

HELD_OUT = 512
CLOSE = 1e-12
"""Sinkhorn's iterations end when every word's share is within this of equal shares."""
ITERATIONS = 10000
"""Largest number of Sinkhorn's iterations."""


class SufficiencyTopics(Task):
    r"""Learn the topics of words from documents of two words.

    A document has one of M topics y, uniformly, and two words drawn from P(. | y), a
    distribution that each seed draws anew; all words are equally common. A view is one of
    the two words: half of the time two views are the same word, otherwise they are two
    words of one topic. Their density ratio is

    .. math::
        r(z, z') = \tfrac{1}{2} \sum_y \frac{P(y|z) P(y|z')}{P(y)}
                   + \tfrac{S}{2} 1\{z = z'\}

    A word z's representation (W_z, w e_z) joins a row W_z of a learned table and the word's
    one-hot vector e_z times a learned number w. The dot product is r itself for
    :math:`W_z = P(\cdot|z) / \sqrt{2 P(\cdot)}` and :math:`w = \sqrt{S/2}`. So such
    encoders can express the best critic of ``chi2_information``, r, but not that of
    ``kl_information``, log r.

    ``accuracy_m`` is the accuracy of topics predicted by a linear fit from the topic part W
    on m labelled documents, each read as one of its words. It is summed exactly over all
    words and averaged over draws of the labels. The fit is least squares on the topics'
    indicators. Features are first centred and scaled to a mean square length of 1, and the
    penalty is 1/m, so that the best fit from the posterior is the posterior. No fit from
    words can exceed ``bayes_accuracy``, one of the diagnostics. ``oracle`` represents a
    word by the posterior P(y|z), ``direct`` by its one-hot vector.

    Diagnostics, all exact: the risks of the critic that the loss trains; their gaps to
    -I_f, the least risk of all critics; the gaps of the critic's best multiple; and
    ``*_sufficiency``, the information lost when each word is replaced by the topic that the
    fit on most documents predicts. (The table itself loses none: no two words have the
    same row.)

    Args:
        topics: M, at least 2.
        words: S, at least 4 M.
        spread: deviation of the words' log weights in a topic, before they are scaled to be
            equally common; the larger, the more a word tells about its topic.
        documents: how many are trained on.

    Raises:
        InputError: if a setting is invalid.

    References:
        Lin & Mei 2025, arXiv 2503.17538.
    """

    label = "Sufficiency (topics)"
    modality = "text"
    metrics = tuple(
        Metric(f"accuracy_{m}", f"The mean accuracy of fits on {m} labelled documents.")
        for m in LABELLED
    )
    pairing = "cross_view"
    references = ("direct", "oracle")

    topics: Annotated[int, Between(2)] = 10
    words: int = 100
    spread: Annotated[float, Above(0, 5)] = 2.0
    documents: Annotated[int, Between(2)] = 5000
    steps: int = 300
    batch_size: int = 64
    learning_rate: float = 0.02
    optimizer: str = "adam"

    def setup(self) -> None:
        """Check settings that depend on one another."""
        super().setup()
        require_number("words", self.words, at_least=4 * self.topics, at_most=4000, whole=True)

    def load(self, randomness: Randomness) -> None:
        """Draw the topics' words, the documents, and labelled words for both splits."""
        generator = randomness.numpy("split", 0)
        weights = np.exp(self.spread * generator.standard_normal((self.topics, self.words)))
        self.of_topic = equally_common(weights)
        self.posterior = self.of_topic.T * (self.words / self.topics)
        self.joint = joint_of_views(self.of_topic)
        self._documents, _ = self._draw_documents(self.documents, generator)
        self._held_out = self._draw_documents(HELD_OUT, randomness.numpy("split", 3))
        cells = (self.of_topic / self.topics).ravel()
        self._counts = {
            split: {
                m: labelling.multinomial(m, cells / cells.sum(), size=DRAWS).reshape(
                    DRAWS, self.topics, self.words
                )
                for m in LABELLED
            }
            for split, labelling in (
                ("validation", randomness.numpy("split", 1)),
                ("test", randomness.numpy("split", 2)),
            )
        }

    def _draw_documents(self, count: int, generator: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return two words for each document, and its topic."""
        topics = generator.integers(self.topics, size=count)
        ends = self.of_topic.cumsum(axis=1)
        # Inverse transform sampling: a word is the number of interval ends up to a uniform number.
        # Scale by the last end, which rounding may put below 1, so that no word is past the last.
        places = generator.random((count, 2, 1)) * ends[topics][:, None, -1:]
        words = (places >= ends[topics][:, None]).sum(axis=2)
        return torch.from_numpy(words), torch.from_numpy(topics)

    def splits(self) -> Sequence[Mapping[str, Iterable[int]]]:
        """Return the one division, by the documents' numbers."""
        scored = DRAWS * sum(LABELLED)
        return [consecutive({"train": self.documents, "validation": scored, "test": scored})]

    def train_size(self) -> int:
        """Return the number of documents that are trained on."""
        return self.documents

    def batch(self, index: Tensor) -> Batch:
        """Return documents, two words per row, with their numbers as ids."""
        return Batch(self._documents[index], index)

    def held_out(self) -> Batch:
        """Return other documents, with their topics as labels."""
        words, topics = self._held_out
        return Batch(words, torch.arange(len(words)) + self.train_size(), topics)

    def views(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Return one of each document's two words, drawn twice independently."""
        rows = torch.arange(len(data), device=data.device)
        first, second = torch.randint(2, (2, len(data)), device=data.device)
        return data[rows, first], data[rows, second]

    def encoder(self) -> nn.Module:
        """Return a table of random topic parts beside one-hot words."""
        return WordTable(torch.randn(self.words, self.topics) / self.topics**0.5, 1.0)

    def head(self, width: int) -> nn.Module:
        """Return the identity: losses see the representation itself."""
        del width
        return nn.Identity()

    def reference(self, name: str) -> nn.Module:
        """Return a fixed table: the posterior (``oracle``), or one-hot words (``direct``)."""
        table = nn.Embedding(self.words, self.topics if name == "oracle" else self.words)
        rows = self.posterior if name == "oracle" else np.eye(self.words)
        table.weight.data = torch.from_numpy(rows).float()
        return table

    def best_encoder(self) -> "WordTable":
        """Return the table whose dot products are the density ratio."""
        rows = torch.from_numpy(self.posterior) * (self.topics / 2) ** 0.5
        return WordTable(rows, (self.words / 2) ** 0.5)

    def evaluate(self, encoder: nn.Module, splits: Sequence[str]) -> Evaluation:
        """Return the mean accuracy of fits on m labelled documents."""

        def accuracy(counts: Int[np.ndarray, "draws topics words"]) -> float:
            named = self._named_topics(encoder, counts)
            return float(self.posterior[np.arange(self.words), named].mean())

        return Evaluation({
            split: {f"accuracy_{m}": accuracy(c) for m, c in self._counts[split].items()}
            for split in splits
        })  # fmt: skip

    def diagnose(
        self, encoder: nn.Module, head: nn.Module, loss: nn.Module | None
    ) -> dict[str, float]:
        """Return the Bayes accuracy, exact sufficiency, and the critic's exact risks."""
        named = self._named_topics(encoder, self._counts["validation"][LABELLED[-1]][:1])[0]
        found = {"bayes_accuracy": 100 * float(self.posterior.max(axis=1).mean())}
        found |= {f"{n}_sufficiency": sufficiency(n, self.joint, named) for n in DIVERGENCES}
        rows = critic_rows(loss, head(self._encoded(encoder)))
        if rows is None:
            return found
        scores = (rows @ rows.T).cpu().numpy()
        return found | risks_of_critic(
            self.informations(), lambda name, a: critic_risk(name, a * scores, self.joint)
        )

    def informations(self) -> dict[str, float]:
        """Return {divergence: I_f of two views}."""
        return {name: information(name, self.joint) for name in DIVERGENCES}

    def _encoded(self, encoder: nn.Module) -> Tensor:
        device = next(encoder.parameters()).device
        rows: Tensor = encoder(torch.arange(self.words, device=device))
        return rows

    def _named_topics(
        self, encoder: nn.Module, counts: Int[np.ndarray, "draws topics words"]
    ) -> Int[np.ndarray, "draws words"]:
        """Return each word's topic as predicted by the fit on each draw's labelled words."""
        rows = self._encoded(encoder).double().cpu().numpy()
        if isinstance(encoder, WordTable):
            rows = rows[:, : self.topics]
        rows = rows - rows.mean(axis=0)
        # Representations that are all equal are zeros by now: the floor avoids 0 / 0.
        rows /= max(float(np.mean((rows**2).sum(axis=1))) ** 0.5, 1e-12)
        m = counts[0].sum()
        drawn = counts.sum(axis=1)  # How often each word was drawn.
        gram = np.einsum("jk,dj,jl->dkl", rows, drawn, rows, optimize=True)
        moments = (counts - drawn[:, None] / self.topics) @ rows  # [draws, topics, k]
        fits = np.linalg.solve(gram / m + np.eye(rows.shape[1]) / m, moments.mT / m)
        named: np.ndarray = (rows @ fits).argmax(axis=2)
        return named


class WordTable(nn.Module):
    """Represent a word by its topic part, followed by its one-hot vector times a number.

    Args:
        topic_parts: one row per word.
        scale: the number.
    """

    def __init__(self, topic_parts: Float[Tensor, "s m"], scale: float) -> None:
        super().__init__()
        self.out_features = sum(topic_parts.shape)
        self.topic_parts = nn.Parameter(topic_parts)
        self.scale = nn.Parameter(torch.tensor(scale, dtype=topic_parts.dtype))

    def forward(self, words: Int[Tensor, " n"]) -> Float[Tensor, "n k"]:
        """Return topic parts and scaled one-hot vectors, side by side."""
        one_hots = one_hot(words, len(self.topic_parts)).to(self.topic_parts)
        return torch.cat([self.topic_parts[words], self.scale * one_hots], dim=1)


def equally_common(weights: Float[np.ndarray, "m s"]) -> Float[np.ndarray, "m s"]:
    """Scale rows to sum to 1 and columns to equal sums, by Sinkhorn's algorithm.

    Args:
        weights: above 0; row y holds the weights of the words in topic y.

    Returns:
        P(word | topic), under which all words are equally common if topics are uniform.

    >>> equally_common(np.array([[3.0, 1.0], [3.0, 1.0]])).tolist()
    [[0.5, 0.5], [0.5, 0.5]]
    """
    topics, words = weights.shape
    shares: np.ndarray = weights / weights.sum(axis=1, keepdims=True)
    for _ in range(ITERATIONS):
        shares = shares * (topics / words / shares.sum(axis=0))
        shares = shares / shares.sum(axis=1, keepdims=True)
        if np.abs(shares.sum(axis=0) - topics / words).max() < CLOSE:
            break
    return shares


def joint_of_views(of_topic: Float[np.ndarray, "m s"]) -> Float[np.ndarray, "s s"]:
    """Return P(z, z') of two views: half the time the same word, else two words of a topic.

    Args:
        of_topic: P(word | topic), for uniform topics.
    """
    topics = len(of_topic)
    marginal = of_topic.mean(axis=0)
    joint: np.ndarray = np.diag(marginal) / 2 + of_topic.T @ of_topic / (2 * topics)
    return joint
