"""The command line, and the composition root: it alone knows all the parts.

Heavy modules are imported by the command that needs them, so that ``--help`` and
a wrong option answer at once.
"""

import inspect
import io
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table

from harness.errors import InputError

if TYPE_CHECKING:
    from harness.engines import Event
    from harness.runner import Listener, Summary
    from harness.study import Study
    from leaderboards import Leaderboard

app = typer.Typer(
    help="Compare contrastive losses across images, sentences and graphs.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for stream in (sys.stdout, sys.stderr):
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors="replace")  # A terminal without "±" still gets its board.
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)

INTERRUPTED = 130
ROPE = 0.5
LEFT = frozenset({"method", "loss", "verdict", "task", "setting", "stage", "status", "reason",
                  "dataset", "metric", "source"})  # fmt: skip
MOST_ROWS = 60
"""Of a table in the terminal; the files have all."""


class Kind(StrEnum):
    """What ``triptych list`` can list."""

    tasks = "tasks"
    losses = "losses"
    methods = "methods"
    studies = "studies"
    engines = "engines"


@app.command("list")
def list_command(
    kind: Annotated[Kind, typer.Argument(help="What to list.")],
    long: Annotated[
        bool, typer.Option("--long", help="Also the paper, and what goes with what.")
    ] = False,
) -> None:
    """List what is installed, with settings and their defaults."""
    from harness import plugins
    from harness.study import Study, shipped

    with _input_errors():
        if kind is Kind.studies:
            rows = [(name, _study_line(Study.load(name)), [""]) for name in shipped()]
        else:
            fits = _fits(kind) if long else None
            rows = [_plugin_row(kind, name, fits) for name in plugins.names(kind)]
    for name, line, details in rows:
        out.print(f"[bold]{escape(name)}[/bold]  {escape(line)}", soft_wrap=True)
        for detail in filter(None, details):
            out.print(f"    {escape(detail)}", soft_wrap=True, style="dim")


