"""Noise by choice in the task ``images``, and what is exact in the robust view of losses.

The second half is the part of Wu et al. (NeurIPS 2023, arXiv 2310.11048) that has known
answers: docs/theory-dro.md says what each means.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize_scalar
from torch import Tensor

from harness import plugins
from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.evaluation import diagnostics
from harness.losses.adnce import ADNCE
from harness.losses.base import ScoreLoss
from harness.losses.dro import Chi2DRO
from harness.losses.infonce import InfoNCE
from harness.losses.presets import ADNCE_GRAPHS, ADNCE_IMAGES, ADNCE_SENTENCES
from harness.task import Task
from harness.testing.tasks import (
    check_task_batches,
    check_task_gradient_reaches_parameters,
    check_task_is_repeatable,
    check_task_spec_round_trips,
    check_task_views_differ,
)
from tasks.images.images import Images
from tasks.images.noise import class_counts, compose, same_class_share, shuffled_pixels

RANDOMNESS = Randomness("images", "", 0)


def digits(**given: Any) -> Images:
    """Scikit-learn's digits, loaded: 10 classes of about 107 training images."""
    task = Images(**{"data": "digits", "batch_size": 64, "steps": 2, **given})
    task.load(RANDOMNESS)
    return task


def first_step(task: Images) -> tuple[Tensor, ...]:
    """Return indices, ids and both views of the first batch, as the loop draws them."""
    index = task.batch_index(RANDOMNESS, 0)
    batch = task.batch(index)
    with RANDOMNESS.seeded("views"):
        return index, batch.ids, *task.views(batch.data)


# False negatives


@given(st.floats(0.02, 0.98), st.integers(3, 600))
@settings(deadline=None, max_examples=60, derandomize=True)
def test_the_share_of_false_negatives_is_met(share: float, size: int) -> None:
    counts = class_counts(share, size)
    assert sum(counts) == size and min(counts) >= 1 and len(counts) >= 2
    assert same_class_share(counts) == pytest.approx(share, abs=2 / size)


@given(st.floats(0.1, 0.99))
@settings(deadline=None, max_examples=40, derandomize=True)
def test_no_more_classes_than_a_share_needs(share: float) -> None:
    """A share of 1/classes or more never asks for more classes than there are."""
    counts = class_counts(share, 256)
    assert len(counts) <= 10
    assert len(counts) == max(2, math.ceil(1 / (share + (1 - share) / 256)))


@pytest.mark.parametrize("share", [0.1, 0.37, 0.5, 0.8])
def test_an_anchors_negatives_are_of_its_class_as_often_as_chosen(share: float) -> None:
    task = digits(false_negatives=share)
    for step in range(3):
        batch = task.batch(task.batch_index(RANDOMNESS, step))
        assert batch.labels is not None
        assert len(batch.ids.unique()) == 64
        same = batch.labels[:, None] == batch.labels
        negatives = batch.ids[:, None] != batch.ids  # Of one view: both have the same labels.
        achieved = (same & negatives).sum(dim=1) / negatives.sum(dim=1)
        assert achieved.mean().item() == pytest.approx(share, abs=1 / 64)


def test_batches_are_drawn_anew_by_step_and_seed() -> None:
    task = digits(false_negatives=0.3)
    first, again = (task.batch_index(RANDOMNESS, 5) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, task.batch_index(RANDOMNESS, 6))
    assert not torch.equal(first, task.batch_index(Randomness("images", "", 1), 5))
    used = torch.cat([task.batch_index(RANDOMNESS, step) for step in range(150)])
    classes = task.batch(used).labels
    assert classes is not None
    assert classes.bincount().min() > 0.7 * len(used) / 10  # All classes alike.
    assert len(used.unique()) > 0.99 * task.train_size()


def test_classes_are_drawn_equally_often_whatever_their_size() -> None:
    members = [np.arange(0, 40), np.arange(40, 140), np.arange(140, 1140)]
    drawn = np.random.default_rng(0)
    rows = np.concatenate([compose(members, [20, 12], drawn) for _ in range(300)])
    shares = np.histogram(rows, [0, 40, 140, 1140])[0] / len(rows)
    np.testing.assert_allclose(shares, 1 / 3, atol=0.05)


