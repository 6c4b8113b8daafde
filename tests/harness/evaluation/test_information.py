"""Information losses, estimators of mutual information, and the task with the known answer."""

import math
from itertools import product
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from torch import Tensor, nn

from harness.contrast import Contrast, cross_view
from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.evaluation.diagnostics import Diagnosis
from harness.evaluation.information import ESTIMATORS, chi2, dv, infonce, nwj, smile, tight_kl
from harness.losses.adnce import ADNCE
from harness.losses.base import ScoreLoss
from harness.losses.infonce import InfoNCE
from harness.losses.information import DV, MAX_DEVIATION, NWJ, SMILE, Chi2Information, KLInformation
from harness.losses.vicreg import VICReg
from harness.methods.siamese import Siamese
from harness.testing import fresh_head, scores_of
from harness.training.loop import fit
from tasks.known.gaussian_mi import GaussianMI, Oracle, Pairs, Side, _best_scale, draw, nats_of_chi2

RANDOMNESS = Randomness("gaussian_mi", "", 0)
DOT: dict[str, Any] = {"temperature": None}
"""The critic that theory wants: dot products as they are."""

# Two anchors, two candidates each; one pair is no negative.
POS = torch.tensor([2.0, 1.0], dtype=torch.float64)
NEG = torch.tensor([[0.0, 1.0], [0.5, 77.0]], dtype=torch.float64)
KEEP = torch.tensor([[True, True], [True, False]])
E = math.e


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("infonce", (2 - math.log((E**2 + 1 + E) / 3) + 1 - math.log((E + E**0.5) / 2)) / 2),
        ("dv", 1.5 - math.log((1 + E + E**0.5) / 3)),
        ("nwj", (2 - (1 + E) / 2 / E + 1 - E**-0.5) / 2),
        ("smile", 1.5 - math.log((1 + E + E**0.5) / 3)),
        ("tight_kl", (2 - math.log((1 + E) / 2) + 1 - 0.5) / 2),
        ("chi2", 1.5 - 0.5 - 0.25 / 2),  # 0, 1, .5: variance .25
        ("chi2_per_anchor", (2 - 0.5 - 0.5 / 2 + 1 - 0.5 - 0) / 2),
    ],
)
def test_estimators_by_hand(name: str, value: float) -> None:
    assert ESTIMATORS[name](POS, NEG, KEEP).item() == pytest.approx(value, abs=1e-12)


def test_clips_by_hand() -> None:
    clipped = smile(POS, NEG, KEEP, clip=0.25).item()
    assert clipped == pytest.approx(1.5 - math.log((1 + 2 * E**0.25) / 3), abs=1e-12)
    with pytest.raises(InputError, match="`clip` must be a number above 0: got 0"):
        smile(POS, NEG, KEEP, clip=0)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_anchors_without_a_negative_are_left_out(name: str) -> None:
    pos, neg = torch.cat([POS, POS[:1] + 50]), torch.cat([NEG, NEG[:1] + 50])
    keep = torch.cat([KEEP, torch.zeros(1, 2, dtype=torch.bool)])
    estimator = ESTIMATORS[name]
    assert estimator(pos, neg, keep) == estimator(POS, NEG, KEEP)
    with pytest.raises(InputError, match="`keep` must give at least one anchor a negative"):
        estimator(POS, NEG, torch.zeros_like(KEEP))


def scores(seed: int, n: int, m: int, spread: float) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    drawn = spread * torch.randn(n, m + 1, generator=generator, dtype=torch.float64)
    keep = torch.rand(n, m, generator=generator) < 0.8
    keep[:, 0] = True
    return drawn[:, 0], drawn[:, 1:], keep


