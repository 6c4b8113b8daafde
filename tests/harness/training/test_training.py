"""The loop of one cell, on the third party's task."""

import math
import weakref
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness import plugins
from harness.contrast import Contrast
from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.evaluation.calibration import calibrate
from harness.losses.base import Loss
from harness.losses.infonce import InfoNCE
from harness.metrics import Evaluation
from harness.task import Task, _permutation
from harness.testing import fresh_head
from harness.training.loop import Diverged, Outcome, evaluate, fit

RANDOMNESS = Randomness("blobs", "", 0)


def run(loss: str | Loss | None, *, task: Any = None, **settings: Any) -> Outcome:
    built = plugins.build("losses", loss) if isinstance(loss, str) else loss
    task = task or plugins.build("tasks", "blobs(steps=5)")
    return fit(task, plugins.build("methods", "siamese"), built, RANDOMNESS, **settings)


def test_losses_share_weights_batches_views_and_dropout() -> None:
    outcomes = [run(loss) for loss in ("infonce", "adnce(mu=0.2)", "margin")]
    assert all(
        (o.start, o.ids, o.views) == (outcomes[0].start, outcomes[0].ids, outcomes[0].views)
        for o in outcomes
    )
    assert len({str(o.curve) for o in outcomes}) == 3


def test_untrained_has_the_same_start_and_takes_no_step() -> None:
    trained, untrained = run("infonce"), run(None)
    assert untrained.start == trained.start
    assert (untrained.steps, untrained.ids, untrained.curve) == (0, {}, [])
    assert untrained.scores.keys() == trained.scores.keys() == {"validation", "test"}


def test_a_cell_run_twice_gives_the_same() -> None:
    torch.manual_seed(123)  # whatever state the process is in
    first = run("infonce")
    torch.manual_seed(321)
    second = run("infonce")
    assert (first.scores, first.curve) == (second.scores, second.curve)
    assert (first.start, first.ids, first.views) == (second.start, second.ids, second.views)


def test_another_seed_starts_and_sees_something_else() -> None:
    other = fit(
        plugins.build("tasks", "blobs(steps=5)"),
        plugins.build("methods", "siamese"),
        plugins.build("losses", "infonce"),
        Randomness("blobs", "", 1),
    )
    first = run("infonce")
    assert other.start["encoder"]["weights"] != first.start["encoder"]["weights"]
    assert other.start["encoder"]["shapes"] == first.start["encoder"]["shapes"]
    assert other.ids != first.ids
    assert other.views != first.views


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


def test_the_proof_detects_another_view_batch_or_dropout_mask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another view shows at the next mark, another batch or mask at all later ones."""
    base = run("infonce")

    def other_second_view(data: Tensor) -> tuple[Tensor, Tensor]:
        first, second = type(task).views(task, data)
        return first, second + 1e-6

    task = plugins.build("tasks", "blobs(steps=5)")
    task.views = other_second_view
    moved = run("infonce", task=task)
    assert (moved.ids, moved.start) == (base.ids, base.start)
    assert all(moved.views[step] != base.views[step] for step in base.views)
    seed = Randomness.seed
    for stream, number in (("dropout", 2), ("order", 0)):
        with monkeypatch.context() as patch:
            patch.setattr(
                Randomness,
                "seed",
                lambda self, name, step=0, only=(stream, number): (
                    seed(self, name, step) + ((name, step) == only)
                ),
            )
            other = run("infonce")
        later = [step for step in base.ids if other.ids[step] != base.ids[step]]
        assert later == ([4, 5] if stream == "dropout" else [1, 2, 4, 5])


def test_an_epochs_order_is_drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a batch may be changed in place without touching the next one."""
    task = plugins.build("tasks", "blobs")
    task.load(RANDOMNESS)
    _permutation.cache_clear()
    drawn, randperm = [], torch.randperm
    monkeypatch.setattr(torch, "randperm", lambda *a, **k: drawn.append(a) or randperm(*a, **k))
    batches = [task.batch_index(RANDOMNESS, step) for step in range(8)]
    assert len(drawn) == 2, "300 examples are 4 batches of 64"
    assert len(torch.cat(batches[:4]).unique()) == 256
    kept = batches[5].clone()
    batches[5].zero_()
    assert torch.equal(task.batch_index(RANDOMNESS, 5), kept)
    assert torch.equal(task.batch_index(RANDOMNESS, 0), batches[0])


