"""Made-up records and data sets, rows of tables made of them, and what tests read of boards."""

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pandas as pd

from harness import plugins
from harness.core.cells import Cell
from harness.core.errors import InputError
from harness.data import Source
from harness.store.records import Record
from leaderboards import Leaderboard
from leaderboards.analysis.tables import RECORD_COLUMNS

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
    plugin = task_columns(task)["task_name"]
    row: dict[str, Any] = {
        **task_columns(task), "modality": "image", "method": "siamese", "loss": loss,
        "kind": kind, "tuned": loss.endswith("[tuned]"), "spec": loss,
        "baseline": loss == "infonce", "stage": "final", "trial": None, "seed": seed,
        "status": "done", "reason": "", "collapsed": "", "split": "test", "metric": "accuracy",
        "main": True, "unit": "%", "direction": "higher", "margin": 0.5, "resolution": 1e-9,
        "step": steps, "value": 50.0, "steps": steps, "seconds": 3.5,
        "proof": proof(f"start {task} {seed}", f"seen {task} {seed}" if steps else ""),
        "key": f"{task}{loss}{seed}", "settings": "{}", "space": "{}",
        "data": json.dumps({plugin: "1"}),
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


CELL = Cell("blobs", "siamese", "adnce(mu=0.5)", 3)


def record(key: str = "k" * 16, *, source: str = "src", **changes: Any) -> Record:
    changes = {"task": changes.get("cell", CELL.to_dict())["task"]} | changes
    made = Record(
        key=key,
        task="blobs",
        cell=CELL.to_dict(),
        identity={"source": source},
        modality="points",
        settings={"loss": {"mu": 0.5}},
        scores={"validation": {"accuracy": 0.1 + 0.2}, "test": {"accuracy": 61.5}},
        probed=[],
        curve=[(1, 2.5)],
        steps=40,
        continued=[],
        seconds={"train": 1.0, "evaluate": 0.5, "total": 2.0},
        throughput=10.0,
        peak_memory={"resident": 1},
        proof={"schema": 4, "start": {}, "ids": {}, "views": {}},
        data={},
        frame="frame",
        versions={"python": "3.11"},
        commit=None,
        device="cpu",
        finished="2026-01-01T00:00:00+00:00",
    )
    return replace(made, **changes)


TEXT = b"0 1\n1 0\n"
PINNED = sha256(TEXT).hexdigest()
TOY = Source(
    name="toy",
    modality="graph",
    about="two nodes",
    origin="https://example.org/toy",
    licence="CC0",
    size=8,
    places=("toy", "old/toy"),
    files={"edges.txt": PINNED},
)


def write_toy(folder: Path) -> None:
    (folder / "edges.txt").write_bytes(TEXT)


def write_graphs(folder: Path, stem: str = "PROTEINS", **files: str) -> Path:
    """Write a set of two graphs, a path of 3 nodes and a pair, with ``files`` in place."""
    place = folder / "tudataset" / stem / "raw"
    place.mkdir(parents=True)
    # The edge 1-2 twice, 2-3 in one direction alone, and a self-loop.
    parts = {
        "A": "1, 2\n2, 1\n1, 2\n2, 3\n3, 3\n4, 5\n5, 4\n",
        "graph_indicator": "1\n1\n1\n2\n2\n",
        "graph_labels": "-1\n1\n",
        "node_labels": "2\n4\n2\n2\n5\n",
    }
    for part, text in (parts | files).items():
        if text:
            (place / f"{stem}_{part}.txt").write_text(text)
    return folder
