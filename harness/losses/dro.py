r"""Distributionally robust losses: the worst case over distributions of negatives.

All are :math:`-s^+ + \sup_Q \operatorname{E}_Q s`, over distributions Q of an anchor's
negatives that lie within a radius of the uniform one. They differ in the divergence that
measures the radius.
"""

import math
from typing import Annotated, Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from harness.losses.base import ScoreLoss, count_kept
from harness.losses.sums import SumLoss
from harness.settings import Above, Between

LOG_TAU = math.log(1e-3), math.log(1e3)
"""Range of log tau. Without it tau would go to 0 if the radius is above log m, m negatives."""


class KLDRO(SumLoss):
    r"""Contrast with the worst case within a KL radius; learn the temperature.

    .. math::
        \ell = -s^+ + \tau \eta + \tau \log \operatorname{mean}_j e^{s_j/\tau}

    The worst case Q is proportional to e^{s/tau}; tau is the Lagrange multiplier of the
    radius. The loss is minimised over tau and the encoder together, so that after enough
    steps KL(Q, uniform), averaged over anchors, is eta.

    Convention: one tau for all anchors, learned through its logarithm and kept within
    1e-3 and 1e3 (a radius above the log of the number of negatives would take it to 0);
    the mean is over anchors. At a fixed tau the loss is tau times DCL over the mean of the
    negatives, plus tau eta. An anchor without a negative has the loss 0.

    Args:
        radius: eta, in nats.
        temperature: tau at the start.
        rate: learning rate of tau, as a multiple of the encoder's.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> loss = KLDRO(temperature=0.5, radius=1.0).double()
    >>> round(loss(*cross_view(a, a)).item(), 6)  # -1 + .5 + .5 log e^0
    -0.5

    References:
        Wu et al., NeurIPS 2023, arXiv 2310.11048.
    """

    label = "KL-DRO"

    radius: Annotated[float, Between(0, 100)] = 1.0
    temperature: Annotated[float, Between(1e-3, 1e3)] = 0.1
    rate: Annotated[float, Between(0, 1000)] = 10.0

    def setup(self) -> None:
        """Create the learned temperature."""
        self.log_tau = nn.Parameter(torch.tensor(math.log(self.temperature)))

    def terms(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return s / tau."""
        return (scores / self._tau(),)

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return the dual of the worst case minus the positive's score."""
        return self._tau() * (self.radius + sums[0] - count.log()) - pos

    def score_scale(self) -> float:
        """Return 1 / tau, as learned so far."""
        return 1 / self._tau().item()

    def _tau(self) -> Tensor:
        return self.log_tau.clamp(*LOG_TAU).exp()


class CressieReadDRO(ScoreLoss):
    r"""Contrast with the worst case within a Cressie-Read radius.

    .. math::
        \ell = -s^+ + \min_\lambda \; \lambda + (1 + k(k-1)\eta)^{1/k}
        \big(\operatorname{mean}_j (s_j - \lambda)_+^{k^*}\big)^{1/k^*},
        \qquad k^* = \tfrac{k}{k-1}

    Convention: lambda is solved for each anchor to machine precision. At the minimum the
    slope by lambda is 0, so lambda takes no part in the gradient. As k goes to 1 the ball
    becomes the KL ball; k = 2 is the chi-squared one (above it k* < 2, and Newton's method has
    no finite slope at the edge). The mean is over anchors. If the radius is so large that all
    mass may go to the hardest negative, the worst case is that negative's score. An anchor
    without a negative has the loss 0.

    Args:
        k: the order.
        radius: eta.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> CressieReadDRO()(*cross_view(a, a)).item()  # one negative: -1 + 0
    -1.0

    References:
        Duchi & Namkoong, Annals of Statistics 2021, arXiv 1810.08750.
    """

    label = "Cressie-Read DRO"

    k: Annotated[float, Between(1.05, 2)] = 1.5
    radius: Annotated[float, Between(1e-4, 1e4)] = 1.0

    def per_anchor(self, pos: Tensor, neg: Tensor, keep: Tensor) -> Tensor:
        """Return the worst case's mean score minus the positive's score."""
        factor = (1 + self.k * (self.k - 1) * self.radius) ** (1 / self.k)
        count = count_kept(keep)
        worst: Tensor = _WorstCase.apply(  # type: ignore[no-untyped-call]
            neg, keep, count, self.k, factor
        )
        return torch.where(count > 0, worst - pos, 0.0)


class Chi2DRO(CressieReadDRO, fixed={"k": 2.0}):
    r"""Contrast with the worst case within a chi-squared radius.

    .. math::
        \ell = -s^+ + \min_\lambda \; \lambda + \sqrt{1 + 2\eta}
        \sqrt{\operatorname{mean}_j (s_j - \lambda)_+^2}

    Convention: :class:`CressieReadDRO` with k = 2. While lambda lies below all scores,
    the worst case is the negatives' mean plus sqrt(2 eta) times their standard deviation.

    Args:
        radius: eta.

    Raises:
        InputError: if the radius is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> Chi2DRO()(*cross_view(a, a)).item()  # one negative: -1 + 0
    -1.0

    References:
        Duchi & Namkoong, Annals of Statistics 2021, arXiv 1810.08750.
    """

    label = "chi2-DRO"

    radius: float = 1.0


class DrRL(SumLoss):
    r"""Contrast with the worst case within a Renyi radius; learn its level lambda.

    .. math::
        \ell = -s^+ + \lambda + e^{\eta (k-1)/k}
        \big(\operatorname{mean}_j (s_j - \lambda)_+^{k^*}\big)^{1/k^*},
        \qquad k^* = \tfrac{k}{k-1}

    Convention: a Renyi ball of order k and radius eta is a Cressie-Read ball of radius
    (e^{(k-1) eta} - 1) / (k (k-1)). One lambda for all anchors, learned together with
    the encoder; the mean is over anchors. An anchor without a negative has the loss 0.

    Args:
        k: the order; large orders are near the conditional value at risk.
        radius: eta, in nats.
        level: lambda at the start.
        rate: learning rate of lambda, as a multiple of the encoder's.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> loss = DrRL(k=2.0, radius=2 * math.log(2), level=-1.0).double()
    >>> round(loss(*cross_view(a, a)).item(), 6)  # -1 - 1 + 2 * (0 + 1)
    0.0

    References:
        Zhang et al. 2025, arXiv 2506.15120.
    """

    label = "DrRL"
    in_logs = False

    k: Annotated[float, Between(1.2, 1000)] = 2.0
    radius: Annotated[float, Above(0, 50)] = 1.0
    level: Annotated[float, Between(-10, 10)] = 0.5
    rate: Annotated[float, Between(0, 1000)] = 10.0

    def setup(self) -> None:
        """Create the learned level."""
        self.learned_level = nn.Parameter(torch.tensor(self.level))

    def terms(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return (s - lambda)+ to the power k*."""
        above = (scores - self.learned_level).clamp(min=0)
        return (above * above if self.k == 2 else above.pow(self.k / (self.k - 1)),)

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return the dual at the learned level minus the positive's score."""
        moment = sums[0] / count
        # At a moment of 0 the root has an infinite slope. Take the root of 1 there instead, so
        # that the branch that is not used gives no NaN.
        some = moment > torch.finfo(pos.dtype).tiny
        root = torch.where(some, moment, 1.0).pow(1 - 1 / self.k)
        factor = math.exp(self.radius * (1 - 1 / self.k))
        return self.learned_level + factor * torch.where(some, root, 0.0) - pos


class _WorstCase(torch.autograd.Function):
    """Compute each row's worst-case mean; its gradient is the worst case's weights."""

    @staticmethod
    def forward(
        ctx: Any, neg: Tensor, keep: Tensor, kept_count: Tensor, k: float, factor: float
    ) -> Tensor:
        n, m = neg.shape
        if not m:
            ctx.save_for_backward(neg)
            return neg.new_zeros(n)
        order = k / (k - 1)
        empty, count = kept_count == 0, kept_count.clamp(min=1).to(neg.dtype)
        # Minus infinity is below every lambda, so masked candidates get no weight.
        kept = torch.where(keep, neg, -torch.inf)
        top = torch.where(empty, 0.0, kept.amax(dim=1))
        ties = kept == top[:, None]
        tied = count_kept(ties).to(neg.dtype)
        # If the radius is so large that all mass goes to the top score, the best depth is 0, and
        # nothing can be divided by it. The values of such rows are set separately below.
        at_top = factor * (tied / count) ** (1 / order) >= 1
        depth = _solve(kept, top, count, k, factor, torch.finfo(neg.dtype).eps ** 0.3)
        above = (kept - (top - depth)[:, None]).clamp_(min=0).div_(depth[:, None])
        weights = above if order == 2 else above.pow(order - 1)
        moment = torch.linalg.vecdot(weights, above) / count
        moment = torch.where(at_top, 1.0, moment)
        value = top - depth + factor * depth * moment ** (1 / order)
        weights = weights * (factor * moment ** (1 / order - 1) / count)[:, None]
        if at_top.any():
            value = torch.where(at_top, top, value)
            shared = ties / tied.clamp(min=1)[:, None]
            weights = torch.where(at_top[:, None], shared, weights)
        if empty.any():
            value[empty] = 0
            weights[empty] = 0
        ctx.save_for_backward(weights)
        return value

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None, None]:
        (weights,) = ctx.saved_tensors
        return grad[:, None] * weights, None, None, None, None


def _solve(
    kept: Tensor, top: Tensor, count: Tensor, k: float, factor: float, tolerance: float
) -> Tensor:
    """Return for each row how far below its top score the best lambda lies.

    The dual's slope in the depth t is factor * m1 * m2^(-1/k) - 1 and grows with t; m1
    and m2 are moments of the scores above top - t, to the powers k* - 1 and k*. Its root
    is found by Newton's method, kept within a bracket: no depth exceeds 2, the range of
    cosines, over 1 - factor^(1 - k). The start is the solution for a small radius. A long
    row starts from the solution on a sixteenth of it, because each step reads the whole
    row. The search ends with a relative step below ``tolerance``: the next step would be about
    its square, and the effect on the value the square of that, because the value is least
    at the solution.
    """
    order = k / (k - 1)
    low = torch.zeros_like(top)
    high = torch.full_like(top, 2.001 / (1 - factor ** (1 - k)))
    if kept.shape[1] >= 1024:
        part = kept[:, ::16].contiguous()
        part_count = count_kept(part.isfinite()).clamp(min=1).to(count)
        depth = _solve(part, top, part_count, k, factor, 0.01)
    else:
        below = torch.where(kept.isfinite(), top[:, None] - kept, 0.0)
        mean = below.sum(dim=1) / count
        variance = below.pow(2).sum(dim=1) / count - mean * mean
        depth = mean + (variance.clamp(min=0) / (factor**2 - 1)).sqrt()
    depth = torch.where((depth > 0) & (depth < high), depth, high)
    for _ in range(60):
        x = (kept - (top - depth)[:, None]).clamp_(min=0).div_(depth[:, None])
        if order == 2:
            m0, m1 = x.sign().sum(dim=1) / count, x.sum(dim=1) / count
            m2 = torch.linalg.vector_norm(x, dim=1) ** 2 / count
        else:
            y = x.pow(order - 2)
            m0, m1 = y.sum(dim=1) / count, torch.linalg.vecdot(y, x) / count
            m2 = torch.linalg.vecdot(y, x.mul_(x)) / count
        root = factor * m2 ** (-1 / k)
        slope = root * m1 - 1
        high = torch.where(slope > 0, depth, high)
        low = torch.where(slope > 0, low, depth)
        step = depth - slope * depth / (root * (order - 1) * (m0 - m1 * m1 / m2))
        inside = (step >= low) & (step <= high)  # False for NaN: such steps are bisections.
        new = torch.where(inside, step, (low + high) / 2)
        moved = ((new - depth).abs() / depth).nan_to_num().max()  # NaN rows have no solution.
        depth = new
        if moved < tolerance:
            break
    return depth
