"""The command line, and the composition root: it alone knows all the parts.

Heavy modules are imported by the command that needs them, so that ``--help`` and
a wrong option answer at once.
"""

import shlex
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness import terminal
from harness.errors import InputError, unknown
from harness.terminal import clock, err, escape, out

if TYPE_CHECKING:
    from harness.data import Source
    from harness.study import Study
    from leaderboards import Leaderboard

app = typer.Typer(
    help="Compare contrastive losses across images, sentences and graphs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(
    help="Data sets: what is here, and how to get the rest.", no_args_is_help=True
)
app.add_typer(data_app, name="data")
INTERRUPTED = 130
MOST_SENTENCES = 12
MOST_ROWS = 60
"""Rows of a table that the terminal shows; the files have all of them."""


class Log(StrEnum):
    """How a run reports its progress."""

    auto = "auto"
    json = "json"


class Scored(StrEnum):
    """The split that a cell is scored on."""

    test = "test"
    validation = "validation"


class Kind(StrEnum):
    """What ``triptych list`` can list."""

    tasks = "tasks"
    losses = "losses"
    methods = "methods"
    studies = "studies"
    engines = "engines"


# Options that several commands take.
StudyName = Annotated[str, typer.Argument(help="A shipped study's name, or a TOML file's path.")]
Only = Annotated[str | None, typer.Option(help="Only these, separated by commas.")]
Instead = Annotated[str | None, typer.Option(help="These instead, by commas.")]
Seeds = Annotated[int | None, typer.Option(help="How many seeds, from 0.", min=1)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:1.")]
EveryCell = Annotated[bool, typer.Option("--cells", help="Also every cell, a line each.")]


@app.command("list")
def list_command(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    long: Annotated[
        bool, typer.Option("--long", help="Also ranges, the paper, and what goes with what.")
    ] = False,
) -> None:
    """List what is installed, with settings and their defaults."""
    from harness.shipped import description, shipped

    with _input_errors():
        if kind is Kind.studies:
            rows = [
                (name, *_described(name, description(file), long=long))
                for name, file in shipped().items()
            ]
        else:
            from harness import listing, plugins

            fits = listing.fits(kind) if long else None
            rows = [listing.plugin_row(kind, name, fits) for name in plugins.names(kind)]
    for name, line, details in rows:
        out.print(f"[bold]{escape(name)}[/bold]  {escape(line)}", soft_wrap=True)
        for detail in filter(None, details):
            out.print(f"    {escape(detail)}", soft_wrap=True, style="dim")


def _described(study: str, text: str, *, long: bool) -> tuple[str, list[str]]:
    """Return a study's description: its first sentence, or if ``long`` all of it and its size.

    The size needs every plugin that the study names, which takes seconds to import.
    """
    if not long:
        return text.partition(". ")[0].removesuffix(".") + ".", []
    from harness import listing
    from harness.study import Study

    return text, [listing.study_line(Study.load(study))]


@app.command("run")
def run_command(
    study: StudyName,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where the records go: runs/STUDY if left out.")
    ] = None,
    tasks: Only = None,
    methods: Instead = None,
    losses: Instead = None,
    seeds: Seeds = None,
    jobs: Annotated[
        int | None, typer.Option(help="Worker processes; 0 or left out: one a core.", min=0)
    ] = None,
    engine: Annotated[str, typer.Option(help="Where cells run, such as local(jobs=2).")] = "local",
    device: Device = "auto",
    slots: Annotated[
        int, typer.Option("--slots-per-gpu", help="Cells that share a GPU at a time.", min=1)
    ] = 1,
    shard: Annotated[
        str | None, typer.Option(help="3/8: only the third of eight parts of the cells.")
    ] = None,
    checkpoint: Annotated[
        float,
        typer.Option(help="Minutes between a long cell's checkpoints; 0: when stopped.", min=0),
    ] = 5.0,
    tensorboard: Annotated[
        bool, typer.Option("--tensorboard", help="Write TensorBoard files to OUT/tensorboard.")
    ] = False,
    log: Annotated[
        Log, typer.Option(help="auto: bars or lines; json: a line an event.")
    ] = Log.auto,
) -> None:
    """Run a study's cells that have no record yet, and show the board.

    A study with a budget first runs its tuning trials, then the cells of the board.
    Ctrl-C leaves every finished cell on disk; the same command resumes from there.
    With more seeds or losses it adds their cells. Several runs on one folder share the work.
    """
    command = shlex.join(["triptych", *sys.argv[1:]])
    sys.stdout = terminal.Unfailing(sys.stdout)
    with _input_errors():
        if tensorboard:
            _require_tensorboard()
        with out.status("Loading the study and its plugins"):
            from harness import plugins
            from harness.runner import Interrupted, default_folder, run

            chosen = _study(study, tasks, methods, losses, seeds)
        terminal.warn(chosen.cautions())
        if folder is None:
            folder = default_folder(chosen)
        given = {} if jobs is None else {"jobs": jobs}
        spec = plugins.with_settings("engines", engine, given)
        started = time.monotonic()
        for name in (signal.SIGTERM, signal.SIGHUP):  # Treat as Ctrl-C,
            if signal.getsignal(name) is signal.SIG_DFL:  # unless it is ignored, as by nohup.
                signal.signal(name, signal.default_int_handler)
        try:
            with terminal.progress(as_json=log is Log.json) as listen:
                summary = run(
                    chosen, folder, engine=spec, device=device, slots_per_gpu=slots, shard=shard,
                    checkpoint_minutes=checkpoint, tensorboard=tensorboard, command=command,
                    listen=listen,
                )  # fmt: skip
        except Interrupted as stop:
            err.print(
                f"Stopped. {len(stop.summary.recorded)} of {stop.summary.expected} cells are on "
                f"disk under {escape(str(folder))}; the same command goes on from there.",
                soft_wrap=True,
            )
            raise typer.Exit(INTERRUPTED) from None
        seconds = time.monotonic() - started
        terminal.report_losses(summary, folder, command)
        if log is Log.json:
            terminal.report_json(summary, seconds, command)
        else:
            terminal.report(summary, folder, seconds)
            if any(cell.scored == "test" for cell in summary.recorded):
                _show(_board([folder], None, None, published=False))
    if not summary.complete:
        raise typer.Exit(1)


