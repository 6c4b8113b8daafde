"""The table behind all boards: the records of folders, and the cells without a record."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

from harness import plugins
from harness.core.cells import (
    CONTROL,
    NO_METHOD,
    TUNED,
    UNTRAINED,
    Cell,
    Planned,
    baseline_row,
    is_trained,
    name_of,
)
from harness.core.commands import run_again
from harness.core.errors import InputError, unknown
from harness.evaluation.collapse import collapse
from harness.metrics import Metric
from harness.store import staleness
from harness.store.labels import aliases_of, board_tasks, display_names
from harness.store.records import FIRST_RELEASE, Record, Store, digest_of, record_name

COLUMNS = (
    "task", "task_name", "modality", "method", "loss", "loss_name", "loss_given", "kind", "tuned",
    "spec", "baseline", "stage", "trial", "seed", "status", "reason", "collapsed", "split",
    "metric", "main", "unit", "direction", "margin", "resolution", "step", "value", "steps",
    "seconds", "train_seconds", "proof", "key", "task_given", "task_settings", "settings",
    "space", "data", "versions", "source", "commit", "device", "memory", "finished", "path",
    "command",
)  # fmt: skip

DIAGNOSTICS = "diagnostics"
"""The value of the column ``split`` for diagnostics, which belong to no split."""


class Note(NamedTuple):
    """Tell the board's reader something about the records behind it.

    ``leaderboards.analysis.tables`` lists the kinds. ``{tasks}`` in the text stands for the
    tasks' names.
    """

    kind: str
    text: str
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Place:
    """Locate a cell on the board: a seed of a row, or of a tuning trial."""

    task: str
    method: str
    label: str
    stage: str
    trial: int | None
    seed: int

    @classmethod
    def of(cls, planned: Planned) -> "Place":
        """Return the place of a planned cell."""
        cell, task = planned.cell, planned.task or planned.cell.task
        return cls(task, cell.method, planned.label, cell.stage, planned.trial, cell.seed)


@dataclass
class _PlacedRecord:
    """Hold a record with its place, its folder, and whether the folder's last run planned it."""

    record: Record
    place: Place
    planned: bool
    folder: str

    @property
    def order(self) -> tuple[bool, str]:
        return self.planned, self.record.finished


Scores = Mapping[str, Mapping[str, float]]
"""{split: {metric: value}}."""
Dropped = list[tuple[_PlacedRecord, str]]
"""Records that the board does not show, and the reasons."""

# The reasons, as they follow the word "record" in a sentence.
OTHER_CODE = "made with other code than the records shown"
OTHER_DATA = "made with other data than the records shown"
NOT_PLANNED = "made with other code, data or settings than planned"
OTHER_CHOICE = "made with other chosen settings than the row shown"
REPLACED = "replaced by a later record of the same cell with another key"
OTHER_BUDGET = "of tuning trials that are no longer planned"
TUNED_ON = "at seeds that the study tunes with, on which the chosen settings must not be scored"


@dataclass
class _Plan:
    """Hold the plans of the folders' last runs.

    Attributes:
        places: {key: the places where the record of that key is shown}.
        planned: {place: the folders that planned it, each with the plan's entry}.
        current: the keys that the last runs planned.
        budgets: {label: the search space and budget that the board uses}.
        left_out: keys of records that were tuned with another budget.
        spaces: {label: its search space, as JSON}.
        baselines: the baselines of the studies.
        margins: {task or its name: the margin that a study sets}; the first folder's counts.
        labels: {task, loss, method or metric: what people call it}; the first folder's counts.
        aliases: {alias: the task, method or row}; the first folder's counts.
        code: the code of the cells of each folder, to compare with today's.
        tasks: the tasks in the order of the studies.
        titles: the names of the studies.
        commands: the commands that ran them.
    """

    places: dict[str, list[Place]] = field(default_factory=dict)
    planned: dict[Place, list[tuple[Store, dict[str, Any]]]] = field(default_factory=dict)
    current: set[str] = field(default_factory=set)
    budgets: dict[str, str] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    spaces: dict[str, str] = field(default_factory=dict)
    baselines: list[str] = field(default_factory=list)
    margins: dict[str, float] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    aliases: dict[str, str] = field(default_factory=dict)
    code: list[staleness.Code] = field(default_factory=list)
    tasks: list[str] = field(default_factory=list)
    titles: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


