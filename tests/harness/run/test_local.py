"""The local engine: which worker gets which GPU."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.run.engines import Job, Resources
from harness.run.local import Local, gpus
from harness.store import provenance
from harness.store.identity import identify

LOOKS = """
import os, pathlib
from triptych_example import Blobs

class Look(Blobs):
    def load(self, randomness):
        with open(os.environ["LOOK_LOG"], "a") as log:
            log.write(f"{os.environ.get('CUDA_VISIBLE_DEVICES')}\\n")
        super().load(randomness)
"""


def test_slots_alternate_between_the_visible_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus(Resources("cpu", 4)) == []
    assert gpus(Resources("cuda")) == ["0", "1"]
    assert gpus(Resources("cuda", 2)) == ["0", "1", "0", "1"]
    assert gpus(Resources("cuda:1", 3)) == ["1", "1", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a,GPU-b")
    assert gpus(Resources("cuda:1")) == ["GPU-b"]
    assert gpus(Resources("cuda", 2)) == ["GPU-a", "GPU-b"] * 2


def test_a_worker_sees_its_own_gpu_before_torch_starts(
    tmp_path: Path, plugin: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no GPU here: the cells fail, and have looked by then."""
    plugin("looks", "tasks:look = looks:Look", LOOKS)
    monkeypatch.setenv("LOOK_LOG", str(tmp_path / "log"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,7")
    cells = [Cell("look(steps=2)", "siamese", "infonce", seed) for seed in range(2)]
    with Local() as engine:
        engine.open(tmp_path)
        for cell in cells:
            job = Job(cell, identify(cell).key, str(tmp_path))
            engine.submit(job, Resources("cuda", slots_per_gpu=2))
        settled = [event for event in engine.events() if event.settled]
        assert len(engine.workers) == 2, "no more workers than cells"
    assert sorted((tmp_path / "log").read_text().split()) == ["3", "7"]
    if not torch.cuda.is_available():
        assert all(event.kind == "failed" for event in settled)


def test_a_missing_gpu_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert provenance.choose_device("cuda:1") == "cuda:1"
    with pytest.raises(InputError, match=r"`device` .*'cuda:2'.* 2 CUDA devices.*cuda:0 to cuda:1"):
        provenance.choose_device("cuda:2")
    assert provenance.choose_device("cuda:2", elsewhere=True) == "cuda:2"
    assert provenance.choose_device("auto", elsewhere=True) == "cpu"


def test_a_job_round_trips_through_json() -> None:
    job = Job(Cell("t", "m", "l", 3, "validation", 2), "k", "/f", 1.5, tensorboard=True)
    assert Job.from_dict(json.loads(json.dumps(job.to_dict()))) == job
