"""The table that boards are made from: a folder's records, and the cells without one."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from harness.errors import InputError
from harness.records import Record, Store
from harness.study import UNTRAINED, Cell

COLUMNS = (
    "task", "modality", "method", "loss", "spec", "baseline", "stage", "trial", "seed",
    "status", "reason", "split", "metric", "step", "value", "steps", "seconds", "start", "seen",
    "key", "settings", "space", "data", "versions", "source", "commit", "device", "finished",
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """What a cell is on the board: a seed of a row, or of a tuning trial."""

    task: str
    method: str
    label: str
    stage: str
    trial: int | None
    seed: int


@dataclass
class _Found:
    """A record, where it belongs, and whether the last run there planned it."""

    record: Record
    place: Place
    planned: bool

    @property
    def order(self) -> tuple[bool, str]:
        return self.planned, self.record.finished


@dataclass
class _Plan:
    """What the folders' last runs planned."""

    places: dict[str, list[Place]] = field(default_factory=dict)
    waiting: dict[Place, dict[str, Any]] = field(default_factory=dict)
    spaces: dict[str, str] = field(default_factory=dict)
    baselines: list[str] = field(default_factory=list)


def load_records(*folders: str | Path) -> pd.DataFrame:
    """Return the scores under ``folders``, one row a score and one a cell without any.

    The columns are ``COLUMNS``; ``leaderboards.tables`` says what they hold. On every
    task with a method, records of one version of code and data are shown: of the version
    that the last run planned, else of the record finished last. What was left out is
    said in ``attrs["notes"]``.

    Raises:
        InputError: where no folder holds a record.
    """
    stores = [Store(folder) for folder in folders]
    plan = _Plan()
    for store in stores:
        _read_plan(store, plan)
    notes: list[str] = []
    candidates: list[_Found] = []
    for store in stores:
        for path, record in store.scan().items():
            if record is None:
                notes.append(f"Not a good record, left out: {path}")
            else:
                candidates += _placed(record, plan)
    if not candidates:
        names = ", ".join(repr(str(store.given)) for store in stores)
        raise InputError(
            f"There is no record under {names}. Run a study first: "
            f"`triptych run quickstart --out {stores[0].given if stores else 'runs/quickstart'}`."
        )
    chosen = _one_version(candidates, notes)
    rows = [
        row
        for found in sorted(chosen.values(), key=lambda found: found.record.finished)
        for row in _score_rows(found, plan)
    ]
    rows += [
        {"task": place.task, "method": place.method, "loss": place.label, "stage": place.stage,
         "trial": place.trial, "seed": place.seed, "space": plan.spaces.get(place.label, "{}"),
         **row}
        for place, row in plan.waiting.items()
        if place not in chosen
    ]  # fmt: skip
    labels = list(dict.fromkeys(row["loss"] for row in rows))
    wanted = [*plan.baselines, "infonce", "infonce[tuned]", *labels]
    baseline = next(label for label in wanted if label in labels)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    table["baseline"] = table["loss"] == baseline
    table["trial"] = table["trial"].astype("Int64")
    table["step"] = table["step"].astype("Int64")
    table["steps"] = table["steps"].astype("Int64")
    table.attrs["notes"] = notes
    return table


def _read_plan(store: Store, plan: _Plan) -> None:
    """Add what was last planned in ``store``, and what became of cells without a record."""
    study = store.study()
    if not study:
        return
    if study["baseline"] is not None:
        plan.baselines.append(study["baseline"])
    for label, space in study.get("spaces", {}).items():
        plan.spaces[label] = json.dumps(space)
    for planned in study["plan"]:
        cell = Cell(**planned["cell"])
        place = Place(
            cell.task, cell.method, planned["label"], _stage(cell), planned.get("trial"), cell.seed
        )
        if planned["key"]:
            plan.places.setdefault(planned["key"], []).append(place)
        failure = store.failure(cell, planned["key"])
        plan.waiting[place] = {
            "modality": planned.get("modality", ""),
            "spec": cell.loss,
            "status": failure.outcome if failure else "missing",
            "reason": failure.reason if failure else planned.get("reason", "not run yet"),
            "key": planned["key"],
            "settings": json.dumps(planned.get("settings", {})),
            "steps": 0 if cell.loss == UNTRAINED else None,
        }


def _placed(record: Record, plan: _Plan) -> list[_Found]:
    """Return the record in each of its places: one that no plan names is a row by its spec."""
    cell = Cell(**record.cell)
    places = plan.places.get(record.key)
    if places:
        return [_Found(record, place, planned=True) for place in places]
    if _stage(cell) == "tuning":  # Of a budget that is no longer the study's.
        return []
    place = Place(cell.task, cell.method, cell.loss, "final", None, cell.seed)
    return [_Found(record, place, planned=False)]


def _one_version(candidates: Iterable[_Found], notes: list[str]) -> dict[Place, _Found]:
    """Return one record a place: on a task with a method, all of one code and data."""
    ordered = sorted(candidates, key=lambda found: found.order)
    frames = {_panel(f): (f.record.frame, f.record.data) for f in ordered}
    framed = [f for f in ordered if frames[_panel(f)] == (f.record.frame, f.record.data)]
    sources = {(*_panel(f), f.record.cell["loss"]): f.record.source for f in framed}
    kept = [f for f in framed if sources[(*_panel(f), f.record.cell["loss"])] == f.record.source]
    chosen: dict[Place, _Found] = {}
    different = 0
    for found in kept:
        rival = chosen.get(found.place)
        if rival is not None and rival.record.key == found.record.key:
            different += rival.record.scores != found.record.scores
        chosen[found.place] = found
    left_out = len({id(f.record) for f in ordered}) - len({id(f.record) for f in kept})
    if left_out:
        notes.append(
            f"{left_out} records of other code or data left out; "
            "the command of the run makes them anew."
        )
    if different:
        notes.append(
            f"{different} cells have a record in several folders with different scores: "
            "the one finished last is shown. Machines differ in the last digits."
        )
    return chosen


def _score_rows(found: _Found, plan: _Plan) -> Iterable[dict[str, Any]]:
    record, place = found.record, found.place
    common = {
        "task": place.task,
        "modality": record.modality,
        "method": place.method,
        "loss": place.label,
        "spec": record.cell["loss"],
        "stage": place.stage,
        "trial": place.trial,
        "seed": place.seed,
        "status": "done",
        "reason": "",
        "steps": record.steps,
        "seconds": record.seconds["total"],
        "start": record.digests["start"],
        "seen": record.digests["seen"],
        "key": record.key,
        "settings": json.dumps(record.settings.get("loss", {})),
        "space": plan.spaces.get(place.label, "{}"),
        "data": json.dumps(record.data),
        "versions": json.dumps(record.versions),
        "source": record.source,
        "commit": record.commit,
        "device": record.device,
        "finished": record.finished,
    }
    points: list[tuple[int, str, Mapping[str, float]]] = [
        (step, "validation", scores) for step, scores in record.probed
    ]
    points += [(record.steps, split, scores) for split, scores in record.scores.items()]
    for step, split, scores in points:
        for metric, value in scores.items():
            yield {**common, "split": split, "metric": metric, "step": step, "value": value}


def _panel(found: _Found) -> tuple[str, str]:
    return found.place.task, found.place.method


def _stage(cell: Cell) -> str:
    return "tuning" if cell.scored == "validation" else "final"
