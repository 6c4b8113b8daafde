"""``triptych board``."""

from collections.abc import Callable, Collection, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli import completion
from harness.cli.shared import app, examples, input_errors, latest_run, run_folder
from harness.cli.terminal import Console, err, out, say
from harness.core.errors import InputError, require
from harness.core.telling import message_of, one_line

if TYPE_CHECKING:
    import pandas as pd

    from leaderboards import Leaderboard
    from leaderboards.report.model import Report

MAX_DIGITS = 6


@app.command(
    "board",
    epilog=examples(
        "board",
        "board runs/quickstart --losses infonce,adnce --digits 3",
        "board runs/one runs/two --to runs/both --figures",
        "board --baseline infonce --margin images=1,nodes=0.5 --latex table.tex",
    ),
)
def board_command(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of runs, shown on one board; default: the latest run.",
            autocompletion=completion.run_folder,
        ),
    ] = None,
    baseline: Annotated[str | None, typer.Option(help="The loss to compare others with.")] = None,
    margin: Annotated[
        str | None,
        typer.Option(help="The smallest difference that matters: 0.5, or images=1,nodes=0.5."),
    ] = None,
    tasks: Annotated[
        str | None, typer.Option(help="Show only these tasks; every word stays as it is.")
    ] = None,
    losses: Annotated[
        str | None, typer.Option(help="Show only these losses; every word stays as it is.")
    ] = None,
    title: Annotated[str, typer.Option(help="The title; default: the studies' names.")] = "",
    digits: Annotated[
        int, typer.Option(help="Digits after the point of scores.", min=1, max=MAX_DIGITS)
    ] = 2,
    long: Annotated[
        bool, typer.Option("--long", help="Show all tables, and a sentence for every difference.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the report as data; files only with --to.")
    ] = False,
    figures: Annotated[
        bool, typer.Option("--figures", help="Write every figure too, as SVG and PDF.")
    ] = False,
    screening: Annotated[
        bool,
        typer.Option("--screening", help="Rows borrow variance: to choose what to run further."),
    ] = False,
    published: Annotated[
        bool, typer.Option("--published", help="Add published scores, apart and unranked.")
    ] = False,
    pairing: Annotated[
        bool,
        typer.Option("--pairing", help="Show only how much pairing by seed lowers the variance."),
    ] = False,
    diagnostics: Annotated[
        str | None,
        typer.Option(help="Diagnostics to add as columns, separated by commas, such as alignment."),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(help="Write all files here; default: FOLDER/board."),
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the board as CSV.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the board as Markdown.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the board as LaTeX.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the board as one HTML page.")] = None,
    tidy: Annotated[Path | None, typer.Option(help="Write one row per record, as CSV.")] = None,
) -> None:
    """Show the leaderboard of one or several runs, and write it to files.

    The board of one folder goes to FOLDER/board; docs/boards.md lists the files. The board of
    several folders belongs to none of them, and is written only with --to. With --csv,
    --markdown, --latex, --html or --tidy, only these files are written, to the given paths. Add
    --to to write all other files to a folder as well.
    """
    with input_errors():
        given = [*map(run_folder, folders)] if folders else [latest_run()]
        columns = [name.strip() for name in (diagnostics or "").split(",") if name.strip()]
        board = board_of(
            given, baseline, margin, screening=screening, published=published,
            diagnostics=columns, tasks=tasks, losses=losses,
        )  # fmt: skip
        if pairing:
            _show_pairing(board)
            return
        named = {
            "leaderboard.csv": csv,
            "leaderboard.md": markdown,
            "leaderboard.tex": latex,
            "board.html": html,
            "records.csv": tidy,
        }
        paths = {name: path for name, path in named.items() if path}
        of_one = len(given) == 1
        require(
            not figures or to is not None or of_one,
            f"`--figures` needs `--to FOLDER` for the board of several folders: got {len(given)}.",
        )
        write_all = to is not None or (of_one and not (as_json or paths))
        into = to or given[0] / "board"
        # The page links figures that lie beside it.
        linked = figures and _can_write_pdf() and write_all and "board.html" not in paths
        report = _report(board, title, digits, figures=linked)
        if as_json:
            _print_json(report)
        else:
            show_report(report, long=long)
        said = err if as_json else out  # Nothing but JSON may follow JSON.
        if not (write_all or as_json or paths):
            say("No files are written for several folders. Add --to FOLDER to write them.", to=err)
        failed = _write(report, paths, into if write_all else None, to=said)
        if figures:
            failed = _write_figures(report, into, to=said) or failed
    if failed:
        raise typer.Exit(1)


def conclude(folder: Path) -> None:
    """Show the board of a run, write all its files, and name its page."""
    report = _report(board_of([folder], None, None))
    show_report(report)
    _write(report, {}, folder / "board")


def board_of(
    folders: list[Path],
    baseline: str | None,
    margin: str | None,
    *,
    screening: bool = False,
    published: bool = False,
    diagnostics: Iterable[str] = (),
    tasks: str | None = None,
    losses: str | None = None,
) -> "Leaderboard":
    """Return the board of the records in ``folders``, against ``baseline`` or the study's own."""
    import leaderboards
    from harness.store.table import load_records, value_named
    from leaderboards.analysis.naming import labels_of

    records = load_records(*folders)
    labels = labels_of(records)
    if baseline is not None:
        baseline = value_named(records, "loss", baseline, labels.losses)
    papers = leaderboards.published_rows() if published else None
    try:
        board = leaderboards.leaderboard(
            records,
            baseline,
            margin=_margins(margin, records, labels.tasks),
            screening=screening,
            published=papers,
            diagnostics=tuple(diagnostics),
        )
    except ValueError as error:
        raise InputError(str(error)) from error
    if tasks is None and losses is None:
        return board
    return board.only(
        _named(records, "task", tasks, labels.tasks), _named(records, "loss", losses, labels.losses)
    )