@app.command("cell")
def cell_command(
    task: Annotated[str, typer.Argument(help="Its task.")],
    loss: Annotated[str, typer.Option(help="Its loss, untrained, or fixed:REFERENCE.")],
    method: Annotated[str, typer.Option(help="Its method.")] = "siamese",
    seed: Annotated[int, typer.Option(help="Its seed.", min=0)] = 0,
    probes: Annotated[int, typer.Option(help="Validation scores on the way.", min=0)] = 0,
    scored: Annotated[Scored, typer.Option(help="On which split at the end.")] = Scored.test,
    folder: Annotated[Path, typer.Option("--out", help="Where its record goes.")] = Path(
        "runs/cell"
    ),
    device: Device = "auto",
    save: Annotated[
        Path | None, typer.Option(help="Write the trained encoder to this folder.")
    ] = None,
) -> None:
    """Run one cell alone, into a folder of its own, and show its record.

    `triptych show` prints this command for any cell of a run: it gives the same scores.
    """
    with _input_errors():
        from harness import plugins, ranks
        from harness.cells import Cell, is_trained
        from harness.runner import run_one

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
        if event.kind != "done":
            err.print(f"{event.kind}: {escape(event.reason)}", style="red", soft_wrap=True)
            raise typer.Exit(1)
        if ranks.rank() > 0:
            return  # Only the first process of a cell writes its record.
        from harness.identity import identify
        from harness.records import Store

        terminal.show_text(Store(folder).record_path(cell, identify(cell).key).read_text("utf-8"))


@app.command("status")
def status_command(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Check every file in it; exit with 1 on a fault.")
    ] = False,
    cells: EveryCell = False,
) -> None:
    """Show how far a run has come: done, running, failed, diverged, damaged, to do."""
    from harness import status
    from harness.records import Store

    with _input_errors():
        store = Store(folder)
        found = status.states(store)
        terminal.show_states(found, store.study().get("command", ""), every=cells)
        stale = status.upgrade(store)
        if stale is not None:
            out.print(
                f"{stale.cells} of these cells were done by Triptych {stale.version}, in "
                f"{clock(stale.seconds)} of one worker. Today's version draws other random "
                "numbers: `run` makes them anew, and the board shows the old ones until then.",
                soft_wrap=True,
            )
        wrong = status.faults(store) if verify else []
        for line in wrong:
            err.print(escape(line), style="red", soft_wrap=True)
        if verify and not wrong:
            out.print("Every file in it is whole.")
    if wrong or any(state.state == "damaged" for state in found):
        raise typer.Exit(1)


