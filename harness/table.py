"""The table behind all boards: the records of folders, and the cells without a record."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from harness import plugins
from harness.cells import NO_METHOD, TUNED, UNTRAINED, Cell, Planned, is_trained, name_of
from harness.collapse import collapse
from harness.errors import InputError
from harness.metrics import Metric
from harness.records import FIRST_RELEASE, Record, Store, digest_of

COLUMNS = (
    "task", "task_name", "modality", "method", "loss", "kind", "tuned", "spec", "baseline",
    "stage", "trial", "seed", "status", "reason", "collapsed", "split", "metric", "main", "unit",
    "direction", "margin", "resolution", "step", "value", "steps", "seconds", "proof", "key",
    "task_given", "task_settings", "settings", "space", "data", "versions", "source", "commit",
    "device", "memory", "finished",
)  # fmt: skip

DIAGNOSTICS = "diagnostics"
"""The value of the column ``split`` for diagnostics, which belong to no split."""


class Note(NamedTuple):
    """Tell the board's reader what to know of the records.

    ``leaderboards.tables`` lists the kinds. ``{tasks}`` in the text stands for the tasks' names.
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
class _Found:
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
Dropped = list[tuple[_Found, str]]
"""Records that the board does not show, and the reasons."""
OTHER_CODE = "of other code than those shown"
OTHER_DATA = "of other data than those shown"
NOT_PLANNED = "of other code, data or settings than planned"
OTHER_CHOICE = "of other chosen settings than the row shown"
OTHERWISE = "of cells that have a later record, run otherwise"
OTHER_BUDGET = "of tuning that is no longer planned"
TUNED_ON = "at seeds that the study tunes with, and what a seed chose is not scored on it"


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
    """

    places: dict[str, list[Place]] = field(default_factory=dict)
    planned: dict[Place, list[tuple[Store, dict[str, Any]]]] = field(default_factory=dict)
    current: set[str] = field(default_factory=set)
    budgets: dict[str, str] = field(default_factory=dict)
    left_out: set[str] = field(default_factory=set)
    spaces: dict[str, str] = field(default_factory=dict)
    baselines: list[str] = field(default_factory=list)


def load_records(folder: str | Path, *more: str | Path) -> pd.DataFrame:
    """Load the scores under one or more folders: one row a score, and one a cell without scores.

    The columns are ``COLUMNS``; ``leaderboards.tables`` describes them. For each task and
    method, only records of one version of code and data are shown, and for a tuned loss only
    those of one choice of settings: the ones that the last run planned, else the ones that
    finished last. ``attrs["notes"]`` says what was left out.

    Raises:
        InputError: if a folder holds no record.
    """
    stores = [Store(each) for each in (folder, *more)]
    plan = _Plan()
    notes: list[Note] = []
    for store in stores:
        _read_plan(store, plan, notes)
    candidates: list[_Found] = []
    dropped: Dropped = []
    for store in stores:
        found = 0
        bad = []
        for path, record in store.scan():
            if record is None:
                bad.append(path)
            else:
                # Boards do not plot the loss curve; dropping it keeps thousands of records
                # in memory.
                record.curve.clear()
                candidates += _placed(record, plan, str(store.given), dropped)
                found += 1
        if bad:
            what = (
                "Not a good record, left out"
                if len(bad) == 1
                else (
                    f"{len(bad)} files are damaged, or records of another version of Triptych, and "
                    "left out, such as"
                )
            )
            notes.append(Note("records", f"{what}: {bad[0]}"))
        if not found:
            damaged = "".join(f"\n{note.text}" for note in notes)
            raise InputError(
                f"There is no record under {str(store.given)!r}. Run a study first: "
                f"`triptych run quickstart --out {store.given}`.{damaged}"
            )
    candidates = _with_methods(candidates, plan)
    shown = _one_version(_as_planned(candidates, plan, dropped), dropped, notes)
    chosen = _fresh(shown, plan, dropped)
    notes += [*_said(dropped, chosen), *_of_first_release(chosen)]
    why = {found.place: f"a record {reason} was left out" for found, reason in dropped}
    cells, points = [], []
    for own in sorted(chosen.values(), key=lambda found: found.record.finished):
        cells.append(_cell_row(own, plan))
        points.append(_points(own.record))
    specs = {_row(found): found.record.cell["loss"] for found in chosen.values()}
    for place, planned in plan.planned.items():
        if place not in chosen:
            lost = _lost_row(place, planned, plan, why.get(place, "not run yet"))
            key = (place.task, place.method, place.label, "")
            cells.append(lost if place.stage == "tuning" else lost | {
                "spec": specs.get(key, lost["spec"])  # The chosen settings, as shown.
            })  # fmt: skip
            points.append([_NO_SCORE])
    if not cells:
        raise InputError(
            "There is nothing to show: of a tuned study's records, only the run's own study.json "
            "says where they belong. Its command writes it anew.\n"
            + "\n".join(note.text for note in notes)
        )
    labels = list(dict.fromkeys(cell["loss"] for cell in cells))
    wanted = [*plan.baselines, "infonce", f"infonce{TUNED}", *labels]
    baseline = next(label for label in wanted if label in labels)
    if plan.baselines and plan.baselines[0] != baseline:
        lacking = f"The study's baseline {plan.baselines[0]} has no row: {baseline} is taken."
        notes.append(Note("baseline", lacking))
    if len(set(plan.baselines)) > 1:
        several = (
            f"The folders' studies have the baselines {', '.join(dict.fromkeys(plan.baselines))}: "
            f"{baseline} is taken. Name another with `--baseline`."
        )
        notes.append(Note("baseline", several))
    # The columns that a cell's scores share are built once, and repeated for each score.
    scores = pd.DataFrame(chain(*points), columns=list(_Point._fields))
    number = np.repeat(np.arange(len(cells)), [len(own) for own in points])
    table = pd.DataFrame(cells).take(number).reset_index(drop=True).join(scores)
    table = table.reindex(columns=list(COLUMNS))
    table["baseline"] = table["loss"] == baseline
    table["trial"] = table["trial"].astype("Int64")
    table["step"] = table["step"].astype("Int64")
    table["steps"] = table["steps"].astype("Int64")
    table.attrs["notes"] = notes
    return table


def _read_plan(store: Store, plan: _Plan, notes: list[Note]) -> None:
    """Add the last plan of ``store``; for a tuned row, the first folder's budget wins."""
    study = store.study()
    if not study:
        if store.study_path.exists():
            unread = (
                f"{store.study_path} cannot be read: missing cells, tuned rows and the baseline "
                "are not known. The command of the run writes it anew."
            )
            notes.append(Note("records", unread))
        return
    if study["baseline"] is not None:
        plan.baselines.append(study["baseline"])
    other = set()
    for label, space in study.get("spaces", {}).items():
        budget = json.dumps([space, study.get("tuning")])
        if plan.budgets.setdefault(label, budget) == budget:
            plan.spaces[label] = json.dumps(space)
        else:
            other.add(label)
            otherwise = (
                f"{label} was tuned in {store.given} with another space or budget: its records "
                "there are left out."
            )
            notes.append(Note("records", otherwise))
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


