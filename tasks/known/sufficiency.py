"""Shared parts of the three sufficiency tasks: known information, finite sums, linear fits.

The paper's terms: for convex f, I_f(X, Y) = E_{PxP} f(r) with r = dP(x, y) / (dP(x) dP(y)).
A critic S scores a pair of views; its risk is

    R_f(S) = -E_P S + inf_{S_x} E_{PxP}[f*(S - S_x) + S_x].

The least risk of all critics is -I_f(X, Y); that of critics that see x only through a map T
is -I_f(T(X), Y). The sufficiency of T, Suff_f(T), is the difference: 0 for a map that loses
nothing, I_f for a constant. ``kl``: f(r) = r log r and R = -E S + E_x log E_y e^S. ``chi2``:
f(r) = (r - 1)^2 / 2 and R = -E S + E_{PxP}[(S - E_y S)^2 / 2 + S].

References:
    Lin & Mei 2025, arXiv 2503.17538.
"""

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Annotated

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from harness.core.errors import require_choice
from harness.core.randomness import Randomness
from harness.evaluation.information import ESTIMATORS
from harness.evaluation.represent import represent
from harness.losses.base import ScoreLoss
from harness.metrics import Evaluation, Metric
from harness.settings import Above, Between
from harness.task import Batch, Task, consecutive, device_of

DIVERGENCES = ("kl", "chi2")
ESTIMATED = {"kl": "tight_kl", "chi2": "chi2_per_anchor"}
"""{divergence: the estimator in :mod:`harness.evaluation.information` that is minus its risk}."""

LABELLED = (150, 500, 1000, 5000, 20000)
"""How many labelled rows a linear fit gets, as in the paper."""

SCORED = 20000
"""Rows without noise on which a fit's excess risk is measured."""

DRAWS = 20
"""Largest number of draws of labelled rows: their mean then varies less than seeds do."""

PAIRS = 2048
"""Number of pairs of views on which a critic's risk is measured."""

SEARCHED = 512
"""How many of these pairs choose the best multiple of a critic."""

MULTIPLES = (-25.0, 7.0)
"""Range of the log of the multiples tried."""

# Known information


def gaussian_information(divergence: str, rho: float, dimensions: int) -> float:
    r"""Return I_f of two Gaussian vectors whose matching coordinates correlate.

    .. math::
        I_{KL} = -\tfrac{s}{2} \log(1 - \rho^2), \qquad
        I_{\chi^2} = \tfrac{1}{2} [(1 - \rho^2)^{-s} - 1]

    Args:
        divergence: ``kl``, in nats, or ``chi2``.
        rho: the correlation, above -1 and below 1.
        dimensions: s, how many coordinates correlate.

    >>> round(gaussian_information("kl", 0.8, 10), 3), gaussian_information("chi2", 0.0, 3)
    (5.108, 0.0)
    """
    require_choice("divergence", divergence, DIVERGENCES)
    if divergence == "kl":
        return -dimensions / 2 * float(np.log1p(-(rho**2)))
    return ((1 - rho**2) ** -dimensions - 1) / 2


def log_sphere_mean(p: int, kappa: float) -> float:
    r"""Return log E e^{kappa u_1}, u uniform on the unit sphere of R^p.

    .. math:: E_p(\kappa) = \Gamma(p/2)\, I_{p/2-1}(\kappa)\, (\kappa/2)^{1-p/2}

    I is the modified Bessel function of the first kind. E_p normalises the density ratio
    of von Mises-Fisher pairs.

    Args:
        p: dimensions, 2 or more.
        kappa: the concentration, above 0.

    >>> import math
    >>> math.isclose(log_sphere_mean(3, 2.0), math.log(math.sinh(2.0) / 2.0))
    True
    """
    from scipy.special import gammaln, ive

    order = p / 2 - 1
    # ive is e^-kappa I, which does not overflow for large kappa.
    bessel = np.log(ive(order, kappa)) + kappa
    return float(gammaln(p / 2) + bessel - order * np.log(kappa / 2))


