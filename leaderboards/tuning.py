"""What tuning tried, what was chosen, and how near to the border of its space that lies."""

import json
import math
from collections.abc import Mapping
from typing import Any

import pandas as pd

from leaderboards.tables import TRIAL_COLUMNS, TUNED_COLUMNS

BORDER = 0.05
"""A chosen value nearer to an end than this share of its range is at the border."""


def trial_rows(records: pd.DataFrame) -> pd.DataFrame:
    """Return a row a tuning trial: its validation score by the task's main metric."""
    tuning = records[records["stage"] == "tuning"]
    chosen = {
        tuple(row)
        for row in records.loc[records["stage"] == "final", ["task", "method", "loss", "spec"]]
        .drop_duplicates()
        .itertuples(index=False)
    }
    rows = []
    for key, group in tuning.groupby(["task", "method", "loss", "trial"], sort=False):
        task, method, loss, trial = key
        done = group[group["status"] == "done"]
        metric = done["metric"].iloc[0] if len(done) else ""
        scores = done[done["metric"] == metric]
        states = [state for state in group["status"] if state != "done"]
        spec = group["spec"].iloc[0]
        rows.append(
            {
                "task": task,
                "modality": group["modality"].iloc[0],
                "metric": metric,
                "method": method,
                "loss": loss,
                "spec": spec,
                "trial": int(float(str(trial))),
                "seeds": len(scores),
                "status": states[0] if states else "done",
                "validation": math.nan if states else scores["value"].mean(),
                "std": math.nan if states else scores["value"].std(),
                "chosen": (task, method, loss, spec) in chosen,
                "settings": group["settings"].iloc[0],
            }
        )
    return pd.DataFrame(rows, columns=list(TRIAL_COLUMNS))


def tuned_rows(records: pd.DataFrame, trials: pd.DataFrame) -> pd.DataFrame:
    """Return a row a chosen setting, with its place in the space: 0 the low end, 1 the high."""
    rows = []
    picked = trials[trials["chosen"]].drop_duplicates(["task", "method", "loss"])
    spaces = records.drop_duplicates("loss").set_index("loss")["space"]
    for trial in picked.to_dict("records"):
        settings = json.loads(trial["settings"])
        budget = trials[
            (trials["task"] == trial["task"])
            & (trials["method"] == trial["method"])
            & (trials["loss"] == trial["loss"])
        ]
        for setting, part in json.loads(spaces[trial["loss"]]).items():
            value = settings.get(setting)
            ends: Mapping[str, Any] = part if isinstance(part, dict) else {}
            position = _position(value, ends)
            rows.append(
                {
                    "task": trial["task"],
                    "method": trial["method"],
                    "loss": trial["loss"],
                    "spec": trial["spec"],
                    "trials": len(budget),
                    "trial": trial["trial"],
                    "validation": trial["validation"],
                    "setting": setting,
                    "value": value,
                    "low": ends.get("low", math.nan),
                    "high": ends.get("high", math.nan),
                    "log": bool(ends.get("log", False)),
                    "position": position,
                    "at_border": position < BORDER or position > 1 - BORDER,
                }
            )
    return pd.DataFrame(rows, columns=list(TUNED_COLUMNS))


def _position(value: Any, ends: Mapping[str, Any]) -> float:
    """Return where in its range a value lies, NaN for a choice.

    >>> _position(0.1, {"low": 0.01, "high": 1.0, "log": True})
    0.5
    """
    if not ends or isinstance(value, str | bool) or value is None:
        return math.nan
    low, high, at = float(ends["low"]), float(ends["high"]), float(value)
    if ends.get("log"):
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low)
