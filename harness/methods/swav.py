"""SwAV: predict the cluster assignment of the other view."""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from harness.contrast import Contrast
from harness.heads import MAX_LAYERS, output_width, projector_for
from harness.methods.base import Method
from harness.methods.prototypes import cosines
from harness.settings import Between
from harness.task import Batch


class SwAV(Method):
    """Assign each view to learned prototypes, and predict the assignment from the other view.

    Assignments are Sinkhorn codes over the batch, so that all prototypes are used
    equally; they get no gradient. Small crops predict the assignments of both views and
    assign nothing. There is no queue. Its loss is ``prototypes``.

    Args:
        crops: how many further views there are: small crops on images; 6 in the paper.
        prototypes: their number; 3000 in the paper.
        epsilon: how soft the codes are.
        iterations: of Sinkhorn's algorithm.
        projector: linear layers of its own projector, which replaces the task's head and has
            the head's widths; 2 in the paper, with BatchNorm. 0: keep the task's head.

    Raises:
        InputError: if a setting is invalid.

    References:
        Caron et al., NeurIPS 2020, arXiv 2006.09882.
    """

    label = "SwAV"
    gives = frozenset({"targets"})
    needs_distinct_views = True

    crops: Annotated[int, Between(0, 100)] = 0
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

    @property
    def extra_views(self) -> int:
        """Return the number of crops."""
        return self.crops

    def forward(self, first: Any, second: Any, batch: Batch) -> Sequence[Contrast]:
        """Return a contrast of each view with the prototypes and each other view's codes.

        The first two views alone have codes, so two contrasts come from the two of them, and two
        from every crop.
        """
        rows = [self.project(view) for view in (first, second, *batch.further)]
        ids = batch.ids.new_full((self.prototypes,), -1)
        codes = [
            sinkhorn(cosines(own, self.directions), self.epsilon, self.iterations)
            for own in rows[:2]
        ]
        return [
            Contrast(
                own, rows[other].detach(), self.directions, batch.ids, ids, targets=codes[other]
            )
            for view, own in enumerate(rows)
            for other in (1, 0)
            if other != view
        ]

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """Scale the prototypes back to unit length."""
        del step, steps
        self.directions.copy_(normalize(self.directions, dim=1))


def sinkhorn(scores: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Return balanced soft assignments near e^(scores / epsilon), one row per example.

    Each row sums to 1, and all columns nearly to the same number. They are the transport
    plan with entropic regularisation ``epsilon``, after ``iterations`` rounds. Shapes:
    [B, K] in and out.

    >>> sinkhorn(torch.eye(2) * 50, 1.0, 3).round()
    tensor([[1., 0.],
            [0., 1.]])
    """
    # Work in log space: exponentials overflow if epsilon is small.
    plan = scores.double() / epsilon
    for _ in range(iterations):
        plan = plan.log_softmax(dim=0)
        plan = plan.log_softmax(dim=1)
    return plan.exp().to(scores)
