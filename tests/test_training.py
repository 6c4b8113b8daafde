"""The loop of one cell, on the third party's task."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from harness import plugins
from harness.contrast import Contrast
from harness.errors import InputError
from harness.losses.base import Loss
from harness.randomness import Randomness
from harness.training import Diverged, Outcome, evaluate, fit

RANDOMNESS = Randomness("blobs", "siamese", 0)


def run(loss: str | Loss | None, *, task: Any = None, **settings: Any) -> Outcome:
    built = plugins.build("losses", loss) if isinstance(loss, str) else loss
    task = task or plugins.build("tasks", "blobs(steps=5)")
    return fit(task, plugins.build("methods", "siamese"), built, RANDOMNESS, **settings)


def test_losses_share_weights_batches_views_and_dropout() -> None:
    outcomes = [run(loss) for loss in ("infonce", "adnce(mu=0.2)", "margin")]
    assert len({o.start_digest for o in outcomes}) == 1
    assert len({o.seen_digest for o in outcomes}) == 1
    assert len({str(o.curve) for o in outcomes}) == 3


def test_untrained_starts_there_too_and_takes_no_step() -> None:
    trained, untrained = run("infonce"), run(None)
    assert untrained.start_digest == trained.start_digest
    assert (untrained.steps, untrained.seen_digest, untrained.curve) == (0, "", [])
    assert untrained.scores.keys() == trained.scores.keys() == {"validation", "test"}


def test_a_cell_run_twice_gives_the_same() -> None:
    torch.manual_seed(123)  # whatever state the process is in
    first = run("infonce")
    torch.manual_seed(321)
    second = run("infonce")
    assert (first.scores, first.curve) == (second.scores, second.curve)
    assert (first.start_digest, first.seen_digest) == (second.start_digest, second.seen_digest)


def test_another_seed_starts_and_sees_something_else() -> None:
    other = fit(
        plugins.build("tasks", "blobs(steps=5)"),
        plugins.build("methods", "siamese"),
        plugins.build("losses", "infonce"),
        Randomness("blobs", "siamese", 1),
    )
    first = run("infonce")
    assert other.start_digest != first.start_digest
    assert other.seen_digest != first.seen_digest


class WithDropout(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(32, 8))
        self.masks: list[Tensor] = []

    def forward(self, view: Tensor) -> Tensor:
        if self.training:
            self.masks.append(self.inner[0](torch.ones(view.shape)))
        return self.inner(view)  # type: ignore[no-any-return]


def test_losses_share_dropout_masks() -> None:
    masks = []
    for loss in ("infonce", "margin"):
        task = plugins.build("tasks", "blobs(steps=3)")
        encoder = WithDropout()
        task.encoder = lambda made=encoder: made
        run(loss, task=task)
        masks.append(torch.stack(encoder.masks))
    assert masks[0].shape[0] == 6  # two views a step
    assert torch.equal(*masks)
    assert not torch.equal(masks[0][0], masks[0][1])
    assert not torch.equal(masks[0][0], masks[0][2])


def test_the_digest_notices_a_view_and_a_dropout_mask_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Same batches: another view, or another dropout seed, is another digest."""
    base = run("infonce").seen_digest

    def other_second_view(data: Tensor) -> tuple[Tensor, Tensor]:
        first, second = type(task).views(task, data)
        return first, second + 1e-6

    task = plugins.build("tasks", "blobs(steps=5)")
    task.views = other_second_view
    moved = run("infonce", task=task).seen_digest
    seed = Randomness.seed
    monkeypatch.setattr(
        Randomness,
        "seed",
        lambda self, stream, step=0: seed(self, stream, step) + (stream == "dropout" and step == 4),
    )
    masked = run("infonce").seen_digest
    assert len({base, moved, masked}) == 3


def test_evaluation_restores_each_modules_mode() -> None:
    task = plugins.build("tasks", "blobs")
    task.load(RANDOMNESS)
    method = plugins.build("methods", "siamese")
    method.attach(task.encoder(), task.head(), pairing="both_views")
    method.train()
    method.head.eval()  # as a momentum encoder would keep itself
    evaluate(task, method, "validation", RANDOMNESS)
    assert method.encoder.training
    assert not method.head.training


def test_only_the_splits_asked_for_are_scored() -> None:
    assert set(run("infonce", splits=["validation"]).scores) == {"validation"}


def test_the_curve_and_the_report_have_every_step() -> None:
    seen: list[tuple[int, int, float]] = []
    outcome = run("infonce", report=lambda *point: seen.append(point))
    assert [(step, value) for step, _, value in seen] == outcome.curve
    assert [step for step, _ in outcome.curve] == [1, 2, 3, 4, 5]
    assert outcome.examples == 5 * 64


