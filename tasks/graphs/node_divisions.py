"""Divide a graph's nodes into labelled, validation and test nodes."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from adapters.data.node_layouts import Division
from harness.core.errors import InputError, require

SPLITS = ("random", "public", "grace")
TEST, VALIDATION = 1000, 500
"""How many nodes the split ``random`` tests and validates on."""
LABELS = 20
"""How many nodes of each class the split ``random`` labels."""


def divide(
    split: str,
    classes: Int[np.ndarray, " n"],
    public: Sequence[Division],
    draws: int,
    generator: np.random.Generator,
) -> list[Division]:
    """Return the divisions that ``split`` names.

    Drawn divisions leave out nodes without a class (-1).

    Args:
        split: one of ``SPLITS``; see :class:`tasks.graphs.nodes.Nodes`.
        classes: of each node.
        public: the divisions that the set's authors published.
        draws: how many to draw, or the largest number of public ones to take.
        generator: draws the divisions.

    Raises:
        InputError: if the set has no such split, or is too small for it.
    """
    if split == "public":
        if not public:
            raise InputError(
                "`split` must be 'random' or 'grace' for a set without a public split: got "
                "'public'. Cora's public split is in data='planetoid-cora'."
            )
        return list(public[:draws])
    if split == "grace":
        advice = "Set split='public'." if public else "Use a larger graph."
        return [_tenths(classes, generator, advice) for _ in range(draws)]
    advice = f"Set split={'public' if public else 'grace'!r}."
    return _labels_of_each_class(classes, draws, generator, advice)


def _tenths(
    classes: Int[np.ndarray, " n"], generator: np.random.Generator, advice: str
) -> Division:
    nodes = generator.permutation(np.flatnonzero(classes >= 0))
    tenth = len(nodes) // 10
    train, validation, test = np.split(nodes, [tenth, 2 * tenth])
    # A probe cannot be fitted to one class: say it now, and not after the training.
    require(
        len(np.unique(classes[train])) > 1,
        "`split` 'grace' must draw training nodes of two classes or more: got "
        f"{tenth} training nodes, a tenth of the {len(nodes)} with a class, of one class or none. "
        f"{advice}",
    )
    return {"train": train, "validation": validation, "test": test}


def _labels_of_each_class(
    classes: Int[np.ndarray, " n"], draws: int, generator: np.random.Generator, advice: str
) -> list[Division]:
    # A generator with a fixed seed, so that every draw and every cell's seed have the same test
    # nodes.
    nodes = np.random.default_rng(0).permutation(len(classes))
    nodes = nodes[classes[nodes] >= 0]
    test, rest = nodes[:TEST], nodes[TEST:]
    labels, counts = np.unique(classes[nodes], return_counts=True)
    least = TEST + VALIDATION + LABELS * len(labels)
    require(
        len(nodes) >= least,
        f"`split` 'random' needs {least} nodes with a class, {TEST} to test, {VALIDATION} to "
        f"validate and {LABELS} of each of {len(labels)} classes: got {len(nodes)}. "
        f"{advice}",
    )
    left = np.array([np.sum(classes[rest] == label) for label in labels])
    require(
        bool((left >= LABELS).all()),
        f"`split` 'random' must label {LABELS} nodes of each class: got {left.min()} of class "
        f"{labels[left.argmin()]} ({counts[left.argmin()]} nodes) besides the {TEST} test nodes. "
        f"{advice}",
    )
    divisions: list[Division] = []
    for _ in range(draws):
        rest = generator.permutation(rest)
        train = np.concatenate([rest[classes[rest] == label][:LABELS] for label in labels])
        validation = np.setdiff1d(rest, train, assume_unique=True)
        validation = generator.permutation(validation)[:VALIDATION]
        divisions.append({"train": train, "validation": validation, "test": test})
    return divisions
