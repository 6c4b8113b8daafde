r"""Measure what a loss does to a held-out batch: geometry, weights on negatives, information.

The functions before :class:`Diagnosis` are pure functions of rows or scores. ``scores`` are
the scores of n anchors with m candidates, before the temperature, and ``keep`` says which
candidates are negatives of which anchor. Means are taken over each anchor's negatives first,
then over the anchors that have any. A score divided by the temperature tau is the exponent;
the worst case over distributions of an anchor's negatives is then :math:`q_j \propto
e^{s_j/\tau}` (Wu et al., NeurIPS 2023, arXiv 2310.11048).
"""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from harness.contrast import Contrast
from harness.core import distributed
from harness.core.errors import require
from harness.core.randomness import Randomness
from harness.evaluation import information
from harness.losses.base import Loss, ScoreLoss, masked_logsumexp
from harness.methods.base import Method
from harness.task import Task, to_device

log = logging.getLogger("harness")

MAX_VALUE = 1e30
"""Diagnostics that are NaN or beyond it are left out, because their squares may overflow."""
HARD = 0.1
"""The share of an anchor's negatives, those with the highest scores, that count as hard."""
EASY = 0.5
"""The share of them, those with the lowest scores, that count as easy."""


def alignment(first: Float[Tensor, "n d"], second: Float[Tensor, "n d"]) -> Tensor:
    r"""Return the mean squared distance between the unit rows of two views: 0 to 4.

    .. math:: \operatorname{E} \lVert x - x^+ \rVert^2

    >>> alignment(torch.eye(2), torch.eye(2).flip(0)).item()
    2.0

    References:
        Wang & Isola, ICML 2020, arXiv 2005.10242.
    """
    distances: Tensor = (_unit(first) - _unit(second)).square().sum(dim=1)
    return distances.mean()


def uniformity(rows: Float[Tensor, "n d"]) -> Tensor:
    r"""Return how evenly unit rows lie on the sphere: -8 to 0, lower is more even.

    .. math:: \log \operatorname{E}_{i \ne j} e^{-2 \lVert x_i - x_j \rVert^2}

    >>> uniformity(torch.eye(2)).item()  # one distance, of squared length 2
    -4.0

    References:
        Wang & Isola, ICML 2020, arXiv 2005.10242.
    """
    if len(rows) < 2:
        return rows.new_tensor(math.nan)
    unit = _unit(rows)
    squared = 2 - 2 * (unit @ unit.T)
    others = ~torch.eye(len(rows), dtype=torch.bool, device=rows.device)
    pairs = len(rows) * (len(rows) - 1)
    return (-2 * squared)[others].logsumexp(dim=0) - math.log(pairs)


def effective_rank(rows: Float[Tensor, "n d"]) -> Tensor:
    r"""Return how many dimensions the rows use, 1 to min(n, d): RankMe.

    .. math:: e^{H(p)}, \quad p_k = \sigma_k / \textstyle\sum_l \sigma_l

    with the singular values sigma of the matrix, which is not centred.

    >>> round(effective_rank(torch.eye(3)).item(), 6)
    3.0

    References:
        Garrido et al., ICML 2023, arXiv 2210.02885.
    """
    if not rows.isfinite().all():
        return rows.new_tensor(math.nan)
    values = torch.linalg.svdvals(rows)
    rank: Tensor = torch.special.entr(values / values.sum()).sum().exp()
    return rank


def mean_cosine(rows: Float[Tensor, "n d"]) -> Tensor:
    r"""Return the mean cosine of two different rows: -1/(n-1) to 1, and 1 if all agree.

    .. math:: \operatorname{E}_{i \ne j} \cos(x_i, x_j)

    >>> mean_cosine(torch.eye(2)).item()
    0.0
    """
    count = len(rows)
    if count < 2:
        return rows.new_tensor(math.nan)
    unit = _unit(rows)
    # The sum over all pairs is the squared length of the rows' sum, without an n x n matrix;
    # subtract each row's pair with itself.
    return (unit.sum(dim=0).square().sum() - unit.square().sum()) / (count * (count - 1))


