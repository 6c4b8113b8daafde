"""What a task plugin must give: data, networks, views and an evaluation."""

import math
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from harness.checkpoints import save_weights
from harness.content import Fetched
from harness.errors import require, require_choice, require_number
from harness.randomness import Randomness

OPTIMIZERS = ("adamw", "adam", "sgd")
SCHEDULES = ("constant", "cosine", "linear")
PRECISIONS = ("float32", "bfloat16")
MOMENTUM = 0.9
"""SGD's."""


class Batch(NamedTuple):
    """Some training examples, their ids, and their labels (-1 where there is none).

    Labels are for supervised methods. They may be given of training examples alone:
    one that is scored in any division must have none. ``negatives`` are a further input
    of the encoder, in any number: its rows repel every anchor (hard negatives).
    """

    data: Any
    ids: Int[Tensor, " n"]
    labels: Int[Tensor, " n"] | None = None
    negatives: Any = None


class Task(ABC):
    """Data with splits that never mix, an encoder, two views, and an evaluation.

    A cell makes one task, calls :meth:`load` once, and then trains and evaluates.
    Networks are made, and views drawn, with torch's global generator seeded by
    the cell's own streams; take randomness from there or from the
    :class:`~harness.randomness.Randomness` given to :meth:`load`, nowhere else.

    Every setting is a keyword argument of the constructor with a default; those
    below are common to all tasks and are passed to ``super().__init__``: the first
    four by every task, the others by those that offer them.

    Args:
        steps: how many steps a cell trains.
        batch_size: examples a step, 2 or more; 0 means all of them.
        learning_rate: the optimizer's, at its highest.
        weight_decay: the optimizer's.
        epochs: how often a cell goes through the training examples; 0: ``steps`` counts.
        optimizer: ``adamw``, ``adam`` or ``sgd``, whose momentum is .9.
        schedule: of the learning rate after the warm-up: ``constant``, or down to 0 along
            half a ``cosine`` (arXiv 1608.03983) or a line (``linear``).
        warmup: share of the steps in which the rate rises, in a line, to its highest.
        precision: of the training step: ``bfloat16`` is torch's autocast; the
            evaluation is in float32.
        accumulate: batches a step, whose objectives are averaged: each has negatives of
            its own alone, so that two of 128 are not one of 256.

    Raises:
        InputError: where a setting breaks its rule.
    """

    modality: ClassVar[str]
    """``image``, ``sentence``, ``graph`` or a name of your own."""

    pairing: ClassVar[str] = "both_views"
    """The pairing that the field uses for such data."""

    labelled: bool = False
    """Whether batches hold labels, for supervised methods."""

    hard_negatives: bool = False
    """Whether batches hold negatives, which only some methods can use."""

    dropout_views: bool = False
    """Whether the two views differ by the encoder's dropout alone, as in unsupervised SimCSE."""

    references: tuple[str, ...] = ()
    """Names of encoders that are not trained, such as ``oracle``: rows beside ``untrained``."""

    locations: ClassVar[tuple[str, ...]] = ()
    """Settings that say where data lie.

    No key, seed or label depends on them. What :meth:`fetch` returns for them counts.
    """

    depends_on: ClassVar[tuple[str, ...]] = ()
    """Modules of other distributions that it calls: a cell is run again when they change."""

    optimizers: ClassVar[tuple[str, ...]] = OPTIMIZERS
    """The optimizers by name: more where a task makes its own."""

    def __init__(
        self,
        *,
        steps: int,
        batch_size: int,
        learning_rate: float,
        weight_decay: float,
        epochs: float = 0.0,
        optimizer: str = "adamw",
        schedule: str = "constant",
        warmup: float = 0.0,
        precision: str = "float32",
        accumulate: int = 1,
    ) -> None:
        require_number("steps", steps, at_least=1, whole=True)
        require_number("batch_size", batch_size, at_least=0, whole=True)
        require(
            batch_size != 1,
            "`batch_size` must be 0, for all examples, or 2 or more: got 1. An anchor's negatives "
            "are the batch's other examples, and BatchNorm takes its statistics over them.",
        )
        require_number("learning_rate", learning_rate, above=0)
        require_number("weight_decay", weight_decay, at_least=0)
        require_number("epochs", epochs, at_least=0)
        require_choice("optimizer", optimizer, self.optimizers)
        require_choice("schedule", schedule, SCHEDULES)
        require_number("warmup", warmup, at_least=0, at_most=1)
        require_choice("precision", precision, PRECISIONS)
        require_number("accumulate", accumulate, at_least=1, whole=True)
        self.steps = steps
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.optimizer = optimizer
        self.schedule = schedule
        self.warmup = warmup
        self.precision = precision
        self.accumulate = accumulate

    def fetch(self) -> Fetched:
        """Download what is missing; return {name: checksum} of all data used.

        A task with ``locations`` returns a list of :class:`harness.content.Content`, which
        says for each what is trained on. Called in the main process before any cell
        starts, and again before each cell. The default is for data that is made, not read.
        """
        return {}

    @abstractmethod
    def load(self, randomness: Randomness) -> None:
        """Read the data and draw the splits, once, before anything else."""

    @abstractmethod
    def splits(self) -> Sequence[Mapping[str, Iterable[Hashable]]]:
        """Return the divisions used by the evaluation: {split: its examples}.

        Each division holds ``train``, ``validation`` and ``test``, and no example
        is in two of them. There are several where the evaluation is an average
        over several random divisions.
        """

    @abstractmethod
    def train_size(self) -> int:
        """Return the number of training examples that batches are drawn from."""

    @abstractmethod
    def batch(self, index: Int[Tensor, " n"]) -> Batch:
        """Return the training examples at ``index``, with ids that are 0 or above.

        Equal ids never repel each other: give duplicates the same id.
        """

    @abstractmethod
    def views(self, data: Any) -> tuple[Any, Any]:
        """Return two views of a batch's data, each an input of the encoder.

        They depend on the batch and the seeded global generators alone, and on nothing
        that happened before. If the views differ by dropout alone, return the data twice.
        """

    @abstractmethod
    def encoder(self) -> nn.Module:
        """Return a fresh encoder: a view in, one representation a row out."""

    @abstractmethod
    def head(self) -> nn.Module:
        """Return a fresh head: representations in, projections out."""

    @abstractmethod
    def evaluate(self, encoder: nn.Module, split: str) -> Mapping[str, float]:
        """Return {metric: value} of the frozen encoder on ``validation`` or ``test``.

        Higher is better, in points (x100). The encoder comes in eval mode, without
        gradients, and must be left as it is. The first metric is the task's main one, of
        both splits; ``test`` may have further ones, of sets that have no other part.
        Whatever is chosen, such as a probe's C, is chosen on validation.
        """

    def calibration(self) -> Iterable[Any]:
        """Return inputs of the encoder, of training data without augmentation, in batches.

        Before each evaluation the encoder's BatchNorm statistics are taken from them: see
        :func:`harness.calibration.calibrate`. The default is none, which leaves those that
        training made.
        """
        return ()

    def reference(self, name: str) -> nn.Module:
        """Return the encoder called ``name``, one of ``references``: evaluated as all others."""
        raise NotImplementedError(f"{type(self).__name__} names {name!r} and does not make it.")

    def held_out(self) -> Batch | None:
        """Return a fixed batch that no step sees, with labels where there are some, or None.

        Diagnostics are of its two views: :class:`harness.diagnostics.Diagnosis`. Where
        all examples are trained on, as a graph's nodes are, it is a fixed part of them.
        """
        return None

    def diagnose(
        self, encoder: nn.Module, head: nn.Module, loss: nn.Module | None
    ) -> Mapping[str, float]:
        """Return diagnostics that only this task knows: {name: value}.

        Called before the first step, at every probe, and at the end, with the networks in
        eval mode and without gradients; they must be left as they are. No direction is
        the better one, and no example of ``test`` may be used. ``loss`` is None for
        ``untrained`` and for references, which may have no parameters.
        """
        del encoder, head, loss
        return {}

    def save(self, encoder: nn.Module, folder: Path) -> None:
        """Write a trained encoder, on the CPU, into ``folder``: its weights as safetensors.

        A task whose field has a form of its own for encoders writes that.
        """
        save_weights(encoder, folder / "encoder.safetensors")

    def make_optimizer(self, groups: Iterable[dict[str, Any]]) -> torch.optim.Optimizer:
        """Return the optimizer that the setting names.

        Args:
            groups: torch's parameter groups: the networks', without settings of their
                own, and the loss's parameters where it has some, with theirs.
        """
        rates: dict[str, Any] = {"lr": self.learning_rate, "weight_decay": self.weight_decay}
        if self.optimizer == "sgd":
            return torch.optim.SGD(groups, momentum=MOMENTUM, **rates)
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return kind(groups, fused=True, **rates)

    def make_scheduler(
        self, optimizer: torch.optim.Optimizer, steps: int
    ) -> torch.optim.lr_scheduler.LRScheduler | None:
        """Return what changes the learning rate after each step, or None.

        Args:
            optimizer: whose learning rates it changes.
            steps: how many there will be.
        """
        if self.schedule == "constant" and not self.warmup:
            return None
        factor = partial(rate_at, steps=steps, warmup=self.warmup, schedule=self.schedule)
        return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)

    def total_steps(self) -> int:
        """Return how many steps a cell trains: the ``epochs`` where they are given."""
        if not self.epochs:
            return self.steps
        return max(1, round(self.epochs * self._batches_an_epoch() / self.accumulate))

    def _batches_an_epoch(self) -> int:
        size = self.train_size()
        return size // min(self.batch_size or size, size)

    def batch_index(self, randomness: Randomness, step: int) -> Int[Tensor, " n"]:
        """Return which training examples batch number ``step`` holds.

        Each epoch is a new permutation without its incomplete last batch, drawn
        from the ``order`` stream at the epoch's number.
        """
        size = self.train_size()
        batch_size = min(self.batch_size or size, size)
        if batch_size == size:
            return torch.arange(size)
        epoch, position = divmod(step, self._batches_an_epoch())
        order = _permutation(size, randomness.seed("order", epoch))
        return order[position * batch_size : (position + 1) * batch_size].clone()


