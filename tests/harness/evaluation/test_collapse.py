"""Collapse is said of what collapsed, in status and on the board, and of nothing else."""

import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic import CELL, record, texts
from torch import Tensor, nn
from typer.testing import CliRunner

from harness import plugins
from harness.cli import app
from harness.core.errors import InputError
from harness.core.randomness import Randomness
from harness.evaluation.collapse import collapse
from harness.evaluation.diagnostics import Diagnosis
from harness.heads import mlp
from harness.metrics import Evaluation
from harness.store.records import Store
from harness.store.table import load_records
from harness.task import Task
from harness.testing import scores_of
from harness.testing.toy import NOISE, SIGNAL, Toy
from harness.training.loop import Diverged, fit
from leaderboards import leaderboard
from leaderboards.render.formats import files

UNTRAINED = {"effective_rank": 149.0, "mean_cosine": 0.55}


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ({"effective_rank": 39.0, "mean_cosine": 0.87}, ""),
        ({"effective_rank": 15.0, "mean_cosine": 0.98}, ""),
        ({"effective_rank": 14.8, "mean_cosine": 0.94}, r"effective rank 14.8 \(untrained 149.0\)"),
        ({"effective_rank": 30.0, "mean_cosine": 0.991},
         r"mean cosine 0.9910 \(untrained 0.5500\)"),
        ({"effective_rank": 1.0, "mean_cosine": 1.0}, "effective rank 1.0.*; mean cosine 1.0000"),
        ({"mean_cosine": 0.999}, "mean cosine 0.9990"),
        ({}, ""),
    ],
)  # fmt: skip
def test_a_collapse_shows_in_the_rank_or_the_cosine(last: dict[str, float], said: str) -> None:
    found = collapse([(0, UNTRAINED), (50, {"mean_cosine": 1.0}), (100, last)])
    assert bool(found) == bool(said)
    assert re.match(said, found)


def test_representations_already_similar_before_training_did_not_collapse() -> None:
    narrow = {"effective_rank": 3.0, "mean_cosine": 0.995}
    assert not collapse([(0, narrow), (100, {"effective_rank": 2.0, "mean_cosine": 0.999})])


@pytest.mark.parametrize("diagnostics", [[], [(0, UNTRAINED)], [(100, {"mean_cosine": 1.0})]])
def test_a_cell_without_training_or_diagnostics_did_not_collapse(
    diagnostics: list[tuple[int, dict[str, float]]],
) -> None:
    assert not collapse(diagnostics)


def folder(path: Path) -> Path:
    """Write three seeds of infonce and of adnce, of which two of adnce's collapsed."""
    store = Store(path)
    for loss in ("infonce", "adnce"):
        for seed in range(3):
            fell = loss == "adnce" and seed
            last = {"effective_rank": 1.2 if fell else 40.0, "mean_cosine": 0.9}
            cell = replace(CELL, loss=loss, seed=seed)
            made = record(
                f"{loss}{seed}".ljust(16, "k"),
                cell=cell.to_dict(),
                diagnostics=[(0, UNTRAINED), (40, last)],
            )
            store.write_record(cell, made)
    return path


def test_a_board_marks_collapsed_scores_in_every_format(tmp_path: Path) -> None:
    board = leaderboard(load_records(folder(tmp_path)))
    assert dict(zip(board.rows["loss"], board.rows["collapsed"], strict=True)) == {
        "infonce": 0, "adnce": 2,
    }  # fmt: skip
    assert any("adnce on blobs collapsed at 2 of 3 seeds" in note for note in texts(board))
    # On the page and in Markdown it stands behind the mean, in CSV in the column of marks.
    for name in ("board.html", "leaderboard.md", "leaderboard.tex", "leaderboard.csv", "table.csv"):
        assert "2 collapsed" in dict(files(board.report))[name]()


def test_status_says_which_cells_collapsed(tmp_path: Path) -> None:
    store = Store(folder(tmp_path))
    plan = [
        {"label": r.cell["loss"], "trial": None, "modality": "points", "key": r.key, "cell": r.cell}
        for r in store.records()
    ]
    store.write_study({"baseline": None, "plan": plan, "schema": 4})
    found = CliRunner().invoke(app, ["status", str(tmp_path)])
    assert "6 cells: 4 done, 2 collapsed, 0 to do" in found.stdout
    assert "effective rank 1.2 (untrained 149.0)" in found.stdout
    assert "To run the remaining" not in found.stdout


class Constant(nn.Module):
    """Give every example the same representation."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, view: Any) -> Tensor:
        return self.encoder(view) * 0 + 1


@pytest.mark.parametrize("spec", ["images(data='digits', knn=5)", "nodes(draws=1)", "graphs",
                                  "sentences"])  # fmt: skip
def test_equal_representations_have_a_score(spec: str) -> None:
    """They are a result, marked as collapsed: no failure that each run tries again."""
    task: Task = plugins.build("tasks", spec)
    task.load(Randomness("toy", "", 0))
    encoder = Constant(task.encoder()).eval()
    with torch.no_grad():
        scores = scores_of(task, encoder, "test")
    assert scores
    assert all(math.isfinite(value) for value in scores.values())


def test_a_trained_encoder_without_a_finite_score_counts_as_diverged() -> None:
    task = plugins.build("tasks", "blobs(steps=3)")
    task.evaluate = lambda encoder, splits: Evaluation({s: {"accuracy": math.nan} for s in splits})
    made = [task, plugins.build("methods", "siamese")]
    with pytest.raises(Diverged, match=r"collapsed after 3 steps: .*'accuracy': nan.*equal"):
        fit(*made, plugins.build("losses", "infonce"), Randomness("toy", "", 0))
    with pytest.raises(InputError, match="must return finite scores"):
        fit(*made, None, Randomness("toy", "", 0))


class Bare(Toy):
    """The toy task without BatchNorm or a head: what keeps most losses from collapsing."""

    def encoder(self) -> nn.Module:
        return mlp([SIGNAL + NOISE, 64, 16], batch_norm=False)

    def head(self, width: int) -> nn.Module:
        return nn.Identity()


@pytest.mark.parametrize(("loss", "fell"), [("infonce", False), ("fmicl(alpha=0)", True)])
def test_a_training_without_negatives_collapses_and_one_with_them_does_not(
    loss: str, fell: bool
) -> None:
    made = plugins.build("methods", "siamese"), plugins.build("losses", loss)
    outcome = fit(Bare(), *made, Randomness("toy", "", 0), diagnosis=Diagnosis)
    assert bool(collapse(outcome.diagnostics)) == fell
