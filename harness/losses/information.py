"""Losses that estimate or bound an information; their scores may be plain dot products."""

from typing import Annotated

import torch
from torch import Tensor
from torch.nn.functional import huber_loss, softplus

from harness.contrast import Contrast
from harness.losses.base import (
    ScoreLoss,
    below_untrained_on_sentences,
    count_kept,
    masked_logsumexp,
)
from harness.losses.engine.rows import Kept, blocks
from harness.losses.sums import SumLoss
from harness.settings import Between

MAX_EXPONENT = 30.0
"""Above this exponent NWJ uses the tangent of e^x; float32 can hold 1e24 times e^30."""

MAX_DEVIATION = 1e9
"""Above this deviation chi-squared uses the tangent of the square."""


class _Critic(ScoreLoss):
    """A score loss whose scores are cosines over a temperature, or unbounded dot products.

    Args:
        temperature: divides the cosines. None: the score is the plain dot product of two
            projections, which may have any length.
    """

    estimator = "infonce"
    """The estimator for such scores: a key of :data:`harness.evaluation.information.ESTIMATORS`."""

    temperature: Annotated[float | None, Between(1e-4, 1e4)] = 0.1

    def embed(self, rows: Tensor) -> Tensor:
        """Return rows whose dot products are the scores."""
        if self.temperature is None:
            return rows
        unit: Tensor = super().embed(rows) * self.temperature**-0.5
        return unit

    def score_scale(self) -> float:
        """Return 1: scores include the temperature already."""
        return 1.0


class KLInformation(_Critic, SumLoss):
    r"""Maximise the mutual information, with a normaliser for each anchor.

    .. math::
        \ell = -s^+ + \log \frac{e^{s^+} + \sum_{j=1}^m e^{s_j}}{m + 1}

    This is SimCLR's objective. Minus the loss is InfoNCE's bound of I(X, Y), in nats, and
    at most log(m + 1). For many negatives the loss tends to -E_P S + E_x log E_y e^S, the
    tight variational form of the KL divergence, with the best normaliser for each anchor.
    The best score is log p(y | x) / p(y) plus any function of the anchor.

    With ``positive=False`` the log mean is over the negatives alone, as in DCL:
    :math:`-s^+ + \log \operatorname{mean}_j e^{s_j}`. Estimated from a batch, the log is
    too low (Jensen), so this is no bound: if E s+ is above E max_j s_j, the loss falls
    without end as scores grow.

    Convention: the mean is over the anchor's negatives, then over anchors. An anchor
    without a negative has the loss 0.

    Args:
        positive: whether the positive is in the log mean.
        temperature: divides the cosines; None: scores are plain dot products.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> loss = KLInformation(temperature=None)
    >>> round(loss(*cross_view(a, a)).item(), 6)  # -1 + log((e + 1) / 2)
    -0.379885
    >>> loss = KLInformation(positive=False, temperature=None)
    >>> loss(*cross_view(a, 3 * a)).item()  # -3 + log e^0
    -3.0

    References:
        Lin & Mei 2025, arXiv 2503.17538; Chen et al. 2020 (SimCLR), arXiv 2002.05709.
    """

    label = "KL information"

    positive: bool = True

    def setup(self) -> None:
        """Choose the estimator that goes with the objective."""
        self.estimator = "infonce" if self.positive else "tight_kl"

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return minus the positive's score plus the log mean exp."""
        if self.positive:
            return torch.logaddexp(sums[0], pos) - (count + 1).log() - pos
        return sums[0] - count.log() - pos