def sphere_information(divergence: str, p: int, kappa: float) -> float:
    r"""Return I_f of u uniform on the sphere of R^p and v, von Mises-Fisher around u.

    .. math::
        r = e^{\kappa u \cdot v} / E_p(\kappa), \qquad
        I_{KL} = \kappa A_p(\kappa) - \log E_p(\kappa), \qquad
        I_{\chi^2} = \tfrac{1}{2} [E_p(2 \kappa) / E_p(\kappa)^2 - 1]

    with A_p the mean of u . v, I_{p/2} / I_{p/2-1}.

    >>> round(sphere_information("kl", 10, 10 / 3), 4)
    0.4899
    >>> round(sphere_information("chi2", 10, 10 / 3), 3)
    0.683
    """
    from scipy.special import ive

    require_choice("divergence", divergence, DIVERGENCES)
    if divergence == "kl":
        mean = ive(p / 2, kappa) / ive(p / 2 - 1, kappa)
        return float(kappa * mean) - log_sphere_mean(p, kappa)
    double = log_sphere_mean(p, 2 * kappa) - 2 * log_sphere_mean(p, kappa)
    return float(np.expm1(double) / 2)


# Finite joint distributions: exact


def information(divergence: str, joint: Float[np.ndarray, "a b"]) -> float:
    """Return I_f(X, Y) of a finite joint distribution.

    Args:
        divergence: ``kl``, in nats, or ``chi2``.
        joint: P(x, y), which sums to 1.

    >>> float(round(information("kl", np.eye(2) / 2), 4)), information("chi2", np.eye(2) / 2)
    (0.6931, 0.5)
    """
    from scipy.special import xlogy

    require_choice("divergence", divergence, DIVERGENCES)
    product = _product(joint)
    ratio = np.divide(joint, product, out=np.ones_like(joint), where=product > 0)
    values = xlogy(ratio, ratio) if divergence == "kl" else (ratio - 1) ** 2 / 2
    return float((product * values).sum())


def sufficiency(
    divergence: str, joint: Float[np.ndarray, "a b"], groups: Int[np.ndarray, " a"]
) -> float:
    """Return Suff_f(T) = I_f(X, Y) - I_f(T(X), Y) of a map of x, exactly.

    Args:
        divergence: ``kl``, in nats, or ``chi2``.
        joint: P(x, y), which sums to 1.
        groups: T(x), an integer for each x; x with equal integers are merged.

    >>> sufficiency("chi2", np.eye(2) / 2, np.array([0, 0]))
    0.5
    """
    _, merged = np.unique(groups, return_inverse=True)
    seen = np.zeros((merged.max() + 1, joint.shape[1]))
    np.add.at(seen, merged, joint)
    return information(divergence, joint) - information(divergence, seen)


def critic_risk(
    divergence: str, scores: Float[np.ndarray, "a b"], joint: Float[np.ndarray, "a b"]
) -> float:
    """Return the exact R_f(S) of a critic on a finite joint distribution; at least -I_f.

    Args:
        divergence: ``kl``, in nats, or ``chi2``.
        scores: S(x, y).
        joint: P(x, y), which sums to 1.

    >>> joint = np.array([[0.4, 0.1], [0.1, 0.4]])
    >>> bool(np.isclose(critic_risk("kl", np.log(4 * joint), joint), -information("kl", joint)))
    True
    """
    from scipy.special import logsumexp

    require_choice("divergence", divergence, DIVERGENCES)
    of_x, of_y = joint.sum(axis=1), joint.sum(axis=0)
    matched = (joint * scores).sum()
    if divergence == "kl":
        return float(of_x @ logsumexp(scores, axis=1, b=of_y) - matched)
    mean = scores @ of_y
    variance = (scores - mean[:, None]) ** 2 @ of_y
    return float(of_x @ (mean + variance / 2) - matched)


def _product(joint: Float[np.ndarray, "a b"]) -> Float[np.ndarray, "a b"]:
    product: np.ndarray = np.outer(joint.sum(axis=1), joint.sum(axis=0))
    return product


# The critic that a loss trains


def critic_rows(loss: nn.Module | None, projections: Tensor) -> Tensor | None:
    """Return rows, in float64, whose dot products are the critic's scores.

    The critic is what the loss exponentiates: cosines over the temperature, or plain dot
    products. Return None for a loss without such scores, whose critic has no risk.
    """
    scale = loss.score_scale() if isinstance(loss, ScoreLoss) else None
    if not isinstance(loss, ScoreLoss) or scale is None:
        return None
    rows: Tensor = loss.embed(projections.double()) * scale**0.5
    return rows


