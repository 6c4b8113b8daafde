"""Clusters whose right map is known: does a contrastive loss keep them whole?"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.errors import require, require_choice, require_number
from harness.randomness import Randomness
from harness.task import Batch, Task, device_of
from tasks.cluster_enumeration import PAIRS, style_pairs
from tasks.cluster_loss import (
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
MOST_CLUSTERS = 16
"""Of 16 clusters there are 6435 balanced labellings, up to sign; of 18 24310."""


class Clusters(Task):
    r"""Train an encoder into the cube {-1, 1}^d; see whether it keeps clusters whole.

    An image is a cluster, one-hot, and a style, a number from -1 to 1 about one of
    ``styles`` equidistant points. Half of the points are natural images; the augmentation,
    which is the second view, moves a natural image's style: by half of the range
    (``interleaved``), or to the next point (``local``). With interleaved pairs every
    threshold along the style parts a natural image from its augmentation, so that a class
    of halfspaces cannot split a cluster unpunished; with local pairs it can.

    The encoder's last layer is a tanh, a relaxation of {-1, 1}^d, which the evaluation
    reads by its sign; the head is the identity. The pairing is ``same_view``: negatives
    are the batch's other natural images, ``batch_size`` - 1 of them, whatever their
    cluster. Losses of cosines divide by the length of a vertex, sqrt(d): the theory's
    beta is 1 / (temperature d), so that at d = 2 beta = 1 is a temperature of .5. Losses of
    dot products have beta = 1 / temperature.

    Scores, of a split's natural and augmented images, in points:

    - ``worst_task``: accuracy on the balanced labelling of the clusters that is worst, with
      the best label for each vertex, chosen on train; clusters weigh the same. Collapse
      gives 50, a map that keeps clusters whole and apart 100. With more clusters than
      vertices some must share one, and it can be no more than 50 where all do;
    - ``mean_task``: the same, mean over all balanced labellings;
    - ``preserved``: share of the clusters on which the map is constant. Collapse preserves
      all: it means nothing without the next;
    - ``vertex_entropy``: of the natural images' vertices, 100 for d bits.

    Diagnostics, of the map read by its sign, on train: ``population_loss``, InfoNCE's, exact
    (:func:`~tasks.cluster_loss.population_loss`) at ``beta`` and the batch's number of
    negatives, whatever the loss was; ``gap``, by how much it is above that of a uniform
    map without a broken pair, the theorem's minimum, which needs clusters of equal mass;
    ``entropy_bits``; ``broken_pairs``, a share. Seeds are restarts: the theorem is about
    the one of least ``population_loss``.

    The row ``oracle`` is not trained: it gives cluster c the vertex c modulo 2^d.

    Args:
        dimension: d, of the cube, 1 to 4.
        clusters: their number, even, at most 16; 0: 2^d, one a vertex.
        styles: style points of a cluster, even; half of them are natural images.
        pairs: ``interleaved`` or ``local``.
        network: ``linear`` (halfspaces, a threshold for each cluster), ``mlp`` (one hidden
            layer of ReLUs) or ``lookup`` (a table of clusters and style points).
        width: hidden units of the mlp, its capacity. Some hundred want a learning rate of
            .01: at .05 the tanh saturates, and clusters collapse.
        imbalance: how many times as many images the first cluster has as any other.
        examples: images of each cluster and natural style point in each split.
        jitter: the width of the interval around its style point that an image's style is
            drawn from, in distances of points: above 0, at most .9.
        beta: of the exact loss among the diagnostics.
        steps: optimizer steps.
        batch_size: natural images a step: one more than the number of negatives; 0: all.
        learning_rate: the optimizer's, at its highest.
        weight_decay: the optimizer's.
        epochs: passes over the images; 0: ``steps`` counts.
        optimizer: ``adamw``, ``adam`` or ``sgd``.
        schedule: of the learning rate: ``constant``, ``cosine`` or ``linear``.
        warmup: share of the steps in which the rate rises.
        precision: of the training step, ``float32`` or ``bfloat16``.
        accumulate: batches a step.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Parulekar, Collins, Shanmugam, Mokhtari & Shakkottai, COLT 2023, arXiv 2302.07920.
    """

    modality = "synthetic"
    pairing = "same_view"
    references = ("oracle",)

    def __init__(
        self,
        *,
        dimension: int = 2,
        clusters: int = 0,
        styles: int = 4,
        pairs: str = "interleaved",
        network: str = "linear",
        width: int = 64,
        imbalance: float = 1.0,
        examples: int = 32,
        jitter: float = 0.5,
        beta: float = 1.0,
        steps: int = 150,
        batch_size: int = 64,
        learning_rate: float = 0.05,
        weight_decay: float = 0.0,
        epochs: float = 0.0,
        optimizer: str = "adam",
        schedule: str = "constant",
        warmup: float = 0.0,
        precision: str = "float32",
        accumulate: int = 1,
    ) -> None:
        super().__init__(
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            epochs=epochs,
            optimizer=optimizer,
            schedule=schedule,
            warmup=warmup,
            precision=precision,
            accumulate=accumulate,
        )
        require_number("dimension", dimension, at_least=1, at_most=4, whole=True)
        require_number("clusters", clusters, at_least=0, at_most=MOST_CLUSTERS, whole=True)
        require(
            clusters % 2 == 0,
            f"`clusters` must be even, half of them are labelled 1: got {clusters}.",
        )
        require_choice("pairs", pairs, PAIRS)
        style_pairs(pairs, styles)
        require_choice("network", network, NETWORKS)
        require_number("width", width, at_least=1, whole=True)
        require_number("imbalance", imbalance, at_least=1, at_most=1000)
        require_number("examples", examples, at_least=1, at_most=10_000, whole=True)
        require(
            batch_size != 1,
            "`batch_size` must be 0, for all, or 2 at least, for a negative: got 1.",
        )
        require_number("jitter", jitter, above=0, at_most=0.9)
        require_number("beta", beta, above=0, at_most=100)
        self.dimension = dimension
        self.clusters = clusters
        self.styles = styles
        self.pairs = pairs
        self.network = network
        self.width = width
        self.imbalance = imbalance
        self.examples = examples
        self.jitter = jitter
        self.beta = beta

    def load(self, randomness: Randomness) -> None:
        """Draw the images: the same numbers of each cluster and style point in each split."""
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
        """Return one division, by the images' numbers."""
        size = self.train_size()
        return [{part: range(k * size, (k + 1) * size) for k, part in enumerate(PARTS)}]

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

    def head(self) -> nn.Module:
        """Return the identity."""
        return nn.Identity()

    def reference(self, name: str) -> nn.Module:
        """Return the oracle, which gives cluster c the vertex c modulo 2^d."""
        require_choice("name", name, self.references)
        return Oracle(self._count, self.dimension)

    def evaluate(self, encoder: nn.Module, split: str) -> dict[str, float]:
        """Return accuracies of the worst and the mean task, preserved share and entropy."""
        clusters = np.concatenate([self._clusters, self._clusters])
        parts = {part: self._map(encoder, part) for part in ("train", split)}
        fitted, scored = (
            vertex_shares(np.concatenate(numbers), clusters, self.dimension)
            for numbers in (parts["train"], parts[split])
        )
        accuracies = task_accuracies(fitted, scored)
        return {
            "worst_task": 100 * float(accuracies.min()),
            "mean_task": 100 * float(accuracies.mean()),
            "preserved": 100 * float((scored.max(axis=1) == 1).mean()),
            "vertex_entropy": 100 * self._entropy(parts[split][0]) / self.dimension,
        }

    def held_out(self) -> Batch:
        """Return the validation images, with their clusters as labels."""
        images = self._images["validation"]
        ids = torch.arange(len(images)) + len(images)
        return Batch(images, ids, torch.from_numpy(self._clusters))

    def diagnose(
        self, encoder: nn.Module, head: nn.Module, loss: nn.Module | None
    ) -> dict[str, float]:
        """Return the exact loss of the map read by its sign, and what it is made of."""
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
        device = device_of(encoder)
        first, second = (
            vertex_numbers(encoder(view.to(device)).cpu().numpy())
            for view in self.views(self._images[part])
        )
        return first, second

    def _entropy(self, numbers: NDArray[np.int64]) -> float:
        return vertex_entropy(np.bincount(numbers) / len(numbers))


class Lookup(nn.Module):
    """A table: a row of its own for each cluster and style point."""

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
    """The map that keeps clusters whole, and as far as it can, apart."""

    corners: Tensor

    def __init__(self, clusters: int, dimension: int) -> None:
        super().__init__()
        corners = vertices(dimension)[np.arange(clusters) % 2**dimension]
        self.register_buffer("corners", torch.from_numpy(corners).float())

    def forward(self, images: Tensor) -> Tensor:
        """Return the vertex of each image's cluster."""
        return self.corners[images[:, :-1].argmax(dim=1)]
