"""Clusters: the exact loss, every map of a class, and encoders trained on them."""

from itertools import product

import numpy as np
import pytest
import torch
from torch import nn

from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.evaluation.diagnostics import Diagnosis
from harness.losses.infonce import InfoNCE
from harness.methods.siamese import Siamese
from harness.testing import TASK_CHECKS, scores_of
from harness.testing.tasks import check_task_training_beats_untrained
from harness.training.loop import Outcome, fit
from tasks.known import cluster_enumeration
from tasks.known.cluster_enumeration import Maps, Minimisers, clean_tables, halfspaces, style_pairs
from tasks.known.cluster_loss import (
    balanced_labellings,
    constructed_head,
    joint_masses,
    population_loss,
    task_accuracies,
    uniform_loss,
    vertex_numbers,
    vertex_shares,
    vertices,
)
from tasks.known.clusters import Clusters

RANDOMNESS = Randomness("clusters", "", 0)


def some_joint(dimension: int, *, seed: int = 0) -> np.ndarray:
    masses = np.random.default_rng(seed).dirichlet(np.ones(4**dimension))
    return masses.reshape(2**dimension, 2**dimension)


# The exact loss


@pytest.mark.parametrize(("dimension", "known"), [(2, 2.4058), (3, 1.8901), (4, 1.4151)])
def test_the_loss_of_uniform_maps_has_the_known_value(dimension: int, known: float) -> None:
    assert uniform_loss(dimension, beta=1.0, negatives=32) == pytest.approx(known, abs=5e-5)


@pytest.mark.parametrize(
    ("dimension", "negatives", "beta"), [(2, 1, 0.25), (2, 3, 2.0), (3, 2, 1.0), (1, 4, 5.0)]
)
def test_loss_is_the_mean_of_infonce_over_every_draw(
    dimension: int, negatives: int, beta: float
) -> None:
    joint, size = some_joint(dimension), 2**dimension
    cosines = torch.from_numpy(vertices(dimension) @ vertices(dimension).T / dimension)
    drawn = np.array(list(product(range(size), repeat=2 + negatives)))
    first, second, others = drawn[:, 0], drawn[:, 1], drawn[:, 2:]
    loss = InfoNCE(temperature=1 / (beta * dimension))
    scores = cosines[first[:, None], others]
    values = loss.per_anchor(
        cosines[first, second], scores, torch.ones_like(scores, dtype=torch.bool)
    )
    masses = joint[first, second] * joint.sum(axis=1)[others].prod(axis=1)
    exact = float(population_loss(joint, beta=beta, negatives=negatives))
    assert exact == pytest.approx(float(masses @ values.numpy()), abs=1e-12)


def test_the_loss_with_many_negatives_matches_sampled_draws() -> None:
    joint, corners, rng = some_joint(3, seed=1), vertices(3), np.random.default_rng(0)
    first, second = np.divmod(rng.choice(64, size=40_000, p=joint.ravel()), 8)
    drawn = corners[rng.choice(8, size=(40_000, 50), p=joint.sum(axis=1))]
    scores = (corners[first] * corners[second]).sum(axis=1)
    others = np.einsum("nd,nld->nl", corners[first], drawn)
    values = np.log1p(np.exp(others - scores[:, None]).sum(axis=1))
    error = values.std() / 200
    exact = float(population_loss(joint, beta=1.0, negatives=50))
    assert abs(values.mean() - exact) < 4 * error < 0.05


def test_the_losses_of_many_maps_match_each_maps_own() -> None:
    joints = np.stack([some_joint(2, seed=seed) for seed in range(6)]).reshape(2, 3, 4, 4)
    each = [[float(population_loss(j, beta=0.7, negatives=9)) for j in row] for row in joints]
    np.testing.assert_allclose(population_loss(joints, beta=0.7, negatives=9), each, rtol=1e-13)


def test_loss_of_extremes_is_finite_and_right() -> None:
    collapsed = np.zeros((16, 16))
    collapsed[3, 3] = 1.0  # All scores are equal: log(1 + l).
    for negatives in (1, 4096):
        loss = float(population_loss(collapsed, beta=20.0, negatives=negatives))
        assert loss == pytest.approx(np.log1p(negatives), rel=1e-10)


