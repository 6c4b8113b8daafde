"""SogCLR and iSogCLR: global contrastive losses, with state kept for each example."""

from abc import abstractmethod
from typing import Annotated

import torch
from torch import Tensor

from harness.contrast import Contrast
from harness.core.errors import require, require_number
from harness.losses.base import ScoreLoss, count_kept, masked_logsumexp
from harness.losses.engine.rows import min_exponent
from harness.losses.sums import SumLoss
from harness.settings import Above, Between

MAX_EXAMPLES = 2**28
"""Largest number of example ids: the tables have a row for each id from 0 to the largest."""
MAX_SLOPE = 3.0
"""Slopes by a temperature are clamped to this size, as in the authors' code."""


class _StatefulLoss(ScoreLoss):
    """A score loss that keeps state for each example id and updates it in training.

    All anchors of a contrast read the state as it was before the contrast. Each anchor notes
    new values; these are averaged over the anchors that share an id, and the new state is
    written after the contrast. So neither the order of the anchors nor the block size matters.
    If a method gives several contrasts per step, each reads the state that the one before it
    wrote.
    """

    needs = frozenset({"negatives", "example ids"})
    _state_names: tuple[str, ...]
    """Names of the numbers kept for each example; ``log_u`` is kept as the log of u."""
    _noted_names: tuple[str, ...]
    """Names of the numbers each anchor notes. For ``log_u``, u is averaged rather than its log."""

    def setup(self) -> None:
        """Create the state, empty at first."""
        for name in self._state_names:
            self.register_buffer(name, torch.zeros(0))
        self._notes: list[tuple[Tensor, tuple[Tensor, ...]]] = []

    @abstractmethod
    def _initial(self, name: str) -> float:
        """Return the initial state of an example."""

    def _updated(self, before: dict[str, Tensor], noted: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return some examples' new state, given their old state and the mean of their notes."""
        del before
        return noted

    def forward(self, contrast: Contrast) -> Tensor:
        """Return the mean over anchors; in training, update their state."""
        size = self._size_for(contrast.anchor_ids)
        self._notes = []
        try:
            value = super().forward(contrast)
            if self.training:
                self._grow(size)
                self._write_state()
        finally:
            self._notes = []
        return value

    def _recall(self, name: str, ids: Tensor, like: Tensor) -> Tensor:
        state: Tensor = getattr(self, name)
        recalled = torch.full_like(like, self._initial(name))
        known = ids < len(state)
        recalled[known] = state[ids[known]].to(like)
        return recalled

    def _note(self, ids: Tensor, *values: Tensor) -> None:
        """Note values of the anchors of ``ids``, one tensor for each name in ``_noted_names``."""
        self._notes.append((ids, tuple(value.detach() for value in values)))

    def _size_for(self, ids: Tensor) -> int:
        least, size = int(ids.min()), int(ids.max()) + 1
        require(
            least >= 0 and size <= MAX_EXAMPLES,
            f"`anchor_ids` must be 0 to {MAX_EXAMPLES - 1} for {type(self).__name__}, which keeps "
            f"a table with a row per id: got {least} to {size - 1}. Number the examples from 0.",
        )
        return size

    def _grow(self, size: int) -> None:
        for name in self._state_names:
            state: Tensor = getattr(self, name)
            if size > len(state):
                # Grow by half at least, so that growing is rare.
                larger = state.new_full((max(size, len(state) * 3 // 2),), self._initial(name))
                larger[: len(state)] = state
                setattr(self, name, larger)

    def _write_state(self) -> None:
        """Average the notes of each id and write the new state."""
        if not self._notes:
            return
        ids = torch.cat([ids for ids, _ in self._notes])
        unique, place = torch.unique(ids, return_inverse=True)
        times = torch.bincount(place)
        noted = {}
        for i, name in enumerate(self._noted_names):
            values = torch.cat([values[i] for _, values in self._notes]).double()
            total = torch.zeros(len(unique), dtype=torch.float64, device=ids.device)
            if name.startswith("log_"):  # Average u, not its log: a log-sum-exp for each id.
                top = total.scatter_reduce(0, place, values, "amax", include_self=False)
                sums = total.index_add_(0, place, (values - top[place]).exp())
                mean = top + (sums / times).log()
            else:
                mean = total.index_add_(0, place, values) / times
            noted[name] = mean
        before = {name: getattr(self, name)[unique].double() for name in self._state_names}
        for name, values in self._updated(before, noted).items():
            state: Tensor = getattr(self, name)
            state[unique] = values.to(state)

    def _load_from_state_dict(
        self, state_dict: dict[str, Tensor], prefix: str, *rest: object
    ) -> None:
        # A table grows with the ids, so give it the size that it had when it was saved.
        for name in self._state_names:
            if prefix + name in state_dict:
                table: Tensor = getattr(self, name)
                setattr(self, name, table.new_empty(state_dict[prefix + name].shape))
        super()._load_from_state_dict(state_dict, prefix, *rest)


class SogCLR(_StatefulLoss, SumLoss):
    r"""Contrast with a running estimate of each example's global denominator.

    .. math::
        g_i = \operatorname{mean}_j e^{s_{ij}/\tau}, \qquad
        u_i \leftarrow (1 - \gamma) u_i + \gamma g_i, \qquad
        \nabla \ell_i = \tau \, \nabla g_i / u_i - \nabla s_i^+

    The value is tau log u_i - s_i^+. Its gradient has the running estimate u in the
    denominator in place of the batch's own g, so that small batches are not biased.

    Convention: as in the authors' code and LibAUC, u estimates the mean of e^{s/tau} without
    the positive's score, which changes from visit to visit. It is kept by example id, in log
    space; the first visit sets u = g. With ``both_views`` the two views' anchors read the
    same u, and the mean of their new values is kept. gamma = 1 has no memory: the loss is
    then tau times DCL over the mean of the negatives. The state is a buffer, checkpointed
    with the loss, and changes only in training mode. An anchor without a negative has the
    loss 0 and does not change its u.

    Args:
        temperature: tau.
        gamma: the weight of the new estimate.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> SogCLR(temperature=0.5)(*cross_view(a, a)).item()  # log g = (0 - 1) / .5; times tau
    -1.0

    References:
        Yuan et al., ICML 2022, arXiv 2202.12387.
    """

    label = "SogCLR"
    detached = True
    _state_names = _noted_names = ("log_u",)

    temperature: Annotated[float, Between(1e-4, 1e4)] = 0.1
    gamma: Annotated[float, Above(0, 1)] = 0.9

    def _initial(self, name: str) -> float:
        del name
        return torch.nan  # NaN marks an example that was not seen yet.

    def score_scale(self) -> float:
        """Return 1 / tau."""
        return 1 / self.temperature

    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        """Return tau log g - s+, the loss without memory."""
        return self.temperature * (sums[0] - count.log()) - pos

    def combine_of(
        self, ids: Tensor, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor
    ) -> Tensor:
        """Return tau log u - s+, with the gradient of tau g / u - s+."""
        log_g = sums[0] - count.log()
        log_u = _moving_average(self._recall("log_u", ids, log_g), log_g.detach(), self.gamma)
        self._note(ids, log_u)
        return self.temperature * _with_slope_of(log_u, (log_g - log_u).exp()) - pos


class ISogCLR(_StatefulLoss):
    r"""Contrast as SogCLR does, with a learned temperature for each example.

    .. math::
        \ell_i = \tau_i \log \operatorname{mean}_j e^{s_{ij}/\tau_i} + \tau_i \rho - s_i^+

    The gradient has the running estimate u_i of the mean in its denominator, as in
    :class:`SogCLR`. Each visit moves tau_i one step down the loss's slope by tau_i,
    :math:`\log u_i + \rho - (g_i/u_i) \operatorname{E}_w[s_{ij}]/\tau_i` with weights
    :math:`w \propto e^{s_{ij}/\tau_i}`.

    Convention: as in the authors' code. Temperatures, steps and u are kept by example id,
    read before the contrast and written after it, in training mode only. The slopes of both
    views' anchors are averaged and clamped to [-3, 3], then averaged over visits
    (``momentum``); tau_i is kept between ``low`` and ``high``. With ``tau_rate=0`` and
    ``gamma=1`` the loss is tau times DCL (mean) plus tau rho. An anchor without a negative
    has the loss 0 and does not change its state.

    Args:
        temperature: the first tau_i of each example, between ``low`` and ``high``.
        rho: the radius: how far the worst case may be from uniform.
        gamma: the weight of the new estimate in u.
        tau_rate: the step size of tau_i.
        momentum: the share of the old step kept: 1 - beta_u.
        low: the smallest tau_i.
        high: the largest tau_i.

    Raises:
        InputError: if a setting is invalid.

    >>> from harness.contrast import cross_view
    >>> a = torch.eye(2, dtype=torch.float64)
    >>> loss = ISogCLR(temperature=0.5, rho=0.1)
    >>> round(loss(*cross_view(a, a)).item(), 6)  # .5 * (0 - 1) / .5 + .5 * .1
    -0.95

    References:
        Qiu et al., ICML 2023, arXiv 2305.11965.
    """

    label = "iSogCLR"
    detached = True
    _state_names = ("log_u", "tau", "step")
    _noted_names = ("log_u", "slope")

    temperature: float = 0.07
    rho: Annotated[float, Between(0, 100)] = 0.1
    gamma: Annotated[float, Above(0, 1)] = 0.8
    tau_rate: Annotated[float, Between(0, 1)] = 0.001
    momentum: Annotated[float, Between(0, 0.999)] = 0.1
    low: Annotated[float, Between(1e-4)] = 0.005
    high: float = 1.0

    def setup(self) -> None:
        """Check that the temperature starts within its bounds."""
        super().setup()
        require_number("high", self.high, at_least=self.low, at_most=1e4)
        require_number("temperature", self.temperature, at_least=self.low, at_most=self.high)

    def score_scale(self) -> None:
        """Return None: each example has a temperature of its own."""

    def _initial(self, name: str) -> float:
        return {"log_u": torch.nan, "tau": self.temperature, "step": 0.0}[name]

    def per_anchor(self, pos: Tensor, neg: Tensor, keep: Tensor) -> Tensor:
        """Return the loss of examples that were not seen before."""
        log_g = masked_logsumexp(neg / self.temperature, keep)
        log_g = log_g - count_kept(keep).clamp(min=1).to(neg).log()
        values = self.temperature * (log_g + self.rho) - pos
        return torch.where(keep.any(dim=1), values, 0.0)

    def per_anchor_of(self, ids: Tensor, pos: Tensor, neg: Tensor, keep: Tensor) -> Tensor:
        """Return tau_i (log u_i + rho) - s+, with the gradient of tau_i g_i / u_i - s+."""
        tau = self._recall("tau", ids, pos)
        with torch.no_grad():
            count = count_kept(keep)
            some, count = count > 0, count.clamp(min=1).to(neg)
            # A softmax by hand, as its sum is needed too. The clamp gives masked candidates
            # e^-80 of the largest weight (in float32), which is negligible.
            weights = torch.where(keep, neg / tau[:, None], -torch.inf)
            top = torch.where(some, weights.amax(dim=1), 0.0)
            weights.sub_(top[:, None]).clamp_(min=min_exponent(neg.dtype)).exp_()
            total = weights.sum(dim=1)
            weights.div_(total[:, None])
            log_g = total.log() + top - count.log()
            log_u = _moving_average(self._recall("log_u", ids, pos), log_g, self.gamma)
            ratio = (log_g - log_u).exp()
            slope = log_u + self.rho - ratio * torch.linalg.vecdot(weights, neg) / tau
        self._note(ids[some], log_u[some], slope[some])
        # tau_i times the gradient of g_i / u_i is that of these weighted scores.
        pushed = ratio * torch.linalg.vecdot(weights, neg)
        values = _with_slope_of(tau * (log_u + self.rho), pushed) - pos
        return torch.where(some, values, 0.0)

    def _updated(self, before: dict[str, Tensor], noted: dict[str, Tensor]) -> dict[str, Tensor]:
        """Move each temperature by its mean slope, with momentum and within its bounds."""
        slope = noted["slope"].clamp(-MAX_SLOPE, MAX_SLOPE)
        step = self.momentum * before["step"] + (1 - self.momentum) * slope
        tau = (before["tau"] - self.tau_rate * step).clamp(self.low, self.high)
        return {"log_u": noted["log_u"], "tau": tau, "step": step}


def _moving_average(log_old: Tensor, log_new: Tensor, gamma: float) -> Tensor:
    """Return log((1 - gamma) old + gamma new), or log new if old is NaN, not seen yet."""
    # In log space. For gamma = 1 the log of 1 - gamma is -inf, which logaddexp takes for 0.
    log_kept, log_added = torch.tensor([1 - gamma, gamma], dtype=torch.float64).log().tolist()
    moved = torch.logaddexp(log_old + log_kept, log_new + log_added)
    return torch.where(log_old.isnan(), log_new, moved)


def _with_slope_of(value: Tensor, other: Tensor) -> Tensor:
    """Return ``value``, with the gradient of ``other``."""
    return value.detach() + (other - other.detach())
