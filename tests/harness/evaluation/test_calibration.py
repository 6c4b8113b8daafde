"""BatchNorm statistics of clean data: what they are, and that evaluating leaves no trace."""

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from harness import plugins
from harness.core.randomness import Randomness
from harness.evaluation.calibration import calibrate, calibrated
from harness.training.loop import fit

BATCHES = torch.randn(3, 40, 5, generator=torch.Generator().manual_seed(0)) * 2 + 1


def encoder() -> nn.Sequential:
    made = nn.Sequential(nn.BatchNorm1d(5), nn.Dropout(0.5), nn.Linear(5, 4), nn.BatchNorm1d(4))
    made(torch.randn(16, 5))  # Some statistics of training.
    return made.train()


def statistics(module: nn.Module) -> list[Tensor]:
    return [buffer.clone() for buffer in module.buffers()]


def test_the_statistics_are_the_mean_over_the_batches() -> None:
    made = encoder()
    calibrate(made, BATCHES)
    first = made[0]
    torch.testing.assert_close(first.running_mean, BATCHES.mean(dim=(0, 1)))
    torch.testing.assert_close(first.running_var, BATCHES.var(dim=1).mean(dim=0))
    # The second layer sees what the first gives with each batch's own statistics, no dropout.
    seen = [made[2](nn.functional.batch_norm(b, None, None, training=True)) for b in BATCHES]
    expected = torch.stack(seen).mean(dim=(0, 1))
    torch.testing.assert_close(made[3].running_mean, expected.detach())


def test_calibration_keeps_modes_momenta_and_weights_and_draws_no_randomness() -> None:
    made = encoder()
    made[1].eval()
    before = {name: p.clone() for name, p in made.named_parameters()}
    state = torch.get_rng_state()
    calibrate(made, BATCHES)
    assert torch.equal(torch.get_rng_state(), state)
    assert [m.training for m in made] == [True, False, True, True]
    assert (made[0].momentum, made[3].momentum) == (0.1, 0.1)
    assert all(torch.equal(p, before[name]) for name, p in made.named_parameters())


@pytest.mark.parametrize("batches", [[], ()])
def test_without_batches_the_training_statistics_are_kept(batches: Iterable[Any]) -> None:
    made = encoder()
    before = statistics(made)
    calibrate(made, batches)
    assert all(map(torch.equal, statistics(made), before))


def test_an_encoder_without_batch_norm_is_never_called() -> None:
    def fails() -> Iterable[Any]:
        raise AssertionError("asked for batches")
        yield

    calibrate(nn.Linear(5, 4), fails())


def test_statistics_are_restored_even_after_an_error() -> None:
    made = encoder()
    before = statistics(made)
    within = []

    def fails() -> None:
        with calibrated(made, BATCHES):
            within.extend(statistics(made))
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert not torch.equal(within[0], before[0])
    assert all(map(torch.equal, statistics(made), before))


@pytest.mark.parametrize("spec", ["images(data='digits', steps=4)", "graphs(steps=2)"])
def test_every_cell_is_scored_with_clean_statistics(
    spec: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Untrained, at a probe and at the end: BatchNorm has what all clean examples give it."""
    task = plugins.build("tasks", spec)
    evaluate, norms = task.evaluate, []

    def spy(made: nn.Module, splits: Any) -> Any:
        layer = next(m for m in made.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm))
        norms.append(statistics(layer))
        twin = plugins.build("tasks", spec)
        twin.load(Randomness("toy", "", 0))
        before = statistics(made)
        with calibrated(made, twin.calibration()):
            assert all(map(torch.equal, statistics(made), before))
        return evaluate(made, splits)

    monkeypatch.setattr(task, "evaluate", spy)
    for loss in (None, plugins.build("losses", "infonce")):
        method = plugins.build("methods", "siamese")
        fit(task, method, loss, Randomness("toy", "", 0), probes=1, splits=("validation",))
    assert len(norms) == 3
    assert not torch.equal(norms[0][0], norms[2][0])
