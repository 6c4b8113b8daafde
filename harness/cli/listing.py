"""Describe what is installed: plugins with their settings, studies with their size."""

import inspect
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from harness import plugins
from harness.cli import docstrings
from harness.core.errors import InputError, unknown
from harness.data import Source
from harness.methods.base import misfit
from harness.study.shipped import Grid
from harness.study.study import Study


def plugin_row(
    kind: str, name: str, fits: dict[str, list[str]] | None
) -> tuple[str, str, list[str]]:
    """Return a plugin's name, the first line of its docstring, and details to print below.

    For a plugin that cannot be loaded, return its error instead, so that the others are listed.
    """
    try:
        plugin = plugins.load(kind, name)
        settings = plugins.declared(kind, name)
    except InputError as error:
        return name, f"cannot be used: {error}", []
    text = inspect.getdoc(plugin) or ""
    if fits is None:
        details = [", ".join(f"{key}={each.default!r}" for key, each in settings.items())]
    else:
        details = [each.described() for each in settings.values()]
        details.append(docstrings.read(plugin).references)
        if pairing := getattr(plugin, "pairing", None):
            details.append(f"pairing: {pairing}")
        details += fits.get(name, [])
    return name, docstrings.plain(text.partition("\n")[0]), details


def formats() -> list[tuple[str, str, list[str]]]:
    """Return the name of each file and figure of a board, and what it holds."""
    from leaderboards.render.formats import about

    return [(name, text, []) for name, text in about()]


def fits(kind: str) -> dict[str, list[str]]:
    """Return the methods that go with each loss, or the losses that go with each method."""
    if kind not in ("losses", "methods"):
        return {}
    built: dict[str, dict[str, Any]] = {"losses": {}, "methods": {}}
    for group, made in built.items():
        for name in plugins.names(group):
            with suppress(InputError):  # The plugin's own row shows the error.
                made[name] = plugins.build(group, name)

    pairs = [
        (method, loss)
        for method, built_method in built["methods"].items()
        for loss, built_loss in built["losses"].items()
        if misfit(built_method, built_loss) is None
    ]
    if kind == "losses":
        return {
            loss: ["methods: " + (", ".join(m for m, other in pairs if other == loss) or "none")]
            for loss in built["losses"]
        }
    return {
        method: [
            "losses: " + (", ".join(loss for other, loss in pairs if other == method) or "none"),
            "tasks: those with labels" if built_method.needs_labels else "",
        ]
        for method, built_method in built["methods"].items()
    }


def study_line(study: Study) -> str:
    """Return a line with a study's cells: tasks, rows (a loss with a method) and seeds."""
    assert isinstance(study.seeds, tuple)
    trials = len(study.trials())
    finals = study.size() - trials
    rows = sum(len(entry.methods) for entry in study.entries) + 1 + study.control
    grid = Grid(len(study.tasks), rows, len(study.seeds), trials)
    others = finals - grid.tasks * grid.rows * grid.seeds
    references = f", and {others} of references" if others else ""
    return f"{finals} cells: {grid}{references}"


def sources() -> dict[str, Source]:
    """Return every data set that the installed plugins know, grouped by modality."""
    found: dict[str, Source] = {}
    for name in plugins.names("data"):
        given: Mapping[str, Source] = plugins.load("data", name)
        found |= given
    return dict(sorted(found.items(), key=lambda item: (item[1].modality, item[0])))


def source(name: str) -> Source:
    """Return the data set of that name.

    Raises:
        InputError: if there is none.
    """
    known = sources()
    if name not in known:
        raise unknown("data set", name, known)
    return known[name]
