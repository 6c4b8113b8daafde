"""``triptych list``."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import completion, hints
from harness.cli.shared import Files, app, examples, input_errors, register
from harness.cli.terminal import out, say
from harness.core.errors import InputError, require_choice

if TYPE_CHECKING:
    from harness.study.shipped import About

PIPE = 80
"""The width of a page, in columns, when it goes to a file or a pipe."""


KINDS = ("tasks", "losses", "methods", "studies", "engines", "boards")
"""What ``triptych list`` can list."""


def _names(ctx: Any, incomplete: str) -> list[str]:
    """Complete the names of the kind that stands before them."""
    kind = str(ctx.params.get("kind"))
    if kind == "studies":
        return completion.shipped_study(incomplete)
    return completion.plugins_of(kind)(incomplete) if kind in KINDS else []


@app.command(
    "list",
    epilog=examples(
        "list losses", "list losses adnce hcl", "list tasks --long", "list studies quickstart"
    ),
)
def list_command(
    kind: Annotated[
        str,
        typer.Argument(
            help=f"What to list: {', '.join(KINDS)}.",
            autocompletion=lambda incomplete: [k for k in KINDS if k.startswith(incomplete)],
        ),
    ],
    names: Annotated[
        list[str] | None,
        typer.Argument(help="Show a page about each of these.", autocompletion=_names),
    ] = None,
    long: Annotated[
        bool, typer.Option("--long", help="Add ranges, papers, and which methods take a loss.")
    ] = False,
    plugin: Files = None,
) -> None:
    """List the installed tasks, losses, methods, studies or engines, with their settings.

    With names, show a page about each: what it does, its equation, its settings with their ranges,
    what it fits, and its references. boards: the files and figures of a board; a name with a
    suffix is a file.
    """
    from harness.study.shipped import About, shipped

    with input_errors():
        require_kind(kind)
        register(plugin)
        if names:
            _show_pages(kind, names)
            return
        if kind == "studies":
            rows = [
                _study_row(name, About.of_file(file), long=long) for name, file in shipped().items()
            ]
        elif kind == "boards":
            from harness.cli import listing

            rows = listing.formats()
        else:
            from harness import plugins
            from harness.cli import listing

            fits = listing.fits(kind) if long else None
            rows = [listing.plugin_row(kind, name, fits) for name in plugins.names(kind)]
    for name, line, details in rows:
        say(line, start=f"{name}  ", indent=4, lines=True)
        for detail in filter(None, details):
            say(detail, indent=4, style="dim")


def require_kind(kind: str) -> None:
    """Raise an error, with a hint, unless ``kind`` is one that can be listed."""
    try:
        require_choice("KIND", kind, KINDS)
    except InputError as error:
        raise InputError(f"{error}{hints.kind_hint(kind)}") from error


def _show_pages(kind: str, names: list[str]) -> None:
    """Print the page of each name, wrapped to the terminal's width."""
    from harness.cli import pages

    width = out.width if out.is_terminal else PIPE
    for number, name in enumerate(names):
        if number:
            say("")
        for line in pages.page(kind, name, width):
            say(line, verbatim=True)


def _study_row(name: str, about: "About", *, long: bool) -> tuple[str, str, list[str]]:
    """Return a study's name, its question, and its size and time.

    If ``long``, all of its description and its number of cells, which depends on its tasks'
    references: importing the plugins takes seconds.
    """
    if not long:
        return name, about.question, ["; ".join(filter(None, [str(about.grid or ""), about.takes]))]
    from harness.cli import listing
    from harness.study.study import Study

    size = listing.study_line(Study.load(name))
    return name, about.description, ["; ".join(filter(None, [size, about.takes]))]
