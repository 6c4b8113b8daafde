"""The small networks between representations and projections: heads, projectors, predictors."""

from collections.abc import Sequence
from itertools import pairwise
from numbers import Integral
from typing import Any

from jaxtyping import Float
from torch import Tensor, nn

from harness.core.errors import InputError, require

MAX_LAYERS = 10
"""Maximum number of linear layers in a method's own projector."""


def mlp(
    widths: Sequence[int], *, batch_norm: bool = True, last_norm: bool = False
) -> nn.Sequential:
    """Return a stack of linear layers: Linear - BatchNorm - ReLU, ..., Linear.

    A linear layer before BatchNorm has no bias, because BatchNorm would subtract it again.

    Args:
        widths: the widths of the input, each hidden layer, and the output.
        batch_norm: whether BatchNorm follows each hidden layer.
        last_norm: whether BatchNorm, without a learned scale and shift, follows the last
            layer.

    >>> [type(layer).__name__ for layer in mlp([8, 16, 4])]
    ['Linear', 'BatchNorm1d', 'ReLU', 'Linear']
    """
    layers: list[nn.Module] = []
    final = len(widths) - 2
    for i, (inputs, outputs) in enumerate(pairwise(widths)):
        normed = last_norm if i == final else batch_norm
        layers.append(nn.Linear(inputs, outputs, bias=not normed))
        if normed:
            layers.append(nn.BatchNorm1d(outputs, affine=i < final))
        if i < final:
            layers.append(nn.ReLU())
    return nn.Sequential(*layers)


def representation_width(encoder: nn.Module) -> int:
    """Return how many features an encoder's representations have.

    The number is the encoder's attribute ``out_features``, or else the width of its last linear
    or embedding layer.

    Raises:
        InputError: if it has neither.

    >>> representation_width(nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU()))
    4
    """
    width = getattr(encoder, "out_features", None)
    if width is None:
        for layer in encoder.modules():
            if isinstance(layer, nn.Linear):
                width = layer.out_features
            elif isinstance(layer, nn.Embedding):
                width = layer.embedding_dim
    if not isinstance(width, Integral):
        raise InputError(
            "The encoder must declare the width of its representations: "
            f"{type(encoder).__name__} has neither a Linear layer nor a whole number "
            "`out_features`. Set its attribute `out_features`."
        )
    return int(width)


def input_width(head: nn.Module) -> int | None:
    """Return how many features a head takes, or None if that is unknown.

    The number is the head's attribute ``in_features``, or else the width of its first linear
    layer's input.

    >>> input_width(mlp([8, 16, 4]))
    8
    """
    width = getattr(head, "in_features", None)
    if width is None:
        layers = (layer for layer in head.modules() if isinstance(layer, nn.Linear))
        width = next((layer.in_features for layer in layers), None)
    return width if isinstance(width, int) else None


def output_width(head: nn.Module) -> int:
    """Return how many features a head's projections have.

    The number is the head's attribute ``out_features``, or else the width of its last linear
    layer.

    Raises:
        InputError: if it has neither.

    >>> output_width(mlp([8, 16, 4]))
    4
    """
    sizes = [layer.out_features for layer in head.modules() if isinstance(layer, nn.Linear)]
    width = getattr(head, "out_features", sizes[-1] if sizes else None)
    if not isinstance(width, int):
        raise InputError(
            f"The head must declare the width of its projections: {type(head).__name__} has "
            "neither a Linear layer nor `out_features`. Set its attribute `out_features`."
        )
    return width


def projector_for(head: nn.Module, *, layers: int, last_norm: bool = False) -> nn.Module:
    """Return the projector that a method uses instead of the task's head.

    Its input and output are as wide as those of ``head``; its hidden layers are twice as wide
    as its input.

    Args:
        head: the task's head.
        layers: how many linear layers; 0 returns the task's head itself.
        last_norm: see :func:`mlp`.

    Raises:
        InputError: if the head's widths are unknown.

    >>> projector_for(mlp([8, 8, 4]), layers=2)[0]
    Linear(in_features=8, out_features=16, bias=False)
    """
    if not layers:
        return head
    inputs = input_width(head)
    require(
        inputs is not None,
        f"The head must declare how many features it takes: {type(head).__name__} has neither a "
        "Linear layer nor `in_features`. Set its attribute `in_features`, or keep the head with "
        "the method's setting projector=0.",
    )
    assert inputs is not None
    hidden = [2 * inputs] * (layers - 1)
    return mlp([inputs, *hidden, output_width(head)], last_norm=last_norm)


def representations_of(encoder: nn.Module, view: Any) -> Float[Tensor, "n d"]:
    """Return an encoder's representations of a view, one a row.

    Raises:
        InputError: if the encoder does not return a matrix.
    """
    return _matrix("The encoder", "representation", encoder(view))


def _matrix(network: str, row: str, made: Any) -> Tensor:
    good = isinstance(made, Tensor) and made.ndim == 2 and made.is_floating_point()
    found = f"shape {tuple(made.shape)} of {made.dtype}" if isinstance(made, Tensor) else type(made)
    require(
        good,
        f"{network} must return a floating-point matrix, one {row} a row: got {found}. Flatten or "
        "average further dimensions, and keep the rows of the view.",
    )
    matrix: Tensor = made
    return matrix


def project(encoder: nn.Module, head: nn.Module, view: Any) -> Float[Tensor, "n d"]:
    """Encode a view, and return the head's projections of the representations."""
    return represent_and_project(encoder, head, view)[1]


def represent_and_project(
    encoder: nn.Module, head: nn.Module, view: Any
) -> tuple[Tensor, Float[Tensor, "n d"]]:
    """Encode a view, and return the representations and the head's projections of them.

    Raises:
        InputError: if the head does not take as many features as the encoder gives.
    """
    representations = representations_of(encoder, view)
    taken, given = input_width(head), representations.shape[-1]
    require(
        taken in (None, given),
        f"The head must take as many features as the encoder gives, {given}: it takes {taken}. "
        "Change the input width of the task's `head`, or the output width of its `encoder`.",
    )
    return representations, _matrix("The head", "projection", head(representations))
