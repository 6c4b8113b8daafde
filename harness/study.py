"""Studies: a TOML file, or its parts, into cells."""

import tomllib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import product
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from harness import search
from harness.errors import InputError, require_number, unknown
from harness.methods.base import misfit
from harness.plugins import build, canonical, load, names, parse, settings, with_settings
from harness.search import Space, settings_at

UNTRAINED = "untrained"
"""The reserved name in place of a loss: the encoder at step 0, same evaluation."""


TUNED = "[tuned]"
"""What is put behind the name of a loss whose settings are chosen on validation."""

MOST_SEEDS = 10_000
"""Seeds given by their number are below it, tuning seeds given so are from it on."""

GROUPS = ("tasks", "methods", "losses")
Spec = str


@dataclass(frozen=True)
class Cell:
    """One task, method, loss and seed, each plugin by its canonical spec.

    Attributes:
        task: its spec.
        method: its spec.
        loss: its spec, or ``untrained``.
        seed: the seed.
        scored: ``test``: on validation and test; ``validation``: test is not looked at.
        probes: how often validation is scored during training.
    """

    task: str
    method: str
    loss: str
    seed: int
    scored: Literal["test", "validation"] = "test"
    probes: int = 0

    def __str__(self) -> str:
        """Return the cell's label."""
        return f"{self.task} / {self.method} / {self.loss} / seed {self.seed}"

    def to_dict(self) -> dict[str, Any]:
        """Return the cell as plain values; ``Cell(**values)`` is the way back."""
        return asdict(self)


@dataclass(frozen=True)
class Planned:
    """A cell with its place in a study.

    Attributes:
        cell: what is run.
        label: the row of the board that it belongs to.
        trial: which tuning trial it is of, or None: one that is scored on test.
    """

    cell: Cell
    label: str
    trial: int | None = None


@dataclass(frozen=True)
class Entry:
    """A row of the board: a loss with fixed settings, and those that are searched.

    Attributes:
        label: what the board calls it.
        spec: the loss with its fixed settings.
        space: {setting: what is searched}, in the order of the loss's signature.
        methods: the methods that it is trained with.
    """

    label: str
    spec: Spec
    space: Space
    methods: tuple[Spec, ...]

    def trial(self, point: NDArray[np.float64]) -> Spec:
        """Return the loss's spec at ``point`` of the space."""
        return with_settings("losses", self.spec, settings_at(self.space, point))


@dataclass(frozen=True)
class Tuning:
    """The budget that every searched loss gets on every task, with every method.

    Attributes:
        trials: how many points of its space are tried.
        seeds: the seeds that each is tried with; none of them is used for the board.
    """

    trials: int
    seeds: tuple[int, ...]