def test_evaluation_restores_each_modules_mode() -> None:
    task = plugins.build("tasks", "blobs")
    task.load(RANDOMNESS)
    method = plugins.build("methods", "siamese")
    method.attach(task.encoder(), fresh_head(task), pairing="both_views")
    method.train()
    method.head.eval()  # as a momentum encoder would keep itself
    evaluate(task, method, ("validation",), RANDOMNESS)
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
            total = contrast.anchors.sum()
            return total - total.detach() + next(self.values)

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
def test_divergence_is_raised_at_its_step(value: float) -> None:
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
    task.evaluate = lambda encoder, splits: Evaluation({s: {"accuracy": math.nan} for s in splits})
    with pytest.raises(InputError, match="must return finite scores on 'validation'"):
        run(None, task=task)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"test": {"accuracy": 0.5}}, "must return an Evaluation"),
        (Evaluation({"test": {"accuracy": 0.5}}), "its main metric 'accuracy' on 'validation'"),
        (Evaluation({"validation": {"f1": 0.5}}), "metrics that it declares, accuracy: got 'f1'"),
        (
            Evaluation({"validation": {"accuracy": 95.3}}),
            "`accuracy` must be from 0 to 1: got 95.3",
        ),
        (
            Evaluation({"validation": {"accuracy": -0.1}}),
            "`accuracy` must be from 0 to 1: got -0.1",
        ),
    ],
)
def test_scores_are_as_they_are_declared(found: Any, message: str) -> None:
    """A score in points where a share is meant would be ranked among shares."""
    task = plugins.build("tasks", "blobs(steps=1)")
    task.evaluate = lambda encoder, splits: found
    with pytest.raises(InputError, match=message):
        run(None, task=task)


def test_a_task_without_metrics_is_refused_before_it_trains(monkeypatch: Any) -> None:
    task = plugins.build("tasks", "blobs(steps=1)")
    monkeypatch.setattr(type(task), "metrics", ())
    task.load = lambda randomness: pytest.fail("loaded")
    with pytest.raises(InputError, match="`metrics` of Blobs must list the metrics that its"):
        run("infonce", task=task)


def test_the_error_for_an_outdated_signature_shows_the_new_one() -> None:
    with pytest.raises(
        TypeError, match=r"write `def evaluate\(self, encoder, splits\)`, and return"
    ):

        class Old(Task):
            def evaluate(self, encoder: Any, split: str) -> Any:  # type: ignore[override]
                return {}

    with pytest.raises(
        TypeError, match=r"`head` of Narrow must take the width .* head\(self, width"
    ):

        class Narrow(Task):
            def head(self) -> Any:  # type: ignore[override]
                return None

    with pytest.raises(TypeError, match="`locations` of Located must be declared with"):

        class Located(Task):
            locations = ("data",)


def test_epochs_are_permutations_without_repeats() -> None:
    task = plugins.build("tasks", "blobs(batch_size=90)")
    task.load(RANDOMNESS)
    batches = [task.batch_index(RANDOMNESS, step) for step in range(6)]  # 300 // 90 = 3 an epoch
    for epoch in (batches[:3], batches[3:]):
        numbers = torch.cat(epoch).tolist()
        assert len(set(numbers)) == 270
    assert not torch.equal(batches[0], batches[3])


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


def test_task_method_and_loss_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match=r"do not go together: Regression needs stopped positives"):
        run("regression")


def test_a_losss_own_pairing_is_used_and_a_method_can_be_reused() -> None:
    method = plugins.build("methods", "siamese")
    for loss, pairing in (("kcl", "same_view_symmetric"), ("infonce", "both_views")):
        fit(
            plugins.build("tasks", "blobs(steps=1)"),
            method,
            plugins.build("losses", loss),
            RANDOMNESS,
        )
        assert method.used_pairing == pairing


def test_probes_during_training_do_not_change_training() -> None:
    """Bit for bit: scores, objectives, and what every later step saw."""
    plain, probed = run("infonce"), run("infonce", probes=3)
    assert probed.scores == plain.scores
    assert probed.curve == plain.curve
    assert (probed.ids, probed.views) == (plain.ids, plain.views)
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


class NoGradient(Loss):
    """Return a value that depends on nothing."""

    def forward(self, contrast: Contrast) -> Tensor:
        return contrast.anchors.detach().sum()


