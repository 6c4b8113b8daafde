"""Read overrides of a study, such as ``tasks.images.steps=20``, and find what they name."""

import ast
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from harness.core.cells import PARTS, TUNED, Spec, name_of
from harness.core.errors import InputError, require, unknown
from harness.plugins import (
    canonical,
    declared,
    kind_of,
    parse,
    plugin_name,
    read,
    split_specs,
    with_settings,
)
from harness.study.labels import USE

GROUPS = tuple(PARTS.values())
TABLES = ("tuning", "margins", "labels")
"""Keys of a study that are tables, whose entries an override may set one by one."""

Table = Mapping[str, Any]
_OVERRIDE = re.compile(r"((?:[^=()]|\([^()]*\))+)=(.*)", re.DOTALL)


def read_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """Return {key: value} of texts ``KEY=VALUE``.

    A value is read as TOML, or as specs write it (``None``, ``True``); a bare word is a text.

    Raises:
        InputError: if one of them does not have this form, or if a key is given twice.

    >>> read_overrides(["seeds=2", "tasks.images.network=conv", "losses.adnce(mu=0.5).sigma=None"])
    {'seeds': 2, 'tasks.images.network': 'conv', 'losses.adnce(mu=0.5).sigma': None}
    """
    found: dict[str, Any] = {}
    for text in texts:
        match = _OVERRIDE.fullmatch(text)
        if match is None:
            raise InputError(
                f"An override must read KEY=VALUE, such as seeds=2 or tasks.images.steps=20: got "
                f"{text!r}."
            )
        key = match[1].strip()
        require(key not in found, f"`{key}` must be given once: got it twice.")
        found[key] = _value(key, match[2].strip())
    return found


def _value(key: str, text: str) -> Any:
    try:
        value = tomllib.loads(f"value = {text}")["value"]
        if isinstance(value, bool | int | float | str | list | dict):
            return value  # Dates and times stay texts.
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        require(
            not text.startswith(("[", "{", '"', "'")),
            f"`{key}` must have a value as TOML writes it, such as 20, conv, [1, 2] or "
            f"{{low = 0.1, high = 1.0}}: got {text!r}. Quote it for your shell.",
        )
        return text


@dataclass
class Overrides:
    """Sort overrides by what they change.

    Attributes:
        keys: {key of the study: value}.
        settings: {group: {name of a plugin, spec or alias: {setting: value}}}.
        tables: {key of the study that is a table: {its key: value}}.
    """

    keys: dict[str, Any] = field(default_factory=dict)
    settings: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)
    tables: dict[str, dict[str, Any]] = field(default_factory=dict)

    @classmethod
    def of(cls, values: Table, keys: Iterable[str], parts: "Parts") -> "Overrides":
        """Sort ``values``.

        Args:
            values: {key: value}, as :func:`read_overrides` returns them.
            keys: the keys of a study.
            parts: the specs and aliases of the study.

        Raises:
            InputError: if a key names nothing that can be set, with the nearest that do.
        """
        found = cls()
        known = {*keys}
        for key, value in values.items():
            first, _, rest = key.partition(".")
            name, _, setting = rest.rpartition(".")
            if key in known:
                found.keys[key] = value
                if key in GROUPS and isinstance(value, str):
                    found.keys[key] = split_specs(value)
            elif first in GROUPS and name and setting.isidentifier():
                named = found.settings.setdefault(first, {}).setdefault(name, {})
                named[setting] = value
            elif first in TABLES and rest:
                found.tables.setdefault(first, {})[rest] = value
            else:
                raise _no_key(key, known, parts)
        for key in found.tables.keys() & found.keys.keys():
            raise InputError(
                f"`{key}` must be given as a whole or by its entries: got both. Leave one out."
            )
        return found


