"""Find plugins by entry point or in a file; name and configure them by a spec string.

A spec such as ``adnce(mu=0.7, sigma=0.5)`` is what a user types, a part of a record's key, and
the label in logs and tests. Triptych's own plugins use the same entry points as third-party
ones. :mod:`harness.core.registry` says where plugins are found, and what names they have.
"""

import ast
import math
import re
import sys
from collections.abc import Collection, Mapping
from importlib.metadata import packages_distributions
from typing import Any

from harness.core import guard, plugin_files, registry
from harness.core.errors import InputError, require, unknown
from harness.core.registry import defined_in_file, in_one_style, kind_of, load, names
from harness.core.sources import LIBRARIES, OURS, defined_in, find_module
from harness.core.telling import told
from harness.settings import (
    Configured,
    NetworkOf,
    Setting,
    is_in_file,
    location,
    plain,
    require_initialised,
    settings_of,
)

__all__ = [
    "build", "canonical", "declared", "defined_in_file", "described", "is_known", "is_shipped",
    "kind_of", "load", "location_settings", "modules", "names", "parse", "plugin_name", "read",
    "require_survival", "resolved", "settings", "spec_of", "split_specs", "with_settings",
    "without_owner",
]  # fmt: skip

_SPEC = re.compile(r"\s*((?:[^():,]*/)?[\w.-]+(?::[\w.-]+)?)\s*(\(.*\))?\s*", re.DOTALL)
Settings = dict[str, Any]


def modules(group: str, spec: str) -> set[str]:
    """Return the modules that define a plugin: those of its class and all its bases.

    Bases from the standard library, or from libraries whose versions a record names, are
    left out. The modules in the plugin's ``depends_on`` are added.

    Raises:
        InputError: as :func:`parse`, or if ``depends_on`` names something that is not a module.
    """
    name, _ = parse(group, spec)
    found, plugin = registry.find(group, name), load(group, name)
    classes = getattr(plugin, "__mro__", (plugin,))  # A plugin that is a function has no bases.
    helpers: set[str] = set()
    for listed in (vars(each).get("depends_on", ()) for each in classes):
        texts = isinstance(listed, tuple) and all(isinstance(helper, str) for helper in listed)
        wrong = [helper for helper in listed if find_module(helper) is None] if texts else [listed]
        require(
            not wrong,
            f"`depends_on` of the {kind_of(group)} {name!r} must be a tuple of names of Python "
            f"modules: got {wrong[0] if wrong else ''!r}, which has no source file. Correct the "
            "name, or install the module.",
        )
        helpers |= set(listed)
    own = _own_networks(group, spec)
    networks = [registry.find("networks", read(value)[0]).module for value in own.values()]
    packages = {found.module.partition(".")[0], plugin.__module__.partition(".")[0], *OURS}
    return {
        *defined_in(found.module, found.attribute.partition(".")[0]),
        *helpers,
        *networks,
        *(each.__module__ for each in classes if _counts(each.__module__, packages)),
    }


def _own_networks(group: str, spec: str) -> Settings:
    """Return {setting: network} for each network of a spec that is in a user's file."""
    name, given = parse(group, spec)
    rules = {key: setting.rule for key, setting in declared(group, name).items()}
    return {
        key: value
        for key, value in given.items()
        if isinstance(rules[key], NetworkOf) and is_in_file(value)
    }


def _counts(module: str, packages: Collection[str]) -> bool:
    """Return whether the code of ``module`` counts as part of a plugin.

    It counts if it is in one of ``packages``, the plugin's own and Triptych's, or in a
    distribution whose version a record does not name.
    """
    top = module.partition(".")[0]
    if top in packages or top in sys.stdlib_module_names:
        return top in packages
    if top.replace("_", "-") in LIBRARIES:  # This saves the look-up below, which takes .5 s.
        return False
    distributions = packages_distributions().get(top, [])
    return not {name.lower() for name in distributions} & set(LIBRARIES)


def settings(group: str, name: str) -> Settings:
    """Return {setting: default} of a plugin, in the order of its signature.

    Raises:
        InputError: if a setting has no default or is not a keyword.
    """
    return {key: setting.default for key, setting in declared(group, name).items()}


def declared(group: str, name: str) -> Mapping[str, Setting]:
    """Return {name: setting} of a plugin, in the order of its signature.

    Raises:
        InputError: as :func:`settings`.
    """
    try:
        return settings_of(load(group, name))
    except InputError as error:
        raise InputError(f"The {kind_of(group)} {name!r} cannot be used: {error}") from error


