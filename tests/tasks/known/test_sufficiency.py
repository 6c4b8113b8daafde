"""Known information, exact sufficiency, the losses' expectations, and the three tasks."""

from collections.abc import Iterator
from functools import cache, partial
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from torch import nn

from harness import plugins
from harness.contrast import cross_view
from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.losses.infonce import InfoNCE
from harness.losses.information import Chi2Information, KLInformation
from harness.losses.vicreg import VICReg
from harness.testing import fresh_head, scores_of
from tasks.known.sufficiency import (
    DIVERGENCES,
    LABELLED,
    critic_risk,
    critic_rows,
    estimated_risk,
    gaussian_information,
    information,
    least_squares,
    log_sphere_mean,
    risks_of_critic,
    sphere_information,
    sufficiency,
)
from tasks.known.sufficiency_linear import SufficiencyLinear
from tasks.known.sufficiency_topics import SufficiencyTopics, WordTable, equally_common
from tasks.known.sufficiency_vmf import SufficiencyVMF

DOT: dict[str, Any] = {"temperature": None}
"""The critic that theory wants: dot products as they are."""

RANDOMNESS = Randomness("sufficiency", "", 0)


@pytest.fixture(autouse=True)
def no_gradients() -> Iterator[None]:
    with torch.no_grad():  # As the frame evaluates.
        yield


@cache
def loaded(kind: Any, **settings: Any) -> Any:
    task = kind(**settings)
    task.load(RANDOMNESS)
    return task


def random_joint(seed: int, rows: int = 4, columns: int = 5) -> np.ndarray:
    return np.random.default_rng(seed).dirichlet(np.ones(rows * columns)).reshape(rows, columns)


# Known information


@pytest.mark.parametrize(("noise", "kl", "chi2"), [(0.5, 5.108, 13675), (1.0, 1.438, 8.379)])
def test_information_of_gaussian_views(noise: float, kl: float, chi2: float) -> None:
    known = SufficiencyLinear(noise=noise).informations()
    assert known == pytest.approx({"kl": kl, "chi2": chi2}, rel=4e-4)


def test_information_of_directions() -> None:
    task = SufficiencyVMF(relevant=10, noise=1.0)
    assert task.kappa == pytest.approx(10 / 3)
    assert task.informations() == pytest.approx({"kl": 0.4899, "chi2": 0.683}, abs=5e-4)


def along_an_axis(p: int, function: Any) -> float:
    """Return the mean of ``function`` of one coordinate, uniform on the sphere, by quadrature."""

    def weight(t: float) -> float:
        return float((1 - t * t) ** ((p - 3) / 2))

    above = quad(lambda t: function(t) * weight(t), -1, 1, epsabs=1e-12)[0]
    return float(above / quad(weight, -1, 1, epsabs=1e-12)[0])


@pytest.mark.parametrize(("p", "kappa"), [(3, 0.5), (10, 10 / 3), (10, 30.0)])
def test_the_ratio_of_directions_is_divided_by_its_constant(p: int, kappa: float) -> None:
    constant = np.exp(log_sphere_mean(p, kappa))
    divided = along_an_axis(p, lambda t: np.exp(kappa * t) / constant)
    multiplied = along_an_axis(p, lambda t: np.exp(kappa * t) * constant)
    assert divided == pytest.approx(1, rel=1e-9)
    assert multiplied == pytest.approx(constant**2, rel=1e-9)  # As the paper has it: not 1.

    def ratio(t: float) -> float:
        return float(np.exp(kappa * t) / constant)

    kl = along_an_axis(p, lambda t: ratio(t) * np.log(ratio(t)))
    chi2 = along_an_axis(p, lambda t: (ratio(t) - 1) ** 2 / 2)
    assert sphere_information("kl", p, kappa) == pytest.approx(kl, rel=1e-8)
    assert sphere_information("chi2", p, kappa) == pytest.approx(chi2, rel=1e-8)


