"""Estimates of time: from records, or from a few steps here."""

from pathlib import Path

import pytest
import torch

from harness.core.errors import InputError
from harness.run import estimate
from harness.run.estimate import Cost, all_cells, costs, total
from harness.run.runner import run
from harness.study.study import Study

SPACE = {"temperature": {"low": 0.05, "high": 1.0, "log": True}}
STUDY = Study(
    "s", tasks=["blobs(steps=6)"], losses={"infonce": SPACE, "margin": {}}, seeds=2, probes=1,
    tuning={"trials": 3, "seeds": 2},
)  # fmt: skip


def test_all_cells_has_as_many_cells_as_the_size_of_the_study() -> None:
    cells = all_cells(STUDY)
    assert len(cells) == STUDY.size() == 6 + 6
    assert sum(planned.trial is not None for planned in cells) == 6


def test_a_total_by_hand() -> None:
    """6 trials of 10 + 1; 4 cells of the board of 10 + 2 + 1 probe; 2 untrained of 2."""
    prices = {("blobs(steps=6)", "siamese"): Cost(training=10.0, evaluation=1.0)}
    cells = [planned.cell for planned in all_cells(STUDY)]
    assert total(cells, prices) == 6 * 11 + 4 * 13 + 2 * 2


def test_the_time_of_a_few_steps_is_scaled_to_all_steps() -> None:
    threads = torch.get_num_threads()
    named: list[str] = []
    found = costs(STUDY, listen=named.append)
    assert torch.get_num_threads() == threads
    assert named == ["blobs(steps=6) with siamese"]
    (cost,) = found.values()
    assert cost.records == 0
    assert cost.training > 0
    assert cost.evaluation > 0
    longer = costs(STUDY.but(tasks=["blobs(steps=600)"]))
    assert next(iter(longer.values())).training > 10 * cost.training


def test_costs_come_from_records_before_any_timing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(STUDY, tmp_path)
    monkeypatch.setattr(estimate, "measure", None)  # Calling it would fail.
    (cost,) = costs(STUDY, tmp_path).values()
    assert cost.records == 10, "untrained cells say nothing of training"
    assert 0 < cost.evaluation < 60


def test_a_loss_that_cannot_be_timed_is_an_error() -> None:
    wild = STUDY.but(tasks=["blobs(steps=6, noise=1e38)"])
    with pytest.raises(InputError, match=r"Could not time .*Diverged.* `--no-time`"):
        costs(wild)
