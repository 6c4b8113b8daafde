"""Say what a user meant by a name of the wrong kind, such as a loss given as a method."""

import ast
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.core.cells import DEFAULT_METHOD, PARTS, Spec, is_trained
from harness.core.errors import InputError
from harness.methods.base import misfit
from harness.plugins import build, declared, is_known, kind_of, load, names, read
from harness.settings import OneOf

GIVEN = (*PARTS.values(), "engines")
"""The groups of plugins that the command line takes."""
MAX_FILES = 100
"""The most Python files of the current folder that are searched for classes."""


def require_group(group: str, spec: Spec, *, of_cell: bool = False) -> None:
    """Raise an error if ``spec`` names something else than a plugin of ``group``.

    Nothing is raised for a plugin of that group, or for a name that is found nowhere.

    Args:
        group: what ``spec`` is given as.
        spec: the spec.
        of_cell: whether options are written as ``triptych cell`` takes them.

    Raises:
        InputError: if its name is that of another kind of plugin, of a data set, of a class in a
            Python file of this folder, or a value of an engine's setting. It says how to write it.
    """
    try:
        name, given = read(spec)
    except InputError:
        return
    if ":" in name or is_known(group, name) or not is_trained(name):
        return
    found = next(_meant(group, name, f'"{spec}"' if given else name, of_cell=of_cell), "")
    if found:
        raise InputError(f"There is no {kind_of(group)} {name!r}. {found}")


def _meant(group: str, name: str, spec: Spec, *, of_cell: bool) -> Iterator[str]:
    """Yield what a name may have meant, the likeliest first."""
    for other in GIVEN:
        word = kind_of(other)
        if name in names(other):
            options = _options(group, other, name, spec)
            for one, plural in PARTS.items() if of_cell else ():
                options = options.replace(f"--{plural}", f"--{one}").replace("--task ", "")
            article = "an" if word == "engine" else "a"
            yield f"There is {article} {word} of that name: write {options}."
    if group == "engines":
        yield from _of_setting(group, name)
    if group == "tasks":
        for task, known in _sources().items():
            if name in {each.replace("-", "_") for each in known}:
                data = next(each for each in known if each.replace("-", "_") == name)
                yield f"There is a data set of that name: write `{task}(data='{data}')`."
    for path, class_name in _classes():
        if class_name.casefold() == name.replace("_", "").casefold():
            yield f"{path} has a class of that name: write `{path}:{class_name}`."


def _options(group: str, other: str, name: str, spec: Spec) -> str:
    """Return the options that pass ``spec`` as its own kind, with a loss or method that fits it."""
    option = f"`--{other.removesuffix('s') if other == 'engines' else other} {spec}`"
    if {group, other} != {"losses", "methods"}:
        return option
    partner = _partner(group, other, name)
    if not partner:
        return option
    pair = {other: spec, group: partner}
    return f"`--methods {pair['methods']} --losses {pair['losses']}`"


def _partner(group: str, other: str, name: str) -> str:
    """Return a plugin of ``group`` that fits the one of ``other``: the usual one if it does."""
    usual = {"methods": DEFAULT_METHOD, "losses": "infonce"}[group]
    with suppress(InputError):
        built = build(other, name)
        for each in sorted(names(group), key=lambda each: each != usual):
            with suppress(InputError):
                pair = {group: build(group, each), other: built}
                if misfit(pair["methods"], pair["losses"]) is None:
                    return each
    return ""


def _of_setting(group: str, word: str) -> Iterator[str]:
    """Yield the plugins of ``group`` that take ``word`` as a setting's value."""
    for name in names(group):
        with suppress(InputError):
            for key, setting in declared(group, name).items():
                if isinstance(setting.rule, OneOf) and word in setting.rule.known:
                    jobs = ", jobs=8" if "jobs" in declared(group, name) else ""
                    yield (
                        f"It is a value of the setting `{key}` of the engine {name!r}: write "
                        f"`--engine \"{name}({key}='{word}'{jobs})\"`."
                    )


def _sources() -> dict[str, Mapping[str, Any]]:
    """Return {task: the data sets that its plugin of data knows by name}."""
    found = {}
    for name in {*names("data")} & {*names("tasks")}:
        with suppress(InputError):
            found[name] = load("data", name)
    return found


def _classes() -> Iterator[tuple[Path, str]]:
    """Yield the Python files of the current folder, with each class that they define."""
    with suppress(OSError):
        for path in sorted(Path().glob("*.py"))[:MAX_FILES]:
            with suppress(OSError, ValueError, SyntaxError, RecursionError, MemoryError):
                for node in ast.parse(path.read_bytes()).body:
                    if isinstance(node, ast.ClassDef):
                        yield path, node.name


def study_hint(source: str) -> str:
    """Return a sentence on what the user may have meant by ``source``, which is no study.

    >>> study_hint("no_such_study")
    ''
    """
    path = Path(source)
    if path.with_name(f"{path.name}.toml").is_file():
        return f" There is a file of that name: write {source}.toml."
    if (path / "study.json").is_file():
        return (
            f" {source} is the folder of a run: name the study, and the folder with `--out "
            f"{source}`. `triptych status {source}` prints the command."
        )
    return ""
