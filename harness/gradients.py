"""What the first steps must show: that the objective trains what it should."""

import logging
from itertools import chain

from torch import Tensor

from harness.errors import require
from harness.losses.base import Loss
from harness.methods.base import Method

FIRST = 3
"""Steps in which each part that is trained has to get some gradient."""
LOSS = "loss"

log = logging.getLogger("harness")


class FirstSteps:
    """Look at the gradients of a cell's first steps, and refuse what trains nothing.

    Args:
        method: whose networks are trained.
        loss: whose own parameters are, if it has some.
        steps: how many there will be.
    """

    def __init__(self, method: Method, loss: Loss, steps: int) -> None:
        self.method, self.loss = method, loss
        self.first = min(FIRST, steps)
        self.moved: dict[str, bool] = {}

    def require_graph(self, objective: Tensor) -> None:
        """Raise where an objective depends on nothing that is trained, before ``backward``."""
        require(
            objective.requires_grad,
            f"The objective must depend on what is trained: {self._names()} gave a value without "
            "gradient. Does the loss detach its scores, or return a new tensor?",
        )

    def look(self, step: int, value: float) -> None:
        """Look at the gradients of step number ``step``, whose objective is ``value``.

        Raises:
            InputError: at the last of the first steps, where nothing, or not the encoder, or
                not the loss's own parameters, got a gradient other than 0 at any of them.
        """
        if step >= self.first:
            return
        trained = chain(self.method.named_parameters(), self.loss.named_parameters(prefix=LOSS))
        for name, parameter in trained:
            if parameter.requires_grad:
                moved = parameter.grad is not None and bool(parameter.grad.any())
                self.moved[name] = self.moved.get(name, False) or moved
        if step == self.first - 1:
            self._judge(value)

    def _judge(self, value: float) -> None:
        when = f"at each of the first {self.first} steps"
        require(
            any(self.moved.values()),
            f"The objective of {self._names()} must have a gradient: it is {value:g}, and the "
            f"gradient of every parameter is 0, {when}. If no anchor has a negative, give the "
            "task's examples different ids, or raise its `batch_size`.",
        )
        parts: dict[str, bool] = {}
        for name, moved in self.moved.items():
            part = name if name.startswith(LOSS) else name.split(".")[0]
            parts[part] = parts.get(part, False) or moved
        idle = [part for part, moved in parts.items() if not moved]
        require(
            "encoder" not in idle,
            f"The encoder must get a gradient: {self._names()} gave it none, {when}, and training "
            "would leave it as it is. Does the method, or the loss, detach its projections?",
        )
        own = [f"`{part.removeprefix(LOSS)[1:]}`" for part in idle if part.startswith(LOSS)]
        require(
            not own,
            f"The parameters of {type(self.loss).__name__} must get a gradient: {', '.join(own)} "
            f"got none, {when}. Use them in the value, or make them buffers.",
        )
        for part in idle:
            log.warning("`%s` got no gradient from %s, %s", part, self._names(), when)

    def _names(self) -> str:
        return f"{type(self.method).__name__} with {type(self.loss).__name__}"
