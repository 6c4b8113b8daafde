"""Diagnostics: right by independent computation, and without any trace in the run."""

import json
import math
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.nn.functional import cosine_similarity
from typer.testing import CliRunner

from harness import plugins
from harness.cli import app
from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.evaluation import diagnostics, information
from harness.evaluation.diagnostics import Diagnosis
from harness.losses import ScoreLoss
from harness.losses.sogclr import SogCLR
from harness.run.attempt import fit_cell
from harness.run.runner import run
from harness.store.table import load_records
from harness.study.study import Study
from harness.task import Batch
from harness.testing import fresh_head
from harness.training.loop import Outcome, fit

CPU = torch.device("cpu")


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def scored(n: int = 12, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the positives' and the negatives' scores, and which are kept."""
    a, b = (nn.functional.normalize(drawn(n, 5, seed=s), dim=1) for s in (seed, seed + 1))
    return (a * b).sum(dim=1), a @ b.T, ~torch.eye(n, dtype=torch.bool)


def test_alignment_and_uniformity_match_their_definitions() -> None:
    first, second = (3 * drawn(9, 4, seed=s) for s in (0, 1))
    x, y = (t.numpy() / np.linalg.norm(t.numpy(), axis=1, keepdims=True) for t in (first, second))
    aligned = np.mean([np.sum((p - q) ** 2) for p, q in zip(x, y, strict=True)])
    assert diagnostics.alignment(first, second).item() == pytest.approx(aligned)
    far = [
        np.exp(-2 * np.sum((p - q) ** 2))
        for i, p in enumerate(x)
        for j, q in enumerate(x)
        if i != j
    ]
    assert diagnostics.uniformity(first).item() == pytest.approx(np.log(np.mean(far)))
    values = np.linalg.svd(first.numpy(), compute_uv=False)
    expected = np.exp(stats.entropy(values / values.sum()))
    assert diagnostics.effective_rank(first).item() == pytest.approx(expected)


def test_the_mean_cosine_is_that_of_all_pairs() -> None:
    rows = drawn(9, 4)
    pairs = [cosine_similarity(a, b, dim=0).item() for a, b in combinations(rows, 2)]
    assert diagnostics.mean_cosine(rows).item() == pytest.approx(sum(pairs) / len(pairs))
    assert diagnostics.mean_cosine(rows[:1].expand(5, -1)).item() == pytest.approx(1)
    assert diagnostics.mean_cosine(rows[:1]).isnan()


def test_effective_rank_counts_dimensions() -> None:
    flat = drawn(50, 1) @ drawn(1, 8, seed=1)
    assert diagnostics.effective_rank(flat).item() == pytest.approx(1, abs=1e-6)
    square = torch.linalg.qr(drawn(8, 8)).Q
    assert diagnostics.effective_rank(square[:, :5]).item() == pytest.approx(5)


@given(temperature=st.floats(0.02, 5.0), seed=st.integers(0, 20))
@settings(max_examples=15, deadline=None)
def test_the_worst_case_matches_its_definition(temperature: float, seed: int) -> None:
    _, neg, keep = scored(seed=seed)
    radii, sizes, gaps = [], [], []
    for row, kept in zip(neg.numpy(), keep.numpy(), strict=True):
        s = row[kept]
        q = np.exp((s - s.max()) / temperature)
        q /= q.sum()
        radii.append(stats.entropy(q, np.full(len(q), 1 / len(q))))
        sizes.append(1 / np.sum(q**2))
        worst = temperature * np.log(np.mean(np.exp((s - s.max()) / temperature))) + s.max()
        gaps.append(abs(worst - s.mean() - s.var() / (2 * temperature)))
    weights = diagnostics.worst_case_weights(neg, keep, temperature)
    assert torch.allclose(weights.sum(dim=1), torch.ones(len(neg), dtype=torch.float64))
    assert not weights[~keep].any()
    found = (
        diagnostics.implied_radius(neg, keep, temperature),
        diagnostics.effective_sample_size(weights),
        diagnostics.mean_variance_gap(neg, keep, temperature),
    )
    expected = [np.mean(values) for values in (radii, sizes, gaps)]
    assert [value.item() for value in found] == pytest.approx(expected, abs=1e-9)


def test_infonces_slopes_are_its_softmax() -> None:
    pos, neg, keep = scored()
    loss = plugins.build("losses", "infonce(temperature=0.2)")
    slopes = diagnostics.slopes_on_negatives(loss, torch.arange(len(pos)), pos, neg, keep)
    logits = torch.cat([pos[:, None], neg.masked_fill(~keep, -torch.inf)], dim=1) / 0.2
    assert torch.allclose(slopes, logits.softmax(dim=1)[:, 1:] / 0.2)


def test_false_negative_mass_by_hand() -> None:
    labels = torch.tensor([0, 0, 1, -1])
    weights = torch.tensor([[0.0, 1, 1, 2], [3, 0, 0, 1], [1, 1, 0, 0], [1, 1, 1, 0.0]])
    mass = diagnostics.false_negative_mass(weights, labels, labels)
    assert mass.item() == pytest.approx((1 / 4 + 3 / 4 + 0) / 3)


def test_uniform_weights_have_the_classes_share() -> None:
    labels = torch.arange(40) % 4
    mass = diagnostics.false_negative_mass(1.0 - torch.eye(40), labels, labels)
    assert mass.item() == pytest.approx(9 / 39)


def test_low_temperatures_pull_hard_negatives_more() -> None:
    ids = torch.arange(40)
    first, second = drawn(40, 6), drawn(40, 6, seed=1)
    ratios = []
    for temperature in (1.0, 0.3, 0.1):
        loss = plugins.build("losses", f"infonce(temperature={temperature})")
        ratios.append(diagnostics.of_loss(loss, first, second, ids, None)["gradient_ratio"])
    assert ratios == sorted(ratios) and ratios[-1] > 50


def test_the_gradient_ratio_is_that_of_the_anchors_gradients() -> None:
    """Negative by negative, by autograd through the cosine, on anchors of any length."""
    n = 20
    first, second = drawn(n, 6) * 1.0, drawn(n, 6, seed=1) * 3
    loss = plugins.build("losses", "adnce(temperature=0.3)").double()
    found = diagnostics.of_loss(
        loss, nn.functional.normalize(first, dim=1), second, torch.arange(n), None
    )
    unit = nn.functional.normalize(second, dim=1)
    hard, easy = [], []
    for i in range(n):
        x = nn.functional.normalize(first[i], dim=0).requires_grad_()
        row = unit @ nn.functional.normalize(x, dim=0)
        keep = torch.arange(n)[None] != i
        values = loss.per_anchor(row[i : i + 1].detach(), row[None], keep)
        (slopes,) = torch.autograd.grad(values.sum(), row, retain_graph=True)
        norms = {}
        for j in range(n):
            if j != i:
                (pull,) = torch.autograd.grad(row[j] * slopes[j].item(), x, retain_graph=True)
                norms[j] = pull.norm().item()
        order = sorted(norms, key=lambda j: row[j].item(), reverse=True)
        hard += [norms[j] for j in order[:2]]  # A tenth of 19, rounded up.
        easy += [norms[j] for j in order[-9:]]
    assert found["gradient_ratio"] == pytest.approx(np.mean(hard) / np.mean(easy))


def test_the_chi2_bound_is_the_estimators_best_scale() -> None:
    pos, neg, keep = scored(30)
    pos = pos + 1
    best = max(information.chi2(a * pos, a * neg, keep).item() for a in np.linspace(0, 40, 401))
    assert diagnostics.chi2_information(pos, neg, keep).item() == pytest.approx(best, rel=1e-3)
    assert diagnostics.chi2_information(pos - 9, neg, keep).item() == 0


def test_diagnostics_use_the_current_temperature() -> None:
    scales = {
        spec: plugins.build("losses", spec).score_scale()
        for spec in ("infonce(temperature=0.25)", "kl_dro(temperature=0.5)", "siglip(scale=3.0)",
                     "alpha_cl", "fmicl", "isogclr", "vicreg")
    }  # fmt: skip
    assert scales == pytest.approx(
        {"infonce(temperature=0.25)": 4, "kl_dro(temperature=0.5)": 2, "siglip(scale=3.0)": 3,
         "alpha_cl": None, "fmicl": None, "isogclr": None, "vicreg": None}
    )  # fmt: skip
    learned = plugins.build("losses", "kl_dro(temperature=0.5)")
    with torch.no_grad():
        learned.log_tau.fill_(math.log(0.2))
    assert learned.score_scale() == pytest.approx(5)


def test_diagnosing_keeps_the_state_of_a_stateful_loss() -> None:
    loss = SogCLR()
    contrast_ids = torch.arange(6)
    diagnostics.of_loss(loss, drawn(6, 4), drawn(6, 4, seed=1), contrast_ids, None)
    assert not loss.log_u.numel() and loss.training


@pytest.mark.parametrize("spec", plugins.names("losses"))
def test_every_loss_is_diagnosed(spec: str) -> None:
    loss = plugins.build("losses", spec)
    if not isinstance(loss, ScoreLoss):
        return
    labels = torch.arange(16) % 3
    found = diagnostics.of_loss(loss, drawn(16, 6), drawn(16, 6, seed=1), torch.arange(16), labels)
    assert 0 <= found["false_negative_mass"] <= 1
    assert 1 <= found["effective_negatives"] <= 15
    assert ("implied_radius" in found) == (loss.score_scale() is not None)


def test_without_negatives_there_are_no_loss_diagnostics() -> None:
    ids = torch.zeros(4, dtype=torch.int64)
    loss = plugins.build("losses", "infonce")
    assert diagnostics.of_loss(loss, drawn(4, 3), drawn(4, 3, seed=1), ids, None) == {}


def trained(method: str, loss: str) -> tuple[Outcome, dict[str, torch.Tensor]]:
    task = plugins.build("tasks", "images(steps=3, batch_size=32, labels=2, draws=1)")
    made = plugins.build("methods", method)
    outcome = fit(
        task, made, plugins.build("losses", loss), Randomness("t", "", 0), probes=1,
        diagnosis=Diagnosis,
    )  # fmt: skip
    return outcome, made.state_dict()


@pytest.mark.parametrize(("method", "loss"), [("siamese", "sogclr"), ("moco", "infonce")])
def test_diagnosing_does_not_change_training(
    method: str, loss: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_it, weights = trained(method, loss)
    monkeypatch.setattr(Diagnosis, "__call__", lambda self: {})
    without, others = trained(method, loss)
    assert [step for step, _ in with_it.diagnostics] == [0, 2, 3]
    assert all(values["false_negative_mass"] > 0 for _, values in with_it.diagnostics)
    assert [values for _, values in without.diagnostics] == [{}] * 3
    assert weights.keys() == others.keys()
    assert all(torch.equal(value, others[name]) for name, value in weights.items())
    for name in ("curve", "probed", "scores", "ids", "views", "start"):
        assert getattr(with_it, name) == getattr(without, name), name


@pytest.mark.parametrize("task", ["images", "sentences", "nodes", "graphs"])
def test_held_out_examples_are_not_trained_on(task: str) -> None:
    made = plugins.build("tasks", task)
    randomness = Randomness("t", "", 0)
    with randomness.seeded("split"):
        made.load(randomness)
    batch = made.held_out()
    assert isinstance(batch, Batch)
    held = set(batch.ids.tolist())
    assert 8 <= len(held) == len(batch.ids) <= 256
    if task == "sentences":  # Numbers of their own: by their words.
        trained = {tuple(row.tolist()) for row in made._tokens[0]}
        tokens, lengths = batch.data.ids, batch.data.mask.sum(dim=1)
        rows = zip(tokens.tolist(), lengths.tolist(), strict=True)
        same = {tuple(row[:length]) for row, length in rows} & trained
        assert len(same) <= 1, "one headline of STS-B comes twice, in two spellings"
    else:
        for split in ("train", "test"):
            assert not held & set(made.splits()[0][split])
        assert batch.labels is not None and len(batch.labels.unique()) > 1


REFERENCE = """
import torch
from torch import nn
from triptych_example import Blobs

class Known(nn.Module):
    def forward(self, rows):
        return rows[:, :8]

class Told(Blobs):
    references = ("oracle",)

    def __init__(self, *, steps: int = 3):
        super().__init__(steps=steps)

    def reference(self, name):
        return Known()

    def diagnose(self, encoder, head, loss):
        return {"width": encoder(self.noisy[:2]).shape[1], "odd": float("nan")}
"""


@pytest.fixture
def told(plugin: Callable[..., None]) -> None:
    plugin("told", "tasks:told = told:Told", REFERENCE)


def test_references_are_rows_of_every_study(told: None, tmp_path: Path) -> None:
    study = Study(name="s", tasks=["told", "blobs(steps=3)"], methods=["siamese"],
                  losses=["infonce"], seeds=[0, 1], baseline="infonce")  # fmt: skip
    assert study.size() == len(study.cells()) == 2 * (3 + 2)
    summary = run(study, tmp_path)
    assert summary.complete
    table = load_records(tmp_path)
    rows = table[(table["task"] == "told") & (table["loss"] == "fixed:oracle")]
    assert set(rows["status"]) == {"done"} and set(rows["steps"]) == {0}
    scores = rows[rows["split"] == "test"].set_index("seed")["value"]
    untrained = table[(table["task"] == "told") & (table["loss"] == "untrained")]
    floor = untrained[untrained["split"] == "test"].set_index("seed")["value"]
    assert (scores > floor).all(), "the signal alone is better than untrained weights"
    # The same splits and data: it can be compared seed by seed.
    assert set(rows["proof"]) == set(untrained["proof"])
    assert json.loads(table["task_settings"].iloc[0]) == {"steps": 3}, "defaults, for curves"
    own = table[(table["task"] == "told") & (table["split"] == "diagnostics")]
    assert set(own["metric"]) == {"width"}
    assert own.groupby("loss")["step"].unique().map(list).to_dict() == {
        "infonce": [0, 3], "untrained": [0], "fixed:oracle": [0],
    }  # fmt: skip
    again = run(study, tmp_path)
    assert again.complete and not again.done


def test_a_reference_can_be_run_from_the_command_line(told: None, tmp_path: Path) -> None:
    arguments = ["cell", "told", "--out", str(tmp_path), "--loss"]
    done = CliRunner().invoke(app, [*arguments, "fixed:oracle"])
    assert done.exit_code == 0, done.output
    wrong = CliRunner().invoke(app, [*arguments, "fixed:orakel"])
    assert wrong.exit_code == 1
    assert "must name a reference encoder of Told: got 'orakel'" in " ".join(wrong.output.split())


def test_an_unknown_reference_is_refused() -> None:
    with pytest.raises(InputError, match=r"encoder of Blobs: got 'oracle'\. Known: none"):
        fit_cell(Cell("blobs", "siamese", "fixed:oracle", 0), device="cpu")


# What plugins may do


class Fickle(nn.Module):
    """An encoder that assigns its buffer anew in each step, and makes one in the first."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 8)
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.layer(rows)
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * out.detach().mean(dim=0)
            if "steps" not in self._buffers:
                self.register_buffer("steps", torch.zeros(()))
            self.steps += 1
        return out - self.mean


def held(task: Any) -> Any:
    """Return ``blobs`` with a held-out batch."""
    task.held_out = lambda: Batch(
        task.points[300:340], torch.arange(300, 340), task.labels[300:340]
    )
    return task


def of_blobs(**changes: Any) -> tuple[Outcome, dict[str, torch.Tensor]]:
    task = held(plugins.build("tasks", "blobs(steps=3)"))
    for name, value in changes.items():
        setattr(task, name, value)
    method = plugins.build("methods", "siamese")
    outcome = fit(
        task, method, plugins.build("losses", "infonce"), Randomness("t", "", 0), probes=1,
        diagnosis=Diagnosis,
    )  # fmt: skip
    return outcome, method.state_dict()


def test_buffers_that_are_reassigned_are_restored(monkeypatch: pytest.MonkeyPatch) -> None:
    with_it, state = of_blobs(encoder=Fickle)
    assert with_it.diagnostics[-1][1]["alignment"] > 0
    monkeypatch.setattr(Diagnosis, "__call__", lambda self: {})
    without, other = of_blobs(encoder=Fickle)
    assert state["encoder.steps"] == 6, "two views a step, and no diagnosis"
    assert state.keys() == other.keys()
    assert all(torch.equal(value, other[name]) for name, value in state.items())
    assert with_it.scores == without.scores


def broken(*_: Any) -> dict[str, float]:
    raise RuntimeError("broken")


def test_a_failing_diagnostic_does_not_fail_the_cell(caplog: pytest.LogCaptureFixture) -> None:
    blobs = type(plugins.build("tasks", "blobs"))
    outcome, _ = of_blobs(__class__=type("Broken", (blobs,), {"diagnose": broken}))
    assert outcome.scores["test"] and outcome.diagnostics[-1][1]["alignment"] > 0
    assert "diagnostics of the task failed" in caplog.text
    outcome, _ = of_blobs(held_out=broken)
    assert [values for _, values in outcome.diagnostics] == [{}] * 3
    assert "diagnostics of the held-out batch failed" in caplog.text


def test_one_held_out_row_gives_the_diagnostics_that_are_defined() -> None:
    one = Batch(torch.ones(1, 32), torch.tensor([9]))
    outcome, _ = of_blobs(held_out=lambda: one)
    assert outcome.diagnostics[0][1].keys() == {"alignment", "effective_rank"}


class Indifferent(ScoreLoss):
    """A loss that does not look at negatives."""

    def per_anchor(self, pos: torch.Tensor, neg: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        return -pos


def test_a_loss_without_gradient_gives_zero_weights() -> None:
    found = diagnostics.of_loss(
        Indifferent(), drawn(6, 4), drawn(6, 4, seed=1), torch.arange(6), None
    )
    assert math.isnan(found["effective_negatives"])


def test_weights_are_derivatives_of_the_whole_loss() -> None:
    """DV has one normaliser for all anchors: a pair's weight is its share of the batch."""
    pos, neg, keep = scored(8)
    slopes = diagnostics.slopes_on_negatives(
        plugins.build("losses", "dv"), torch.arange(8), pos, 3 * neg, keep
    )
    shares = (3 * neg).masked_fill(~keep, -torch.inf).flatten().softmax(dim=0).view(8, 8)
    assert torch.allclose(slopes, 8 * shares)


def test_tiny_weights_do_not_vanish() -> None:
    weights = torch.tensor([[1e-200, 1e-200, 0.0]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 1])
    assert diagnostics.effective_sample_size(weights).item() == 2
    assert diagnostics.false_negative_mass(weights, labels[:1], labels).item() == 1


class Learned(ScoreLoss):
    """A loss that learns its temperature, and does not say what it is by now."""

    def __init__(self, *, temperature: float = 0.5) -> None:
        super().__init__()
        self.temperature = temperature
        self.log_t = nn.Parameter(torch.tensor(temperature).log())

    def per_anchor(self, pos: torch.Tensor, neg: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
        return (neg / self.log_t.exp()).logsumexp(dim=1) - pos / self.log_t.exp()


def test_a_loss_that_learns_its_temperature_has_no_score_scale_by_default() -> None:
    assert Learned().score_scale() is None


def test_a_tasks_diagnostics_must_not_use_built_in_names() -> None:
    task = held(plugins.build("tasks", "blobs"))
    with Randomness("t", "", 0).seeded("split"):
        task.load(Randomness("t", "", 0))
    method = plugins.build("methods", "siamese")
    method.attach(task.encoder(), fresh_head(task), pairing="both_views")
    type(task).diagnose, before = (lambda *_: {"alignment": 1.0}), type(task).diagnose
    try:
        diagnose = Diagnosis(task, method, None, Randomness("t", "", 0), CPU, strict=True)
        with pytest.raises(InputError, match=r"names of built-in diagnostics: got \['alignment'\]"):
            diagnose()
    finally:
        type(task).diagnose = before


def test_references_are_accepted_wherever_untrained_is(told: None) -> None:
    study = Study("s", tasks=["told"], losses=["infonce", "fixed:oracle", "untrained"],
                  baseline="fixed:oracle", seeds=1)  # fmt: skip
    assert study.baseline == "fixed:oracle"
    assert [cell.loss for cell in study.cells()] == ["infonce", "untrained", "fixed:oracle"]
    with pytest.raises(InputError, match="must name a reference encoder"):
        fit_cell(Cell("told", "siamese", "fixed:", 0), device="cpu")
