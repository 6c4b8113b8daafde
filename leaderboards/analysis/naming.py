"""What people call tasks, losses, methods and metrics: labels instead of code."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from leaderboards.analysis.tables import CONTROL, REFERENCE, TRAINED, each_row
from leaderboards.analysis.visible import visible

Settings = Mapping[str, Any]
MAX_LABEL = 60
"""Letters of a label; the whole spec is in the CSV files."""


class Spec(NamedTuple):
    """A task or a loss as the records describe it.

    Attributes:
        name: the plugin's name.
        given: the settings that its spec states.
        settings: all settings, defaults included; empty if no cell has a record yet.
    """

    name: str
    given: Settings
    settings: Settings = MappingProxyType({})


@dataclass(frozen=True)
class Labels:
    """The labels of one board, which every table, figure and sentence uses.

    A label is what the study calls a task, loss, method or metric, else the plugin's own label,
    else its name. Settings follow where they tell two specs of one plugin apart.

    Attributes:
        tasks: {task: its label}.
        losses: {a row's loss: its label}.
        methods: {method: its label}.
        metrics: {metric: its label}.
        shared: a sentence for each plugin whose settings the labels leave out.
    """

    tasks: Mapping[str, str] = field(default_factory=dict)
    losses: Mapping[str, str] = field(default_factory=dict)
    methods: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, str] = field(default_factory=dict)
    shared: tuple[str, ...] = ()

    def task(self, task: object) -> str:
        """Return a task's label."""
        return self.tasks.get(str(task), str(task))

    def loss(self, loss: object) -> str:
        """Return a loss's label, without its method."""
        return self.losses.get(str(loss), str(loss))

    def method(self, method: object) -> str:
        """Return a method's label."""
        return self.methods.get(str(method), str(method))

    def metric(self, metric: object) -> str:
        """Return a metric's label."""
        return self.metrics.get(str(metric), str(metric))

    def row(self, method: object, loss: object) -> str:
        """Return a row's label: the loss, and the method if the board has several."""
        if len(self.methods) < 2:
            return self.loss(loss)
        return f"{self.loss(loss)} ({self.method(method)})"


def labels_of(records: pd.DataFrame) -> Labels:
    """Return the labels of the tasks, losses, methods and metrics in ``records``."""
    known: Mapping[str, str] = records.attrs.get("labels", {})
    tasks = task_specs(records)
    losses = _loss_specs(records)
    trained = records.loc[records["kind"] == TRAINED]
    # If every loss is tuned, the board says so once.
    some_tuned = trained["tuned"].astype(bool).any() and not trained["tuned"].astype(bool).all()
    named = _labels(losses, known)
    for loss, tuned in trained.drop_duplicates("loss")[["loss", "tuned"]].itertuples(index=False):
        if tuned and some_tuned:
            named[loss] += " (tuned)"
    for loss, kind in records.drop_duplicates("loss")[["loss", "kind"]].itertuples(index=False):
        if kind == CONTROL:
            named[loss] = "control (baseline again)"
        elif kind == REFERENCE and loss not in known:
            named[loss] = f"{loss.partition(':')[2] or loss} (not trained)"
    final = (records["kind"] == TRAINED) & (records["stage"] == "final")
    methods = sorted(set(records.loc[final, "method"].dropna()))
    metrics = set(records["metric"].dropna())
    return Labels(
        tasks=_readable(_labels(tasks, known)),
        losses=_readable(named),
        methods=_readable({method: known.get(method, method) for method in methods}),
        metrics=_readable({name: known.get(name, name.replace("_", " ")) for name in metrics}),
        shared=tuple(_sentences(tasks, known)) + tuple(_sentences(losses, known)),
    )


def task_specs(records: pd.DataFrame) -> dict[str, Spec]:
    """Return {task: its name and settings} of all tasks in ``records``."""
    columns = ["task", "task_name", "task_given", "task_settings"]
    specs: dict[str, Spec] = {}
    for row in each_row(records[columns].drop_duplicates()):
        settings = json.loads(row.task_settings)
        # A cell without a record does not tell the defaults; prefer one that does.
        if settings or row.task not in specs:
            specs[row.task] = Spec(row.task_name, json.loads(row.task_given), settings)
    return specs


def _loss_specs(records: pd.DataFrame) -> dict[str, Spec]:
    """Return {a row's loss: its name and the settings that it states}."""
    rows = records[["loss", "loss_name", "loss_given"]].drop_duplicates("loss")
    return {row.loss: Spec(row.loss_name, json.loads(row.loss_given)) for row in each_row(rows)}


def title(label: str, settings: Settings) -> str:
    """Return a label with some settings, as people write them.

    >>> title("ADNCE", {"sigma": 0.25, "form": "graph", "label_noise": True})
    'ADNCE, sigma 0.25, form graph, label noise on'
    """
    return ", ".join([label, *(_written(name, value) for name, value in settings.items())])


def _written(name: str, value: Any) -> str:
    """Return a setting and its value as people write them."""
    text = {True: "on", False: "off"}[value] if isinstance(value, bool) else str(value)
    if isinstance(value, float):
        text = f"{value:g}"
    return f"{name.replace('_', ' ')} {text}"


def shared_settings(specs: Mapping[str, Spec]) -> dict[str, dict[str, Any]]:
    """Return {plugin's name: the settings that all its specs state alike}."""
    by_name: dict[str, list[Settings]] = {}
    for spec in specs.values():
        by_name.setdefault(spec.name, []).append(spec.given)
    return {
        name: {
            setting: value
            for setting, value in first.items()
            if all(setting in other and other[setting] == value for other in others)
        }
        for name, (first, *others) in by_name.items()
    }


def own_settings(specs: Mapping[str, Spec]) -> dict[str, dict[str, Any]]:
    """Return {spec: the settings that it states and not all specs of its name share}."""
    shared = shared_settings(specs)
    return {
        code: {
            setting: value
            for setting, value in spec.given.items()
            if setting not in shared[spec.name]
        }
        for code, spec in specs.items()
    }


def _labels(specs: Mapping[str, Spec], known: Mapping[str, str]) -> dict[str, str]:
    """Return {spec: its label}: the study's for the whole spec, else with the settings it needs."""
    own = own_settings(specs)
    return {
        code: known.get(code) or title(known.get(spec.name, spec.name), own[code])
        for code, spec in specs.items()
    }


def _sentences(specs: Mapping[str, Spec], known: Mapping[str, str]) -> Iterable[str]:
    """Yield a sentence for each plugin whose specs share settings that no label shows."""
    for name, settings in shared_settings(specs).items():
        labelled = all(code in known for code, spec in specs.items() if spec.name == name)
        if settings and not labelled:
            written = ", ".join(_written(*each) for each in settings.items())
            yield f"{known.get(name, name)}: {written}."


def _readable(labels: Mapping[str, str]) -> dict[str, str]:
    """Return ``labels`` so that each is seen, short and another: else the code stands for it."""
    count = Counter(labels.values())
    distinct = {code: label if count[label] == 1 else code for code, label in labels.items()}
    seen = {code: visible(label) for code, label in distinct.items()}
    return dict(zip(seen, shortened(list(seen.values())), strict=True))


def shortened(labels: Sequence[str], length: int = MAX_LABEL) -> list[str]:
    """Return labels cut to a length; what tells two of them apart is never cut out.

    >>> shortened(["a long name, mu 0.5, sigma 1", "a long name, mu 0.7, sigma 1", "b"], 15)
    ['a …0.5, sigma 1', 'a …0.7, sigma 1', 'b']
    """
    found: list[str] = []
    for label in labels:
        if len(label) <= length:
            found.append(label)
            continue
        half = (length - 1) // 2
        cut = f"{label[:half]}…{label[len(label) - (length - 1 - half) :]}"
        rivals = [other for other in labels if other != label]
        # Begin the second part where the label differs from the one that is most like it.
        same = max((alike(label, other) for other in rivals), default=0)
        if half < same < len(label) - (length - 1 - half):
            start = label.rfind(" ", 0, same) + 1
            cut = f"{label[:2]}…{label[start : start + length - 3]}"
        found.append(cut)
    taken: dict[str, int] = {}
    for place, label in enumerate(found):
        taken[label] = taken.get(label, 0) + 1
        if taken[label] > 1:
            found[place] = f"{label} #{taken[label]}"
    return found


def alike(one: str, other: str) -> int:
    """Return how many letters two labels begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((place for place, (a, b) in pairs if a != b), min(len(one), len(other)))