def test_known_information_refuses_an_unknown_divergence() -> None:
    with pytest.raises(InputError, match="`divergence` must be one of 'kl', 'chi2'"):
        gaussian_information("js", 0.5, 1)


# Finite joint distributions


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_sufficiency_is_zero_for_the_identity_and_maximal_for_a_constant(divergence: str) -> None:
    joint = random_joint(0)
    whole = information(divergence, joint)
    assert sufficiency(divergence, joint, np.arange(4)) == pytest.approx(0, abs=1e-12)
    assert sufficiency(divergence, joint, np.zeros(4, int)) == pytest.approx(whole)
    # The same critic's row twice is one row: nothing is lost where rows are alike.
    twice = np.concatenate([joint, joint]) / 2
    assert sufficiency(divergence, twice, np.tile(np.arange(4), 2)) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("divergence", DIVERGENCES)
def test_the_best_critic_has_minus_the_information_as_risk(divergence: str) -> None:
    joint = random_joint(1)
    ratio = joint / np.outer(joint.sum(axis=1), joint.sum(axis=0))
    best = np.log(ratio) if divergence == "kl" else ratio
    shifted = best + np.arange(4.0)[:, None]  # Any function of x is free.
    known = -information(divergence, joint)
    assert critic_risk(divergence, best, joint) == pytest.approx(known)
    assert critic_risk(divergence, shifted, joint) == pytest.approx(known)
    assert information("chi2", joint) == pytest.approx(
        (joint**2 / np.outer(joint.sum(axis=1), joint.sum(axis=0))).sum() / 2 - 0.5
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(DIVERGENCES))
def test_maps_lose_information_and_critics_lose_at_least_as_much(
    seed: int, divergence: str
) -> None:
    generator = np.random.default_rng(seed)
    joint = random_joint(seed, 6, 4)
    fine = generator.integers(4, size=6)
    coarse = generator.integers(3, size=4)[fine]
    lost = sufficiency(divergence, joint, fine)
    assert -1e-12 <= lost <= sufficiency(divergence, joint, coarse) + 1e-12
    assert sufficiency(divergence, joint, coarse) <= information(divergence, joint) + 1e-12
    of_map = generator.normal(size=(4, 4))[fine]  # A critic that sees x through `fine` alone.
    excess = critic_risk(divergence, of_map, joint) + information(divergence, joint)
    assert lost <= excess + 1e-12


def expected_loss(loss: nn.Module, a: np.ndarray, b: np.ndarray, joint: np.ndarray) -> float:
    """Return the mean of a loss over all batches of three pairs, each by its chance."""
    cells = list(np.ndindex(*joint.shape))
    total = 0.0
    for batch in product(cells, repeat=3):
        x, y = zip(*batch, strict=True)
        rows = torch.from_numpy(a[list(x)]), torch.from_numpy(b[list(y)])
        chance = np.prod([joint[cell] for cell in batch])
        total += float(chance) * loss(*cross_view(*rows)).item()
    return total


def test_losses_estimate_their_risks_over_all_batches() -> None:
    generator = np.random.default_rng(2)
    joint = random_joint(2, 2, 3)
    a, b = generator.normal(size=(2, 2)), generator.normal(size=(3, 2))
    scores = a @ b.T
    unbiased = expected_loss(Chi2Information(**DOT), a, b, joint)
    assert unbiased == pytest.approx(critic_risk("chi2", scores, joint), rel=1e-9)
    # The log of a mean of two is too low: Jensen.
    low = expected_loss(KLInformation(positive=False, **DOT), a, b, joint)
    assert low < critic_risk("kl", scores, joint) - 0.01


def test_the_paper_s_estimator_of_chi2_is_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 7, 4, generator=generator, dtype=torch.float64)
    scores, size = a @ b.T, 7
    each = []
    for j in range(size):
        others = [scores[j, k] for k in range(size) if k != j]
        pairs = sum(
            (others[k] - others[n]) ** 2 for k in range(size - 1) for n in range(size - 1) if k != n
        )
        each.append(pairs / (4 * (size - 1) * (size - 2)) + sum(others) / (size - 1) - scores[j, j])
    assert Chi2Information(**DOT)(*cross_view(a, b)).item() == pytest.approx(
        float(sum(each)) / size
    )


