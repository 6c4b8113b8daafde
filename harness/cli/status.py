"""``triptych status`` and ``triptych show``."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import terminal
from harness.cli.shared import EveryCell, app, input_errors
from harness.cli.terminal import clock, err, escape, out


@app.command("status")
def status_command(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every file of the run; exit with 1 on a fault.")
    ] = False,
    cells: EveryCell = False,
) -> None:
    """Show how many cells of a run are done, running, failed, diverged, damaged or to do."""
    from harness.run import status
    from harness.store.records import Store

    with input_errors():
        store = Store(folder)
        found = status.states(store)
        terminal.show_states(found, store.study().get("command", ""), every=cells)
        stale = status.upgrade(store)
        if stale is not None:
            out.print(
                f"{stale.cells} of these cells were run by Triptych {stale.version}, in "
                f"{clock(stale.seconds)} of one worker. Today's version draws other random "
                "numbers: `triptych run` replaces their records, and the board shows the old ones "
                "until then.",
                soft_wrap=True,
            )
        wrong = status.faults(store) if verify else []
        for line in wrong:
            err.print(escape(line), style="red", soft_wrap=True)
        if verify and not wrong:
            out.print("Every file of the run is intact.")
    if wrong or any(state.state == "damaged" for state in found):
        raise typer.Exit(1)


@app.command("show")
def show_command(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.")],
    cell: Annotated[str, typer.Argument(help="The start of a cell's key, or words of its label.")],
) -> None:
    """Show one cell's record in full, and the command that reproduces that cell alone."""
    from harness.run import status
    from harness.store.records import Store, read_record

    with input_errors():
        store = Store(folder)
        found = status.find(store, cell)
        failure = store.failure(found.cell, found.key)
        path = store.find_record(found.cell, found.key)
        record = read_record(path)
        if record is not None:
            terminal.show_text(path.read_text("utf-8"))
        elif failure is not None:
            terminal.show_text(failure.details or failure.reason)
        err.print(f"{escape(str(found.cell))}: {found.state} {escape(found.note)}", soft_wrap=True)
        log = store.log_path(found.cell, found.key)
        if log.exists():
            err.print(f"log: {escape(str(log))}", soft_wrap=True)
        device = record.device.partition(" ")[0].partition(":")[0] if record else ""
        err.print(f"to reproduce: {escape(status.command(found.cell, device))}", soft_wrap=True)
