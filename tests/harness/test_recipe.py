"""How a cell is optimized: rates, epochs, batches a step, precision, hard negatives."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness import plugins
from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.losses.infonce import InfoNCE
from harness.methods.base import misfit
from harness.recipe import SCHEDULES, Recipe, rate_at
from harness.task import Batch, Task
from harness.training.loop import Outcome, fit

RANDOMNESS = Randomness("blobs", "", 0)


def blobs(**changes: Any) -> Task:
    task: Task = plugins.build("tasks", "blobs(steps=4)")
    for name, value in changes.items():
        assert hasattr(task, name)
        setattr(task, name, value)
    return task


def trained(task: Task, **changes: Any) -> tuple[Outcome, dict[str, torch.Tensor]]:
    method = plugins.build("methods", "siamese")
    outcome = fit(task, method, InfoNCE(), RANDOMNESS, splits=(), **changes)
    return outcome, dict(method.state_dict())


@given(steps=st.integers(1, 300), warmup=st.floats(0, 1), schedule=st.sampled_from(SCHEDULES))
def test_a_rate_rises_to_its_highest_and_then_only_falls(
    steps: int, warmup: float, schedule: str
) -> None:
    rates = [rate_at(s, steps=steps, warmup=warmup, schedule=schedule) for s in range(steps)]
    top = rates.index(max(rates))
    assert max(rates) == pytest.approx(1)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert min(rates) > 0, "a step that does nothing"


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_schedules_agree_with_torchs(schedule: str) -> None:
    """Against torch's own schedulers, the warm-up's steps left out."""
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.SGD([parameter], lr=1.0)
    theirs = (
        torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 8)
        if schedule == "cosine"
        else torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=8)
    )
    for step in range(8):
        ours = rate_at(2 + step, steps=10, warmup=0.2, schedule=schedule)
        assert ours == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        theirs.step()


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_the_setting_names_the_optimizer(name: str) -> None:
    made = blobs(optimizer=name, learning_rate=0.3, weight_decay=0.1).make_optimizer(
        [{"params": [torch.nn.Parameter(torch.zeros(1))]}]
    )
    assert type(made).__name__.lower() == name
    assert (made.defaults["lr"], made.defaults["weight_decay"]) == (0.3, 0.1)
    assert made.defaults.get("momentum", 0.9) == 0.9


def test_epochs_become_steps_by_the_size_of_the_data() -> None:
    task = blobs(epochs=2.5)
    outcome, _ = trained(task)
    assert outcome.steps == round(2.5 * (300 // 64))
    assert blobs(epochs=0).total_steps() == 4
    task.accumulate = 2
    assert task.total_steps() == round(2.5 * 4 / 2)


def test_accumulated_batches_are_averaged() -> None:
    """One step of two batches is SGD by the mean of the gradients that each gives alone."""
    rate = 0.5
    together, weights = trained(blobs(steps=1, accumulate=2, optimizer="sgd", learning_rate=rate))
    assert together.examples == 128
    task, method = blobs(), plugins.build("methods", "siamese")
    fit(task, method, None, RANDOMNESS, splits=())
    method.train()
    values = []
    for number in (0, 1):
        batch = task.batch(task.batch_index(RANDOMNESS, number))
        with RANDOMNESS.seeded("views", number):
            first, second = task.views(batch.data)
        with RANDOMNESS.seeded("dropout", number):
            values += [InfoNCE()(contrast) for contrast in method(first, second, batch)]
    mean = torch.stack(values).mean()
    mean.backward()
    assert together.curve[0][1] == pytest.approx(mean.item())
    for name, parameter in method.named_parameters():
        assert parameter.grad is not None
        torch.testing.assert_close(weights[name], parameter.detach() - rate * parameter.grad)


def test_accumulated_batches_are_those_of_twice_as_many_steps() -> None:
    chains = [trained(blobs(steps=s, accumulate=a))[0].chain for s, a in ((4, 1), (2, 2))]
    assert chains[0] == chains[1]


def test_bfloat16_applies_only_to_training_steps() -> None:
    task = blobs(precision="bfloat16")
    kinds = []
    make = task.encoder

    class Watched(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = make()

        def forward(self, view: torch.Tensor) -> torch.Tensor:
            rows: torch.Tensor = self.inner(view)
            kinds.append((self.training, rows.dtype))
            return rows

    task.encoder = Watched  # type: ignore[method-assign]
    method = plugins.build("methods", "siamese")
    half = fit(task, method, InfoNCE(), RANDOMNESS)
    assert set(kinds) == {(True, torch.bfloat16), (False, torch.float32)}
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    whole, _ = trained(blobs())
    assert half.curve != whole.curve
    assert half.curve[0][1] == pytest.approx(whole.curve[0][1], rel=0.02)


class WithNegatives:
    """Blobs whose batches hold three hard negatives."""

    def __init__(self, task: Task) -> None:
        make = task.batch
        task.hard_negatives = True
        task.batch = lambda index: make(index)._replace(negatives=torch.ones(3, 32))  # type: ignore[method-assign]


def test_hard_negatives_are_candidates_of_every_anchor() -> None:
    task, method = blobs(), plugins.build("methods", "siamese(pairing='cross_view')")
    WithNegatives(task)
    fit(task, method, None, RANDOMNESS, splits=())
    method.eval()
    batch = task.batch(torch.arange(5))
    (contrast,) = method(batch.data, batch.data + 1, batch)
    assert contrast.candidates.shape[0] == 5 + 3
    assert contrast.candidate_ids.tolist() == [0, 1, 2, 3, 4, -1, -1, -1]
    torch.testing.assert_close(contrast.candidates[5:], method.project(torch.ones(3, 32)))
    plain = contrast.anchors @ torch.cat([contrast.positives, contrast.candidates[5:]]).T
    assert plain.shape == (5, 8)
    trained(task)


def test_hard_negatives_need_a_method_that_uses_them() -> None:
    task = blobs()
    WithNegatives(task)
    method = plugins.build("methods", "moco")
    with pytest.raises(InputError, match="gives hard negatives, but MoCo cannot use them"):
        fit(task, method, InfoNCE(), RANDOMNESS)
    assert misfit(method, InfoNCE()) is None


def test_a_batch_without_negatives_is_unchanged() -> None:
    assert Batch(None, torch.arange(2)).negatives is None


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("steps", 0, "`steps` must be a whole number at least 1: got 0"),
        ("batch_size", -1, "`batch_size` must be a whole number at least 0: got -1"),
        ("epochs", -1.0, "`epochs` must be a number at least 0: got -1.0"),
        (
            "optimizer",
            "lamb",
            "must be one of 'adamw', 'adam', 'sgd', 'lars': got 'lamb'",
        ),
        ("schedule", "step", "`schedule` must be one of 'constant', 'cosine', 'linear'"),
        ("warmup", 1.5, "`warmup` must be a number at least 0 and at most 1: got 1.5"),
        ("precision", "float16", "`precision` must be one of 'float32', 'bfloat16'"),
        ("accumulate", 0, "`accumulate` must be a whole number at least 1: got 0"),
    ],
)
def test_an_invalid_setting_is_an_error(name: str, value: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Recipe(**{name: value})
