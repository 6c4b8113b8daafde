"""The interface of task plugins: data, networks, views and an evaluation."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate, chain, islice, pairwise
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Int
from torch import Tensor, nn

from harness.core.content import Fetched
from harness.core.randomness import Randomness
from harness.core.states import save_weights
from harness.metrics import Evaluation, Metric
from harness.recipe import Recipe


class Batch(NamedTuple):
    """Hold some training examples, their ids, and their labels (-1 for unlabelled ones).

    Labels are for supervised methods. Only training examples may have them: an example that
    is scored in any division must have none. ``negatives`` are hard negatives: another input of
    the encoder, with any number of rows, that repel every anchor. ``further`` are the views
    beyond the first two that the method takes (:attr:`harness.methods.base.Method.extra_views`);
    the training loop adds them.
    """

    data: Any
    ids: Int[Tensor, " n"]
    labels: Int[Tensor, " n"] | None = None
    negatives: Any = None
    further: Sequence[Any] = ()


class Task(Recipe, ABC):
    """Define data with splits that never mix, an encoder, two views, and an evaluation.

    A cell makes one task, calls :meth:`load` once, and then trains and evaluates.
    Networks are made, and views drawn, with torch's global generator seeded by the cell's
    own streams. Take randomness only from there, or from the
    :class:`~harness.core.randomness.Randomness` given to :meth:`load`.

    Its settings are fields (:class:`harness.settings.Configured`); those of
    :class:`~harness.recipe.Recipe` are common to all tasks, and a task changes a default in
    one line: ``steps: int = 20``.
    """

    label: ClassVar[str] = ""
    """What people call it, on boards and in figures: 'Sentences'. Empty: its entry point's name.

    A class does not take it from its base.
    """

    modality: ClassVar[str] = ""
    """``image``, ``sentence``, ``graph`` or a name of your own. Every task has one."""

    pairing: ClassVar[str] = "both_views"
    """The pairing that is usual for such data, used unless a loss or method sets one."""

    @property
    def metrics(self) -> Sequence[Metric]:
        """Return what :meth:`evaluate` measures, the main one first.

        A task declares them as a class attribute: ``metrics = (Metric("accuracy"),)``.
        """
        return ()

    labelled = False
    """Whether batches hold labels, for supervised methods."""

    hard_negatives = False
    """Whether batches hold hard negatives, which only some methods can use."""

    dropout_views = False
    """Whether the two views differ by the encoder's dropout alone, as in unsupervised SimCSE."""

    more_views = True
    """Whether :meth:`further_views` gives views that differ from the first two."""

    references: ClassVar[tuple[str, ...]] = ()
    """Names of encoders that are not trained, such as ``oracle``; rows next to ``untrained``."""

    depends_on: ClassVar[tuple[str, ...]] = ()
    """Modules of other distributions that the task calls; when they change, cells run again."""

    def __init_subclass__(cls, **given: Any) -> None:
        if "locations" in vars(cls):
            raise TypeError(
                f"`locations` of {cls.__name__} must be declared with its settings: "
                "write `data: Annotated[str, harness.settings.location] = ''`, as a field or in "
                "the signature of `__init__`."
            )
        made = vars(cls).get("head")
        if callable(made) and len(inspect.signature(made).parameters) == 1:
            raise TypeError(
                f"`head` of {cls.__name__} must take the width of the representations: write "
                "`def head(self, width)`, and use `width` instead of a number."
            )
        own = vars(cls).get("evaluate")
        if callable(own) and "split" in inspect.signature(own).parameters:
            raise TypeError(
                f"`evaluate` of {cls.__name__} must take all splits at once: write "
                "`def evaluate(self, encoder, splits)`, and return "
                "harness.metrics.Evaluation({split: {'accuracy': 0.95} for split in splits}) with "
                "shares from 0 to 1, named by `metrics = (harness.metrics.Metric('accuracy'),)`."
            )
        super().__init_subclass__(**given)

    def fetch(self) -> Fetched:
        """Download missing data; return {name: checksum} of all data used.

        A task with settings that are locations returns a list of
        :class:`harness.core.content.Content`, which also says which data are trained on. This is
        called in the main process before any cell starts, and again before each cell. The
        default is for generated data.
        """
        return {}

    @abstractmethod
    def load(self, randomness: Randomness) -> None:
        """Read the data and draw the splits; called once, before all but :meth:`fetch`."""

    @abstractmethod
    def splits(self) -> Sequence[Mapping[str, Iterable[Hashable]]]:
        """Return the divisions used by the evaluation: {split: its examples}.

        Each division holds ``train``, ``validation`` and ``test``, and no example is in two
        of them. There are several divisions if the evaluation averages over random ones.
        """

    @abstractmethod
    def train_size(self) -> int:
        """Return the number of training examples that batches are drawn from."""

    @abstractmethod
    def batch(self, index: Int[Tensor, " n"]) -> Batch:
        """Return the training examples at ``index``, with ids of 0 or more.

        Equal ids never repel each other: give duplicates the same id.
        """

    @abstractmethod
    def views(self, data: Any) -> tuple[Any, Any]:
        """Return two views of a batch's data, each an input of the encoder.

        They depend only on the batch and the seeded global generators, not on earlier calls.
        If the views differ by dropout alone, return the data twice.
        """

    def further_views(self, data: Any, count: int) -> Sequence[Any]:
        """Return ``count`` further views of a batch's data, such as small crops.

        The default draws :meth:`views` again. If that gives the same views, set ``more_views``
        to False: methods that take further views are then refused.
        """
        drawn = chain.from_iterable(self.views(data) for _ in range(0, count, 2))
        return list(islice(drawn, count))

    @abstractmethod
    def encoder(self) -> nn.Module:
        """Return a fresh encoder, which maps a view to one representation a row."""

    @abstractmethod
    def head(self, width: int) -> nn.Module:
        """Return a fresh head, which maps representations of ``width`` features to projections.

        ``width`` is the encoder's: :func:`harness.heads.representation_width`.
        """

    @abstractmethod
    def evaluate(self, encoder: nn.Module, splits: Sequence[str]) -> Evaluation:
        """Score the frozen encoder on ``splits``: ``validation``, ``test`` or both.

        Return ``Evaluation({split: {metric: value}})``, with the names of ``metrics`` and values
        in their units: a share is from 0 to 1. The encoder is in eval mode, without gradients,
        and must not be changed. Encode and fit once for all splits. Both splits must have the
        main metric; ``test`` may have more, for data sets without a validation split. Choose
        settings, such as a probe's C, on validation only.
        """

    def calibration(self) -> Iterable[Any]:
        """Return training data without augmentation, in batches of inputs of the encoder.

        Before each evaluation, the encoder's BatchNorm statistics are computed from them: see
        :func:`harness.evaluation.calibration.calibrate`. By default there are none, which keeps the
        statistics of the training.
        """
        return ()

    def reference(self, name: str) -> nn.Module:
        """Return the encoder called ``name``, one of ``references``, evaluated like all others."""
        raise NotImplementedError(
            f"`references` of {type(self).__name__} names {name!r}, but its `reference` does not "
            "return that encoder. Override `reference`."
        )

    def held_out(self) -> Batch | None:
        """Return a fixed batch that no step sees, with labels if there are any, or None.

        Diagnostics are measured on its two views
        (:class:`harness.evaluation.diagnostics.Diagnosis`). If all examples are trained on, such
        as a graph's nodes, the batch is a fixed part of them.
        """
        return None

    def diagnose(
        self, encoder: nn.Module, head: nn.Module, loss: nn.Module | None
    ) -> Mapping[str, float]:
        """Return diagnostics that only this task can measure: {name: value}.

        Called before the first step, at every probe, and at the end, with the networks in
        eval mode and without gradients; they must not be changed. For diagnostics, neither
        higher nor lower is better. No example of ``test`` may be used. ``loss`` is None for
        ``untrained`` and for references, which may have no parameters.
        """
        del encoder, head, loss
        return {}

    def save(self, encoder: nn.Module, folder: Path) -> None:
        """Write the weights of a trained encoder, on the CPU, into ``folder`` as safetensors.

        A task whose field has its own file format for encoders writes that instead.
        """
        save_weights(encoder, folder / "encoder.safetensors")

    def total_steps(self) -> int:
        """Return how many steps a cell trains: from ``epochs`` if they are set, else ``steps``."""
        if not self.epochs:
            return self.steps
        return max(1, round(self.epochs * self._batches_per_epoch() / self.accumulate))

    def _batches_per_epoch(self) -> int:
        # An incomplete last batch is left out, so that all batches have equally many negatives.
        size = self.train_size()
        return size // min(self.batch_size or size, size)

    def batch_index(self, randomness: Randomness, step: int) -> Int[Tensor, " n"]:
        """Return the indices of the training examples in batch number ``step``.

        Each epoch is a new permutation without its incomplete last batch, drawn
        from the ``order`` stream at the epoch's number.
        """
        size = self.train_size()
        batch_size = min(self.batch_size or size, size)
        if batch_size == size:
            return torch.arange(size)
        epoch, position = divmod(step, self._batches_per_epoch())
        order = _permutation(size, randomness.seed("order", epoch))
        # Copy, because the cached permutation must not change with the batch.
        return order[position * batch_size : (position + 1) * batch_size].clone()


