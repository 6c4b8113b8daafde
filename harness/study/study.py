"""Studies: read a TOML file, or its parts, and expand it into cells."""

import inspect
import re
import tomllib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import InitVar, asdict, dataclass, field, replace
from functools import cache
from importlib.resources.abc import Traversable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core import plugin_files
from harness.core.cells import (
    CONTROL,
    DEFAULT_METHOD,
    DEFAULT_SEEDS,
    FIXED,
    NO_METHOD,
    TUNED,
    UNTRAINED,
    Cell,
    Planned,
    Spec,
    baseline_row,
    is_trained,
    name_of,
)
from harness.core.errors import InputError, require, require_choice, require_number, unknown
from harness.methods.base import misfit
from harness.plugins import (
    build,
    canonical,
    defined_in_file,
    kind_of,
    names,
    parse,
    plugin_name,
    settings,
    spec_of,
    with_settings,
)
from harness.study import search
from harness.study.hints import require_group, study_hint
from harness.study.labels import Aliases, labels_of, metric_labels
from harness.study.overrides import GROUPS, Overrides, Parts, is_searched
from harness.study.parsing import Mistakes, Tuning, margins_of, seeds_of, table_of, tuning_of
from harness.study.search import Space, settings_at
from harness.study.shipped import shipped

Table = Mapping[str, Any]
Plugins = Sequence[Any] | Mapping[Any, Table]
"""Plugins as a user gives them: specs, classes and instances, in a list or as keys of a table."""

ABOUT = ("takes",)
"""Keys of a study's file that describe it: `triptych list studies` shows them."""
MAX_CELLS = 100_000
MAX_PROBES = 1000
MAX_LINES = 20
"""The number of mistakes of trials that are shown: an invalid space fails at most of its points."""

Chosen = Mapping[tuple[Spec, Spec, str], Spec]
"""{(task, method, label): the spec that tuning chose}."""


@dataclass(frozen=True)
class Entry:
    """Describe a row of the board: a loss with its fixed settings and its search space.

    Attributes:
        label: the row's name on the board.
        spec: the loss with its fixed settings.
        space: {setting: the values to search}, in the order of the loss's signature.
        methods: the methods that the loss is trained with.
    """

    label: str
    spec: Spec
    space: Space
    methods: tuple[Spec, ...]

    def trial(self, point: NDArray[np.float64]) -> Spec:
        """Return the loss's spec at ``point`` of the space."""
        return with_settings("losses", self.spec, settings_at(self.space, point))