# Critics


def test_critic_rows_are_what_the_loss_exponentiates() -> None:
    rows = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    cosines = critic_rows(InfoNCE(temperature=0.5), rows)
    assert cosines is not None
    assert (cosines @ cosines.T).tolist() == [
        [pytest.approx(2.0), pytest.approx(1.6)],
        [pytest.approx(1.6), pytest.approx(2.0)],
    ]
    products = critic_rows(KLInformation(**DOT), rows)
    assert products is not None and (products @ products.T).tolist() == [[25, 8], [8, 4]]
    assert critic_rows(None, rows) is None
    assert critic_rows(VICReg(), rows) is None


def test_the_bound_is_the_gap_of_the_best_multiple() -> None:
    joint = random_joint(4)
    ratio = joint / np.outer(joint.sum(axis=1), joint.sum(axis=0))
    known = {name: information(name, joint) for name in DIVERGENCES}
    best = {"kl": np.log(ratio), "chi2": ratio}

    def risk(name: str, multiple: float, scale: float) -> float:
        return critic_risk(name, multiple * scale * best[name], joint)

    for scale in (1e-3, 1.0, 1e5):
        found = risks_of_critic(known, partial(risk, scale=scale))
        for name in DIVERGENCES:
            assert found[f"{name}_bound"] == pytest.approx(0, abs=1e-5)
            assert found[f"{name}_gap"] == found[f"{name}_risk"] + known[name]
            assert (found[f"{name}_gap"] < 1e-9) == (scale == 1)


# Linear regression


@pytest.mark.parametrize(("m", "excess"), [(150, 2.041), (500, 0.251)])
def test_direct_least_squares_has_its_known_excess_risk(m: int, excess: float) -> None:
    generator = np.random.default_rng(m)
    d, measured = 100, []
    for _ in range(60):
        x = generator.standard_normal((m, d))
        # <x, theta> is recovered exactly: what remains is the fit of the noise alone.
        fitted = least_squares(x, generator.standard_normal(m))
        measured.append(fitted @ fitted)
    assert d / (m - d - 1) == pytest.approx(excess, abs=1e-3)
    spread = np.std(measured) / len(measured) ** 0.5
    assert np.mean(measured) == pytest.approx(excess, abs=4 * spread)
    assert 4 * spread < 0.15 * excess


def test_references_of_the_linear_task() -> None:
    task = loaded(SufficiencyLinear)
    for name, d in (("direct", 100), ("oracle", 10)):
        excess = task.excess_risks(task.reference(name), "validation")
        for m in (150, 500, 1000):
            assert excess[m] == pytest.approx(d / (m - d - 1), rel=0.25)
    scores = scores_of(task, task.reference("oracle"), "validation")
    assert list(scores) == [f"explained_{m}" for m in LABELLED]
    assert scores["explained_500"] == pytest.approx(100 * (1 - excess[500]))
    constant = nn.Linear(100, 2)
    nn.init.zeros_(constant.weight)
    assert scores_of(task, constant, "test")["explained_20000"] == pytest.approx(0, abs=4)