def load_records(folder: str | Path, *more: str | Path) -> pd.DataFrame:
    """Load the scores under one or more folders: one row a score, and one a cell without scores.

    The columns are ``COLUMNS``; ``leaderboards.analysis.tables`` describes them. For each task and
    method, only records of one version of code and data are shown, and for a tuned loss only
    those of one choice of settings: the ones that the last run planned, else the ones that
    finished last. ``attrs`` holds ``notes``, which say what was left out; ``labels``, {task, loss,
    method or metric, or the name of a plugin: what people call it}; ``aliases``, {alias: the
    task, method or row}; ``tasks``, in the studies' order; ``title``, the studies' names; and
    ``commands``, which ran them.

    Raises:
        InputError: if a folder holds no record.
    """
    stores = [Store(each) for each in (folder, *more)]
    plan = _Plan()
    notes: list[Note] = []
    for store in stores:
        _read_plan(store, plan, notes)
    candidates: list[_PlacedRecord] = []
    dropped: Dropped = []
    for store in stores:
        count = 0
        bad = []
        for path, record in store.scan():
            if record is None:
                bad.append(path)
            else:
                # Boards do not plot the loss curve; dropping it keeps thousands of records
                # in memory.
                record.curve.clear()
                candidates += _placed(record, plan, str(store.given), dropped)
                count += 1
        if bad:
            unreadable = (
                f"Left out a file that is not a valid record: {bad[0]}"
                if len(bad) == 1
                else f"Left out {len(bad)} files that are damaged, or records of another version "
                f"of Triptych, such as {bad[0]}"
            )
            notes.append(Note("records", unreadable))
        if not count:
            damaged = "".join(f"\n{note.text}" for note in notes)
            raise InputError(
                f"There is no record under {str(store.given)!r}. Run a study first: "
                f"`triptych run quickstart --out {store.given}`.{damaged}"
            )
    candidates = _with_methods(candidates, plan)
    shown = _one_version(_as_planned(candidates, plan, dropped), dropped, notes)
    chosen = _fresh(shown, plan, dropped)
    notes += [*_dropped_notes(dropped, chosen), *_first_release_notes(chosen)]
    used = {placed.record.key: placed.record.source for placed in chosen.values()}
    why_stale = [next(filter(None, (c.why(s) for c in plan.code)), "") for s in used.values()]
    if old := staleness.sentence(filter(None, why_stale)):
        notes.append(Note("stale", f"{old} The study's command runs them again."))
    why = {placed.place: f"left out: a record {reason}" for placed, reason in dropped}
    cells, points = [], []
    for placed in sorted(chosen.values(), key=lambda placed: placed.record.finished):
        cells.append(_cell_row(placed, plan))
        points.append(_points(placed.record, plan.margins))
    specs = {_row(placed): placed.record.cell["loss"] for placed in chosen.values()}
    for place, planned in plan.planned.items():
        if place not in chosen:
            missing = _missing_row(place, planned, plan, why.get(place, "not run yet"))
            key = (place.task, place.method, place.label, "")
            cells.append(missing if place.stage == "tuning" else missing | {
                "spec": specs.get(key, missing["spec"])  # The chosen settings, as shown.
            })  # fmt: skip
            points.append([_NO_SCORE])
    if not cells:
        raise InputError(
            "No record can be shown: all of them are tuning trials, and only the run's study.json "
            "says which rows they belong to. Run the study's command again to write it.\n"
            + "\n".join(note.text for note in notes)
        )
    baseline = baseline_row(dict.fromkeys(cell["loss"] for cell in cells), plan.baselines)
    if plan.baselines and plan.baselines[0] != baseline:
        lacking = (
            f"The study's baseline {plan.baselines[0]} has no row, so {baseline} is the baseline."
        )
        notes.append(Note("baseline", lacking))
    if len(set(plan.baselines)) > 1:
        several = (
            f"The folders' studies have the baselines {', '.join(dict.fromkeys(plan.baselines))}: "
            f"{baseline} is used. Choose another with `--baseline`."
        )
        notes.append(Note("baseline", several))
    # The columns that a cell's scores share are built once, and repeated for each score.
    scores = pd.DataFrame(chain(*points), columns=list(_Point._fields))
    number = np.repeat(np.arange(len(cells)), [len(group) for group in points])
    table = pd.DataFrame(cells).take(number).reset_index(drop=True).join(scores)
    table = table.reindex(columns=list(COLUMNS))
    table["baseline"] = table["loss"] == baseline
    table["trial"] = table["trial"].astype("Int64")
    table["step"] = table["step"].astype("Int64")
    table["steps"] = table["steps"].astype("Int64")
    present = dict.fromkeys(cell["task"] for cell in cells)
    table.attrs |= {
        "notes": notes,
        "labels": plan.labels,
        "aliases": plan.aliases,
        "tasks": list(dict.fromkeys([*(t for t in plan.tasks if t in present), *present])),
        "title": " + ".join(dict.fromkeys(plan.titles)),
        "commands": list(dict.fromkeys(plan.commands)),
    }
    return table