def _placed(record: Record, plan: _Plan, folder: str, dropped: Dropped) -> list[_Found]:
    """Return the record in each of its places; one in no plan gets a row named by its spec."""
    cell = Cell(**record.cell)
    places = plan.places.get(record.key)
    if places:
        planned = record.key in plan.current
        return [
            _Found(record, _place_in(place, record), planned, folder)
            for place in dict.fromkeys(places)
        ]
    if record.key in plan.left_out:
        return []  # It has a tuning budget that the board does not use; a note says so already.
    place = _place_in(Place.of(Planned(cell, cell.loss, task=record.task)), record)
    alone = _Found(record, place, planned=False, folder=folder)
    if cell.stage == "tuning":
        dropped.append((alone, OTHER_BUDGET))
        return []
    return [alone]


def _place_in(place: Place, record: Record) -> Place:
    """Return ``place``; untrained cells of version 0.1.0 had a method, so keep it."""
    if record.schema == FIRST_RELEASE:
        return replace(place, method=record.cell["method"])
    return place


def _with_methods(candidates: Sequence[_Found], plan: _Plan) -> list[_Found]:
    """Return ``candidates`` with each untrained cell repeated for every method of its task.

    One cell serves all methods, because their encoders start from the same weights. The
    planned places in ``plan`` are repeated in the same way.
    """
    methods: dict[str, dict[str, None]] = {}
    for place in (*(found.place for found in candidates), *plan.planned):
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
    return [replace(found, place=place) for found in candidates for place in places(found.place)]


