"""Short names of tasks: settings that all tasks of one name share are said once."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import pandas as pd

from leaderboards.tables import Leaderboard, each_row

Settings = Mapping[str, Any]


class TaskSpec(NamedTuple):
    """A task as the records describe it.

    Attributes:
        name: the plugin's name.
        given: the settings that its spec states.
        settings: all settings, defaults included; empty where no cell has a record yet.
    """

    name: str
    given: Settings
    settings: Settings


def task_specs(records: pd.DataFrame) -> dict[str, TaskSpec]:
    """Return {task: its name and settings} of all tasks in ``records``."""
    columns = ["task", "task_name", "task_given", "task_settings"]
    found: dict[str, TaskSpec] = {}
    for row in each_row(records[columns].drop_duplicates()):
        settings = json.loads(row.task_settings)
        if settings or row.task not in found:
            found[row.task] = TaskSpec(row.task_name, json.loads(row.task_given), settings)
    return found


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
            if others and all(setting in own and own[setting] == value for own in others)
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
    """Return {task: its name with its own settings alone}, the settings that tasks share left out.

    If two tasks would get the same name, every task keeps its spec.
    """
    own = own_settings(tasks)
    names = {
        spec: label(task.name, own[spec]) if len(own[spec]) < len(task.given) else spec
        for spec, task in tasks.items()
    }
    alike = len(set(names.values())) < len(names)
    return {spec: spec for spec in tasks} if alike else names


def with_short_names(board: Leaderboard) -> Leaderboard:
    """Return ``board`` for the eye: its tables name tasks by ``board.names``.

    Files of numbers keep the specs.
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
