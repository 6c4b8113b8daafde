"""Every loss against its formula in shared/reference/losses.md, literally, in float64.

``FORMULAS`` holds one anchor's value as a plain function of its scores. The scores that
weights are made of come in separately (``fixed``), so that the gradient of a detached
weight can be checked too.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.optimize
import torch
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import normalize

from harness import plugins
from harness.contrast import PAIRINGS, Contrast, both_views, cross_view, same_view
from harness.core.errors import InputError
from harness.losses.adnce import ADNCE
from harness.losses.align_uniform import AlignUniform
from harness.losses.alpha_cl import AlphaCL
from harness.losses.barlow_twins import BarlowTwins
from harness.losses.base import Loss, ScoreLoss
from harness.losses.dcl import DCL, DCLW
from harness.losses.dhel import DHEL, KCL
from harness.losses.dro import KLDRO, Chi2DRO, CressieReadDRO, DrRL
from harness.losses.fmicl import DIVERGENCES, EDGE_DISTANCE, FMICL
from harness.losses.hcl import HCL, Debiased
from harness.losses.infonce import InfoNCE, InfoNCELearned
from harness.losses.information import DV
from harness.losses.llave import LLaVE
from harness.losses.presets import (
    ADNCE_GRAPHS,
    ADNCE_IMAGES,
    ADNCE_SENTENCES,
    FMICL_DIVERGENCES,
    preset,
)
from harness.losses.prototypes import Prototypes
from harness.losses.regression import Regression
from harness.losses.rince import RINCE
from harness.losses.schedules import HCLCurriculum, InfoNCECosine
from harness.losses.siglip import SigLIP
from harness.losses.sogclr import ISogCLR, SogCLR
from harness.losses.spectral import Spectral
from harness.losses.supcon import SupCon
from harness.losses.vicreg import VICReg

Scores = Sequence[float]
exp, log, fsum = math.exp, math.log, math.fsum


def mean(values: Scores) -> float:
    return fsum(values) / len(values)


def infonce(p: float, n: Scores, fixed: Scores, tau: float) -> float:
    del fixed
    return -log(exp(p / tau) / (exp(p / tau) + fsum(exp(s / tau) for s in n)))


def adnce(
    p: float, n: Scores, fixed: Scores, tau: float, mu: float, sigma: float, form: str
) -> float:
    """The gradient of the sentence form's own weight is not looked at here."""
    g = [exp(-((s - mu) ** 2) / (2 * sigma**2)) for s in fixed]
    g_pos = exp(-((p - mu) ** 2) / (2 * sigma**2))
    average = mean([*g, g_pos]) if form == "sentence" else mean(g)
    pushed = fsum(w / average * exp(s / tau) for w, s in zip(g, n, strict=True))
    pulled = exp(p / tau)
    if form == "graph":
        return -log(pulled / (pushed / len(n)))
    weight_pos = g_pos / average if form == "sentence" else 1.0
    return -log(pulled / (weight_pos * pulled + pushed))


def hcl(p: float, n: Scores, fixed: Scores, tau: float, plus: float, beta: float) -> float:
    r = [exp(beta * s / tau) for s in fixed]
    hard = fsum(w / mean(r) * exp(s / tau) for w, s in zip(r, n, strict=True))
    n_g = max((-plus * len(n) * exp(p / tau) + hard) / (1 - plus), len(n) * exp(-1 / tau))
    return -log(exp(p / tau) / (exp(p / tau) + n_g))


def alpha_cl(p: float, n: Scores, fixed: Scores, tau: float, power: float) -> float:
    a = [exp(-((1 - s) ** power) / tau) for s in fixed]
    return fsum(w / fsum(a) * (s - p) for w, s in zip(a, n, strict=True))


def dcl(p: float, n: Scores, fixed: Scores, tau: float, average: bool) -> float:
    del fixed
    total = fsum(exp(s / tau) for s in n)
    return -p / tau + log(total / len(n) if average else total)


def rince(p: float, n: Scores, fixed: Scores, tau: float, q: float, lam: float) -> float:
    del fixed
    total = exp(p / tau) + fsum(exp(s / tau) for s in n)
    return -exp(q * p / tau) / q + (lam * total) ** q / q


def siglip(p: float, n: Scores, fixed: Scores, t: float, b: float) -> float:
    del fixed
    return -log(1 / (1 + exp(-(t * p + b)))) - fsum(log(1 / (1 + exp(t * s + b))) for s in n)


def llave(p: float, n: Scores, fixed: Scores, tau: float, alpha: float) -> float:
    pushed = fsum(exp(s / tau + alpha * f) for s, f in zip(n, fixed, strict=True))
    return -log(exp(p / tau) / (exp(p / tau) + pushed))


def kcl(p: float, n: Scores, fixed: Scores, t: float, gamma: float) -> float:
    del fixed
    return -2 * exp(-t * (2 - 2 * p)) + 2 * gamma * mean([exp(-t * (2 - 2 * s)) for s in n])


def kl_dro(p: float, n: Scores, fixed: Scores, eta: float, a: float) -> float:
    del fixed
    return -p + a * eta + a * log(mean([exp(s / a) for s in n]))


