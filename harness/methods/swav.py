"""SwAV: predict the cluster assignment of the other view."""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from harness.contrast import Contrast
from harness.heads import MAX_LAYERS, output_width, projector_for
from harness.methods.base import Method
from harness.methods.parts import cosines
from harness.settings import Between
from harness.task import Batch


class SwAV(Method):
    """Assign each view to learned prototypes, and predict it from the other view.

    Assignments are Sinkhorn codes over the batch, so that every prototype is used
    alike; they get no gradient. Two views, without multi-crop or queue. Its loss is
    ``prototypes``.

    Args:
        prototypes: how many; the paper's is 3000.
        epsilon: how soft the codes are.
        iterations: of Sinkhorn's algorithm.
        projector: linear layers of its own projector, which stands in the place of the task's
            head and has the head's widths; 2 in the paper, with BatchNorm. 0: the task's
            head.

    Raises:
        InputError: where a setting breaks its rule.

    References:
        Caron et al., NeurIPS 2020, arXiv 2006.09882.
    """

    gives = frozenset({"targets"})
    needs_distinct_views = True

    prototypes: Annotated[int, Between(2)] = 256
    epsilon: Annotated[float, Between(0.005, 10)] = 0.05
    iterations: Annotated[int, Between(1, 1000)] = 3
    projector: Annotated[int, Between(0, MAX_LAYERS)] = 2

    def attach(self, encoder: nn.Module, head: nn.Module, *, pairing: str) -> None:
        """Take the networks, and draw the prototypes as random directions."""
        head = projector_for(head, layers=self.projector)
        super().attach(encoder, head, pairing=pairing)
        directions = normalize(torch.randn(self.prototypes, output_width(head)), dim=1)
        self.directions = nn.Parameter(directions)

    def forward(self, first: Any, second: Any, batch: Batch) -> Sequence[Contrast]:
        """Return two contrasts: each view with the prototypes and the other's codes."""
        one, two = self.project(first), self.project(second)
        ids = batch.ids.new_full((self.prototypes,), -1)
        codes = [
            sinkhorn(cosines(rows, self.directions), self.epsilon, self.iterations)
            for rows in (one, two)
        ]
        return [
            Contrast(one, two.detach(), self.directions, batch.ids, ids, targets=codes[1]),
            Contrast(two, one.detach(), self.directions, batch.ids, ids, targets=codes[0]),
        ]

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """Bring the prototypes back to unit length."""
        del step, steps
        self.directions.copy_(normalize(self.directions, dim=1))


def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Return soft assignments, a row an example: near e^(scores / epsilon), balanced.

    Rows sum to one, and columns nearly to the same number each: the transport plan with
    entropic regularisation ``epsilon``, after so many rounds. Shapes: [B, K] in and out.

    >>> sinkhorn(torch.eye(2) * 50, 1.0, 3).round()
    tensor([[1., 0.],
            [0., 1.]])
    """
    # Computed in logs: small epsilons overflow otherwise.
    plan = scores.double() / epsilon
    for _ in range(iterations):
        plan = plan.log_softmax(dim=0)
        plan = plan.log_softmax(dim=1)
    return plan.exp().to(scores)