def value_named(
    records: pd.DataFrame,
    column: Literal["loss", "task"],
    name: str,
    shown: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the row or the task that a user means by ``name``.

    ``name`` may be the value itself, its alias, its label, or another way to write its spec. A
    loss's name also stands for its tuned row.

    Args:
        records: the table of :func:`load_records`.
        column: ``loss`` for a row, ``task`` for a task.
        name: what the user wrote.
        shown: {value: what a board calls it}; a label of the study counts in any case.

    Raises:
        InputError: if there is no such row or task, or if the label is that of several.
    """
    kind = {"loss": "row", "task": "task"}[column]
    labels, aliases = (records.attrs.get(key, {}) for key in ("labels", "aliases"))
    values: dict[str, list[str]] = {}
    called: dict[str, list[str]] = {}
    columns = records[[column, f"{column}_name", f"{column}_given"]].drop_duplicates(column)
    for value, plugin, given in columns.astype(str).itertuples(index=False):
        values[value] = [value]
        # A plugin's own label is that of its row without settings.
        label = labels.get(value) or (given == "{}" and labels.get(plugin))
        for each in dict.fromkeys((label or value, shown.get(value, value))):
            called.setdefault(each, []).append(value)
    specs: list[str] = []
    with suppress(InputError):
        spec = plugins.canonical("losses" if column == "loss" else "tasks", name)
        specs = [each for each in (spec, spec + TUNED) if each in values][:1]
    found = values.get(name) or values.get(aliases.get(name, "")) or called.get(name) or specs
    if not found:
        own = {alias for alias, value in aliases.items() if value in values}
        raise unknown(kind, name, {*values, *called, *own})
    if len(found) > 1:
        raise InputError(f"{name!r} is the label of several {kind}s: {', '.join(found)}. Name one.")
    return found[0]


def _read_plan(store: Store, plan: _Plan, notes: list[Note]) -> None:
    """Add the last plan of ``store``; for a tuned row, the first folder's budget wins."""
    study = store.study()
    if not study:
        if store.study_path.exists():
            unread = (
                f"{store.study_path} cannot be read, so missing cells, tuned rows and the baseline "
                "are unknown. Run the study's command again to write it."
            )
            notes.append(Note("records", unread))
        return
    if study["baseline"] is not None:
        plan.baselines.append(study["baseline"])
    tasks = board_tasks(study)
    for task, margin in (study.get("margins") or {}).items():
        plan.margins.setdefault(tasks.get(task, task), margin)
    plan.labels = display_names(study) | plan.labels
    plan.aliases = aliases_of(study) | plan.aliases
    plan.tasks += tasks.values()
    plan.commands += [study["command"]] if study.get("command") else []
    plan.titles += [study["name"]] if isinstance(study.get("name"), str) else []
    other = set()
    for label, space in study.get("spaces", {}).items():
        budget = json.dumps([space, study.get("tuning")])
        if plan.budgets.setdefault(label, budget) == budget:
            plan.spaces[label] = json.dumps(space)
        else:
            other.add(label)
            other_budget = (
                f"{label} was tuned in {store.given} with another search space or budget than in "
                "an earlier folder, so its records there are left out."
            )
            notes.append(Note("records", other_budget))
    plan.code.append(staleness.Code(study, store.folder))
    for planned in study["plan"]:
        place = Place.of(Planned.from_dict(planned))
        if place.label in other:
            plan.left_out.add(planned["key"])
            continue
        if planned["key"]:
            plan.places.setdefault(planned["key"], []).append(place)
            plan.current.add(planned["key"])
        plan.planned.setdefault(place, []).append((store, planned))
    for planned in study.get("earlier", []):
        plan.places.setdefault(planned["key"], []).append(Place.of(Planned.from_dict(planned)))


def _placed(record: Record, plan: _Plan, folder: str, dropped: Dropped) -> list[_PlacedRecord]:
    """Return the record in each of its places; one in no plan gets a row named by its spec."""
    cell = Cell(**record.cell)
    places = plan.places.get(record.key)
    if places:
        planned = record.key in plan.current
        return [
            _PlacedRecord(record, _place_in(place, record), planned, folder)
            for place in dict.fromkeys(places)
        ]
    if record.key in plan.left_out:
        return []  # It has a tuning budget that the board does not use; a note says so already.
    place = _place_in(Place.of(Planned(cell, cell.loss, task=record.task)), record)
    unplanned = _PlacedRecord(record, place, planned=False, folder=folder)
    if cell.stage == "tuning":
        dropped.append((unplanned, OTHER_BUDGET))
        return []
    return [unplanned]


def _place_in(place: Place, record: Record) -> Place:
    """Return ``place``; untrained cells of version 0.1.0 had a method, so keep it."""
    if record.schema == FIRST_RELEASE:
        return replace(place, method=record.cell["method"])
    return place


def _with_methods(candidates: Sequence[_PlacedRecord], plan: _Plan) -> list[_PlacedRecord]:
    """Return ``candidates`` with each untrained cell repeated for every method of its task.

    One cell serves all methods, because their encoders start from the same weights. The
    planned places in ``plan`` are repeated in the same way.
    """
    methods: dict[str, dict[str, None]] = {}
    for place in (*(placed.place for placed in candidates), *plan.planned):
        if place.method != NO_METHOD:
            methods.setdefault(place.task, {})[place.method] = None

    def places(place: Place) -> list[Place]:
        if place.method != NO_METHOD or place.task not in methods:
            return [place]
        return [replace(place, method=method) for method in methods[place.task]]

    planned: dict[Place, list[tuple[Store, dict[str, Any]]]] = {}
    for place, entries in plan.planned.items():
        for each in places(place):
            planned.setdefault(each, []).extend(entries)
    plan.planned = planned
    return [replace(placed, place=place) for placed in candidates for place in places(placed.place)]


def _first_release_notes(chosen: Mapping[Place, _PlacedRecord]) -> Iterator[Note]:
    """Yield a note on records that an earlier version of Triptych made."""
    old = {f.record.key: f for f in chosen.values() if f.record.schema == FIRST_RELEASE}
    if old:
        tasks = dict.fromkeys(placed.place.task for placed in old.values())
        version = next(iter(old.values())).record.versions.get("triptych", "an earlier version")
        yield Note(
            "records",
            f"{len(old)} records were made by Triptych {version} and are compared only with each "
            "other ({tasks}), because today's version draws other random numbers. Run the study's "
            "command again to replace them.",
            tuple(sorted(tasks)),
        )


def _as_planned(
    candidates: Iterable[_PlacedRecord], plan: _Plan, dropped: Dropped
) -> Iterator[_PlacedRecord]:
    """Yield the records that are planned, and those at places that no plan names.

    An older code's record thus never stands in for a cell that failed with today's code.
    """
    for placed in candidates:
        entries = plan.planned.get(placed.place)
        if entries is None or placed.record.key in {entry["key"] for _, entry in entries}:
            yield placed
        else:
            dropped.append((placed, NOT_PLANNED))


_Key = Callable[[_PlacedRecord], Any]


def _one_version(
    candidates: Iterable[_PlacedRecord], dropped: Dropped, notes: list[Note]
) -> dict[Place, _PlacedRecord]:
    """Choose one record a place; for each task and method, all of the same code and data."""
    ordered = sorted(candidates, key=lambda placed: placed.order)
    criteria: Sequence[tuple[_Key, _Key, str]] = (
        (_panel, lambda placed: placed.record.data, OTHER_DATA),
        (_panel, lambda placed: placed.record.frame, OTHER_CODE),
        (_trained, lambda placed: placed.record.source, OTHER_CODE),
        (_row, lambda placed: placed.record.cell["loss"], OTHER_CHOICE),
    )
    # Within each part, the value of the record that is last in order decides.
    for part, value, reason in criteria:
        last = {part(placed): value(placed) for placed in ordered}
        dropped += [(placed, reason) for placed in ordered if value(placed) != last[part(placed)]]
        ordered = [placed for placed in ordered if value(placed) == last[part(placed)]]
    chosen: dict[Place, _PlacedRecord] = {}
    differences = []
    for placed in ordered:
        rival = chosen.get(placed.place)
        if rival is not None and rival.record.key != placed.record.key:
            dropped.append((rival, REPLACED))
        elif rival is not None and rival.record.scores != placed.record.scores:
            differences.append(_largest(rival.record.scores, placed.record.scores))
        chosen[placed.place] = placed
    if differences:
        twice = (
            f"{len(differences)} cells have two records of the same key whose scores differ, by up "
            f"to {max(differences):.2g} points: the one finished last is shown. Two machines may "
            "differ in the last digits; a larger difference has another cause."
        )
        notes.append(Note("records", twice))
    return chosen


def _fresh(
    chosen: dict[Place, _PlacedRecord], plan: _Plan, dropped: Dropped
) -> dict[Place, _PlacedRecord]:
    """Return ``chosen`` without a tuned row's board scores at seeds that now tune the row.

    An earlier study may have used such a seed for its board.
    """
    tuning = {replace(place, trial=None) for place in plan.planned if place.stage == "tuning"}
    fresh = {}
    for place, placed in chosen.items():
        if place.stage == "final" and replace(place, stage="tuning") in tuning:
            dropped.append((placed, TUNED_ON))
        else:
            fresh[place] = placed
    return fresh


def _dropped_notes(dropped: Dropped, chosen: Mapping[Place, _PlacedRecord]) -> Iterator[Note]:
    """Yield a note for each folder and reason on the records that were left out."""
    groups: dict[tuple[str, str], dict[str, Place]] = {}
    for placed, reason in dropped:
        groups.setdefault((placed.folder, reason), {})[placed.record.key] = placed.place
    for (folder, reason), places in groups.items():
        tasks = {place.task for place in places.values()}
        # Running again helps only where a place on the board has no record now.
        lacking = any(place not in chosen for place in places.values())
        again = lacking and reason in (OTHER_CODE, OTHER_DATA, NOT_PLANNED)
        yield Note(
            "records",
            f"{folder}: left out {len(places)} {'record' if len(places) == 1 else 'records'} "
            f"{reason} ({{tasks}})."
            + (
                " Run the study's command again to make them with today's code and data."
                if again
                else ""
            ),
            tuple(sorted(tasks)),
        )


def _largest(one: Scores, other: Scores) -> float:
    """Return the largest difference between the scores that both have."""
    return max(
        (
            abs(value - other[split][metric])
            for split, scores in one.items()
            for metric, value in scores.items()
            if metric in other.get(split, {})
        ),
        default=0.0,
    )


def _cell_row(placed: _PlacedRecord, plan: _Plan) -> dict[str, Any]:
    """Return the columns that all scores of a record share."""
    record, place = placed.record, placed.place
    return {
        "task": place.task,
        "task_name": name_of(place.task),
        "modality": record.modality,
        "method": place.method,
        **_loss_columns(place.label),
        "kind": _kind(place.label, record.cell["loss"]),
        "tuned": place.label.endswith(TUNED),
        "spec": record.cell["loss"],
        "stage": place.stage,
        "trial": place.trial,
        "seed": place.seed,
        "status": "done",
        "reason": "",
        "collapsed": collapse(record.diagnostics),
        "steps": record.steps,
        "seconds": record.seconds["total"],
        "train_seconds": record.seconds.get("train"),
        "proof": _proof(record),
        "key": record.key,
        "task_given": _given(place.task),
        "task_settings": json.dumps(record.settings.get("task", {})),
        "settings": json.dumps(record.settings.get("loss", {})),
        "space": plan.spaces.get(place.label, "{}"),
        "data": json.dumps(record.data),
        "versions": json.dumps(record.versions),
        "source": record.source,
        "commit": record.commit,
        "device": record.device,
        "memory": json.dumps(record.peak_memory),
        "finished": record.finished,
        "path": f"records/{record_name(Cell(**record.cell), record.key)}",
        "command": run_again(
            Cell(**record.cell),
            record.device.partition(" ")[0],
            Path(placed.folder, record.plugins) if record.plugins else "",
        ),
    }


def _loss_columns(label: str) -> dict[str, str]:
    """Return the columns that describe a row; one without a loss is named by its label."""
    spec = label.removesuffix(TUNED)
    return {"loss": label, "loss_name": name_of(spec), "loss_given": _given(spec)}


@cache
def _given(spec: str) -> str:
    """Return the settings that a spec states, as JSON; none if it is not a spec."""
    try:
        return json.dumps(plugins.read(spec)[1], default=repr)
    except InputError:
        return "{}"


def _kind(label: str, loss: str) -> str:
    """Return the kind of a row: ``trained``, ``untrained``, ``reference`` or ``control``."""
    if label == CONTROL:
        return CONTROL
    if is_trained(loss):
        return "trained"
    return UNTRAINED if loss == UNTRAINED else "reference"


def _proof(record: Record) -> str:
    """Return the record's proof, which shows whether two records are a pair, as JSON.

    See ``leaderboards.analysis.pairs``.
    """
    shared = {
        "frame": record.frame,
        "data": digest_of({"contents": record.identity.get("contents", record.data)}),
    }
    return json.dumps({**record.proof, **shared})


class _Point(NamedTuple):
    """Hold a score or a diagnostic, with what the task declares of its metric."""

    split: str | None
    metric: str | None
    main: bool
    unit: str
    direction: str
    margin: float | None
    resolution: float | None
    step: int | None
    value: float | None


_NO_SCORE = _Point(None, None, False, "", "", None, None, None, None)


def _points(record: Record, margins: Mapping[str, float]) -> list[_Point]:
    """Return the record's scores and diagnostics; ``margins`` replace those of main metrics."""
    declared = {metric["name"]: metric for metric in record.metrics}
    # Records of earlier versions declare no metrics: their scores are points, and the first is the
    # main one.
    undeclared = Metric("undeclared").to_dict()
    first = next((name for scores in record.scores.values() for name in scores), None)
    main = next(iter(declared), first)
    probed = [("validation", step, scores) for step, scores in record.probed]
    last = [(split, record.steps, scores) for split, scores in record.scores.items()]
    points = []
    for split, step, scores in (*probed, *last):
        for name, value in scores.items():
            metric = declared.get(name, undeclared)
            weight = record.resolution.get(split, {}).get(name)
            margin = metric["margin"]
            if name == main:
                margin = margins.get(record.task, margins.get(name_of(record.task), margin))
            about = (metric["unit"], metric["direction"], margin, weight)
            points.append(_Point(split, name, name == main, *about, step, value))
    return points + [
        _Point(DIAGNOSTICS, name, False, "", "", None, None, step, value)
        for step, values in record.diagnostics
        for name, value in values.items()
    ]


def _missing_row(
    place: Place, planned: list[tuple[Store, dict[str, Any]]], plan: _Plan, why: str
) -> dict[str, Any]:
    """Return the row of a cell without a record, with its status and reason in any folder."""
    status, reason = "missing", why
    for store, entry in planned:
        cell = Cell(**entry["cell"])
        failure = store.failure(cell, entry["key"])
        if failure is None:
            reason = entry.get("reason", reason) if status == "missing" else reason
        elif status != "diverged":
            status, reason = failure.outcome, failure.reason
    return {
        "task": place.task,
        "task_name": name_of(place.task),
        "modality": entry.get("modality", ""),
        "method": place.method,
        **_loss_columns(place.label),
        "kind": _kind(place.label, cell.loss),
        "tuned": place.label.endswith(TUNED),
        "spec": cell.loss,
        "stage": place.stage,
        "trial": place.trial,
        "seed": place.seed,
        "status": status,
        "reason": reason,
        "collapsed": "",
        "key": entry["key"],
        "task_given": _given(place.task),
        "task_settings": "{}",
        "settings": json.dumps(entry.get("settings", {})),
        "space": plan.spaces.get(place.label, "{}"),
        "steps": None if is_trained(cell.loss) else 0,
    }


def _trained(placed: _PlacedRecord) -> tuple[str, str, str]:
    return (*_panel(placed), placed.record.cell["loss"])


def _row(placed: _PlacedRecord) -> tuple[str, str, str, str]:
    """Return the row of the board; add the spec of a tuning trial, since a row has many."""
    place = placed.place
    tuning = placed.record.cell["loss"] if place.stage == "tuning" else ""
    return place.task, place.method, place.label, tuning


def _panel(placed: _PlacedRecord) -> tuple[str, str]:
    return placed.place.task, placed.place.method