class Chi2Information(_Critic):
    r"""Maximise the chi-squared information, with a normaliser for each anchor.

    .. math::
        \ell = -s^+ + \operatorname{mean}_j s_j + \tfrac{1}{2} \operatorname{Var}_j s_j

    With the variance over m negatives divided by m - 1 the loss is an unbiased estimate
    of -E_P S + E_{PxP}[(S - E_y S)^2 / 2 + S] for any batch size. Minus its least value
    is the f-information of f(x) = (x - 1)^2 / 2. The best score is the density ratio
    p(y | x) / p(y) itself, not its log, plus any function of the anchor.

    Convention: mean and variance are over the anchor's own negatives, then the mean over
    anchors. Wu et al.'s tight form for f(x) = (x - 1)^2, E_P g - E_Q g - Var_Q g / 4, is
    minus twice this objective with g = 2 s, except that its variance is over all anchors'
    negatives together. The variance of a single negative counts as 0. For deviations
    from the mean above 1e9 the square is continued by its tangent. An anchor without a
    negative has the loss 0.

    Args:
        temperature: divides the cosines; None: scores are plain dot products.

    >>> from harness.contrast import Contrast
    >>> one, rows = torch.ones(1, 1), torch.tensor([[1.0], [3.0]])
    >>> batch = Contrast(one, one, rows, torch.tensor([0]), torch.tensor([1, 2]))
    >>> Chi2Information(temperature=None)(batch).item()  # -1 + 2 + 2 / 2
    2.0

    References:
        Lin & Mei 2025, arXiv 2503.17538; Wu et al. 2023, arXiv 2310.11048.
    """

    label = "chi2 information"
    estimator = "chi2_per_anchor"

    def per_anchor(self, pos: Tensor, neg: Tensor, keep: Tensor) -> Tensor:
        """Return minus the positive's score plus the negatives' mean and half their variance."""
        count = count_kept(keep)
        mean = torch.where(keep, neg, 0.0).sum(dim=1) / count.clamp(min=1)
        # Two passes: mean(s^2) - mean(s)^2 would lose the variance of scores far from 0, as
        # float32 has too few digits.
        deviation = torch.where(keep, neg - mean[:, None], 0.0)
        half_squares = huber_loss(
            deviation, torch.zeros_like(deviation), reduction="none", delta=MAX_DEVIATION
        )
        half_variance = half_squares.sum(dim=1) / (count - 1).clamp(min=1)
        return torch.where(count > 0, mean + half_variance - pos, 0.0)


