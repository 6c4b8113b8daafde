"""The application that every command is added to, and what several commands share.

Heavy modules are imported by the command that needs them, so that ``--help`` and a wrong option
answer at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.terminal import err, say
from harness.core.errors import InputError
from harness.run import folders

if TYPE_CHECKING:
    from harness.run.selection import Filters
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
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin", help="A Python file of losses, methods or tasks; may be given several times."
    ),
]
Seeds = Annotated[int | None, typer.Option(help="The number of seeds, counted from 0.", min=1)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or one GPU, such as cuda:1.")]
EveryCell = Annotated[bool, typer.Option("--cells", help="Also list every cell.")]
OfTasks = Annotated[
    str | None, typer.Option("--task", help="Only cells of these tasks, separated by commas.")
]
OfMethods = Annotated[str | None, typer.Option("--method", help="Only cells of these methods.")]
OfLosses = Annotated[
    str | None, typer.Option("--loss", help="Only cells of these losses, or rows of the board.")
]
OfSeeds = Annotated[str | None, typer.Option("--seed", help="Only cells of these seeds: 0,2.")]
InStates = Annotated[
    str | None,
    typer.Option("--state", help="Only cells in these states, such as failed,diverged or 'to do'."),
]


@contextmanager
def input_errors() -> Iterator[None]:
    """Print errors that the user can fix, without a traceback, and exit with status 2."""
    try:
        yield
    except (InputError, OSError) as error:
        say(str(error), style="red", to=err)
        raise typer.Exit(2) from error


def study_of(
    name: str, tasks: str | None, methods: str | None, losses: str | None, seeds: int | None,
    files: list[Path] | None = None,
) -> "Study":  # fmt: skip
    """Return the study of that name, changed as the options say."""
    from harness import plugins
    from harness.study.study import Study

    register(files)
    given = {"tasks": tasks, "methods": methods, "losses": losses}
    specs = {k: plugins.split_specs(v) for k, v in given.items() if v is not None}
    return Study.load(name).but(seeds=seeds, **specs)


def register(files: list[Path] | None) -> None:
    """Register files of plugins, so that specs may name what they define.

    Raises:
        InputError: if a file cannot be imported or defines no plugin.
    """
    from harness import plugins

    for file in files or ():
        plugins.defined_in_file(file)


def latest_run() -> Path:
    """Return the folder of the latest run under ``runs/``, and say on stderr which one it is.

    Raises:
        InputError: if there is no run.
    """
    found = folders.newest()
    if found is None:
        raise InputError(
            f"`FOLDER` must be given where {str(folders.RUNS)!r} holds no run. Run a study first, "
            "such as `triptych run quickstart`, or name the folder of a run."
        )
    say(f"Showing the latest run: {found}", to=err)
    return found


def filters_of(
    tasks: str | None,
    methods: str | None,
    losses: str | None,
    seeds: str | None,
    states: str | None,
) -> "Filters":
    """Return the cells that the options choose.

    Raises:
        InputError: if a seed is not a whole number, or if there is no such state.
    """
    from harness import plugins
    from harness.core.errors import require, require_choice
    from harness.run.selection import Filters
    from harness.run.status import STATES

    def parts(text: str | None) -> tuple[str, ...]:
        return tuple(plugins.split_specs(text or ""))

    for seed in parts(seeds):
        require(
            seed.isdecimal(),
            f"`--seed` must be whole numbers, separated by commas: got {seed!r}. For example "
            "`--seed 0,2`.",
        )
    for state in parts(states):
        require_choice("--state", state, STATES)
    return Filters(
        parts(tasks), parts(methods), parts(losses), tuple(map(int, parts(seeds))), parts(states)
    )