@app.command("run")
def run_command(
    study: Annotated[str, typer.Argument(help="A shipped study's name, or a TOML file's path.")],
    folder: Annotated[
        Path | None, typer.Option("--out", help="Where the records go: runs/STUDY if left out.")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    methods: Annotated[str | None, typer.Option(help="These instead, by commas.")] = None,
    losses: Annotated[str | None, typer.Option(help="These instead, by commas.")] = None,
    seeds: Annotated[int | None, typer.Option(help="How many seeds, from 0.", min=1)] = None,
    jobs: Annotated[
        int | None, typer.Option(help="Worker processes; 0 or left out: one a core.", min=0)
    ] = None,
    engine: Annotated[str, typer.Option(help="Where cells run, such as local(jobs=2).")] = "local",
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Run a study's cells that have no record yet, and show the board.

    A study with a budget first runs its tuning trials, then the cells of the board.
    Ctrl-C leaves every finished cell on disk; the same command goes on from there,
    and with more seeds or losses it adds them.
    """
    with _input_errors():
        with out.status("Loading the study and its plugins"):
            from harness.runner import Interrupted, run

            chosen = _study(study, tasks, methods, losses, seeds)
        if folder is None:
            folder = Path("runs") / chosen.name
        spec = engine if jobs is None else f"{engine}(jobs={jobs})"
        started = time.monotonic()
        for name in (signal.SIGTERM, signal.SIGHUP):  # To stop is to stop as by Ctrl-C,
            if signal.getsignal(name) is signal.SIG_DFL:  # unless nohup says otherwise.
                signal.signal(name, signal.default_int_handler)
        try:
            with _progress() as listen:
                summary = run(chosen, folder, engine=spec, device=device, listen=listen)
        except Interrupted as stop:
            kept = len(stop.summary.done) + len(stop.summary.skipped)
            err.print(
                f"Stopped. {kept} of {stop.summary.expected} cells are on disk under "
                f"{escape(str(folder))}; the same command goes on from there."
            )
            raise typer.Exit(INTERRUPTED) from None
        _report(summary, folder, time.monotonic() - started)
        if any(cell.scored == "test" for cell in (*summary.done, *summary.skipped)):
            _show(_board([folder], None, ROPE, published=False))
    if not summary.complete:
        raise typer.Exit(1)


@app.command("plan")
def plan_command(
    study: Annotated[str, typer.Argument(help="A shipped study's name, or a TOML file's path.")],
    folder: Annotated[
        Path | None, typer.Option("--out", help="Take times from the records there.")
    ] = None,
    tasks: Annotated[str | None, typer.Option(help="Only these, separated by commas.")] = None,
    methods: Annotated[str | None, typer.Option(help="These instead, by commas.")] = None,
    losses: Annotated[str | None, typer.Option(help="These instead, by commas.")] = None,
    seeds: Annotated[int | None, typer.Option(help="How many seeds, from 0.", min=1)] = None,
    jobs: Annotated[int, typer.Option(help="Workers to reckon with.", min=1)] = 2,
    time: Annotated[bool, typer.Option(help="Estimate the time, by a few steps.")] = True,
) -> None:
    """Show a study's cells, their number, and how long they will take; run none of them."""
    with _input_errors():
        from harness import estimate

        chosen = _study(study, tasks, methods, losses, seeds)
        cells = estimate.all_cells(chosen)
        prices = None
        if time:
            with out.status("Timing a few steps") as status:
                prices = estimate.costs(
                    chosen, folder, lambda text: status.update(f"Timing {escape(text)}")
                )
        groups: dict[tuple[str, ...], list[Any]] = {}
        for planned in cells:
            stage = "tuning" if planned.trial is not None else "board"
            group = (stage, planned.cell.task, planned.cell.method, planned.label)
            groups.setdefault(group, []).append(planned)
        table = _table("stage", "task", "method", "loss", ">trials", ">seeds", ">cells", ">time")
        for row, members in groups.items():
            own = [member.cell for member in members]
            trials = len({member.trial for member in members if member.trial is not None})
            table.add_row(
                *(escape(text) for text in row),
                str(trials or ""),
                str(len({cell.seed for cell in own})),
                str(len(own)),
                _clock(estimate.total(own, prices)) if prices else "",
            )
        _print(table)
        tuning = sum(planned.trial is not None for planned in cells)
        out.print(f"{len(cells)} cells, {tuning} of them tuning trials.")
        if prices is not None:
            seconds = estimate.total((planned.cell for planned in cells), prices)
            known = sum(cost.measured for cost in prices.values())
            source = f"from {known} records" if known else "from a few steps of each task here"
            out.print(
                f"About {_clock(seconds / jobs)} with {jobs} workers "
                f"({_clock(seconds)} of one), {source}."
            )


@app.command("board")
def board_command(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs, put together.")],
    baseline: Annotated[str | None, typer.Option(help="The loss to compare with.")] = None,
    rope: Annotated[
        float, typer.Option(help="Differences below so many points are equivalent.")
    ] = ROPE,
    published: Annotated[
        bool, typer.Option("--published", help="Add rows from papers, apart and unranked.")
    ] = False,
    pairing: Annotated[
        bool, typer.Option("--pairing", help="Show what pairing by seed buys, and stop.")
    ] = False,
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

    Without options all of them go to FOLDER/board: leaderboard.csv, overall.csv,
    records.csv, leaderboard.md, leaderboard.tex and board.html. With --csv, --markdown,
    --latex, --html or --tidy only those are written, where you say.
    """
    import leaderboards
    from harness.records import write_atomically

    with _input_errors():
        board = _board(folders, baseline, rope, published=published)
        if pairing:
            _show_pairing(board)
            return
        title = " + ".join(folder.resolve().name for folder in folders)
        one: list[tuple[Path | None, Callable[[], str]]] = [
            (csv, lambda: leaderboards.to_csv(board)),
            (markdown, lambda: leaderboards.to_markdown(board)),
            (latex, lambda: leaderboards.to_latex(board)),
            (html, lambda: leaderboards.to_html(board, title=title)),
            (tidy, lambda: leaderboards.records_csv(board)),
        ]
        _show(board)
        if to is None and any(path is not None for path, _ in one):
            for path, text in one:
                if path is not None:
                    write_atomically(path, text())
            return
        into = to or folders[0] / "board"
        for name, content in leaderboards.files(board, title=title):
            write_atomically(into / name, content)
        out.print(f"Written to {escape(str(into))}; open {escape(str(into / 'board.html'))}")


def _board(
    folders: list[Path], baseline: str | None, rope: float, *, published: bool
) -> "Leaderboard":
    """Return the board of all records in ``folders``, against the study's own baseline."""
    import leaderboards
    from harness.table import load_records

    records = load_records(*folders)
    if baseline is not None:
        baseline = _label(baseline, set(records["loss"]))
    papers = leaderboards.published_rows() if published else None
    try:
        return leaderboards.leaderboard(records, baseline, rope=rope, published=papers)
    except ValueError as error:
        raise InputError(str(error)) from error


def _label(loss: str, labels: set[str]) -> str:
    """Return the row that ``loss`` stands for: a label, or a spec however it is written."""
    from harness import plugins
    from harness.study import TUNED

    if loss in labels:
        return loss
    spec = plugins.canonical("losses", loss.removesuffix(TUNED))
    return next((label for label in (spec, spec + TUNED) if label in labels), spec)


def _show(board: "Leaderboard") -> None:
    """Print the board, a table a task and metric, and what it comes to."""
    import leaderboards

    out.print("Test scores in points: mean and deviation over seeds", style="bold")
    for title, text in leaderboards.sections(board):
        numbers = [c if c in LEFT else f">{c}" for c in text]
        table = _table(*numbers, title=title)
        for row in text.head(MOST_ROWS).to_numpy().tolist():
            table.add_row(*(escape(cell) for cell in row))
        _print(table)
        if len(text) > MOST_ROWS:
            out.print(f"and {len(text) - MOST_ROWS} more")
    out.print("difference: to the baseline, mean over paired seeds with its 95% t interval;")
    out.print("p: paired t-test, Holm's correction over losses; rank: 1 is best.")
    for line in leaderboards.sentences(board):
        out.print(escape(line), soft_wrap=True)
    for note in board.notes:
        err.print(escape(note), style="yellow", soft_wrap=True)


def _show_pairing(board: "Leaderboard") -> None:
    """Print the variances of the difference, paired and unpaired."""
    import leaderboards

    title = f"Variance of the difference to {board.baseline}, in points squared"
    names = ("scope", "metric", "loss", ">seeds", ">paired", ">unpaired", ">ratio")
    table = _table(*names, title=title)
    for row in leaderboards.pairing_table(board).to_dict("records"):
        table.add_row(
            *(escape(str(row[key])) for key in ("scope", "metric", "loss", "seeds")),
            f"{row['paired_variance']:.4g}",
            f"{row['unpaired_variance']:.4g}",
            f"{row['ratio']:.1f}x",
        )
    _print(table)
    out.print("unpaired: the sum of both variances over seeds, as of runs that share nothing;")
    out.print("ratio: how many times more seeds the same precision would take unpaired.")


def _table(*columns: str, title: str | None = None) -> Table:
    """Return an empty table; a column whose name starts with ">" is of numbers."""
    table = Table(
        title=escape(title) if title else None, title_justify="left", title_style="bold",
        box=SIMPLE_HEAD, show_edge=False,
    )  # fmt: skip
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    for column in columns:
        number = column.startswith(">")
        table.add_column(
            escape(column.removeprefix(">")),
            justify="right" if number else "left",
            no_wrap=number,
            overflow="fold",
            min_width=None if number else 9,
        )
    return table


def _print(table: Table) -> None:
    if out.is_terminal:
        out.print(table)
    else:  # A file or a pipe has no width: nothing is folded or cut.
        out.print(table, width=1000, soft_wrap=True)


def _report(summary: "Summary", folder: Path, seconds: float) -> None:
    parts = [f"{len(summary.done)} cells run in {_clock(seconds)}"]
    if summary.skipped:
        parts.append(f"{len(summary.skipped)} had a record already")
    out.print(", ".join(parts) + f". Records: {escape(str(folder))}/records")
    if summary.diverged:
        err.print(f"{len(summary.diverged)} cells diverged, and would again:", style="yellow")
        for cell, reason in summary.diverged.items():
            err.print(f"  {escape(str(cell))}: {escape(reason)}", soft_wrap=True)
    if summary.failed:
        err.print(f"{len(summary.failed)} cells failed:", style="bold red")
        for cell, reason in summary.failed.items():
            err.print(f"  {escape(str(cell))}: {escape(reason)}", soft_wrap=True)
        err.print(
            f"Details: {escape(str(folder))}/failures. "
            "The same command tries the failed cells again.",
            soft_wrap=True,
        )
    for row, reason in summary.waiting.items():
        err.print(f"Not chosen: {escape(row)}: {escape(reason)}.", style="red", soft_wrap=True)


@contextmanager
def _progress() -> "Iterator[Listener]":
    """Show bars in a terminal, plain lines elsewhere."""
    started = time.monotonic()

    if not out.is_terminal:

        def print_line(event: "Event", summary: "Summary") -> None:
            if event.kind == "step":
                return
            line = (
                f"[{summary.settled:>{len(str(summary.expected))}}/{summary.expected}] "
                f"{_clock(time.monotonic() - started)}  {event.kind:<7}  {event.cell}"
                + (f": {event.reason}" if event.reason else "")
            )
            with suppress(OSError):  # Nobody reads any more: that does not stop the run.
                print(line, flush=True)

        yield print_line
        return

    bars = Progress(
        TextColumn(
            "{task.description}", table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
        ),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[note]}", table_column=Column(no_wrap=True)),
        console=out,
        transient=True,
        expand=True,
    )
    lines: dict[int, tuple[TaskID, float]] = {}
    overall = bars.add_task("cells", total=None, note="planning")

    def draw(event: "Event", summary: "Summary") -> None:
        now = time.monotonic()
        settled = summary.settled
        fresh = len(summary.done)
        left = (now - started) / fresh * (summary.expected - settled) if fresh else None
        note = f"{settled}/{summary.expected}"
        note += f", {len(summary.failed)} failed" if summary.failed else ""
        note += f", {len(summary.diverged)} diverged" if summary.diverged else ""
        note += "" if left is None else f", about {_clock(left)} left"
        bars.update(overall, completed=settled, total=summary.expected, note=note)
        if event.kind == "started":
            if event.worker in lines:
                bars.remove_task(lines.pop(event.worker)[0])
            line = bars.add_task(f"  {escape(str(event.cell))}", total=None, note="loading")
            lines[event.worker] = (line, now)
        elif event.kind == "step":
            line, begun = lines[event.worker]
            if event.step == event.steps:
                note = "evaluating"
            else:
                rest = (now - begun) / event.step * (event.steps - event.step)
                note = f"{event.step}/{event.steps} loss {event.loss:.4g}, {_clock(rest)} left"
            bars.update(line, completed=event.step, total=event.steps, note=note)
        elif event.worker in lines:
            bars.remove_task(lines.pop(event.worker)[0])
            if event.kind in ("failed", "diverged"):
                out.print(
                    f"{event.kind}: {escape(str(event.cell))}: {escape(event.reason)}", style="red"
                )

    with bars:
        yield draw


@contextmanager
def _input_errors() -> Iterator[None]:
    """Print what the user can put right without a traceback, and exit with 2."""
    try:
        yield
    except (InputError, OSError) as error:
        err.print(escape(str(error)), style="red", soft_wrap=True)
        raise typer.Exit(2) from error


def _plugin_row(
    kind: Kind, name: str, fits: dict[str, list[str]] | None
) -> tuple[str, str, list[str]]:
    """Return a plugin's name, the first line of its docstring, and details to print below.

    A plugin that cannot be loaded has its error in their place: the others are listed.
    """
    from harness import plugins

    try:
        plugin = plugins.load(kind, name)
        settings = plugins.settings(kind, name)
    except InputError as error:
        return name, f"cannot be used: {error}", []
    text = inspect.getdoc(plugin) or ""
    details = [", ".join(f"{key}={value!r}" for key, value in settings.items())]
    if fits is not None:
        _, _, papers = text.partition("References:")
        details.append(" ".join(papers.split()))
        if pairing := getattr(plugin, "pairing", None):
            details.append(f"pairing: {pairing}")
        details += fits.get(name, [])
    return name, text.partition("\n")[0], details


def _fits(kind: Kind) -> dict[str, list[str]]:
    """Return for each loss the methods, and for each method the losses, that go with it."""
    from harness import plugins
    from harness.methods.base import misfit

    if kind not in (Kind.losses, Kind.methods):
        return {}
    built: dict[str, dict[str, Any]] = {"losses": {}, "methods": {}}
    for group, made in built.items():
        for name in plugins.names(group):
            with suppress(InputError):  # Its own row says why.
                made[name] = plugins.build(group, name)

    pairs = [
        (method, loss)
        for method, how in built["methods"].items()
        for loss, what in built["losses"].items()
        if misfit(how, what) is None
    ]
    if kind is Kind.losses:
        return {
            loss: ["methods: " + (", ".join(m for m, other in pairs if other == loss) or "none")]
            for loss in built["losses"]
        }
    return {
        method: [
            "losses: " + (", ".join(loss for other, loss in pairs if other == method) or "none"),
            "tasks: those with labels" if how.needs_labels else "",
        ]
        for method, how in built["methods"].items()
    }


def _study(
    name: str, tasks: str | None, methods: str | None, losses: str | None, seeds: int | None
) -> "Study":
    """Return the study of that name, with what the options put in its place."""
    from harness import plugins
    from harness.study import Study

    given = {"tasks": tasks, "methods": methods, "losses": losses}
    specs = {k: plugins.split_specs(v) for k, v in given.items() if v is not None}
    return Study.load(name).but(seeds=seeds, **specs)


def _study_line(study: "Study") -> str:
    """Return how many cells a study has, and of what."""
    assert not isinstance(study.seeds, int)
    trials = len(study.trials())
    finals = study.size() - trials
    parts = [
        f"{count} {one if count == 1 else many}"
        for count, one, many in (
            (len(study.tasks), "task", "tasks"),
            (len(study.all_methods), "method", "methods"),
            (len(study.losses) + 1, "loss", "losses"),
            (len(study.seeds), "seed", "seeds"),
        )
    ]
    budget = f", after {trials} cells of tuning" if trials else ""
    return f"{finals} cells: {' x '.join(parts)}{budget}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