def _no_key(key: str, known: Iterable[str], parts: "Parts") -> InputError:
    """Return the error for a key that names nothing, with what was perhaps meant."""
    every = parts.keys()
    near = [each for each in every if each.endswith(f".{key}")]
    near = near or get_close_matches(key, [*known, *every], n=3)
    hint = f" Did you mean {' or '.join(near[:3])}?" if near else ""
    forms = [f"{group}.NAME.SETTING" for group in GROUPS]
    forms += ["tuning.trials", "tuning.seeds", "margins.TASK", "labels.NAME"]
    return InputError(
        f"There is no key {key!r} of a study.{hint} Known: {', '.join(sorted([*known, *forms]))}."
    )


@dataclass
class Parts:
    """Hold the specs of a study, each with its table, and change their settings.

    Attributes:
        study: the study's name.
        tables: {group: {spec: its table}}; only losses have something in their tables.
        aliases: {alias: the spec or the label of the row that it stands for}.
    """

    study: str
    tables: dict[str, dict[Spec, Table]]
    aliases: Mapping[str, str]

    def __post_init__(self) -> None:
        self._before = {group: dict(specs) for group, specs in self.tables.items()}
        self._now = {group: {spec: spec for spec in specs} for group, specs in self.tables.items()}

    def keys(self) -> list[str]:
        """Return the keys of all settings, by the plugins' names."""
        return [
            f"{group}.{name}.{setting}"
            for group, specs in self.tables.items()
            for name in dict.fromkeys(map(name_of, specs))
            for setting in declared(group, name)
        ]

    def moved(self) -> dict[str, str]:
        """Return {a spec or a row of the study as it was given: what it has become}."""
        found = {}
        for group, specs in self._now.items():
            for old, new in specs.items():
                found[old] = new
                if group == "losses" and new in self.tables[group]:
                    was, now = self._before[group][old], self.tables[group][new]
                    found[_label(old, was)] = _label(new, now)
        return found

    def change(self, group: str, name: str, values: Table) -> None:
        """Set ``values`` of the specs that ``name`` names.

        An alias or a spec names one, the name of a plugin all of its specs.

        Raises:
            InputError: if it names none, or if a setting does not take a value.
        """
        chosen = self._named(group, name)
        changed: dict[Spec, Table] = {}
        for spec, table in self.tables[group].items():
            made, left = _with(group, spec, table, values) if spec in chosen else (spec, table)
            changed.setdefault(made, left)
            for old, now in self._now[group].items():
                if now == spec:
                    self._now[group][old] = made
        self.tables[group] = changed

    def _named(self, group: str, name: str) -> list[Spec]:
        specs = self.tables[group]
        code = self.aliases.get(name, name).removesuffix(TUNED)
        plugin, given = read(code)
        plugin = plugin_name(group, plugin) or plugin
        if given:
            code = canonical(group, code)
        now = self._now[group].get(code, code)
        one = bool(given) or name in self.aliases
        found = [spec for spec in specs if (spec == now if one else name_of(spec) == plugin)]
        if found:
            return found
        aliases = {a for a, spec in self.aliases.items() if spec.removesuffix(TUNED) in specs}
        known = {*map(name_of, specs), *specs, *aliases}
        raise InputError(
            f"`{group}.{name}` must be a part of the study {self.study!r}. "
            f"{unknown(kind_of(group), name, known)}"
        )


def _label(spec: Spec, table: Table) -> str:
    """Return the label of the board's row of a loss, with a suffix if the loss is tuned."""
    return spec + (TUNED if is_searched(table) else "")


def is_searched(table: Table) -> bool:
    """Return whether a loss's table holds settings: tuning chooses their values."""
    return bool(set(table) - {"methods", USE})


def _with(group: str, spec: Spec, table: Table, values: Table) -> tuple[Spec, Table]:
    """Return a spec and its table with ``values`` set.

    In a loss, a list or a table is what a setting is searched in, and ``methods`` are its own.
    """
    name, given = parse(group, spec)
    left = {key: each for key, each in table.items() if key not in values}
    fixed = {key: each for key, each in given.items() if key not in values}
    for key, value in values.items():
        own = group == "losses" and (key == "methods" or isinstance(value, list | Mapping))
        (left if own else fixed)[key] = value
    return with_settings(group, name, fixed), left
