"""ADNCE: InfoNCE whose negatives are weighted by a Gaussian of their score."""

from typing import Annotated

import torch
from torch import Tensor

from harness.losses.sums import SumLoss
from harness.settings import Between, OneOf

FORMS = ("image", "sentence", "graph")


class ADNCE(SumLoss):
    r"""Weight each negative by a Gaussian of its score, then contrast as InfoNCE does.

    .. math::
        w_j \propto e^{-(s_j - \mu)^2 / 2\sigma^2}, \quad \operatorname{mean}_j w_j = 1, \qquad
        \ell = -\log \frac{e^{s^+/\tau}}{e^{s^+/\tau} + \sum_j w_j e^{s_j/\tau}}

    Weights are constants in the gradient and depend on the score before the
    temperature. The reference code has three functions under this one name:

    - ``form="image"``, the equation above and the default for every modality;
    - ``form="sentence"``: the positive is weighted too, and is part of the mean:
      :math:`-\log [e^{s^+/\tau} / (w^+ e^{s^+/\tau} + \sum_j w_j e^{s_j/\tau})]`;
    - ``form="graph"``: decoupled, over the mean of the negatives alone:
      :math:`-\log [e^{s^+/\tau} / \operatorname{mean}_j (w_j e^{s_j/\tau})]`.

    Convention: each form is the published one with the paper's pairing,
    ``both_views`` for images, ``cross_view`` for the other two; the mean is over
    anchors. The sentence and graph forms can be negative. As sigma goes to infinity, the
    image and sentence forms become InfoNCE. Precision falls as the slope of the log weights,
    (1 + |mu|)/sigma^2, grows: keep it below 1e5 in float32. An anchor without a negative
    has the loss 0.

    Args:
        temperature: tau.
        mu: the score at which a negative weighs most.
        sigma: the width of the Gaussian.
        form: ``image``, ``sentence`` or ``graph``, the three published functions.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> round(ADNCE(temperature=1.0)(*cross_view(a, a)).item(), 6)  # one negative: w = 1
    0.313262

    References:
        Wu et al., NeurIPS 2023, arXiv 2310.11048.
    """

    label = "ADNCE"
    detached = True

    temperature: Annotated[float, Between(1e-4, 1e4)] = 0.1
    mu: Annotated[float, Between(-10, 10)] = 0.7
    sigma: Annotated[float, Between(1e-4)] = 1.0
    form: Annotated[str, OneOf(FORMS)] = "image"

    def score_scale(self) -> float:
        """Return 1 / tau."""
        return 1 / self.temperature

    def terms(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return the logs of the weighted summand and of the weight alone."""
        # Stay in log space: with sigma = .05 and mu = 2 the densities underflow, to 0 / 0.
        log_density = self._log_density(scores)
        return torch.add(log_density, scores, alpha=1 / self.temperature), log_density

    def slopes(self) -> tuple[float, ...]:
        """Return 1 / tau for the weighted summand; the weight is detached."""
        return 1 / self.temperature, 0.0

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return the chosen form's value for each anchor."""
        scaled_pos, (weighted, log_total) = pos / self.temperature, sums
        if self.form == "sentence":
            log_density_pos = self._log_density(pos)
            log_mean = torch.logaddexp(log_total, log_density_pos) - (count + 1).log()
            weighted_pos = scaled_pos + log_density_pos
            return torch.logaddexp(weighted, weighted_pos) - log_mean - scaled_pos
        # Now the log of the sum of w_j e^{s_j / tau}. The weights' mean is one number per row,
        # so dividing each weight by it is one subtraction after the sum.
        weighted = weighted - (log_total - count.log())
        if self.form == "image":
            return torch.logaddexp(weighted - scaled_pos, torch.zeros_like(pos))
        return weighted - count.log() - scaled_pos

    def _log_density(self, scores: Tensor) -> Tensor:
        # -(s - mu)^2 / (2 sigma^2) without the term in mu^2, which cancels when weights are
        # divided by their mean.
        fixed = scores.detach()
        precision = 1 / self.sigma**2
        return torch.addcmul(fixed * (self.mu * precision), fixed, fixed, value=-precision / 2)
