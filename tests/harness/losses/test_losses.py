"""Values of losses: published goldens, naive loops, limits and extremes."""

import math
from functools import partial

import mpmath
import pytest
import torch
from torch import Tensor

from harness import plugins
from harness.contrast import PAIRINGS, Contrast, both_views, cross_view
from harness.core.errors import InputError
from harness.losses.adnce import ADNCE
from harness.losses.base import Loss, ScoreLoss, masked_logsumexp
from harness.losses.dcl import DCL
from harness.losses.engine.rows import mean_by_rows
from harness.losses.hcl import Debiased
from harness.losses.infonce import InfoNCE
from harness.losses.sums import SumLoss
from harness.losses.supcon import SupCon
from harness.testing.common import value_of


def golden_views() -> tuple[Tensor, Tensor]:
    i = torch.arange(12, dtype=torch.float64).reshape(4, 3)
    normalize = torch.nn.functional.normalize
    return normalize(torch.sin(i + 1)), normalize(torch.cos(0.5 * i))


def objective(loss: Loss, contrasts: tuple[Contrast, ...]) -> Tensor:
    return value_of(loss, *contrasts)


# shared/reference/losses.md, float64. Its value for ADNCE (.2, .8, 1) is printed as
# 5.601320063493412; one digit of it is wrong: see test_golden_value_by_mpmath.
GOLDENS = [
    (InfoNCE(temperature=0.5), "both_views", 2.721928685090476),
    (ADNCE(temperature=0.4, mu=0.7, sigma=0.5), "both_views", 3.797646777487789),
    (ADNCE(temperature=0.2, mu=0.8, sigma=1), "both_views", 5.601320061493412),
    (InfoNCE(temperature=0.05), "cross_view", 19.578506611535708),
    (ADNCE(temperature=0.07, mu=0.4, sigma=1, form="sentence"), "cross_view", 14.148421807389285),
    (ADNCE(temperature=0.2, mu=0.2, sigma=1, form="graph"), "cross_view", 2.995604817403292),
    (Debiased(temperature=0.5, tau_plus=0.1), "both_views", 2.696824673462101),
    (DCL(temperature=0.2, mean=True), "cross_view", 2.921716140675485),
]


@pytest.mark.parametrize(("loss", "pairing", "value"), GOLDENS)
def test_golden_values(loss: Loss, pairing: str, value: float) -> None:
    contrasts = PAIRINGS[pairing](*golden_views(), None)
    assert objective(loss, contrasts).item() == pytest.approx(value, rel=0, abs=1e-12)


def test_golden_value_by_mpmath() -> None:
    """The formula of losses.md with 40 digits, for the golden value with the wrong digit."""
    with mpmath.workdps(40):

        def rows(f: object) -> list[list[object]]:
            matrix = [[f(mpmath.mpf(3 * r + c)) for c in range(3)] for r in range(4)]  # type: ignore[operator]
            return [[x / mpmath.norm(row) for x in row] for row in matrix]

        points = rows(lambda i: mpmath.sin(i + 1)) + rows(lambda i: mpmath.cos(i / 2))
        tau, mu, sigma = mpmath.mpf("0.2"), mpmath.mpf("0.8"), 1
        total = mpmath.mpf(0)
        for i in range(8):
            scores = [mpmath.fdot(points[i], other) for other in points]
            negatives = [scores[j] for j in range(8) if j % 4 != i % 4]
            g = [mpmath.exp(-((s - mu) ** 2) / (2 * sigma**2)) for s in negatives]
            mean = mpmath.fsum(g) / len(g)
            pulled = mpmath.exp(scores[(i + 4) % 8] / tau)
            weighted = zip(g, negatives, strict=True)
            pushed = mpmath.fsum(w / mean * mpmath.exp(s / tau) for w, s in weighted)
            total -= mpmath.log(pulled / (pulled + pushed))
        assert float(total / 8) == pytest.approx(5.601320061493412, rel=0, abs=1e-14)