@trials(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 9), st.floats(0, 30))
def test_the_bounds_are_ordered_by_tightness(seed: int, n: int, m: int, spread: float) -> None:
    pos, neg, keep = scores(seed, n, m, spread)
    count = keep.sum(dim=1).double()
    assert infonce(pos, neg, keep) <= (1 + count).log().mean() + 1e-9  # log N, its cap
    # log(a) <= a / e: the tight dual form is above the loose one, where pairs weigh the same.
    whole = torch.ones_like(keep)
    assert dv(pos, neg, whole) >= nwj(pos, neg, whole) - 1e-9
    # A normaliser an anchor is tighter than one for all (Jensen).
    assert tight_kl(pos, neg, whole) >= dv(pos, neg, whole) - 1e-9
    # The variance is at most the mean square; (k - 1) / k of the unbiased one is the sample's.
    of_all = neg[keep]
    loose = pos.mean() - of_all.mean() - of_all.square().mean() / 2
    correction = of_all.var(correction=0) / 2 / max(len(of_all) - 1, 1)
    tight = chi2(pos, neg, keep) + correction
    # A very small spread is rounded in its own digits, not in those of its square.
    assert tight >= loose - 1e-9 * spread**2 - 1e-12 * spread


LOSSES: list[tuple[ScoreLoss, str]] = [
    (KLInformation(**DOT), "infonce"),
    (KLInformation(positive=False, **DOT), "tight_kl"),
    (Chi2Information(**DOT), "chi2_per_anchor"),
    (NWJ(**DOT), "nwj"),
    (DV(**DOT), "dv"),
]


@pytest.mark.parametrize(("loss", "name"), LOSSES, ids=[name for _, name in LOSSES])
@pytest.mark.parametrize("block_rows", [None, 2])
def test_minus_the_loss_is_its_estimator(
    loss: ScoreLoss, name: str, block_rows: int | None
) -> None:
    a, b = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    (contrast,) = cross_view(a, b)
    keep = ~torch.eye(7, dtype=torch.bool)
    loss.block_rows = block_rows
    expected = ESTIMATORS[name]((a * b).sum(1), a @ b.T, keep).item()
    assert -loss(contrast).item() == pytest.approx(expected, abs=1e-12)
    assert loss.estimator == name and loss.score_scale() == 1