def worst_case_weights(
    scores: Float[Tensor, "n m"], keep: Bool[Tensor, "n m"], temperature: float
) -> Float[Tensor, "n m"]:
    r"""Return :math:`q_j \propto e^{s_j/\tau}` over each anchor's negatives, 0 elsewhere.

    >>> worst_case_weights(torch.zeros(1, 3), torch.tensor([[True, True, False]]), 0.5)
    tensor([[0.5000, 0.5000, 0.0000]])
    """
    scaled = torch.where(keep, scores / temperature, -torch.inf)
    return scaled.softmax(dim=1).nan_to_num(0.0)


def implied_radius(
    scores: Float[Tensor, "n m"], keep: Bool[Tensor, "n m"], temperature: float
) -> Tensor:
    r"""Return the radius eta, in nats, of the KL ball whose worst case the temperature implies.

    .. math::
        \eta(\tau) = \operatorname{KL}(Q, Q_0)
        = \operatorname{E}_Q s/\tau - \log \operatorname{E}_{Q_0} e^{s/\tau}

    Q_0 is uniform on the anchor's negatives. The radius falls as tau rises: a low temperature
    guards against more, and trusts the negatives less.

    >>> scores = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    >>> keep = torch.ones(1, 2, dtype=torch.bool)
    >>> round(implied_radius(scores, keep, 1e-3).item(), 6)  # all on one of two: log 2
    0.693147

    References:
        Wu et al., NeurIPS 2023, arXiv 2310.11048.
    """
    weights = worst_case_weights(scores, keep, temperature)
    worst = torch.linalg.vecdot(weights, torch.where(keep, scores, 0.0)) / temperature
    log_mean = masked_logsumexp(scores / temperature, keep) - _count(keep, scores).log()
    return _mean(worst - log_mean, keep)


def effective_sample_size(weights: Float[Tensor, "n m"]) -> Tensor:
    r"""Return how many negatives carry the weight: 1 to m.

    .. math:: 1 / \textstyle\sum_j q_j^2, \quad \sum_j q_j = 1

    Args:
        weights: 0 or above, and 0 if a candidate is not a negative; rows are scaled to
            sum to one, and rows of zeros are left out.

    >>> effective_sample_size(torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])).item()
    2.0
    """
    weights = _scaled_to_one(weights)
    total = weights.sum(dim=1)
    some = total > 0
    return (total[some].square() / weights[some].square().sum(dim=1)).mean()


def mean_variance_gap(
    scores: Float[Tensor, "n m"], keep: Bool[Tensor, "n m"], temperature: float
) -> Tensor:
    r"""Return how far the worst case's score is from its second-order expansion.

    .. math::
        \operatorname{E} \Big| \tau \log \operatorname{E} e^{s/\tau}
        - \big(\operatorname{E} s + \operatorname{Var} s/2\tau\big) \Big|

    >>> scores = torch.tensor([[0.0, 1.0]], dtype=torch.float64)
    >>> keep = torch.ones(1, 2, dtype=torch.bool)
    >>> round(mean_variance_gap(scores, keep, 1.0).item(), 6)  # log((1 + e)/2) - (1/2 + 1/8)
    0.004885

    References:
        Wu et al., NeurIPS 2023, arXiv 2310.11048.
    """
    count = _count(keep, scores)
    worst = temperature * (masked_logsumexp(scores / temperature, keep) - count.log())
    mean = torch.where(keep, scores, 0.0).sum(dim=1) / count
    variance = torch.where(keep, scores - mean[:, None], 0.0).square().sum(dim=1) / count
    return _mean((worst - mean - variance / (2 * temperature)).abs(), keep)


