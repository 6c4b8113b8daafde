"""``triptych status``."""

import shlex
from typing import Annotated

import typer

from harness.cli import outcome
from harness.cli.shared import (
    EveryCell,
    InStates,
    OfLosses,
    OfMethods,
    OfSeeds,
    OfTasks,
    RunFolder,
    app,
    examples,
    filters_of,
    input_errors,
    latest_run,
    run_folder,
)
from harness.cli.terminal import clock, err, say


@app.command(
    "status",
    epilog=examples(
        "status",
        "status runs/quickstart --verify",
        "status --state failed --cells",
    ),
)
def status_command(
    folder: RunFolder = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every file of the run; exit with 1 on a fault.")
    ] = False,
    cells: EveryCell = False,
    task: OfTasks = None,
    method: OfMethods = None,
    loss: OfLosses = None,
    seed: OfSeeds = None,
    state: InStates = None,
) -> None:
    """Show how many cells of a run are done, running, failed, diverged, damaged or to do.

    Cells that failed for one reason are counted together. --cells lists every cell; --task,
    --method, --loss, --seed and --state choose which cells are counted and listed.
    """
    from harness.run import selection, status
    from harness.store.records import Store

    with input_errors():
        filters = filters_of(task, method, loss, seed, state)
        store = Store(run_folder(folder) if folder else latest_run())
        every = status.states(store)
        names = selection.Names.from_study(store.study())
        chosen = selection.choose(every, filters, names, store.given)
        outcome.show_states(every, chosen, store.given, every=cells)
        command = store.study().get("command", "")
        if command and any(each.state not in status.SETTLED for each in every):
            say("To run the remaining cells:")
            say(in_folder(command, str(store.given)), indent=2, verbatim=True)
        stale = status.upgrade(store)
        if stale is not None:
            say(
                f"{stale.cells} of these cells were run by Triptych {stale.version}, in "
                f"{clock(stale.seconds)} of one worker. Today's version draws other random "
                "numbers: `triptych run` replaces their records, and the board shows the old ones "
                "until then."
            )
        wrong = status.faults(store) if verify else []
        for line in wrong:
            say(line, style="red", to=err)
        if verify and not wrong:
            say("Every file of the run is intact.")
    if wrong or any(each.state == "damaged" for each in chosen):
        raise typer.Exit(1)


def in_folder(command: str, folder: str) -> str:
    """Return the command of a run with ``--out`` set to ``folder``, where the run is now.

    >>> in_folder("triptych run quickstart --out runs/old --seeds 2", "kept/new")
    'triptych run quickstart --out kept/new --seeds 2'
    """
    words = shlex.split(command)
    if words[:2] != ["triptych", "run"]:  # A script's, which says itself where it writes.
        return command
    if "--out" not in words:
        return f"{command} --out {shlex.quote(folder)}"
    words[words.index("--out") + 1] = folder
    return shlex.join(words)