@dataclass(frozen=True)
class Study:
    """A grid of cells: every task with every method, loss and seed.

    ``untrained`` is always among the losses. Specs are brought into their one
    canonical form, so that two ways to write the same cell are one cell.

    A group of plugins is a list of specs, or a table {spec: {setting: value}}. In the
    table of ``losses`` a setting may be searched: ``{low, high, log}`` or a list of
    choices. Then ``tuning`` is needed, and the row's label is the spec with
    ``[tuned]`` behind it. The key ``methods`` there names the methods that the loss is
    trained with instead of the study's.

    Attributes:
        name: how the study is called.
        tasks: specs of tasks.
        losses: specs of losses, with what is searched.
        methods: specs of methods, of the losses that name none of their own.
        seeds: the seeds; a number n stands for 0 to n - 1.
        steps: optimizer steps of every task that does not name its own.
        probes: how often validation is scored during training, for convergence curves.
        baseline: the loss that others are compared with; if left out, ``infonce``
            where it is on the board, else the first one.
        tuning: ``{trials, seeds}``; a number n of seeds stands for 10000 to 9999 + n.

    Raises:
        InputError: with every wrong name and setting at once.
    """

    name: str
    tasks: Sequence[Spec] | Mapping[Spec, Mapping[str, Any]]
    losses: Sequence[Spec] | Mapping[Spec, Mapping[str, Any]]
    methods: Sequence[Spec] | Mapping[Spec, Mapping[str, Any]] = ("siamese",)
    seeds: Sequence[int] | int = 3
    steps: int | None = None
    probes: int = 0
    baseline: str | None = None
    tuning: Tuning | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        wrong = Mistakes()
        if not isinstance(self.name, str):
            wrong.add(f"`name` must be a text: got {self.name!r}.")
        for least, key in ((1, "steps"), (0, "probes")):
            if getattr(self, key) is not None:
                with wrong.caught():
                    require_number(key, getattr(self, key), at_least=least, whole=True)
        fine = not wrong.lines
        for group in ("tasks", "methods"):
            specs: list[Spec] = []
            for spec, table in _table(group, getattr(self, group), wrong).items():
                with wrong.caught():
                    spec = with_settings(group, spec, table)
                    if group == "tasks" and self.steps is not None and fine:
                        spec = _with_steps(spec, self.steps)
                    build(group, spec)
                    specs.append(spec)
            object.__setattr__(self, group, tuple(dict.fromkeys(specs)))
        losses = _table("losses", self.losses, wrong)
        object.__setattr__(self, "seeds", _seeds("seeds", self.seeds, 0, wrong))
        object.__setattr__(self, "tuning", _tuning(self.tuning, wrong))
        object.__setattr__(self, "losses", {})
        for spec, table in losses.items():
            with wrong.caught():
                found, normal = self._loss(spec, table)
                if self.losses.get(found, normal) != normal:  # type: ignore[union-attr]
                    wrong.add(f"`losses` must name {found} once: it is searched in two ways.")
                self.losses[found] = normal  # type: ignore[index]
        wrong.stop(self.name)
        wrong.lines += self._untunable() + self._misfits()
        if self.baseline is not None:
            with wrong.caught():
                object.__setattr__(self, "baseline", self.label_of(self.baseline))
        wrong.stop(self.name)

    def _loss(self, spec: Spec, table: Mapping[str, Any]) -> tuple[Spec, dict[str, Any]]:
        """Return the spec of a loss with its fixed settings, and the rest of its table."""
        name, given = parse("losses", spec)
        known = settings("losses", name)
        normal: dict[str, Any] = {}
        fixed: dict[str, Any] = {}
        for key, value in table.items():
            if key == "methods":
                wrong = Mistakes()
                chosen = _table("methods", value, wrong)
                if wrong.lines:
                    raise InputError(f"The loss {spec!r}: " + "\n".join(wrong.lines))
                own = [with_settings("methods", s, table) for s, table in chosen.items()]
                for method in own:
                    build("methods", method)
                normal["methods"] = own
            elif isinstance(value, list | tuple | Mapping):
                if key not in known:
                    with_settings("losses", name, {key: None})  # Its error names the nearest.
                if key in given:
                    raise InputError(f"`{key}` of the loss {spec!r} is both fixed and searched.")
                normal[key] = search.read(f"{name}.{key}", value, known[key]).to_dict()
            else:
                fixed[key] = value
        found = with_settings("losses", spec, fixed)
        build("losses", found)
        order = ("methods", *known)
        return found, {key: normal[key] for key in order if key in normal}

    @property
    def entries(self) -> list[Entry]:
        """Return the rows of the board, ``untrained`` not among them."""
        found = []
        for spec, table in self._losses().items():
            known = settings("losses", parse("losses", spec)[0])
            space = {
                key: search.read(key, value, known[key])
                for key, value in table.items()
                if key != "methods"
            }
            methods = tuple(table.get("methods", self.methods))
            found.append(Entry(spec + (TUNED if space else ""), spec, space, methods))
        return found

    def _losses(self) -> Mapping[Spec, Mapping[str, Any]]:
        assert isinstance(self.losses, Mapping)
        return self.losses

    @property
    def all_methods(self) -> list[Spec]:
        """Return the methods of all losses: each has its ``untrained`` row."""
        return list(dict.fromkeys(m for entry in self.entries for m in entry.methods))

    def _untunable(self) -> list[str]:
        """Return what keeps the study from being tuned, its trials' specs included."""
        searched = [entry for entry in self.entries if entry.space]
        if self.tuning is None:
            return [
                f"`{entry.spec}` searches {', '.join(entry.space)}, and the study has no budget: "
                "add [tuning] with trials and seeds."
                for entry in searched
            ]
        wrong = Mistakes()
        assert isinstance(self.tuning, Tuning)
        if not searched:
            wrong.add("`tuning` must have something to tune: no loss has a setting to search.")
        both = sorted(set(self.tuning.seeds) & set(self._seeds()))
        if both:
            wrong.add(
                f"`tuning.seeds` must not be among the study's seeds, which are to be fresh: "
                f"{both} are. Leave a number there, such as 2."
            )
        for entry in searched:
            with wrong.caught():
                search.require_settings(entry.space)
                for point in search.points(self.tuning.trials):
                    build("losses", entry.trial(point))
        return list(dict.fromkeys(wrong.lines))

    def _misfits(self) -> list[str]:
        """Return which losses do not go with which method and task, and why."""
        tasks = {spec: build("tasks", spec) for spec in self.tasks}
        methods = {spec: build("methods", spec) for spec in self.all_methods}
        wrong: dict[str, list[str]] = {}
        for entry in self.entries:
            loss = build("losses", entry.spec)
            for method, task in product(entry.methods, tasks):
                reason = misfit(methods[method], loss, labelled=tasks[task].labelled)
                if reason is not None:
                    key = f"`{entry.spec}` cannot be trained with `{method}`: {reason}"
                    wrong.setdefault(key, []).append(task)
        lines = [f"{reason} (on {', '.join(tasks)})." for reason, tasks in wrong.items()]
        if lines:
            lines.append(
                "Take them out, or name a loss's own methods: "
                '`losses.regression = {methods = ["byol"]}`; '
                "`triptych list methods --long` says what goes together."
            )
        return lines

    @classmethod
    def load(cls, source: str | Path) -> "Study":
        """Return the shipped study of that name, or the one in that TOML file.

        Raises:
            InputError: where there is none, or where it is wrong.
        """
        path = Path(source)
        file: Path | Traversable
        if path.suffix == ".toml" or path.is_file():
            if not path.is_file():
                raise InputError(f"There is no study file {str(path)!r}. Check the path.")
            file, name = path, path.stem
        else:
            known = shipped()
            if str(source) not in known:
                raise unknown("study", str(source), known)
            file, name = known[str(source)], str(source)
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"The study {str(source)!r} is not valid TOML: {error}.") from error
        return cls.from_dict({"name": name} | values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Study":
        """Return the study that ``values`` describe.

        Raises:
            InputError: where a key is unknown or missing, or a value wrong: all at once.
        """
        known = [field.name for field in fields(cls)]
        wrong = Mistakes()
        wrong.lines += [str(unknown("study key", key, known)) for key in values if key not in known]
        wrong.lines += [f"`{key}` is missing." for key in ("tasks", "losses") if key not in values]
        if not wrong.lines:
            return cls(**values)
        try:  # What else is wrong is said in the same breath.
            cls(**{"tasks": (), "losses": ()} | {k: v for k, v in values.items() if k in known})
        except InputError as error:
            wrong.lines += [
                line for line in str(error).split("\n")[1:] if "at least one of" not in line
            ]
        raise wrong.error(values.get("name"))

    def to_dict(self) -> dict[str, Any]:
        """Return the study as plain values; :meth:`from_dict` is the way back."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
        }

    def but(self, **changes: Any) -> "Study":
        """Return the study with those of ``changes`` that are not None.

        A bare name stands for the study's own specs of that plugin, where it has any,
        with what it searches. A baseline that is no longer among the losses is left
        out, and so is a budget that nothing needs.
        """
        chosen = {key: value for key, value in changes.items() if value is not None}
        for group in set(GROUPS) & chosen.keys():
            own: Sequence[Spec] | Mapping[Spec, Any] = getattr(self, group)
            specs = [
                spec
                for given in chosen[group]
                for spec in [s for s in own if s.partition("(")[0] == given] or [given]
            ]
            tables = self._losses() if group == "losses" else {}
            chosen[group] = {spec: tables.get(spec, {}) for spec in specs}
        left = chosen.get("losses", self._losses())
        if not any(set(table) - {"methods"} for table in left.values()):
            chosen.setdefault("tuning", None)
        kept = replace(self, **({"baseline": None} | chosen))
        labels = [entry.label for entry in kept.entries]
        if kept.baseline is None and self.baseline in (*labels, UNTRAINED):
            kept = replace(kept, baseline=self.baseline)
        return kept

    def label_of(self, loss: str) -> str:
        """Return the label of the row that ``loss``, a label or a spec, stands for.

        Raises:
            InputError: where there is none.
        """
        labels = [entry.label for entry in self.entries]
        if loss in (*labels, UNTRAINED):
            return loss
        spec = canonical("losses", str(loss).removesuffix(TUNED))
        for label in (spec, spec + TUNED):
            if label in labels:
                return label
        raise InputError(f"`baseline` must be one of {', '.join(labels)}: got {loss!r}.")

    def cells(self) -> list[Cell]:
        """Return the cells that are known in advance: all but those of chosen settings."""
        return [planned.cell for planned in (*self.trials(), *self.finals({}))]

    def size(self) -> int:
        """Return the number of cells in all."""
        rows = sum(len(entry.methods) for entry in self.entries) + len(self.all_methods)
        return len(self.trials()) + len(self.tasks) * rows * len(self._seeds())

    def trials(self) -> list[Planned]:
        """Return the cells of the tuning trials: scored on validation alone."""
        if self.tuning is None:
            return []
        assert isinstance(self.tuning, Tuning)
        drawn = search.points(self.tuning.trials)
        searched = [entry for entry in self.entries if entry.space]
        return [
            Planned(
                Cell(task, method, entry.trial(point), seed, scored="validation"),
                entry.label,
                trial,
            )
            for trial, point in enumerate(drawn)
            for seed in self.tuning.seeds
            for task in self.tasks
            for entry in searched
            for method in entry.methods
        ]

    def finals(self, chosen: Mapping[tuple[Spec, Spec, str], Spec]) -> list[Planned]:
        """Return the cells of the board, seed by seed, so that a stopped run has whole blocks.

        Args:
            chosen: {(task, method, label): spec} of the losses that were tuned; those
                that are not in it are left out.
        """
        found = []
        for seed, task in product(self._seeds(), self.tasks):
            for entry in self.entries:
                for method in entry.methods:
                    spec = chosen.get((task, method, entry.label)) if entry.space else entry.spec
                    if spec is not None:
                        cell = Cell(task, method, spec, seed, probes=self.probes)
                        found.append(Planned(cell, entry.label))
            for method in self.all_methods:
                found.append(Planned(Cell(task, method, UNTRAINED, seed), UNTRAINED))
        return found

    def _seeds(self) -> tuple[int, ...]:
        assert isinstance(self.seeds, tuple)
        return self.seeds


class Mistakes:
    """What is wrong with a study, gathered so that it is said at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        """Take down one more."""
        self.lines.append(line)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Take down the error of a block instead of raising it."""
        try:
            yield
        except InputError as error:
            self.lines += str(error).split("\n")

    def error(self, name: object) -> InputError:
        """Return them as one error."""
        return InputError("\n".join([f"The study {name!r} is wrong:", *self.lines]))

    def stop(self, name: object) -> None:
        """Raise them, if there are any."""
        if self.lines:
            raise self.error(name)


def shipped() -> dict[str, Traversable]:
    """Return {name: file} of the studies that installed distributions ship.

    An entry point of the group ``harness.studies`` names a package; each of its
    TOML files is a study.

    A package that cannot be loaded is left out, with a warning.

    Raises:
        InputError: where two packages ship a study of the same name.
    """
    found: dict[str, Traversable] = {}
    for package in names("studies"):
        try:
            folder = files(load("studies", package))
        except InputError as error:
            warnings.warn(str(error), stacklevel=2)
            continue
        for file in folder.iterdir():
            study = file.name.removesuffix(".toml")
            if study == file.name:
                continue
            if study in found:
                raise InputError(
                    f"Two studies are named {study!r}: {found[study]} and {file}. "
                    "Name the one you want by its path."
                )
            found[study] = file
    return dict(sorted(found.items()))


def _table(group: str, value: Any, wrong: Mistakes) -> dict[Spec, Mapping[str, Any]]:
    """Return {spec: settings} of a list of specs or of a table; ``untrained`` is left out."""
    listed = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    tabled = isinstance(value, Mapping) and all(isinstance(v, Mapping) for v in value.values())
    if not listed and not tabled:
        example = "adnce = {mu = 0.5}" if group == "losses" else "images = {labels = 20}"
        wrong.add(
            f'`{group}` must be a list of specs, such as ["{example.split()[0]}"], or a table of '
            f"their settings, such as [{group}] {example}: got {value!r}."
        )
        return {}
    found = dict(value) if tabled else {spec: {} for spec in value}
    if group == "losses":
        found.pop(UNTRAINED, None)
    if not found:
        extra = f" ({UNTRAINED!r} is always included)" if group == "losses" else ""
        wrong.add(f"`{group}` must name at least one of the {group}{extra}: got none.")
    return found


def _with_steps(task: Spec, steps: int) -> Spec:
    given = parse("tasks", task)[1]
    return task if "steps" in given else with_settings("tasks", task, {"steps": steps})


def _seeds(name: str, value: Any, first: int, wrong: Mistakes) -> tuple[int, ...]:
    many = type(value) is int
    seeds = list(range(first, first + min(value, MOST_SEEDS + 1))) if many else value
    good = isinstance(seeds, list | tuple) and all(type(s) is int and s >= 0 for s in seeds)
    if good and 1 <= len(seeds) <= MOST_SEEDS and len(set(seeds)) == len(seeds):
        return tuple(seeds)
    wrong.add(
        f"`{name}` must be a number of seeds, 1 to {MOST_SEEDS}, or a list of different ones, "
        f"each 0 or above: got {value!r}."
    )
    return ()


def _tuning(value: Any, wrong: Mistakes) -> Tuning | None:
    if value is None:
        return None
    if isinstance(value, Tuning):
        value = asdict(value)
    if not isinstance(value, Mapping):
        wrong.add(f"`tuning` must be a table, such as {{trials = 8, seeds = 2}}: got {value!r}.")
        return None
    known = [field.name for field in fields(Tuning)]
    wrong.lines += [str(unknown("key of tuning", key, known)) for key in value if key not in known]
    wrong.lines += [f"`tuning.{key}` is missing." for key in known if key not in value]
    trials = value.get("trials", 1)
    with wrong.caught():
        require_number("tuning.trials", trials, at_least=1, at_most=search.MOST_TRIALS, whole=True)
    return Tuning(trials, _seeds("tuning.seeds", value.get("seeds", 1), MOST_SEEDS, wrong))