@pytest.mark.parametrize("kind", [SufficiencyLinear, SufficiencyVMF])
def test_regression_views_share_only_the_relevant_coordinates(kind: Any) -> None:
    task = loaded(kind)
    s = task.relevant
    rows = task.draw(20000, torch.Generator().manual_seed(1))
    with RANDOMNESS.seeded("views"):
        first, second = task.views(rows)
    both = np.corrcoef(first.T.numpy(), second.T.numpy())[: task.dimension, task.dimension :]
    off = both - np.diag(np.diag(both))
    off[np.diag_indices(task.dimension)] = np.where(np.arange(task.dimension) < s, 0, np.diag(both))
    assert np.abs(off).max() < 0.03  # Nothing but the relevant coordinates, each with itself.
    if kind is SufficiencyLinear:
        expected = 1 / (1 + task.noise**2)
    else:  # A_p(kappa): the derivative of log E_p.
        h = 1e-4
        up, down = (log_sphere_mean(s, task.kappa + e) for e in (h, -h))
        expected = (up - down) / (2 * h)
        for part in (first[:, :s], first[:, s:], second[:, :s], second[:, s:]):
            torch.testing.assert_close(part.norm(dim=1), torch.ones(len(part)))
            assert part.mean(dim=0).abs().max() < 0.02
    assert np.diag(both)[:s] == pytest.approx(np.full(s, expected), abs=0.02)
    assert task.signal(rows).var().item() == pytest.approx(1, abs=0.03)


def test_a_linear_encoder_reaches_the_information_of_directions() -> None:
    task = loaded(SufficiencyVMF)
    encoder = nn.Linear(task.dimension, task.relevant, bias=False)
    encoder.weight.copy_(torch.eye(task.relevant, task.dimension) * task.kappa**0.5)
    with RANDOMNESS.seeded("probe"):
        found = task.diagnose(encoder, nn.Identity(), KLInformation(**DOT))
    assert found["kl_gap"] == pytest.approx(0, abs=0.06)
    with RANDOMNESS.seeded("probe"):
        cosines = task.diagnose(encoder, nn.Identity(), InfoNCE(temperature=0.05))
    assert cosines["kl_gap"] > 1  # The same encoder, and the wrong temperature.
    assert cosines["kl_bound"] == pytest.approx(found["kl_bound"], abs=0.02)
    assert found["chi2_gap"] > 0.1  # The best critic of chi-squared is the ratio itself.
    assert found["excess_risk_5000"] == pytest.approx(10 / (5000 - 11), rel=0.5)


def test_estimated_risks_are_close_to_exact_ones() -> None:
    generator = np.random.default_rng(3)
    joint = random_joint(3)
    a, b = generator.normal(size=(4, 2)), generator.normal(size=(5, 2))
    drawn = generator.choice(20, size=2000, p=joint.ravel())
    x, y = np.divmod(drawn, 5)
    losses = {
        "kl": KLInformation(positive=False, **DOT),
        "chi2": Chi2Information(**DOT),
    }
    rows = torch.from_numpy(a[x]), torch.from_numpy(b[y])
    for name in DIVERGENCES:
        estimate = estimated_risk(name, *rows)
        assert estimate == pytest.approx(losses[name](*cross_view(*rows)).item(), rel=1e-9)
        assert estimate == pytest.approx(critic_risk(name, a @ b.T, joint), rel=0.1)


@pytest.mark.parametrize("kind", [SufficiencyLinear, SufficiencyVMF, SufficiencyTopics])
def test_diagnostics_see_no_test_example(kind: Any) -> None:
    task = kind()
    task.load(RANDOMNESS)
    with RANDOMNESS.seeded("init"):
        encoder = task.encoder()
    hidden = [task._counts] if kind is SufficiencyTopics else [task._labelled, task._scored]
    found = []
    for _ in range(2):
        with RANDOMNESS.seeded("probe"):
            found.append(task.diagnose(encoder, nn.Identity(), KLInformation(**DOT)))
        for pools in hidden:
            pools.pop("test", None)
    assert found[0] == found[1]
    assert {"kl_gap", "chi2_gap", "kl_risk", "chi2_risk", "kl_bound", "chi2_bound"} <= found[
        0
    ].keys()
    held = task.held_out()
    assert len(held.ids) == len(held.data)


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="`relevant` must be a whole number at least 1 and at"):
        SufficiencyLinear(relevant=101)
    with pytest.raises(InputError, match="`noise` must be a number above 0"):
        SufficiencyLinear(noise=0)
    with pytest.raises(InputError, match="`relevant` must be"):
        SufficiencyVMF(relevant=49)
    with pytest.raises(InputError, match="`words` must be a whole number at least 40"):
        SufficiencyTopics(words=39)