def _of_first_release(chosen: Mapping[Place, _Found]) -> Iterator[Note]:
    """Yield a note on records that an earlier version of Triptych made."""
    old = {f.record.key: f for f in chosen.values() if f.record.schema == FIRST_RELEASE}
    if old:
        tasks = dict.fromkeys(found.place.task for found in old.values())
        version = next(iter(old.values())).record.versions.get("triptych", "an earlier version")
        yield Note(
            "records",
            f"{len(old)} records were made by Triptych {version} and are compared among "
            "themselves alone ({tasks}): today's cells start and train from other "
            "random numbers. The run's command makes them anew.",
            tuple(sorted(tasks)),
        )


def _as_planned(candidates: Iterable[_Found], plan: _Plan, dropped: Dropped) -> Iterator[_Found]:
    """Yield the records that are planned, and those at places that no plan names.

    An older code's record thus never stands in for a cell that failed with today's code.
    """
    for found in candidates:
        asked = plan.planned.get(found.place)
        if asked is None or found.record.key in {entry["key"] for _, entry in asked}:
            yield found
        else:
            dropped.append((found, NOT_PLANNED))


def _one_version(
    candidates: Iterable[_Found], dropped: Dropped, notes: list[Note]
) -> dict[Place, _Found]:
    """Choose one record a place; for each task and method, all of the same code and data."""
    ordered = sorted(candidates, key=lambda found: found.order)
    ways: Sequence[tuple[Callable[[_Found], Any], Callable[[_Found], Any], str]] = (
        (_panel, lambda found: found.record.data, OTHER_DATA),
        (_panel, lambda found: found.record.frame, OTHER_CODE),
        (_trained, lambda found: found.record.source, OTHER_CODE),
        (_row, lambda found: found.record.cell["loss"], OTHER_CHOICE),
    )
    # Within each part, the value of the record that is last in order decides.
    for part, value, reason in ways:
        last = {part(found): value(found) for found in ordered}
        dropped += [(found, reason) for found in ordered if value(found) != last[part(found)]]
        ordered = [found for found in ordered if value(found) == last[part(found)]]
    chosen: dict[Place, _Found] = {}
    differences = []
    for found in ordered:
        rival = chosen.get(found.place)
        if rival is not None and rival.record.key != found.record.key:
            dropped.append((rival, OTHERWISE))
        elif rival is not None and rival.record.scores != found.record.scores:
            differences.append(_largest(rival.record.scores, found.record.scores))
        chosen[found.place] = found
    if differences:
        twice = (
            f"{len(differences)} cells have two records of the same key whose scores differ, by up "
            f"to {max(differences):.2g} points: the one finished last is shown. Machines differ "
            "in the last digits; more has another cause."
        )
        notes.append(Note("records", twice))
    return chosen


