"""Parts of made-up tables of records, and what tests read of them."""

import json
from typing import Any

import pandas as pd

from harness import plugins
from harness.errors import InputError
from leaderboards import Leaderboard
from leaderboards.tables import RECORD_COLUMNS

STEPS = 100
"""The training steps of a made-up cell."""


def task_columns(task: str, **settings: Any) -> dict[str, str]:
    """Return the columns that describe ``task``; ``settings`` are those that a record tells."""
    try:
        name, given = plugins.read(task)
    except InputError:
        name, given = task, {}
    return {
        "task": task, "task_name": name, "task_given": json.dumps(given),
        "task_settings": json.dumps(settings),
    }  # fmt: skip


def record_row(task: str, loss: str, seed: int, **changes: Any) -> dict[str, Any]:
    """Return one score as ``load_records`` gives it; ``changes`` replace its columns."""
    kind = {"untrained": "untrained", "fixed": "reference"}.get(loss.partition(":")[0], "trained")
    steps = 0 if kind != "trained" else STEPS
    row: dict[str, Any] = {
        **task_columns(task), "modality": "image", "method": "siamese", "loss": loss,
        "kind": kind, "tuned": loss.endswith("[tuned]"), "spec": loss,
        "baseline": loss == "infonce", "stage": "final", "trial": None, "seed": seed,
        "status": "done", "reason": "", "collapsed": "", "split": "test", "metric": "accuracy",
        "main": True, "unit": "%", "direction": "higher", "margin": None, "resolution": None,
        "step": steps, "value": 50.0, "steps": steps, "seconds": 3.5,
        "proof": proof(f"start {task} {seed}", f"seen {task} {seed}" if steps else ""),
        "key": f"{task}{loss}{seed}", "settings": "{}", "space": "{}", "data": '{"x": "1"}',
        "versions": '{"torch": "2"}', "source": "s", "commit": None, "device": "cpu",
        "memory": "{}", "finished": "2026-01-01", **changes,
    }  # fmt: skip
    return {column: row[column] for column in RECORD_COLUMNS}


def texts(found: pd.DataFrame | Leaderboard) -> list[str]:
    """Return the notes of a table of records or of a board."""
    notes = found.notes if isinstance(found, Leaderboard) else found.attrs["notes"]
    return [note.text for note in notes]


def network(weights: str, shapes: str = "wide", sample: tuple[float, ...] = (0.5, -0.25)) -> Any:
    """Return how a network starts."""
    return {"shapes": shapes, "weights": weights, "sample": list(sample)}


def proof(weights: str = "start", seen: str = "seen", **changes: Any) -> str:
    """Return a record's proof; ``seen`` is empty for a cell that was not trained.

    Args:
        weights: stand for the encoder's initial weights.
        seen: stands for all batches and views.
        changes: parts that are to be otherwise.
    """
    marks = {str(step): f"{seen} {step}" for step in (1, 2, 4, 5)} if seen else {}
    return json.dumps(
        {
            "schema": 4, "machine": "cpu (model)", "torch": "2.13.0", "processes": 1,
            "frame": "frame", "data": "data", "ids": marks, "views": marks,
            "start": {"splits": "splits", "encoder": network(weights), "head": network("head")},
        }
        | changes
    )  # fmt: skip
