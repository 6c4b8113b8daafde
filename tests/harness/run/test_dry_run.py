"""Each combination is tried before the grid, and a run ends that fails again and again."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from runs import STUDY, TUNED

from harness.core.cells import Cell
from harness.run.dry_run import DryRuns, combinations, try_cell, try_combinations
from harness.run.engines import Engine, Job, Resources
from harness.run.estimate import all_cells
from harness.run.local import Local
from harness.run.runner import run, run_one
from harness.study.study import Study

SPOILT = """
import os
from pathlib import Path
import torch
from triptych_example import Blobs, Margin

class Spoilt(Blobs):
    def evaluate(self, encoder, splits):
        return 95.0

class Late(Blobs):
    def batch(self, index):
        with open(os.environ["BATCHES"], "a") as log:
            log.write("x")
        return super().batch(index)

class Crash(Margin):
    def per_anchor(self, pos, neg, keep):
        os._exit(3)

class Slow(Margin):
    def forward(self, contrast):
        self.calls = getattr(self, "calls", 0) + 1
        if self.calls > 5:
            raise ValueError("tired")
        return super().forward(contrast)

class Repels(Margin):
    def per_anchor(self, pos, neg, keep):
        return super().per_anchor(pos, neg, torch.ones_like(keep))
"""
ENTRIES = {"losses": {"crash": "Crash", "slow": "Slow", "repels": "Repels"},
           "tasks": {"spoilt": "Spoilt", "late": "Late"}}  # fmt: skip


@pytest.fixture
def spoilt(plugin: Callable[..., None], tmp_path: Path) -> None:
    plugin("spoilt", "tasks:unused = spoilt:Late", SPOILT)
    (tmp_path / "site/spoilt-1.0.dist-info/entry_points.txt").write_text(
        "".join(
            f"[harness.{group}]\n" + "".join(f"{k} = spoilt:{v}\n" for k, v in names.items())
            for group, names in ENTRIES.items()
        )
    )


def tried(study: Study, folder: Path) -> DryRuns:
    cells = combinations(all_cells(study), outside=False)
    return try_combinations(cells, folder, Local(jobs=1), Resources())


def test_there_is_one_dry_run_of_each_combination_and_one_of_each_evaluation() -> None:
    cells = combinations(all_cells(STUDY), outside=False)
    assert [(cell.method, cell.loss, len(members)) for cell, members in cells.items()] == [
        ("", "untrained", 6), ("siamese", "infonce", 2), ("siamese", "adnce", 2),
    ]  # fmt: skip


def test_a_tuned_row_is_tried_at_one_of_its_points() -> None:
    cells = combinations(all_cells(TUNED), outside=False)
    assert len(cells) == 4
    assert all(cell.probes == 0 for cell in cells)


def test_combinations_of_shipped_plugins_are_left_out_before_a_run() -> None:
    study = Study("s", tasks=["images(data='digits')"], losses=["infonce", "margin"], seeds=1)
    cells = combinations(all_cells(study), outside=True)
    assert [cell.loss for cell in cells] == ["margin"]


def test_a_dry_run_takes_the_first_steps_alone(
    spoilt: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BATCHES", str(tmp_path / "batches"))
    assert try_cell(Cell("late(steps=50)", "siamese", "infonce", 0)) == {"kind": "done"}
    assert (tmp_path / "batches").read_text() == "xxx"
    assert try_cell(Cell("late(steps=2)", "siamese", "infonce", 0)) == {"kind": "done"}
    assert (tmp_path / "batches").read_text() == "xxxxx"


def test_a_plugin_from_outside_must_keep_its_decisive_contracts(spoilt: None) -> None:
    event = try_cell(Cell("blobs(steps=3)", "siamese", "repels", 0))
    assert event["kind"] == "failed"
    assert event["reason"].startswith("The loss 'repels' must keep its contract: a candidate")


def test_what_every_cell_would_fail_with_fails_once_and_leaves_no_files(
    spoilt: None, tmp_path: Path
) -> None:
    study = Study(
        "s", tasks=["spoilt(steps=3)", "blobs(steps=3)"], losses=["infonce", "crash"], seeds=3
    )
    dry_runs = tried(study, tmp_path / "run")
    assert dry_runs.tried == 6
    groups = [(group.reason, len(group.cells)) for group in dry_runs.groups()]
    assert [number for _, number in groups] == [1, 2]
    assert groups[0][0].startswith("`evaluate` of Spoilt must return an Evaluation: got 95.0.")
    assert "The worker exited with status 3." in groups[1][0]
    assert not (tmp_path / "run/records").exists()
    good = tried(study.but(tasks=["blobs(steps=3)"], losses=["infonce"]), tmp_path / "good")
    assert (good.tried, good.lost) == (2, {})
    assert not (tmp_path / "good/dry_run").exists()


def test_the_cells_of_a_failed_dry_run_are_not_run(spoilt: None, tmp_path: Path) -> None:
    study = Study("s", tasks=["blobs(steps=3)"], losses=["infonce", "crash"], seeds=12)
    summary = run(study, tmp_path, engine="local(jobs=1)", try_first=True)
    assert len(summary.done) == 24
    assert {cell.loss for cell in summary.failed} == {"crash"}
    assert len(set(summary.failed.values())) == 1, "they share the reason of its dry run"
    assert not summary.stopped, "the others are worth running"


class Counting(Local):
    """An engine that notes what is tried."""

    def open(self, folder: Path) -> Engine:
        self.tried: list[tuple[str, str]] = getattr(self, "tried", [])
        return super().open(folder)

    def submit(self, job: Job, resources: Resources) -> None:
        if job.dry:
            self.tried.append((job.cell.loss, job.cell.scored))
        super().submit(job, resources)


def test_a_tuned_row_is_tried_once_and_its_task_is_not_scored_on_test_before(
    tmp_path: Path,
) -> None:
    study = Study(
        "tuned",
        tasks=["blobs(steps=3)"],
        losses={"margin": {"margin": {"low": 0.1, "high": 0.3}}},
        seeds=1,
        tuning={"trials": 1, "seeds": 1},
    )
    engine = Counting(jobs=1)
    assert run(study, tmp_path, engine=engine, try_first=True).complete
    losses = [(loss.partition("(")[0], scored) for loss, scored in engine.tried]
    assert losses == [("untrained", "validation"), ("margin", "validation"), ("untrained", "test")]


def test_a_single_cell_is_tried_before_it_is_trained(spoilt: None, tmp_path: Path) -> None:
    event = run_one(Cell("spoilt(steps=3)", "siamese", "infonce", 0), tmp_path)
    assert event.kind == "failed"
    assert "`evaluate` of Spoilt must return an Evaluation: got 95.0." in event.reason
    assert not (tmp_path / "logs").exists(), "it was not trained"


def test_a_run_ends_after_some_failures_with_one_message(spoilt: None, tmp_path: Path) -> None:
    study = Study("s", tasks=["blobs(steps=9)"], losses=["slow"], seeds=5)
    summary = run(study, tmp_path / "two", engine="local(jobs=1)", max_failures=2)
    assert len(summary.failed) == 2
    assert "2 cells failed with one message, so the other" in summary.stopped
    assert not summary.complete
    reasons = set(summary.failed.values())
    assert len(reasons) == 1
    assert "ValueError: tired (in `forward`, spoilt.py, line 25)." in reasons
    assert len(run(study, tmp_path / "any", engine="local(jobs=1)", max_failures=0).failed) == 5


@pytest.mark.parametrize(
    ("options", "status", "said"),
    [
        (("--losses", "infonce", "--dry-run"), 0, "were tried: none failed"),
        (
            ("--losses", "infonce,repels", "--dry-run"),
            1,
            "The loss 'repels' must keep its contract",
        ),
        (("--losses", "repels", "--fail-fast"), 1, "Stopped: 1 cell failed with one message"),
    ],
)
def test_the_command_line_tries_and_stops(
    spoilt: None,
    here: Callable[..., subprocess.CompletedProcess[str]],
    small: str,
    options: tuple[str, ...],
    status: int,
    said: str,
) -> None:
    done = here("run", small, "--jobs", "1", *options)
    assert done.returncode == status
    assert said in " ".join((done.stdout + done.stderr).split())
    assert not list(Path().rglob("records/*.json"))