# What a map is good for


@pytest.mark.parametrize("dimension", [2, 3, 4])
def test_constructed_head_is_right_on_every_labelling(dimension: int) -> None:
    size = 2**dimension
    labels = 2 * (np.arange(2**size) >> np.arange(size)[:, None] & 1) - 1
    assert labels.shape == (size, 2**size)
    predicted = constructed_head(vertices(dimension).astype(float), labels)
    assert (predicted == (labels > 0)).all()


def test_best_head_is_as_good_as_any_head() -> None:
    shares = np.random.default_rng(0).dirichlet(np.ones(4), size=6)
    heads = np.array(list(product((-1, 1), repeat=4)))
    labels = balanced_labellings(6)
    best = 0.5 + 0.5 * (labels @ shares @ heads.T).max(axis=1) / 6
    np.testing.assert_allclose(task_accuracies(shares, shares), best)


@pytest.mark.parametrize(("clusters", "number"), [(2, 1), (4, 3), (5, 10), (8, 35), (16, 6435)])
def test_balanced_labellings(clusters: int, number: int) -> None:
    labels = balanced_labellings(clusters)
    assert (labels == 1).sum(axis=1).tolist() == [clusters // 2] * number
    both = np.concatenate([labels, -labels])
    assert len(np.unique(both, axis=0)) == 2 * number


# Every map of a class


@pytest.fixture(scope="module")
def interleaved() -> Maps:
    return Maps(halfspaces(4, 4), "interleaved")


def test_interleaved_halfspaces_have_the_known_minimisers_and_gaps(interleaved: Maps) -> None:
    found: dict[tuple[float, int], Minimisers] = {
        (beta, negatives): interleaved.minimisers(beta=beta, negatives=negatives)
        for beta in (0.25, 0.5, 1.0, 2.0)
        for negatives in (1, 4, 16, 64)
    }
    for (beta, negatives), least in found.items():
        assert (least.count, least.preserving) == (24, 1.0), (beta, negatives)
        assert least.errors.max() == 0
        assert least.loss == pytest.approx(uniform_loss(2, beta=beta, negatives=negatives))
        assert least.gap > 0.02
    gaps = [round(found[1.0, negatives].gap, 3) for negatives in (1, 4, 16, 64)]
    assert gaps == [0.084, 0.176, 0.229, 0.245]


def test_local_halfspaces_have_the_known_minimisers() -> None:
    least = Maps(halfspaces(4, 4), "local").minimisers(beta=1.0, negatives=16)
    assert (least.count, least.preserving, least.gap) == (480, 0.05, 0.0)
    assert np.isclose(least.errors, 0.5).mean() == 0.25


@pytest.mark.parametrize("pairs", ["interleaved", "local"])
def test_lookup_tables_have_the_known_minimisers(pairs: str) -> None:
    least = Maps(clean_tables(4, 4, pairs), pairs).minimisers(beta=1.0, negatives=16)
    assert least.count == 2520
    assert round(100 * least.preserving, 2) == 0.95
    assert round(100 * np.isclose(least.errors, 0.5).mean()) == 57
    assert least.errors.max() == 0.5


def test_no_lookup_table_with_a_broken_pair_is_a_minimiser() -> None:
    every = np.array(list(product((False, True), repeat=8))).reshape(-1, 2, 4)
    for masses in ((1, 1), (3, 1)):
        whole, clean = (
            Maps(functions, "interleaved", masses).minimisers(beta=1.0, negatives=4)
            for functions in (every, clean_tables(2, 4, "interleaved"))
        )
        assert (whole.count, whole.preserving) == (clean.count, clean.preserving)
        assert whole.loss == pytest.approx(clean.loss, abs=1e-12)


def test_grouped_maps_match_each_map() -> None:
    """The sums that stand for joint masses give what one map after another does."""
    functions, masses = halfspaces(2, 4), (3, 2)
    natural, augmented = np.array(style_pairs("interleaved", 4)).T
    weights = np.repeat(masses, 2)
    joints, whole = [], []
    for first, second in product(functions, repeat=2):
        numbers = first + 2 * second
        x, positive = (
            np.repeat(numbers[:, points].ravel(), weights) for points in (natural, augmented)
        )
        joints.append(joint_masses(x, positive, 2))
        whole.append(bool((numbers == numbers[:, :1]).all()))
    losses = population_loss(np.stack(joints), beta=0.5, negatives=8)
    least = Maps(functions, "interleaved", masses).minimisers(beta=0.5, negatives=8)
    near = losses <= losses.min() + 1e-9
    assert least.loss == pytest.approx(losses.min(), abs=1e-12)
    assert least.count == near.sum()
    assert least.preserving == np.array(whole)[near].mean()
    gap = losses[~np.array(whole)].min() - losses.min()
    assert least.gap == pytest.approx(max(0.0, gap), abs=1e-9)


@pytest.mark.parametrize(
    ("masses", "beta", "vertices_used", "error"),
    [
        ((2, 1, 1, 1), 0.25, 4, 0.0),
        ((4, 1, 1, 1), 1.0, 4, 0.0),
        ((4, 1, 1, 1), 0.25, 2, 0.25),  # The three light clusters share a vertex.
        ((16, 1, 1, 1), 1.0, 3, 0.25),
    ],
)
def test_heavy_clusters_are_kept_whole_and_light_ones_merged(
    masses: tuple[int, ...], beta: float, vertices_used: int, error: float
) -> None:
    least = Maps(halfspaces(4, 4), "interleaved", masses).minimisers(beta=beta, negatives=64)
    assert least.preserving == 1.0
    assert ((least.masses > 0).sum(axis=1) == vertices_used).all()
    np.testing.assert_allclose(least.errors, error)


def test_three_clusters_are_not_split_to_fill_the_fourth_vertex() -> None:
    least = Maps(halfspaces(3, 4), "interleaved").minimisers(beta=1.0, negatives=16)
    assert (least.count, least.preserving) == (24, 1.0)


def test_tables_are_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Two style points, one pair, a cluster: as quick as it gets, and no cluster can be split.
    monkeypatch.setattr(cluster_enumeration, "halfspaces", lambda m, s: halfspaces(m, 2))
    monkeypatch.setattr(cluster_enumeration, "clean_tables", lambda m, s, p: clean_tables(m, 2, p))
    cluster_enumeration.main()
    lines = capsys.readouterr().out.splitlines()
    assert "  d = 2: 2.4058" in lines
    assert any(line.split()[:4] == ["lookup", "local", "16", "24"] for line in lines)


def test_the_gap_is_infinite_if_no_map_splits() -> None:
    maps = Maps(clean_tables(4, 2, "local"), "local")
    assert maps.minimisers(beta=1.0, negatives=1).gap == np.inf


# The task


def trained(steps: int = 0, **settings: object) -> tuple[Clusters, Outcome]:
    task = Clusters(**settings)  # type: ignore[arg-type]
    task.steps = max(1, steps)
    loss = InfoNCE(temperature=0.5) if steps else None
    return task, fit(task, Siamese(), loss, RANDOMNESS, diagnosis=Diagnosis)


@pytest.mark.parametrize(
    "spec",
    [
        "clusters(network='lookup', pairs='local')",
        "clusters(network='mlp', styles=8, dimension=3)",
        "clusters(dimension=2, clusters=6, imbalance=2.5, batch_size=0)",
    ],
)
def test_other_settings_keep_the_contract(spec: str) -> None:
    for check in TASK_CHECKS:
        if check is not check_task_training_beats_untrained:
            check(spec)


@pytest.mark.parametrize("pairs", ["interleaved", "local"])
@pytest.mark.parametrize("styles", [2, 4, 8])
def test_views_are_the_style_pairs(pairs: str, styles: int) -> None:
    task = Clusters(pairs=pairs, styles=styles, jitter=0.9)
    task.load(RANDOMNESS)
    first, second = task.views(task.batch(torch.arange(task.train_size())).data)
    assert torch.equal(first[:, :-1], second[:, :-1])
    points = [((view[:, -1] + 1) * styles / 2).floor().int().tolist() for view in (first, second)]
    assert set(zip(*points, strict=True)) == set(style_pairs(pairs, styles))


def test_the_first_cluster_is_heavier_by_the_imbalance() -> None:
    task = Clusters(imbalance=4.0, examples=8)
    task.load(RANDOMNESS)
    assert np.bincount(task._clusters).tolist() == [64, 16, 16, 16]
    # As in the enumeration: the loss of keeping all apart, at masses 4, 1, 1, 1.
    found = task.diagnose(task.reference("oracle"), nn.Identity(), None)
    joint = np.diag(np.array([4, 1, 1, 1]) / 7)
    expected = float(population_loss(joint, beta=1.0, negatives=63))
    assert found["population_loss"] == pytest.approx(expected, abs=1e-12)
    assert found["gap"] > 0


@pytest.mark.parametrize("dimension", [1, 2, 3, 4])
def test_the_oracle_is_perfect(dimension: int) -> None:
    task = Clusters(dimension=dimension, examples=2)
    task.load(RANDOMNESS)
    for split in ("validation", "test"):
        assert set(scores_of(task, task.reference("oracle"), split).values()) == {100.0}
    found = task.diagnose(task.reference("oracle"), nn.Identity(), None)
    assert found["gap"] == pytest.approx(0, abs=1e-12)
    assert (found["entropy_bits"], found["broken_pairs"]) == (dimension, 0)


def test_collapse_preserves_clusters_but_fails_at_tasks() -> None:
    task = Clusters()
    task.load(RANDOMNESS)
    collapsed = nn.Linear(5, 2)
    nn.init.zeros_(collapsed.weight)
    with torch.no_grad():
        assert scores_of(task, collapsed, "test") == {
            "worst_task": 50.0, "mean_task": 50.0, "preserved": 100.0, "vertex_entropy": 0.0
        }  # fmt: skip


def test_more_clusters_than_vertices_share_them() -> None:
    task = Clusters(dimension=1, clusters=4)
    task.load(RANDOMNESS)
    scores = scores_of(task, task.reference("oracle"), "test")
    assert scores["worst_task"] == 50.0
    assert (scores["preserved"], scores["vertex_entropy"]) == (100.0, 100.0)


def test_halfspaces_are_trained_to_the_optimum() -> None:
    _, outcome = trained(150)
    assert set(outcome.scores["test"].values()) == {100.0}
    final = outcome.diagnostics[-1][1]
    assert final["gap"] == pytest.approx(0, abs=1e-12)
    assert final["population_loss"] == pytest.approx(uniform_loss(2, beta=1.0, negatives=63))


def test_a_lookup_table_is_trained_to_the_optimum_and_splits_clusters() -> None:
    _, outcome = trained(150, network="lookup")
    assert outcome.diagnostics[-1][1]["gap"] == pytest.approx(0, abs=1e-12)
    scores = outcome.scores["test"]
    assert scores["vertex_entropy"] == 100.0
    assert scores["preserved"] < 100.0
    assert scores["worst_task"] <= 75.0


def test_a_zero_is_read_as_negative() -> None:
    assert vertex_numbers(np.zeros((1, 3))).tolist() == [0]
    assert vertex_shares(np.array([0, 1, 1]), np.array([0, 1, 1]), 1).tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"dimension": 5}, "`dimension` must be a whole number at least 1 and at most 4: got 5."),
        ({"clusters": 5}, "`clusters` must be even"),
        ({"clusters": 18}, "`clusters` must be a whole number"),
        ({"styles": 3}, "`styles` must be even"),
        ({"pairs": "locla"}, "`pairs` must be one of 'interleaved', 'local': got 'locla'."),
        ({"network": "cnn"}, "`network` must be one of"),
        ({"jitter": 0.0}, "`jitter` must be a number above 0"),
        ({"imbalance": 0.5}, "`imbalance` must be a number at least 1"),
        ({"beta": 0.0}, "`beta` must be a number above 0"),
    ],
)
def test_wrong_settings_are_refused(
    settings: dict[str, object], message: str, as_a_user: None
) -> None:
    with pytest.raises(InputError) as caught:
        Clusters(**settings)  # type: ignore[arg-type]
    assert message in str(caught.value)