class NWJ(_Critic, SumLoss):
    r"""Maximise Nguyen, Wainwright and Jordan's bound of the mutual information.

    .. math:: \ell = -s^+ + e^{-1} \operatorname{mean}_j e^{s_j}

    Minus the loss is an unbiased estimate of a lower bound of I(X, Y), in nats, also
    known as f-GAN KL and MINE-f. The best score is 1 + log p(y | x) / p(y), and nothing
    may be added to it. The bound is the looser dual form, which :class:`DV` and
    :class:`KLInformation` make tight. The estimate's variance grows like e^I.

    Convention: the mean is over the anchor's negatives, then over anchors. If the
    negatives' log mean exp is above 31, the exponential is continued by its tangent. An
    anchor without a negative has the loss 0.

    Args:
        temperature: divides the cosines; None: scores are plain dot products.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> round(NWJ(temperature=None)(*cross_view(a, a)).item(), 6)  # -1 + e^-1
    -0.632121

    References:
        Nguyen et al., IEEE Trans. Inf. Theory 2010, arXiv 0809.0853; Poole et al. 2019,
        arXiv 1905.06922.
    """

    label = "NWJ"
    estimator = "nwj"

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return minus the positive's score plus the negatives' mean of e^(s - 1)."""
        exponent = sums[0] - count.log() - 1
        above = (exponent - MAX_EXPONENT).clamp(min=0)
        return exponent.clamp(max=MAX_EXPONENT).exp() * (1 + above) - pos


class DV(_Critic):
    r"""Maximise Donsker and Varadhan's bound of the mutual information.

    .. math:: L = -\operatorname{mean}_i s_i^+ + \log \operatorname{mean}_{ij} e^{s_{ij}}

    The whole batch shares one normaliser. Minus the loss is MINE's estimate of a lower
    bound of I(X, Y), in nats. The log of a batch's mean is too low (Jensen), so the
    estimate is biased upwards. The best score is log p(y | x) / p(y) plus any constant.

    Convention: the mean inside the log is over all pairs of an anchor and its negative.
    MINE's correction of the gradient by a moving average is left out. Without any
    negatives the loss is 0. Memory is linear in the batch: scores are computed twice, the
    first time to find the largest.

    Args:
        temperature: divides the cosines; None: scores are plain dot products.

    >>> from harness.contrast import Contrast
    >>> one, rows = torch.ones(1, 1), torch.tensor([[0.0], [3.0]]).log1p()
    >>> batch = Contrast(one, one, rows, torch.tensor([0]), torch.tensor([1, 2]))
    >>> round(DV(temperature=None)(batch).item(), 6)  # -1 + log((1 + 4) / 2)
    -0.083709

    References:
        Donsker & Varadhan 1983; Belghazi et al. 2018 (MINE), arXiv 1801.04062.
    """

    label = "DV"
    estimator = "dv"

    def per_anchor(self, pos: Tensor, neg: Tensor, keep: Tensor) -> Tensor:
        """Return one anchor's own bound; the loss is not the mean of these."""
        count = count_kept(keep)
        mean = masked_logsumexp(neg, keep) - count.clamp(min=1).log()
        return torch.where(count > 0, mean - pos, 0.0)

    def mean_over_anchors(
        self, contrast: Contrast, pos: Tensor, anchors: Tensor, candidates: Tensor
    ) -> Tensor:
        """Return minus the mean of the positives plus the log mean exp of all negatives."""
        kept = Kept(contrast.anchor_ids, contrast.candidate_ids, contrast.exclude)
        pairs = kept.count(slice(None), pos.dtype).sum()
        if not pairs:
            return 0 * pos.sum()
        with torch.no_grad():
            tops = [
                kept.fill_(anchors[rows] @ candidates.T, -torch.inf, rows, 0).amax()
                for rows in blocks(self, anchors, candidates)
            ]
            top = torch.stack(tops).amax()
        # Subtract the largest score, so that no exponential overflows. It is passed in place of
        # the positive's score, because the block algorithm hands only that on to `combine`.
        exponentials = _Exponentials()
        exponentials.block_rows = self.block_rows
        mean = exponentials.mean_over_anchors(contrast, top.expand_as(pos), anchors, candidates)
        return (mean * len(pos) / pairs).log() + top - pos.mean()


class _Exponentials(_Critic, SumLoss):
    """Sum e^(s_j - t) over an anchor's negatives; pass t in place of the positive's score."""

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return the sum."""
        del count
        return (sums[0] - pos).exp()


class SMILE(_Critic, SumLoss):
    r"""Train SMILE's critic: tell pairs of the joint distribution from independent ones.

    .. math:: \ell = \log(1 + e^{-s^+}) + \operatorname{mean}_j \log(1 + e^{s_j})

    This is the Jensen-Shannon objective: a logistic regression whose best score is
    log p(y | x) / p(y). The loss itself does not estimate I(X, Y). SMILE's estimate is
    :func:`harness.evaluation.information.smile`, Donsker and Varadhan's bound with clipped ratios.

    Convention: the mean is over the anchor's negatives, so that both kinds of pairs
    weigh the same, then over anchors. An anchor without a negative has the loss 0.

    Args:
        temperature: divides the cosines; None: scores are plain dot products.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> round(SMILE(temperature=None)(*cross_view(a, 0 * a)).item(), 6)  # 2 log 2
    1.386294

    References:
        Song & Ermon, ICLR 2020, arXiv 1910.06222.
    """

    label = "SMILE"
    estimator = "smile"
    in_logs = False

    cautions = below_untrained_on_sentences(54.8, "`sentences(head_form=mlp)`", 60.5)

    def terms(self, scores: Tensor) -> tuple[Tensor, ...]:
        """Return log(1 + e^s)."""
        return (softplus(scores),)

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return the positive's term plus the mean of the negatives'."""
        return softplus(-pos) + sums[0] / count