@dataclass(frozen=True)
class Study:
    """Describe a grid of cells: every task with every loss, its methods, and every seed.

    ``untrained`` is always among the losses, and so are a task's ``references``. Specs are
    put into canonical form, so that two ways to write a cell give the same cell.

    A group of plugins is a list of specs, or a table {spec: {setting: value}}. In the table
    of ``losses``, ``{low, high, log}`` or a list of choices as the value means that the
    setting is searched. The study then needs ``tuning``, and the row's label is the spec
    followed by ``[tuned]``. The key ``methods`` in a loss's table names the methods that the
    loss is trained with instead of the study's. The key ``use`` in a table is the spec; the
    table's own key is then an alias of it. No cell's key depends on aliases and labels.

    Attributes:
        name: how the study is called.
        tasks: specs of tasks.
        losses: {spec: {setting: the values to search, methods: the loss's own}}.
        methods: specs of methods, for all losses that do not name their own.
        seeds: the seeds; a number n stands for 0 to n - 1.
        probes: how often validation is scored during training, for convergence curves.
            It is part of a trained cell's identity: changing it trains the cell anew.
        baseline: the label of the loss that others are compared with; by default
            ``infonce`` if it is on the board, else the first one.
        tuning: ``{trials, seeds}``; a number n of seeds stands for 10000 to 9999 + n.
        margins: {task or its name: the smallest difference that matters, in the unit of its main
            metric}, in the place of what the task declares; a number stands for all tasks.
        control: whether the baseline is run again with its temperature moved by a millionth. The
            row ``control`` shows how much of a difference is rounding alone.
        labels: {name: what people call it}, for boards. A name is that of a task, loss, method
            or metric, an alias, a whole spec, or a row such as ``adnce[tuned]``.
        aliases: {alias: the spec, or the label of a searched loss's row}; tables with ``use``
            add theirs.
        entries: the rows of the board, without ``untrained`` and references.

    A loss, method or task may be given as a class, as an instance, by the name of an installed
    plugin, or as ``"my_losses.py:Margin"``, a class in a Python file.

    Args:
        steps: optimizer steps of every task that does not set its own; added to the
            specs of ``tasks``.
        plugins: Python files of losses, methods and tasks, which specs may then name by the class
            alone: ``margin`` for ``my_losses.py:Margin``.

    Raises:
        InputError: if the study has mistakes; the message lists all of them.
    """

    name: str
    tasks: Plugins
    losses: Plugins
    methods: Plugins = (DEFAULT_METHOD,)
    seeds: Sequence[int] | NDArray[np.integer[Any]] | int = DEFAULT_SEEDS
    steps: InitVar[int | None] = None
    probes: int = 0
    baseline: Any = None
    tuning: Tuning | Table | None = None
    margins: Mapping[str, float] | float | None = None
    control: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)
    plugins: InitVar[Sequence[str | Path] | str | Path] = ()
    entries: tuple[Entry, ...] = field(init=False, repr=False, compare=False, default=())

    def __post_init__(self, steps: int | None, plugins: Sequence[str | Path] | str | Path) -> None:
        mistakes = Mistakes()
        for file in [plugins] if isinstance(plugins, str | Path) else plugins:
            with mistakes.caught():
                defined_in_file(file)
        if not isinstance(self.name, str):
            mistakes.add(f"`name` must be a text: got {self.name!r}.")
        elif not re.fullmatch(r"\w[\w. -]*", self.name):
            mistakes.add(
                f"`name` must be of letters, digits, '.', '_', '-' and spaces, and start with a "
                f"letter or digit, because it names a folder: got {self.name!r}."
            )
        with mistakes.caught():
            require_number("probes", self.probes, at_least=0, at_most=MAX_PROBES, whole=True)
        if steps is not None:
            with mistakes.caught():
                require_number("steps", steps, at_least=1, whole=True)
        aliases = Aliases(self.aliases, mistakes)
        given = table_of("tasks", self.tasks, mistakes)
        tasks = _specs("tasks", given, mistakes, aliases, steps if not mistakes.lines else None)
        methods = _specs("methods", table_of("methods", self.methods, mistakes), mistakes, aliases)
        entries: dict[Spec, Entry] = {}
        tasks_are_valid = not mistakes.lines
        count = len(mistakes.lines)
        for key, table in table_of("losses", self.losses, mistakes).items():
            with mistakes.caught():
                entry = _entry(key, table, methods, aliases)
                if entries.setdefault(entry.spec, entry) != entry:
                    mistakes.add(
                        f"`losses` must name {entry.spec} once: got it twice, with other tables."
                    )
        self._set("tasks", tasks)
        self._set("methods", methods)
        self._set("entries", tuple(entries.values()))
        self._set("losses", {entry.spec: self._written(entry) for entry in self.entries})
        losses_are_valid = len(mistakes.lines) == count
        self._set("seeds", seeds_of("seeds", self.seeds, 0, mistakes))
        count = len(mistakes.lines)
        self._set("tuning", tuning_of(self.tuning, mistakes))
        tuning_is_valid = len(mistakes.lines) == count
        grid_is_valid = not mistakes.lines
        if losses_are_valid and tuning_is_valid:
            mistakes.lines += self._budget_mistakes()
        if losses_are_valid and tasks_are_valid:
            self._set_names(aliases, mistakes)
        if losses_are_valid and self.baseline is not None:
            with mistakes.caught():
                wanted = aliases.resolved(spec_of("losses", self.baseline))
                self._set("baseline", self.label_of(wanted))
        with mistakes.caught():
            self._set("margins", margins_of(self.margins, self.tasks, aliases.resolved))
        count = len(mistakes.lines)
        if losses_are_valid:
            with mistakes.caught():
                self._check_control()
        grid_is_valid = grid_is_valid and len(mistakes.lines) == count
        if grid_is_valid and self.size() > MAX_CELLS:
            mistakes.add(
                f"A study must have at most {MAX_CELLS} cells: got {self.size()}. Use fewer seeds "
                "or trials, or split it into several studies."
            )
        elif grid_is_valid:
            mistakes.lines += self._trial_mistakes() + self._misfits()
        mistakes.stop(self.name)

    def _set(self, name: str, value: Any) -> None:
        """Set a field once, in its canonical form; the dataclass is frozen."""
        object.__setattr__(self, name, value)

    def _set_names(self, aliases: Aliases, mistakes: Mistakes) -> None:
        """Check the aliases and labels, and set them in their canonical form."""
        with mistakes.caught():
            specs, names = self._names()
            with mistakes.caught():
                self._set("aliases", aliases.checked(specs))
            self._set("labels", labels_of(self.labels, aliases, names))

    def _names(self) -> tuple[set[str], set[str]]:
        """Return the specs and rows that may have an alias, and all names that may have a label."""
        specs = {*self.tasks, *self.all_methods, *(entry.label for entry in self.entries)}
        plugins = {name_of(spec.removesuffix(TUNED)) for spec in specs}
        others = {CONTROL, *self._all_untrained_rows(), *metric_labels(self.tasks)}
        return specs, specs | plugins | others

    def _written(self, entry: Entry) -> dict[str, Any]:
        """Return the table of ``entry`` in a study's file: its search space and its own methods."""
        own = {} if entry.methods == self.methods else {"methods": list(entry.methods)}
        return own | {name: part.to_dict() for name, part in entry.space.items()}

    @property
    def all_methods(self) -> list[Spec]:
        """Return the methods of all losses, each once."""
        return list(dict.fromkeys(m for entry in self.entries for m in entry.methods))

    def specs(self) -> list[tuple[str, Spec]]:
        """Return (group, spec) of all plugins of the study."""
        return [
            *(("tasks", spec) for spec in self.tasks),
            *(("methods", spec) for spec in self.all_methods),
            *(("losses", entry.spec) for entry in self.entries),
        ]

    def _budget_mistakes(self) -> list[str]:
        """Return the mistakes of the tuning budget: missing, unused, or with seeds of the board."""
        searched = [entry for entry in self.entries if entry.space]
        if self.tuning is None:
            return [
                f"`{entry.spec}` searches {', '.join(entry.space)}, but the study has no budget: "
                "add [tuning] with trials and seeds."
                for entry in searched
            ]
        assert isinstance(self.tuning, Tuning)
        lines = []
        if not searched:
            lines.append(
                "`tuning` must have a loss with a search space: got none. Remove it, or give a "
                "setting a range, such as {low = 0.1, high = 1.0}."
            )
        both = sorted(set(self.tuning.seeds) & set(self._seeds()))
        if both:
            lines.append(
                "`tuning.seeds` must not be among the study's seeds, whose scores must be fresh: "
                f"got {both}. Write a number instead, such as 2."
            )
        return lines

    def _trial_mistakes(self) -> list[str]:
        """Return the mistakes in the trials' specs, by building each trial's loss."""
        if self.tuning is None:
            return []
        assert isinstance(self.tuning, Tuning)
        mistakes = Mistakes()
        for entry in self.entries:
            with mistakes.caught():
                search.require_settings(entry.space)
            for point in search.points(self.tuning.trials) if entry.space else ():
                with mistakes.caught():
                    build("losses", entry.trial(point))
        return list(dict.fromkeys(mistakes.lines))[:MAX_LINES]

    def cautions(self) -> list[str]:
        """Return known problems of the methods and losses on the modalities of the tasks."""
        found: dict[str, None] = {}
        for entry in self.entries:
            parts = [("losses", entry.spec), *(("methods", name) for name in entry.methods)]
            for task, (group, spec) in product(self.tasks, parts):
                modality = build("tasks", task).modality
                if modality in build(group, spec).cautions:
                    found[f"{spec} on {task}: {build(group, spec).cautions[modality]}"] = None
        return list(found)

    def _misfits(self) -> list[str]:
        """Return the mistakes of losses that do not fit a method or task, with the reasons."""
        tasks = {spec: build("tasks", spec) for spec in self.tasks}
        methods = {spec: build("methods", spec) for spec in self.all_methods}
        tasks_of: dict[str, list[str]] = {}
        for entry in self.entries:
            loss = build("losses", entry.spec)
            for method, task in product(entry.methods, tasks):
                reason = misfit(methods[method], loss, tasks[task])
                if reason is not None:
                    key = f"`{entry.spec}` cannot be trained with `{method}`: {reason}"
                    tasks_of.setdefault(key, []).append(task)
        lines = [f"{reason} (on {', '.join(names)})." for reason, names in tasks_of.items()]
        if lines:
            lines.append(
                "Remove them, or give a loss its own methods: "
                '`losses.regression = {methods = ["byol"]}`. '
                "`triptych list methods --long` lists which losses each method takes."
            )
        return lines

    @classmethod
    def load(cls, source: str | Path) -> "Study":
        """Load the shipped study of that name, or the one in that TOML file.

        Raises:
            InputError: if there is no such study, or if it is invalid.
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
                raise InputError(f"{unknown('study', str(source), known)}{study_hint(str(source))}")
            file, name = known[str(source)], str(source)
        try:
            # The encoding drops the byte order mark that Notepad writes.
            values = tomllib.loads(file.read_text(encoding="utf-8-sig"))
        except (ValueError, RecursionError) as error:  # Not TOML, not text, or nested too deep.
            raise InputError(f"The study {str(source)!r} is not valid TOML: {error}.") from error
        # A study's file names files of plugins beside it.
        with plugin_files.relative_to(path.parent):
            return cls.from_dict({"name": name} | values)

    @classmethod
    def from_dict(cls, values: Table) -> "Study":
        """Return the study that ``values`` describe.

        Raises:
            InputError: if keys are unknown or missing, or values invalid; the message lists all.
        """
        known = cls.known_keys()
        mistakes = Mistakes()
        values = {key: value for key, value in values.items() if key not in ABOUT}
        mistakes.lines += [
            str(unknown("study key", str(key), known)) for key in values if key not in known
        ]
        missing = [key for key in ("name", "tasks", "losses") if key not in values]
        mistakes.lines += [f"`{key}` is missing." for key in missing]
        kept = {key: value for key, value in values.items() if key in known}
        if not mistakes.lines:
            return cls(**kept)
        try:  # Report all other mistakes in the same error.
            cls(**{"name": "study", "tasks": (), "losses": (), **kept})
        except InputError as error:
            lines = str(error).split("\n")[1:]
            none = tuple(f"`{key}` must name at least one" for key in missing)
            mistakes.lines += [line for line in lines if not line.startswith(none)]
        raise mistakes.error(values.get("name"))

    def to_dict(self) -> dict[str, Any]:
        """Return the study as plain values, from which :meth:`from_dict` makes it again."""
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if key != "entries"  # They follow from the losses.
        }

    def but(self, **changes: Any) -> "Study":
        """Return a copy of the study with those of ``changes`` that are not None.

        In a list of specs, an alias stands for its spec, and a bare name for the study's own
        specs of that plugin, if it has any, with their search spaces. A table is taken unchanged.
        A baseline that is no longer among the losses is dropped, and so are the aliases, labels
        and margins of what is gone, and a tuning budget if no loss is searched. ``steps``
        replaces the number of steps of every task.
        """
        chosen = {key: value for key, value in changes.items() if value is not None}
        for group in {*GROUPS} & chosen.keys():
            if not isinstance(chosen[group], Mapping):
                chosen[group] = self._present_specs(group, chosen[group])
        moved: dict[Spec, Spec] = {}
        if "steps" in chosen:
            tasks = chosen.get("tasks", self.tasks)
            chosen["tasks"] = [_without_steps(spec) for spec in tasks]
            moved = {spec: _with_steps(spec, chosen["steps"]) for spec in self.tasks}
        return self._changed(chosen, moved)

    def override(self, values: Table) -> "Study":
        """Return a copy of the study with single values changed, as ``triptych run`` takes them.

        ``{"seeds": 2, "tasks.images.steps": 20, "losses.adnce.mu": 0.5, "tuning.trials": 4}``
        sets keys of the study, settings of its plugins, and entries of its tables. The name of a
        plugin stands for all of its specs in the study, an alias or a spec for one. A range or a
        list of choices as the value of a loss's setting means that it is searched. Labels,
        aliases, margins and the baseline go with what is changed.

        Raises:
            InputError: if a key names nothing that can be set, or if the study would be wrong.
        """
        parts = Parts(self.name, {group: self._tables(group) for group in GROUPS}, self.aliases)
        given = Overrides.of(values, self.known_keys(), parts)
        for group in {*GROUPS} & given.keys.keys():
            parts.tables[group] = self._tables(group, given.keys[group])
        if "steps" in given.keys:
            for task in list(parts.tables["tasks"]):
                parts.change("tasks", task, {"steps": given.keys["steps"]})
        for group, names_of in given.settings.items():
            for name, settings_of in names_of.items():
                parts.change(group, name, settings_of)
        moved = parts.moved()
        changes = {key: value for key, value in given.keys.items() if key != "steps"}
        changes |= parts.tables
        for key, entries in given.tables.items():
            codes = {self.aliases.get(name, name): value for name, value in entries.items()}
            changes[key] = {moved.get(n, n): v for n, v in (self._entries(key) | codes).items()}
        return self._changed(changes, moved)

    def _tables(self, group: str, given: Any = None) -> dict[Spec, Table]:
        """Return {spec: table} of the study's specs of ``group``, or of those that are given."""
        own = getattr(self, group) if given is None else given
        tables = dict(own) if isinstance(own, Mapping) else self._present_specs(group, own)
        return {canonical(group, s) if is_trained(s) else s: table for s, table in tables.items()}

    def _entries(self, key: str) -> dict[str, Any]:
        """Return the entries of a key that is a table; none if the study does not have it."""
        value = getattr(self, key)
        return asdict(value) if isinstance(value, Tuning) else dict(value or {})

    @classmethod
    def known_keys(cls) -> list[str]:
        """Return the keys of a study."""
        return [*inspect.signature(cls).parameters]

    def of_modality(self, modalities: Collection[str]) -> "Study":
        """Return a copy of the study with only the tasks of these modalities.

        Raises:
            InputError: if the study has no task of one of them.
        """
        modality_of = {task: build("tasks", task).modality for task in self.tasks}
        for modality in modalities:
            require_choice("modality", modality, dict.fromkeys(modality_of.values()))
        return self.but(tasks=[task for task, each in modality_of.items() if each in modalities])

    def _changed(self, chosen: dict[str, Any], moved: Mapping[Spec, Spec]) -> "Study":
        """Return a copy of the study with the fields ``chosen``.

        Args:
            chosen: {field: value}; specs without aliases.
            moved: {a spec or row of this study: what it has become}.
        """
        if "baseline" in chosen:
            name = self.aliases.get(chosen["baseline"], chosen["baseline"])
            chosen["baseline"] = moved.get(name, name)
        left = chosen.get("losses", self.losses)
        if not any(map(is_searched, left.values())):
            chosen.setdefault("tuning", None)
        # Take these back only below: naming what is gone would be a mistake.
        dropped: Table = {"baseline": None, "margins": None, "labels": {}, "aliases": {}}
        kept = replace(self, **{**dropped, "steps": None, **chosen})
        back = kept._known_of(self, moved)
        taken = {key: value for key, value in back.items() if value and key not in chosen}
        if "aliases" in taken:  # Tables in ``changes`` may have added some.
            taken["aliases"] |= kept.aliases
        return replace(kept, **taken, steps=None) if taken else kept

    def _known_of(self, other: "Study", moved: Mapping[Spec, Spec]) -> dict[str, Any]:
        """Return the baseline, margins, labels and aliases of ``other`` that this study knows.

        Args:
            other: a study.
            moved: {one of its specs or rows: what it is in this study}.
        """
        specs, names = self._names()
        tasks = {*self.tasks, *map(name_of, self.tasks)}
        rows = {entry.label for entry in self.entries} | self._all_untrained_rows()

        def here(values: Mapping[str, Any], known: Collection[str]) -> dict[str, Any]:
            found = {n if n in known else moved.get(n, n): value for n, value in values.items()}
            return {name: value for name, value in found.items() if name in known}

        assert isinstance(other.margins, Mapping)
        baseline = moved.get(other.baseline or "", other.baseline)
        aliases = {alias: moved.get(spec, spec) for alias, spec in other.aliases.items()}
        return {
            "baseline": baseline if baseline in rows else None,
            "margins": here(other.margins, tasks),
            "labels": here(other.labels, names),
            "aliases": {alias: spec for alias, spec in aliases.items() if spec in specs},
        }

    def _present_specs(self, group: str, given: Iterable[Any]) -> dict[Spec, Table]:
        """Return {spec: table}; the study's own specs stand in place of aliases and bare names."""
        present: Sequence[Spec] | Mapping[Spec, Table] = getattr(self, group)
        # The alias of a searched loss stands for its row.
        aliased = {a: code.removesuffix(TUNED) for a, code in self.aliases.items()}
        aliased = {alias: spec for alias, spec in aliased.items() if spec in present}
        specs: list[Spec] = []
        for item in given:
            spec = spec_of(group, item)
            own = [s for s in present if s == aliased.get(spec) or name_of(s) == spec]
            if not own and str(spec).casefold() not in map(str.casefold, aliased):
                require_group(group, spec)
            name = plugin_name(group, spec)
            if not own and aliased and name is None:
                raise unknown(f"{kind_of(group)} or alias", spec, {*names(group), *aliased})
            if not own and "(" not in spec:  # Another way to write the name.
                own = [s for s in present if name_of(s) == name]
            specs += own or [spec]
        tables = present if isinstance(present, Mapping) else {}
        return {spec: tables.get(spec, {}) for spec in specs}

    def label_of(self, loss: str) -> str:
        """Return the label of the row that ``loss``, a label or a spec, names.

        Raises:
            InputError: if there is no such row.
        """
        labels = [entry.label for entry in self.entries]
        if loss in (*labels, *self._all_untrained_rows()):
            return loss
        with suppress(InputError):  # Not a valid loss spec: the error below lists the labels.
            spec = canonical("losses", str(loss).removesuffix(TUNED))
            for label in (spec, spec + TUNED):
                if label in labels:
                    return label
        raise InputError(f"`baseline` must be one of {', '.join(labels)}: got {loss!r}.")

    def cells(self) -> list[Cell]:
        """Return the cells that are known in advance, which are all but those of tuned rows."""
        return [planned.cell for planned in (*self.trials(), *self.finals({}))]

    def size(self) -> int:
        """Return the number of all cells, including those of tuned rows."""
        trained = sum(len(entry.methods) for entry in self.entries) + self.control
        cells = trained * len(self._seeds())
        if self.tuning is not None:
            assert isinstance(self.tuning, Tuning)
            searched = sum(len(entry.methods) for entry in self.entries if entry.space)
            cells += searched * self.tuning.trials * len(self.tuning.seeds)
        others = sum(len(_untrained_rows(task)) for task in self.tasks)
        return cells * len(self.tasks) + others * len(self._seeds())

    def trials(self) -> list[Planned]:
        """Return the cells of the tuning trials, which are scored on validation alone."""
        if self.tuning is None:
            return []
        assert isinstance(self.tuning, Tuning)
        searched = [entry for entry in self.entries if entry.space]
        found = []
        for trial, point in enumerate(search.points(self.tuning.trials)):
            specs = [(entry, entry.trial(point)) for entry in searched]
            for seed, task in product(self.tuning.seeds, self.tasks):
                for entry, spec in specs:
                    for method in entry.methods:
                        cell = Cell(task, method, spec, seed, scored="validation")
                        found.append(Planned(cell, entry.label, trial))
        return found

    def finals(self, chosen: Chosen) -> list[Planned]:
        """Return the cells of the board, seed by seed, so that a stopped run has complete seeds.

        Args:
            chosen: the specs that tuning chose; tuned rows that are not in it are left out.
        """
        found = []
        for seed, task in product(self._seeds(), self.tasks):
            for entry in self.entries:
                for method in entry.methods:
                    spec = chosen.get((task, method, entry.label)) if entry.space else entry.spec
                    if spec is not None:
                        cell = Cell(task, method, spec, seed, probes=self.probes)
                        found.append(Planned(cell, entry.label))
            if self.control:
                method, label = self._control_row()
                entry = next(entry for entry in self.entries if entry.label == label)
                spec = chosen.get((task, method, label)) if entry.space else entry.spec
                if spec is not None:
                    cell = Cell(task, method, control_of(spec), seed, probes=self.probes)
                    found.append(Planned(cell, CONTROL))
            for name in _untrained_rows(task):
                found.append(Planned(Cell(task, NO_METHOD, name, seed), name))
        return found

    def _check_control(self) -> None:
        """Raise an error for a control that cannot be made.

        Raises:
            InputError: if ``control`` is not a truth value, or if the baseline has no temperature.
        """
        require(
            isinstance(self.control, bool),
            f"`control` must be true or false: got {self.control!r}.",
        )
        require(
            not any(entry.label == CONTROL for entry in self.entries),
            f"No loss may be called {CONTROL!r}: that is the label of the control row. Rename it.",
        )
        if self.control and self.entries:
            _, label = self._control_row()
            control_of(next(entry.spec for entry in self.entries if entry.label == label))

    def _control_row(self) -> tuple[Spec, str]:
        """Return the method and the label of the row that the control repeats: the baseline."""
        methods_of = {entry.label: entry.methods for entry in self.entries}
        label = baseline_row(methods_of, [self.baseline])
        methods = methods_of[label]
        return (DEFAULT_METHOD if DEFAULT_METHOD in methods else min(methods)), label

    def _all_untrained_rows(self) -> set[str]:
        """Return the labels of the rows without training on any task."""
        return {name for task in self.tasks for name in _untrained_rows(task)}

    def _seeds(self) -> tuple[int, ...]:
        assert isinstance(self.seeds, tuple)
        return self.seeds