def test_the_objective_is_the_mean_over_contrasts() -> None:
    class Count(Loss):
        pairing = "cross_view_symmetric"  # two contrasts

        def __init__(self) -> None:
            super().__init__()
            self.values = iter([1.0, 5.0] * 5)

        def forward(self, contrast: Contrast) -> Tensor:
            return contrast.anchors.sum() * 0 + next(self.values)

    assert [value for _, value in run(Count()).curve] == [3.0] * 5


class Fails(Loss):
    """Goes wrong at the third step: two contrasts a step."""

    pairing = "cross_view_symmetric"

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value, self.calls = value, 0

    def forward(self, contrast: Contrast) -> Tensor:
        self.calls += 1
        return contrast.anchors.sum() * (self.value if self.calls > 4 else 1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_is_noticed_at_once(value: float) -> None:
    with pytest.raises(Diverged, match=r"diverged at step 3 of 5: the objective is"):
        run(Fails(value))


def test_a_losss_parameters_are_trained() -> None:
    class Scaled(Loss):
        def __init__(self) -> None:
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(()))

        def forward(self, contrast: Contrast) -> Tensor:
            return (contrast.anchors * contrast.positives).mean() * self.scale

    loss = Scaled()
    run(loss)
    assert loss.scale.item() != 1.0


def test_scores_must_be_finite() -> None:
    task = plugins.build("tasks", "blobs(steps=1)")
    task.evaluate = lambda encoder, split: {"accuracy": math.nan}
    with pytest.raises(InputError, match="must return at least one finite score"):
        run("infonce", task=task)


def test_epochs_are_permutations_without_repeats() -> None:
    task = plugins.build("tasks", "blobs(batch_size=90)")
    task.load(RANDOMNESS)
    batches = [task.batch_index(RANDOMNESS, step) for step in range(6)]  # 300 // 90 = 3 an epoch
    for epoch in (batches[:3], batches[3:]):
        numbers = torch.cat(epoch).tolist()
        assert len(set(numbers)) == 270
    assert not torch.equal(batches[0], batches[3])


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("blobs(steps=0)", "`steps` must be a whole number at least 1: got 0"),
        ("blobs(batch_size=-1)", "`batch_size` must be a whole number at least 0: got -1"),
    ],
)
def test_common_settings_are_checked(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        plugins.build("tasks", spec)


def test_a_losss_own_parameters_have_their_own_rate_and_no_decay() -> None:
    """KL-DRO's temperature moves ten times as fast as the weights may, and is not decayed."""
    loss = plugins.build("losses", "kl_dro(rate=10)")
    start = loss.log_tau.item()
    groups = []
    task = plugins.build("tasks", "blobs(steps=3)")
    made = task.make_optimizer
    task.make_optimizer = lambda given: (groups.extend(given), made(given))[1]
    run(loss, task=task)
    assert [group["lr"] for group in groups[1:]] == [pytest.approx(10 * task.learning_rate)]
    assert groups[1]["weight_decay"] == 0
    assert abs(loss.log_tau.item() - start) > 3 * task.learning_rate


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(InputError, match=r"do not go together: Regression needs stopped positives"):
        run("regression")


def test_a_losss_own_pairing_is_used_and_a_method_serves_again() -> None:
    method = plugins.build("methods", "siamese")
    for loss, pairing in (("kcl", "same_view_symmetric"), ("infonce", "both_views")):
        fit(
            plugins.build("tasks", "blobs(steps=1)"),
            method,
            plugins.build("losses", loss),
            RANDOMNESS,
        )
        assert method.used_pairing == pairing


def test_probes_on_the_way_change_nothing_after_them() -> None:
    """Bit for bit: scores, objectives, and what every later step saw."""
    plain, probed = run("infonce"), run("infonce", probes=3)
    assert probed.scores == plain.scores
    assert probed.curve == plain.curve
    assert probed.seen_digest == plain.seen_digest
    assert [step for step, _ in probed.probed] == [1, 2, 4]
    assert all(scores.keys() == {"accuracy"} for _, scores in probed.probed)
    assert plain.probed == run(None, probes=3).probed == []


def test_a_probe_is_the_score_of_a_shorter_run() -> None:
    """On validation, which is all that it looks at."""
    task = plugins.build("tasks", "blobs(steps=5)")
    task.steps = 2
    short = run("infonce", task=task, splits=("validation",))
    whole = run("infonce", probes=3, splits=("validation",))
    assert dict(whole.probed)[2] == short.scores["validation"]


def test_more_probes_than_steps_are_one_a_step() -> None:
    assert [step for step, _ in run("infonce", probes=50).probed] == [1, 2, 3, 4]
