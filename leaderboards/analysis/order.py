"""The one order of tasks and losses, in every table and figure."""

from collections.abc import Sequence

import pandas as pd

from leaderboards.analysis.overall import ALL
from leaderboards.analysis.rows import Row
from leaderboards.analysis.tables import CONTROL, REFERENCE, TRAINED, UNTRAINED

MODALITIES = ("image", "sentence", "graph")
KINDS = (TRAINED, CONTROL, UNTRAINED, REFERENCE)
"""The kinds of rows in the order of every table: what can win comes first."""


def order_of_tasks(rows: Sequence[Row], given: Sequence[str]) -> list[str]:
    """Return the tasks in the study's order; those of no study last, by modality and name."""
    modality = {row["task"]: row["modality"] for row in rows}
    known = {name: place for place, name in enumerate(MODALITIES)}
    others = sorted(modality, key=lambda task: (known.get(modality[task], 9), modality[task], task))
    return list(dict.fromkeys([*(task for task in given if task in modality), *others]))


def order_of_rows(rows: Sequence[Row], overall: pd.DataFrame) -> tuple[tuple[str, str], ...]:
    """Return each (method, loss), by kind and, within each, by the pooled difference."""
    kinds = {(row["method"], row["loss"]): row["kind"] for row in rows}
    everywhere = overall[overall["scope"] == ALL]
    keys = dict.fromkeys([*zip(everywhere["method"], everywhere["loss"], strict=True), *kinds])
    return tuple(sorted(keys, key=lambda key: KINDS.index(kinds[key])))


def ordered(
    rows: pd.DataFrame,
    tasks: Sequence[str],
    order: Sequence[tuple[str, str]],
    by: Sequence[str] = (),
) -> pd.DataFrame:
    """Order rows by task, then by the columns ``by``, then by the board's order of losses.

    ``minor`` in ``by`` puts the main metric first.
    """
    place_of = {key: place for place, key in enumerate(order)}
    task_of = {task: place for place, task in enumerate(tasks)}
    keys = list(zip(rows["method"], rows["loss"], strict=True))
    placed = rows.assign(
        _task=rows["task"].map(task_of), _row=[place_of.get(key, len(order)) for key in keys]
    )
    if "minor" in by:
        placed = placed.assign(minor=~placed["main"].astype(bool))  # False sorts first.
    names = [name for name in by if name != "diagnostic"]
    if "diagnostic" in by:  # In the order of `in_order`, in which they come.
        numbers = {name: place for place, name in enumerate(dict.fromkeys(rows["diagnostic"]))}
        placed = placed.assign(_diagnostic=rows["diagnostic"].map(numbers))
        names.append("_diagnostic")
    found = placed.sort_values(["_task", *names, "_row"], kind="stable")
    return found[list(rows)].reset_index(drop=True)


def by_series(responses: pd.DataFrame, order: Sequence[tuple[str, str]]) -> pd.DataFrame:
    """Order the responses of each series and metric by the board's order of losses."""
    place_of = {key: place for place, key in enumerate(order)}
    panels = responses.groupby(["series", "setting", "kind", "metric"], sort=False).ngroup()
    keys = zip(responses["method"], responses["loss"], strict=True)
    placed = responses.assign(_panel=panels, _row=[place_of.get(key, len(order)) for key in keys])
    found = placed.sort_values(["_panel", "_row"], kind="stable")
    return found[list(responses)].reset_index(drop=True)
