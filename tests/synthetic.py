"""Made-up records and data sets, rows of tables made of them, and what tests read of boards."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import sha256
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
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


def loss_columns(loss: str) -> dict[str, str]:
    """Return the columns that describe the row ``loss``."""
    try:
        name, given = plugins.read(loss.removesuffix("[tuned]"))
    except InputError:
        name, given = loss, {}
    return {"loss": loss, "loss_name": name, "loss_given": json.dumps(given)}


def record_row(task: str, loss: str, seed: int, **changes: Any) -> dict[str, Any]:
    """Return one score as ``load_records`` gives it; ``changes`` replace its columns."""
    kind = {"untrained": "untrained", "fixed": "reference"}.get(loss.partition(":")[0], "trained")
    steps = 0 if kind != "trained" else STEPS
    plugin = task_columns(task)["task_name"]
    row: dict[str, Any] = {
        **task_columns(task), **loss_columns(loss), "modality": "image", "method": "siamese",
        "kind": kind, "tuned": loss.endswith("[tuned]"), "spec": loss,
        "baseline": loss == "infonce", "stage": "final", "trial": None, "seed": seed,
        "status": "done", "reason": "", "collapsed": "", "split": "test", "metric": "accuracy",
        "main": True, "unit": "%", "direction": "higher", "margin": 0.5, "resolution": 1e-9,
        "step": steps, "value": 50.0, "steps": steps, "seconds": 3.5,
        "train_seconds": 2.0 if steps else 0.0,
        "proof": proof(f"start {task} {seed}", f"seen {task} {seed}" if steps else ""),
        "key": f"{task}{loss}{seed}", "settings": "{}", "space": "{}",
        "data": json.dumps({plugin: "1"}),
        "versions": '{"torch": "2"}', "source": "s", "commit": None, "device": "cpu",
        "memory": "{}", "finished": "2026-01-01", "path": "records/x.json",
        "command": f"triptych cell {task} --loss {loss} --seed {seed}", **changes,
    }  # fmt: skip
    return {column: row[column] for column in RECORD_COLUMNS}


def grid(
    losses: Mapping[str, float],
    tasks: Mapping[str, float],
    seeds: int = 5,
    *,
    noise: float = 0.4,
    failing: Mapping[str, Collection[int]] | None = None,
    trials: int = 0,
    steps: Sequence[int] = (0, 50, 100),
    labels: Mapping[str, str] | None = None,
    **changes: Any,
) -> pd.DataFrame:
    """Return the records of a whole study, as ``load_records`` gives them.

    Args:
        losses: {loss: how many points it is above the baseline}.
        tasks: {task: the baseline's score}.
        seeds: how many seeds there are.
        noise: the standard deviation of a score beside what all losses of a seed share.
        failing: {loss: the seeds at which it failed, on every task}.
        trials: tuning trials of each loss, at two tuning seeds.
        steps: the steps at which validation is scored; the last one ends the training.
        labels: what people call tasks, losses and metrics.
        changes: columns that replace those of every row.
    """
    draw = np.random.default_rng(0)
    failing = failing or {}
    rows = []
    for (task, level), seed in product(tasks.items(), range(seeds)):
        common = draw.normal(0, 0.8)
        for loss, gain in losses.items():
            own = {"data": json.dumps({task: "1"}), "memory": '{"resident": 1500000000}', **changes}
            if seed in failing.get(loss, ()):
                gone = {"status": "failed", "reason": "boom", "split": None, "metric": None}
                rows.append(record_row(task, loss, seed, **own | gone | {"value": None}))
                continue
            value = level + gain + common + draw.normal(0, noise)
            rows.append(record_row(task, loss, seed, **own | {"value": value}))
            last = rows[-1]["steps"]
            for step in steps if last else (0,):
                at = {"split": "validation", "step": step if last else 0}
                at["value"] = value - 8 * (1 - step / STEPS) if last else value
                rows.append(record_row(task, loss, seed, **own | at))
    rows += list(_tuning_rows(losses, tasks, trials, draw, changes))
    table = pd.DataFrame(rows, columns=list(RECORD_COLUMNS))
    table.attrs = {"labels": dict(labels or {}), "tasks": list(tasks), "title": "study"}
    return table


def _tuning_rows(
    losses: Mapping[str, float],
    tasks: Mapping[str, float],
    trials: int,
    draw: np.random.Generator,
    changes: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    trained = [loss for loss in losses if not loss.startswith(("untrained", "fixed"))]
    space = json.dumps({"temperature": {"low": 0.02, "high": 1.0, "log": True}})
    for (task, level), loss, trial in product(tasks.items(), trained, range(trials)):
        temperature = 0.02 * 50 ** ((trial + 0.5) / trials)
        for seed in (10_000, 10_001):
            value = level + losses[loss] - abs(draw.normal(0, 2)) - 3 * abs(temperature - 0.3)
            yield record_row(
                task, loss, seed, stage="tuning", trial=trial, split="validation", value=value,
                spec=loss if trial == trials // 2 else f"{loss} {trial}", space=space,
                settings=json.dumps({"temperature": temperature}), **changes,
            )  # fmt: skip


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


def write_graphs(folder: Path, stem: str = "OWN", **files: str) -> Path:
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