def _fresh(chosen: dict[Place, _Found], plan: _Plan, dropped: Dropped) -> dict[Place, _Found]:
    """Return ``chosen`` without a tuned row's board scores at seeds that now tune the row.

    An earlier study may have used such a seed for its board.
    """
    tuning = {replace(place, trial=None) for place in plan.planned if place.stage == "tuning"}
    fresh = {}
    for place, found in chosen.items():
        if place.stage == "final" and replace(place, stage="tuning") in tuning:
            dropped.append((found, TUNED_ON))
        else:
            fresh[place] = found
    return fresh


def _said(dropped: Dropped, chosen: Mapping[Place, _Found]) -> Iterator[Note]:
    """Yield one sentence for each folder and reason on the records that were left out."""
    groups: dict[tuple[str, str], dict[str, Place]] = {}
    for found, reason in dropped:
        groups.setdefault((found.folder, reason), {})[found.record.key] = found.place
    for (folder, reason), places in groups.items():
        tasks = {place.task for place in places.values()}
        lacking = any(place not in chosen for place in places.values())
        again = lacking and reason in (OTHER_CODE, OTHER_DATA, NOT_PLANNED)
        yield Note(
            "records",
            f"{folder}: {len(places)} {'record' if len(places) == 1 else 'records'} {reason}, left "
            "out ({tasks})."
            + (" The run's command makes them anew, with today's code and data." if again else ""),
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


def _cell_row(found: _Found, plan: _Plan) -> dict[str, Any]:
    """Return the columns that all scores of a record share."""
    record, place = found.record, found.place
    return {
        "task": place.task,
        "task_name": name_of(place.task),
        "modality": record.modality,
        "method": place.method,
        "loss": place.label,
        "kind": _kind(record.cell["loss"]),
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
    }


@cache
def _given(task: str) -> str:
    """Return the settings that a task's spec states, as JSON; none if it is not a spec."""
    try:
        return json.dumps(plugins.read(task)[1], default=repr)
    except InputError:
        return "{}"


def _kind(loss: str) -> str:
    """Return the kind of a row: ``trained``, ``untrained`` or ``reference``."""
    if is_trained(loss):
        return "trained"
    return UNTRAINED if loss == UNTRAINED else "reference"


def _proof(record: Record) -> str:
    """Return the record's proof, which shows whether two records are a pair, as JSON.

    See ``leaderboards.pairs``.
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


def _points(record: Record) -> list[_Point]:
    """Return the record's scores and diagnostics."""
    declared = {metric["name"]: metric for metric in record.metrics}
    # Records of earlier versions declare no metrics: scores are points, the first is the main one.
    undeclared = Metric("undeclared").to_dict()
    first = next((name for scores in record.scores.values() for name in scores), None)
    main = next(iter(declared), first)
    probed = [("validation", step, scores) for step, scores in record.probed]
    last = [(split, record.steps, scores) for split, scores in record.scores.items()]
    found = []
    for split, step, scores in (*probed, *last):
        for name, value in scores.items():
            said = declared.get(name, undeclared)
            weight = record.resolution.get(split, {}).get(name)
            declared_of = (said["unit"], said["direction"], said["margin"], weight)
            found.append(_Point(split, name, name == main, *declared_of, step, value))
    return found + [
        _Point(DIAGNOSTICS, name, False, "", "", None, None, step, value)
        for step, values in record.diagnostics
        for name, value in values.items()
    ]


def _lost_row(
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
        "loss": place.label,
        "kind": _kind(cell.loss),
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


def _trained(found: _Found) -> tuple[str, str, str]:
    return (*_panel(found), found.record.cell["loss"])


def _row(found: _Found) -> tuple[str, str, str, str]:
    """Return the row of the board; add the spec of a tuning trial, since a row has many."""
    place = found.place
    tuning = found.record.cell["loss"] if place.stage == "tuning" else ""
    return place.task, place.method, place.label, tuning


def _panel(found: _Found) -> tuple[str, str]:
    return found.place.task, found.place.method
