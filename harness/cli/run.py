"""``triptych run`` and ``triptych cell``."""

import shlex
import signal
import sys
import time
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import completion, one_cell, outcome, terminal
from harness.cli.progress import progress
from harness.cli.shared import (
    Changes,
    Device,
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
    register,
    study_of,
)
from harness.cli.terminal import counted, err, escape, out, say
from harness.core.cells import DEFAULT_METHOD
from harness.core.errors import InputError
from harness.core.telling import one_line
from harness.run.reasons import MAX_FAILURES

if TYPE_CHECKING:
    from harness.run.engines import Engine, Resources
    from harness.study.study import Study

INTERRUPTED = 130
"""The exit status of a run that was stopped."""


TRACEBACK_LINES = 6
"""The last lines of a failed cell's traceback that ``triptych cell`` prints; the log has all."""


class Log(StrEnum):
    """How a run reports its progress."""

    auto = "auto"
    json = "json"


class Scored(StrEnum):
    """The split that a cell is scored on."""

    test = "test"
    validation = "validation"


@app.command(
    "run",
    epilog=examples(
        "run quickstart",
        "run quickstart tasks.images.steps=20 losses.adnce.mu=0.5 seeds=2 --out runs/short",
        "run quickstart --modality graph --losses infonce,dcl --seeds 5 --out runs/dcl",
        'run my_study.toml --jobs 8 --losses "infonce,adnce(mu=0.5, sigma=0.5)"',
    ),
)
def run_command(
    study: StudyName,
    changes: Changes = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="The folder for the records; default: runs/STUDY.")
    ] = None,
    tasks: OnlyTasks = None,
    methods: Methods = None,
    losses: Losses = None,
    seeds: Seeds = None,
    plugin: Files = None,
    modality: Modality = None,
    jobs: Annotated[
        int | None, typer.Option(help="Worker processes; default or 0: one per core.", min=0)
    ] = None,
    engine: Annotated[
        str,
        typer.Option(
            help="The engine that runs cells, such as local(jobs=2).",
            autocompletion=completion.plugins_of("engines"),
        ),
    ] = "local",
    device: Device = "auto",
    slots: Annotated[
        int, typer.Option("--slots-per-gpu", help="How many cells share a GPU.", min=1)
    ] = 1,
    shard: Annotated[
        str | None, typer.Option(help="Run one part of the cells: 3/8 is the third of eight parts.")
    ] = None,
    checkpoint: Annotated[
        float,
        typer.Option(help="Minutes between checkpoints of a cell; 0: only when stopped.", min=0),
    ] = 5.0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard files to OUT/tensorboard.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Try each task, method and loss for a few steps, keep nothing, and exit.",
        ),
    ] = False,
    fail_fast: Annotated[
        bool, typer.Option("--fail-fast", help="Stop at the first cell that fails.")
    ] = False,
    max_failures: Annotated[
        int,
        typer.Option(
            help="Stop once this many cells have failed with one message; 0: never.", min=0
        ),
    ] = MAX_FAILURES,
    cell_minutes: Annotated[
        float,
        typer.Option(
            help="Stop a cell that takes longer, which counts as failed; 0: never.", min=0
        ),
    ] = 0.0,
    cell_gib: Annotated[
        float,
        typer.Option(
            "--cell-gib",
            help="Fail a cell whose process asks for more memory, in GiB; 0: never. Only on Linux.",
            min=0,
        ),
    ] = 0.0,
    add: Annotated[
        bool, typer.Option("--add", help="Put the cells beside another study's, in its folder.")
    ] = False,
    log: Annotated[
        Log, typer.Option(help="auto: progress bars or lines; json: one line per event.")
    ] = Log.auto,
) -> None:
    """Run the cells of a study that have no record yet, and write the board to OUT/board.

    A study with tuning first runs its tuning trials, then the cells of the board.
    Ctrl-C keeps every finished cell on disk, and the same command resumes from there.
    With more seeds or losses, only their cells are run. Several runs on one folder share the work.
    A plugin from outside Triptych is first tried for a few steps with each task and method.
    """
    command = shlex.join(["triptych", *sys.argv[1:]])
    sys.stdout = terminal.Unfailing(sys.stdout)
    with input_errors():
        if tensorboard:
            _require_tensorboard()
        with out.status("Loading the study and its plugins"):
            from harness.run.runner import Interrupted, built_engine, default_folder, run
            from harness.study.hints import require_group

            chosen = study_of(study, tasks, methods, losses, seeds, changes, modality, plugin)
        terminal.warn(chosen.cautions())
        if folder is None:
            folder = default_folder(chosen)
        require_group("engines", engine)
        if dry_run:
            from harness.run.engines import Resources
            from harness.store.provenance import choose_device

            built = built_engine(engine, jobs)
            resources = Resources(
                choose_device(device, elsewhere=built.elsewhere),
                cell_minutes=cell_minutes, cell_gib=cell_gib,
            )  # fmt: skip
            _try_out(chosen, folder, built, resources)
            return
        started = time.monotonic()
        # Treat these signals like Ctrl-C, unless they are ignored, as nohup does.
        for name in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(name) is signal.SIG_DFL:
                signal.signal(name, signal.default_int_handler)
        try:
            several = len(chosen.all_methods) > 1
            with progress(as_json=log is Log.json, methods=several) as listen:
                summary = run(
                    chosen, folder, jobs=jobs, engine=engine, device=device, slots_per_gpu=slots,
                    shard=shard, checkpoint_minutes=checkpoint, tensorboard=tensorboard, add=add,
                    command=command, try_first=True, listen=listen, progress=False,
                    max_failures=1 if fail_fast else max_failures, cell_minutes=cell_minutes,
                    cell_gib=cell_gib,
                )  # fmt: skip
        except Interrupted as stop:
            say(
                f"Stopped. {len(stop.summary.recorded)} of {stop.summary.expected} cells are on "
                f"disk under {folder}. Run the same command again to continue.",
                to=err,
            )
            raise typer.Exit(INTERRUPTED) from None
        seconds = time.monotonic() - started
        outcome.report_lost(summary, folder, command)
        if log is Log.json:
            outcome.report_json(summary, seconds, command)
        else:
            outcome.report(summary, folder, seconds)
            if any(cell.scored == "test" for cell in summary.recorded):
                _conclude(folder)
    if not summary.complete:
        raise typer.Exit(1)


