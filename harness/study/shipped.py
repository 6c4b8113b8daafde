"""The studies that installed distributions ship."""

import warnings
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import takewhile

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


def description(file: Traversable) -> str:
    """Return the comment at the top of a study's file, as one line.

    >>> description(shipped()["quickstart"]).partition(":")[0]
    'Three panels'
    """
    lines = file.read_text(encoding="utf-8").splitlines()
    comments = takewhile(lambda line: line.startswith("#"), lines)
    return " ".join(line.lstrip("# ") for line in comments)