def test_without_false_negatives_a_class_never_repels_itself() -> None:
    task, plain = digits(false_negatives=0), digits()
    index, ids, first, second = first_step(task)
    batch = task.batch(index)
    assert torch.equal(ids, batch.labels)
    expected = first_step(plain)
    for got, want in zip((index, first, second), (expected[0], *expected[2:]), strict=True):
        assert torch.equal(got, want)


def test_invalid_shares_of_false_negatives_are_refused(as_a_user: None) -> None:
    with pytest.raises(InputError, match=r"0, or at least 1 / the number of classes, 0\.1, and be"):
        digits(false_negatives=0.05)
    with pytest.raises(InputError, match=r"`false_negatives` must be below 1: got 1\."):
        Images(false_negatives=1.0)
    with pytest.raises(
        InputError, match=r"`false_negatives` must be a number at least 0: got -0\.1"
    ):
        Images(false_negatives=-0.1)
    with pytest.raises(InputError, match=r"`false_negatives` of .* must be a number: got 'many'"):
        plugins.build("tasks", "images(false_negatives='many')")
    with pytest.raises(
        InputError, match=r"a batch of 512 takes \d+ of one class, and the smallest"
    ):
        digits(false_negatives=0.9, batch_size=512)
    with pytest.raises(
        InputError, match=r"`batch_size` must be small enough .* a batch of 1079 takes"
    ):
        digits(false_negatives=0.5, batch_size=0)


