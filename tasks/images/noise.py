"""Faults that a task can add to batches of images: false negatives, outliers, noisy views."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from harness.core.errors import require

Numbers = NDArray[np.int64]


def same_class_share(counts: Sequence[int]) -> float:
    r"""Return the mean share of an anchor's negatives that belong to its own class.

    .. math:: \frac{1}{B} \sum_c n_c \, \frac{n_c - 1}{B - 1}

    An anchor's negatives are the other examples of the batch, in one view or both.

    Args:
        counts: n_c, images of each class in a batch of B.

    >>> round(same_class_share([2, 2]), 3)
    0.333
    """
    size = sum(counts)
    return sum(count * (count - 1) for count in counts) / (size * (size - 1))


def class_counts(share: float, size: int) -> list[int]:
    r"""Return how many images of each class give a batch the wanted same-class share.

    The batch has the fewest classes, m, that can give it. Of these, m - 1 have the same
    share a of the batch and the last has the rest, so that all anchors are nearly alike:

    .. math::
        a = \frac{1}{m} \Big(1 + \sqrt{1 - \frac{m (1 - F)}{m - 1}}\Big), \qquad
        F = \sum_c (n_c / B)^2 = f + \frac{1 - f}{B}, \qquad m = \lceil 1/F \rceil

    Convention: F is more than f because an anchor is not its own negative. a B is rounded
    to the integers whose same-class share is nearest to f, within 2/B.

    Args:
        share: f, the same-class share, above 0 and below 1.
        size: B, 3 or more.

    >>> class_counts(0.1, 256)
    [28, 28, 27, 27, 27, 27, 27, 27, 27, 11]
    >>> round(same_class_share(class_counts(0.3, 256)), 3)
    0.3
    """
    squares = share + (1 - share) / size
    classes = min(max(2, math.ceil(1 / squares)), size)
    root = math.sqrt(max(0.0, 1 - classes * (1 - squares) / (classes - 1)))
    exact = size * (1 + root) / classes
    tries = []
    for low in range(max(1, int(exact) - 1), int(exact) + 2):
        for higher in range(classes - 1):
            counts = [low + 1] * higher + [low] * (classes - 1 - higher)
            if sum(counts) < size:
                tries.append([*counts, size - sum(counts)])
    return min(tries, key=lambda counts: abs(same_class_share(counts) - share))


def compose(
    members: Sequence[Numbers], counts: Sequence[int], generator: np.random.Generator
) -> Numbers:
    """Draw a batch with ``counts`` images of as many classes, in random order.

    Classes are equally likely, whatever their size; images are drawn without replacement.

    Args:
        members: the training examples of each class.
        counts: images of each drawn class.
        generator: draws the classes, the images and their order.
    """
    classes = generator.choice(len(members), size=len(counts), replace=False)
    parts = [
        generator.choice(members[label], size=count, replace=False)
        for label, count in zip(classes, counts, strict=True)
    ]
    return generator.permutation(np.concatenate(parts))


def require_enough(
    share: float, counts: Sequence[int], members: Sequence[Numbers], unlabelled: int
) -> None:
    """Raise :class:`~harness.core.errors.InputError` unless such batches can be composed."""
    require(
        not unlabelled,
        f"`false_negatives` needs the label of every training image: got {unlabelled} without "
        "one. Leave it out, or take a set whose training images all have labels.",
    )
    require(
        not share or share * len(members) >= 1,
        f"`false_negatives` must be 0, or at least 1 / the number of classes, "
        f"{1 / len(members):.4g}, and below 1: got {share!r}. Leave it out for the data's own "
        "share.",
    )
    require(
        not share or sum(counts) >= 3,
        f"`batch_size` must be at least 3 for `false_negatives={share!r}`. Raise `batch_size`.",
    )
    fewest, most = min(len(part) for part in members), max(counts, default=0)
    require(
        most <= fewest,
        f"`batch_size` must be small enough for `false_negatives={share!r}`: a batch of "
        f"{sum(counts)} takes {most} of one class, and the smallest class has {fewest}. Lower "
        "either.",
    )


def shuffled_pixels(images: Tensor) -> Tensor:
    """Return images with shuffled pixels: the same histogram, but no content.

    Each image gets its own random order; a pixel's channels stay together. The draw uses
    torch's global generator.
    """
    n, channels, height, width = images.shape
    order = torch.rand(n, height * width).argsort(dim=1).to(images.device)
    flat = images.flatten(2).gather(2, order[:, None].expand(-1, channels, -1))
    return flat.view_as(images)


def some_rows(share: float, size: int) -> Tensor:
    """Return random numbers of a ``share`` of ``size`` rows, from torch's global generator."""
    return torch.randperm(size)[: round(share * size)]
