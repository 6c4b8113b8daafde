"""``triptych plan``."""

from pathlib import Path
from typing import Annotated

import typer

from harness.cli import terminal
from harness.cli.shared import (
    Changes,
    EveryCell,
    Files,
    Losses,
    Methods,
    Modality,
    OnlyTasks,
    Seeds,
    StudyName,
    app,
    examples,
    input_errors,
    study_of,
)
from harness.cli.terminal import clock, escape, out, say


@app.command(
    "plan",
    epilog=examples(
        "plan quickstart",
        "plan losses --modality graph --seeds 2 --jobs 8",
        "plan adnce-vs-infonce tuning.trials=4 tasks.Cora.steps=20",
        "plan adnce-vs-infonce --no-time --cells",
    ),
)
def plan_command(
    study: StudyName,
    changes: Changes = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="A run's folder: take durations from its records.")
    ] = None,
    tasks: OnlyTasks = None,
    methods: Methods = None,
    losses: Losses = None,
    seeds: Seeds = None,
    plugin: Files = None,
    modality: Modality = None,
    jobs: Annotated[int, typer.Option(help="The number of workers to assume.", min=1)] = 2,
    cells: EveryCell = False,
    timed: Annotated[
        bool, typer.Option("--time/--no-time", help="Estimate the time by running a few steps.")
    ] = True,
) -> None:
    """Show a study's cells and how long they will take; run none of them."""
    with input_errors():
        from harness.run import estimate
        from harness.store import staleness
        from harness.store.records import Store

        chosen = study_of(study, tasks, methods, losses, seeds, changes, modality, plugin)
        terminal.warn(chosen.cautions())
        prices = None
        if timed:
            with out.status("Timing a few steps") as status:
                prices = estimate.costs(
                    chosen, folder, lambda text: status.update(f"Timing {escape(text)}")
                )
        numbers = ("trials", "seeds", "cells", "time")
        table = terminal.table(("stage", "task", "method", "loss", *numbers), numbers=numbers)
        for row in estimate.summary(chosen):
            table.add_row(
                *(escape(text) for text in (row.stage, row.task, row.method, row.label)),
                str(row.trials or ""),
                str(row.seeds),
                str(len(row.cells)),
                clock(estimate.total(row.cells, prices)) if prices else "",
            )
        terminal.show(table)
        every = [planned.cell for planned in estimate.all_cells(chosen)]
        for cell in every if cells else ():
            say(f"{cell} ({cell.scored})")
        tuning = sum(cell.scored == "validation" for cell in every)
        say(f"{len(every)} cells, {tuning} of them tuning trials.")
        if prices is None:
            return
        if tuning:
            say("Tuned rows, whose settings are not chosen yet, show the first trial's.")
        if folder is not None:
            store = Store(folder)
            code = staleness.Code(store.study(), store.folder)
            why = filter(None, (code.why(record.source) for record in store.records()))
            if old := staleness.sentence(why):
                say(old)
        left = estimate.unrecorded(chosen, folder)
        seconds = estimate.total(left, prices)
        known = sum(cost.records for cost in prices.values())
        source = f"from {known} records" if known else "from a few steps of each task here"
        evaluating = estimate.total(left, prices, estimate.Cost.evaluating)
        say(
            f"The {len(left)} cells without a record will take about {clock(seconds / jobs)} with "
            f"{jobs} workers, or {clock(seconds)} with one, {clock(evaluating)} of it for "
            f"evaluation: estimated {source}."
        )
