"""Identify a cell by all that its result depends on: its settings, data and code."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import PurePath
from typing import Any

from harness import plugins
from harness.core import registry, sources
from harness.core.cells import PARTS, Cell, Spec, is_trained, specs_of
from harness.core.content import Content, contents_of, training_data
from harness.core.errors import InputError, require
from harness.core.randomness import Randomness
from harness.core.telling import told
from harness.settings import SetsOf
from harness.store.records import SCHEMA, key_of

FRAME = "harness.training.loop"
"""The module whose code, with all that it imports, trains and evaluates every cell."""


@dataclass(frozen=True)
class Identity:
    """Hold all that a cell's result depends on: another identity means another result.

    The key depends neither on the location nor on the name of the data.

    Attributes:
        cell: the cell as planned, with paths in its task's spec.
        task: the task's label on boards: its spec with names instead of paths.
        settings: the task's spec without the settings that say where data lie.
        contents: the data and encoders that the task uses.
        source: a digest of the code of the training loop and of all plugins used.
        frame: the same digest without the method and the loss; paired cells share it.
        modules: the modules whose code, with all that they import, ``source`` is a digest of.
    """

    cell: Cell
    task: Spec
    settings: Spec
    contents: tuple[Content, ...]
    source: str
    frame: str
    modules: frozenset[str]

    @cached_property
    def values(self) -> dict[str, Any]:
        """Return all that the key is a digest of, as plain values."""
        cell = replace(self.cell, task=self.settings).to_dict()
        used = {group for group, _ in specs_of(self.cell)}
        return {
            "schema": SCHEMA,
            **cell,
            **{p: plugins.without_owner(g, cell[p]) for p, g in PARTS.items() if g in used},
            # Name every setting, given or not: a default may depend on more than the code, such as
            # on an environment variable.
            "settings": {p: _settings(g, cell[p]) for p, g in PARTS.items() if g in used},
            "contents": [[one.setting, one.form, one.checksum] for one in self.contents],
            "source": self.source,
        }

    @cached_property
    def key(self) -> str:
        """Return the first 16 hexadecimal digits of the digest of :attr:`values`."""
        return key_of(self.values)

    @property
    def randomness(self) -> Randomness:
        """Return the cell's random streams."""
        name, _ = plugins.read(plugins.without_owner("tasks", self.cell.task))
        return Randomness(name, training_data(self.contents), self.cell.seed)


def identify(cell: Cell) -> Identity:
    """Return what the result of ``cell`` depends on, downloading missing data.

    Raises:
        InputError: if a plugin or its data is not available.
    """
    fetched = _fetch(cell.task)
    if isinstance(fetched, InputError):
        raise fetched
    frame = {FRAME} | _modules("tasks", cell.task)
    modules = set(frame)
    if is_trained(cell.loss):
        modules |= _modules("methods", cell.method) | _modules("losses", cell.loss)
    return Identity(
        cell=cell,
        task=label_of(cell.task, fetched),
        settings=_without_locations(cell.task),
        contents=fetched,
        source=_source(*sorted(modules)),
        frame=_source(*sorted(frame)),
        modules=frozenset(modules),
    )


@cache
def label_of(task: Spec, contents: tuple[Content, ...] = ()) -> Spec:
    """Return a task's label on boards: its spec, with names instead of paths.

    Without ``contents``, such as when data are missing, the last part of a path is the name.
    """
    names = {one.setting: one.name for one in contents}
    name, given = plugins.parse("tasks", task)
    defaults = plugins.settings("tasks", name)
    for setting in plugins.location_settings("tasks", task):
        value = given.get(setting)
        # A location without a default is a folder to search, and names no data.
        if isinstance(value, str) and setting not in names and defaults[setting]:
            names[setting] = value if value.startswith("hub:") else PurePath(value).name
    return _with_locations(task, names)


@cache
def _settings(group: str, spec: Spec) -> dict[str, Any]:
    """Return all settings of a spec, but for those that say where data lie."""
    locations = plugins.location_settings(group, spec)
    spec = _without_locations(spec) if group == "tasks" else spec
    found = plugins.described(group, spec)
    return {name: value for name, value in found.items() if name not in locations}


@cache
def _without_locations(task: Spec) -> Spec:
    return _with_locations(task, {})


def _with_locations(task: Spec, names: Mapping[str, str]) -> Spec:
    """Replace the locations in ``task`` by their ``names``; leave out those without one."""
    name, given = plugins.parse("tasks", task)
    locations = plugins.location_settings("tasks", task)
    rules = {key: each.rule for key, each in plugins.declared("tasks", name).items()}
    kept = {
        setting: rule.without_paths(value) if isinstance(rule := rules[setting], SetsOf) else value
        for setting, value in given.items()
        if setting not in locations
    }
    named = {setting: names[setting] for setting in given if setting in {*locations} & {*names}}
    return plugins.with_settings("tasks", name, kept | named)


def require_one_content_a_name(identities: Iterable[Identity]) -> None:
    """Raise :class:`InputError` if two data sets of one name differ: boards would mix them."""
    first_of: dict[tuple[str, str, str], tuple[str, Spec]] = {}
    for task, contents in {each.cell.task: each.contents for each in identities}.items():
        name, _ = plugins.parse("tasks", task)
        for one in contents:
            if one.setting not in plugins.location_settings("tasks", task):
                continue
            place = (name, one.setting, one.name)
            checksum, first = first_of.setdefault(place, (one.checksum, task))
            require(
                checksum == one.checksum,
                f"`{one.setting}` must give each name to one data set in a run: got {one.name!r} "
                f"with the checksum {checksum[:12]} in {first} and {one.checksum[:12]} in {task}. "
                "Rename one of them, or run them into two folders.",
            )


@cache
def _fetch(task: Spec) -> tuple[Content, ...] | InputError:
    """Return the contents that a task uses, or the error.

    The error is returned, so that it is cached and a failed download is not tried again.
    """
    try:
        made = plugins.build("tasks", task)
        plugins.require_survival("fetch", "tasks", task)
        found = contents_of(made.fetch(), task)
        locations = plugins.location_settings("tasks", task)
        unhashed = [] if found else [s for s in locations if getattr(made, s, "")]
        require(
            not unhashed,
            f"`fetch` of {task} must return a checksum of the data at its locations: got none for "
            f"{', '.join(unhashed)}. Return a Content for each, or declare them without the role "
            "`location`.",
        )
    except InputError as error:
        return error
    except (Exception, SystemExit) as error:  # A plugin's error must not stop the other tasks.
        return InputError(f"The data of {task} is not available: {told(error)}.")
    return found


@cache
def _modules(group: str, spec: Spec) -> set[str]:
    return plugins.modules(group, spec)


@cache
def _source(*modules: str) -> str:
    return sources.source_digest(modules)


def read_frame() -> None:
    """Read the names of the installed plugins and the code of ``FRAME``, which every cell needs.

    They stay in the caches of this process and of those that are forked from it. No plugin is
    imported.
    """
    for group in PARTS.values():
        registry.names(group)
    _source(FRAME)


def forget_data() -> None:
    """Clear the cache of data's checksums: files may have changed."""
    _fetch.cache_clear()


def forget() -> None:
    """Clear all caches of data and code: files may have changed since an earlier run."""
    forget_data()
    for cached in (label_of, _settings, _without_locations, _modules, _source):
        cached.cache_clear()
    sources.forget()
