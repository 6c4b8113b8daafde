"""``triptych list``."""

from enum import StrEnum
from typing import Annotated

import typer

from harness.cli.shared import app, examples, input_errors
from harness.cli.terminal import say


class Kind(StrEnum):
    """What ``triptych list`` can list."""

    tasks = "tasks"
    losses = "losses"
    methods = "methods"
    studies = "studies"
    engines = "engines"
    boards = "boards"


@app.command("list", epilog=examples("list losses", "list tasks --long", "list studies"))
def list_command(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    long: Annotated[
        bool, typer.Option("--long", help="Add ranges, papers, and which methods take a loss.")
    ] = False,
) -> None:
    """List the installed tasks, losses, methods, studies or engines, with their settings.

    boards: the files and figures of a board; a name with a suffix is a file.
    """
    from harness.study.shipped import description, shipped

    with input_errors():
        if kind is Kind.studies:
            rows = [
                (name, *_described(name, description(file), long=long))
                for name, file in shipped().items()
            ]
        elif kind is Kind.boards:
            from harness.cli import listing

            rows = listing.formats()
        else:
            from harness import plugins
            from harness.cli import listing

            fits = listing.fits(kind) if long else None
            rows = [listing.plugin_row(kind, name, fits) for name in plugins.names(kind)]
    for name, line, details in rows:
        say(line, start=f"{name}  ", indent=4)
        for detail in filter(None, details):
            say(detail, indent=4, style="dim")


def _described(study: str, text: str, *, long: bool) -> tuple[str, list[str]]:
    """Return a study's description: its first sentence, or if ``long`` all of it and its size.

    The size needs every plugin that the study names, which takes seconds to import.
    """
    if not long:
        return text.partition(". ")[0].removesuffix(".") + ".", []
    from harness.cli import listing
    from harness.study.study import Study

    return text, [listing.study_line(Study.load(study))]