def slopes_on_negatives(
    loss: ScoreLoss,
    ids: Int[Tensor, " n"],
    pos: Float[Tensor, " n"],
    neg: Float[Tensor, "n m"],
    keep: Bool[Tensor, "n m"],
) -> Float[Tensor, "n m"]:
    r"""Return :math:`|\partial \ell_i / \partial s_{ij}|`: how hard each negative is pushed.

    These are the weights that the loss gives to negatives, whatever its formula; those of
    InfoNCE are proportional to its softmax. If a loss is not a mean over anchors, they are n
    times the derivative of the whole loss. If it has no gradient, they are zero.

    Args:
        loss: the loss whose weights are returned.
        ids: of the anchors.
        pos: scores of the positives.
        neg: scores of each anchor with every candidate.
        keep: which candidates are negatives.
    """
    # The anchors are the unit vectors, so that coordinate i of candidate j is its score with
    # anchor i, and the gradient by the candidates is the gradient by the scores.
    axes = torch.eye(len(neg), dtype=neg.dtype, device=neg.device)
    columns = neg.detach().T.clone().requires_grad_()
    others = ids.new_full((len(columns),), -1)
    contrast = Contrast(axes, axes, columns, ids, others, exclude=~keep)
    with torch.enable_grad():
        value = loss.mean_over_anchors(contrast, pos.detach(), axes, columns) * len(neg)
    if not value.requires_grad:
        return torch.zeros_like(neg)
    (slopes,) = torch.autograd.grad(value, columns, allow_unused=True, materialize_grads=True)
    return torch.where(keep, slopes.T.abs(), 0.0)


def false_negative_mass(
    weights: Float[Tensor, "n m"],
    anchor_labels: Int[Tensor, " n"],
    candidate_labels: Int[Tensor, " m"],
) -> Tensor:
    """Return the share of an anchor's weight on negatives of its own class: 0 to 1.

    Weights are as for :func:`effective_sample_size`. An anchor with the label -1 has no class
    and is left out.

    >>> labels = torch.tensor([0, 0, 1])
    >>> false_negative_mass(torch.tensor([[0.0, 3.0, 1.0]]), labels[:1], labels).item()
    0.75
    """
    weights = _scaled_to_one(weights)
    total = weights.sum(dim=1)
    some = (total > 0) & (anchor_labels >= 0)
    same_class = anchor_labels[:, None] == candidate_labels
    return (torch.where(same_class, weights, 0.0).sum(dim=1) / total)[some].mean()


def chi2_information(
    pos: Float[Tensor, " n"], neg: Float[Tensor, "n m"], keep: Bool[Tensor, "n m"]
) -> Tensor:
    r"""Return a lower bound of the chi-squared information that needs no temperature.

    .. math:: (\operatorname{E}_P s - \operatorname{E}_Q s)^2 / 2 \operatorname{Var}_Q s

    It is :func:`harness.evaluation.information.chi2` of the critic a s with the best scale a. P
    are the positives, Q all anchors' negatives together. It is not in nats. If the positives
    score below the negatives it is 0, because no scale above 0 gives more.

    >>> keep = torch.ones(1, 2, dtype=torch.bool)
    >>> chi2_information(torch.tensor([2.0]), torch.tensor([[-1.0, 1.0]]), keep).item()
    1.0

    References:
        Wu et al., NeurIPS 2023, arXiv 2310.11048.
    """
    negatives = neg[keep]
    advantage = (pos.mean() - negatives.mean()).clamp(min=0)
    return advantage.square() / (2 * negatives.var())


def hard_to_easy(
    norms: Float[Tensor, "n m"], scores: Float[Tensor, "n m"], keep: Bool[Tensor, "n m"]
) -> Tensor:
    """Return the mean gradient norm of hard negatives divided by that of easy negatives.

    Args:
        norms: norms of the gradient that each negative gives its anchor.
        scores: of an anchor's negatives, the ``HARD`` share with the highest scores are hard,
            and the ``EASY`` share with the lowest are easy.
        keep: which candidates are negatives.

    >>> scores, keep = torch.tensor([[0.0, 0.1, 0.2, 0.9]]), torch.ones(1, 4, dtype=torch.bool)
    >>> hard_to_easy(torch.tensor([[1.0, 1.0, 2.0, 8.0]]), scores, keep).item()
    8.0
    """
    # The argsort of an argsort gives each candidate's rank; 0 has the highest score. Candidates
    # that are not negatives come last.
    order = torch.where(keep, scores, -torch.inf).argsort(dim=1, descending=True)
    ranks = order.argsort(dim=1)
    count = keep.sum(dim=1, keepdim=True)
    hard = ranks < (HARD * count).ceil()
    easy = (ranks >= count - (EASY * count).floor().clamp(min=1)) & keep
    return norms[hard & keep].mean() / norms[easy].mean()


