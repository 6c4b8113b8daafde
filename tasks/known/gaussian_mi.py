"""Mutual information between correlated Gaussians, for which it is known."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from harness.core.errors import require, require_choice, require_number
from harness.core.randomness import Randomness
from harness.evaluation.information import ESTIMATORS
from harness.losses.base import ScoreLoss
from harness.metrics import Evaluation, Metric
from harness.settings import Between
from harness.task import Batch, Task, consecutive, device_of, to_device

SCALES = (-6.0, 6.0)
"""Log2 range of the critic's scale in the evaluation, relative to 1 / the scores' deviation."""

BATCHES = 32
"""Largest number of batches per diagnosis; large batches are fewer."""

SCORES = 2**22
"""Approximate limit on the number of scores per diagnosis."""


class Pairs(NamedTuple):
    """Draws of x and y; each row is one draw from their joint distribution."""

    x: Float[Tensor, "n d"]
    y: Float[Tensor, "n d"]


class Side(NamedTuple):
    """Draws of x alone or of y alone: the encoder's input."""

    rows: Float[Tensor, "n d"]
    side: int
    """0 for x, 1 for y."""


class GaussianMI(Task):
    r"""Train on two views that share a known mutual information; score how much is learned.

    Each of the d coordinates of x and y is standard normal, with correlation rho:

    .. math:: I(X, Y) = -\frac{d}{2} \log(1 - \rho^2) = \texttt{information}

    in nats. Views are x and y themselves. The encoder has a tower for each, and the head
    is the identity, so that a loss's critic is the dot product, or the cosine over a
    temperature, of two representations. The log density ratio is such a dot product, of
    d + 2 columns: the ``oracle``'s. With the default settings every step sees new pairs, so
    training minimises the population's objective.

    The score ``information`` is InfoNCE's bound as a percentage of I, on ``scored`` pairs
    that were not trained on. The critic is the dot product or the cosine of the
    representations, whichever is better on validation, times the scale that is best there:
    the same for every loss. The score's cap, log ``scored``, and its bias show in the row
    of the ``oracle``, which is the best critic there is.

    Diagnostics, of up to 32 fresh batches of ``batch_size`` pairs, with the loss's critic:

    - ``estimate_infonce``, ``estimate_dv``, ``estimate_nwj``, ``estimate_smile``,
      ``estimate_tight_kl``, ``estimate_chi2`` and ``estimate_chi2_per_anchor``: means of the
      estimators of :mod:`harness.evaluation.information`;
    - ``mi_estimate``, ``mi_bias``, ``mi_std``: the mean of the loss's own estimator, that
      mean minus I, and the deviation over batches. InfoNCE's estimator serves a loss that
      names none. The chi-squared information, here (e^{2I} - 1) / 2, is converted to nats
      by that formula;
    - ``mi_true``, ``mi_cap``: I, and log ``batch_size``.

    Untrained networks and the oracle have no loss. Their dot product counts as the log
    density ratio, from which each estimator gets its best critic (plus 1 for NWJ, the
    exponential for chi-squared). Each estimator's deviation over batches is given too, as
    ``estimate_dv_std``.

    Args:
        information: I, in nats, .01 to 4 ``dimension``.
        dimension: d.
        cubic: whether y is cubed, coordinate by coordinate, which does not change I.
        width: of the representation, at least ``dimension`` + 2.
        hidden: of both hidden layers of a tower.
        pairs: to train on.
        scored: pairs of validation, and of test.

    Raises:
        InputError: if a setting is invalid.

    References:
        Poole et al. 2019, arXiv 1905.06922; Song & Ermon, ICLR 2020, arXiv 1910.06222;
        Wu et al. 2023, arXiv 2310.11048.
    """

    label = "Gaussian MI"
    modality = "gaussian"
    metrics = (
        Metric(
            "information",
            "The lower bound of the mutual information as a share of the true one.",
            margin=1.0,
            low=-math.inf,
            high=math.inf,
        ),
    )
    pairing = "cross_view"
    references = ("oracle",)
    more_views = False  # x and y are the only views.

    information: float = 2.0
    dimension: Annotated[int, Between(1)] = 4
    cubic: bool = False
    width: Annotated[int, Between(1)] = 32
    hidden: Annotated[int, Between(1)] = 64
    pairs: Annotated[int, Between(2, 2**24)] = 65536
    scored: Annotated[int, Between(2, 2**14)] = 2048
    steps: int = 400
    batch_size: Annotated[int, Between(2, 2**13)] = 128
    learning_rate: float = 0.003
    optimizer: str = "adam"
    schedule: str = "cosine"

    def setup(self) -> None:
        """Check settings that depend on one another."""
        super().setup()
        # Beyond 4 `dimension`, x and y differ only in the last digits of float32.
        require_number("information", self.information, at_least=0.01, at_most=4 * self.dimension)
        require(
            self.width >= self.dimension + 2,
            "`width` must be at least `dimension` + 2, which the log density ratio needs: "
            f"got {self.width} for {self.dimension}. Raise `width`.",
        )

    def load(self, randomness: Randomness) -> None:
        """Draw the pairs: first those of train, then validation's and test's."""
        generator = randomness.torch("split")
        self._train, self._validation, self._test = (
            draw(count, self.dimension, self.information, cubic=self.cubic, generator=generator)
            for count in (self.pairs, self.scored, self.scored)
        )

    def splits(self) -> Sequence[Mapping[str, Iterable[int]]]:
        """Return the one division, by the pairs' numbers in the order they were drawn."""
        sizes = {"train": self.pairs, "validation": self.scored, "test": self.scored}
        return [consecutive(sizes)]

    def train_size(self) -> int:
        """Return the number of pairs to train on."""
        return self.pairs

    def batch(self, index: Tensor) -> Batch:
        """Return pairs, with their numbers as ids."""
        return Batch(Pairs(self._train.x[index], self._train.y[index]), index)

    def views(self, data: Pairs) -> tuple[Side, Side]:
        """Return x and y."""
        return Side(data.x, 0), Side(data.y, 1)

    def encoder(self) -> nn.Module:
        """Return two towers of two hidden layers, one for x and one for y."""
        return Towers(self.dimension, self.hidden, self.width)

    def head(self, width: int) -> nn.Module:
        """Return the identity."""
        del width
        return nn.Identity()

    def reference(self, name: str) -> nn.Module:
        """Return the oracle, whose dot product is the log density ratio."""
        require_choice("name", name, self.references)
        return Oracle(self.dimension, self.information, cubic=self.cubic)

    def evaluate(self, encoder: nn.Module, splits: Sequence[str]) -> Evaluation:
        """Return InfoNCE's bound on each split's pairs, as a share of the information."""
        critics = {"validation": self._critics(encoder, self._validation)}
        if "test" in splits:
            critics["test"] = self._critics(encoder, self._test)
        chosen = {name: _best_scale(scores) for name, scores in critics["validation"].items()}
        name = max(chosen, key=lambda name: chosen[name][1])
        bounds = {split: _bound(critics[split][name] * chosen[name][0]) for split in splits}
        return Evaluation({
            split: {"information": bound / self.information} for split, bound in bounds.items()
        })  # fmt: skip

    def held_out(self) -> Batch:
        """Return the first validation pairs, at most ``batch_size``."""
        index = torch.arange(min(self.batch_size, self.scored))
        pairs = Pairs(self._validation.x[index], self._validation.y[index])
        return Batch(pairs, index + self.pairs)

    def diagnose(
        self, encoder: nn.Module, head: nn.Module, loss: nn.Module | None
    ) -> dict[str, float]:
        """Return the estimators' values on fresh batches of ``batch_size`` pairs."""
        size = min(self.batch_size, self.pairs)
        found = {"mi_true": self.information, "mi_cap": math.log(size)}
        scale = loss.score_scale() if isinstance(loss, ScoreLoss) else None
        if loss is not None and not scale:
            return found
        batches = max(2, min(BATCHES, SCORES // size**2))
        pairs = draw(batches * size, self.dimension, self.information, cubic=self.cubic)
        sides = [head(encoder(side)) for side in self._sides(encoder, pairs)]
        if isinstance(loss, ScoreLoss) and scale:
            sides = [loss.embed(rows.float()) * math.sqrt(scale) for rows in sides]
        x, y = (rows.double().reshape(batches, size, -1) for rows in sides)
        estimates = [
            _estimates(a @ b.T, calibrated=loss is None) for a, b in zip(x, y, strict=True)
        ]
        table = {name: torch.stack([row[name] for row in estimates]) for name in estimates[0]}
        found |= {f"estimate_{name}": values.mean().item() for name, values in table.items()}
        if loss is None:
            return found | {f"estimate_{name}_std": v.std().item() for name, v in table.items()}
        name = getattr(loss, "estimator", "infonce")
        own = nats_of_chi2(table[name]) if name.startswith("chi2") else table[name]
        estimate = own.mean().item()
        return found | {
            "mi_estimate": estimate,
            "mi_bias": estimate - self.information,
            "mi_std": own.std().item(),
        }

    def _sides(self, encoder: nn.Module, pairs: Pairs) -> tuple[Side, Side]:
        moved: Pairs = to_device(pairs, device_of(encoder))
        return self.views(moved)

    def _critics(self, encoder: nn.Module, pairs: Pairs) -> dict[str, Tensor]:
        """Return {critic: all scores of x with y, minus the mean of each row}.

        InfoNCE's bound does not depend on the rows' means, and without them float32 keeps
        more digits of the rest.
        """
        x, y = (encoder(side) for side in self._sides(encoder, pairs))
        critics = {"dot": (x, y), "cosine": (normalize(x), normalize(y))}
        return {name: (a @ (b - b.mean(dim=0)).T).float() for name, (a, b) in critics.items()}


class Towers(nn.Module):
    """A network for x and one for y, each with two hidden layers; they share no weights."""

    def __init__(self, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        self.towers = nn.ModuleList(
            nn.Sequential(
                nn.Linear(inputs, hidden),
                nn.ReLU(),
                nn.Linear(hidden, hidden),
                nn.ReLU(),
                nn.Linear(hidden, outputs),
            )
            for _ in range(2)
        )

    def forward(self, side: Side) -> Tensor:
        """Return one representation per row, from the tower of its side."""
        rows: Tensor = self.towers[side.side](side.rows)
        return rows


class Oracle(nn.Module):
    r"""Return representations whose dot product is the log density ratio of x and y.

    .. math::
        \log \frac{p(y \mid x)}{p(y)} = \frac{\rho}{1 - \rho^2} x \cdot y
        - \frac{\rho^2}{2 (1 - \rho^2)} (\lVert x \rVert^2 + \lVert y \rVert^2) + I

    The terms in x alone are one column of x's representation, which meets a 1 in y's; those
    in y alone likewise.

    >>> oracle = Oracle(1, 0.5 * math.log(2), cubic=False)  # rho^2 = 1/2
    >>> one = torch.ones(1, 1)
    >>> x, y = oracle(Side(one, 0)), oracle(Side(one, 1))
    >>> round((x * y).sum().item(), 6)  # 2^.5 - 1 + log(2) / 2
    0.760787
    """

    def __init__(self, dimension: int, information: float, *, cubic: bool) -> None:
        super().__init__()
        self.information = information
        self.cubic = cubic
        rest = math.exp(-2 * information / dimension)
        self.slope = math.sqrt(1 - rest) / rest
        self.curvature = (1 - rest) / (2 * rest)

    def forward(self, side: Side) -> Tensor:
        """Return [n, d + 2], in float64 because the slope is large if rho is near one."""
        rows = side.rows.double()
        if side.side == 1 and self.cubic:
            rows = rows.sign() * rows.abs() ** (1 / 3)
        own = self.information / 2 - self.curvature * rows.square().sum(dim=1, keepdim=True)
        ones = torch.ones_like(own)
        last = [own, ones] if side.side == 0 else [ones, own]
        return torch.cat([math.sqrt(self.slope) * rows, *last], dim=1)


def draw(
    count: int,
    dimension: int,
    information: float,
    *,
    cubic: bool,
    generator: torch.Generator | None = None,
) -> Pairs:
    """Draw pairs of the task, in float32; without a generator, from torch's global one."""
    x, noise = torch.randn(2, count, dimension, generator=generator, dtype=torch.float64)
    rest = math.exp(-2 * information / dimension)
    y = math.sqrt(1 - rest) * x + math.sqrt(rest) * noise
    return Pairs(x.float(), (y**3 if cubic else y).float())


def nats_of_chi2(chi2: Tensor) -> Tensor:
    """Return the I for which (e^{2 I} - 1) / 2 is ``chi2``; 0 if ``chi2`` is negative.

    >>> nats_of_chi2(torch.tensor([0.0, -1.0])).tolist()
    [0.0, 0.0]
    """
    return torch.log1p(2 * chi2.clamp(min=0)) / 2


def _estimates(scores: Tensor, *, calibrated: bool) -> dict[str, Tensor]:
    """Return every estimator's value on a batch's scores, [x, y] with pairs on the diagonal.

    If scores are ``calibrated``, that is, log density ratios, each estimator gets the critic
    that is best for it.
    """
    keep = ~torch.eye(len(scores), dtype=torch.bool, device=scores.device)
    estimates = {}
    for name, estimator in ESTIMATORS.items():
        critic = scores
        if calibrated and name == "nwj":
            critic = scores + 1
        elif calibrated and name.startswith("chi2"):
            critic = scores.exp()
        estimates[name] = estimator(critic.diagonal(), critic, keep)
    return estimates


def _best_scale(scores: Tensor) -> tuple[float, float]:
    """Return the factor, 0 or above, that maximises the bound of ``scores``, and the bound."""
    from scipy.optimize import minimize_scalar

    unit = 1 / scores.std().clamp(min=1e-12).item()
    # The bound is concave in the factor, so it has one maximum.
    optimum = minimize_scalar(
        lambda power: -_bound(scores * (unit * 2**power)),
        bounds=SCALES,
        method="bounded",
        options={"xatol": 0.02},
    )
    bound = -float(optimum.fun)
    return (unit * 2 ** float(optimum.x), bound) if bound > 0 else (0.0, 0.0)


def _bound(scores: Tensor) -> float:
    """Return InfoNCE's bound with every row's pair on the diagonal."""
    own = scores.diagonal() - scores.logsumexp(dim=1)
    return own.mean().item() + math.log(len(scores))