def cressie_read(p: float, n: Scores, fixed: Scores, k: float, eta: float) -> float:
    """The primal: the largest mean score over weights within the ball, by scipy."""
    del fixed
    s, m = np.array(n), len(n)
    if m == 1:
        return s[0] - p
    ball = {
        "type": "ineq",
        "fun": lambda w: eta - (np.mean((m * np.clip(w, 0, None)) ** k) - 1) / (k * (k - 1)),
    }
    simplex = {"type": "eq", "fun": lambda w: w.sum() - 1}
    found = scipy.optimize.minimize(
        lambda w: -w @ s,
        np.full(m, 1 / m),
        bounds=[(0, 1)] * m,
        constraints=[ball, simplex],
        method="SLSQP",
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    return float(-found.fun - p)


def drrl(p: float, n: Scores, fixed: Scores, k: float, eta: float, level: float) -> float:
    del fixed
    order = k / (k - 1)
    moment = mean([max(s - level, 0) ** order for s in n])
    return -p + level + exp(eta * (k - 1) / k) * moment ** (1 / order)


def spectral(p: float, n: Scores, fixed: Scores) -> float:
    del fixed
    return -2 * p + mean([s * s for s in n])


F_PRIME: dict[str, Callable[[float, float], float]] = {
    "kl": lambda u, q: log(u) + 1,
    "js": lambda u, q: log(2 * u / (1 + u)),
    "pearson": lambda u, q: 2 * (u - 1),
    "hellinger": lambda u, q: 1 - u**-0.5,
    "tsallis": lambda u, q: q / (q - 1) * u ** (q - 1),
    "vincze-le-cam": lambda u, q: 1 - 4 / (u + 1) ** 2,
    "reverse-kl": lambda u, q: -1 / u,
    "neyman": lambda u, q: 1 - u**-2,
}
F: dict[str, Callable[[float, float], float]] = {
    "kl": lambda u, q: u * log(u),
    "js": lambda u, q: -(u + 1) * log((1 + u) / 2) + u * log(u),
    "pearson": lambda u, q: (u - 1) ** 2,
    "hellinger": lambda u, q: (math.sqrt(u) - 1) ** 2,
    "tsallis": lambda u, q: u**q / (q - 1),
    "vincze-le-cam": lambda u, q: (u - 1) ** 2 / (u + 1),
    "reverse-kl": lambda u, q: -log(u),
    "neyman": lambda u, q: (1 - u) ** 2 / u,
}


def conjugate(name: str, v: float, q: float) -> float:
    """f*(v) = sup over u of uv - f(u), by search over u."""
    grid = np.exp(np.linspace(-14, 14, 4001))
    best = max(range(len(grid)), key=lambda i: grid[i] * v - F[name](grid[i], q))
    low, high = grid[max(best - 1, 0)], grid[min(best + 1, len(grid) - 1)]
    found = scipy.optimize.minimize_scalar(
        lambda u: F[name](u, q) - u * v, bounds=(low, high), method="bounded",
        options={"xatol": 1e-13},
    )  # fmt: skip
    return float(-found.fun)


def fmicl(p: float, n: Scores, fixed: Scores, name: str, similarity: str, alpha: float) -> float:
    del fixed
    q, mu, precision = 3.0, 1.0, 1.0

    def u(s: float) -> float:
        return mu * exp(-(2 - 2 * s) * precision)

    if similarity == "cosine":
        return -p + alpha * mean([conjugate(name, s, q) for s in n])
    # f*(f'(u)) = u f'(u) - f(u), where f' is at home.
    negatives = [u(s) * F_PRIME[name](u(s), q) - F[name](u(s), q) for s in n]
    return -F_PRIME[name](u(p), q) + alpha * mean(negatives)


FORMULAS: list[tuple[ScoreLoss, Callable[..., float], tuple[Any, ...]]] = [
    (InfoNCE(temperature=0.2), infonce, (0.2,)),
    (InfoNCECosine(low=0.1, high=0.2), infonce, (0.2,)),
    (InfoNCELearned(temperature=0.2), infonce, (0.2,)),
    (HCLCurriculum(temperature=0.2, start=0.5, beta=1.0), hcl, (0.2, 0.1, 0.5)),
    (ADNCE(temperature=0.2, mu=0.4, sigma=0.3), adnce, (0.2, 0.4, 0.3, "image")),
    (ADNCE(temperature=0.2, mu=0.4, sigma=0.3, form="graph"), adnce, (0.2, 0.4, 0.3, "graph")),
    (HCL(temperature=0.5, tau_plus=0.1, beta=1.0), hcl, (0.5, 0.1, 1.0)),
    (HCL(temperature=0.2, tau_plus=0.0, beta=0.5), hcl, (0.2, 0.0, 0.5)),
    (HCL(temperature=0.7, tau_plus=0.6, beta=2.0), hcl, (0.7, 0.6, 2.0)),
    (HCL(temperature=0.3, tau_plus=0.1, beta=1.5, detach=True), hcl, (0.3, 0.1, 1.5)),
    (Debiased(temperature=0.5, tau_plus=0.1), hcl, (0.5, 0.1, 0.0)),
    (AlphaCL(temperature=0.5, p=2.0), alpha_cl, (0.5, 2.0)),
    (AlphaCL(temperature=0.1, p=1.3), alpha_cl, (0.1, 1.3)),
    (DCL(temperature=0.2), dcl, (0.2, False)),
    (DCL(temperature=0.2, mean=True), dcl, (0.2, True)),
    (DHEL(temperature=0.3), dcl, (0.3, False)),
    (RINCE(temperature=0.5, q=0.5, lam=0.025), rince, (0.5, 0.5, 0.025)),
    (RINCE(temperature=0.1, q=0.9, lam=0.4), rince, (0.1, 0.9, 0.4)),
    (SigLIP(scale=10.0, bias=-10.0), siglip, (10.0, -10.0)),
    (SigLIP(scale=3.0, bias=0.5), siglip, (3.0, 0.5)),
    (LLaVE(temperature=0.1, alpha=9.0), llave, (0.1, 9.0)),
    (KCL(t=2.0, gamma=16.0), kcl, (2.0, 16.0)),
    (KLDRO(radius=0.7, temperature=0.3), kl_dro, (0.7, 0.3)),
    (DrRL(k=2.0, radius=0.4, level=-0.3), drrl, (2.0, 0.4, -0.3)),
    (DrRL(k=5.0, radius=1.0, level=0.1), drrl, (5.0, 1.0, 0.1)),
    (Spectral(radius=1.0), spectral, ()),
    *((FMICL(divergence=name, alpha=3.0), fmicl, (name, "gaussian", 3.0)) for name in DIVERGENCES),
]


def scores_of(loss: ScoreLoss, contrast: Contrast) -> list[tuple[float, list[float]]]:
    """Return each anchor's positive score and those of its negatives, pair by pair."""
    rows = [t.double() for t in (contrast.anchors, contrast.positives, contrast.candidates)]
    anchors, positives, candidates = (loss.embed(t).tolist() for t in rows)
    found = []
    for i, anchor in enumerate(anchors):
        pos = fsum(x * y for x, y in zip(anchor, positives[i], strict=True))
        neg = [
            fsum(x * y for x, y in zip(anchor, other, strict=True))
            for j, other in enumerate(candidates)
            if contrast.anchor_ids[i] != contrast.candidate_ids[j]
            and (contrast.exclude is None or not contrast.exclude[i, j])
        ]
        found.append((pos, neg))
    return found


def views(rows: int = 7, width: int = 4, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, rows, width, generator=generator, dtype=torch.float64)
    return a, a + b


def cases(loss: ScoreLoss) -> list[Contrast]:
    """Every pairing, repeated ids, a queue, and excluded pairs."""
    a, b = views()
    ids = torch.tensor([0, 1, 2, 3, 4, 5, 1])
    found = [contrast for pair in PAIRINGS.values() for contrast in pair(a, b, ids)]
    queue = views(5, seed=1)[0]
    found.append(Contrast(a, b, queue, ids, torch.full((5,), -1)))
    exclude = torch.rand(7, 7, generator=torch.Generator().manual_seed(2)) < 0.3
    found.append(replace(cross_view(a, b, ids)[0], exclude=exclude))
    found.append(replace(same_view(a, b, ids)[0], exclude=exclude))
    return found


@pytest.mark.parametrize("block_rows", [None, 3])
@pytest.mark.parametrize(
    ("loss", "formula", "settings"),
    FORMULAS,
    ids=[f"{type(loss).__name__}-{settings}" for loss, _, settings in FORMULAS],
)
def test_loss_values_match_their_formulas(
    loss: ScoreLoss, formula: Callable[..., float], settings: Any, block_rows: int | None
) -> None:
    loss = loss.double()
    loss.block_rows = block_rows
    for contrast in cases(loss):
        expected = mean([formula(p, n, n, *settings) for p, n in scores_of(loss, contrast)])
        # What is learned starts as a float32.
        rel = 1e-6 if list(loss.parameters()) else 1e-9
        assert loss(contrast).item() == pytest.approx(expected, rel=rel, abs=1e-10)


@pytest.mark.parametrize(
    ("loss", "formula", "settings"),
    FORMULAS,
    ids=[f"{type(loss).__name__}-{settings}" for loss, _, settings in FORMULAS],
)
def test_loss_gradients_match_their_formulas(
    loss: ScoreLoss, formula: Callable[..., float], settings: Any
) -> None:
    """By central differences of the formula, its weights held fixed where they are detached."""
    pos, neg = 0.4, [0.3, -0.5, 0.15, 0.62]
    p = torch.tensor([pos], dtype=torch.float64, requires_grad=True)
    n = torch.tensor([neg], dtype=torch.float64, requires_grad=True)
    loss.double().per_anchor(p, n, torch.ones(1, 4, dtype=torch.bool)).sum().backward()
    assert p.grad is not None and n.grad is not None

    def value(at: Scores) -> float:
        return formula(at[0], at[1:], neg if loss.detached else at[1:], *settings)

    step, at = 1e-6, [pos, *neg]
    for i, slope in enumerate([*p.grad.tolist(), *n.grad[0].tolist()]):
        up, down = ([x + d * (i == j) for j, x in enumerate(at)] for d in (step, -step))
        expected = (value(up) - value(down)) / (2 * step)
        assert slope == pytest.approx(expected, rel=1e-6, abs=1e-7), f"by score {i}"


@trials(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 2**32),
    rows=st.integers(2, 7),
    width=st.integers(1, 5),
    tau=st.floats(0.05, 2),
    mu=st.floats(-1, 2),
    sigma=st.floats(0.3, 3),
    pairing=st.sampled_from(sorted(PAIRINGS)),
    form=st.sampled_from(["image", "sentence", "graph"]),
)
def test_adnce_matches_its_formula_for_any_setting(
    seed: int,
    rows: int,
    width: int,
    tau: float,
    mu: float,
    sigma: float,
    pairing: str,
    form: str,
) -> None:
    loss = ADNCE(temperature=tau, mu=mu, sigma=sigma, form=form)
    loss.block_rows = 3
    for contrast in PAIRINGS[pairing](*views(rows, width, seed), None):
        pairs = scores_of(loss, contrast)
        expected = mean([adnce(p, n, n, tau, mu, sigma, form) for p, n in pairs])
        assert loss(contrast).item() == pytest.approx(expected, rel=1e-9, abs=1e-9)