class Diagnosis:
    """Measure a method and a loss on a task's held-out batch, and change nothing.

    The batch and its two views are the same at every step and for every loss of one
    (task, method, seed). Networks are in training mode, as the loss sees them, and their
    buffers are restored. Each anchor is a first view; its negatives are the other examples'
    second views, whatever the pairing in training, so that losses with other pairings are
    measured on the same scores.

    A call returns {name: value} of those that are defined and finite:

    - ``alignment``, ``uniformity``: of the projections;
    - ``effective_rank``, ``mean_cosine``: of the representations;
    - ``effective_negatives``: the effective sample size of the loss's weights;
    - ``false_negative_mass``: of the same weights, if there are labels;
    - ``gradient_ratio``: :func:`hard_to_easy` of the gradients' norms;
    - ``implied_radius``, ``mean_variance_gap``: at the loss's temperature;
    - ``mi_infonce``, ``mi_dv``: estimates by :mod:`harness.evaluation.information`, in nats,
      with the score over the temperature as critic;
    - ``mi_chi2``: :func:`chi2_information` of the scores;
    - what the task's own :meth:`~harness.task.Task.diagnose` returns, under other names.

    A loss that is not a score loss has only the first four and the task's own. Views, dropout
    and what a task draws come from the ``probe`` stream, and the run's own state is left as it
    was. An error is logged and does not fail the cell.

    Args:
        task: the loaded task.
        method: the method, attached and on ``device``.
        loss: the loss; None for ``untrained`` and references.
        randomness: the cell's random streams.
        device: where the method is.
        strict: raise errors instead of logging them, as the contract tests do.
    """

    def __init__(
        self,
        task: Task,
        method: Method,
        loss: Loss | None,
        randomness: Randomness,
        device: torch.device,
        *,
        strict: bool = False,
    ) -> None:
        self.task, self.method, self.loss, self.randomness = task, method, loss, randomness
        self.strict = strict
        self.views: tuple[Any, Any] | None = None
        with torch.no_grad(), randomness.seeded("probe"), self._errors_logged("the held-out batch"):
            self.batch = to_device(task.held_out(), device)
            if self.batch is not None:
                self.views = task.views(self.batch.data)

    def __call__(self) -> dict[str, float]:
        """Return {name: value} of the networks and the loss as they are now."""
        modules = [*self.method.modules(), *(self.loss.modules() if self.loss else ())]
        modes = [(module, module.training) for module in modules]
        values: dict[str, float] = {}
        try:
            # A stream of its own, so that dropout masks repeat no numbers of the views' stream.
            with torch.no_grad(), self.randomness.seeded("probe", 1):
                if self.views is not None:
                    with self._errors_logged("the held-out batch"):
                        self._of_the_batch(*self.views, values)
            for module in modules:
                module.eval()
            with torch.no_grad(), self.randomness.seeded("probe"), self._errors_logged("the task"):
                values |= self._of_the_task(values)
        finally:
            for module, mode in modes:
                module.training = mode
        return {name: float(value) for name, value in values.items() if abs(value) < MAX_VALUE}

    def _of_the_batch(self, first: Any, second: Any, values: dict[str, float]) -> None:
        """Add the diagnostics of the held-out batch to ``values``; keep those before an error."""
        self.method.train()
        encoder, head = distributed.unwrapped(self.method.encoder), self.method.head
        with _buffers_restored(encoder, head):
            rows = [encoder(view) for view in (first, second)]
            a, b = (head(row).double() for row in rows)
        values["alignment"] = alignment(a, b).item()
        values["uniformity"] = uniformity(a).item()
        values["effective_rank"] = effective_rank(rows[0].double()).item()
        values["mean_cosine"] = mean_cosine(rows[0].double()).item()
        if isinstance(self.loss, ScoreLoss):
            with self._errors_logged("the loss"):
                values |= of_loss(self.loss, a, b, self.batch.ids, self.batch.labels)

    def _of_the_task(self, built_in: Mapping[str, float]) -> Mapping[str, float]:
        """Return the diagnostics that the task itself defines; ``built_in`` are the others."""
        if type(self.task).diagnose is Task.diagnose:
            return {}
        own = self.task.diagnose(
            distributed.unwrapped(self.method.encoder), self.method.head, self.loss
        )
        clashes = sorted(own.keys() & built_in.keys())
        require(
            not clashes,
            f"`diagnose` of {type(self.task).__name__} must not use the names of built-in "
            f"diagnostics: got {clashes}. Rename them.",
        )
        return own

    @contextmanager
    def _errors_logged(self, part: str) -> Iterator[None]:
        """Log an error in ``part`` of the diagnostics, and go on."""
        try:
            yield
        except Exception:
            if self.strict:
                raise
            log.warning(
                "The diagnostics of %s failed, so the record lacks them.", part, exc_info=True
            )


