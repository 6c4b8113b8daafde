"""The prototype loss of SwAV and DINO: cross-entropy to a soft assignment."""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import normalize

from harness.contrast import Contrast
from harness.core.errors import InputError
from harness.losses.base import Loss, at_least_float32
from harness.settings import Between


class Prototypes(Loss):
    r"""Predict which prototypes the other view was assigned to.

    .. math:: \ell = -\sum_k q_k \log \operatorname{softmax}_k(z \cdot c / \tau)

    The method supplies the assignment q: SwAV a Sinkhorn code, DINO the teacher's centred
    softmax.

    Convention: z and the prototypes c have unit length; the mean is over anchors, and over
    both directions. Ids are ignored.

    Args:
        temperature: tau, of the prediction.

    Raises:
        InputError: if the temperature is invalid, or a contrast has no targets.

    >>> from dataclasses import replace
    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> (contrast,) = cross_view(a, a)
    >>> loss = Prototypes(temperature=1.0)
    >>> round(loss(replace(contrast, targets=a)).item(), 6)  # log(1 + 1/e)
    0.313262

    References:
        Caron et al., NeurIPS 2020, arXiv 2006.09882; Caron et al., ICCV 2021,
        arXiv 2104.14294.
    """

    label = "Prototypes"
    needs = frozenset({"targets"})

    temperature: Annotated[float, Between(1e-4, 1e4)] = 0.1

    def forward(self, contrast: Contrast) -> Tensor:
        """Return the mean cross-entropy between targets and predictions."""
        if contrast.targets is None:
            raise InputError(
                "`targets` must hold the anchors' assignments to prototypes: got None. "
                "Use a method with prototypes: `swav` or `dino`."
            )
        with torch.autocast(contrast.anchors.device.type, enabled=False):
            anchors, prototypes = (
                normalize(at_least_float32(rows), dim=1)
                for rows in (contrast.anchors, contrast.candidates)
            )
            logits = anchors @ prototypes.T / self.temperature
            targets = at_least_float32(contrast.targets)
            return -(targets * logits.log_softmax(dim=1)).sum(dim=1).mean()
