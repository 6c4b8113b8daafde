"""``triptych show``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import completion, one_cell, terminal
from harness.cli.shared import (
    InStates,
    OfLosses,
    OfMethods,
    OfSeeds,
    OfTasks,
    app,
    examples,
    filters_of,
    input_errors,
    latest_run,
)
from harness.cli.terminal import escape, say
from harness.core.errors import InputError
from harness.run.folders import is_run

if TYPE_CHECKING:
    from harness.run.status import CellState

MAX_CELLS = 100
"""Cells that a terminal lists; a file or a pipe gets all of them."""


@app.command(
    "show",
    epilog=examples(
        "show adnce seed 2 images",
        "show runs/quickstart 4ac342 --json",
        "show --loss adnce --seed 0,1",
    ),
)
def show_command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FOLDER] [CELL]",
            help="The folder of a run, by default the latest under runs/; and a cell, by the start "
            "of its key or by words such as: adnce seed 2.",
            autocompletion=completion.run_folder,
        ),
    ] = None,
    task: OfTasks = None,
    method: OfMethods = None,
    loss: OfLosses = None,
    seed: OfSeeds = None,
    state: InStates = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole record, as it stands in its file.")
    ] = False,
) -> None:
    """Show one cell's scores, cost and origin, and the command that runs it again.

    The first argument is FOLDER if it is the folder of a run; otherwise all arguments are words
    of CELL in the latest run. Each word must match as a whole: the name or spec of a task, method
    or loss (adnce, or 'adnce(mu=0.5)'), a setting (mu=0.5), the label of a row, or a seed (seed 2).
    Tuning trials match only with the word tuning or trial, or by their key. If several cells
    match, they are listed on a line each.
    """
    from harness.run import selection
    from harness.store.records import Store

    with input_errors():
        filters = filters_of(task, method, loss, seed, state)
        folder, wanted = _folder_and_cell(words or [])
        store = Store(folder)
        found = selection.find(store, wanted, filters)
        if len(found) == 1 and as_json:
            one_cell.show_json(store, found[0])
        elif len(found) == 1:
            one_cell.show(store, found[0])
        elif as_json:
            raise InputError(
                f"`--json` needs one cell: {wanted!r} names {len(found)} of {str(folder)!r}. Give "
                "more words or a key; without `--json` they are listed."
            )
        else:
            _list(found)


def _folder_and_cell(words: list[str]) -> tuple[Path, str]:
    """Return the run's folder and the words of the cell."""
    if words and is_run(Path(words[0])):
        return Path(words[0]), " ".join(words[1:])
    if words and _is_path(words[0]):
        raise InputError(
            f"`FOLDER` must be the folder of a run: got {words[0]!r}, which holds no study.json "
            "and no records. Leave it out for the latest run under 'runs'."
        )
    return latest_run(), " ".join(words)


def _is_path(word: str) -> bool:
    """Return whether a word can only be a path: it has a slash, and is no label or spec."""
    return "/" in word and not any(letter in word for letter in " ('\"")


def _list(found: "list[CellState]") -> None:
    """Print a line for each cell: its key, its state, the cell, its main score."""
    most = MAX_CELLS if terminal.out.is_terminal else len(found)
    table = terminal.table(("key", "state", "cell", "score"), numbers=("key",))
    for state in found[:most]:
        score = "" if state.score is None else f"{state.metric} {state.score:.4g}"
        table.add_row(*map(escape, (state.key, state.state, str(state), score)))
    terminal.show(table)
    if len(found) > most:
        say(f"and {len(found) - most} more; choose with --task, --loss, --seed or --state")