class UnusedParameter(InfoNCE):
    """Have a parameter that the value does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(()))


class Detached(Loss):
    """Train a parameter of its own, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, contrast: Contrast) -> Tensor:
        return contrast.anchors.detach().sum() * self.scale


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        (NoGradient, "Siamese with NoGradient gave a value without gradient"),
        (UnusedParameter, "parameters of UnusedParameter must get a gradient: `bias` got none"),
        (Detached, "The encoder must get a gradient: Siamese with Detached gave it none"),
    ],
)
def test_a_part_that_gets_no_gradient_is_named_in_the_first_steps(
    loss: type[Loss], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        run(loss())


def test_an_objective_without_negatives_is_refused_in_the_first_steps() -> None:
    task = plugins.build("tasks", "blobs(steps=5)")
    batch = task.batch
    task.batch = lambda index: batch(index)._replace(ids=torch.zeros_like(index))
    with pytest.raises(InputError, match=r"must have a gradient: it is 0.* first 3 steps.*ids"):
        run("infonce", task=task)


def test_a_batch_of_one_is_refused() -> None:
    with pytest.raises(InputError, match="`batch_size` must be 0, for all examples, or 2 or more"):
        plugins.build("tasks", "images(batch_size=1)")


def test_a_network_called_like_a_loss_is_no_parameter_of_the_loss(
    caplog: pytest.LogCaptureFixture,
) -> None:
    method = plugins.build("methods", "siamese")
    method.loss_scale = nn.Linear(1, 1)
    fit(plugins.build("tasks", "blobs(steps=3)"), method, InfoNCE(), RANDOMNESS)
    assert "`loss_scale` got no gradient from Siamese with InfoNCE" in caplog.text


def test_clean_batches_are_made_one_at_a_time() -> None:
    alive: list[int] = []

    def batches() -> Iterator[Tensor]:
        for _ in range(4):
            batch = torch.randn(8, 5)
            held.append(weakref.ref(batch))
            alive.append(sum(ref() is not None for ref in held))
            yield batch
            del batch

    held: list[weakref.ref[Tensor]] = []
    calibrate(nn.BatchNorm1d(5), batches())
    assert max(alive) <= 3, "all batches of a set of large images do not fit into memory"


def test_an_encoder_that_does_not_say_how_wide_it_is_is_refused() -> None:
    task = plugins.build("tasks", "blobs(steps=1)")
    task.encoder = lambda: torch.nn.Flatten()
    with pytest.raises(InputError, match=r"must declare the width .* Flatten has neither"):
        run("infonce", task=task)


class CountsSteps(InfoNCE):
    """Notes the steps that it is told, and which of them each value belongs to."""

    def setup(self) -> None:
        self.told: list[tuple[int, int]] = []
        self.valued: list[int] = []

    def before_step(self, step: int, steps: int) -> None:
        self.told.append((step, steps))

    def forward(self, contrast: Contrast) -> Tensor:
        self.valued.append(self.told[-1][0])
        return super().forward(contrast)


@pytest.mark.parametrize(
    ("method", "accumulate", "values_a_step"),
    [("siamese", 1, 1), ("siamese", 3, 3), ("moco_v3", 1, 2), ("moco_v3", 2, 4)],
)
def test_a_loss_is_told_each_step_once_before_its_values(
    method: str, accumulate: int, values_a_step: int
) -> None:
    task = plugins.build("tasks", "blobs(steps=4)")
    task.accumulate = accumulate
    loss, made = CountsSteps(), plugins.build("methods", method)
    after: list[tuple[int, int]] = []
    own = made.after_step

    def noted(step: int, steps: int) -> None:
        after.append((step, steps))
        own(step, steps)

    made.after_step = noted
    fit(task, made, loss, RANDOMNESS, probes=1)
    assert loss.told == after == [(step, 4) for step in range(4)]
    assert loss.valued == [step for step in range(4) for _ in range(values_a_step)]


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", ["swav", "dino"])
def test_crops_leave_the_first_two_views_and_the_ids(name: str, accumulate: int) -> None:
    outcomes, given = [], []
    for spec in ("siamese", name, f"{name}(crops=3)"):
        task, method = plugins.build("tasks", "blobs(steps=3)"), plugins.build("methods", spec)
        task.accumulate = accumulate

        def noted(data: Tensor, count: int, task: Task = task) -> Any:
            given.append((data, found := type(task).further_views(task, data, count)))
            return found

        task.further_views = noted
        loss = plugins.build("losses", "infonce" if spec == "siamese" else "prototypes")
        outcomes.append(fit(task, method, loss, RANDOMNESS))
    plain, without, cropped = outcomes
    assert (plain.ids, plain.views, plain.start) == (cropped.ids, cropped.views, cropped.start)
    assert (without.ids, without.views) == (cropped.ids, cropped.views)
    assert without.curve != cropped.curve
    # Called for every batch of the last cell alone; all views of all batches differ.
    assert len(given) == 3 * accumulate
    assert all(len(found) == 3 for _, found in given)
    noise = [view - data for data, found in given for view in found]
    assert all(not torch.equal(a, b) for i, a in enumerate(noise) for b in noise[:i])


def test_a_task_must_give_as_many_further_views_as_asked_for() -> None:
    task = plugins.build("tasks", "blobs(steps=3)")
    task.further_views = lambda data, count: [data]
    method, loss = plugins.build("methods", "swav(crops=3)"), plugins.build("losses", "prototypes")
    with pytest.raises(InputError, match=r"`further_views` of Blobs must return 3 .*: got 1\."):
        fit(task, method, loss, RANDOMNESS)
