"""What people call the tasks, losses, methods and metrics of a study that was run."""

from collections.abc import Mapping
from typing import Any

from harness.core.cells import TUNED, name_of

Written = Mapping[str, Any]
"""A study as a run wrote it: :meth:`harness.store.records.Store.study`."""

NAMES = ("names", "labels", "aliases")
"""The keys of a written study that say what its parts are called: the plugins' own labels, the
study's labels, and its aliases."""


def display_names(study: Written) -> dict[str, str]:
    """Return {name: label} of a written study: what people call its parts, as far as it says.

    A name is that of a plugin or a metric, a whole spec, or a row such as ``adnce[tuned]``. A
    label that the study gives comes before an alias, and that before the plugin's own label. An
    alias of a plugin at its defaults is left out while another spec of the plugin has no label:
    that spec would be shown under the alias too.

    >>> study = {"names": {"adnce": "ADNCE"}, "aliases": {"ours": "adnce(mu=0.5)"}, "plan": []}
    >>> display_names(study)
    {'adnce': 'ADNCE', 'adnce(mu=0.5)': 'ours'}
    """
    aliased = {code: alias for alias, code in study.get("aliases", {}).items()}
    labels = study.get("labels", {})
    unnamed = _planned(study) - aliased.keys() - labels.keys()
    plugins = {_plugin(code) for code in unnamed}
    found = {
        **study.get("names", {}),
        **{code: alias for code, alias in aliased.items() if code not in plugins},
        **labels,
    }
    for spec, task in board_tasks(study).items():
        if spec in found:
            found.setdefault(task, found[spec])
    return found


def board_tasks(study: Written) -> dict[str, str]:
    """Return {task's spec: the same as boards show it, with names in the place of paths}.

    The tasks are in the study's order.
    """
    tasks: dict[str, str] = {}
    for place in (*study.get("plan", []), *study.get("earlier", [])):
        spec = place["cell"]["task"]
        tasks.setdefault(spec, place.get("task") or spec)
    return tasks


def aliases_of(study: Written) -> dict[str, str]:
    """Return {alias: the task as boards show it, the method, or the row}."""
    tasks = board_tasks(study)
    return {alias: tasks.get(code, code) for alias, code in study.get("aliases", {}).items()}


def kept_names(study: Written, earlier: Written) -> dict[str, dict[str, str]]:
    """Return the names, labels and aliases of ``study``, and of what only ``earlier`` has.

    Tasks and rows of an earlier run in the same folder stay on its board, so their labels do too.
    """
    planned = _planned(study)
    planned |= {_plugin(code) for code in planned}
    old = {key: earlier.get(key, {}) for key in NAMES}
    left = {
        "names": old["names"],
        "labels": {name: text for name, text in old["labels"].items() if name not in planned},
        "aliases": {alias: code for alias, code in old["aliases"].items() if code not in planned},
    }
    return {key: {**left[key], **study.get(key, {})} for key in NAMES}


def _planned(study: Written) -> set[str]:
    """Return the specs of tasks and methods, and the rows, of a written study's plan."""
    return {
        code
        for place in study.get("plan", [])
        for code in (place["cell"]["task"], place["cell"]["method"], place["label"])
    }


def _plugin(code: str) -> str:
    """Return the name of the plugin of a spec or row."""
    return name_of(code.removesuffix(TUNED))
