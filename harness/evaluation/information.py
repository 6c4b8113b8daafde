r"""Estimators of mutual information from a critic's scores: pure functions.

Each takes three tensors. ``pos`` [n] holds the scores T of n pairs (x_i, y_i) of the joint P.
``neg`` [n, m] holds the scores of each x_i with m candidates. ``keep`` [n, m] says which
candidates are independent of x_i, and so form pairs of the product Q of the marginals.
Scores are exponents, already divided by any temperature. Unless stated otherwise, a score
stands for the log density ratio log p(y | x) / p(y), and each function returns a scalar in
nats.

For any critic, the bound behind an estimator is at most I(X, Y). Its estimate from a batch
may be higher: on average because of its bias, in a single batch because of its variance.
Anchors without a negative are left out.

The estimators, the best critic of each, and how their estimates err:

============ ========================== ==================================================
estimator    best critic                estimate from a batch
============ ========================== ==================================================
infonce      log ratio + any c(x)       never above log N; low for large I, little variance
dv           log ratio + any c          too high on average; variance grows like e^I
nwj          log ratio + 1              unbiased; variance grows like e^I
smile        log ratio                  variance bounded by the clip, bias unbounded
tight_kl     log ratio + any c(x)       too high on average, and more so than dv
chi2         ratio + any c, or c(x)     of the chi-squared information, not in nats
============ ========================== ==================================================

References:
    Poole et al. 2019, arXiv 1905.06922; Song & Ermon, ICLR 2020, arXiv 1910.06222;
    McAllester & Stratos 2020, arXiv 1811.04251; Wu et al. 2023, arXiv 2310.11048.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from harness.core.errors import require, require_number
from harness.losses.base import count_kept, masked_logsumexp

CLIP = 5.0
"""The bound on the log ratio that SMILE usually takes."""

Estimator = Callable[[Tensor, Tensor, Tensor], Tensor]


def infonce(
    pos: Float[Tensor, " n"], neg: Float[Tensor, "n m"], keep: Bool[Tensor, "n m"]
) -> Float[Tensor, ""]:
    r"""Return InfoNCE's estimate, which is at most log N.

    .. math::
        \operatorname{mean}_i \log
        \frac{e^{s_i^+}}{\frac{1}{N} \big( e^{s_i^+} + \sum_j e^{s_{ij}} \big)},
        \qquad N = 1 + \#\text{negatives of } i

    The positive is among the N. On average the estimate is a lower bound of I(X, Y), whatever
    the critic, and far below it if I is above log N. It is log N minus the loss ``infonce``.

    >>> pos, neg, keep = torch.zeros(1), torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
    >>> infonce(pos, neg, keep).item()  # log 1 / ((1 + 3) / 4)
    0.0

    References:
        Oord et al. 2018, arXiv 1807.03748; Poole et al. 2019, arXiv 1905.06922.
    """
    some = _some(keep)
    log_total = torch.logaddexp(masked_logsumexp(neg, keep), pos)
    return (pos - log_total + (1 + count_kept(keep)).to(pos).log())[some].mean()


def tight_kl(
    pos: Float[Tensor, " n"], neg: Float[Tensor, "n m"], keep: Bool[Tensor, "n m"]
) -> Float[Tensor, ""]:
    r"""Return the bound of the KL divergence with a normaliser for each anchor.

    .. math:: \operatorname{mean}_i \big( s_i^+ - \log \operatorname{mean}_j e^{s_{ij}} \big)

    The KL-robust view of InfoNCE derives this bound, the tightest for a given critic. It is
    minus the loss ``kl_information(positive=False)``. The log of a mean over m negatives is too
    low on average (Jensen), so that the estimate is too high, by about Var(ratio) / 2m. Unlike
    InfoNCE's it has no cap, and it is no lower bound if I is near log m.

    >>> pos, neg, keep = torch.ones(1), torch.zeros(1, 2), torch.ones(1, 2, dtype=torch.bool)
    >>> tight_kl(pos, neg, keep).item()  # 1 - log e^0
    1.0

    References:
        Wu et al. 2023, arXiv 2310.11048; Lin & Mei 2025, arXiv 2503.17538.
    """
    some = _some(keep)
    count = count_kept(keep).clamp(min=1).to(pos)
    return (pos - masked_logsumexp(neg, keep) + count.log())[some].mean()


def dv(
    pos: Float[Tensor, " n"], neg: Float[Tensor, "n m"], keep: Bool[Tensor, "n m"]
) -> Float[Tensor, ""]:
    r"""Return Donsker and Varadhan's estimate, with one normaliser for all anchors.

    .. math::
        \operatorname{mean}_i s_i^+ - \log \operatorname{mean}_{ij} e^{s_{ij}}

    MINE uses this estimate. It is minus the loss ``dv``, and never below :func:`nwj` of the
    same scores. The log of a sample mean is too low on average (Jensen), so that the estimate
    is too high; with fewer than e^I pairs it says little.

    >>> pos, neg = torch.ones(2), torch.zeros(2, 1)
    >>> dv(pos, neg, torch.ones(2, 1, dtype=torch.bool)).item()
    1.0

    References:
        Belghazi et al. 2018, arXiv 1801.04062; McAllester & Stratos 2020, arXiv 1811.04251.
    """
    some = _some(keep)
    log_sum = masked_logsumexp(neg.reshape(1, -1), keep.reshape(1, -1))[0]
    return pos[some].mean() - log_sum + keep.sum().to(pos).log()


def nwj(
    pos: Float[Tensor, " n"], neg: Float[Tensor, "n m"], keep: Bool[Tensor, "n m"]
) -> Float[Tensor, ""]:
    r"""Return Nguyen, Wainwright and Jordan's estimate: unbiased, with a large variance.

    .. math:: \operatorname{mean}_i \big( s_i^+ - e^{-1} \operatorname{mean}_j e^{s_{ij}} \big)

    This is the looser dual form of the KL divergence, and minus the loss ``nwj``. Its best
    critic is 1 + log p(y | x) / p(y). The estimate is minus infinity if a score is too large
    for the number type to exponentiate.

    >>> pos, neg = torch.ones(2), torch.ones(2, 1)
    >>> nwj(pos, neg, torch.ones(2, 1, dtype=torch.bool)).item()  # 1 - e^-1 e^1
    0.0

    References:
        Nguyen et al. 2010, arXiv 0809.0853; Poole et al. 2019, arXiv 1905.06922.
    """
    some = _some(keep)
    count = count_kept(keep).clamp(min=1).to(pos)
    means = (masked_logsumexp(neg, keep) - count.log() - 1).exp()
    return (pos - means)[some].mean()


def smile(
    pos: Float[Tensor, " n"],
    neg: Float[Tensor, "n m"],
    keep: Bool[Tensor, "n m"],
    clip: float = CLIP,
) -> Float[Tensor, ""]:
    r"""Return SMILE's estimate: :func:`dv` with the negatives' ratios clipped.

    .. math::
        \operatorname{mean}_i s_i^+ - \log \operatorname{mean}_{ij}
        \min\big(\max(e^{s_{ij}}, e^{-c}), e^{c}\big)

    The clip bounds the variance, but the estimate is no bound any more: its mean can be above
    I(X, Y). For scores without the right additive constant it says nothing.

    Args:
        pos: scores of the pairs.
        neg: scores of each anchor with every candidate.
        keep: which candidates are negatives.
        clip: c, above 0.

    Raises:
        InputError: if ``clip`` is not above 0.

    >>> pos, neg = torch.zeros(2), torch.full((2, 1), 9.0)
    >>> smile(pos, neg, torch.ones(2, 1, dtype=torch.bool), clip=2.0).item()
    -2.0

    References:
        Song & Ermon, ICLR 2020, arXiv 1910.06222.
    """
    require_number("clip", clip, above=0)
    return dv(pos, neg.clamp(-clip, clip), keep)


def chi2(
    pos: Float[Tensor, " n"],
    neg: Float[Tensor, "n m"],
    keep: Bool[Tensor, "n m"],
    per_anchor: bool = False,
) -> Float[Tensor, ""]:
    r"""Return the tight variational bound of the chi-squared information (not in nats).

    .. math:: \operatorname{E}_P s - \operatorname{E}_Q s - \tfrac{1}{2} \operatorname{Var}_Q s

    The divergence is that of f(x) = (x - 1)^2 / 2. Its best critic is the density ratio, not
    the log of it. For f(x) = (x - 1)^2 and a critic g, Wu et al. write
    E_P g - E_Q g - Var_Q g / 4, which is twice this with g = 2 s. The looser form has the mean
    square instead of the variance. For correlated Gaussians the information is
    (e^{2 I} - 1) / 2.

    Args:
        pos: scores of the pairs.
        neg: scores of each anchor with every candidate.
        keep: which candidates are negatives.
        per_anchor: take mean and variance over each anchor's own negatives, as the loss
            ``chi2_information`` does, instead of over all: tighter, and unbiased. The
            variance of a single negative counts as 0.

    >>> pos, neg = torch.full((1,), 4.0), torch.tensor([[0.0, 2.0]])
    >>> chi2(pos, neg, torch.ones(1, 2, dtype=torch.bool)).item()  # 4 - 1 - 2 / 2
    2.0

    References:
        Wu et al. 2023, arXiv 2310.11048; Lin & Mei 2025, arXiv 2503.17538.
    """
    some = _some(keep)
    if not per_anchor:
        of_all = neg[keep]
        spread = of_all.sub(of_all.mean()).square().sum() / max(len(of_all) - 1, 1)
        return pos[some].mean() - of_all.mean() - spread / 2
    count = count_kept(keep).to(pos)
    mean = torch.where(keep, neg, 0.0).sum(dim=1) / count.clamp(min=1)
    squares = torch.where(keep, neg - mean[:, None], 0.0).square().sum(dim=1)
    return (pos - mean - squares / (2 * (count - 1).clamp(min=1)))[some].mean()


ESTIMATORS: Mapping[str, Estimator] = MappingProxyType(
    {
        "infonce": infonce,
        "dv": dv,
        "nwj": nwj,
        "smile": smile,
        "tight_kl": tight_kl,
        "chi2": chi2,
        "chi2_per_anchor": partial(chi2, per_anchor=True),
    }
)
"""Estimators by name, with their defaults."""


def _some(keep: Tensor) -> Tensor:
    """Return which anchors have a negative; raise an error if none has."""
    some = keep.any(dim=1)
    require(
        bool(some.any()),
        "`keep` must give at least one anchor a negative: got none. Mark the candidates that are "
        "independent of an anchor as True.",
    )
    return some
