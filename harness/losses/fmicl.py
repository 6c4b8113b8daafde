"""f-MICL: contrastive learning by f-mutual information."""

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from harness.losses.sums import SumLoss
from harness.settings import Between, OneOf

LOG_2 = math.log(2)
SIMILARITIES = ("gaussian", "cosine")


class Divergence(NamedTuple):
    """One f-divergence, as functions of tensors and of Tsallis' q.

    ``pos`` and ``neg`` take a = log u and return f'(u) and f*(f'(u)). ``conjugate`` takes
    a value v of f' and returns f*(v), which is defined for v below ``edge``. ``slope``
    returns the slope of f* at v.
    """

    pos: Callable[[Tensor, float], Tensor]
    neg: Callable[[Tensor, float], Tensor]
    conjugate: Callable[[Tensor, float], Tensor]
    edge: float = math.inf
    slope: Callable[[float], float] = lambda v: math.nan


def _exp(x: Tensor) -> Tensor:
    """Return e^x up to x = 60 and its tangent beyond, before float32 overflows."""
    if not x.numel() or x.detach().amax() <= 60:
        return x.exp()
    return x.clamp(max=60).exp() * (1 + (x - 60).clamp(min=0))


DIVERGENCES = {
    "kl": Divergence(
        pos=lambda a, q: a + 1,
        neg=lambda a, q: _exp(a),
        conjugate=lambda v, q: (v - 1).exp(),
    ),
    "js": Divergence(
        pos=lambda a, q: LOG_2 + logsigmoid(a),
        neg=lambda a, q: softplus(a) - LOG_2,
        conjugate=lambda v, q: -(2 - v.exp()).log(),
        edge=LOG_2,
        slope=lambda v: math.exp(v) / (2 - math.exp(v)),
    ),
    "pearson": Divergence(
        pos=lambda a, q: 2 * (_exp(a) - 1),
        neg=lambda a, q: _exp(2 * a) - 1,
        conjugate=lambda v, q: v + v * v / 4,
    ),
    "hellinger": Divergence(
        pos=lambda a, q: 1 - _exp(-a / 2),
        neg=lambda a, q: _exp(a / 2) - 1,
        conjugate=lambda v, q: v / (1 - v),
        edge=1.0,
        slope=lambda v: (1 - v) ** -2,
    ),
    "tsallis": Divergence(
        pos=lambda a, q: q / (q - 1) * _exp((q - 1) * a),
        neg=lambda a, q: _exp(q * a),
        conjugate=lambda v, q: ((q - 1) / q * v).clamp(min=0).pow(q / (q - 1)),
    ),
    "vincze-le-cam": Divergence(
        pos=lambda a, q: 1 - 4 * torch.sigmoid(-a) ** 2,
        neg=lambda a, q: 3 - 8 * torch.sigmoid(-a) + 4 * torch.sigmoid(-a) ** 2,
        conjugate=lambda v, q: 4 - v - 4 * (1 - v).sqrt(),
        edge=1.0,
        slope=lambda v: 2 / math.sqrt(1 - v) - 1,
    ),
    "reverse-kl": Divergence(
        pos=lambda a, q: -_exp(-a),
        neg=lambda a, q: a - 1,
        conjugate=lambda v, q: -1 - (-v).log(),
        edge=0.0,
        slope=lambda v: -1 / v,
    ),
    "neyman": Divergence(
        pos=lambda a, q: 1 - _exp(-2 * a),
        neg=lambda a, q: 2 - 2 * _exp(-a),
        conjugate=lambda v, q: 2 - 2 * (1 - v).sqrt(),
        edge=1.0,
        slope=lambda v: 1 / math.sqrt(1 - v),
    ),
}
"""{name: divergence}. Reverse KL and Neyman are known to collapse, and are here to show it."""

EDGE_DISTANCE = 0.05
"""With the cosine, f* is replaced by its tangent from this far below the edge of its domain."""


class FMICL(SumLoss):
    r"""Maximise the f-mutual information of two views, for a choice of f.

    .. math::
        \ell = -f'(u^+) + \alpha \operatorname{mean}_j f^*(f'(u_j)), \qquad
        u = \mu\, e^{-\lVert x - y \rVert^2 / 2\sigma^2}

    With ``similarity="gaussian"`` u is the paper's f-Gaussian similarity, as above.
    With ``"cosine"`` the score s takes the place of f'(u): -s+ + alpha mean f*(s).

    Convention: the paper's pairing is ``same_view``; the mean is over an anchor's own
    negatives, then over anchors. With the cosine and some f, scores reach beyond the
    domain of f* (from .693 for Jensen-Shannon, 0 for reverse KL, 1 for Hellinger,
    Vincze-Le Cam and Neyman). From .05 below that edge f* is continued by its tangent, so
    that close negatives are still pushed away and nothing is NaN. Exponentials are
    continued by their tangent from e^60, which only reverse KL and Neyman with a narrow
    Gaussian reach. An anchor without a negative has the loss 0.

    Args:
        divergence: ``kl``, ``js``, ``pearson``, ``hellinger`` (squared), ``tsallis``,
            ``vincze-le-cam``, ``reverse-kl`` or ``neyman``; the last two collapse.
        similarity: ``gaussian`` or ``cosine``.
        alpha: the weight of the negatives.
        mu: the Gaussian's height.
        sigma: its width; the default is 1/(2 sigma^2) = 1.
        q: Tsallis' order.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import same_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> loss = FMICL(divergence="kl", alpha=1.0)  # a = 0 for the positive, -2 for the negative
    >>> round(loss(*same_view(a, a)).item(), 6)  # -(0 + 1) + e^-2
    -0.864665

    References:
        Lu et al., TMLR 2023, arXiv 2402.10150 (its Vincze-Le Cam composition is
        misprinted; the table's is 3 - 8 sigmoid(-a) + 4 sigmoid(-a)^2).
    """

    label = "f-MICL"
    in_logs = False

    divergence: Annotated[str, OneOf(DIVERGENCES)] = "kl"
    similarity: Annotated[str, OneOf(SIMILARITIES)] = "gaussian"
    alpha: Annotated[float, Between(0, 1e7)] = 40.0
    mu: Annotated[float, Between(1e-3, 1e3)] = 1.0
    sigma: Annotated[float, Between(0.05, 100)] = 0.5**0.5
    q: Annotated[float, Between(1.01, 10)] = 3.0

    def terms(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return f*(f'(u)), or f*(s)."""
        f = DIVERGENCES[self.divergence]
        if self.similarity == "gaussian":
            return (f.neg(self._log_u(scores), self.q),)
        if f.edge > 1:  # All cosines are inside the domain.
            return (f.conjugate(scores, self.q),)
        last = f.edge - EDGE_DISTANCE
        inside = f.conjugate(scores.clamp(max=last), self.q)
        return (inside + f.slope(last) * (scores - last).relu(),)

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return minus the positive's term plus alpha times the negatives' mean."""
        f = DIVERGENCES[self.divergence]
        pulled = f.pos(self._log_u(pos), self.q) if self.similarity == "gaussian" else pos
        return self.alpha * sums[0] / count - pulled

    def _log_u(self, scores: Tensor) -> Tensor:
        return (scores - 1) * self.sigma**-2 + math.log(self.mu)