@app.command("show")
def show_command(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.")],
    cell: Annotated[str, typer.Argument(help="The start of its key, or words of its label.")],
) -> None:
    """Show one cell's record in full, and the command that reproduces that cell alone."""
    from harness import status
    from harness.records import Store, read_record

    with _input_errors():
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
        err.print(f"alone: {escape(status.command(found.cell, device))}", soft_wrap=True)


@app.command("plan")
def plan_command(
    study: StudyName,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where it runs: take times from its records.")
    ] = None,
    tasks: Only = None,
    methods: Instead = None,
    losses: Instead = None,
    seeds: Seeds = None,
    jobs: Annotated[int, typer.Option(help="Workers to reckon with.", min=1)] = 2,
    cells: EveryCell = False,
    timed: Annotated[
        bool, typer.Option("--time/--no-time", help="Estimate the time, by a few steps.")
    ] = True,
) -> None:
    """Show a study's cells, their number, and how long they will take; run none of them."""
    with _input_errors():
        from harness import estimate

        chosen = _study(study, tasks, methods, losses, seeds)
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
            out.print(f"{cell} ({cell.scored})", markup=False, soft_wrap=True)
        tuning = sum(cell.scored == "validation" for cell in every)
        out.print(f"{len(every)} cells, {tuning} of them tuning trials.")
        if prices is None:
            return
        if tuning:
            out.print("Settings that are yet to be chosen are shown as the first trial's.")
        left = estimate.left(chosen, folder)
        seconds = estimate.total(left, prices)
        known = sum(cost.records for cost in prices.values())
        source = f"from {known} records" if known else "from a few steps of each task here"
        out.print(
            f"About {clock(seconds / jobs)} with {jobs} workers ({clock(seconds)} of one) for "
            f"the {len(left)} that have no record, {source}.",
            soft_wrap=True,
        )


