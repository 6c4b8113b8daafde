"""The application that every command is added to, and what several commands share.

Heavy modules are imported by the command that needs them, so that ``--help`` and a wrong option
answer at once.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli import completion, hints
from harness.cli.terminal import err, say
from harness.core.errors import InputError, require
from harness.run import folders

if TYPE_CHECKING:
    from harness.run.selection import Filters
    from harness.study.study import Study


app = typer.Typer(
    cls=hints.Commands,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def examples(*commands: str) -> str:
    """Return the examples that end a command's ``--help``, one on each line.

    ``tests/harness/cli/test_help.py`` reads every example as its command does.
    """
    return "\b\n" + "\n".join(["Examples:", *(f"  triptych {command}" for command in commands)])


def _print_version(*, wanted: bool) -> bool:
    """Print the version and exit, if it is wanted."""
    if wanted:
        from importlib.metadata import version

        say(f"triptych {version('triptych')}")
        raise typer.Exit
    return wanted


@app.callback(epilog=examples("run quickstart", "list losses adnce", "board runs/quickstart"))
def main(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Compare contrastive losses across images, sentences and graphs."""
    del version  # Its callback prints it.


def _naming(group: str, text: str, *names: str) -> Any:
    """Return an option that takes names of plugins of ``group``, which a shell completes.

    Args:
        group: the plugins' kind.
        text: what ``--help`` says of it.
        names: the option's names; none: the name of the parameter.
    """
    return typer.Option(*names, help=text, autocompletion=completion.plugins_of(group))


# Options that several commands take.
StudyName = Annotated[
    str,
    typer.Argument(
        help="The name of a shipped study, or the path of a TOML file.",
        autocompletion=completion.study,
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="KEY=VALUE",
        help="Change the study: seeds=2, tasks.images.steps=20, losses.adnce.mu=0.5, "
        "tuning.trials=4.",
    ),
]
Modality = Annotated[
    str | None,
    typer.Option(help="Only tasks of these modalities: image, sentence or graph."),
]
RunFolder = Annotated[
    Path | None,
    typer.Argument(
        help="The folder of a run; default: the latest under runs/.",
        autocompletion=completion.run_folder,
    ),
]
OnlyTasks = Annotated[str | None, _naming("tasks", "Run only these tasks, separated by commas.")]
Methods = Annotated[
    str | None, _naming("methods", "Use these methods instead, separated by commas.")
]
Losses = Annotated[str | None, _naming("losses", "Use these losses instead, separated by commas.")]
Seeds = Annotated[
    str | None, typer.Option(help="The number of seeds, counted from 0; or a list: 0,2,7.")
]
Files = Annotated[
    list[Path] | None,
    typer.Option(
        "--plugin", help="A Python file of losses, methods or tasks; may be given several times."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, or one GPU, such as cuda:1.")]
EveryCell = Annotated[bool, typer.Option("--cells", help="Also list every cell.")]
OfTasks = Annotated[
    str | None, _naming("tasks", "Only cells of these tasks, separated by commas.", "--task")
]
OfMethods = Annotated[str | None, _naming("methods", "Only cells of these methods.", "--method")]
OfLosses = Annotated[
    str | None, _naming("losses", "Only cells of these losses, or rows of the board.", "--loss")
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
        say(str(error), style="red", to=err, lines=True)
        raise typer.Exit(2) from error


def study_of(
    name: str,
    tasks: str | None,
    methods: str | None,
    losses: str | None,
    seeds: str | None,
    overrides: list[str] | None = None,
    modality: str | None = None,
    files: list[Path] | None = None,
) -> "Study":
    """Return the study of that name, changed as the options and overrides say.

    Raises:
        InputError: if there is no such study, or if a change is wrong.
    """
    from harness import plugins
    from harness.study.overrides import read_overrides
    from harness.study.study import Study

    register(files)
    given = {"tasks": tasks, "methods": methods, "losses": losses}
    specs = {k: plugins.split_specs(v) for k, v in given.items() if v is not None}
    values = read_overrides(overrides or ())
    for key in (*specs, *([] if seeds is None else ["seeds"])):
        require(
            key not in values,
            f"`{key}` must be given once: got `--{key}` and {key}=... . Leave one out.",
        )
    study = Study.load(name).but(seeds=_seeds(seeds), **specs).override(values)
    return study if modality is None else study.of_modality(plugins.split_specs(modality))


def _seeds(text: str | None) -> int | list[int] | None:
    """Return a number of seeds, or the seeds of a list."""
    parts = [part.strip() for part in (text or "").split(",")]
    if text is None:
        return None
    require(
        all(part.isdecimal() for part in parts),
        f"`--seeds` must be a number of seeds, such as 5, or whole numbers separated by commas, "
        f"such as 0,2,7: got {text!r}.",
    )
    return list(map(int, parts)) if "," in text else int(text)


def run_folder(folder: Path) -> Path:
    """Return ``folder``.

    Raises:
        InputError: if it holds no run, but the folder of that name under ``runs/`` does.
    """
    inside = folders.RUNS / folder
    require(
        folders.is_run(folder) or not folders.is_run(inside),
        f"{str(folder)!r} must be the folder of a run. There is one of that name: write {inside}.",
    )
    return folder


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
