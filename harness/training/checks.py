"""Check what a task, a method and a loss return, where the training loop asks for it.

Each check is cheap enough to be made at every step, and ends in one sentence that names the
method, the rule, the value and the next step. A wrong answer would otherwise end in an error of
torch deep inside the loop, or in a score that means something else.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from harness.contrast import PAIRINGS, Contrast
from harness.core.errors import is_number, require, require_choice, require_number
from harness.heads import input_width
from harness.losses.base import Loss
from harness.methods.base import Method
from harness.metrics import require_declared
from harness.settings import require_initialised
from harness.task import Batch, Task, tensors_in

PARTS = ("train", "validation", "test")
"""The splits of every division."""


def require_declarations(task: Task, method: Method, loss: Loss | None) -> None:
    """Raise an error if a plugin is incomplete, before data are loaded."""
    for plugin in (task, method, *(() if loss is None else (loss,))):
        require_initialised(plugin)
    name = type(task).__name__
    require_declared(name, task.metrics)
    require(
        isinstance(task.modality, str) and bool(task.modality),
        f"`modality` of {name} must be a text: got {task.modality!r}. Write modality = 'image', "
        "'sentence', 'graph' or a name of your own in the class.",
    )
    require_choice(f"pairing of {name}", task.pairing, PAIRINGS)
    if loss is not None and loss.pairing is not None:
        require_choice(f"pairing of {type(loss).__name__}", loss.pairing, PAIRINGS)


def splits_of(task: Task) -> list[dict[str, list[Hashable]]]:
    """Return the divisions of a loaded task.

    Raises:
        InputError: if they are no list of divisions, or a division lacks a split, or has one
            that is empty or shares an example with another.
    """
    name, divisions = type(task).__name__, task.splits()
    require(
        isinstance(divisions, Sequence) and not isinstance(divisions, str) and bool(divisions),
        f"`splits` of {name} must return a list of divisions: got {_kind(divisions)}. Write "
        "return [{'train': ..., 'validation': ..., 'test': ...}], a list even for one division.",
    )
    return [_division(name, division) for division in divisions]


def _division(name: str, division: Any) -> dict[str, list[Hashable]]:
    """Return one division with its splits as lists."""
    known = list(division) if isinstance(division, Mapping) else []
    require(
        set(PARTS) <= set(known),
        f"Each division that `splits` of {name} returns must have 'train', 'validation' and "
        f"'test': got {known or _kind(division)}. Draw a validation split from the training "
        "examples if the data have none.",
    )
    parts: dict[str, list[Hashable]] = {}
    for part, items in division.items():
        require(
            isinstance(items, Iterable) and not isinstance(items, str),
            f"{part!r} in `splits` of {name} must list its examples: got {_kind(items)}. Give "
            "their numbers, such as range(100).",
        )
        parts[part] = items.tolist() if isinstance(items, Tensor) else list(items)
        require(
            bool(parts[part]),
            f"{part!r} in `splits` of {name} must not be empty: got no example. Give each split "
            "at least one.",
        )
    owner: dict[Hashable, str] = {}
    for part, items in parts.items():
        for item in items:
            require(
                owner.setdefault(item, part) == part,
                f"`splits` of {name} must not share examples: {item!r} is in {owner[item]!r} and "
                f"in {part!r}. Remove it from one of them.",
            )
    return parts


def encoder_of(task: Task) -> nn.Module:
    """Return a fresh encoder of a loaded task.

    Raises:
        InputError: if it is no module.
    """
    return _module(task, "encoder", task.encoder())


def head_of(task: Task, width: int) -> nn.Module:
    """Return a fresh head of a loaded task for representations of ``width`` features.

    Raises:
        InputError: if it is no module, or starts with a linear layer of another width.
    """
    head = _module(task, "head", task.head(width))
    first = next((m for m in head.modules() if not list(m.children())), head)
    taken = input_width(first)
    require(
        taken in (None, width),
        f"`head` of {type(task).__name__} must take as many features as its `encoder` gives, "
        f"{width}: it takes {taken}. Use the argument `width` of `head` instead of a number.",
    )
    return head


def _module(task: Task, method: str, made: Any) -> nn.Module:
    name = type(task).__name__
    require(
        isinstance(made, nn.Module),
        f"`{method}` of {name} must return a torch.nn.Module: got {_kind(made)}. Return a fresh "
        "network.",
    )
    module: nn.Module = made
    return module


def batch_of(task: Task, index: Int[Tensor, " n"]) -> Batch:
    """Return the training examples at ``index``.

    Raises:
        InputError: if the task returns no batch, or ids or labels that do not fit.
    """
    name = type(task).__name__
    if not len(index):
        require_number(f"train_size of {name}", task.train_size(), at_least=2, whole=True)
    batch = task.batch(index)
    require(
        isinstance(batch, Batch),
        f"`batch` of {name} must return a Batch with the examples and their ids: got "
        f"{_kind(batch)}. Write return Batch(examples, index).",
    )
    ids = batch.ids
    require(
        _are_integers(ids) and ids.ndim == 1 and len(ids) > 0,
        f"The ids in `batch` of {name} must be a tensor of integers, one an example: got "
        f"{_kind(ids)}. Write Batch(examples, index) if no two examples are the same.",
    )
    require(
        int(ids.min()) >= 0,
        f"The ids in `batch` of {name} must be 0 or above: got {int(ids.min())}. Number the "
        "examples from 0.",
    )
    labels = batch.labels
    require(
        labels is None or (_are_integers(labels) and labels.shape == ids.shape),
        f"The labels in `batch` of {name} must be integers, one an id, {len(ids)} here: got "
        f"{_kind(labels)}. Give -1 to an example without a label.",
    )
    require(
        (labels is not None) == task.labelled,
        f"`labelled` of {name} must say whether its batches have labels: it is {task.labelled}, "
        f"and the labels are {_kind(labels)}. Write labelled = {labels is not None} in the class.",
    )
    return batch


def views_of(task: Task, data: Any) -> tuple[Any, Any]:
    """Return the two views of a batch's data.

    Raises:
        InputError: if the task does not return two.
    """
    views = task.views(data)
    # A matrix of two rows, or a named tuple of two fields, would pass for two views.
    pair = type(views) in (tuple, list)
    require(
        pair and len(views) == 2,
        f"`views` of {type(task).__name__} must return two views as a tuple: got "
        f"{f'{len(views)} of them' if pair else _kind(views)}. Write return first, second.",
    )
    first, second = views
    return first, second


def objective_of(method: Method, loss: Loss, first: Any, second: Any, batch: Batch) -> Tensor:
    """Return the mean of the loss over the method's contrasts of one batch.

    Raises:
        InputError: if the method returns no contrasts, or the loss no scalar.
    """
    contrasts = contrasts_of(method, first, second, batch)
    return torch.stack([value_of(loss, contrast) for contrast in contrasts]).mean()


def contrasts_of(method: Method, first: Any, second: Any, batch: Batch) -> Sequence[Contrast]:
    """Return the contrasts that a method makes of the views of one batch.

    Raises:
        InputError: if it returns anything but a list of contrasts.
    """
    contrasts: Sequence[Contrast] = method(first, second, batch)
    good = isinstance(contrasts, list | tuple) and len(contrasts) > 0
    wrong = [one for one in contrasts if not isinstance(one, Contrast)] if good else [contrasts]
    require(
        not wrong,
        f"`forward` of {type(method).__name__} must return a list of contrasts: got "
        f"{_kind(wrong[0]) if wrong else ''}{' in the list' if good else ''}. Write return "
        "[Contrast(...)], a list even for one.",
    )
    return contrasts


def value_of(loss: Loss, contrast: Contrast) -> Float[Tensor, ""]:
    """Return the loss of one contrast.

    Raises:
        InputError: if it is no scalar in float32 at least, or if the loss changes the contrast.
    """
    name = type(loss).__name__
    rows = {part: getattr(contrast, part) for part in ("anchors", "positives", "candidates")}
    # torch counts the changes of a tensor in place, so that no copy is needed.
    versions = {part: tensor._version for part, tensor in rows.items()}
    value = loss(contrast)
    require(
        isinstance(value, Tensor),
        f"`forward` of {name} must return a tensor: got {_kind(value)}. Compute it with torch, so "
        "that it has a gradient.",
    )
    require(
        value.ndim == 0,
        f"`forward` of {name} must return one number: got {_kind(value)}. Write .mean() over the "
        "anchors.",
    )
    require(
        value.dtype in (torch.float32, torch.float64),
        f"`forward` of {name} must return its value in float32 at least: got {value.dtype}. "
        "Compute with contrast.anchors.float().",
    )
    changed = [part for part, tensor in rows.items() if tensor._version != versions[part]]
    require(
        not changed,
        f"`forward` of {name} must not change its contrast: it changed {' and '.join(changed)} in "
        "place. Replace operations such as `mul_` or `+=` by those that return a new tensor.",
    )
    result: Tensor = value
    return result


@torch.no_grad()
def require_numbers_at_start(task: Task, method: Method, view: Any) -> None:
    """Raise an error if the views or the untrained encoder are why an objective is NaN.

    It is called only once the objective of the first step was not finite. Infinite views are left
    alone: numbers that are too large are what a cell diverges of.
    """
    name, tensors = type(task).__name__, [t for t in tensors_in(view) if t.is_floating_point()]
    wrong = [tuple(tensor.shape) for tensor in tensors if tensor.isnan().any()]
    require(
        not wrong,
        f"`views` of {name} must return numbers: got NaN in a tensor of shape "
        f"{wrong[0] if wrong else ''}. Look for missing values and divisions by 0 in the data.",
    )
    empty = method.encoder(view).isnan().any(dim=1)
    require(
        not empty.any() or not all(tensor.isfinite().all() for tensor in tensors),
        f"`encoder` of {name} must give numbers before training: got NaN in {int(empty.sum())} of "
        f"{len(empty)} representations. Look for divisions by 0, logarithms and uninitialised "
        "weights.",
    )


def _are_integers(value: object) -> bool:
    """Return whether ``value`` is a tensor of whole numbers; True and False are none."""
    return isinstance(value, Tensor) and not (
        value.is_floating_point() or value.is_complex() or value.dtype == torch.bool
    )


def _kind(value: object) -> str:
    """Return what a value is, in a few words.

    >>> _kind(torch.zeros(2, 3)), _kind(0.5), _kind([1]), _kind(None), _kind(nn.Linear)
    ('a tensor of shape (2, 3) of torch.float32', '0.5', 'a list of 1', 'None', 'the class Linear')
    """
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} of {value.dtype}"
    if value is None or isinstance(value, str) or is_number(value):
        return repr(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = f"{'an' if type(value).__name__[0] in 'aeiouAEIOU' else 'a'} {type(value).__name__}"
    if isinstance(value, list | tuple | dict | set):
        return f"{kind} of {len(value)}"
    return kind
