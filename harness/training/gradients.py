"""Check in a cell's first steps that the objective trains what it should."""

import logging

from torch import Tensor, nn

from harness.core.errors import require
from harness.losses.base import Loss
from harness.methods.base import Method

FIRST = 3
"""How many steps are checked: every trained part must get a nonzero gradient in one of them."""

log = logging.getLogger("harness")


class FirstSteps:
    """Check the gradients of a cell's first steps, and raise an error if they train nothing.

    Args:
        method: the method, whose networks are trained.
        loss: the loss, whose own parameters are trained too, if it has any.
        steps: how many steps the cell takes.
    """

    def __init__(self, method: Method, loss: Loss, steps: int) -> None:
        self.method, self.loss = method, loss
        self.first = min(FIRST, steps)
        self.parts: dict[str, bool] = {}  # The method's networks and own parameters.
        self.own: dict[str, bool] = {}  # The loss's parameters.

    def require_graph(self, objective: Tensor) -> None:
        """Raise an error if the objective depends on no trained parameter."""
        require(
            objective.requires_grad,
            f"The objective must depend on a trained parameter: {self._names()} gave a value "
            "without gradient. Check whether the loss detaches its scores or returns a new tensor.",
        )

    def check(self, step: int, value: float) -> None:
        """Check the gradients of step number ``step``, whose objective is ``value``.

        Raises:
            InputError: at the last of the first steps, if all gradients so far were 0, or all
                of the encoder's, or all of one of the loss's own parameters.
        """
        if step >= self.first:
            return
        for name, parameter in self.method.named_parameters():
            _note(self.parts, name.split(".")[0], parameter)
        for name, parameter in self.loss.named_parameters():
            _note(self.own, name, parameter)
        if step == self.first - 1:
            self._require_gradients(value)

    def _require_gradients(self, value: float) -> None:
        when = f"at each of the first {self.first} steps"
        require(
            any([*self.parts.values(), *self.own.values()]),
            f"The objective of {self._names()} must have a gradient: it is {value:g}, and the "
            f"gradient of every parameter was 0 {when}. If no anchor has a negative, give the "
            "task's examples different ids, or raise its `batch_size`.",
        )
        idle = [part for part, moved in self.parts.items() if not moved]
        require(
            "encoder" not in idle,
            f"The encoder must get a gradient: {self._names()} gave it none {when}, so training "
            "would not change it. Check whether the method or the loss detaches the projections.",
        )
        own = [f"`{name}`" for name, moved in self.own.items() if not moved]
        require(
            not own,
            f"The parameters of {type(self.loss).__name__} must get a gradient: {', '.join(own)} "
            f"got none {when}. Use them in the value, or make them buffers.",
        )
        for part in idle:
            log.warning("`%s` got no gradient from %s %s", part, self._names(), when)

    def _names(self) -> str:
        return f"{type(self.method).__name__} with {type(self.loss).__name__}"


def _note(moved: dict[str, bool], name: str, parameter: nn.Parameter) -> None:
    """Note whether a trained parameter of the part ``name`` has a nonzero gradient."""
    if parameter.requires_grad:
        has_gradient = parameter.grad is not None and bool(parameter.grad.any())
        moved[name] = moved.get(name, False) or has_gradient
