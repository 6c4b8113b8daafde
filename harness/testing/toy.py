"""A small task for the contract tests: every loss and method must learn from it."""

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from harness.core.randomness import Randomness
from harness.heads import mlp
from harness.metrics import Evaluation, Metric
from harness.task import Batch, Task, consecutive

CLASSES = 6
SIGNAL, NOISE = 8, 24
"""How many coordinates two views share, and how many each view draws anew."""
SIZES = {"train": 480, "validation": 120, "test": 480}
SPREAD = 0.4
"""The standard deviation of points around the centre of their class."""
NOISE_DEVIATION = 2.0
"""The standard deviation of the noise: so large that the noise alone decides which points an
untrained encoder maps close to each other."""


class Toy(Task):
    """Learn which coordinates two views share, in half a second.

    A point has 8 coordinates of signal, the centre of its class plus a deviation, and 24 of
    noise. Its two views share the signal and draw the noise anew. The score is the accuracy
    of the nearest class mean, in points, on representations of one noisy view.
    """

    modality = "points"
    metrics = (Metric("accuracy", "The share of points nearest to the mean of their class."),)
    labelled = True

    batch_size: int = 96
    learning_rate: float = 5e-3

    def load(self, randomness: Randomness) -> None:
        """Draw the points of all splits, and the noise of the view that is scored."""
        generator = randomness.torch("split")

        def normal(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator)

        count = sum(SIZES.values())
        self._labels = torch.arange(count) % CLASSES
        self._points = normal(CLASSES, SIGNAL)[self._labels] + SPREAD * normal(count, SIGNAL)
        self._seen = torch.cat([self._points, NOISE_DEVIATION * normal(count, NOISE)], dim=1)
        self._parts = consecutive(SIZES)

    def splits(self) -> Sequence[Mapping[str, Iterable[int]]]:
        """Return the indices of the points in each split."""
        return [self._parts]

    def train_size(self) -> int:
        """Return the number of training points."""
        return SIZES["train"]

    def batch(self, index: Tensor) -> Batch:
        """Return the signal of points, with their classes."""
        return Batch(self._points[index], index, self._labels[index])

    def views(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Return two copies of each point's signal, each with fresh noise."""
        first, second = (
            NOISE_DEVIATION * torch.randn(len(data), NOISE, device=data.device) for _ in range(2)
        )
        return torch.cat([data, first], dim=1), torch.cat([data, second], dim=1)

    def held_out(self) -> Batch:
        """Return the validation points."""
        index = torch.tensor(self._parts["validation"])
        return Batch(self._points[index], index, self._labels[index])

    def encoder(self) -> nn.Module:
        """Return a network with one hidden layer and 16 output features."""
        return mlp([SIGNAL + NOISE, 64, 16])

    def calibration(self) -> Iterable[Tensor]:
        """Return the training points with the noise that they are scored with."""
        return [self._seen[list(self._parts["train"])]]

    def head(self, width: int) -> nn.Module:
        """Return SimCLR's head, with every layer as wide as the representation."""
        return mlp([width] * 3)

    def evaluate(self, encoder: nn.Module, splits: Sequence[str]) -> Evaluation:
        """Return the accuracy of the nearest class mean."""
        rows = nn.functional.normalize(encoder(self._seen), dim=1)
        train, *scored = (torch.tensor(self._parts[name]) for name in ("train", *splits))
        means = torch.stack([
            rows[train[self._labels[train] == label]].mean(dim=0) for label in range(CLASSES)
        ])  # fmt: skip
        nearest = torch.cdist(rows, means).argmin(dim=1)
        right = (nearest == self._labels).double()
        return Evaluation({
            split: {"accuracy": right[index].mean().item()}
            for split, index in zip(splits, scored, strict=True)
        })  # fmt: skip
