"""Records of finished cells, one atomic file each, and the folder that holds them."""

import errno
import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from harness.core.cells import TUNED, Cell, name_of
from harness.core.errors import InputError
from harness.core.files import read_plain, write_atomically
from harness.core.locks import locked
from harness.core.schema import from_values, mismatch, read_json
from harness.core.telling import MAX_KEPT, one_line
from harness.store.labels import NAMES, kept_names

SCHEMA = 4
FIRST_RELEASE = 3
"""The schema of version 0.1.0: boards show its records, but never pair them with newer ones."""


@dataclass(frozen=True)
class Record:
    """Hold the results of one finished cell.

    Attributes:
        key: the key of the cell's :class:`~harness.store.identity.Identity`.
        task: the task's name on boards, with names instead of paths.
        cell: the :class:`~harness.core.cells.Cell` as plain values, paths included.
        identity: the content of the key, which is its digest: settings, data, code.
        modality: the task's modality.
        settings: {task, method, loss: {setting: value}}, defaults included; data by name.
        scores: {split: {metric: value}}, as boards show them: shares in points.
        metrics: the task's metrics, the main one first, each as the fields of
            :class:`harness.metrics.Metric`.
        resolution: {split: {metric: one item's weight in the score}}, if it is known.
        probed: (step, {metric: value}) pairs: validation scores during training.
        curve: (step, objective) pairs.
        diagnostics: (step, {name: value}) pairs, of :mod:`harness.evaluation.diagnostics`.
        steps: optimizer steps taken.
        continued: the steps after which the cell was stopped and later continued.
        seconds: {train, evaluate, total}: wall time, without work that was lost.
        throughput: training examples a second.
        peak_memory: {resident: bytes}, and {gpu: bytes} if there is one.
        proof: the proof that two cells are a pair: see :func:`harness.run.attempt.proof_of`.
        data: {name: checksum}.
        frame: a digest of the code that the losses and methods of a task share.
        versions: the versions of Python and libraries.
        commit: the commit of the checkout, if the cell ran from one.
        device: the device that the cell ran on.
        finished: the time it finished, in UTC, ISO 8601.
        plugins: where the run's folder has a copy of the plugins' files that it used; empty if
            all its plugins are installed.
        notes: how the data were read, such as what was left out and why, in sentences.
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
    plugins: str = ""
    notes: list[str] = field(default_factory=list)
    schema: int = field(default=SCHEMA)

    @property
    def main(self) -> str:
        """Return the name of the main metric; records of early versions declare no metrics."""
        first = (name for scores in self.scores.values() for name in scores)
        return next((metric["name"] for metric in self.metrics), next(first, ""))

    @property
    def main_score(self) -> float | None:
        """Return the main metric on the split that the cell is scored on; None if it is missing."""
        return self.scores.get(self.cell.get("scored", "test"), {}).get(self.main)

    @property
    def source(self) -> str:
        """Return the digest of all code that the result depends on."""
        return str(self.identity["source"])


@dataclass(frozen=True)
class Failure:
    """Hold the reason why a cell has no record.

    Attributes:
        key: the key that its record would have had.
        outcome: ``failed``, which the next run tries again, or ``diverged``, which it does not:
            the same cell would diverge again.
        reason: the reason in one line.
        details: the traceback, if there is one.
        log: the log, in the run's folder, of the dry run that failed in the cell's place; empty:
            the cell failed itself.
    """

    key: str
    outcome: str
    reason: str
    details: str = ""
    log: str = ""

    def __post_init__(self) -> None:
        """Put the reason on one line of at most ``MAX_KEPT`` characters."""
        object.__setattr__(self, "reason", one_line(self.reason, MAX_KEPT))


class Store:
    """Read and write the folder of a run: ``records/``, ``failures/``, ..., one file a cell.

    A file appears under its name only once it is complete. Records, failures and the plan carry a
    checksum of their bytes; a file without a correct one is not read.
    """

    def __init__(self, folder: str | Path) -> None:
        self.given = Path(folder)
        self.folder = self.given.absolute()  # A plugin may change the current folder.

    @property
    def study_path(self) -> Path:
        """Return the path of the last run's plan."""
        return self.folder / "study.json"

    def record_path(self, cell: Cell, key: str) -> Path:
        """Return the path of the record of ``cell`` with this key, which may not exist."""
        return self.folder / "records" / record_name(cell, key)

    def find_record(self, cell: Cell, key: str) -> Path:
        """Return the path of the record with this key, even if its file has an older name."""
        path = self.record_path(cell, key)
        others = (self.folder / "records").glob(f"*-{key}.json") if key else iter(())
        return path if path.exists() else next(others, path)

    def claim_path(self, cell: Cell, key: str) -> Path:
        """Return the path of the claim file of ``cell``: see ``harness.run.claims``."""
        return self.folder / "claims" / f"{_slug(cell)}-{key}.json"

    def checkpoint_path(self, cell: Cell, key: str) -> Path:
        """Return the path of the checkpoint of ``cell``, kept while it runs."""
        return self.folder / "checkpoints" / f"{_slug(cell)}-{key}.safetensors"

    def log_path(self, cell: Cell, key: str) -> Path:
        """Return the path of the log of ``cell``."""
        return self.folder / "logs" / f"{_slug(cell)}-{key}.log"

    def events_path(self, cell: Cell, key: str) -> Path:
        """Return the folder of the cell's TensorBoard event files."""
        return self.folder / "tensorboard" / f"{_slug(cell)}-{key}"

    def failure_path(self, cell: Cell) -> Path:
        """Return the path of the failure of ``cell``, the same for every key."""
        digest = digest_of(cell.to_dict())[:16]
        return self.folder / "failures" / f"{_slug(cell)}-{digest}.json"

    def has(self, cell: Cell, key: str) -> bool:
        """Return whether ``cell`` has a valid record with this key."""
        record = read_record(self.record_path(cell, key))
        return record is not None and record.key == key

    def write_record(self, cell: Cell, record: Record) -> Path:
        """Write ``record`` atomically; remove the cell's failure and checkpoint."""
        path = self.record_path(cell, record.key)
        write_atomically(path, _json(asdict(record)))
        self.failure_path(cell).unlink(missing_ok=True)
        self.checkpoint_path(cell, record.key).unlink(missing_ok=True)
        return path

    def write_failure(self, cell: Cell, failure: "Failure") -> None:
        """Write the failure of ``cell``, which has no record."""
        values = {"cell": cell.to_dict(), **asdict(failure)}
        write_atomically(self.failure_path(cell), _json(values))

    def failure(self, cell: Cell, key: str) -> "Failure | None":
        """Return the failure of ``cell`` with this key, if its last attempt failed."""
        found = self.failure_at(self.failure_path(cell))
        return found if found is not None and found.key == key else None

    def settled(self, cell: Cell, key: str) -> "Literal['done'] | Failure | None":
        """Return ``done``, or the failure of a diverged cell, or None if the cell must be run."""
        if self.has(cell, key):
            return "done"
        failure = self.failure(cell, key)
        return failure if failure is not None and failure.outcome == "diverged" else None

    def failure_at(self, path: Path) -> "Failure | None":
        """Return the failure in ``path``, or None if it is missing or cannot be read."""
        try:
            return from_values(Failure, read_json(_checked(read_plain(path, follow=True))))
        except (OSError, ValueError):
            return None

    def record_paths(self) -> list[Path]:
        """Return the files of all records, sorted by name.

        Raises:
            InputError: if the folder is there and cannot be listed.
        """
        folder = self.folder / "records"
        try:
            found = list(folder.iterdir())  # Path.glob hides that a folder cannot be listed.
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise InputError(
                f"The records in {folder} cannot be listed: {error.strerror or error}. Make the "
                "folder readable, and run the command again."
            ) from error
        # Sort by name, because comparing paths takes ten times as long.
        return sorted((p for p in found if p.suffix == ".json"), key=lambda path: path.name)

    def scan(self) -> Iterator[tuple[Path, Record | None]]:
        """Yield every file under ``records/``, in order, and its record: None if it is invalid."""
        for path in self.record_paths():
            yield path, read_record(path)

    def records(self) -> list[Record]:
        """Return the valid records, in the order of their file names."""
        return [record for _, record in self.scan() if record is not None]

    def write_study(
        self,
        values: Mapping[str, Any],
        further: Callable[[Mapping[str, Any]], Mapping[str, Any]] = lambda earlier: {},
    ) -> None:
        """Write the study that is run here, with the cells that it consists of.

        A study that names no baseline keeps an earlier study's. The cells of tuned rows
        in earlier plans are kept: only a plan says that their settings were chosen by
        tuning, and for which row. Their trials are kept only if the search space and
        budget are unchanged, such as when some of the tasks are run again. So are the labels of
        what this study does not have.

        Args:
            values: the study.
            further: returns further values, from those of the earlier study.

        Raises:
            OSError: if it cannot be written, or the earlier study cannot be read.
        """
        # Of two runs that write plans at once, one would otherwise lose what the other adds.
        with locked(self.folder / ".study.lock"):
            earlier = self._read_study()  # This raises rather than lose a plan it cannot read.
            study = {"baseline": None, **values, **further(earlier)}
            write_atomically(self.study_path, _json(_merged(study, earlier)))

    def study(self) -> dict[str, Any]:
        """Return the study that was last run here, or {} if it cannot be read."""
        with suppress(OSError):
            return self._read_study()
        return {}

    def _read_study(self) -> dict[str, Any]:
        """Return the study that was last run here, or {} if there is none or it is damaged.

        Raises:
            OSError: if the file is there, and the file system does not let us read it.
        """
        try:
            content = read_plain(self.study_path, follow=True)
        except FileNotFoundError:
            return {}
        except OSError as error:
            if error.errno == errno.EINVAL:  # It is not a plain file.
                return {}
            raise
        try:
            found = read_json(content)
            # Version 0.1.0 wrote its plans without a checksum.
            if found.get("schema", FIRST_RELEASE) != FIRST_RELEASE or b"checksum" in content[:20]:
                _checked(content)
                del found["checksum"]
            good = (
                isinstance(found["baseline"], str | None)
                and isinstance(found.get("spaces", {}), dict)
                and all(_are_texts(found.get(key, {})) for key in NAMES)
                and all(map(_is_place, [*found["plan"], *found.get("earlier", [])]))
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return {}
        return found if good else {}


def _json(values: Mapping[str, Any]) -> str:
    """Return plain values as JSON with a checksum."""
    return _signed(json.dumps(_writable(values), indent=1, allow_nan=False))


def _writable(value: Any) -> Any:
    r"""Return plain values with halves of surrogate pairs, which no file can hold, as escapes.

    >>> _writable({"half a pair": ["\udc80"]})
    {'half a pair': ['\\udc80']}
    """
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_writable(key): _writable(each) for key, each in value.items()}
    return [*map(_writable, value)] if isinstance(value, list | tuple) else value


