"""DINO: a student learns a centred and sharpened momentum teacher's assignments."""

from collections.abc import Sequence
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from harness.contrast import Contrast
from harness.heads import MAX_LAYERS, output_width, project, projector_for
from harness.methods.base import Method
from harness.methods.momentum import follow, frozen_copy, rising_momentum
from harness.methods.prototypes import cosines
from harness.settings import Between
from harness.task import Batch


class DINO(Method):
    """Predict from each view the teacher's assignment of the other to prototypes.

    The teacher is a copy that follows the student, prototypes included. Its scores are
    centred by a running mean and sharpened by a low temperature. Small crops go through the
    student alone, which predicts the teacher's assignments of both views. The loss is
    ``prototypes``, whose temperature is the student's.

    Args:
        crops: how many further views there are: small crops on images; 8 in the paper.
        prototypes: their number; 65536 in the paper.
        temperature: of the teacher.
        momentum: how slowly the teacher follows at the start; it rises to 1
            along half a cosine.
        centering: the share of the old centre kept at each step.
        projector: linear layers of its own projector, which replaces the task's head and has
            the head's widths. The paper's has 3 and GELU; BatchNorm, which short runs need, is
            an option of its code (``use_bn_in_head``). 0: keep the task's head.

    Raises:
        InputError: if a setting is invalid.

    References:
        Caron et al., ICCV 2021, arXiv 2104.14294.
    """

    label = "DINO"
    gives = frozenset({"targets"})
    centre: Tensor
    teacher_directions: Tensor

    crops: Annotated[int, Between(0, 100)] = 0
    prototypes: Annotated[int, Between(2)] = 256
    temperature: Annotated[float, Between(0.001, 10)] = 0.04
    momentum: Annotated[float, Between(0, 1)] = 0.996
    centering: Annotated[float, Between(0, 1)] = 0.9
    projector: Annotated[int, Between(0, MAX_LAYERS)] = 2

    def setup(self) -> None:
        """Prepare to collect the scores of all batches of a step."""
        self._scores: list[Tensor] = []

    def attach(self, encoder: nn.Module, head: nn.Module, *, pairing: str) -> None:
        """Take the networks, draw the prototypes, and copy all into the teacher."""
        head = projector_for(head, layers=self.projector)
        super().attach(encoder, head, pairing=pairing)
        directions = normalize(torch.randn(self.prototypes, output_width(head)), dim=1)
        self.directions = nn.Parameter(directions)
        self.teacher_encoder, self.teacher_head = frozen_copy(encoder), frozen_copy(head)
        self.register_buffer("teacher_directions", directions.clone())
        self.register_buffer("centre", torch.zeros(self.prototypes))

    @property
    def extra_views(self) -> int:
        """Return ``crops``: each small crop is a view beyond the first two."""
        return self.crops

    def forward(self, first: Any, second: Any, batch: Batch) -> Sequence[Contrast]:
        """Return a contrast of each view with the teacher's assignment of each other view.

        The teacher assigns the first two views alone, so two contrasts come from the two of
        them, and two from every crop.
        """
        pairs, taught = [], []
        for view, other in ((first, second), (second, first)):
            taught.append(self._taught(other))
            pairs.append((self.project(view), taught[-1]))
        for crop in batch.further:
            student = self.project(crop)
            pairs += [(student, teacher) for teacher in taught]
        ids = batch.ids.new_full((self.prototypes,), -1)
        return [
            Contrast(student, teacher, self.directions, batch.ids, ids, targets=targets)
            for student, (teacher, targets) in pairs
        ]

    @torch.no_grad()
    def _taught(self, view: Any) -> tuple[Tensor, Tensor]:
        """Return the teacher's projections of a view, and its assignment; note its scores."""
        teacher = project(self.teacher_encoder, self.teacher_head, view)
        scores = cosines(teacher, self.teacher_directions)
        if self.training:
            self._scores.append(scores)
        return teacher, ((scores - self.centre) / self.temperature).softmax(dim=1)

    @torch.no_grad()
    def after_step(self, step: int, steps: int) -> None:
        """Move the teacher towards the student, and the centre towards the step's mean score."""
        momentum = rising_momentum(self.momentum, step, steps)
        follow(self.teacher_encoder, self.encoder, momentum)
        follow(self.teacher_head, self.head, momentum)
        self.teacher_directions.lerp_(self.directions, 1 - momentum)
        if self._scores:
            mean = torch.cat(self._scores).mean(dim=0)
            self.centre.lerp_(mean.to(self.centre), 1 - self.centering)
            self._scores = []