@pytest.mark.parametrize("radius", [0.01, 0.3, 1.0, 100.0])
@pytest.mark.parametrize("k", [1.2, 1.5, 2.0])
def test_cressie_read_is_the_largest_mean_in_the_ball(k: float, radius: float) -> None:
    """Duality: the value is the primal's, over weights within the ball."""
    loss = CressieReadDRO(k=k, radius=radius) if k < 2 else Chi2DRO(radius=radius)
    a, b = views(6)
    (contrast,) = cross_view(a, b)
    found = [cressie_read(p, n, n, k, radius) for p, n in scores_of(loss, contrast)]
    assert loss(contrast).item() == pytest.approx(mean(found), abs=2e-6)


def test_cressie_read_solves_long_rows_as_exactly_as_short_ones() -> None:
    a, b = views(1500, width=8)
    (contrast,) = cross_view(a, b)
    order, factor = 3.0, (1 + 1.5 * 0.5 * 1.0) ** (1 / 1.5)
    pos, neg = scores_of(CressieReadDRO(), Contrast(a[:1], b[:1], b, torch.zeros(1).long(),
                                                    torch.arange(1500)))[0]  # fmt: skip
    s = np.array(neg)
    dual = scipy.optimize.minimize_scalar(
        lambda v: v + factor * np.mean(np.maximum(s - v, 0) ** order) ** (1 / order),
        bounds=(-5, 1), method="bounded", options={"xatol": 1e-12},
    )  # fmt: skip
    first = replace(contrast, anchors=a[:1], positives=b[:1], anchor_ids=torch.zeros(1).long())
    assert CressieReadDRO()(first).item() == pytest.approx(dual.fun - pos, abs=1e-10)


def test_chi2_with_a_small_radius_is_mean_plus_deviation() -> None:
    a, b = views(9)
    (contrast,) = cross_view(a, b)
    loss = Chi2DRO(radius=0.005)
    expected = [
        mean(n) + math.sqrt(2 * 0.005) * float(np.std(n)) - p for p, n in scores_of(loss, contrast)
    ]
    assert loss(contrast).item() == pytest.approx(mean(expected), abs=1e-12)


def test_kl_dro_weighs_negatives_by_their_softmax() -> None:
    """The worst case's weights are softmax(s / tau), the gradient by the scores."""
    neg = torch.tensor([[0.3, -0.2, 0.7]], dtype=torch.float64, requires_grad=True)
    loss = KLDRO(temperature=0.2).double()
    loss.per_anchor(torch.zeros(1, dtype=torch.float64), neg, torch.ones(1, 3).bool()).backward()
    torch.testing.assert_close(neg.grad, (neg.detach() / loss.temperature).softmax(dim=1))


def test_kl_dro_at_its_best_tau_has_a_kl_divergence_equal_to_the_radius() -> None:
    """At the minimum over tau, KL(worst case, uniform) is eta: tau is the multiplier."""
    neg = torch.linspace(-0.5, 0.8, 40, dtype=torch.float64)[None]
    eta = 0.6
    best = scipy.optimize.minimize_scalar(
        lambda t: KLDRO(radius=eta, temperature=float(t)).double().per_anchor(
            torch.zeros(1, dtype=torch.float64), neg, torch.ones(1, 40).bool()).item(),
        bounds=(0.01, 5), method="bounded", options={"xatol": 1e-10},
    )  # fmt: skip
    weights = (neg[0] / best.x).softmax(dim=0)
    assert (weights * (weights * 40).log()).sum().item() == pytest.approx(eta, abs=1e-6)


