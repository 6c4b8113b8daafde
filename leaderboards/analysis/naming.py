"""Short names of tasks, without the settings that all tasks of one name share."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from leaderboards.analysis.tables import Leaderboard, each_row

Settings = Mapping[str, Any]


class TaskSpec(NamedTuple):
    """A task as the records describe it.

    Attributes:
        name: the plugin's name.
        given: the settings that its spec states.
        settings: all settings, defaults included; empty if no cell has a record yet.
    """

    name: str
    given: Settings
    settings: Settings


def task_specs(records: pd.DataFrame) -> dict[str, TaskSpec]:
    """Return {task: its name and settings} of all tasks in ``records``."""
    columns = ["task", "task_name", "task_given", "task_settings"]
    specs: dict[str, TaskSpec] = {}
    for row in each_row(records[columns].drop_duplicates()):
        settings = json.loads(row.task_settings)
        # A cell without a record does not tell the defaults; prefer one that does.
        if settings or row.task not in specs:
            specs[row.task] = TaskSpec(row.task_name, json.loads(row.task_given), settings)
    return specs


def label(name: str, settings: Settings) -> str:
    """Return a task's name with some of its settings.

    >>> label("images", {"size": 14, "data": "mnist"})
    "images(size=14, data='mnist')"
    """
    inside = ", ".join(f"{key}={value!r}" for key, value in settings.items())
    return f"{name}({inside})" if inside else name


def shared_settings(tasks: Mapping[str, TaskSpec]) -> dict[str, dict[str, Any]]:
    """Return {name: the settings that the specs of all tasks of that name state}.

    A name with one task is left out.
    """
    by_name: dict[str, list[Settings]] = {}
    for task in tasks.values():
        by_name.setdefault(task.name, []).append(task.given)
    shared = {
        name: {
            setting: value
            for setting, value in first.items()
            if others and all(setting in other and other[setting] == value for other in others)
        }
        for name, (first, *others) in by_name.items()
    }
    return {name: settings for name, settings in shared.items() if settings}


def own_settings(tasks: Mapping[str, TaskSpec]) -> dict[str, Settings]:
    """Return {task: the settings that its spec states and not all tasks of its name share}."""
    shared = shared_settings(tasks)
    return {
        spec: {
            key: value for key, value in task.given.items() if key not in shared.get(task.name, {})
        }
        for spec, task in tasks.items()
    }


def short_names(tasks: Mapping[str, TaskSpec]) -> dict[str, str]:
    """Return {task: its name with only those settings that not all tasks of its name share}.

    If two tasks would get the same name, all tasks keep their specs.
    """
    own = own_settings(tasks)
    names = {
        spec: label(task.name, own[spec]) if len(own[spec]) < len(task.given) else spec
        for spec, task in tasks.items()
    }
    ambiguous = len(set(names.values())) < len(names)
    return {spec: spec for spec in tasks} if ambiguous else names


def with_short_names(board: Leaderboard) -> Leaderboard:
    """Return ``board`` with its tasks named by ``board.names``, as people read it.

    The CSV files are written from the board with whole specs.
    """
    tables: dict[str, Any] = {
        name: _renamed(getattr(board, name), board.names)
        for name in (
            "rows", "cells", "tuned", "trials", "curves", "diagnostics", "responses", "records",
        )
    }  # fmt: skip
    return replace(board, **tables)


def _renamed(table: pd.DataFrame, names: Mapping[str, str]) -> pd.DataFrame:
    return table.assign(task=[names.get(task, task) for task in table["task"]])