def _named(
    records: "pd.DataFrame",
    column: Literal["loss", "task"],
    text: str | None,
    shown: Mapping[str, str],
) -> list[str] | None:
    """Return the tasks or losses that an option names, by label, alias, name or spec."""
    from harness import plugins
    from harness.core.cells import name_of
    from harness.store.table import value_named

    if text is None:
        return None
    # A label may hold a comma: "ADNCE, sigma 0.25".
    parts = [text] if text in shown.values() else plugins.split_specs(text)
    option = "--losses" if column == "loss" else "--tasks"
    require(
        bool(parts), f"`{option}` must name a {column}: got {text!r}. Leave it out to show all."
    )
    found: list[str] = []
    for part in parts:
        # A bare name stands for all rows of that plugin, as for `triptych run`.
        own = [each for each in records[column].unique() if name_of(each) == part]
        found += own or [value_named(records, column, part, shown)]
    return found


def _margins(
    text: str | None, records: "pd.DataFrame", shown: Mapping[str, str]
) -> float | dict[str, float] | None:
    """Return what ``--margin`` says: a number, or {task: number}."""
    from harness import plugins
    from harness.store.table import value_named

    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        # A label may hold a comma: "Cora, nodes".
        alone = text.rpartition("=")[0].strip() in shown.values()
        parts = [text] if alone else plugins.split_specs(text)
        pairs = [part.rpartition("=") for part in parts]
    names = set(records["task_name"])
    margins: dict[str, float] = {}
    for task, _, number in pairs or [("", "", "")]:
        try:
            margin = float(number)
        except ValueError:
            task = ""
        if not task.strip():
            raise InputError(
                f"`--margin` must be a number, or TASK=NUMBER by commas: got {text!r}. For example "
                "`--margin 0.5` or `--margin images=1,nodes=0.5`."
            )
        name = task.strip()
        margins[name if name in names else value_named(records, "task", name, shown)] = margin
    return margins


def _report(
    board: "Leaderboard", title: str = "", digits: int = 2, *, figures: bool = False
) -> "Report":
    from leaderboards.report.report import report

    return report(board, title, digits, figures=figures)


def show_report(report: "Report", *, long: bool = False) -> None:
    """Print the report: the matrix first, the answer last."""
    from leaderboards.render.terminal import to_text

    width = out.width if out.is_terminal else None
    text = to_text(
        report, width, colour=out.is_terminal and out.color_system is not None, long=long
    )
    out.file.write(text + "\n")
    out.file.flush()


def _print_json(report: "Report") -> None:
    from leaderboards.render.json_file import to_json

    out.file.write(to_json(report))
    out.file.flush()


def _write(
    report: "Report", named: dict[str, Path], folder: Path | None, *, to: Console = out
) -> bool:
    """Write the files of a board: those named to their paths, all others to a folder.

    Return whether a format failed; all other files are written.
    """
    from leaderboards.render import formats

    wanted = [
        (named.get(name) or (folder / name if folder else named[name]), make)
        for name, make in formats.files(report)
        if folder or name in named
    ]
    _, failed = _write_each(wanted, named=named.values())
    page = named.get("board.html") or (folder / "board.html" if folder else None)
    if folder is not None:
        say(f"Written to {folder}. Open {page} in a browser.", to=to)
    return failed


def _write_each(
    files: Iterable[tuple[Path, Callable[[], str | bytes]]], named: Collection[Path] = ()
) -> tuple[int, bool]:
    """Write files; return how many, and whether a format failed, whose error is shown.

    A figure that has nothing to show is empty, and not written. Only what the user has ``named``
    may be a link or a device, which is written to.
    """
    from harness.core.files import write_atomically, write_through

    number, failed = 0, False
    for path, make in files:
        try:
            content = make()
        except Exception as error:
            reason = f"{type(error).__name__}: {message_of(error)}"
            say(f"{path.name} could not be made: {one_line(reason)}", style="red", to=err)
            failed = True
            continue
        if content:
            try:
                (write_through if path in named else write_atomically)(path, content)
            except OSError as error:
                raise InputError(
                    f"{path} cannot be written: {error}. Name another folder with `--to`."
                ) from error
            number += 1
    return number, failed


def _write_figures(report: "Report", folder: Path, *, to: Console = out) -> bool:
    """Write every figure, in two widths, in the place of an earlier board's.

    Return whether one failed.
    """
    from leaderboards.render import formats

    pdf = _can_write_pdf()
    for name in ("svg", "pdf"):
        for old in (folder / formats.FOLDER).glob(f"*-*.{name}"):
            old.unlink()
    files = formats.figure_files(report, pdf=pdf)
    number, failed = _write_each((folder / name, make) for name, make in files)
    say(f"{number} figures written to {folder / formats.FOLDER}.", to=to)
    if not pdf:
        say("PDF files need the package svglib: `pip install 'triptych[figures]'`.", to=err)
    return failed


def _can_write_pdf() -> bool:
    return find_spec("svglib") is not None


def _show_pairing(board: "Leaderboard") -> None:
    """Print the variance of the difference to the baseline, paired and unpaired."""
    from leaderboards.render.terminal import table_text
    from leaderboards.report.details import pairing

    made = pairing(board)
    if not made.source:
        out.print("No row has 8 paired seeds; with fewer the ratio says little. Run more seeds.")
        return
    out.file.write(table_text(made, out.width if out.is_terminal else None) + "\n")