@app.command("board")
def board_command(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs, put together.")],
    baseline: Annotated[str | None, typer.Option(help="The loss to compare with.")] = None,
    rope: Annotated[
        float | None, typer.Option(help="Differences below so many points are equivalent: .5.")
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="Add rows from papers, apart and unranked.")
    ] = False,
    pairing: Annotated[
        bool, typer.Option("--pairing", help="Show what pairing by seed buys, and stop.")
    ] = False,
    diagnostics: Annotated[
        str | None, typer.Option(help="Add these as columns, by commas, such as alignment.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="Write all files there: FOLDER/board if left out.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the board as CSV.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the board as Markdown.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the board as LaTeX.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the board as one HTML page.")] = None,
    tidy: Annotated[Path | None, typer.Option(help="Write one row a record, as CSV.")] = None,
) -> None:
    """Show the leaderboard of one run or several, and write it to files.

    Without options all files go to FOLDER/board: leaderboard.csv, overall.csv,
    records.csv, pairing.csv, curves.csv, trials.csv, diagnostics.csv, settings.csv,
    published.csv, leaderboard.md, leaderboard.tex and board.html. With --csv, --markdown,
    --latex, --html or --tidy only those are written, to the paths you give. Add --to to
    write all the others there.
    """
    import leaderboards
    from harness.files import write_atomically

    with _input_errors():
        asked = [name.strip() for name in (diagnostics or "").split(",") if name.strip()]
        board = _board(folders, baseline, rope, published=published, diagnostics=asked)
        if pairing:
            _show_pairing(board)
            return
        _show(board)
        title = " + ".join(folder.resolve().name for folder in folders)
        named = {
            "leaderboard.csv": csv,
            "leaderboard.md": markdown,
            "leaderboard.tex": latex,
            "board.html": html,
            "records.csv": tidy,
        }
        every = to is not None or not any(named.values())
        into = to or folders[0] / "board"
        for name, text in leaderboards.files(board, title=title):
            path = named.get(name) or (into / name if every else None)
            if path is not None:
                write_atomically(path, text())
        if every:
            out.print(f"Written to {into}; open {into / 'board.html'}", markup=False)


def _board(
    folders: list[Path],
    baseline: str | None,
    rope: float | None,
    *,
    published: bool,
    diagnostics: Sequence[str] = (),
) -> "Leaderboard":
    """Return the board of all records in ``folders``, against ``baseline`` or the study's own."""
    import leaderboards
    from harness.table import load_records

    records = load_records(*folders)
    if baseline is not None:
        baseline = _label(baseline, set(records["loss"]))
    papers = leaderboards.published_rows() if published else None
    given = {} if rope is None else {"rope": rope}
    try:
        return leaderboards.leaderboard(
            records, baseline, published=papers, diagnostics=diagnostics, **given
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def _label(loss: str, labels: set[str]) -> str:
    """Return ``loss`` if it is a row's label, else its spec in canonical form."""
    from harness import plugins
    from harness.cells import TUNED, is_trained

    if loss in labels or not is_trained(loss):
        return loss
    try:
        return plugins.canonical("losses", loss.removesuffix(TUNED))
    except InputError as error:
        raise unknown("row", loss, labels) from error


def _show(board: "Leaderboard") -> None:
    """Print the board as one table per task and metric, then its conclusions."""
    import leaderboards

    board = leaderboards.with_short_names(board)
    out.print("Test scores in points: mean and deviation over seeds", style="bold")
    for section in leaderboards.sections(board):
        rows = section.table
        out.print()
        table = terminal.table(map(str, rows), numbers=section.numbers, title=section.title)
        for row in rows.head(MOST_ROWS).to_numpy().tolist():
            table.add_row(*(escape(cell) for cell in row))
        terminal.show(table)
        if len(rows) > MOST_ROWS:
            out.print(f"and {len(rows) - MOST_ROWS} more")
    out.print("\ndifference: to the baseline, mean over paired seeds with its 95% t interval;")
    out.print("p: paired t-test, Holm's correction over losses; rank: 1 is best.")
    for lines in (leaderboards.summary(board), leaderboards.sentences(board)):
        for line in lines[:MOST_SENTENCES]:
            out.print(escape(line), soft_wrap=True)
        if len(lines) > MOST_SENTENCES:
            out.print(f"and {len(lines) - MOST_SENTENCES} more, all of them in leaderboard.md")
    for note in board.notes:
        err.print(escape(note.text), style="yellow", soft_wrap=True)


def _show_pairing(board: "Leaderboard") -> None:
    """Print the variances of the difference, paired and unpaired."""
    import leaderboards

    numbers = ("seeds", "paired", "unpaired", "ratio")
    method = ["method"] if board.rows["method"].nunique() > 1 else []
    names = ("scope", "metric", *method, "loss")
    title = f"Variance of the difference to {board.baseline}, in points squared"
    table = terminal.table((*names, *numbers), numbers=numbers, title=title)
    for row in leaderboards.pairing_table(board).to_dict("records"):
        table.add_row(
            *(escape(str(row[key])) for key in (*names, "seeds")),
            f"{row['paired_variance']:.4g}",
            f"{row['unpaired_variance']:.4g}",
            f"{row['ratio']:.1f}x" if row["ratio"] == row["ratio"] else "",  # NaN: zero variance.
        )
    terminal.show(table)
    out.print("unpaired: the sum of both variances over seeds, as of runs that share nothing;")
    out.print("ratio: how many times more seeds the same precision would take unpaired.")


def _require_tensorboard() -> None:
    try:
        import tensorboard  # noqa: F401
    except ImportError as error:
        raise InputError(
            "`--tensorboard` needs the package tensorboard, which is not installed: "
            "`pip install 'triptych[tensorboard]'`."
        ) from error


@contextmanager
def _input_errors() -> Iterator[None]:
    """Print errors that the user can fix, without a traceback, and exit with status 2."""
    try:
        yield
    except (InputError, OSError) as error:
        err.print(escape(str(error)), style="red", soft_wrap=True)
        raise typer.Exit(2) from error


@data_app.command("list")
def data_list() -> None:
    """List the data sets that tasks know by name: where each is, its size and its licence."""
    from harness import data, listing

    with _input_errors():
        known = listing.sources()
        table = terminal.table(("data set", "modality", "here", "MB", "licence"), numbers=("MB",))
        for name, source in known.items():
            table.add_row(
                escape(name),
                escape(source.modality),
                escape(_where(source)),
                f"{source.size / 1e6:,.1f}" if source.size else "",
                escape(source.licence),
            )
        terminal.show(table)
        out.print(f"Looked in {escape(', '.join(map(str, data.roots())))}.", soft_wrap=True)
        out.print("`triptych data show NAME` says more of one.", soft_wrap=True)


def _where(source: "Source") -> str:
    from harness import data

    here = data.here(source)
    if here is None:
        return "no" if source.download is None and source.embedded is None else "to fetch"
    if data.cache_folder() in here.parents:
        return "in the cache"
    found = (root for root in data.roots() if root in here.parents)
    return next((str(here.relative_to(root)) for root in found), "installed")


@data_app.command("show")
def data_show(name: Annotated[str, typer.Argument(help="The data set.")]) -> None:
    """Show one data set: what it holds, its origin, its licence, its checksum, its layouts."""
    from harness import data, listing

    with _input_errors():
        source = listing.source(name)
        here = data.here(source)
        lines = {
            "holds": source.about,
            "from": source.origin,
            "licence": source.licence,
            "here": here or "no",
            "sha256": data.fingerprint(here) if here else "",
            "read from": ", ".join(source.places),
        }
    for key, value in lines.items():
        if value:
            out.print(f"{key:<10} {escape(str(value))}", soft_wrap=True)


@data_app.command("fetch")
def data_fetch(
    names: Annotated[
        list[str], typer.Argument(help="The data sets; `embedded` for what needs pip alone.")
    ],
) -> None:
    """Download data sets into the cache, once; everything works offline afterwards."""
    from harness import data, listing

    failed = False
    with _input_errors():
        embedded = [source for source in listing.sources().values() if source.embedded is not None]
        groups = [embedded if name == "embedded" else [listing.source(name)] for name in names]
        chosen = [source for group in groups for source in group]
    for source in chosen:
        try:
            with out.status(f"Fetching {escape(source.name)}"):
                path = data.need(source)
        except InputError as error:
            err.print(escape(str(error)), style="red", soft_wrap=True)
            failed = True
            continue
        out.print(f"{escape(source.name)}: {escape(str(path))}", soft_wrap=True)
    if failed:
        raise typer.Exit(2)


@data_app.command("check")
def data_check(
    names: Annotated[
        list[str] | None, typer.Argument(help="These alone; all that are here if left out.")
    ] = None,
) -> None:
    """Check the pinned checksums of the data sets that are here, and print each set's checksum."""
    from harness import data, listing

    wrong = False
    with _input_errors():
        chosen = [listing.source(n) for n in names] if names else list(listing.sources().values())
        for source in chosen:
            path = data.here(source)
            if path is None:
                if names:
                    raise data.missing(source, None, "nothing to check")
                continue
            found = data.faults(source, path)
            if path.name == source.wheel:
                data.need(source)  # This checks the wheel.
            wrong = wrong or bool(found)
            pinned = "as pinned" if source.files or path.name == source.wheel else "not pinned"
            said = (
                "; ".join(found) or f"sha256 {data.fingerprint(path, remembered=False)} ({pinned})"
            )
            out.print(f"{escape(source.name)}: {escape(said)}", soft_wrap=True)
    if wrong:
        raise typer.Exit(1)


def _study(
    name: str, tasks: str | None, methods: str | None, losses: str | None, seeds: int | None
) -> "Study":
    """Return the study of that name, changed as the options say."""
    from harness import plugins
    from harness.study import Study

    given = {"tasks": tasks, "methods": methods, "losses": losses}
    specs = {k: plugins.split_specs(v) for k, v in given.items() if v is not None}
    return Study.load(name).but(seeds=seeds, **specs)


if __name__ == "__main__":
    sys.exit("Run `triptych`, or `python -m triptych`: this module is imported by both.")