def test_cressie_read_near_order_one_is_the_kl_ball() -> None:
    """k to 1: the value goes to that of KL-DRO at its best tau."""
    neg = torch.linspace(-0.5, 0.8, 40, dtype=torch.float64)[None]
    pos, keep = torch.zeros(1, dtype=torch.float64), torch.ones(1, 40).bool()

    def dual(tau: float) -> float:
        return KLDRO(radius=0.3, temperature=float(tau)).double().per_anchor(pos, neg, keep).item()

    kl = scipy.optimize.minimize_scalar(dual, bounds=(0.01, 5), method="bounded").fun
    gaps = [
        abs(CressieReadDRO(k=k, radius=0.3).per_anchor(pos, neg, keep).item() - kl)
        for k in (2.0, 1.5, 1.2, 1.05)
    ]
    assert all(small < large for large, small in pairwise(gaps))
    assert gaps[-1] < 0.01


# f-MICL


@pytest.mark.parametrize("name", [n for n in DIVERGENCES if DIVERGENCES[n].edge > 0])
def test_fmicl_with_the_cosine_is_the_conjugate_inside_its_domain(name: str) -> None:
    loss = FMICL(divergence=name, similarity="cosine", alpha=2.0)
    inside = min(DIVERGENCES[name].edge - EDGE_DISTANCE, 1.0)
    for s in (-0.9, -0.2, 0.3, 0.5, inside):
        value = loss.terms(torch.tensor([s], dtype=torch.float64))[0].item()
        assert value == pytest.approx(conjugate(name, s, loss.q), abs=1e-6)


def test_fmicl_with_the_cosine_continues_as_a_tangent_beyond_the_domain() -> None:
    for name, f in DIVERGENCES.items():
        scores = torch.linspace(-1, 1, 201, dtype=torch.float64, requires_grad=True)
        loss = FMICL(divergence=name, similarity="cosine")
        values = loss.terms(scores)[0]
        (slopes,) = torch.autograd.grad(values.sum(), scores)
        assert values.isfinite().all() and slopes.isfinite().all()
        assert (slopes[1:] >= slopes[:-1] - 1e-9).all(), "f* is convex, and so is what follows"
        if f.edge <= 1:
            beyond = scores.detach() > f.edge - EDGE_DISTANCE + 1e-9
            assert torch.allclose(slopes[beyond], slopes[beyond][:1])


CONVEX = ["kl", "js", "pearson", "hellinger", "tsallis", "vincze-le-cam"]


