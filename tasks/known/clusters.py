"""Clusters whose ideal map is known: does a contrastive loss keep them whole?"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.core.errors import require, require_choice
from harness.core.randomness import Randomness
from harness.evaluation.represent import represent
from harness.metrics import Evaluation, Metric
from harness.settings import Above, Between, OneOf
from harness.task import Batch, Task, consecutive
from tasks.known.cluster_enumeration import PAIRS, style_pairs
from tasks.known.cluster_loss import (
    joint_masses,
    population_loss,
    task_accuracies,
    uniform_loss,
    vertex_entropy,
    vertex_numbers,
    vertex_shares,
    vertices,
)

NETWORKS = ("linear", "mlp", "lookup")
PARTS = ("train", "validation", "test")
MAX_CLUSTERS = 16
"""16 clusters have 6435 balanced labellings, up to sign; 18 would have 24310."""


class Clusters(Task):
    r"""Train an encoder into the cube {-1, 1}^d; see whether it keeps clusters whole.

    An image is a cluster, one-hot, and a style, a number from -1 to 1 near one of
    ``styles`` equidistant points. Half of the points are natural images. The second view
    is the augmentation, which moves a natural image's style by half of the range
    (``interleaved``) or to the next point (``local``). With interleaved pairs every
    threshold along the style separates a natural image from its augmentation, so a class
    of halfspaces pays for splitting a cluster. With local pairs it need not.

    The encoder's last layer is a tanh, a relaxation of {-1, 1}^d; the evaluation takes its
    sign. The head is the identity. The pairing is ``same_view``: negatives are the batch's
    ``batch_size`` - 1 other natural images, whatever their cluster. Losses of cosines
    divide by the length of a vertex, sqrt(d): the theory's beta is 1 / (temperature d), so
    that at d = 2 beta = 1 is a temperature of .5. Losses of dot products have
    beta = 1 / temperature.

    Scores, of a split's natural and augmented images, in points:

    - ``worst_task``: the lowest accuracy over the balanced labellings of the clusters, with
      the best label for each vertex, chosen on train; clusters weigh the same. Collapse
      gives 50, a map that keeps clusters whole and apart 100. With more clusters than
      vertices some must share one; if all do, the score is at most 50;
    - ``mean_task``: the mean accuracy over all balanced labellings;
    - ``preserved``: share of the clusters on which the map is constant. Collapse preserves
      all clusters, so read it together with the next score;
    - ``vertex_entropy``: entropy of the natural images' vertices; d bits are 100.

    Diagnostics, on train, of the sign of the map: ``population_loss``, InfoNCE's exact loss
    (:func:`~tasks.known.cluster_loss.population_loss`) at ``beta`` and the batch's number of
    negatives, for every loss trained with; ``gap``, its excess over the loss of a uniform
    map without a broken pair, which is the theorem's minimum for clusters of equal mass;
    ``entropy_bits``; ``broken_pairs``, a share. Seeds are restarts: the theorem is about
    the seed with the least ``population_loss``.

    The row ``oracle`` is not trained: it gives cluster c the vertex c modulo 2^d.

    Args:
        dimension: d, of the cube.
        clusters: their number, even, at most 16; 0: 2^d, one per vertex.
        styles: style points of a cluster, even; half of them are natural images.
        pairs: ``interleaved`` or ``local``.
        network: ``linear`` (halfspaces, a threshold for each cluster), ``mlp`` (one hidden
            layer of ReLUs) or ``lookup`` (a table of clusters and style points).
        width: hidden units of the mlp, its capacity. With some hundred, use a learning rate
            of .01: at .05 the tanh saturates, and clusters collapse.
        imbalance: how many times as many images the first cluster has as any other.
        examples: images of each cluster and natural style point in each split.
        jitter: width of the interval around the style point from which an image's style is
            drawn, as a share of the distance between points: above 0, at most .9.
        beta: of the exact loss among the diagnostics.

    Raises:
        InputError: if a setting is invalid.

    References:
        Parulekar, Collins, Shanmugam, Mokhtari & Shakkottai, COLT 2023, arXiv 2302.07920.
    """

    label = "Clusters"
    modality = "synthetic"
    metrics = (
        Metric("worst_task", "The accuracy of the task that is predicted worst.", margin=1.0),
        Metric("mean_task", "The mean accuracy over the tasks.", margin=1.0),
        Metric("preserved", "The share of clusters that are mapped to one vertex."),
        Metric("vertex_entropy", "The entropy of the vertices, as a share of the largest."),
    )
    pairing = "same_view"
    references = ("oracle",)
    more_views = False  # The augmentation of an image is fixed.

    dimension: Annotated[int, Between(1, 4)] = 2
    clusters: Annotated[int, Between(0, MAX_CLUSTERS)] = 0
    styles: int = 4
    pairs: Annotated[str, OneOf(PAIRS)] = "interleaved"
    network: Annotated[str, OneOf(NETWORKS)] = "linear"
    width: Annotated[int, Between(1)] = 64
    imbalance: Annotated[float, Between(1, 1000)] = 1.0
    examples: Annotated[int, Between(1, 10_000)] = 32
    jitter: Annotated[float, Above(0, 0.9)] = 0.5
    beta: Annotated[float, Above(0, 100)] = 1.0
    steps: int = 150
    batch_size: int = 64
    learning_rate: float = 0.05
    optimizer: str = "adam"

    def setup(self) -> None:
        """Check settings that depend on one another."""
        super().setup()
        require(
            self.clusters % 2 == 0,
            f"`clusters` must be even, because tasks label half of them 1: got {self.clusters}. "
            "Add or remove one.",
        )
        style_pairs(self.pairs, self.styles)

    def load(self, randomness: Randomness) -> None:
        """Draw the images; each split has the same number of each cluster and style point."""
        self._count = self.clusters or 2**self.dimension
        styles = [natural for natural, _ in style_pairs(self.pairs, self.styles)]
        each = [round(self.examples * self.imbalance)] + [self.examples] * (self._count - 1)
        cells = [(c, s) for c, number in enumerate(each) for s in styles for _ in range(number)]
        self._clusters, points = np.array(cells).T
        noise = randomness.numpy("split").uniform(-0.5, 0.5, (len(PARTS), len(cells)))
        centres = (points + 0.5 + self.jitter * noise) * 2 / self.styles - 1
        names = np.eye(self._count)[self._clusters]
        self._images = {
            part: torch.from_numpy(np.column_stack([names, style])).float()
            for part, style in zip(PARTS, centres, strict=True)
        }

    def splits(self) -> Sequence[Mapping[str, Iterable[int]]]:
        """Return the one division, by the images' numbers."""
        return [consecutive(dict.fromkeys(PARTS, self.train_size()))]

    def train_size(self) -> int:
        """Return the number of natural images to train on."""
        return len(self._clusters)

    def batch(self, index: Tensor) -> Batch:
        """Return natural images, with their numbers as ids."""
        return Batch(self._images["train"][index], index)

    def views(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Return the natural images, and their augmentations."""
        first, second = style_pairs(self.pairs, self.styles)[0]
        moved = data.clone()
        moved[:, -1] += (second - first) * 2 / self.styles
        return data, moved

    def encoder(self) -> nn.Module:
        """Return a fresh network that ends in a tanh."""
        columns = self._count + 1
        if self.network == "linear":
            return nn.Sequential(nn.Linear(columns, self.dimension), nn.Tanh())
        if self.network == "lookup":
            return nn.Sequential(Lookup(self._count, self.styles, self.dimension), nn.Tanh())
        hidden = nn.Linear(columns, self.width)
        return nn.Sequential(hidden, nn.ReLU(), nn.Linear(self.width, self.dimension), nn.Tanh())

    def head(self, width: int) -> nn.Module:
        """Return the identity."""
        del width
        return nn.Identity()

    def reference(self, name: str) -> nn.Module:
        """Return the oracle, which gives cluster c the vertex c modulo 2^d."""
        require_choice("name", name, self.references)
        return Oracle(self._count, self.dimension)

    def evaluate(self, encoder: nn.Module, splits: Sequence[str]) -> Evaluation:
        """Return the worst and mean task's accuracy, the preserved share and the entropy."""
        clusters = np.concatenate([self._clusters, self._clusters])
        parts = {part: self._map(encoder, part) for part in ("train", *splits)}
        shares = {
            part: vertex_shares(np.concatenate(numbers), clusters, self.dimension)
            for part, numbers in parts.items()
        }

        def scores(split: str) -> dict[str, float]:
            accuracies = task_accuracies(shares["train"], shares[split])
            return {
                "worst_task": float(accuracies.min()),
                "mean_task": float(accuracies.mean()),
                "preserved": float((shares[split].max(axis=1) == 1).mean()),
                "vertex_entropy": self._entropy(parts[split][0]) / self.dimension,
            }

        return Evaluation({split: scores(split) for split in splits})

    def held_out(self) -> Batch:
        """Return the validation images, with their clusters as labels."""
        images = self._images["validation"]
        ids = torch.arange(len(images)) + len(images)
        return Batch(images, ids, torch.from_numpy(self._clusters))

    def diagnose(
        self, encoder: nn.Module, head: nn.Module, loss: nn.Module | None
    ) -> dict[str, float]:
        """Return the exact loss of the map's sign, and the quantities it is made of."""
        del head, loss
        naturals, augmented = self._map(encoder, "train")
        rows = min(self.batch_size or self.train_size(), self.train_size())
        negatives = max(1, rows - 1)
        joint = joint_masses(naturals, augmented, self.dimension)
        exact = float(population_loss(joint, beta=self.beta, negatives=negatives))
        least = uniform_loss(self.dimension, beta=self.beta, negatives=negatives)
        return {
            "population_loss": exact,
            "gap": exact - least,
            "entropy_bits": self._entropy(naturals),
            "broken_pairs": float((naturals != augmented).mean()),
        }

    def _map(self, encoder: nn.Module, part: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the vertices of a split's natural images, and of their augmentations."""
        first, second = (
            vertex_numbers(represent(encoder, [view])) for view in self.views(self._images[part])
        )
        return first, second

    def _entropy(self, numbers: NDArray[np.int64]) -> float:
        return vertex_entropy(np.bincount(numbers) / len(numbers))


class Lookup(nn.Module):
    """A table with a row for each cluster and style point."""

    def __init__(self, clusters: int, styles: int, dimension: int) -> None:
        super().__init__()
        self.clusters, self.styles = clusters, styles
        self.rows = nn.Embedding(clusters * styles, dimension)

    def forward(self, images: Tensor) -> Tensor:
        """Return each image's row."""
        points = ((images[:, -1] + 1) * self.styles / 2).long()
        rows: Tensor = self.rows(images[:, : self.clusters].argmax(dim=1) * self.styles + points)
        return rows


class Oracle(nn.Module):
    """The map that keeps clusters whole and, if there are enough vertices, apart."""

    corners: Tensor

    def __init__(self, clusters: int, dimension: int) -> None:
        super().__init__()
        corners = vertices(dimension)[np.arange(clusters) % 2**dimension]
        self.register_buffer("corners", torch.from_numpy(corners).float())

    def forward(self, images: Tensor) -> Tensor:
        """Return the vertex of each image's cluster."""
        return self.corners[images[:, :-1].argmax(dim=1)]