def _specs(
    group: str,
    given: Mapping[Spec, Table],
    mistakes: Mistakes,
    aliases: Aliases,
    steps: int | None = None,
) -> tuple[Spec, ...]:
    """Return canonical specs; build each once to check that it can be built."""
    found = []
    for key, table in given.items():
        with mistakes.caught():
            spec, added = aliases.read(group, key, table)
            require_group(group, spec)
            named = {**parse(group, spec)[1], **added}
            extra = {} if steps is None or "steps" in named else {"steps": steps}
            made = with_settings(group, spec, {**added, **extra})
            build(group, made)
            found.append(made)
            aliases.add(key, table, made)
    return tuple(dict.fromkeys(found))


def _entry(row: str, table: Table, methods: tuple[Spec, ...], aliases: Aliases) -> Entry:
    """Parse a loss and its table: fixed settings, searched settings, its own methods.

    Args:
        row: the table's key: a spec, or an alias if the table has ``use``.
        table: the table.
        methods: the methods of losses that name none.
        aliases: the study's aliases, to which ``row`` is added.

    Raises:
        InputError: if there are mistakes; the message lists all of them.
    """
    spec, added = aliases.read("losses", row, table)
    require_group("losses", spec)
    name, given = parse("losses", spec)
    known = settings("losses", name)
    mistakes = Mistakes()
    fixed: dict[str, Any] = {}
    space: dict[str, search.Range | search.Choices] = {}
    for key, value in added.items():
        with mistakes.caught():
            if key == "methods":
                methods = _specs("methods", table_of("methods", value, mistakes), mistakes, aliases)
            elif not isinstance(value, list | tuple | Mapping) or _takes_a_list(known.get(key)):
                fixed[key] = value
            elif key not in known:
                with_settings("losses", name, {key: None})  # Its error suggests similar names.
            elif key in given:
                mistakes.add(f"`{key}` of the loss {spec!r} must be fixed or searched: got both.")
            else:
                space[key] = part = search.read(f"{name}.{key}", value, known[key])
                for end in part.ends:
                    build("losses", with_settings("losses", name, {key: end}))
    with mistakes.caught():
        spec = with_settings("losses", spec, fixed)
        build("losses", spec)
    if mistakes.lines:
        raise InputError("\n".join(mistakes.lines))
    ordered = {key: space[key] for key in known if key in space}
    label = spec + (TUNED if space else "")
    aliases.add(row, table, label)
    aliases.written.setdefault(spec, label)
    return Entry(label, spec, ordered, methods)


