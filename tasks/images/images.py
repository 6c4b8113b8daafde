"""Images: a named data set and encoder, kornia's views, scored by linear probe and k-NN."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from adapters.data import image_data
from adapters.networks import image_networks
from adapters.views.image_views import DigitViews, SimCLRViews
from harness import networks
from harness.core.content import Content
from harness.core.errors import require
from harness.core.randomness import Randomness
from harness.evaluation.probes import LinearProbe, Predict, knn_probe, logistic_probe
from harness.evaluation.represent import represent
from harness.heads import mlp
from harness.metrics import Evaluation, Metric
from harness.settings import Between, NetworkOf, OneOf, evaluation, is_in_file, location
from harness.task import Batch, Task, device_of
from tasks.images.noise import class_counts, compose, require_enough, shuffled_pixels, some_rows

NETWORKS = ("conv", *image_networks.NAMES)
AUGMENTATIONS = ("auto", "digits", "simclr", "simclr-strong")
HEADS = ("simclr", "simclr-tf", "adnce")
CONV_WIDTH = 256
ADNCE_HIDDEN = 512
DIGITS = ("mnist-5k", "digits")
PIXELS_AT_ONCE = 500 * 48 * 48
"""How many pixels the evaluation encodes at a time, in at most 500 images."""

CALIBRATED = 5000
"""Largest number of training images for computing BatchNorm statistics."""

HELD_OUT = 256
"""Largest number of validation images for diagnostics."""

Numbers = NDArray[np.int64]
Features = NDArray[np.float32]


class Clean(NamedTuple):
    """Images whose views get no noise: those for diagnostics."""

    images: Tensor


class Images(Task):
    """Train on images without labels; probe the frozen encoder with labels.

    The test split is the data set's official one and is never trained on. If a set has
    none, as MNIST-5k and digits, the test split is the same for every seed. Each seed draws
    the validation images from the labelled training images, evenly over the classes. All
    other images are trained on, including those without labels (STL-10). Images are stored
    and moved to the device as uint8. Views and evaluation are both standardised by the
    training images' mean and deviation per channel (the digits stay in [0, 1]).

    Scores, of frozen representations without augmentation, BatchNorm in eval mode:
    ``accuracy`` is that of a logistic regression fitted to convergence on the labelled
    training images, C chosen on validation, averaged over draws if few are labelled;
    ``knn_accuracy`` is that of the vote of the nearest training images, at a temperature
    of .07 whatever the loss's (:func:`harness.evaluation.probes.knn_probe`).

    Training can be given faults, to see which losses tolerate them. Evaluation and the
    images for diagnostics stay clean. With a share of false negatives, each step draws a
    batch of few classes: an anchor has the usual number of negatives, but fewer of other
    classes, and BatchNorm sees fewer classes at a time. With ``false_negatives=0``, images
    of one class share an id and never repel each other. These pairs are left out and not
    replaced: an anchor has about 1/classes fewer negatives, and a loss that keeps state per
    example keeps it per class. Both apply to the batch only: a queue's negatives are of any
    class. A noisy view is another image's second view: the batch has the same views in
    other pairs, and some of these pairs are of one class.

    Args:
        data: a data set's name (`triptych data list`); a folder's path, or its name in
            ``TRIPTYCH_DATA``; ``folder`` with ``root``; or ``hub:OWNER/NAME``.
        root: a folder to look in first; empty: ``TRIPTYCH_DATA``, then the cache.
        size: height and width in pixels; images are scaled and centre-cropped once.
            0: unchanged.
        network: ``conv`` (three strided convolutions), ``resnet18``, ``resnet34``,
            ``resnet50``, ``vit-tiny`` or ``vit-small``; ``timm:NAME``, one of timm's, with
            fresh weights; or ``my_nets.py:Net``, which may take ``channels`` and ``size``.
        augmentation: ``digits`` (no flip), ``simclr`` (ADNCE's colour strength, .4) or
            ``simclr-strong`` (.8); ``auto``: ``digits`` for digits, else ``simclr``.
        head_form: Linear - BatchNorm - ReLU - Linear, as in leftthomas' SimCLR for CIFAR-10, from
            which ADNCE's code comes. ``simclr``: the hidden layer is as wide as the
            representation; ``adnce``: it is 512 wide; ``simclr-tf``: as ``simclr``, with
            BatchNorm after the last layer too, as in SimCLR's own TensorFlow code.
        crop_size: height and width of small crops, which `swav` and `dino` take with their
            setting `crops`; 0: those of the images. Other sizes need a ResNet.
        projection: width of the projections.
        labels: labelled training images per class; 0: all of them, in one draw.
        draws: random draws of the labelled images.
        knn: how many neighbours vote (200 is usual for CIFAR); 0: not scored.
        validation: number of validation images; 0: a tenth of the labelled training images,
            at least 1000 and at most a quarter.
        false_negatives: mean share of an anchor's negatives that belong to its own class, by
            the training images' labels: 0, or at least 1/classes and below 1, met to within
            2/``batch_size``; None: the data's own share, about 1/classes.
        outliers: share of each batch's images, 0 to 1, whose pixels are shuffled before the
            views are drawn, so that they lose their content.
        noisy_views: share of each batch's images, 0 to 1, that are paired with the second
            view of another image: false positives (arXiv 2201.04309).

    Raises:
        InputError: if a setting is invalid.
    """

    label = "Images"
    modality = "image"
    pairing = "both_views"
    labelled = True
    metrics = (
        Metric(
            "accuracy",
            "The share of images that the linear probe classifies right, a mean over the draws.",
            margin=0.5,
        ),
        Metric(
            "knn_accuracy",
            "The share of images that a vote of the nearest neighbours classifies right.",
            margin=0.5,
            label="k-NN accuracy",
        ),
    )

    data: Annotated[str, location] = "mnist-5k"
    root: Annotated[str, location] = ""
    size: Annotated[int, Between(0)] = 0
    network: Annotated[str, NetworkOf(NETWORKS, ("timm:",))] = "conv"
    augmentation: Annotated[str, OneOf(AUGMENTATIONS)] = "auto"
    head_form: Annotated[str, OneOf(HEADS)] = "simclr"
    crop_size: Annotated[int, Between(0)] = 0
    projection: Annotated[int, Between(1)] = 256
    labels: Annotated[int, Between(0), evaluation] = 10
    draws: Annotated[int, Between(1), evaluation] = 5
    knn: Annotated[int, Between(0), evaluation] = 0
    validation: Annotated[int, Between(0)] = 0
    false_negatives: Annotated[float | None, Between(0)] = None
    outliers: Annotated[float, Between(0, 1)] = 0.0
    noisy_views: Annotated[float, Between(0, 1)] = 0.0
    weight_decay: float = 1e-4

    def setup(self) -> None:
        """Check settings that depend on one another."""
        super().setup()
        image_data.require_known(self.data, self.root)
        if self.false_negatives is not None:
            require(
                self.false_negatives < 1,
                f"`false_negatives` must be below 1: got {self.false_negatives!r}. Lower it: an "
                "anchor needs negatives of other classes.",
            )
        require(
            not self.crop_size or self.network not in ("conv", *image_networks.OF_ONE_SIZE),
            f"`crop_size` must be 0 for network={self.network!r}, which takes images of one size: "
            f"got {self.crop_size}. Leave it out, or use a ResNet.",
        )
        # Crops have a random stream of their own, which cannot tell which views have noise.
        self.more_views = not (self.outliers or self.noisy_views)

    def fetch(self) -> list[Content]:
        """Download and decode what is missing; return the images' checksum."""
        return image_data.prepare(self.data, self.root, self.size)

    def load(self, randomness: Randomness) -> None:
        """Open the images; draw validation and the labelled images."""
        from adapters.metrics.hf_evaluate import require_working

        require_working("accuracy")
        self._pictures = image_data.load(self.data, self.root, self.size)
        _, self._channels, height, width = self._pictures.images.shape
        require(
            height == width,
            f"`size` must be set if images are not square: got {height} x {width} pixels. "
            "Set `size`, such as size=64.",
        )
        self._pixels: int = height
        shape = (1, self._channels, 1, 1)
        self._mean, self._std = (
            torch.tensor(values).view(shape) for values in (self._pictures.mean, self._pictures.std)
        )
        self._views = self._augmenter(self._pixels)
        self._crops = self._augmenter(self.crop_size or self._pixels, small=True)
        by_class, validation = self._divide(randomness.numpy("split"))
        unlabelled = self._pictures.unlabelled
        self._division = {
            "train": np.sort(np.concatenate([*by_class, unlabelled])),
            "validation": np.sort(np.concatenate(validation)),
            "test": np.sort(self._pictures.test),
        }
        self._known = np.sort(np.concatenate(by_class))
        self._held_out = _spread_over_classes(validation, HELD_OUT)
        self._plan_noise(by_class)
        self._labelled = self._draw(by_class, randomness.numpy("probe"))
        require(
            self.knn <= len(self._known),
            f"`knn` must be at most the number of labelled training images, {len(self._known)}: "
            f"got {self.knn}. Lower `knn`.",
        )

    def splits(self) -> Sequence[Mapping[str, Iterable[int]]]:
        """Return the numbers of the images in each split."""
        return [{name: part.tolist() for name, part in self._division.items()}]

    def train_size(self) -> int:
        """Return the number of training images: 3000 of MNIST-5k."""
        return len(self._division["train"])

    def batch(self, index: Tensor) -> Batch:
        """Return uint8 images, [B, C, H, W], with their numbers (or classes) as ids."""
        numbers = self._division["train"][index.numpy()]
        labels = torch.from_numpy(self._pictures.labels[numbers])
        images = torch.from_numpy(self._pictures.images[numbers])
        ids = labels if self.false_negatives == 0 else torch.from_numpy(numbers)
        return Batch(images, ids, labels)

    def batch_index(self, randomness: Randomness, step: int) -> Tensor:
        """Return which training images batch number ``step`` holds.

        With a share of false negatives, each step's batch is drawn by itself from the
        ``order`` stream; otherwise as in :meth:`harness.task.Task.batch_index`.
        """
        if not self._counts:
            return super().batch_index(randomness, step)
        generator = randomness.numpy("order", step)
        return torch.from_numpy(compose(self._members, self._counts, generator))

    def views(self, data: Tensor | Clean) -> tuple[Tensor, Tensor]:
        """Return two random views of each image, standardised.

        Noise is drawn last, so that views it does not touch are the same as without noise.
        """
        images = _as_float(data.images if isinstance(data, Clean) else data)
        first, second = (self._standardised(self._views(images)) for _ in range(2))
        if isinstance(data, Clean):
            return first, second
        if self.outliers:
            rows = some_rows(self.outliers, len(images)).to(images.device)
            noise = shuffled_pixels(images[rows])
            for view in (first, second):
                view[rows] = self._standardised(self._views(noise))
        if self.noisy_views:
            rows = some_rows(self.noisy_views, len(images)).to(images.device)
            # Indexing copies the right side before it is written, so no view is lost.
            second[rows] = second[rows.roll(1)]
        return first, second

    def further_views(self, data: Tensor, count: int) -> Sequence[Tensor]:
        """Return ``count`` small crops of each image, standardised."""
        images = _as_float(data)
        return [self._standardised(self._crops(images)) for _ in range(count)]

    def held_out(self) -> Batch:
        """Return at most 256 validation images, evenly over the classes, with clean views."""
        images, labels = (
            torch.from_numpy(part[self._held_out])
            for part in (self._pictures.images, self._pictures.labels)
        )
        return Batch(Clean(images), torch.from_numpy(self._held_out), labels)

    def encoder(self) -> nn.Module:
        """Return a fresh encoder of the kind that ``network`` names."""
        if self.network == "conv":
            return _conv(self._channels, self._pixels)
        if is_in_file(self.network):
            return networks.build(self.network, channels=self._channels, size=self._pixels)
        return image_networks.encoder(self.network, channels=self._channels, size=self._pixels)

    def head(self, width: int) -> nn.Module:
        """Return a fresh head of the kind that ``head_form`` names."""
        hidden = ADNCE_HIDDEN if self.head_form == "adnce" else width
        return mlp([width, hidden, self.projection], last_norm=self.head_form == "simclr-tf")

    def evaluate(self, encoder: nn.Module, splits: Sequence[str]) -> Evaluation:
        """Return the accuracies of the linear probe and, with ``knn``, of the vote."""
        # Imported here because the import takes seconds, which planning a run can do without.
        from adapters.metrics.hf_evaluate import computed

        device = device_of(encoder)
        validation = self._division["validation"]
        bank = [self._known] if self.knn else []
        scored = [self._division[split] for split in splits]
        wanted = np.unique(np.concatenate([*self._labelled, *bank, validation, *scored]))
        features = self._encoded(encoder, wanted)

        def rows(numbers: Numbers) -> Features:
            return features[np.searchsorted(wanted, numbers)]

        def labelled_rows(numbers: Numbers) -> tuple[Features, Numbers]:
            return rows(numbers), self._pictures.labels[numbers]

        def accuracy(predict: Predict, split: str) -> float:
            scored_rows, classes = labelled_rows(self._division[split])
            return computed(["accuracy"], predict(scored_rows), classes)["accuracy"]

        def fit(labelled: Numbers) -> Predict:
            fitted, choosing = labelled_rows(labelled), labelled_rows(validation)
            if self.labels:
                return logistic_probe(fitted, choosing, device=device)
            return LinearProbe(fitted, choosing, device=device).predict

        probes = [fit(labelled) for labelled in self._labelled]
        scores = {
            split: {"accuracy": float(np.mean([accuracy(probe, split) for probe in probes]))}
            for split in splits
        }
        resolution = {
            split: {"accuracy": 1 / (len(probes) * len(self._division[split]))} for split in splits
        }
        if self.knn:
            vote = partial(
                knn_probe, labelled_rows(self._known), neighbours=self.knn, device=device
            )
            for split in splits:
                scores[split]["knn_accuracy"] = accuracy(vote, split)
                resolution[split]["knn_accuracy"] = 1 / len(self._division[split])
        return Evaluation(scores, resolution)

    def _augmenter(self, size: int, *, small: bool = False) -> DigitViews | SimCLRViews:
        name = self.augmentation
        if name == "digits" or (name == "auto" and self.data in DIGITS):
            return DigitViews(size, small=small)
        strength = 0.8 if name == "simclr-strong" else 0.4
        colour = self._channels == 3
        return SimCLRViews(size, colour=colour, strength=strength, small=small)

    def _divide(self, generator: np.random.Generator) -> tuple[list[Numbers], list[Numbers]]:
        """Draw the validation images; return training and validation images by class."""
        train, labels = self._pictures.train, self._pictures.labels
        count = self.validation or min(max(len(train) // 10, 1000), len(train) // 4)
        require(
            count < len(train),
            f"`validation` must be below the number of labelled training images, {len(train)}: got "
            f"{count}. Lower `validation`.",
        )
        classes = [train[labels[train] == label] for label in range(self._pictures.classes)]
        shares = _shares(count, [len(members) for members in classes])
        kept, validation = [], []
        for label, (members, share) in enumerate(zip(classes, shares, strict=True)):
            require(
                share < len(members),
                f"`validation` must leave training images of every class: got {count}, which "
                f"takes all {len(members)} images of class {label}. Lower `validation`.",
            )
            members = generator.permutation(members)
            validation.append(members[:share])
            kept.append(members[share:])
        return kept, validation

    def _plan_noise(self, by_class: Sequence[Numbers]) -> None:
        """Plan each batch's class counts, and check that there are enough images for the noise."""
        size = min(self.batch_size or self.train_size(), self.train_size())
        self._members = [np.searchsorted(self._division["train"], part) for part in by_class]
        share = self.false_negatives
        self._counts = class_counts(share, size) if share and size > 2 else []
        if share is not None:
            require_enough(share, self._counts, self._members, len(self._pictures.unlabelled))
        for name, fewest, given in (
            ("outliers", 1, self.outliers),
            ("noisy_views", 2, self.noisy_views),
        ):
            require(
                not given or round(given * size) >= fewest,
                f"`{name}` must be 0, or a share that is at least {fewest} of a batch's {size} "
                f"images: got {given!r}. Raise it, or `batch_size`.",
            )

    def _draw(self, by_class: Sequence[Numbers], generator: np.random.Generator) -> list[Numbers]:
        """Draw the labelled images, ``labels`` per class."""
        if not self.labels:
            return [self._known]
        fewest = min(len(part) for part in by_class)
        require(
            self.labels <= fewest,
            f"`labels` must be at most {fewest}, the number of training images in the smallest "
            f"class: got {self.labels}. Set labels=0 to use all of them.",
        )
        return [
            np.concatenate([generator.permutation(part)[: self.labels] for part in by_class])
            for _ in range(self.draws)
        ]

    def calibration(self) -> Iterable[Tensor]:
        """Return training images without augmentation: all, or at most 5000 spread over the set."""
        numbers = self._division["train"]
        numbers = numbers[:: -(-len(numbers) // CALIBRATED)]
        batches = -(-len(numbers) // self._images_at_once())
        # Sets are often sorted by class, so every batch takes images from the whole set.
        return (self._clean(numbers[i::batches]) for i in range(batches))

    def _encoded(self, encoder: nn.Module, wanted: Numbers) -> Features:
        """Return the representations of the images ``wanted``, without augmentation."""
        parts = np.array_split(wanted, -(-len(wanted) // self._images_at_once()))
        device = device_of(encoder)
        return represent(encoder, (self._clean(numbers, device) for numbers in parts))

    def _images_at_once(self) -> int:
        """Return how many images are encoded at once in the evaluation."""
        return min(500, max(1, PIXELS_AT_ONCE // self._pixels**2))

    def _clean(self, numbers: Numbers, device: torch.device | str = "cpu") -> Tensor:
        """Return the images ``numbers`` as the encoder takes them, without augmentation."""
        images = torch.from_numpy(self._pictures.images[numbers]).to(device)
        return self._standardised(_as_float(images))

    def _standardised(self, images: Tensor) -> Tensor:
        return (images - self._mean.to(images.device)) / self._std.to(images.device)


def _shares(count: int, sizes: Sequence[int]) -> list[int]:
    """Divide ``count`` in proportion to ``sizes``, rounding up the largest remainders.

    >>> _shares(4, [10, 10, 10])
    [2, 1, 1]
    """
    exact = [count * size / sum(sizes) for size in sizes]
    shares = [int(share) for share in exact]
    order = sorted(range(len(sizes)), key=lambda i: shares[i] - exact[i])
    for i in order[: count - sum(shares)]:
        shares[i] += 1
    return shares


def _spread_over_classes(classes: Sequence[Numbers], most: int) -> Numbers:
    """Return the first images of each class, ``most`` in all or as many as there are.

    >>> _spread_over_classes([np.array([1, 2, 3]), np.array([4, 5, 6])], 4).tolist()
    [1, 2, 4, 5]
    """
    sizes = [len(members) for members in classes]
    shares = _shares(min(most, sum(sizes)), sizes)
    return np.concatenate([members[:share] for members, share in zip(classes, shares, strict=True)])


def _conv(channels: int, size: int) -> nn.Module:
    """Return three strided convolutions with BatchNorm, and a linear layer to width 256."""
    encoder = nn.Sequential(
        *_block(channels, 32), *_block(32, 64), *_block(64, 128), nn.Flatten(),
        nn.Linear(128 * (-(-size // 8)) ** 2, CONV_WIDTH), nn.ReLU(),
    )  # fmt: skip
    # Convolutions and BatchNorm are faster in channels_last memory; the values are the same.
    return encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def _block(inputs: int, outputs: int) -> list[nn.Module]:
    return [
        nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    ]


def _as_float(images: Tensor) -> Tensor:
    return images.float() / 255
