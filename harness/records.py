"""Records: what one cell left, one atomic file each, and the folder that holds them."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from harness.cells import TUNED, Cell
from harness.conform import made, mismatch
from harness.files import write_atomically

SCHEMA = 4
FIRST_RELEASE = 3
"""The schema of version 0.1.0: boards show its records, and pair them with no newer ones."""


@dataclass(frozen=True)
class Record:
    """All that one finished cell left.

    Attributes:
        key: of the cell's :class:`~harness.identity.Identity`.
        task: what boards call the task: names in the place of paths.
        cell: of :class:`~harness.cells.Cell`, as plain values, paths included.
        identity: what the key is a digest of: settings, data, code.
        modality: of the task.
        settings: {task, method, loss: {setting: value}}, defaults included; data by name.
        scores: {split: {metric: value}}, as boards show them: shares in points.
        metrics: what the task declares of each metric, the main one first: the fields of
            :class:`harness.metrics.Metric`.
        resolution: {split: {metric: one item's weight in the score}}, where it is known.
        probed: (step, {metric: value}) pairs: validation scores during training.
        curve: (step, objective) pairs.
        diagnostics: (step, {name: value}) pairs, of :mod:`harness.diagnostics`.
        steps: optimizer steps.
        continued: after which steps the cell was stopped, and went on later.
        seconds: {train, evaluate, total}, wall time, whatever was lost not counted.
        throughput: training examples a second.
        peak_memory: {resident: bytes}, and {gpu: bytes} where one was used.
        proof: what makes two cells a pair: see :func:`harness.attempt.proof_of`.
        data: {name: checksum}.
        frame: a digest of the code that the losses and methods of a task share.
        versions: of Python and libraries.
        commit: of the checkout, if it ran from one.
        device: what it ran on.
        finished: when, UTC, ISO 8601.
    """

    key: str
    task: str
    cell: dict[str, Any]
    identity: dict[str, Any]
    modality: str
    settings: dict[str, dict[str, Any]]
    scores: dict[str, dict[str, float]]
    probed: list[tuple[int, dict[str, float]]]
    curve: list[tuple[int, float]]
    steps: int
    continued: list[int]
    seconds: dict[str, float]
    throughput: float
    peak_memory: dict[str, int]
    proof: dict[str, Any]
    data: dict[str, str]
    frame: str
    versions: dict[str, str]
    commit: str | None
    device: str
    finished: str
    diagnostics: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    metrics: list[dict[str, Any]] = field(default_factory=list)
    resolution: dict[str, dict[str, float]] = field(default_factory=dict)
    schema: int = field(default=SCHEMA)

    @property
    def source(self) -> str:
        """Return the digest of all code that the result depends on."""
        return str(self.identity["source"])


@dataclass(frozen=True)
class Failure:
    """Why a cell has no record.

    Attributes:
        key: that its record would have had.
        outcome: ``failed``: to be tried again; or ``diverged``: it would again.
        reason: in a line.
        details: the traceback, where there is one.
    """

    key: str
    outcome: str
    reason: str
    details: str = ""


class Store:
    """The folder of a run: ``records/``, ``failures/`` and more, one file a cell.

    A file appears under its name only when it is whole, and a record carries a
    checksum of its bytes; anything else is not taken for a record.
    """

    def __init__(self, folder: str | Path) -> None:
        self.given = Path(folder)
        self.folder = self.given.absolute()  # A plugin may change the working folder.

    @property
    def study_path(self) -> Path:
        """Return where the plan of the last run is."""
        return self.folder / "study.json"

    def record_path(self, cell: Cell, key: str) -> Path:
        """Return where the record of ``cell`` with this key is, or would be."""
        return self.folder / "records" / f"{_slug(cell)}-{key}.json"

    def find_record(self, cell: Cell, key: str) -> Path:
        """Return where the record with this key is: earlier versions named files otherwise."""
        path = self.record_path(cell, key)
        others = (self.folder / "records").glob(f"*-{key}.json") if key else iter(())
        return path if path.exists() else next(others, path)

    def claim_path(self, cell: Cell, key: str) -> Path:
        """Return where it is said who runs ``cell`` at the moment: see ``harness.claims``."""
        return self.folder / "claims" / f"{_slug(cell)}-{key}.json"

    def checkpoint_path(self, cell: Cell, key: str) -> Path:
        """Return where the state of a long cell is kept while it runs."""
        return self.folder / "checkpoints" / f"{_slug(cell)}-{key}.safetensors"

    def log_path(self, cell: Cell, key: str) -> Path:
        """Return where the log of ``cell`` is."""
        return self.folder / "logs" / f"{_slug(cell)}-{key}.log"

    def events_path(self, cell: Cell, key: str) -> Path:
        """Return the folder of the cell's TensorBoard event files."""
        return self.folder / "tensorboard" / f"{_slug(cell)}-{key}"

    def failure_path(self, cell: Cell) -> Path:
        """Return where the failure of ``cell`` is, or would be, whatever its key was."""
        digest = digest_of(cell.to_dict())[:16]
        return self.folder / "failures" / f"{_slug(cell)}-{digest}.json"

    def has(self, cell: Cell, key: str) -> bool:
        """Return whether ``cell`` has a good record with this key."""
        record = read_record(self.record_path(cell, key))
        return record is not None and record.key == key

    def write_record(self, cell: Cell, record: Record) -> Path:
        """Write ``record`` whole or not at all, and forget what came before it."""
        path = self.record_path(cell, record.key)
        write_atomically(path, _signed(json.dumps(asdict(record), indent=1, allow_nan=False)))
        self.failure_path(cell).unlink(missing_ok=True)
        self.checkpoint_path(cell, record.key).unlink(missing_ok=True)
        return path

    def write_failure(self, cell: Cell, failure: "Failure") -> None:
        """Write down what became of ``cell`` instead of a record."""
        values = {"cell": cell.to_dict(), **asdict(failure)}
        write_atomically(self.failure_path(cell), json.dumps(values, indent=1) + "\n")

    def failure(self, cell: Cell, key: str) -> "Failure | None":
        """Return what became of ``cell`` with this key, if it failed when last tried."""
        found = self.failure_at(self.failure_path(cell))
        return found if found is not None and found.key == key else None

    def settled(self, cell: Cell, key: str) -> "Literal['done'] | Failure | None":
        """Return what needs no other attempt: ``done``, or how the cell diverged; else None."""
        if self.has(cell, key):
            return "done"
        failure = self.failure(cell, key)
        return failure if failure is not None and failure.outcome == "diverged" else None

    def failure_at(self, path: Path) -> "Failure | None":
        """Return the failure in ``path``, or None where it is missing or cannot be read."""
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            return made(Failure, values)
        except (OSError, ValueError, RecursionError):
            return None

    def scan(self) -> Iterator[tuple[Path, Record | None]]:
        """Read every file under ``records/``, in order: None where it is no good record."""
        # By name: to compare paths takes ten times as long.
        for path in sorted((self.folder / "records").glob("*.json"), key=lambda p: p.name):
            yield path, read_record(path)

    def records(self) -> list[Record]:
        """Return the good records, in the order of their file names."""
        return [record for _, record in self.scan() if record is not None]

    def write_study(self, values: Mapping[str, Any]) -> None:
        """Write down which study was last run here, and which cells it consists of.

        A study that names no baseline leaves an earlier one's in place. Tuned rows
        of earlier plans are remembered: their records have no other way to say that
        their settings were chosen, and for which row. Trials are while their space and
        budget are the same, as where only some of the tasks are run again.
        """
        earlier = self.study()
        study: dict[str, Any] = json.loads(json.dumps({"baseline": None, **values}))
        if study["baseline"] is None:
            study["baseline"] = earlier.get("baseline")
        now = {place["key"] for place in study["plan"]}
        then = [*earlier.get("earlier", []), *earlier.get("plan", [])]
        study["earlier"] = [
            place
            for place in then
            if place["label"].endswith(TUNED)
            and (place.get("trial") is None or _budget(place, study) == _budget(place, earlier))
            and place["key"] not in now | {""}
        ]
        write_atomically(self.study_path, json.dumps(study, indent=1) + "\n")

    def study(self) -> dict[str, Any]:
        """Return the study that was last run here: nothing where it cannot be read."""
        try:
            found = json.loads(self.study_path.read_text("utf-8"))
            good = (
                isinstance(found["baseline"], str | None)
                and isinstance(found.get("spaces", {}), dict)
                and all(map(_is_place, [*found["plan"], *found.get("earlier", [])]))
            )
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return {}
        return found if good else {}


def _budget(place: Mapping[str, Any], study: Mapping[str, Any]) -> object:
    """Return the space and budget that a row has in a study; what equals nothing for none."""
    space = study.get("spaces", {}).get(place["label"])
    return object() if space is None else (space, study.get("tuning"))


def _is_place(place: Mapping[str, Any]) -> bool:
    """Return whether this is a cell of a plan; wrong ones may raise a KeyError or TypeError."""
    made(Cell, place["cell"])
    kinds = {"label": str, "key": str, "task": str, "trial": int | None}
    given = {"task": "", "trial": None, **place}
    return not any(mismatch(given[name], kind, name) for name, kind in kinds.items())


def read_record(path: Path) -> Record | None:
    """Return the record in ``path``, or None where it is missing or damaged."""
    try:
        values = json.loads(_checked(path.read_bytes()))
        if values["schema"] == FIRST_RELEASE:
            values = _of_first_release(values)
        elif values["schema"] != SCHEMA:
            return None
        made(Cell, values["cell"])
        return made(Record, values)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _of_first_release(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a record of version 0.1.0 under today's names.

    Its method stays on cells that were not trained: there was one such cell a method.
    """
    return {
        "diagnostics": [],  # The first records had none.
        **values,
        "task": values["cell"]["task"],
        "identity": {"source": values["source"]},
        "proof": {"schema": FIRST_RELEASE, **values["digests"]},
    }


def is_whole(path: Path, key: str = "") -> bool:
    """Return whether the record in ``path`` has its checksum, and ``key`` where one is given."""
    try:
        content = _checked(path.read_bytes())
    except (OSError, ValueError):
        return False
    return not key or f'\n "key": "{key}",\n'.encode() in content[:200]


SIGNATURE = re.compile(rb'\{\n "checksum": "([0-9a-f]{64})",\n')


def _signed(text: str) -> str:
    r"""Return a JSON object with the checksum of all bytes below it on its second line.

    >>> print(_signed('{\n "key": 1\n}'))  # doctest: +ELLIPSIS
    {
     "checksum": "...",
     "key": 1
    }
    <BLANKLINE>
    """
    rest = text.removeprefix("{\n") + "\n"
    return f'{{\n "checksum": "{sha256(rest.encode()).hexdigest()}",\n{rest}'


def _checked(content: bytes) -> bytes:
    """Return ``content``, or raise a ValueError where its checksum is not right."""
    found = SIGNATURE.match(content)
    if found is None or sha256(content[found.end() :]).hexdigest() != found[1].decode():
        raise ValueError("the checksum is missing or wrong")
    return content


def _slug(cell: Cell) -> str:
    """Return a readable file name; the key behind it is what tells cells apart.

    Of the task it has the name alone: its settings may hold a path, and one cell has one
    record wherever its data lie.
    """
    task = cell.task.partition("(")[0]
    parts = filter(None, (task, cell.method, cell.loss, f"seed{cell.seed}"))
    return "--".join(re.sub(r"[^A-Za-z0-9.=_-]+", "_", part).strip("_")[:48] for part in parts)


def key_of(identity: Mapping[str, Any]) -> str:
    """Return 16 hexadecimal digits that stand for all that a cell's result depends on."""
    return digest_of(identity)[:16]


def digest_of(values: Mapping[str, Any]) -> str:
    """Return the sha256 of plain values, whatever their order."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()