# Topics


def test_words_are_equally_common() -> None:
    shares = equally_common(np.exp(2 * np.random.default_rng(0).standard_normal((10, 100))))
    assert shares.sum(axis=1) == pytest.approx(np.ones(10), abs=1e-12)
    assert shares.mean(axis=0) == pytest.approx(np.full(100, 0.01), abs=1e-12)


def test_the_ratio_of_words_is_the_papers() -> None:
    task = loaded(SufficiencyTopics)
    ratio = task.joint * task.words**2
    posterior = task.posterior
    formula = posterior @ posterior.T * task.topics / 2 + task.words / 2 * np.eye(task.words)
    assert ratio == pytest.approx(formula, abs=1e-9)
    assert ratio.mean(axis=0) == pytest.approx(np.ones(task.words))
    assert posterior.sum(axis=1) == pytest.approx(np.ones(task.words))


def test_the_best_table_of_words_reaches_the_information() -> None:
    task = loaded(SufficiencyTopics)
    best = task.best_encoder()
    found = task.diagnose(best, fresh_head(task), Chi2Information(**DOT))
    known = task.informations()
    assert found["chi2_risk"] == pytest.approx(-known["chi2"], rel=1e-9)
    assert found["chi2_gap"] == pytest.approx(0, abs=1e-9)
    assert found["kl_gap"] > 1  # Its logarithm would be the best critic of the other one.
    oracle = task.reference("oracle")
    assert scores_of(task, best, "test") == pytest.approx(scores_of(task, oracle, "test"), abs=0.3)


def test_accuracy_of_topics_is_below_bayes() -> None:
    task = loaded(SufficiencyTopics)
    bayes = 100 * task.posterior.max(axis=1).mean()
    for name in task.references:
        scores = scores_of(task, task.reference(name), "validation")
        assert all(100 / task.topics < score <= bayes + 1e-9 for score in scores.values())
        accuracy = list(scores.values())
        assert accuracy == sorted(accuracy)
    assert scores_of(task, task.reference("oracle"), "test")["accuracy_1000"] > bayes - 1
    found = task.diagnose(task.reference("oracle"), fresh_head(task), None)
    assert found["bayes_accuracy"] == pytest.approx(bayes)
    assert "kl_gap" not in found  # No loss, no critic.
    for name, whole in task.informations().items():
        assert 0 < found[f"{name}_sufficiency"] < whole


def test_views_of_documents_have_their_joint_distribution() -> None:
    task = loaded(SufficiencyTopics, topics=2, words=8)
    documents, topics = task._draw_documents(40000, np.random.default_rng(0))
    assert np.bincount(topics) / 40000 == pytest.approx(np.full(2, 0.5), abs=0.02)
    with RANDOMNESS.seeded("views"):
        first, second = task.views(documents)
    seen = np.zeros((8, 8))
    np.add.at(seen, (first.numpy(), second.numpy()), 1 / 40000)
    assert seen == pytest.approx(task.joint, abs=0.006)


def test_gaps_are_positive_for_any_table() -> None:
    task = loaded(SufficiencyTopics)
    generator = torch.Generator().manual_seed(0)
    for scale in (0.0, 1.0, 5.0):
        parts = torch.randn(task.words, task.topics, generator=generator)
        table = WordTable(parts, scale)
        for loss in (KLInformation(**DOT), InfoNCE(temperature=0.2)):
            found = task.diagnose(table, fresh_head(task), loss)
            for name, whole in task.informations().items():
                assert 0 < found[f"{name}_bound"] <= min(found[f"{name}_gap"], whole) + 1e-6


def test_the_tasks_are_installed() -> None:
    for task in ("sufficiency_linear", "sufficiency_topics", "sufficiency_vmf"):
        assert plugins.canonical("tasks", task).startswith(task)
