"""SimSiam: predict the other view's projection, held constant."""

from collections.abc import Sequence
from typing import Annotated, Any

from torch import nn

from harness.contrast import Contrast
from harness.heads import MAX_LAYERS, mlp, output_width, projector_for
from harness.methods.base import Method, without_candidates
from harness.settings import Between
from harness.task import Batch


class SimSiam(Method):
    """Predict from each view the projection of the other, without a second encoder.

    The predicted projection gets no gradient, which prevents collapse. There are no
    negatives. Its loss is ``regression``.

    Args:
        projector: linear layers of its own projector, which replaces the task's head and has
            the head's widths; 3 in the paper, with BatchNorm, the last one without scale and
            shift. 0: keep the task's head.
        hidden: the predictor's hidden width. 0: a quarter of the projections' width, as in the
            paper (512 for 2048), but at least 256, or the projections' width if that is smaller,
            because a narrower predictor learns much less.

    Raises:
        InputError: if a setting is invalid.

    References:
        Chen & He, CVPR 2021, arXiv 2011.10566.
    """

    label = "SimSiam"
    gives = frozenset({"stopped positives"})

    projector: Annotated[int, Between(0, MAX_LAYERS)] = 3
    hidden: Annotated[int, Between(0)] = 0

    def attach(self, encoder: nn.Module, head: nn.Module, *, pairing: str) -> None:
        """Take the networks, and make the predictor."""
        head = projector_for(head, layers=self.projector, last_norm=True)
        super().attach(encoder, head, pairing=pairing)
        width = output_width(head)
        self.predictor = mlp([width, self.hidden or max(width // 4, min(width, 256)), width])

    def forward(self, first: Any, second: Any, batch: Batch) -> Sequence[Contrast]:
        """Return two contrasts: each view's predictions with the other's projections."""
        one, two = self.project(first), self.project(second)
        return [
            without_candidates(self.predictor(one), two.detach(), batch.ids),
            without_candidates(self.predictor(two), one.detach(), batch.ids),
        ]