def of_loss(
    loss: ScoreLoss, first: Tensor, second: Tensor, ids: Tensor, labels: Tensor | None
) -> dict[str, float]:
    """Return the diagnostics of a score loss on two views' projections: see :class:`Diagnosis`."""
    scale = loss.score_scale()
    loss = deepcopy(loss).double().eval()  # Copy it: some losses keep state per example.
    a, b = loss.embed(first), loss.embed(second)
    pos, neg, keep = (a * b).sum(dim=1), a @ b.T, ids[:, None] != ids
    if not keep.any():
        return {}
    weights = slopes_on_negatives(loss, ids, loss.positive_scores(pos), neg, keep)
    # The gradient of a cosine by its anchor is as long as the candidate's part that is
    # orthogonal to the anchor.
    along = neg.square() if loss.cosines else 0.0
    norms = weights * (b.square().sum(dim=1) - along).clamp(min=0).sqrt()
    values = {
        "effective_negatives": effective_sample_size(weights),
        "gradient_ratio": hard_to_easy(norms, neg, keep),
        "mi_chi2": chi2_information(pos, neg, keep),
    }
    if labels is not None:
        values["false_negative_mass"] = false_negative_mass(weights, labels, labels)
    if scale:
        values |= {
            "implied_radius": implied_radius(neg, keep, 1 / scale),
            "mean_variance_gap": mean_variance_gap(neg, keep, 1 / scale),
            "mi_infonce": information.infonce(pos * scale, neg * scale, keep),
            "mi_dv": information.dv(pos * scale, neg * scale, keep),
        }
    return {name: value.item() for name, value in values.items()}


@contextmanager
def _buffers_restored(*modules: nn.Module) -> Iterator[None]:
    """Restore BatchNorm's running statistics, and any other buffer, after the block.

    Buffers that a module reassigns are restored too; those that it creates are removed.
    """
    inner_modules = [inner for module in modules for inner in module.modules()]
    held = [(inner, dict(inner._buffers)) for inner in inner_modules]
    before = [{name: _copy(buffer) for name, buffer in named.items()} for _, named in held]
    try:
        yield
    finally:
        for (inner, named), values in zip(held, before, strict=True):
            # Put the same tensors back, then their values: others may hold references to them.
            inner._buffers.clear()
            inner._buffers.update(named)
            for name, value in values.items():
                buffer = named[name]
                if buffer is not None and value is not None and not torch.equal(buffer, value):
                    buffer.copy_(value)


def _copy(buffer: Tensor | None) -> Tensor | None:
    return None if buffer is None else buffer.clone()


def _scaled_to_one(weights: Tensor) -> Tensor:
    """Scale each row to a maximum of 1, so that squares of tiny weights do not underflow."""
    top = weights.amax(dim=1, keepdim=True)
    return weights / torch.where(top > 0, top, 1.0)


def _unit(rows: Tensor) -> Tensor:
    return nn.functional.normalize(rows, dim=1)


def _count(keep: Tensor, like: Tensor) -> Tensor:
    return keep.sum(dim=1).clamp(min=1).to(like)


def _mean(values: Tensor, keep: Tensor) -> Tensor:
    return values[keep.any(dim=1)].mean()