def location_settings(group: str, spec: str) -> tuple[str, ...]:
    """Return the names of a spec's settings that say where data lie.

    A network in a user's own file is no such place: its code and its settings are in the key.
    """
    found = declared(group, plugin_name(group, spec) or spec).values()
    own = _own_networks(group, spec)
    return tuple(each.name for each in found if each.role == location and each.name not in own)


def read(spec: str) -> tuple[str, Settings]:
    """Return the name, with underscores, and the settings in ``spec``; check neither.

    Raises:
        InputError: if it does not have the form of a spec.
    """
    match = _SPEC.fullmatch(spec)
    try:
        if match is None:
            raise ValueError
        # Parse the brackets as the arguments of a call; nothing is evaluated but literals.
        call = ast.parse(f"f{match[2] or '()'}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError
        given = {keyword.arg: _literal(keyword.value) for keyword in call.keywords}
        # The name None stands for `**settings`; fewer names than keywords means a repeated one.
        if None in given or len(given) < len(call.keywords):
            raise ValueError
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError) as error:
        raise InputError(
            f"A spec must read `name` or `name(setting=value, ...)`: got {spec!r}."
        ) from error
    return plugin_files.with_file_added(in_one_style(match[1])), {
        str(key): value for key, value in given.items()
    }


def is_known(group: str, name: str) -> bool:
    """Return whether ``name``, without settings, is that of a plugin, or of several."""
    return bool(registry.rivals(group, name))


def plugin_name(group: str, spec: str) -> str | None:
    """Return the canonical name of the plugin that ``spec`` names; None if there is none."""
    try:
        return registry.find(group, read(spec)[0]).name
    except InputError:
        return None


def parse(group: str, spec: str) -> tuple[str, Settings]:
    """Return the name and the settings that ``spec`` gives, checked.

    Raises:
        InputError: if the spec cannot be parsed, or if a name, a setting or
            the type of a value is wrong.

    >>> parse("losses", "adnce(mu=1, form='graph')")
    ('adnce', {'mu': 1.0, 'form': 'graph'})
    """
    name, given = read(spec)
    name = registry.find(group, name).name
    known = declared(group, name)
    return name, {key: _typed(group, name, known, key, value) for key, value in given.items()}


def canonical(group: str, spec: str) -> str:
    """Return the canonical form of ``spec``: settings in order, defaults left out.

    Raises:
        InputError: as :func:`parse`.

    >>> canonical("losses", " adnce( sigma=1, mu=0.50 ) ")
    'adnce(mu=0.5)'
    >>> canonical("losses", "sogclr-paper")  # A dash is read as an underscore.
    'sogclr_paper'
    """
    name, given = parse(group, spec)
    changed = [
        f"{key}={given[key]!r}"
        for key, default in settings(group, name).items()
        if key in given and not _same(given[key], default)
    ]
    return f"{name}({', '.join(changed)})" if changed else name


def with_settings(group: str, spec: str, given: Mapping[str, Any]) -> str:
    """Return the canonical spec of ``spec`` with the settings ``given`` added.

    Raises:
        InputError: as :func:`parse`, or if ``spec`` sets one of them already.

    >>> with_settings("losses", "adnce(mu=0.5)", {"sigma": 2})
    'adnce(mu=0.5, sigma=2.0)'
    """
    name, stated = read(spec)
    twice = sorted(stated.keys() & given.keys())
    if twice:
        raise InputError(
            f"The {kind_of(group)} {spec!r} is given {', '.join(twice)} twice. Give it once."
        )
    return canonical(group, _written(name, {**stated, **given}))


def build(group: str, spec: str) -> Any:
    """Build a fresh plugin from ``spec``.

    Raises:
        InputError: as :func:`parse`, or if a value breaks the plugin's own rule.

    >>> build("losses", "adnce(temperature=0.4, mu=0.7, sigma=0.5)").sigma
    0.5
    """
    name, given = parse(group, spec)
    factory = load(group, name)
    require_survival("build", group, spec)
    try:
        known = declared(group, name)
        built = factory(**{key: known[key].made(value) for key, value in given.items()})
        if isinstance(built, Configured):
            require_initialised(built)
        return built
    except ValueError as error:
        raise InputError(f"{kind_of(group).capitalize()} {spec!r}: {error}") from error
    except (Exception, SystemExit) as error:  # A bug in the plugin, not in the spec.
        # A module's attributes cannot be set before its own constructor has run.
        advice = "Write super().__init__() as the first line of `__init__`."
        forgotten = isinstance(factory, type) and "Module.__init__() call" in str(error)
        raise InputError(
            f"The {kind_of(group)} {spec!r} of {registry.find(group, name).owner} could not "
            f"be built: {told(error)}." + (f" {advice}" if forgotten else "")
        ) from error