def _takes_a_list(default: Any) -> bool:
    """Return whether a list is the value of a setting, rather than the values to search."""
    return isinstance(default, tuple)


def control_of(spec: Spec) -> Spec:
    """Return a loss with its temperature moved by one part in a million.

    Raises:
        InputError: if it has no temperature.

    >>> control_of("infonce(temperature=0.5)")
    'infonce(temperature=0.5000005)'
    """
    name, given = parse("losses", spec)
    temperature = {**settings("losses", name), **given}.get("temperature")
    if not isinstance(temperature, float):
        raise InputError(
            f"`control` needs a baseline with a temperature: got {spec!r}. Choose another "
            "baseline, or leave `control` out."
        )
    moved = {key: value for key, value in given.items() if key != "temperature"}
    return with_settings("losses", name, {**moved, "temperature": temperature * (1 + 1e-6)})


@cache
def _untrained_rows(task: Spec) -> tuple[str, ...]:
    """Return the labels of the rows without training: ``untrained`` and the task's references."""
    references = build("tasks", task).references
    require(
        isinstance(references, tuple)
        and all(isinstance(name, str) and name for name in references),
        f"`references` of {task} must be a tuple of names: got {references!r}.",
    )
    return UNTRAINED, *(FIXED + name for name in references)


def _without_steps(task: Spec) -> Spec:
    name, given = parse("tasks", task)
    return with_settings("tasks", name, {k: v for k, v in given.items() if k != "steps"})


def _with_steps(task: Spec, steps: int) -> Spec:
    return with_settings("tasks", _without_steps(task), {"steps": steps})
