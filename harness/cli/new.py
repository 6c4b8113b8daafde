"""``triptych new``."""

import re
from enum import StrEnum
from importlib.resources import files
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from harness.cli.shared import app, examples, input_errors
from harness.cli.terminal import say
from harness.core.errors import InputError, require


class Kind(StrEnum):
    """The kinds of plugin that ``triptych new`` can write."""

    loss = "loss"
    task = "task"
    package = "package"


@app.command(
    "new",
    epilog=examples("new loss margin", "new task prices --to mine", "new package my_losses"),
)
def new_command(
    kind: Annotated[Kind, typer.Argument(help="What to write.")],
    name: Annotated[str, typer.Argument(help="Its name, such as soft_margin.")],
    folder: Annotated[
        Path, typer.Option("--to", help="The folder to write into; default: this one.")
    ] = Path(),
) -> None:
    """Write a loss or a task in a file of its own, or a package of losses, each with its test.

    What is written works as it stands: it passes `triptych check`.
    """
    with input_errors():
        written = write(kind, name, folder)
        for path in written:
            say(str(path), verbatim=True)
        say("Next:")
        for line in _next(kind, name, folder):
            say(line, indent=2, verbatim=True)


def write(kind: str, name: str, folder: Path) -> list[Path]:
    """Write the files of a new plugin or package, and return their paths.

    Raises:
        InputError: if the name cannot be that of a module, or a file exists already.
    """
    module = _module(name)
    other = find_spec(module)
    require(
        other is None,
        f"`NAME` must not be that of another module: got {name!r}, and `import {module}` leads to "
        f"{other.origin if other else ''}. Choose another name.",
    )
    names = {
        "module": module,
        "dashed": module.replace("_", "-"),
        "Class": _class(module),
        "file": f"{module}.py",
        "test": f"test_{module}.py",
        "spec": module if kind == "package" else f"{module}.py:{_class(module)}",
    }
    texts = {
        folder / place: Template(_template(template)).substitute(names)
        for place, template in _places(kind, module).items()
    }
    for path in texts:
        if path.exists():
            raise InputError(
                f"`NAME` must be new: {path} exists already. Choose another name, or another "
                "folder with `--to`."
            )
    for path, text in texts.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(texts)


def _places(kind: str, module: str) -> dict[str, str]:
    """Return {path of a file to write: the name of its template}."""
    if kind != "package":
        return {f"{module}.py": f"{kind}.txt", f"test_{module}.py": "test_file.txt"}
    return {
        f"{module}/pyproject.toml": "package/pyproject.txt",
        f"{module}/{module}/__init__.py": "package/init.txt",
        f"{module}/{module}/losses.py": "loss.txt",
        f"{module}/tests/test_losses.py": "package/test_losses.txt",
    }


def _next(kind: str, name: str, folder: Path) -> list[str]:
    """Return the commands that a user runs next."""
    module = _module(name)
    if kind == "package":
        return [f"pip install -e {folder / module}", f"triptych check {module}"]
    file = folder / f"{module}.py"
    group = "losses" if kind == "loss" else "tasks"
    one = f"{file}:{_class(module)}"
    several = f"infonce,{one}" if kind == "loss" else one
    return [
        f"triptych check {file}",
        f"pytest {folder / f'test_{module}.py'}",
        f"triptych run quickstart --{group} {several}",
    ]


def _module(name: str) -> str:
    module = name.replace("-", "_").lower()
    good = re.fullmatch(r"[a-z][a-z0-9_]*", module) is not None and not iskeyword(module)
    require(
        good,
        "`NAME` must be letters, digits and underscores, and begin with a letter: got "
        f"{name!r}. Write a name such as soft_margin.",
    )
    return module


def _class(module: str) -> str:
    """Return the name of the class that a new module defines.

    >>> _class("soft_margin")
    'SoftMargin'
    """
    return "".join(word.capitalize() for word in module.split("_"))


def _template(name: str) -> str:
    return files("harness.cli").joinpath("templates", name).read_text(encoding="utf-8")