@lru_cache(maxsize=2)  # A cell's own epoch, and that of the probe of another task.
def _permutation(size: int, seed: int) -> Int[Tensor, " n"]:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def rate_at(step: int, *, steps: int, warmup: float, schedule: str) -> float:
    """Return the share of the highest learning rate that step ``step`` takes.

    >>> [round(rate_at(s, steps=4, warmup=0.5, schedule="linear"), 3) for s in range(4)]
    [0.5, 1.0, 1.0, 0.5]
    >>> [round(rate_at(s, steps=4, warmup=0.0, schedule="cosine"), 3) for s in range(4)]
    [1.0, 0.854, 0.5, 0.146]
    """
    rising = round(warmup * steps)
    if step < rising:
        return (step + 1) / rising
    if schedule == "constant":
        return 1.0
    done = (step - rising) / max(1, steps - rising)
    return 1 - done if schedule == "linear" else (1 + math.cos(math.pi * done)) / 2


def device_of(encoder: nn.Module) -> torch.device:
    """Return where an encoder's weights or buffers are: the CPU, where it has none.

    >>> device_of(nn.Identity())
    device(type='cpu')
    """
    held = next(chain(encoder.parameters(), encoder.buffers()), None)
    return torch.device("cpu") if held is None else held.device


def to_device(value: Any, device: torch.device) -> Any:
    """Return ``value`` with every tensor in it moved to ``device``.

    >>> to_device({"x": [torch.zeros(1)]}, torch.device("cpu"))
    {'x': [tensor([0.])]}
    """
    if isinstance(value, Tensor):
        return value.to(device)
    if isinstance(value, Mapping):
        return {name: to_device(item, device) for name, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(to_device(item, device) for item in value))
    if isinstance(value, tuple | list):
        return type(value)(to_device(item, device) for item in value)
    return value