def test_infonce_is_log_n_less_its_loss() -> None:
    a, b = torch.randn(2, 7, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = nn.functional.normalize(a), nn.functional.normalize(b)
    value = infonce(5 * (a * b).sum(1), 5 * a @ b.T, ~torch.eye(7, dtype=torch.bool))
    loss = InfoNCE(temperature=0.2)(*cross_view(a, b))
    assert value.item() == pytest.approx(math.log(7) - loss.item(), abs=1e-12)


def test_smile_s_loss_is_a_logistic_regression() -> None:
    a, b = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s = a @ b.T
    own, other = s.diagonal(), s[~torch.eye(4, dtype=torch.bool)]
    expected = -own.sigmoid().log().mean() - (-other).sigmoid().log().mean()
    assert SMILE(**DOT)(*cross_view(a, b)).item() == pytest.approx(expected.item(), abs=1e-12)


def test_dv_s_gradient_is_a_softmax_over_all_pairs() -> None:
    a, b = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    a, b = (40 * a).requires_grad_(), b.requires_grad_()
    loss = DV(**DOT)
    loss.block_rows = 2
    loss(*cross_view(a, b)).backward()
    found = a.grad, b.grad
    a.grad = b.grad = None
    s = a @ b.T
    (s[~torch.eye(5, dtype=torch.bool)].logsumexp(0) - s.diagonal().mean()).backward()
    torch.testing.assert_close(found, (a.grad, b.grad))


@pytest.mark.parametrize("size", [2, 3])
def test_chi2_information_is_unbiased(size: int) -> None:
    """The mean over all draws of a batch from four candidates is the population's value."""
    population = torch.tensor([0.3, -1.2, 2.0, 0.5], dtype=torch.float64)
    pos = torch.tensor([0.7], dtype=torch.float64)
    keep = torch.ones(1, size, dtype=torch.bool)
    values = [
        Chi2Information(**DOT).per_anchor(pos, population[list(drawn)][None], keep).item()
        for drawn in product(range(4), repeat=size)
    ]
    expected = population.mean() + population.var(correction=0) / 2 - 0.7
    assert sum(values) / len(values) == pytest.approx(expected.item(), abs=1e-12)


def test_chi2_information_is_the_pair_sum_of_lin_and_mei() -> None:
    s = torch.randn(5, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    k = len(s)
    value = 0.0
    for j in range(k):
        off = [s[j, i].item() for i in range(k) if i != j]
        pairs = sum((x - y) ** 2 for x in off for y in off)
        assert pairs == pytest.approx(2 * ((k - 1) * sum(x * x for x in off) - sum(off) ** 2))
        value += pairs / (4 * (k - 1) * (k - 2)) + sum(off) / (k - 1) - s[j, j].item()
    found = (
        Chi2Information(**DOT).per_anchor(s.diagonal(), s, ~torch.eye(k, dtype=torch.bool)).mean()
    )
    assert found.item() == pytest.approx(value / k, abs=1e-12)


def test_chi2_is_half_of_wu_et_al_s_form() -> None:
    pos, neg, _ = scores(0, 4, 6, 1.0)
    whole = torch.ones(4, 6, dtype=torch.bool)
    theirs = pos.mean() - neg.mean() - neg.var() / 4
    assert 2 * chi2(pos / 2, neg / 2, whole).item() == pytest.approx(theirs.item(), abs=1e-12)


def test_chi2_information_is_precise_for_scores_far_from_zero() -> None:
    """E s^2 - (E s)^2 in float32 would lose a variance of one beside 1e4."""
    neg = torch.tensor([[1e4, 1e4 + 1, 1e4 - 1]])
    value = Chi2Information(**DOT).per_anchor(torch.tensor([1e4]), neg, torch.ones(1, 3).bool())
    assert value.item() == 0.5


def test_extreme_scores_continue_the_loss_as_a_tangent() -> None:
    one = torch.ones(1, 1, dtype=torch.bool)
    high, higher = (
        NWJ(**DOT).per_anchor(torch.zeros(1), torch.tensor([[s]]), one).item() for s in (41.0, 51.0)
    )
    assert (high, higher) == pytest.approx((E**30 * 11, E**30 * 21), rel=1e-5)
    two = torch.ones(1, 2, dtype=torch.bool)
    neg = torch.tensor([[-1e15, 1e15]], dtype=torch.float64)
    value = Chi2Information(**DOT).per_anchor(torch.zeros(1, dtype=torch.float64), neg, two).item()
    assert value == pytest.approx(2 * MAX_DEVIATION * (1e15 - MAX_DEVIATION / 2))


@pytest.mark.parametrize(
    "loss",
    [
        KLInformation(**DOT),
        Chi2Information(**DOT),
        NWJ(**DOT),
        DV(**DOT),
        SMILE(**DOT),
    ],
)
def test_an_anchor_without_a_negative_has_information_loss_zero(loss: ScoreLoss) -> None:
    rows = torch.randn(3, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    ids = torch.zeros(3, dtype=torch.int64)
    value = loss(Contrast(rows, rows, rows, ids, ids))
    value.backward()
    assert value.item() == 0 and rows.grad is not None and not rows.grad.any()


# The true critic: what is known of each estimator


def batches(information: float, size: int, count: int, dimension: int = 4) -> tuple[Tensor, ...]:
    """Return the log density ratios of ``count`` batches, [count, size, size]."""
    generator = torch.Generator().manual_seed(0)
    pairs = draw(size * count, dimension, information, cubic=False, generator=generator)
    oracle = Oracle(dimension, information, cubic=False)
    x, y = (oracle(Side(rows, side)).reshape(count, size, -1) for side, rows in enumerate(pairs))
    return tuple(x @ y.transpose(1, 2))


def values_of(name: str, information: float, size: int, count: int) -> Tensor:
    keep = ~torch.eye(size, dtype=torch.bool)
    shift = 1.0 if name == "nwj" else 0.0
    return torch.stack(
        [
            ESTIMATORS[name](s.diagonal() + shift, s + shift, keep)
            for s in batches(information, size, count)
        ]
    )


@pytest.mark.parametrize("name", ["infonce", "dv", "nwj", "smile", "tight_kl"])
def test_the_true_critic_gives_the_information(name: str) -> None:
    values = values_of(name, 1.0, 256, 60)
    assert values.mean().item() == pytest.approx(1.0, abs=0.04)


def test_infonce_is_capped_and_the_others_are_not() -> None:
    """At I = 10 a batch of 32 has a cap of 3.47 nats; dv, tight and capless, is noise."""
    cap = math.log(32)
    assert values_of("infonce", 10.0, 32, 40).max() <= cap
    assert values_of("infonce", 10.0, 32, 40).mean() > 0.97 * cap
    assert values_of("tight_kl", 10.0, 32, 40).mean() > 2 * cap
    assert values_of("smile", 10.0, 32, 40).std() < values_of("dv", 10.0, 32, 40).std()


def test_the_tight_objective_has_no_minimum_where_positives_beat_all_negatives() -> None:
    """log mean e^{c s} <= c max s: where E s+ > E max s_j, scaling the critic pays for ever."""
    keep = ~torch.eye(32, dtype=torch.bool)
    for information, unbounded in ((2.0, False), (8.0, True)):
        ratios = torch.stack(batches(information, 32, 100))
        top = ratios.masked_fill(~keep, -torch.inf).amax(dim=2).mean()
        assert (ratios.diagonal(dim1=1, dim2=2).mean() > top) == unbounded
        values = [
            torch.stack([tight_kl(c * s.diagonal(), c * s, keep) for s in ratios]).mean().item()
            for c in (1, 10, 100)
        ]
        assert (values[2] > values[1] > values[0]) == unbounded
        assert (values[2] > 100 * information) == unbounded


def test_infonce_is_too_low_and_tight_kl_too_high() -> None:
    low, high = (values_of(name, 3.0, 64, 100).mean().item() for name in ("infonce", "tight_kl"))
    assert low < 3.0 < high


def test_nwj_s_variance_grows_like_e_to_the_information() -> None:
    """Song & Ermon: with n independent pairs, the normaliser's variance >= (e^I - 1) / n."""
    size, variances = 64, []
    for value in (0.5, 1.0, 1.5):
        generator = torch.Generator().manual_seed(1)
        x, _ = draw(size * 4000, 4, value, cubic=False, generator=generator)
        _, y = draw(size * 4000, 4, value, cubic=False, generator=generator)
        oracle = Oracle(4, value, cubic=False)
        ratio = (oracle(Side(x, 0)) * oracle(Side(y, 1))).sum(1).exp().reshape(4000, size)
        variances.append(ratio.mean(dim=1).var().item())
        assert variances[-1] > (math.exp(value) - 1) / size
    assert variances[0] < variances[1] / 2 < variances[2] / 4


# The task


@pytest.mark.parametrize("cubic", [False, True])
def test_the_pairs_have_their_information(cubic: bool) -> None:
    pairs = draw(40000, 2, 1.5, cubic=cubic, generator=torch.Generator().manual_seed(0))
    y = pairs.y.sign() * pairs.y.abs() ** (1 / 3) if cubic else pairs.y
    rho = torch.corrcoef(torch.cat([pairs.x, y], dim=1).T)[[0, 1], [2, 3]]
    assert (-0.5 * (1 - rho**2).log()).sum().item() == pytest.approx(1.5, abs=0.03)
    assert y.square().mean().item() == pytest.approx(1, abs=0.02)


def test_the_oracle_is_the_log_density_ratio() -> None:
    """Against the densities of scipy, y cubed too: the ratio has no Jacobian."""
    from scipy.stats import multivariate_normal as normal

    dimension, value = 2, 1.3
    rho = math.sqrt(-math.expm1(-2 * value / dimension))
    pairs = draw(5, dimension, value, cubic=False, generator=torch.Generator().manual_seed(0))
    joint = normal([0, 0], [[1, rho], [rho, 1]])
    for i in range(5):
        x, y = pairs.x[i].double(), pairs.y[i].double()
        expected = sum(
            joint.logpdf([p, q]) - normal(0, 1).logpdf(p) - normal(0, 1).logpdf(q)
            for p, q in zip(x.tolist(), y.tolist(), strict=True)
        )
        for cubic in (False, True):
            oracle = Oracle(dimension, value, cubic=cubic)
            side = Side((y**3 if cubic else y)[None], 1)
            found = (oracle(Side(x[None], 0)) * oracle(side)).sum().item()
            assert found == pytest.approx(expected, abs=1e-9)


def test_chi2_information_of_gaussians() -> None:
    rho_squared, dimension = 0.4, 3
    known = ((1 - rho_squared) ** -dimension - 1) / 2  # shared/reference/theory.md
    nats = nats_of_chi2(torch.tensor(known, dtype=torch.float64)).item()
    assert nats == pytest.approx(-dimension / 2 * math.log(1 - rho_squared), abs=1e-12)
    # s = 10 of theory.md: sigma1 = .5 and 1
    for rho, kl, chi in ((0.8, 5.108, 13675), (0.5, 1.438, 8.379)):
        assert -5 * math.log(1 - rho**2) == pytest.approx(kl, abs=5e-4)
        assert (math.exp(2 * -5 * math.log(1 - rho**2)) - 1) / 2 == pytest.approx(chi, rel=1e-4)


@pytest.fixture(scope="module")
def task() -> GaussianMI:
    made = GaussianMI(steps=150, scored=1024, hidden=64)
    made.load(RANDOMNESS)
    return made


def test_the_oracle_scores_nearly_all_of_the_information(task: GaussianMI) -> None:
    scores = {
        split: scores_of(task, task.reference("oracle"), split) for split in ("validation", "test")
    }
    for metrics in scores.values():
        assert 92 < metrics["information"] < 104
    cubed = GaussianMI(cubic=True, scored=1024)
    cubed.load(RANDOMNESS)
    assert 92 < scores_of(cubed, cubed.reference("oracle"), "test")["information"] < 104
    with pytest.raises(InputError, match="`name` must be one of 'oracle': got 'x'"):
        task.reference("x")


def test_the_probe_finds_the_scale() -> None:
    (ratios,) = batches(2.0, 1024, 1)
    factor, bound = _best_scale(0.01 * ratios)
    assert factor == pytest.approx(100, rel=0.15)
    assert bound == pytest.approx(2.0, abs=0.15)
    assert _best_scale(torch.zeros(8, 8))[1] == pytest.approx(0, abs=1e-5)
    assert _best_scale(-ratios) == (0.0, 0.0)  # Nothing that a factor above 0 could show.


def test_a_bound_without_information_is_zero(task: GaussianMI) -> None:
    """Whatever its scale: a collapsed encoder's rounding errors are no information."""

    class Nothing(nn.Module):
        def forward(self, side: Side) -> Tensor:
            return 1e3 + 1e-4 * torch.ones(len(side.rows), 3).cumsum(dim=0) ** 0.5

    assert scores_of(task, Nothing(), "test")["information"] == pytest.approx(0, abs=0.5)


NAMES = {"mi_true", "mi_cap", *(f"estimate_{name}" for name in ESTIMATORS)}
OWN = {"mi_estimate", "mi_bias", "mi_std"}
EACH = {f"estimate_{name}_std" for name in ESTIMATORS}


@pytest.mark.parametrize(
    ("loss", "more"),
    [
        (None, EACH),
        (InfoNCE(temperature=0.2), OWN),
        (ADNCE(temperature=0.2), OWN),
        (NWJ(**DOT), OWN),
        (SMILE(**DOT), OWN),
        (Chi2Information(**DOT), OWN),
    ],
)
def test_mi_estimate_is_the_losses_own_estimator(
    task: GaussianMI, loss: ScoreLoss | None, more: set[str]
) -> None:
    with RANDOMNESS.seeded("init"):
        encoder = task.encoder()
    with torch.no_grad(), RANDOMNESS.seeded("probe"):
        found = task.diagnose(encoder, fresh_head(task), loss)
    assert found.keys() == NAMES | more
    assert found["mi_true"] == 2.0 and found["mi_cap"] == math.log(128)
    assert found["estimate_infonce"] <= found["mi_cap"]
    if loss is not None:
        own = getattr(loss, "estimator", "infonce")
        assert found["mi_bias"] == pytest.approx(found["mi_estimate"] - 2.0)
        if own != "chi2_per_anchor":
            assert found["mi_estimate"] == pytest.approx(found[f"estimate_{own}"])


def test_diagnostics_of_the_oracle_are_unbiased_but_for_infonce(task: GaussianMI) -> None:
    with torch.no_grad(), RANDOMNESS.seeded("probe"):
        found = task.diagnose(task.reference("oracle"), fresh_head(task), None)
    for name in ("dv", "nwj", "smile"):
        assert found[f"estimate_{name}"] == pytest.approx(2.0, abs=0.1)
    assert found["estimate_infonce"] < 2.0 < found["estimate_tight_kl"]
    assert found["estimate_infonce_std"] < found["estimate_tight_kl_std"]


def test_a_loss_without_scores_has_only_the_true_information(task: GaussianMI) -> None:
    with torch.no_grad(), RANDOMNESS.seeded("probe"):
        found = task.diagnose(task.encoder(), fresh_head(task), VICReg())
    assert found.keys() == {"mi_true", "mi_cap"}


def test_diagnostics_see_no_test_pair_and_change_nothing(task: GaussianMI) -> None:
    with RANDOMNESS.seeded("init"):
        encoder = task.encoder()

    def diagnosed() -> Any:
        with torch.no_grad(), RANDOMNESS.seeded("probe"):
            batch = task.held_out()
            return task.diagnose(encoder, fresh_head(task), DV(**DOT)), batch.data.x.sum().item()

    before, test = diagnosed(), task._test
    task._test = Pairs(test.x * torch.nan, test.y * torch.nan)
    try:
        assert diagnosed() == before
    finally:
        task._test = test
    assert diagnosed() == before


def test_a_trained_critic_comes_near_the_truth() -> None:
    """The towers can hold the log density ratio: 2 nats of 2, but for the bound's own bias."""
    made = GaussianMI(steps=150, scored=1024, hidden=64)
    outcome = fit(made, Siamese(), KLInformation(**DOT), RANDOMNESS, diagnosis=Diagnosis)
    assert outcome.scores["validation"]["information"] > 80
    (first_step, first), (last_step, last) = outcome.diagnostics
    assert (first_step, last_step) == (0, 150)
    assert abs(last["mi_bias"]) < 0.4 < abs(first["mi_bias"])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"information": 0}, "`information` must be a number at least 0.01 and at most 16: got 0"),
        ({"information": 9.0, "dimension": 2}, "at most 8: got 9"),
        ({"width": 5}, "`width` must be at least `dimension` \\+ 2"),
        ({"batch_size": 1}, "`batch_size` must be a whole number at least 2 and at most 8192"),
        ({"scored": 1}, "`scored` must be a whole number at least 2"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        GaussianMI(**settings)
