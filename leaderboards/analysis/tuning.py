"""What tuning tried and chose, and how near the chosen values are to the border of the space."""

import json
import math
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

BORDER = 0.05
"""A chosen value nearer to an end than this share of its range is at the border."""


class Trial(NamedTuple):
    """A tuning trial: its validation score over the tuning seeds, and whether it was chosen."""

    task: str
    modality: str
    metric: str
    method: str
    loss: str
    spec: str
    trial: int
    seeds: int
    status: str
    validation: float
    std: float
    chosen: bool
    settings: str


class Tuned(NamedTuple):
    """A chosen setting, with its position in the space: 0 is low, 1 is high."""

    task: str
    method: str
    loss: str
    spec: str
    trials: int
    trial: int
    validation: float
    setting: str
    value: Any
    low: float
    high: float
    log: bool
    position: float
    at_border: bool


def trial_rows(records: pd.DataFrame) -> pd.DataFrame:
    """Return one row per tuning trial: its validation score by the task's main metric."""
    columns = ["task", "modality", "metric", "main", "method", "loss", "spec", "trial", "status",
               "value", "settings"]  # fmt: skip
    final = records.loc[records["stage"] == "final", ["task", "method", "loss", "spec"]]
    chosen = set(final.drop_duplicates().itertuples(index=False, name=None))
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = defaultdict(list)
    for row in records.loc[records["stage"] == "tuning", columns].to_dict("records"):
        cell = {str(name): value for name, value in row.items()}
        groups[row["task"], row["method"], row["loss"], row["trial"]].append(cell)
    rows = []
    for (task, method, loss, trial), group in groups.items():
        done = [row for row in group if row["status"] == "done"]
        lost = [row["status"] for row in group if row["status"] != "done"]
        metric = next((row["metric"] for row in done if row["main"]), "")
        scores = [row["value"] for row in done if row["metric"] == metric]
        spec = group[0]["spec"]
        rows.append(
            Trial(
                task=task,
                modality=group[0]["modality"],
                metric=metric,
                method=method,
                loss=loss,
                spec=spec,
                trial=int(trial),
                seeds=len(scores),
                status=lost[0] if lost else "done",
                validation=math.nan if lost else float(np.mean(scores)),
                std=math.nan if lost or len(scores) < 2 else float(np.std(scores, ddof=1)),
                chosen=(task, method, loss, spec) in chosen,
                settings=group[0]["settings"],
            )
        )
    return pd.DataFrame(rows, columns=list(Trial._fields))


def tuned_rows(records: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Return one row per chosen setting, with its position in the space: 0 is low, 1 is high."""
    rows = []
    picked = trials[trials["chosen"].astype(bool)].drop_duplicates(["task", "method", "loss"])
    spaces = records.drop_duplicates("loss").set_index("loss")["space"]
    for trial in picked.to_dict("records"):
        settings = json.loads(trial["settings"])
        of_row = trials[
            (trials["task"] == trial["task"])
            & (trials["method"] == trial["method"])
            & (trials["loss"] == trial["loss"])
        ]
        for setting, part in json.loads(spaces[trial["loss"]]).items():
            value = settings.get(setting)
            # A setting that is searched over a list of choices has no ends.
            ends: Mapping[str, Any] = part if isinstance(part, dict) else {}
            position = _position(value, ends)
            rows.append(
                Tuned(
                    task=trial["task"],
                    method=trial["method"],
                    loss=trial["loss"],
                    spec=trial["spec"],
                    trials=len(of_row),
                    trial=trial["trial"],
                    validation=trial["validation"],
                    setting=setting,
                    value=value,
                    low=ends.get("low", math.nan),
                    high=ends.get("high", math.nan),
                    log=bool(ends.get("log", False)),
                    position=position,
                    at_border=position < BORDER or position > 1 - BORDER,
                )
            )
    return pd.DataFrame(rows, columns=list(Tuned._fields))


def _position(value: Any, ends: Mapping[str, Any]) -> float:
    """Return the position of a value in its range, from 0 to 1; NaN for a choice.

    >>> _position(0.1, {"low": 0.01, "high": 1.0, "log": True})
    0.5
    """
    if not ends or isinstance(value, str | bool) or value is None:
        return math.nan
    low, high, at = float(ends["low"]), float(ends["high"]), float(value)
    if ends.get("log"):
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low)