def random_views(rows: int = 32, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    a, b = torch.randn(2, rows, 16, generator=generator, dtype=torch.float64)
    return a.to(dtype).requires_grad_(), (a + b).to(dtype).detach().requires_grad_()


@pytest.mark.parametrize("form", ["image", "sentence"])
def test_a_wide_gaussian_gives_infonce(form: str) -> None:
    contrasts = both_views(*random_views())
    wide = ADNCE(temperature=0.2, sigma=float("inf"), form=form)
    assert objective(wide, contrasts).item() == pytest.approx(
        objective(InfoNCE(temperature=0.2), contrasts).item(), rel=1e-12
    )


@pytest.mark.parametrize("form", ["image", "sentence", "graph"])
def test_adnce_weights_are_constants_in_the_gradient(form: str) -> None:
    """The gradient is that of the formula with fixed weights, not of the weights too."""
    (a, b), (c, d) = random_views(6), random_views(6)
    loss = ADNCE(temperature=0.3, mu=0.2, sigma=0.5, form=form)
    objective(loss, cross_view(a, b)).backward()
    x, y = (torch.nn.functional.normalize(t, dim=1) for t in (c, d))
    scores = x @ y.T
    off = torch.ones(6, 6) if form == "sentence" else 1 - torch.eye(6)
    density = torch.exp(-((scores.detach() - 0.2) ** 2) / (2 * 0.5**2)) * off
    weights = density / density.sum(dim=1, keepdim=True) * off.sum(dim=1)
    pulled = (scores.diagonal() / 0.3).exp()
    pushed = (weights * (scores / 0.3).exp()).sum(dim=1)
    below = {"image": pulled + pushed, "sentence": pushed, "graph": pushed / 5}[form]
    (-(pulled / below).log()).mean().backward()
    torch.testing.assert_close(a.grad, c.grad)
    torch.testing.assert_close(b.grad, d.grad)


def plain_infonce(contrast: Contrast, temperature: float) -> Tensor:
    """InfoNCE with the whole score matrix and autograd's own backward."""
    normalize = torch.nn.functional.normalize
    anchors, candidates = normalize(contrast.anchors), normalize(contrast.candidates)
    pos = (anchors * normalize(contrast.positives)).sum(dim=1) / temperature
    same = contrast.anchor_ids[:, None] == contrast.candidate_ids
    neg = (anchors @ candidates.T / temperature).masked_fill(same, -math.inf)
    logits = torch.cat([pos[:, None], neg], dim=1)
    return torch.nn.functional.cross_entropy(logits, torch.zeros(len(pos), dtype=torch.long))


def kinds_of_contrast(rows: int = 24) -> dict[str, tuple[Tensor, Tensor, Contrast]]:
    """Every way of evaluation: symmetric or not, few or many of an id, exclusions, a queue."""
    found = {}
    generator = torch.Generator().manual_seed(9)
    for name, ids in {
        "own ids": torch.arange(rows),
        "some twice": torch.arange(rows) % (rows - 5),
        "labels": torch.arange(rows) % 3,  # more of an id than are left out one by one
    }.items():
        for pairing, pair in PAIRINGS.items():
            a, b = random_views(rows)
            found[f"{pairing}, {name}"] = (a, b, pair(a, b, ids)[0])
    a, b = random_views(rows)
    queue = torch.randn(40, 16, generator=generator, dtype=torch.float64)
    ids = torch.arange(rows)
    found["queue"] = (a, b, Contrast(a, b, queue, ids, torch.full((40,), -1)))
    mixed = torch.arange(40) - 20  # anchors with and without a candidate of their id
    found["mixed"] = (a, b, Contrast(a, b, queue, ids, mixed))
    exclude = torch.rand(rows, rows, generator=generator) < 0.2
    found["exclude"] = (a, b, Contrast(a, b, b, ids, ids, exclude))
    found["exclude, symmetric"] = (a, b, Contrast(a, b, a, ids, ids, exclude))
    return found


SUM_LOSSES = [
    spec
    for spec in plugins.names("losses")
    if isinstance(plugins.build("losses", spec), SumLoss)
    # It adds something of its own to the mean; test_align_uniform_matches_its_formula has it.
    and spec != "align_uniform"
] + ["infonce(temperature=0.005)", "adnce(sigma=0.05, mu=2)"]


@pytest.mark.parametrize("spec", SUM_LOSSES)
def test_the_fast_paths_match_the_plain_computation(spec: str) -> None:
    """Strips and blocks of sums against ``per_anchor`` and autograd, a block at a time."""
    for name, (a, b, contrast) in kinds_of_contrast().items():
        results = []
        for plain, block_rows in ((True, None), (False, None), (False, 5)):
            loss = plugins.build("losses", spec).double()
            loss.block_rows = block_rows
            if plain:  # What mean_over_anchors is, without its short cuts.
                loss.mean_over_anchors = partial(mean_by_rows, loss)
            a.grad = b.grad = None
            value = value_of(loss, contrast)
            value.backward()
            own = [parameter.grad for parameter in loss.parameters()]
            results.append((value.detach(), a.grad, b.grad, *own))
        for other in results[1:]:
            for one, two in zip(results[0], other, strict=True):
                torch.testing.assert_close(one, two, rtol=1e-9, atol=1e-11, msg=f"{spec}: {name}")


def test_symmetric_contrasts_are_scored_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half the scores: the products of a pass cover the upper triangle and a block more."""
    widths: list[tuple[int, int]] = []
    loss = InfoNCE()
    loss.block_rows = 4
    terms = loss.terms
    monkeypatch.setattr(loss, "terms", lambda s: (widths.append(tuple(s.shape)), terms(s))[1])
    a, b = random_views(16)
    objective(loss, both_views(a, b)).backward()
    passes = [shape for shape in widths if len(shape) == 2]
    assert passes == [(4, 32 - start) for start in range(0, 32, 4)] * 2


@pytest.mark.parametrize("block_rows", [1, 7, 64])
@pytest.mark.parametrize("pairing", sorted(PAIRINGS))
def test_the_blocked_gradient_matches_the_plain_one(block_rows: int, pairing: str) -> None:
    (a, b), (c, d) = random_views(), random_views()
    ids = torch.arange(32) % 29
    loss = InfoNCE(temperature=0.1)
    loss.block_rows = block_rows
    one = objective(loss, PAIRINGS[pairing](a, b, ids))
    two = torch.stack([plain_infonce(k, 0.1) for k in PAIRINGS[pairing](c, d, ids)]).mean()
    (3 * one).backward()
    (3 * two).backward()
    torch.testing.assert_close(one, two)
    torch.testing.assert_close(a.grad, c.grad)
    torch.testing.assert_close(b.grad, d.grad)


class PerAnchorInfoNCE(ScoreLoss):
    """InfoNCE as a third party would write it, without sums."""

    def per_anchor(self, pos: Tensor, neg: Tensor, keep: Tensor) -> Tensor:
        negatives = masked_logsumexp(neg / 0.1, keep)
        return torch.logaddexp(negatives - pos / 0.1, torch.zeros_like(pos))


class Learned(ScoreLoss):
    """InfoNCE with a learned log temperature: a parameter of the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.log_scale = torch.nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def per_anchor(self, pos: Tensor, neg: Tensor, keep: Tensor) -> Tensor:
        scale = self.log_scale.exp()
        return torch.logaddexp(masked_logsumexp(neg * scale, keep), pos * scale) - pos * scale


def test_a_losss_own_parameters_get_their_gradient() -> None:
    loss, (a, b) = Learned(), random_views(8)
    loss.block_rows = 3

    def value(parameter: Tensor) -> Tensor:
        loss.log_scale.data = parameter.detach()
        return objective(loss, both_views(a, b))

    value(torch.tensor(1.0, dtype=torch.float64)).backward()
    step = 1e-6
    ends = [value(torch.tensor(1.0 + s, dtype=torch.float64)).item() for s in (-step, step)]
    assert loss.log_scale.grad is not None
    assert loss.log_scale.grad.item() == pytest.approx((ends[1] - ends[0]) / (2 * step), rel=1e-6)


def test_a_losss_frozen_parameter_gets_no_gradient() -> None:
    loss, (a, b) = Learned(), random_views(8)
    loss.log_scale.requires_grad_(False)
    objective(loss, both_views(a, b)).backward()
    assert loss.log_scale.grad is None
    assert a.grad is not None


def test_no_gradient_is_computed_under_no_grad(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = random_views(8)
    expected = objective(InfoNCE(), both_views(a, b))
    monkeypatch.setattr(torch.autograd, "grad", lambda *_, **__: pytest.fail("took a gradient"))
    with torch.no_grad():
        assert torch.equal(objective(InfoNCE(), both_views(a, b)), expected)


@pytest.mark.parametrize("form", ["image", "sentence", "graph"])
def test_a_contrast_without_candidates_has_loss_zero(form: str) -> None:
    """An empty queue: defined, and with a gradient that is zero."""
    for loss in (InfoNCE(), ADNCE(form=form)):
        a, b = random_views(3)
        empty = torch.zeros(0, 16, dtype=torch.float64)
        ids = torch.arange(3)
        value = loss(Contrast(a, b, empty, ids, torch.zeros(0, dtype=torch.int64)))
        value.backward()
        assert value.item() == 0
        assert a.grad is not None
        assert not a.grad.any()


def at_the_lowest_temperature() -> list[str]:
    """Return every loss that has a temperature, at .005; RINCE says that it would overflow."""
    specs = []
    for name in plugins.names("losses"):
        settings = plugins.settings("losses", name)
        if "temperature" in settings and not name.startswith("rince"):
            low = ", low=0.005" if "low" in settings else ""  # A learned temperature's bound.
            specs.append(f"{name}(temperature=0.005{low})")
    return specs


@pytest.mark.parametrize("spec", at_the_lowest_temperature())
def test_the_lowest_temperature_is_finite_in_float32(spec: str) -> None:
    for rows in (2, 32):
        exact, found = (
            objective(plugins.build("losses", spec).to(dtype), all_pairings(rows, dtype))
            for dtype in (torch.float64, torch.float32)
        )
        assert found.item() == pytest.approx(exact.item(), rel=1e-3, abs=1e-3)
        a, b = random_views(rows, torch.float32)
        loss = plugins.build("losses", spec)
        objective(loss, both_views(a, b)).backward()
        assert a.grad is None or a.grad.isfinite().all()


def all_pairings(rows: int, dtype: torch.dtype) -> tuple[Contrast, ...]:
    """Return the contrasts of every pairing."""
    a, b = (t.detach() for t in random_views(rows, dtype))
    return tuple(contrast for pair in PAIRINGS.values() for contrast in pair(a, b, None))


def test_an_overridden_per_anchor_of_is_used() -> None:
    class Halved(InfoNCE):
        def per_anchor_of(self, ids: Tensor, pos: Tensor, neg: Tensor, keep: Tensor) -> Tensor:
            return super().per_anchor_of(ids, pos, neg, keep) / 2

    contrasts = both_views(*golden_views())
    expected = objective(InfoNCE(), contrasts).item() / 2
    assert objective(Halved(), contrasts).item() == pytest.approx(expected)


def test_scores_other_than_cosines_do_not_overflow() -> None:
    class DotProducts(InfoNCE):
        def embed(self, rows: Tensor) -> Tensor:
            return rows

    a, b = random_views(8, torch.float32)
    value = objective(DotProducts(), both_views(10 * a, 10 * b))
    value.backward()
    c, d = (t.detach().double() for t in (a, b))
    exact = objective(DotProducts(), both_views(10 * c, 10 * d))
    assert value.item() == pytest.approx(exact.item(), rel=1e-5)
    assert a.grad is not None and a.grad.isfinite().all()


def test_per_anchor_without_a_negative_is_zero() -> None:
    loss, none = DCL(), torch.zeros(2, 3, dtype=torch.bool)
    assert loss.per_anchor(torch.ones(2), torch.zeros(2, 3), none).tolist() == [0.0, 0.0]


EXTREMES = [
    InfoNCE(temperature=0.005),
    *(ADNCE(temperature=0.005, mu=2.0, sigma=0.05, form=f) for f in ("image", "sentence", "graph")),
    *(ADNCE(temperature=0.07, mu=-3.0, sigma=0.01, form=f) for f in ("image", "sentence", "graph")),
]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("rows", [2, 32])
@pytest.mark.parametrize("loss", EXTREMES)
def test_extreme_scores_give_finite_values_close_to_float64(
    loss: ScoreLoss, rows: int, dtype: torch.dtype
) -> None:
    a, b = random_views(rows, dtype)
    value = objective(loss, both_views(a, b))
    value.backward()
    exact = objective(loss, both_views(a.detach().double(), b.detach().double()))
    assert value.item() == pytest.approx(exact.item(), rel=2e-2, abs=1e-3)
    for tensor in (a, b):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()


def test_autocast_does_not_lower_the_precision_of_scores() -> None:
    a, b = random_views(16, torch.float32)
    loss = InfoNCE(temperature=0.05)
    plain = objective(loss, both_views(a, b))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = objective(loss, both_views(a, b))
    assert torch.equal(plain, cast)


@pytest.mark.parametrize("form", ["image", "sentence", "graph"])
def test_an_anchor_without_negatives_has_loss_zero(form: str) -> None:
    a, b = random_views(3)
    for loss in (InfoNCE(), ADNCE(form=form)):
        value = objective(loss, cross_view(a, b, torch.zeros(3, dtype=torch.int64)))
        value.backward()
        assert value.item() == 0
        assert a.grad is not None
        assert not a.grad.any()


def test_memory_is_linear_in_the_batch() -> None:
    """No tensor of n x m elements is ever made."""
    largest = 0

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            nonlocal largest
            result = func(*args, **(kwargs or {}))
            for item in result if isinstance(result, tuple | list) else [result]:
                if isinstance(item, Tensor):
                    largest = max(largest, item.numel())
            return result

    a, b = random_views(3000, torch.float32)
    for loss in (ADNCE(), PerAnchorInfoNCE()):
        for contrasts in (both_views(a, b), cross_view(a, b)):
            with Watch():
                objective(loss, contrasts).backward()
    ids = torch.arange(6000) % 10
    rows = torch.cat([a, b])
    with Watch():
        SupCon()(Contrast(rows, rows, rows, ids, ids, places=torch.arange(6000))).backward()
    assert largest <= 2**19 + 2**13  # a block of scores; all of them are 36 million


class WrongShape(InfoNCE):
    def per_anchor(self, pos: Tensor, neg: Tensor, keep: Tensor) -> Tensor:
        return super().per_anchor(pos, neg, keep)[:, None]


class WrongSum(InfoNCE):
    def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
        return super().combine(pos, sums, count).mean()


@pytest.mark.usefixtures("as_a_user")
def test_per_anchor_must_return_one_value_per_anchor() -> None:
    with pytest.raises(InputError, match=r"`per_anchor` of WrongShape must return one value"):
        WrongShape()(*cross_view(*golden_views()))
    with pytest.raises(InputError, match=r"`combine` of WrongSum must return one value per anchor"):
        WrongSum()(*cross_view(*golden_views()))


def test_an_overridden_per_anchor_is_used() -> None:
    class Doubled(InfoNCE):
        def per_anchor(self, pos: Tensor, neg: Tensor, keep: Tensor) -> Tensor:
            return 2 * super().per_anchor(pos, neg, keep)

    contrasts = both_views(*golden_views())
    expected = 2 * objective(InfoNCE(), contrasts).item()
    assert objective(Doubled(), contrasts).item() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"temperature": 0.0},
            r"`temperature` must be .* at least 0\.0001 and at most .*: got 0\.0\.",
        ),
        ({"temperature": float("nan")}, r"`temperature` must be .*: got nan"),
        ({"sigma": -1.0}, r"`sigma` must be a number at least 0\.0001: got -1\.0"),
        ({"mu": float("inf")}, "`mu` must be a number at least -10 and at most 10: got inf"),
        ({"form": "text"}, "`form` must be one of 'image', 'sentence', 'graph': got 'text'"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ADNCE(**settings)  # type: ignore[arg-type]


def test_a_sum_loss_without_terms_or_scale_is_refused_at_definition() -> None:
    with pytest.raises(TypeError, match="Bare must define what a negative adds to the sum"):

        class Bare(SumLoss):
            def combine(self, pos: Tensor, sums: tuple[Tensor, ...], count: Tensor) -> Tensor:
                return sums[0]