def _try_out(study: "Study", folder: Path, engine: "Engine", resources: "Resources") -> None:
    """Try each combination of the study, report those that fail, and exit with 1 if any did."""
    from harness.run.dry_run import combinations, try_combinations
    from harness.run.estimate import all_cells
    from harness.run.runner import copied_plugins
    from harness.store.records import Store

    cells = combinations(all_cells(study), outside=False)
    with (
        out.status(f"Trying {counted(len(cells), 'combination')}"),
        TemporaryDirectory() as kept_nowhere,
        copied_plugins(study.specs(), Store(kept_nowhere)) as copied,
    ):
        dry_runs = try_combinations(cells, folder, engine, resources, copied=copied)
    outcome.report_dry_runs(dry_runs)
    if dry_runs.lost:
        raise typer.Exit(1)


def _conclude(folder: Path) -> None:
    """Show the board and write its files; the run counts even if that fails."""
    try:
        from harness.cli.board import conclude

        conclude(folder)
    except Exception as error:
        kind = "" if isinstance(error, InputError) else f"{type(error).__name__}: "
        say(f"The board could not be written: {kind}{error}", style="red", to=err, lines=True)
        say("The records are on disk. To write the board:", to=err)
        say(shlex.join(["triptych", "board", str(folder)]), indent=2, verbatim=True, to=err)


@app.command(
    "cell",
    epilog=examples(
        "cell nodes --loss infonce",
        'cell "images(labels=20)" --loss "adnce(mu=0.5)" --seed 3 --save encoders/adnce',
    ),
)
def cell_command(
    task: Annotated[
        str,
        typer.Argument(help="The cell's task.", autocompletion=completion.plugins_of("tasks")),
    ],
    loss: Annotated[
        str,
        typer.Option(
            help="The cell's loss, or untrained, or fixed:REFERENCE.",
            autocompletion=completion.plugins_of("losses"),
        ),
    ],
    method: Annotated[
        str,
        typer.Option(help="The cell's method.", autocompletion=completion.plugins_of("methods")),
    ] = DEFAULT_METHOD,
    seed: Annotated[int, typer.Option(help="The cell's seed.", min=0)] = 0,
    probes: Annotated[
        int, typer.Option(help="How often to score validation during training.", min=0)
    ] = 0,
    scored: Annotated[Scored, typer.Option(help="The split to score at the end.")] = Scored.test,
    folder: Annotated[Path, typer.Option("--out", help="The folder for the record.")] = Path(
        "runs/cell"
    ),
    plugin: Files = None,
    device: Device = "auto",
    save: Annotated[
        Path | None, typer.Option(help="Write the trained encoder to this folder.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the whole record, as it stands in its file.")
    ] = False,
) -> None:
    """Run a single cell and show its scores, and where its record and log are.

    `triptych show` prints this command for any cell of a run. It reproduces the scores.
    """
    with input_errors():
        from harness import plugins
        from harness.core import distributed
        from harness.core.cells import Cell, is_trained
        from harness.run import status
        from harness.run.runner import run_one
        from harness.store.records import Store
        from harness.study.hints import require_group

        register(plugin)
        for group, spec in (("tasks", task), ("methods", method), ("losses", loss)):
            require_group(group, spec, of_cell=True)
        cell = Cell(
            task=plugins.canonical("tasks", task),
            method=plugins.canonical("methods", method),
            loss=plugins.canonical("losses", loss) if is_trained(loss) else loss,
            seed=seed,
            scored=scored.value,
            probes=probes,
        )
        with out.status(escape(str(cell))):
            event = run_one(cell, folder, device=device, save=save or "")
        if distributed.rank() > 0:
            return  # Only the first process of a cell writes its record.
        done, store = event.kind == "done", Store(folder)
        state = status.state_of(store, cell, event.key)
        if not done:  # A worker that was killed has left no failure.
            kind = event.kind if event.kind in status.STATES else "running"
            state = replace(state, state=kind, note=event.reason)
        if as_json:
            one_cell.show_json(store, state)
        else:
            more = {"encoder": str(save or "")}
            if not done:  # The user's own files, which may have been mended, not their copies.
                more["run again"] = shlex.join(["triptych", *sys.argv[1:]])
            one_cell.show(store, state, details=event.details, most=TRACEBACK_LINES, more=more)
    if not done:
        say(one_line(event.reason), start=f"{event.kind}: ", indent=2, style="red", to=err)
        raise typer.Exit(1)


def _require_tensorboard() -> None:
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise InputError(
            "`--tensorboard` needs the package tensorboard, which is not installed: "
            "`pip install 'triptych[tensorboard]'`."
        ) from error
