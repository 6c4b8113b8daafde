"""What a row costs: seconds a step and peak memory."""

import json
from collections.abc import Mapping
from statistics import median
from typing import NamedTuple

import pandas as pd

from leaderboards.analysis.tables import TRAINED, each_row


class Cost(NamedTuple):
    """The cost of a row.

    Attributes:
        step_seconds: seconds of one training step, the median over seeds.
        memory: peak memory in bytes, the largest of the seeds: the GPU's if there is one.
    """

    step_seconds: float
    memory: float


def costs(records: pd.DataFrame) -> dict[tuple[str, str, str], Cost]:
    """Return {(task, method, loss): its cost} of the trained rows."""
    cells = records[
        (records["stage"] == "final")
        & (records["status"] == "done")
        & (records["kind"] == TRAINED)
        & records["train_seconds"].notna()
    ].drop_duplicates(["task", "method", "loss", "seed"])
    seconds: dict[tuple[str, str, str], list[float]] = {}
    peaks: dict[tuple[str, str, str], list[float]] = {}
    wanted = ["task", "method", "loss", "steps", "train_seconds", "memory"]
    for cell in each_row(cells[wanted]):
        key = (cell.task, cell.method, cell.loss)
        if cell.steps:
            seconds.setdefault(key, []).append(float(cell.train_seconds) / int(cell.steps))
        peaks.setdefault(key, []).append(_peak(json.loads(cell.memory)))
    return {key: Cost(median(own), max(peaks[key])) for key, own in seconds.items()}


def _peak(memory: Mapping[str, float]) -> float:
    """Return the peak that limits a run: that of the GPU, else of the process; NaN if unknown.

    >>> _peak({"resident": 5.0, "gpu": 3.0}), _peak({"resident": 5.0})
    (3.0, 5.0)
    """
    return float(memory.get("gpu", memory.get("resident", float("nan"))))