@lru_cache(maxsize=2)  # A step of the same epoch needs the same permutation.
def _permutation(size: int, seed: int) -> Int[Tensor, " n"]:
    return torch.randperm(size, generator=torch.Generator().manual_seed(seed))


def consecutive(sizes: Mapping[str, int]) -> dict[str, range]:
    """Return {split: the numbers of its examples}, counted from 0 through the splits in order.

    >>> consecutive({"train": 3, "test": 2})
    {'train': range(0, 3), 'test': range(3, 5)}
    """
    ends = accumulate(sizes.values(), initial=0)
    return {name: range(*pair) for name, pair in zip(sizes, pairwise(ends), strict=True)}


def device_of(encoder: nn.Module) -> torch.device:
    """Return the device of an encoder's weights or buffers; the CPU if it has none.

    >>> device_of(nn.Identity())
    device(type='cpu')
    """
    held = next(chain(encoder.parameters(), encoder.buffers()), None)
    return torch.device("cpu") if held is None else held.device


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield every tensor in ``value``, an input of an encoder.

    >>> [tuple(tensor.shape) for tensor in tensors_in({"x": [torch.zeros(1)], "n": 3})]
    [(1,)]
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from chain.from_iterable(map(tensors_in, value.values()))
    elif isinstance(value, tuple | list):
        yield from chain.from_iterable(map(tensors_in, value))


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
