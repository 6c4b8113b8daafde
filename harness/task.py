"""What a task plugin must give: data, networks, views and an evaluation."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from harness.checkpoints import save_weights
from harness.content import Fetched
from harness.metrics import Evaluation, Metric
from harness.randomness import Randomness
from harness.recipe import Recipe


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


class Task(Recipe, ABC):
    """Data with splits that never mix, an encoder, two views, and an evaluation.

    A cell makes one task, calls :meth:`load` once, and then trains and evaluates.
    Networks are made, and views drawn, with torch's global generator seeded by
    the cell's own streams; take randomness from there or from the
    :class:`~harness.randomness.Randomness` given to :meth:`load`, nowhere else.

    Its settings are fields (:class:`harness.settings.Configured`); those of
    :class:`~harness.recipe.Recipe` are common to all tasks, and a task changes a default in
    one line: ``steps: int = 20``.
    """

    modality: ClassVar[str]
    """``image``, ``sentence``, ``graph`` or a name of your own."""

    pairing: ClassVar[str] = "both_views"
    """The pairing that the field uses for such data."""

    @property
    def metrics(self) -> Sequence[Metric]:
        """Return what :meth:`evaluate` measures, the main one first.

        A task writes it as an attribute of its class: ``metrics = (Metric("accuracy"),)``.
        """
        return ()

    labelled = False
    """Whether batches hold labels, for supervised methods."""

    hard_negatives = False
    """Whether batches hold negatives, which only some methods can use."""

    dropout_views = False
    """Whether the two views differ by the encoder's dropout alone, as in unsupervised SimCSE."""

    references: ClassVar[tuple[str, ...]] = ()
    """Names of encoders that are not trained, such as ``oracle``: rows beside ``untrained``."""

    depends_on: ClassVar[tuple[str, ...]] = ()
    """Modules of other distributions that it calls: a cell is run again when they change."""

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        if "locations" in vars(cls):
            raise TypeError(
                f"`locations` of {cls.__name__} must be said where its settings are declared: "
                "write `data: Annotated[str, harness.settings.location] = ''`, as a field or in "
                "the signature of `__init__`."
            )
        made = vars(cls).get("head")
        if callable(made) and len(inspect.signature(made).parameters) == 1:
            raise TypeError(
                f"`head` of {cls.__name__} must take the width of the representations: write "
                "`def head(self, width)`, and use it where the encoder's width was written."
            )
        own = vars(cls).get("evaluate")
        if callable(own) and "split" in inspect.signature(own).parameters:
            raise TypeError(
                f"`evaluate` of {cls.__name__} must take all splits at once: write "
                "`def evaluate(self, encoder, splits)`, and return "
                "harness.metrics.Evaluation({split: {'accuracy': 0.95} for split in splits}) with "
                "shares from 0 to 1, named by `metrics = (harness.metrics.Metric('accuracy'),)`."
            )

    def fetch(self) -> Fetched:
        """Download what is missing; return {name: checksum} of all data used.

        A task with settings that are locations returns a list of
        :class:`harness.content.Content`, which says for each what is trained on. Called in
        the main process before any cell starts, and again before each cell. The default is
        for data that is made, not read.
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
    def head(self, width: int) -> nn.Module:
        """Return a fresh head: representations, of ``width`` features, in; projections out.

        The width is the encoder's: :func:`harness.heads.representation_width`.
        """

    @abstractmethod
    def evaluate(self, encoder: nn.Module, splits: Sequence[str]) -> Evaluation:
        """Score the frozen encoder on ``splits``: ``validation``, ``test`` or both.

        Return ``Evaluation({split: {metric: value}})``: names are those of ``metrics``, values
        are in their units, so that a share is from 0 to 1. The encoder comes in eval mode,
        without gradients, and must be left as it is; encode and fit once for all splits.
        The main metric is there on both splits; ``test`` may have further ones, of sets that
        have no other part. Whatever is chosen, such as a probe's C, is chosen on validation.
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