def is_shipped(group: str, spec: str) -> bool:
    """Return whether a plugin, with all networks named in its spec, is one of Triptych's own.

    >>> is_shipped("losses", "adnce(mu=0.5)")
    True
    """
    return not (registry.find(group, read(spec)[0]).is_foreign or _own_networks(group, spec))


def require_survival(action: guard.Action, group: str, spec: str) -> None:
    """Try ``action`` of a plugin from outside in a child process.

    Raises:
        InputError: if it ends that process, or takes too long.
    """
    if not is_shipped(group, spec):
        guard.require_survival(action, group, spec, f"The {kind_of(group)} {spec!r}")


def resolved(group: str, spec: str) -> Settings:
    """Return all settings of ``spec``, including those left at their defaults."""
    name, given = parse(group, spec)
    return settings(group, name) | given


def without_owner(group: str, spec: str) -> str:
    """Return ``spec`` without the distribution before an installed plugin's name.

    The distribution is written only where two have a plugin of one name. Whether somebody has
    installed another one changes no result.
    """
    name, given = read(spec)
    entry = registry.find(group, name).entry if ":" in name else None
    return spec if entry is None else _written(in_one_style(entry.name), given)


def described(group: str, spec: str) -> Settings:
    """Return all settings of ``spec``; infinity and NaN, which JSON lacks, become texts."""
    return {
        name: value if not isinstance(value, float) or math.isfinite(value) else repr(value)
        for name, value in resolved(group, spec).items()
    }


def spec_of(group: str, plugin: Any) -> Any:
    """Return the spec of a plugin that is given as a class, or as an instance with its settings.

    A class that is no installed plugin is named by the file that defines it, which is registered.
    Every other value is returned unchanged.

    Raises:
        InputError: if the source of the class cannot be read.
    """
    base = registry.base_of(group)
    if isinstance(plugin, type) and issubclass(plugin, base):
        return registry.name_of_class(group, plugin)
    if not isinstance(plugin, base):
        return plugin
    name = registry.name_of_class(group, type(plugin))
    return with_settings(group, name, {key: getattr(plugin, key) for key in settings(group, name)})


def split_specs(text: str) -> list[str]:
    """Return the specs of a comma-separated list; commas inside brackets do not separate.

    >>> split_specs("infonce, adnce(mu=0.5, sigma=1)")
    ['infonce', 'adnce(mu=0.5, sigma=1)']
    """
    # `depth` counts the open brackets; `quote` is the quotation mark of the open text, if any.
    parts, depth, quote = [""], 0, ""
    for i, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote and text[i - 1] != "\\" else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0 and not quote:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def _literal(node: ast.expr) -> Any:
    """Return the value of a literal; a bare word is a text, and ``inf`` is infinity."""
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_literal(node.operand)
    if isinstance(node, ast.Name):  # Shells strip quotes: form=graph means form='graph'.
        return float("inf") if node.id == "inf" else node.id
    return ast.literal_eval(node)


def _typed(group: str, name: str, known: Mapping[str, Setting], key: str, value: Any) -> Any:
    """Check the type of ``value`` and return it as the setting takes it."""
    if key not in known:
        # Drop the list of names: the settings with their defaults follow instead.
        listed = ", ".join(f"{k}={v.default!r}" for k, v in known.items()) or "none"
        nearest = str(unknown("setting", key, known)).split(" Known:")[0]
        raise InputError(f"{nearest} Settings of the {kind_of(group)} {name!r}: {listed}.")
    if isinstance(known[key].rule, NetworkOf) and is_in_file(value):
        value = _with_file(value)
    return known[key].typed(value, f" of the {kind_of(group)} {name!r}")


def _with_file(network: str) -> str:
    """Return a network's spec with its file's path shortened to the file's name.

    Raises:
        InputError: if there is no such file or network.
    """
    name, given = read(network)
    name = registry.find("networks", name).name
    return _written(name, given)


def _written(name: str, given: Mapping[str, Any]) -> str:
    """Return the spec of a name and settings."""
    listed = ", ".join(f"{key}={plain(value)!r}" for key, value in given.items())
    return f"{name}({listed})" if listed else name


def _same(value: Any, default: Any) -> bool:
    """Return whether two values are equal and of one type; ``==`` alone holds for True and 1."""
    return type(value) is type(default) and bool(value == default)