def test_false_negatives_need_labels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_a_user: None
) -> None:
    monkeypatch.setattr("harness.data.require_counts", lambda *_: None)
    monkeypatch.setenv("TRIPTYCH_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "stl10_binary"
    folder.mkdir()
    for name, labels in (("train", b"\1\2\1\2"), ("test", b"\1\2"), ("unlabeled", b"\0\0\0")):
        pixels = np.random.default_rng(0).integers(0, 256, (len(labels), 3, 96, 96), np.uint8)
        (folder / f"{name}_X.bin").write_bytes(pixels.tobytes())
        (folder / f"{name}_y.bin").write_bytes(labels)
    task = Images(data="stl10", root=str(tmp_path), labels=1, validation=2, false_negatives=0)
    with pytest.raises(InputError, match="needs the label of every training image: got 3 without"):
        task.load(RANDOMNESS)


# Outliers and noisy views


def test_defaults_add_no_noise() -> None:
    task = digits()
    index, ids, first, second = first_step(task)
    assert torch.equal(index, Task.batch_index(task, RANDOMNESS, 0))
    numbers = task._division["train"][index]
    assert ids.tolist() == numbers.tolist()
    images = torch.from_numpy(task._pictures.images[numbers]).float() / 255
    with RANDOMNESS.seeded("views"):
        for view in (first, second):
            assert torch.equal(view, (task._views(images) - task._mean) / task._std)
    given = "images(false_negatives=None, outliers=0, noisy_views=0)"
    assert plugins.canonical("tasks", given) == plugins.canonical("tasks", "images") == "images"


def test_noise_leaves_the_other_rows_alone() -> None:
    plain, noisy = first_step(digits()), first_step(digits(outliers=0.25))
    for before, after in zip(plain[:2], noisy[:2], strict=True):
        assert torch.equal(before, after)
    changed = [(a != b).flatten(1).any(dim=1) for a, b in zip(plain[2:], noisy[2:], strict=True)]
    assert torch.equal(*changed)  # The same ones in both views.
    assert changed[0].sum() == 16
    _, _, first, second = first_step(digits(noisy_views=0.25))
    assert torch.equal(first, plain[2])
    moved = (second != plain[3]).flatten(1).any(dim=1)
    assert moved.sum() == 16
    flat = second.flatten(1)
    assert torch.equal(
        torch.sort(flat, dim=0).values, torch.sort(plain[3].flatten(1), dim=0).values
    )


def test_noisy_views_can_pair_outliers() -> None:
    task = digits(outliers=0.5, noisy_views=1.0)
    _, _, first, second = first_step(task)
    _, _, _, alone = first_step(digits(outliers=0.5))
    assert not (second == alone).flatten(1).all(dim=1).any()
    assert torch.equal(first, first_step(digits(outliers=0.5))[2])


def test_an_outlier_keeps_only_its_histogram() -> None:
    images = torch.arange(2 * 3 * 4 * 4).view(2, 3, 4, 4).float()
    torch.manual_seed(0)
    shuffled = shuffled_pixels(images)
    assert not torch.equal(shuffled, images)
    assert torch.equal(shuffled.flatten(2).sort().values, images.flatten(2))
    offsets = shuffled - shuffled[:, :1]  # A pixel's channels stay together.
    assert torch.equal(offsets, images - images[:, :1])


def test_invalid_shares_of_noise_are_refused(as_a_user: None) -> None:
    with pytest.raises(InputError, match="`outliers` must be a number at least 0 and at most 1"):
        Images(outliers=1.5)
    with pytest.raises(InputError, match=r"`outliers` must be 0, .* at least 1 of a batch's 64"):
        digits(outliers=0.001)
    with pytest.raises(InputError, match=r"`noisy_views` must be 0, .* at least 2 of a batch's 64"):
        digits(noisy_views=0.02)


def test_the_held_out_batch_is_of_validation_and_clean() -> None:
    task, plain = digits(outliers=0.5, noisy_views=0.5, false_negatives=0.4), digits()
    batch, other = task.held_out(), plain.held_out()
    assert len(batch.ids) == 256
    assert torch.equal(batch.ids, other.ids)
    assert set(batch.ids.tolist()) <= set(task._division["validation"].tolist())
    assert len(batch.ids.unique()) == 256
    assert batch.labels is not None
    assert batch.labels.bincount().min() >= 24  # Evenly over the classes.
    np.testing.assert_array_equal(batch.labels, task._pictures.labels[batch.ids])
    views = []
    for it, held in ((task, batch), (plain, other)):
        with RANDOMNESS.seeded("probe"):
            views.append(it.views(held.data))
    for one, two in zip(*views, strict=True):
        assert torch.equal(one, two)


NOISY = "images(data='digits', batch_size=64, steps=2, draws=1, false_negatives=0.3, "
NOISY += "outliers=0.2, noisy_views=0.2)"


@pytest.mark.parametrize(
    "check",
    [
        check_task_spec_round_trips,
        check_task_is_repeatable,
        check_task_batches,
        check_task_views_differ,
        check_task_gradient_reaches_parameters,
    ],
)
def test_contract(check: Callable[[str], None]) -> None:
    """The checks of training: the evaluation knows no noise."""
    check(NOISY)


# What is exact: scores as of an anchor's negatives in a batch of 128, both views


@pytest.fixture(scope="module")
def scores() -> tuple[Tensor, Tensor]:
    """Scores of 400 anchors with 254 negatives, N(.1, .2^2)."""
    generator = torch.Generator().manual_seed(0)
    drawn = 0.1 + 0.2 * torch.randn(400, 254, generator=generator, dtype=torch.float64)
    return drawn, torch.ones(400, 254, dtype=torch.bool)


def grid(points: int) -> tuple[Tensor, Tensor]:
    """The same distribution, by its quantiles: one anchor with many negatives."""
    levels = (torch.arange(points, dtype=torch.float64) + 0.5) / points
    row = (0.1 + 0.2 * torch.special.ndtri(levels))[None]
    return row, torch.ones_like(row, dtype=torch.bool)


def temperature_of(scores: Tensor, keep: Tensor, temperature: float) -> float:
    """Return sqrt(Var / (2 eta)), what the temperature should be by its second order."""
    radius = diagnostics.implied_radius(scores, keep, temperature)
    return math.sqrt(scores.var(dim=1, correction=0).mean().item() / (2 * radius.item()))


def test_the_radius_falls_with_the_temperature(scores: tuple[Tensor, Tensor]) -> None:
    radii = [diagnostics.implied_radius(*scores, t).item() for t in np.geomspace(0.01, 10, 25)]
    assert radii == sorted(radii, reverse=True)
    assert 0 < radii[-1] < radii[0] < math.log(254)  # The most that a worst case can gain.


@pytest.mark.parametrize("temperature", [0.05, 0.2, 1.0])
def test_the_temperature_is_the_radius_lagrange_multiplier(
    scores: tuple[Tensor, Tensor], temperature: float
) -> None:
    """The worst case within eta(tau) is E_Q s, and the dual's best temperature is tau."""
    row, keep = scores[0][:1], scores[1][:1]
    radius = diagnostics.implied_radius(row, keep, temperature).item()

    def dual(log_tau: float) -> float:
        tau = math.exp(log_tau)
        return tau * (radius + (row / tau).logsumexp(dim=1).item() - math.log(254))

    best = minimize_scalar(dual, bounds=(-5, 2), method="bounded", options={"xatol": 1e-9})
    assert math.exp(best.x) == pytest.approx(temperature, rel=1e-4)
    weights = diagnostics.worst_case_weights(row, keep, temperature)
    assert best.fun == pytest.approx((weights * row).sum().item(), rel=1e-9)


def test_the_effective_sample_size_is_one_over_the_squares(scores: tuple[Tensor, Tensor]) -> None:
    values, keep = scores
    sizes = []
    for temperature in (0.05, 0.1, 0.5, 10.0):
        weights = torch.softmax(values / temperature, dim=1)
        size = diagnostics.effective_sample_size(weights).item()
        assert size == pytest.approx((1 / weights.square().sum(dim=1)).mean().item())
        assert torch.allclose(weights, diagnostics.worst_case_weights(values, keep, temperature))
        sizes.append(size)
    assert sizes == sorted(sizes) and sizes[0] < 6 and sizes[-1] > 253


@pytest.mark.parametrize("temperature", [0.3, 0.5, 1.0, 3.0])
def test_the_temperature_is_that_of_the_second_order(
    scores: tuple[Tensor, Tensor], temperature: float
) -> None:
    assert temperature_of(*scores, temperature) == pytest.approx(temperature, rel=0.01)


def test_a_low_temperature_is_not_that_of_the_second_order(scores: tuple[Tensor, Tensor]) -> None:
    off = temperature_of(*scores, 0.05) / 0.05 - 1
    assert off == pytest.approx(0.44, abs=0.03)
    # Because negatives are few: eta is at most log m, and a Gaussian's is Var / 2 tau^2 = 8.
    offs = [temperature_of(*grid(m), 0.05) / 0.05 - 1 for m in (254, 10_000, 1_000_000)]
    assert offs == pytest.approx([0.424, 0.179, 0.055], abs=0.001)


@pytest.mark.parametrize(
    ("temperature", "gap", "within"), [(0.05, 0.08, 0.01), (0.2, 0.002, 0.003)]
)
def test_the_worst_case_is_mean_plus_variance_at_high_temperatures(
    scores: tuple[Tensor, Tensor], temperature: float, gap: float, within: float
) -> None:
    found = diagnostics.mean_variance_gap(*scores, temperature).item()
    assert found == pytest.approx(gap, abs=within)


def test_chi2s_worst_case_is_mean_and_deviation_while_no_weight_is_negative(
    scores: tuple[Tensor, Tensor],
) -> None:
    values, keep = scores[0][:50], scores[1][:50]
    mean = values.mean(dim=1)
    variance = values.var(dim=1, correction=0)
    edge = variance / (2 * (mean - values.min(dim=1).values) ** 2)  # The least weight is 0.

    def beyond(radius: float) -> Tensor:
        """Return how far mean and deviation overstate the worst case, an anchor each."""
        worst = Chi2DRO(radius=radius).per_anchor(torch.zeros_like(mean), values, keep)
        return mean + (2 * radius * variance).sqrt() - worst

    torch.testing.assert_close(beyond(edge.min().item()), torch.zeros_like(mean))
    assert (beyond(2 * edge.max().item()) > 1e-6).all()
    assert (beyond(1.0) > 0.01).all()  # The default radius is far beyond the edge here.


PUBLISHED = ADNCE_IMAGES | ADNCE_SENTENCES | ADNCE_GRAPHS


def weights_of(loss: ScoreLoss, values: Tensor) -> Tensor:
    """Return the loss's weights on an anchor's negatives, whose sum is 1."""
    keep = torch.ones_like(values, dtype=torch.bool)
    ids, pos = torch.zeros(len(values), dtype=torch.int64), torch.full((len(values),), 0.9)
    slopes = diagnostics.slopes_on_negatives(loss, ids, pos.to(values), values, keep)
    return slopes / slopes.sum(dim=1, keepdim=True)


@pytest.mark.parametrize("data", PUBLISHED)
def test_adnce_as_published_weighs_the_hardest_most(data: str) -> None:
    """Its weights peak at mu + sigma^2 / tau, and that is above the highest cosine."""
    temperature, mu, sigma = PUBLISHED[data]
    assert mu + sigma**2 / temperature > 1
    loss = ADNCE(temperature=temperature, mu=mu, sigma=sigma)
    weights = weights_of(loss, torch.linspace(-1, 1, 201, dtype=torch.float64)[None])
    assert (weights.diff(dim=1) > 0).all()


def test_a_narrow_adnce_does_not_weigh_the_hardest_most() -> None:
    scores = torch.linspace(-1, 1, 201, dtype=torch.float64)
    weights = weights_of(ADNCE(temperature=0.1, mu=0.4, sigma=0.2), scores[None])
    assert scores[weights.argmax()].item() == pytest.approx(0.4 + 0.2**2 / 0.1)


def test_adnce_as_published_is_often_more_conservative(
    scores: tuple[Tensor, Tensor],
) -> None:
    """Of 13 settings, 9 guard against a larger radius than InfoNCE of their temperature."""
    larger = []
    for data, (temperature, mu, sigma) in PUBLISHED.items():
        radii = []
        for loss in (
            InfoNCE(temperature=temperature),
            ADNCE(temperature=temperature, mu=mu, sigma=sigma),
        ):
            weights = weights_of(loss, scores[0])
            radii.append((torch.special.xlogy(weights, weights * 254)).sum(dim=1).mean().item())
        exact = diagnostics.implied_radius(*scores, temperature).item()
        assert radii[0] == pytest.approx(exact, rel=1e-5)
        if radii[1] > radii[0]:
            larger.append(data)
    assert len(larger) == 9, larger


def test_published_adnce_acts_like_a_temperature_and_narrow_adnce_does_not() -> None:
    """With as many effective negatives, InfoNCE has the same false-negative mass.

    A tenth of the negatives are of the anchor's class; means and deviations as measured on
    MNIST-5k (docs/theory-dro.md).
    """
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(100, 250, generator=generator, dtype=torch.float64)
    own = (torch.arange(250) < 25)[None].expand(100, -1)
    values = torch.where(own, 0.32 + 0.35 * normal, 0.34 * normal).clamp(-1, 1)

    def of(loss: ScoreLoss) -> tuple[float, float]:
        weights = weights_of(loss, values)
        size = diagnostics.effective_sample_size(weights).item()
        return size, (weights * own).sum(dim=1).mean().item()

    def mass_less_infonces(loss: ADNCE) -> float:
        size, mass = of(loss)
        same = brentq(lambda t: of(InfoNCE(temperature=t))[0] - size, 0.02, 2, xtol=1e-4)
        return mass - of(InfoNCE(temperature=same))[1]

    for data, (temperature, mu, sigma) in PUBLISHED.items():
        loss = ADNCE(temperature=temperature, mu=mu, sigma=sigma)
        assert abs(mass_less_infonces(loss)) < 0.005, data
    assert mass_less_infonces(ADNCE(mu=0.2, sigma=0.2)) < -0.015


def test_a_share_is_one_setting_however_it_is_written() -> None:
    specs = {
        plugins.canonical("tasks", f"images(false_negatives={share})") for share in ("0", "0.0")
    }
    assert specs == {"images(false_negatives=0.0)"}