@pytest.mark.parametrize("name", sorted(DIVERGENCES))
def test_fmicl_negatives_are_least_at_the_simplex_or_collapse(name: str) -> None:
    """Gradient descent on the negative term alone, from random points on the sphere."""
    points, width = 6, 7
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(points, width, generator=generator, dtype=torch.float64, requires_grad=True)
    loss = FMICL(divergence=name)
    off = ~torch.eye(points, dtype=torch.bool)

    def negatives(rows: Tensor) -> Tensor:
        unit = normalize(rows, dim=1)
        return loss.terms((unit @ unit.T)[off])[0].mean()

    optimizer = torch.optim.LBFGS([x], max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        value = negatives(x)
        value.backward()
        return value

    optimizer.step(closure)
    unit = normalize(x.detach(), dim=1)
    gram = (unit @ unit.T)[off]
    simplex = torch.full_like(gram, -1 / (points - 1))
    if name in CONVEX:
        assert torch.allclose(gram, simplex, atol=1e-3)
    else:  # Two heaps of points are as good as the simplex, or better: nothing keeps them apart.
        heaps = torch.eye(width, dtype=torch.float64)[[0] * points]
        heaps[points // 2 :] *= -1
        assert negatives(heaps) <= negatives(simplex_points(points, width)) + 1e-9
        assert not torch.allclose(gram, simplex, atol=1e-3)


def simplex_points(points: int, width: int) -> Tensor:
    corners = torch.eye(points, dtype=torch.float64)
    centred = normalize(corners - corners.mean(dim=0), dim=1)
    return torch.cat([centred, torch.zeros(points, width - points)], dim=1)


def test_the_papers_printed_vincze_le_cam_is_wrong() -> None:
    """3 - 4/(u + 1) is 1 at u = 1, where f*(f'(1)) = f'(1) - f(1) = 0."""
    at_one = DIVERGENCES["vincze-le-cam"].neg(torch.zeros((), dtype=torch.float64), 3.0)
    assert at_one.item() == pytest.approx(0, abs=1e-15)


def test_pearson_is_a_second_moment() -> None:
    """L = -2 E+ G + E G^2 + const: Pearson's is 2 E+ G - E G^2 - 1 at alpha = 1."""
    a, b = views(6)
    loss = FMICL(divergence="pearson", alpha=1.0)
    (contrast,) = same_view(a, b)
    kernel = [(exp(2 * p - 2), [exp(2 * s - 2) for s in n]) for p, n in scores_of(loss, contrast)]
    squares = mean([mean([g * g for g in n]) for _, n in kernel])
    expected = 2 * mean([p for p, _ in kernel]) - squares
    assert -loss(contrast).item() == pytest.approx(expected - 1, abs=1e-12)


def test_kl_with_the_best_shift_is_at_most_infonce() -> None:
    """Donsker-Varadhan: -E s + log E e^s, per anchor, over the negatives and the positive."""
    a, b = views(8)
    (contrast,) = cross_view(a, b)
    tau = 0.5
    loss = InfoNCE(temperature=tau)
    shifted = [-p / tau + log(fsum(exp(s / tau) for s in n)) for p, n in scores_of(loss, contrast)]
    assert mean(shifted) <= loss(contrast).item()


# Limits and relations


def value_of(loss: Loss, contrasts: Sequence[Contrast]) -> Tensor:
    return torch.stack([loss(contrast) for contrast in contrasts]).mean()


def test_decoupled_adnce_with_a_wide_gaussian_is_dcl_over_the_mean() -> None:
    contrasts = cross_view(*views())
    wide = ADNCE(temperature=0.2, sigma=math.inf, form="graph")
    assert value_of(wide, contrasts).item() == pytest.approx(
        value_of(DCL(temperature=0.2, mean=True), contrasts).item(), abs=1e-12
    )


def test_detached_hcl_has_the_linear_part_of_adnces_weights() -> None:
    """beta = mu tau / sigma^2: what is left of ADNCE's is exp(-s^2 / (2 sigma^2))."""
    tau, mu, sigma = 0.3, 0.6, 0.8
    hcl_loss = HCL(temperature=tau, tau_plus=0.0, beta=mu * tau / sigma**2, detach=True)
    neg = torch.tensor([[0.5, -0.3, 0.2]], dtype=torch.float64)
    adnce_weight = ADNCE(temperature=tau, mu=mu, sigma=sigma).terms(neg)[1]
    hcl_weight = hcl_loss.terms(neg)[1]
    torch.testing.assert_close(adnce_weight, hcl_weight - neg**2 / (2 * sigma**2))


def test_rince_goes_to_infonce() -> None:
    """q to 0 gives InfoNCE plus log lambda; q = 1, lambda = 1 the plain sum of negatives."""
    contrasts = cross_view(*views())
    plain = value_of(InfoNCE(temperature=0.5), contrasts).item()
    gaps = [
        abs(value_of(RINCE(temperature=0.5, q=q, lam=0.3), contrasts).item() - plain - log(0.3))
        for q in (0.1, 0.01, 0.001)
    ]
    assert all(small < large / 5 for large, small in pairwise(gaps))
    at_one = [fsum(exp(s / 0.5) for s in n) for _, n in scores_of(RINCE(), contrasts[0])]
    loss = RINCE(temperature=0.5, q=1.0, lam=1.0)
    assert value_of(loss, contrasts).item() == pytest.approx(mean(at_one))


def test_llave_debiased_and_hcl_contain_infonce() -> None:
    contrasts = both_views(*views())
    plain = value_of(InfoNCE(temperature=0.5), contrasts).item()
    for loss in (
        LLaVE(temperature=0.5, alpha=0.0),
        Debiased(temperature=0.5, tau_plus=0.0),
        HCL(tau_plus=0.0, beta=0.0),
    ):
        assert value_of(loss, contrasts).item() == pytest.approx(plain, abs=1e-12)


def test_dclw_weighs_positives_over_the_whole_contrast() -> None:
    a, b = views()
    (contrast,) = both_views(a, b)
    loss = DCLW(temperature=0.2, sigma=0.5)
    pairs = scores_of(loss, contrast)
    average = mean([exp(p / 0.5) for p, _ in pairs])
    expected = mean(
        [-(2 - exp(p / 0.5) / average) * p / 0.2 + log(fsum(exp(s / 0.2) for s in n))
         for p, n in pairs]
    )  # fmt: skip
    for rows in (None, 2):
        loss.block_rows = rows
        assert loss(contrast).item() == pytest.approx(expected, abs=1e-12)


# SogCLR and iSogCLR


def test_sogclr_without_memory_is_dcl() -> None:
    contrasts = cross_view(*views())
    loss, plain = SogCLR(temperature=0.2, gamma=1.0), DCL(temperature=0.2, mean=True)
    a, b = (t.requires_grad_() for t in views())
    c, d = (t.requires_grad_() for t in views())
    for _ in range(3):
        value_of(loss, contrasts)
    value_of(loss, cross_view(a, b)).backward()
    (0.2 * value_of(plain, cross_view(c, d))).backward()
    torch.testing.assert_close(a.grad, c.grad)
    assert value_of(loss, contrasts).item() == pytest.approx(
        0.2 * value_of(plain, contrasts).item(), abs=1e-12
    )


@pytest.mark.parametrize("block_rows", [None, 2])
def test_sogclr_keeps_a_moving_average_by_id(block_rows: int | None) -> None:
    tau, gamma = 0.3, 0.6
    loss = SogCLR(temperature=tau, gamma=gamma).double()
    loss.block_rows = block_rows
    u: dict[int, float] = {}
    for step, ids in enumerate([[4, 9, 2], [9, 4, 30], [4, 2, 9]]):
        a, b = views(3, seed=step)
        (contrast,) = cross_view(a, b, torch.tensor(ids))
        pairs = scores_of(loss, contrast)
        for i, (_, n) in zip(ids, pairs, strict=True):
            g = mean([exp(s / tau) for s in n])
            u[i] = g if i not in u else (1 - gamma) * u[i] + gamma * g
        value = loss(contrast).item()
        expected = mean([tau * log(u[i]) - p for i, (p, _) in zip(ids, pairs, strict=True)])
        assert value == pytest.approx(expected, abs=1e-10)
    for i, expected in u.items():
        assert loss.log_u[i].exp().item() == pytest.approx(expected, rel=1e-10)
    assert loss.log_u.isnan().sum() == len(loss.log_u) - len(u), "only what was seen is known"


class RunningDenominators:
    """SogCLR and iSogCLR as their authors' code computes them, on both views.

    From the unimodal losses of github.com/zhqiu/contrastive-learning-iSogCLR and LibAUC's
    ``GCLoss_v1``: u is of e^{s/tau}; the weights e^{s/tau}/u have no gradient; the slope of
    tau is averaged over the views, cut to [-3, 3], and smoothed. Halved, as ours is the
    mean over both views' anchors and theirs the sum over the views.
    """

    def __init__(self, tau: float, gamma: float, *, rho: float = 0.0, rate: float = 0.0,
                 beta: float = 1.0, low: float = 0.05, high: float = 1.0) -> None:  # fmt: skip
        self.gamma, self.rho, self.rate, self.beta = gamma, rho, rate, beta
        self.low, self.high = low, high
        self.u = torch.full((50,), torch.nan, dtype=torch.float64)
        self.tau = torch.full((50,), tau, dtype=torch.float64)
        self.step = torch.zeros(50, dtype=torch.float64)

    def __call__(self, a: Tensor, b: Tensor, ids: Tensor) -> Tensor:
        count, rows = len(a), torch.cat([normalize(a, dim=1), normalize(b, dim=1)])
        scores, positives = rows @ rows.T, (rows[:count] * rows[count:]).sum(dim=1).repeat(2)
        others = ~torch.eye(count, dtype=torch.bool).repeat(2, 2)
        tau, old = self.tau[ids].repeat(2), self.u[ids].repeat(2)
        raised = torch.where(others, (scores.detach() / tau[:, None]).exp(), 0.0)
        g = raised.sum(dim=1) / (2 * count - 2)
        u = torch.where(old.isnan(), g, (1 - self.gamma) * old + self.gamma * g)
        weights = raised / u[:, None] / (2 * count - 2)
        self.u[ids] = u.view(2, count).mean(dim=0)
        slope = u.log() + self.rho - (weights * scores.detach() / tau[:, None]).sum(dim=1)
        slope = slope.view(2, count).mean(dim=0).clamp(-3, 3)
        self.step[ids] = (1 - self.beta) * self.step[ids] + self.beta * slope
        self.tau[ids] = (self.tau[ids] - self.rate * self.step[ids]).clamp(self.low, self.high)
        return ((weights * scores).sum(dim=1) - positives).mean()


VISITS = [[4, 9, 2, 7], [9, 4, 30, 2], [4, 2, 9, 30], [2, 7, 4, 9]]


@pytest.mark.parametrize("block_rows", [None, 3])
@pytest.mark.parametrize("individual", [False, True])
def test_sogclr_and_isogclr_match_their_authors_code_over_several_visits(
    individual: bool, block_rows: int | None
) -> None:
    if individual:
        given = {"gamma": 0.8, "rho": 0.4, "low": 0.05, "high": 0.12}
        loss: SogCLR | ISogCLR = ISogCLR(temperature=0.1, tau_rate=0.03, momentum=0.5, **given)
        theirs = RunningDenominators(0.1, rate=0.03, beta=0.5, **given)
    else:
        loss, theirs = SogCLR(temperature=0.2, gamma=0.6), RunningDenominators(0.2, 0.6)
    loss = loss.double()
    loss.block_rows = block_rows
    for step, ids in enumerate(torch.tensor(VISITS)):
        ours, other = ([t.requires_grad_() for t in views(4, seed=step)] for _ in range(2))
        loss(*both_views(*ours, ids)).backward()
        theirs(*other, ids).backward()
        for mine, their in zip(ours, other, strict=True):
            torch.testing.assert_close(mine.grad, their.grad, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(loss.log_u[ids].exp(), theirs.u[ids])
        if individual:
            torch.testing.assert_close(loss.tau[ids], theirs.tau[ids])
    if individual:
        assert {0.05, 0.12} & {round(t, 9) for t in loss.tau.tolist()}, "a bound was reached"


def test_the_two_views_of_an_example_share_one_estimate() -> None:
    a, b = views(4)
    loss = SogCLR(temperature=0.3, gamma=1.0).double()
    (contrast,) = both_views(a, b)
    loss(contrast)
    g = [mean([exp(s / 0.3) for s in n]) for _, n in scores_of(loss, contrast)]
    for i in range(4):
        expected = log((g[i] + g[i + 4]) / 2)
        assert loss.log_u[i].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("make", [SogCLR, ISogCLR])
def test_state_changes_only_in_training_mode(make: Callable[[], Loss]) -> None:
    loss = make().double()
    (contrast,) = cross_view(*views())
    loss(contrast)
    before = {name: state.clone() for name, state in loss.state_dict().items()}
    loss.eval()
    loss(cross_view(*views(seed=5))[0])
    for name, state in loss.state_dict().items():
        assert (
            torch.equal(
                state,
                before[name],
            )
            or (state.isnan() == before[name].isnan()).all()
        )
    loss.train()
    loss(cross_view(*views(seed=5))[0])
    assert not torch.equal(loss.log_u, before["log_u"])


def test_isogclr_moves_each_temperature_down_its_gradient() -> None:
    tau, rho, rate = 0.3, 0.2, 0.05
    loss = ISogCLR(temperature=tau, rho=rho, gamma=1.0, tau_rate=rate, momentum=0.0).double()
    a, b = views(4)
    (contrast,) = cross_view(a, b)
    pairs = scores_of(loss, contrast)

    def value(p: float, n: Scores, t: float) -> float:
        return t * log(mean([exp(s / t) for s in n])) + t * rho - p

    assert loss(contrast).item() == pytest.approx(mean([value(p, n, tau) for p, n in pairs]))
    for i, (p, n) in enumerate(pairs):
        slope = (value(p, n, tau + 1e-6) - value(p, n, tau - 1e-6)) / 2e-6
        assert loss.tau[i].item() == pytest.approx(tau - rate * slope, abs=1e-8)
    again = mean([value(p, n, t) for (p, n), t in zip(pairs, loss.tau.tolist(), strict=False)])
    assert loss(contrast).item() == pytest.approx(again)


def test_isogclr_without_moving_state_is_dcl_and_clamps_its_slopes() -> None:
    contrasts = cross_view(*views())
    still = ISogCLR(temperature=0.2, gamma=1.0, tau_rate=0.0).double()
    expected = 0.2 * value_of(DCL(temperature=0.2, mean=True), contrasts).item() + 0.2 * 0.1
    for _ in range(2):
        assert value_of(still, contrasts).item() == pytest.approx(expected, abs=1e-12)
    fast = ISogCLR(temperature=0.2, tau_rate=1.0, low=0.15, high=0.25, momentum=0.0).double()
    for _ in range(3):
        value_of(fast, contrasts)
    assert ((fast.tau[:7] >= 0.15) & (fast.tau[:7] <= 0.25)).all()


# Losses of features


def test_align_uniform_matches_its_formula() -> None:
    a, b = views(6)
    x, y = normalize(a, dim=1), normalize(b, dim=1)

    def uniformity(rows: Tensor) -> float:
        return torch.pdist(rows).pow(2).mul(-2).exp().mean().log().item()

    expected = (x - y).pow(2).sum(dim=1).mean().item() + (uniformity(x) + uniformity(y)) / 2
    loss = AlignUniform()
    for rows in (None, 2):
        loss.block_rows = rows
        found = value_of(loss, PAIRINGS["same_view_symmetric"](a, b, None))
        assert found.item() == pytest.approx(expected, abs=1e-12)


def test_vicreg_matches_its_formula() -> None:
    a, b = (t.numpy() for t in views(9, 5))
    terms = 25 * np.mean((a - b) ** 2)
    for rows in (a, b):
        deviation = np.sqrt(rows.var(axis=0, ddof=1) + 1e-4)
        terms += 25 * 0.5 * np.mean(np.maximum(0, 1 - deviation))
        covariance = np.cov(rows.T)
        terms += (np.sum(covariance**2) - np.sum(np.diag(covariance) ** 2)) / 5
    assert VICReg()(*cross_view(*views(9, 5))).item() == pytest.approx(terms, abs=1e-12)


def test_barlow_twins_matches_its_formula() -> None:
    a, b = (t.numpy() for t in views(9, 5))
    x, y = ((t - t.mean(axis=0)) / np.sqrt(t.var(axis=0) + 1e-5) for t in (a, b))
    correlation = x.T @ y / 9
    on = np.sum((np.diag(correlation) - 1) ** 2)
    off = np.sum(correlation**2) - np.sum(np.diag(correlation) ** 2)
    assert BarlowTwins()(*cross_view(*views(9, 5))).item() == pytest.approx(on + 0.0051 * off)


@pytest.mark.parametrize("loss", [VICReg(), BarlowTwins()])
def test_losses_with_variances_refuse_a_batch_of_one(loss: Loss) -> None:
    with pytest.raises(InputError, match=r"must have at least 2 rows: got 1\. Raise the task's"):
        loss(*cross_view(*views(1)))


def test_regression_and_prototypes_match_their_formulas() -> None:
    a, b = views(5)
    cosines = [p for p, _ in scores_of(InfoNCE(), cross_view(a, b)[0])]
    found = Regression()(*cross_view(a, b)).item()
    assert found == pytest.approx(mean([2 - 2 * c for c in cosines]), abs=1e-12)
    targets = torch.rand(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    targets /= targets.sum(dim=1, keepdim=True)
    contrast = replace(cross_view(a, b)[0], targets=targets)
    logits = normalize(a, dim=1) @ normalize(b, dim=1).T / 0.1
    expected = -(targets * (logits.exp() / logits.exp().sum(dim=1, keepdim=True)).log()).sum() / 5
    assert Prototypes()(contrast).item() == pytest.approx(expected.item(), abs=1e-12)


def test_prototypes_need_targets() -> None:
    with pytest.raises(InputError, match=r"`targets` must hold the anchors' assign.* got None"):
        Prototypes()(*cross_view(*views()))


def test_spectral_scales_long_projections_down_and_leaves_short_ones() -> None:
    a = torch.tensor([[3.0, 0.0], [0.0, 0.5]], dtype=torch.float64)
    assert Spectral(radius=1.0).embed(a).tolist() == [[1.0, 0.0], [0.0, 0.5]]
    gradient = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    Spectral()(*cross_view(gradient, a)).backward()
    assert gradient.grad is not None and gradient.grad.isfinite().all()


# Presets


PRESETS = [
    ("adnce_image_paper", "adnce(temperature=0.4, mu=0.7, sigma=0.5)", "both_views"),
    ("adnce_sentence_paper", "adnce(temperature=0.07, mu=0.4, form=sentence)", "cross_view"),
    ("adnce_image_paper(data='stl10')", "adnce(temperature=0.2, mu=0.8)", "both_views"),
    (
        "adnce_sentence_paper(data='roberta')",
        "adnce(temperature=0.06, mu=2, form=sentence)",
        "cross_view",
    ),
    ("adnce_graph_paper", "adnce(temperature=0.2, mu=0.2, form=graph)", "cross_view"),
    (
        "adnce_graph_paper(data='imdb-b', mu=0.5)",
        "adnce(temperature=0.55, mu=0.5, form=graph)",
        "cross_view",
    ),
    ("sogclr_paper", "sogclr(temperature=0.1, gamma=0.9)", "both_views"),
    (
        "isogclr_paper",
        "isogclr(temperature=0.1, rho=0.4, gamma=0.8, tau_rate=0.03, momentum=0.5, low=0.05)",
        "both_views",
    ),
    ("simclr", "infonce(temperature=0.5)", "both_views"),
    ("grace", "infonce(temperature=0.4)", "both_views"),
    ("simcse", "infonce(temperature=0.05)", "cross_view"),
    ("mnrl", "infonce(temperature=0.05)", "cross_view"),
    ("clip", "infonce(temperature=0.07)", "cross_view_symmetric"),
    ("debiased_paper", "debiased(temperature=0.5)", "both_views"),
    ("rince_paper", "rince(temperature=0.5, q=0.5)", "both_views"),
    ("hcl_paper", "hcl", "both_views"),
    ("fmicl_image_paper(divergence=js)", "fmicl(divergence=js)", "same_view"),
    ("fmicl_text_paper", "fmicl(alpha=409600, sigma=0.15811388300841897)", "same_view"),
]


@pytest.mark.parametrize(("preset", "spec", "pairing"), PRESETS)
def test_presets_equal_the_published_settings_and_pairing(
    preset: str, spec: str, pairing: str
) -> None:
    one, other = plugins.build("losses", preset), plugins.build("losses", spec)
    assert one.pairing == pairing
    for contrast in PAIRINGS[pairing](*views(), None):
        assert torch.equal(one(contrast), other(contrast))


def test_all_thirteen_published_settings_of_adnce_are_presets() -> None:
    families = {"image": ADNCE_IMAGES, "sentence": ADNCE_SENTENCES, "graph": ADNCE_GRAPHS}
    assert sum(map(len, families.values())) == 13
    for form, published in families.items():
        for data, settings in published.items():
            made: ADNCE = plugins.build("losses", f"adnce_{form}_paper(data='{data}')")
            assert (made.temperature, made.mu, made.sigma) == settings
            assert made.form == form


def test_a_preset_refuses_what_was_not_published() -> None:
    with pytest.raises(InputError, match=r"`data` must be one of 'cifar10', .*: got 'svhn'"):
        plugins.build("losses", "adnce_image_paper(data='svhn')")
    for name in ("fmicl_image_paper", "fmicl_text_paper"):
        for divergence in FMICL_DIVERGENCES:
            plugins.build("losses", f"{name}(divergence='{divergence}')")
        with pytest.raises(InputError, match=r"`divergence` must be one of .*: got 'neyman'"):
            plugins.build("losses", f"{name}(divergence='neyman')")


def test_a_critic_is_the_cosine_over_the_temperature_or_the_dot_product() -> None:
    a, b = views(5)
    scaled = value_of(DV(temperature=0.2), cross_view(a, b))
    unit = [normalize(rows, dim=1) * 0.2**-0.5 for rows in (a, b)]
    assert scaled.item() == pytest.approx(value_of(DV(temperature=None), cross_view(*unit)).item())


def test_settings_that_overflow_are_refused() -> None:
    with pytest.raises(InputError, match=r"`q` / `temperature` must be at most 60.* Lower `q`"):
        RINCE(temperature=0.005, q=0.5)


def test_a_state_is_loaded_into_the_losss_own_dtype() -> None:
    saved, loaded = SogCLR(), SogCLR().double()
    saved(*cross_view(*(t.float() for t in views())))
    loaded.load_state_dict(saved.state_dict())
    assert loaded.log_u.dtype == torch.float64
    torch.testing.assert_close(loaded.log_u[:7].float(), saved.log_u[:7])


def test_evaluating_leaves_the_state_tables_unchanged() -> None:
    loss = SogCLR().eval()
    (contrast,) = cross_view(*views())
    fresh = loss(contrast).item()
    assert len(loss.log_u) == 0
    assert fresh == pytest.approx(SogCLR()(contrast).item())


def test_ids_that_no_table_can_hold_are_refused() -> None:
    a, b = views(2)
    for ids in ([0, 2**40], [-1, 3]):
        with pytest.raises(InputError, match=r"`anchor_ids` must be 0 to .* Number the examples"):
            SogCLR()(*cross_view(a, b, torch.tensor(ids)))


def test_uniformity_leaves_out_anchors_without_a_negative() -> None:
    a, b = views(6)
    exclude = torch.zeros(6, 6, dtype=torch.bool)
    exclude[0] = True
    contrast = replace(same_view(a, b)[0], exclude=exclude)
    x, y = normalize(a, dim=1), normalize(b, dim=1)
    kernel = torch.exp(-2 * (2 - 2 * x @ x.T))
    rest = [kernel[i][torch.arange(6) != i].mean() for i in range(1, 6)]
    expected = (x - y).pow(2).sum(dim=1).mean() + torch.stack(rest).mean().log()
    assert AlignUniform()(contrast).item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_row_of_zeros_gets_no_gradient(dtype: torch.dtype) -> None:
    a, b = (t.to(dtype) for t in views())
    a[2] = 0
    a.requires_grad_()
    value_of(InfoNCE(), cross_view(a, b)).backward()
    assert a.grad is not None and a.grad.isfinite().all()
    assert not a.grad[2].any()


@pytest.mark.parametrize(
    ("loss", "plain"),
    [
        # In 17 steps progress moves by 1/16; two periods of 8 steps, from high to low and back.
        (
            InfoNCECosine(low=0.2, high=0.6, periods=2.0),
            {
                0: InfoNCE(temperature=0.6),
                2: InfoNCE(temperature=0.4),
                4: InfoNCE(temperature=0.2),
                8: InfoNCE(temperature=0.6),
                16: InfoNCE(temperature=0.6),
            },
        ),
        (
            HCLCurriculum(start=0.5, beta=2.5),
            {0: HCL(beta=0.5), 8: HCL(beta=1.5), 16: HCL(beta=2.5)},
        ),
        (HCLCurriculum(start=0.0), {0: Debiased(temperature=0.5), 16: HCL()}),
    ],
)
def test_a_schedule_gives_each_step_its_setting(loss: Loss, plain: dict[int, Loss]) -> None:
    contrast = both_views(*views())[0]
    for step, fixed in plain.items():
        loss.before_step(step, 17)
        assert loss(contrast).item() == pytest.approx(fixed(contrast).item(), rel=1e-6)


def test_a_schedule_of_one_step_stays_at_its_start() -> None:
    loss = HCLCurriculum(start=0.5)
    loss.before_step(0, 1)
    assert loss.hardness() == 0.5


def test_a_learned_temperature_is_clamped_before_a_step_and_can_return() -> None:
    loss = InfoNCELearned(temperature=0.02, low=0.01).double()
    with torch.no_grad():
        loss.log_scale.fill_(9.0)
    loss.before_step(3, 10)
    assert loss.score_scale() == pytest.approx(100)
    a, b = views()
    loss(cross_view(a, b.flip(0))[0]).backward()
    assert loss.log_scale.grad is not None
    assert loss.log_scale.grad > 0  # Wrong positives: the scale falls, though it is at its limit.


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("infonce_cosine(low=0.5, high=0.1)", r"`high` must be .*0\.5.*: got 0\.1"),
        ("infonce_learned(temperature=0.001)", r"`temperature` must be .*0\.01.*: got 0\.001"),
    ],
)
def test_temperatures_in_the_wrong_order_are_refused(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plugins.build("losses", spec)


def supcon(contrast: Contrast, tau: float) -> float:
    """The published L_out, an anchor and a positive at a time; 0 for anchors without a positive."""
    anchors, rows = (normalize(t, dim=1).tolist() for t in (contrast.anchors, contrast.candidates))
    assert contrast.places is not None
    values = []
    for i, anchor in enumerate(anchors):
        others = [
            j
            for j in range(len(rows))
            if j != contrast.places[i]
            and not (contrast.exclude is not None and contrast.exclude[i, j])
        ]
        score = {j: fsum(x * y for x, y in zip(anchor, rows[j], strict=True)) / tau for j in others}
        positives = [j for j in others if contrast.candidate_ids[j] == contrast.anchor_ids[i]]
        total = fsum(exp(score[j]) for j in others)
        terms = [-log(exp(score[p]) / total) for p in positives]
        values.append(mean(terms) if terms else 0.0)
    return mean(values)


def contrasts_with_several_positives() -> dict[str, Contrast]:
    a, b = views()
    ids = torch.tensor([0, 1, 1, 2, 0, 1, 3])
    rows, row_ids, places = torch.cat([a, b]), torch.cat([ids, ids]), torch.arange(14)
    both = Contrast(rows, rows, rows, row_ids, row_ids, places=places)
    exclude = torch.rand(14, 14, generator=torch.Generator().manual_seed(2)) < 0.3
    order = torch.randperm(14, generator=torch.Generator().manual_seed(3))
    queue = torch.cat([b, a[:3]])
    queue_ids = torch.cat([ids, torch.full((3,), -1)])
    return {
        "both views": both,
        "one without a positive": Contrast(a, a, a, ids, ids, places=torch.arange(7)),
        "excluded": replace(both, exclude=exclude),
        "candidates in another order": replace(
            both, candidates=rows[order], candidate_ids=row_ids[order], places=order.argsort()
        ),
        "a queue": Contrast(a, b, queue, ids, queue_ids, places=torch.full((7,), -1)),
    }


@pytest.mark.parametrize("block_rows", [None, 3])
@pytest.mark.parametrize("name", contrasts_with_several_positives())
def test_supcon_matches_its_formula(name: str, block_rows: int | None) -> None:
    contrast = contrasts_with_several_positives()[name]
    loss = SupCon(temperature=0.3)
    loss.block_rows = block_rows
    assert loss(contrast).item() == pytest.approx(supcon(contrast, 0.3), rel=1e-9)
    rows = contrast.candidates.clone().requires_grad_()
    moved = replace(contrast, candidates=rows)  # Other anchors: they do not move here.

    def value(candidates: Tensor) -> Tensor:
        return loss(replace(moved, candidates=candidates))

    torch.autograd.gradcheck(value, rows)


def test_supcon_gradients_of_shared_rows_are_exact() -> None:
    contrast = contrasts_with_several_positives()["both views"]

    def value(rows: Tensor) -> Tensor:
        return SupCon(temperature=0.3)(replace(contrast, anchors=rows, candidates=rows))

    torch.autograd.gradcheck(value, contrast.anchors.clone().requires_grad_())


def test_supcon_with_one_positive_is_infonce() -> None:
    a, b = views()
    contrast = replace(both_views(a, b)[0], places=torch.arange(14))
    expected = InfoNCE(temperature=0.2)(contrast)
    torch.testing.assert_close(SupCon(temperature=0.2)(contrast), expected)


def test_supcon_without_any_positive_is_zero() -> None:
    rows, ids = views()[0].requires_grad_(), torch.arange(7)
    value = SupCon()(Contrast(rows, rows, rows, ids, ids, places=torch.arange(7)))
    value.backward()
    assert value.item() == 0
    assert rows.grad is not None and not rows.grad.any()


def test_supcon_needs_the_anchors_places() -> None:
    with pytest.raises(InputError, match=r"`places` must hold .*: got None. Use a method with sev"):
        SupCon()(both_views(*views())[0])


def test_a_preset_of_a_schedule_keeps_it() -> None:
    made = preset(
        "Cooled", InfoNCECosine, "Cool down.", "None.",
        label="Cooled", pairing="both_views", fixed={"periods": 0.5}, low=0.2, high=0.4,
    )  # fmt: skip
    loss = made()
    for step, temperature in ((0, 0.4), (9, 0.2)):
        loss.before_step(step, 10)
        assert loss.score_scale() == pytest.approx(1 / temperature)
