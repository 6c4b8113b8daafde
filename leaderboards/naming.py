"""Short names of tasks: settings that all tasks of one name share are said once."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from leaderboards.series import read, written
from leaderboards.tables import Leaderboard


def with_short_names(board: Leaderboard) -> Leaderboard:
    """Return ``board`` for the eye: no task's name repeats what others of its name have too.

    A note says what was left out. Files of numbers keep the whole names, which are specs.
    """
    tasks = list(dict.fromkeys(map(str, board.records["task"])))
    shared = shared_settings(tasks)
    if not shared:
        return board
    names = {task: _without(task, shared) for task in tasks}
    if len(set(names.values())) < len(names):
        return board  # The same settings in another order are another name, and stay one.
    tables: dict[str, Any] = {
        name: _renamed(getattr(board, name), names)
        for name in ("rows", "cells", "tuned", "trials", "curves", "diagnostics", "records")
    }
    responses = _renamed(board.responses, names)
    series = [_without(name, shared) for name in responses["series"]]
    settings = board.records.attrs.get("task_settings", {})
    tables["records"].attrs["task_settings"] = {
        names.get(task, task): own for task, own in settings.items()
    }
    said = [f"{name} is {written(name, own)} here." for name, own in shared.items()]
    return replace(
        board,
        **tables,
        responses=responses.assign(series=series),
        notes=(*said, *(_in_text(note, names) for note in board.notes)),
    )


def shared_settings(tasks: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Return {name: the settings that all tasks of that name have}, where there are several.

    >>> shared_settings(["images(size=14)", "images(size=14, labels=5)", "nodes(steps=9)"])
    {'images': {'size': 14}}
    """
    by_name: dict[str, list[dict[str, Any]]] = {}
    for spec in map(read, dict.fromkeys(tasks)):
        if spec is not None:
            by_name.setdefault(spec[0], []).append(spec[1])
    shared = {
        name: {
            setting: value
            for setting, value in first.items()
            if others and all(setting in own and own[setting] == value for own in others)
        }
        for name, (first, *others) in by_name.items()
    }
    return {name: settings for name, settings in shared.items() if settings}


def _without(task: str, shared: Mapping[str, Mapping[str, Any]]) -> str:
    spec = read(task)
    if spec is None or spec[0] not in shared:
        return task
    name, settings = spec
    return written(name, {key: own for key, own in settings.items() if key not in shared[name]})


def _renamed(table: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    return table.assign(task=[names.get(task, task) for task in table["task"]])


def _in_text(note: str, names: Mapping[str, str]) -> str:
    # One may be the beginning of another, the end of another's name, or in a path.
    longest_first = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.sub(rf"(?<![\w/.-])(?:{longest_first})", lambda found: names[found[0]], note)
