"""The studies that installed distributions ship."""

import re
import tomllib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import takewhile
from typing import Any

from harness.core.cells import DEFAULT_METHOD, DEFAULT_SEEDS, is_trained
from harness.core.errors import InputError
from harness.plugins import load, names


def shipped() -> dict[str, Traversable]:
    """Return {name: file} of the studies that installed distributions ship.

    An entry point of the group ``harness.studies`` names a package; each of its
    TOML files is a study. A package that cannot be loaded is left out, with a warning.

    Raises:
        InputError: if two packages ship a study of the same name.
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
                    f"Two installed studies are named {study!r}: {found[study]} and {file}. "
                    "Name one of them by its path."
                )
            found[study] = file
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Grid:
    """Count the parts of a study.

    Attributes:
        tasks: its tasks.
        rows: its rows: a loss with a method, ``untrained``, and the control if there is one.
        seeds: the seeds of the board.
        trials: the cells of its tuning trials.
    """

    tasks: int
    rows: int
    seeds: int
    trials: int = 0

    @classmethod
    def of_file(cls, values: Mapping[str, Any]) -> "Grid":
        """Count what a study's file says, without importing a plugin.

        Raises:
            TypeError: if a key has a value that no study has. ``Study`` says what is wrong.

        >>> Grid.of_file({"tasks": ["nodes"], "losses": {"adnce": {"mu": [0.4, 0.7]}},
        ...               "tuning": {"trials": 8, "seeds": 2}})
        Grid(tasks=1, rows=2, seeds=3, trials=16)
        """
        losses, methods = values.get("losses", ()), values.get("methods", (DEFAULT_METHOD,))
        tables = losses if isinstance(losses, Mapping) else {key: {} for key in losses}
        trained = {name: table for name, table in tables.items() if is_trained(name)}
        rows = {name: len(table.get("methods", methods)) for name, table in trained.items()}
        searched = sum(rows[name] for name, table in trained.items() if _is_searched(table))
        tasks, budget = len(values.get("tasks", ())), values.get("tuning", {})
        return cls(
            tasks,
            sum(rows.values()) + 1 + bool(values.get("control", False)),
            _number(values.get("seeds", DEFAULT_SEEDS)),
            tasks * searched * budget.get("trials", 0) * _number(budget.get("seeds", 1)),
        )

    def __str__(self) -> str:
        """Return the grid in words.

        >>> str(Grid(1, 3, 5, 16))
        '1 task x 3 rows x 5 seeds, after 16 tuning cells'
        """
        parts = [
            f"{count} {one if count == 1 else one + 's'}"
            for count, one in ((self.tasks, "task"), (self.rows, "row"), (self.seeds, "seed"))
        ]
        return " x ".join(parts) + (f", after {self.trials} tuning cells" if self.trials else "")


def _number(seeds: Any) -> int:
    return seeds if isinstance(seeds, int) else len(seeds)


def _is_searched(table: Mapping[str, Any]) -> bool:
    """Return whether a loss's table gives a setting a range or choices."""
    return any(isinstance(v, list | Mapping) for key, v in table.items() if key != "methods")


@dataclass(frozen=True)
class About:
    """Describe a study by its file alone.

    Attributes:
        description: the comment at the top of the file, as one line.
        takes: how long it takes and on what, as its key ``takes`` says.
        grid: how many tasks, rows and seeds it has; None if the file cannot be read.
    """

    description: str
    takes: str = ""
    grid: Grid | None = None

    @classmethod
    def of_file(cls, file: Traversable) -> "About":
        """Read a study's file; import no plugin.

        >>> found = About.of_file(shipped()["quickstart"])
        >>> found.question
        'Three panels: is ADNCE better than InfoNCE, on images, sentences and a graph?'
        >>> print(found.grid)
        3 tasks x 3 rows x 3 seeds
        """
        text = file.read_text(encoding="utf-8-sig")
        comments = takewhile(lambda line: line.startswith("#"), text.splitlines())
        description = " ".join(line.lstrip("# ") for line in comments)
        try:
            values = tomllib.loads(text)
            return cls(description, str(values.get("takes", "")), Grid.of_file(values))
        except (ValueError, TypeError, AttributeError, RecursionError):  # `Study.load` says why.
            return cls(description)

    @property
    def question(self) -> str:
        """Return the first sentence of the description."""
        found = re.match(r".+?[.?!](?=\s|$)", self.description)
        return found[0] if found else self.description
