"""The application that every command is added to, and what several commands share.

Heavy modules are imported by the command that needs them, so that ``--help`` and a wrong option
answer at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.terminal import err, escape
from harness.core.errors import InputError

if TYPE_CHECKING:
    from harness.study.study import Study


app = typer.Typer(
    help="Compare contrastive losses across images, sentences and graphs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

# Options that several commands take.
StudyName = Annotated[
    str, typer.Argument(help="The name of a shipped study, or the path of a TOML file.")
]
Only = Annotated[str | None, typer.Option(help="Run only these, separated by commas.")]
Instead = Annotated[str | None, typer.Option(help="Use these instead, separated by commas.")]
Seeds = Annotated[int | None, typer.Option(help="The number of seeds, counted from 0.", min=1)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or one GPU, such as cuda:1.")]
EveryCell = Annotated[bool, typer.Option("--cells", help="Also list every cell.")]


@contextmanager
def input_errors() -> Iterator[None]:
    """Print errors that the user can fix, without a traceback, and exit with status 2."""
    try:
        yield
    except (InputError, OSError) as error:
        err.print(escape(str(error)), style="red", soft_wrap=True)
        raise typer.Exit(2) from error


def study_of(
    name: str, tasks: str | None, methods: str | None, losses: str | None, seeds: int | None
) -> "Study":
    """Return the study of that name, changed as the options say."""
    from harness import plugins
    from harness.study.study import Study

    given = {"tasks": tasks, "methods": methods, "losses": losses}
    specs = {k: plugins.split_specs(v) for k, v in given.items() if v is not None}
    return Study.load(name).but(seeds=seeds, **specs)