def risks_of_critic(
    informations: Mapping[str, float],
    risk: Callable[[str, float], float],
    search: Callable[[str, float], float] | None = None,
) -> dict[str, float]:
    """Return ``*_risk``, ``*_gap`` and ``*_bound`` of a critic S for each divergence.

    The gap is the risk's excess over the least risk, R_f(S) + I_f. It bounds Suff_f of the
    encoder from above, but loosely if S has the wrong scale, which says nothing about the
    representation. The bound is therefore the gap of a S for the best number a > 0.

    Args:
        informations: {divergence: I_f}.
        risk: gives R_f(a S) for a divergence and a.
        search: a less exact ``risk``, used to choose a.
    """
    values: dict[str, float] = {}
    for name, known in informations.items():
        unscaled = risk(name, 1.0)
        multiple = best_multiple(partial(search or risk, name))
        values |= {
            f"{name}_risk": unscaled,
            f"{name}_gap": unscaled + known,
            f"{name}_bound": risk(name, multiple) + known,
        }
    return values


def best_multiple(risk: Callable[[float], float]) -> float:
    """Return the a > 0 with the least ``risk(a)``, which is convex in a.

    >>> round(best_multiple(lambda a: (a - 2) ** 2), 2)
    2.0
    """
    from scipy.optimize import minimize_scalar

    least, most = MULTIPLES
    chosen = minimize_scalar(lambda log: risk(float(np.exp(log))), bounds=(least, most))
    return float(np.exp(chosen.x))


def estimated_risk(
    divergence: str, first: Float[Tensor, "n d"], second: Float[Tensor, "n d"]
) -> float:
    """Return R_f of the dot product as critic, estimated on n pairs.

    A row's negatives are the other n - 1 rows. chi2's estimate is unbiased. kl's log is
    too low by about the variance of e^S / E e^S over 2 n, so its gap is too small.
    """
    require_choice("divergence", divergence, DIVERGENCES)
    scores = first @ second.T
    others = ~torch.eye(len(first), dtype=torch.bool, device=first.device)
    estimate = ESTIMATORS[ESTIMATED[divergence]]
    return -float(estimate(scores.diagonal(), scores, others))


# Linear regression on frozen representations


def least_squares(
    rows: Float[np.ndarray, "m k"], targets: Float[np.ndarray, " m"]
) -> Float[np.ndarray, " k"]:
    """Return the coefficients of the least-squares fit; of several best ones, the shortest.

    There is no intercept: the targets have mean 0, and so have the rows of x itself. The
    excess risk of a fit on x is then d / (m - d - 1) for Gaussian x.

    >>> least_squares(np.array([[1.0], [2.0]]), np.array([2.0, 4.0])).round(6).tolist()
    [2.0]
    """
    fitted: np.ndarray = np.linalg.lstsq(rows, targets, rcond=None)[0]
    return fitted


