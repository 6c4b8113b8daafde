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
    import pandas as pd

    from harness.engines import Event
    from harness.runner import Listener, Summary
    from harness.study import Study

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
    folder: Annotated[Path, typer.Option("--out", help="Where the records go.")],
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

    Ctrl-C leaves every finished cell on disk; the same command goes on from there,
    and with more seeds or losses it adds them.
    """
    with _input_errors():
        with out.status("Loading the study and its plugins"):
            from harness import plugins
            from harness.runner import Interrupted, run
            from harness.study import Study

            given = {"tasks": tasks, "methods": methods, "losses": losses}
            specs = {k: plugins.split_specs(v) for k, v in given.items() if v is not None}
            chosen = Study.load(study).but(seeds=seeds, **specs)
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
                f"Stopped. {kept} of {len(stop.summary.cells)} cells are on disk under "
                f"{escape(str(folder))}; the same command goes on from there."
            )
            raise typer.Exit(INTERRUPTED) from None
        _report(summary, folder, time.monotonic() - started)
        if summary.done or summary.skipped:
            _show(_board(folder, _records(folder), None))
    if summary.failed:
        raise typer.Exit(1)


@app.command("board")
def board_command(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.")],
    baseline: Annotated[str | None, typer.Option(help="The loss to compare with.")] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the board as CSV.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the board as Markdown.")] = None,
    tidy: Annotated[Path | None, typer.Option(help="Write one row a score, as CSV.")] = None,
) -> None:
    """Show the leaderboard of a run, and write it to files."""
    import leaderboards
    from harness.records import write_atomically

    with _input_errors():
        records = _records(folder)
        board = _board(folder, records, baseline)
        writers: list[tuple[Path | None, Callable[[], str]]] = [
            (csv, lambda: leaderboards.to_csv(board)),
            (markdown, lambda: leaderboards.to_markdown(board)),
            (tidy, lambda: leaderboards.to_csv(leaderboards.tidy(records))),
        ]
        for path, text in writers:
            if path is not None:
                write_atomically(path, text())
        _show(board)


def _records(folder: Path) -> "pd.DataFrame":
    """Return all scores in ``folder``; say which files and records were left out."""
    from harness.table import load_records

    records = load_records(folder)
    for note in records.attrs["notes"]:
        err.print(escape(note), style="yellow", soft_wrap=True)
    return records[(records["stage"] == "final") & (records["step"] == records["steps"])]


def _board(folder: Path, records: "pd.DataFrame", baseline: str | None) -> "pd.DataFrame":
    """Return the board of ``records``, against the folder's own baseline if none is named."""
    import leaderboards
    from harness import plugins
    from harness.records import Store

    losses = set(records["loss"])
    if baseline is None:
        study = Store(folder).study()
        wanted = [study.get("baseline"), "infonce", *study.get("losses", [])]
        baseline = next((loss for loss in wanted if loss in losses), None)
    elif baseline not in losses:
        baseline = plugins.canonical("losses", baseline)
    try:
        return leaderboards.leaderboard(records, baseline)
    except ValueError as error:
        raise InputError(str(error)) from error


def _show(board: "pd.DataFrame") -> None:
    """Print the board as a table, a rule between tasks."""
    import leaderboards

    text = leaderboards.readable(board)
    title = "Test scores in points: mean and deviation over seeds"
    if text["seeds"].nunique() == 1:  # Said once, it leaves the table 80 columns wide.
        title += f" (seeds: {text.pop('seeds').iloc[0]})"
    table = Table(
        title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, show_edge=False
    )
    table.padding, table.pad_edge = (0, 1, 0, 0), False
    numbers = ("mean ± std", "difference [95%]", "seeds", "rank")
    for column in text:
        number = column in numbers
        table.add_column(
            escape(str(column)),
            justify="right" if number else "left",
            no_wrap=number,
            overflow="fold",
            min_width=None if number else 9,
        )
    rows = text.to_numpy().tolist()
    for i, row in enumerate(rows):
        last = i + 1 == len(rows) or rows[i + 1][:2] != row[:2]
        table.add_row(*(escape(cell) for cell in row), end_section=last)
    if out.is_terminal:
        out.print(table)
    else:  # A file or a pipe has no width: nothing is folded or cut.
        out.print(table, width=1000, soft_wrap=True)
    out.print("difference: to the baseline, mean over paired seeds with its 95% t interval;")
    out.print("rank: 1 is best; mean rank: over the tasks, lower is better.")


def _report(summary: "Summary", folder: Path, seconds: float) -> None:
    parts = [f"{len(summary.done)} cells run in {_clock(seconds)}"]
    if summary.skipped:
        parts.append(f"{len(summary.skipped)} had a record already")
    out.print(", ".join(parts) + f". Records: {escape(str(folder))}/records")
    if not summary.failed:
        return
    err.print(f"{len(summary.failed)} cells failed:", style="bold red")
    for cell, reason in summary.failed.items():
        err.print(f"  {escape(str(cell))}: {escape(reason)}", soft_wrap=True)
    err.print(
        f"Details: {escape(str(folder))}/failures. The same command tries the failed cells again.",
        soft_wrap=True,
    )


@contextmanager
def _progress() -> "Iterator[Listener]":
    """Show bars in a terminal, plain lines elsewhere."""
    started = time.monotonic()

    if not out.is_terminal:

        def print_line(event: "Event", summary: "Summary") -> None:
            if event.kind == "step":
                return
            line = (
                f"[{summary.settled:>{len(str(len(summary.cells)))}}/{len(summary.cells)}] "
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
        left = (now - started) / fresh * (len(summary.cells) - settled) if fresh else None
        note = f"{settled}/{len(summary.cells)}"
        note += f", {len(summary.failed)} failed" if summary.failed else ""
        note += "" if left is None else f", about {_clock(left)} left"
        bars.update(overall, completed=settled, total=len(summary.cells), note=note)
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
            if event.kind == "failed":
                out.print(f"failed: {escape(str(event.cell))}: {escape(event.reason)}", style="red")

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


def _study_line(study: "Study") -> str:
    """Return how many cells a study has, and of what."""
    assert not isinstance(study.seeds, int)
    parts = [
        f"{count} {one if count == 1 else many}"
        for count, one, many in (
            (len(study.tasks), "task", "tasks"),
            (len(study.methods), "method", "methods"),
            (len(study.losses) + 1, "loss", "losses"),
            (len(study.seeds), "seed", "seeds"),
        )
    ]
    return f"{len(study.cells())} cells: {' x '.join(parts)}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
