"""Write a page about one plugin or study: what ``triptych list KIND NAME`` prints."""

import re
import textwrap
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import product
from types import NoneType
from typing import Any

from harness import plugins
from harness.cli import docstrings, listing
from harness.core.cells import PARTS
from harness.core.errors import InputError, unknown
from harness.methods.base import misfit
from harness.settings import KINDS, Setting
from harness.study.labels import plugin_label
from harness.study.shipped import About, shipped
from harness.study.study import Study

INDENT = "  "
_ABOUT_BASE = re.compile(r"Equation and settings: \w+\.")
"""What a preset's docstring says in place of the equation, which its page shows."""


def page(kind: str, name: str, width: int) -> list[str]:
    """Return the lines of the page about the plugin or study of that name.

    Args:
        kind: a group of plugins, ``studies`` or ``boards``.
        name: its name, or a spec.
        width: the columns that lines are wrapped to.

    Raises:
        InputError: if there is none of that name, or if it cannot be loaded.
    """
    if kind == "studies":
        return list(_wrapped(_of_study(name), width))
    if kind == "boards":
        return list(_wrapped(_of_format(name), width))
    return list(_wrapped(_of_plugin(kind, plugins.read(name)[0]), width))


Line = tuple[str, str]
"""A paragraph: (the prefix of its first line, its text)."""


def _wrapped(lines: Iterable[Line], width: int) -> Iterator[str]:
    """Yield lines of at most ``width`` columns; longer words and equations are not broken."""
    for start, text in lines:
        hanging = len(INDENT) if start and not start.strip() else 0
        further = " " * (len(start) + hanging)
        yield from textwrap.wrap(
            text, width, initial_indent=start, subsequent_indent=further,
            break_long_words=False, break_on_hyphens=False,
        ) or [start.rstrip()]  # fmt: skip


def _of_study(name: str) -> Iterator[Line]:
    known = shipped()
    if name not in known:
        raise unknown("study", name, known)
    study, about = Study.load(name), About.of_file(known[name])
    yield "", name
    yield "", ""
    yield "", about.description
    yield "", ""
    for key, text in {
        "size": listing.study_line(study),
        "takes": about.takes,
        "tasks": ", ".join(study.tasks),
        "methods": ", ".join(study.all_methods),
        "losses": ", ".join(entry.label for entry in study.entries),
        "run": f"triptych run {name}",
    }.items():
        if text:
            yield f"{key + ':':9}", text


def _of_format(name: str) -> Iterator[Line]:
    known = {each: text for each, text, _ in listing.formats()}
    if name not in known:
        raise unknown("file or figure of a board", name, known)
    yield f"{name}  ", known[name]


def _of_plugin(kind: str, name: str) -> Iterator[Line]:
    plugin = plugins.load(kind, name)
    found = docstrings.read(plugin)
    yield "", "  ".join(filter(None, [name, plugin_label(kind, name)]))
    yield "", ""
    yield "", found.summary
    yield from _paragraphs([block for block in found.blocks if not _ABOUT_BASE.fullmatch(block)])
    yield from _inherited_equation(plugin, found)
    yield from _settings(plugins.declared(kind, name).values(), found.arguments)
    if kind == "tasks":
        yield from _measures(plugins.build(kind, name))
    if kind in PARTS.values():
        yield "", ""
        for other, text in _partners(kind, name).items():
            yield f"{other + ':':12}", text
    for modality, text in getattr(plugin, "cautions", {}).items():
        yield "", ""
        yield "Caution: ", f"on the modality {modality}, {text}."
    if found.references:
        yield "", ""
        yield "References: ", found.references
    yield "", ""
    yield "Code: ", f"{plugin.__module__}"


def _paragraphs(blocks: Iterable[str]) -> Iterator[Line]:
    """Yield blocks with a blank line before each, but for items and lines of an equation."""
    before = ""
    for block in blocks:
        kind = next((mark for mark in ("    ", "- ") if block.startswith(mark)), "")
        if not kind or kind != before:
            yield "", ""
        yield kind, block.removeprefix(kind)
        before = kind


def _inherited_equation(plugin: Any, found: docstrings.Docstring) -> Iterator[Line]:
    """Yield the equation of the nearest base class that has one, if the plugin states none."""
    if any(block.startswith("    ") for block in found.blocks):
        return
    for base in getattr(plugin, "__mro__", (plugin,))[1:]:
        own = docstrings.read(base).blocks if vars(base).get("__doc__") else []
        equation = [block for block in own if block.startswith("    ")]
        if equation:
            yield "", ""
            yield "", f"Equation of {base.__name__}:"
            yield from _paragraphs(equation)
            return


def _settings(settings: Iterable[Setting], about: dict[str, str]) -> Iterator[Line]:
    settings = list(settings)
    yield "", ""
    yield "", "Settings:" if settings else "It has no settings."
    for each in settings:
        words = [
            "None" if kind is NoneType else KINDS.get(kind, kind.__name__) for kind in each.kinds
        ]
        notes = [" or ".join(words), *([str(each.rule)] if each.rule is not None else [])]
        notes += [each.role.name] if each.role is not None else []
        said = f": {about[each.name]}" if each.name in about else ""
        yield INDENT, f"{each.name}={each.default!r} ({'; '.join(filter(None, notes))}){said}"


def _measures(task: Any) -> Iterator[Line]:
    """Yield a task's modality and metrics, the main one first."""
    yield "", ""
    yield "Modality: ", task.modality
    yield "", "Metrics, the main one first:"
    for metric in task.metrics:
        notes = [metric.unit, f"{metric.direction} is better"]
        notes += [f"a difference of {metric.margin:g} matters"] if metric.margin else []
        said = f": {metric.text}" if metric.text else ""
        yield INDENT, f"{metric.name} ({', '.join(filter(None, notes))}){said}"
    if task.references:
        yield INDENT, f"Untrained references: {', '.join(task.references)}."


def _partners(kind: str, name: str) -> dict[str, str]:
    """Return {another kind: which of its plugins fit this one}, all at their defaults."""
    built: dict[str, dict[str, Any]] = {"methods": {}, "losses": {}, "tasks": {}}
    for group, made in built.items():
        for each in [name] if group == kind else plugins.names(group):
            with suppress(InputError):  # What cannot be built fits nothing.
                made[each] = plugins.build(group, each)
    fitting = [
        dict(zip(built, names, strict=True))
        for names in product(*built.values())
        if misfit(*(built[group][each] for group, each in zip(built, names, strict=True))) is None
    ]
    found = {}
    for other in built:
        if other != kind:
            fits = dict.fromkeys(each[other] for each in fitting)
            found[other] = _all_but(list(built[other]), list(fits))
    return found


def _all_but(names: list[str], fitting: list[str]) -> str:
    """Return ``fitting`` as a short text: the names that fit, or ``all but`` those that do not.

    >>> _all_but(["a", "b", "c", "d"], ["a", "b", "c"]), _all_but(["a", "b"], ["a", "b"])
    ('all but d', 'all')
    >>> _all_but(["a", "b", "c", "d"], ["d"]), _all_but(["a"], [])
    ('d', 'none')
    """
    others = [name for name in names if name not in fitting]
    if fitting and len(others) < len(fitting):
        return f"all but {', '.join(others)}" if others else "all"
    return ", ".join(name for name in names if name in fitting) or "none"
