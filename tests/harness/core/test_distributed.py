"""A cell of several processes is the cell of one: here on CPU, over gloo."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import TRIPTYCH, environment
from torch import nn

from harness.core import distributed
from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.run.attempt import run_cell
from harness.store.identity import identify
from harness.store.records import Store

CELL = Cell("blobs(steps=6, batch_size=33)", "siamese", "kl_dro", 0)


def test_two_processes_give_the_scores_of_one(tmp_path: Path) -> None:
    """Uneven shares, a loss with a weight of its own; the same up to the order of sums."""
    launcher = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu"]
    launcher += ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no"]
    launcher += ["--dynamo_backend", "no", "--main_process_port", "0"]
    command = [TRIPTYCH, "cell", CELL.task, "--loss", CELL.loss, "--device", "cpu"]
    done = subprocess.run(
        [*launcher, *command, "--out", str(tmp_path / "two")],
        capture_output=True, text=True, env=environment(COLUMNS="100"), check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    one = run_cell(CELL, identify(CELL).key, tmp_path / "one")
    (two,) = Store(tmp_path / "two").records()
    assert two.key == one.key
    assert two.steps == one.steps == 6
    assert two.device == f"{one.device}, one of 2 processes"
    for part in ("start", "ids", "views"):
        assert two.proof[part] == one.proof[part]
    assert (two.proof["processes"], one.proof["processes"]) == (2, 1), "they count as no pair"
    for (step, value), (other, alone) in zip(two.curve, one.curve, strict=True):
        assert step == other
        assert value == pytest.approx(alone, rel=1e-4)
    for split, scores in one.scores.items():
        assert two.scores[split] == pytest.approx(scores, abs=0.7)  # One of 150 examples.


def test_one_process_wraps_no_encoder() -> None:
    encoder = nn.Linear(2, 2)
    assert distributed.count() == 1
    assert distributed.spread(encoder) is encoder is distributed.unwrapped(encoder)
    with distributed.joined("cpu") as device:
        assert device == "cpu"
        assert not distributed.is_joined()
    assert distributed.unwrapped(distributed.Spread(encoder)) is encoder


def test_a_view_is_split_by_rows() -> None:
    view = {"ids": torch.arange(10).view(5, 2), "mask": (torch.ones(5), [torch.zeros(5, 1)])}
    sizes = distributed._shares(view, 2)
    assert sizes == [3, 2]
    part = distributed._rows(view, 3, 5)
    assert part["ids"].tolist() == [[6, 7], [8, 9]]
    assert [len(t) for t in distributed._tensors(part)] == [2, 2, 2]


def test_views_that_cannot_be_split_are_an_error() -> None:
    with pytest.raises(InputError, match=r"one row per example, to be shared by .* for graphs"):
        distributed._shares((torch.zeros(5, 2), torch.zeros(2, 9)), 2)
    with pytest.raises(
        InputError, match=r"`batch_size` must be at least the number .* got 1 for 2"
    ):
        distributed._shares(torch.zeros(1, 2), 2)
    with pytest.raises(InputError, match=r"made of tensors to be shared .* got str"):
        distributed._shares("text", 2)


def test_batchnorm_in_several_processes_needs_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "is_joined", lambda: True)
    monkeypatch.setattr(distributed.dist, "get_backend", lambda: "gloo")
    with pytest.raises(InputError, match=r"`device` must be cuda for an encoder with BatchNorm"):
        distributed.spread(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)))