def _are_texts(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(text, str) for text in value.values())


def _merged(values: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Return a study with what it keeps of the earlier one: see :meth:`Store.write_study`."""
    # Through JSON, so that tuples compare equal to the lists of the earlier file.
    study: dict[str, Any] = json.loads(json.dumps(values))
    if study["baseline"] is None:
        study["baseline"] = earlier.get("baseline")
    study |= kept_names(study, earlier)
    planned_keys = {place["key"] for place in study["plan"]}
    earlier_places = [*earlier.get("earlier", []), *earlier.get("plan", [])]
    study["earlier"] = [
        place
        for place in earlier_places
        if place["label"].endswith(TUNED)
        and (place.get("trial") is None or _budget(place, study) == _budget(place, earlier))
        and place["key"] not in planned_keys | {""}
    ]
    return study


def _budget(place: Mapping[str, Any], study: Mapping[str, Any]) -> object:
    """Return a row's space and budget in a study; without a space, an object unequal to all."""
    space = study.get("spaces", {}).get(place["label"])
    return object() if space is None else (space, study.get("tuning"))


def _is_place(place: Mapping[str, Any]) -> bool:
    """Return whether ``place`` is a planned cell; if it is not, this may also raise an error."""
    from_values(Cell, place["cell"])
    kinds = {"label": str, "key": str, "task": str, "trial": int | None}
    given = {"task": "", "trial": None, **place}
    return not any(mismatch(given[name], kind, name) for name, kind in kinds.items())


def read_record(path: Path) -> Record | None:
    """Return the record in ``path``, or None if it is missing or damaged."""
    try:
        values = read_json(_checked(read_plain(path, follow=True)))
        if values["schema"] == FIRST_RELEASE:
            values = _from_first_release(values)
        elif values["schema"] != SCHEMA:
            return None
        from_values(Cell, values["cell"])
        return from_values(Record, values)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _from_first_release(values: Mapping[str, Any]) -> dict[str, Any]:
    """Convert the values of a record of version 0.1.0 to today's names.

    Cells that were not trained keep their method: there was one such cell for each method.
    """
    return {
        "diagnostics": [],  # The first records had none.
        **values,
        "task": values["cell"]["task"],
        "identity": {"source": values["source"]},
        "proof": {"schema": FIRST_RELEASE, **values["digests"]},
    }


def is_intact(path: Path) -> bool:
    """Return whether the record in ``path`` has a correct checksum."""
    try:
        _checked(read_plain(path, follow=True))
    except (OSError, ValueError):
        return False
    return True


SIGNED_START = re.compile(rb'\{\n "checksum": "([0-9a-f]{64})",\n')


def _signed(text: str) -> str:
    r"""Insert the checksum of all bytes below it as the second line of a JSON object.

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
    """Return ``content``; raise ValueError if its checksum is missing or wrong."""
    found = SIGNED_START.match(content)
    if found is None or sha256(content[found.end() :]).hexdigest() != found[1].decode():
        raise ValueError("the checksum is missing or wrong")
    return content


def record_name(cell: Cell, key: str) -> str:
    """Return the name of the file that holds the record of ``cell`` with this key."""
    return f"{_slug(cell)}-{key}.json"


def _slug(cell: Cell) -> str:
    """Return a readable file name; the key that follows it distinguishes cells.

    The task's settings are left out: they may hold a path, and a cell has one record
    wherever its data lie.
    """
    task = name_of(cell.task)
    parts = filter(None, (task, cell.method, cell.loss, f"seed{cell.seed}"))
    return "--".join(re.sub(r"[^A-Za-z0-9.=_-]+", "_", part).strip("_")[:48] for part in parts)


def key_of(identity: Mapping[str, Any]) -> str:
    """Return the key, 16 hexadecimal digits, of all that a cell's result depends on."""
    return digest_of(identity)[:16]


def digest_of(values: Mapping[str, Any]) -> str:
    """Return the sha256 of plain values; the order of keys does not matter."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode()).hexdigest()