class RegressionTask(Task):
    """Learn from views; predict y = <x, theta> + N(0, 1) by a linear fit on few labelled rows.

    Two views share only the first ``relevant`` coordinates of x, and y depends on these
    only; <x, theta> has variance 1. A fit's excess risk is the mean square of its
    prediction minus <x, theta>, on ``SCORED`` fresh rows. The score ``explained_m`` is
    100 (1 - excess risk) of fits on m labelled rows: the share of the signal's variance
    that is predicted, below 0 if predicting 0 is better. It is the mean over as many
    disjoint draws as ``LABELLED[-1]`` rows hold, at most ``DRAWS``. Validation and test
    each have their own rows.

    The reference ``direct`` represents a row by x itself, ``oracle`` by its relevant
    coordinates.
    """

    modality = "vector"
    metrics = tuple(
        Metric(
            f"explained_{m}",
            f"The share of the signal's variance that fits on {m} labelled rows predict.",
            low=-math.inf,
        )
        for m in LABELLED
    )
    pairing = "cross_view"
    references = ("direct", "oracle")

    dimension: Annotated[int, Between(2)] = 50
    relevant: Annotated[int, Between(1)] = 10
    samples: Annotated[int, Between(2, 10**6)] = 500
    noise: Annotated[float, Above(0)] = 1.0
    width: Annotated[int, Between(0)] = 0
    representation: Annotated[int, Between(1)] = 10
    batch_size: int = 64
    optimizer: str = "adam"

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> Float[Tensor, "n d"]:
        """Return ``count`` rows of x."""

    @abstractmethod
    def signal(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, " n"]:
        """Return <x, theta> of each row."""

    @abstractmethod
    def informations(self) -> dict[str, float]:
        """Return {divergence: I_f of two views}."""

    def load(self, randomness: Randomness) -> None:
        """Draw the training rows, and for both splits labelled rows and rows to score."""
        self._rows = self.draw(self.samples, randomness.torch("split", 0))
        self._labelled: dict[str, tuple[Tensor, np.ndarray]] = {}
        self._scored: dict[str, tuple[Tensor, np.ndarray]] = {}
        for number, split in enumerate(("validation", "test"), start=1):
            generator = randomness.torch("split", number)
            rows = self.draw(LABELLED[-1], generator)
            labels = self.signal(rows) + torch.randn(len(rows), generator=generator)
            self._labelled[split] = rows, labels.double().numpy()
            scored = self.draw(SCORED, generator)
            self._scored[split] = scored, self.signal(scored).double().numpy()

    def splits(self) -> Sequence[Mapping[str, Iterable[int]]]:
        """Return the one division, by the rows' numbers."""
        scored = LABELLED[-1] + SCORED
        return [consecutive({"train": self.samples, "validation": scored, "test": scored})]

    def train_size(self) -> int:
        """Return the number of training rows."""
        return self.samples

    def batch(self, index: Tensor) -> Batch:
        """Return the rows with their numbers as ids."""
        return Batch(self._rows[index], index)

    def held_out(self) -> Batch:
        """Return scored validation rows, without labels."""
        rows = self._scored["validation"][0][:512]
        return Batch(rows, torch.arange(len(rows)) + self.train_size())

    def encoder(self) -> nn.Module:
        """Return Linear - ReLU - Linear, or a linear map if ``width`` is 0."""
        if not self.width:
            return nn.Linear(self.dimension, self.representation, bias=False)
        return nn.Sequential(
            nn.Linear(self.dimension, self.width),
            nn.ReLU(),
            nn.Linear(self.width, self.representation),
        )

    def head(self, width: int) -> nn.Module:
        """Return the identity: losses see the representation itself."""
        del width
        return nn.Identity()

    def reference(self, name: str) -> nn.Module:
        """Return an encoder that keeps all of x (``direct``), or the relevant part (``oracle``)."""
        return _Columns(self.relevant if name == "oracle" else self.dimension)

    def evaluate(self, encoder: nn.Module, splits: Sequence[str]) -> Evaluation:
        """Return the share of the signal's variance predicted by fits on m rows."""
        return Evaluation({
            split: {
                f"explained_{m}": 1 - excess
                for m, excess in self.excess_risks(encoder, split).items()
            }
            for split in splits
        })  # fmt: skip

    def excess_risks(self, encoder: nn.Module, split: str) -> dict[int, float]:
        """Return {m: mean excess risk of linear fits on m labelled rows of ``split``}."""
        (rows, labels), (scored, signal) = self._labelled[split], self._scored[split]
        fitted, tested = (represent(encoder, [part]).astype(np.float64) for part in (rows, scored))
        excess: dict[int, float] = {}
        for m in LABELLED:
            starts = range(0, min(DRAWS, len(fitted) // m) * m, m)
            fits = [least_squares(fitted[i : i + m], labels[i : i + m]) for i in starts]
            errors = tested @ np.stack(fits, axis=1) - signal[:, None]
            excess[m] = float(np.mean(errors**2))
        return excess

    def diagnose(
        self, encoder: nn.Module, head: nn.Module, loss: nn.Module | None
    ) -> dict[str, float]:
        """Return the excess risks, and the critic's risks with their gaps to -I_f.

        All are computed on validation rows. The risks are those of the critic that the loss
        trains, if it has one (see :func:`critic_rows`).
        """
        found = {
            f"excess_risk_{m}": excess
            for m, excess in self.excess_risks(encoder, "validation").items()
        }
        pairs = self.views(self._scored["validation"][0][:PAIRS])
        device = device_of(encoder)
        first, second = (critic_rows(loss, head(encoder(view.to(device)))) for view in pairs)
        if first is None or second is None:
            return found

        def risk(name: str, multiple: float, count: int = PAIRS) -> float:
            return estimated_risk(name, multiple * first[:count], second[:count])

        search = partial(risk, count=SEARCHED)
        return found | risks_of_critic(self.informations(), risk, search)


class _Columns(nn.Module):
    """Return the first columns of the input."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, rows: Float[Tensor, "n d"]) -> Float[Tensor, "n k"]:
        return rows[:, : self.count]
