"""``triptych board``."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli import terminal
from harness.cli.shared import app, input_errors
from harness.cli.terminal import err, escape, out
from harness.core.errors import InputError, unknown

if TYPE_CHECKING:
    from leaderboards import Leaderboard


MAX_SENTENCES = 12
MAX_ROWS = 60
"""Rows of a table that the terminal shows; the files have all of them."""


@app.command("board")
def board_command(
    folders: Annotated[list[Path], typer.Argument(help="Folders of runs, shown on one board.")],
    baseline: Annotated[str | None, typer.Option(help="The loss to compare others with.")] = None,
    margin: Annotated[
        str | None,
        typer.Option(help="The smallest difference that matters: 0.5, or images=1,nodes=0.5."),
    ] = None,
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
        Path | None, typer.Option(help="Write all files to this folder; default: FOLDER/board.")
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the board as CSV.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write the board as Markdown.")] = None,
    latex: Annotated[Path | None, typer.Option(help="Write the board as LaTeX.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the board as one HTML page.")] = None,
    tidy: Annotated[Path | None, typer.Option(help="Write one row per record, as CSV.")] = None,
) -> None:
    """Show the leaderboard of one or several runs, and write it to files.

    Without options, all files go to FOLDER/board: leaderboard.csv, overall.csv,
    records.csv, pairing.csv, curves.csv, trials.csv, diagnostics.csv, settings.csv,
    published.csv, leaderboard.md, leaderboard.tex and board.html. With --csv, --markdown,
    --latex, --html or --tidy, only these files are written, to the given paths. Add --to to
    write all other files to a folder as well.
    """
    import leaderboards
    from harness.core.files import write_atomically

    with input_errors():
        columns = [name.strip() for name in (diagnostics or "").split(",") if name.strip()]
        board = board_of(
            folders, baseline, margin, screening=screening, published=published, diagnostics=columns
        )
        if pairing:
            _show_pairing(board)
            return
        show_board(board)
        title = " + ".join(folder.resolve().name for folder in folders)
        named = {
            "leaderboard.csv": csv,
            "leaderboard.md": markdown,
            "leaderboard.tex": latex,
            "board.html": html,
            "records.csv": tidy,
        }
        write_all = to is not None or not any(named.values())
        into = to or folders[0] / "board"
        for name, text in leaderboards.files(board, title=title):
            path = named.get(name) or (into / name if write_all else None)
            if path is not None:
                write_atomically(path, text())
        if write_all:
            out.print(f"Written to {into}. Open {into / 'board.html'} in a browser.", markup=False)


def board_of(
    folders: list[Path],
    baseline: str | None,
    margin: str | None,
    *,
    screening: bool = False,
    published: bool,
    diagnostics: Sequence[str] = (),
) -> "Leaderboard":
    """Return the board of the records in ``folders``, against ``baseline`` or the study's own."""
    import leaderboards
    from harness.store.table import load_records

    records = load_records(*folders)
    if baseline is not None:
        baseline = _label(baseline, set(records["loss"]))
    papers = leaderboards.published_rows() if published else None
    try:
        return leaderboards.leaderboard(
            records,
            baseline,
            margin=_margins(margin),
            screening=screening,
            published=papers,
            diagnostics=diagnostics,
        )
    except ValueError as error:
        raise InputError(str(error)) from error


def _margins(text: str | None) -> float | dict[str, float] | None:
    """Return what ``--margin`` says: a number, or {task: number}.

    >>> _margins("0.5"), _margins("images=1,nodes(steps=9)=0.5")
    (0.5, {'images': 1.0, 'nodes(steps=9)': 0.5})
    """
    from harness import plugins

    if text is None:
        return None
    try:
        return float(text)
    except ValueError:
        pairs = [part.rpartition("=") for part in plugins.split_specs(text)]
    try:
        if not all(task.strip() for task, _, _ in pairs):
            raise ValueError
        return {task.strip(): float(number) for task, _, number in pairs}
    except ValueError as error:
        raise InputError(
            f"`--margin` must be a number, or TASK=NUMBER by commas: got {text!r}. For example "
            "`--margin 0.5` or `--margin images=1,nodes=0.5`."
        ) from error


def _label(loss: str, labels: set[str]) -> str:
    """Return ``loss`` if it is a row's label, else its spec in canonical form."""
    from harness import plugins
    from harness.core.cells import TUNED, is_trained

    if loss in labels or not is_trained(loss):
        return loss
    try:
        return plugins.canonical("losses", loss.removesuffix(TUNED))
    except InputError as error:
        raise unknown("row", loss, labels) from error


def show_board(board: "Leaderboard") -> None:
    """Print the board as one table per task and metric, then its conclusions."""
    import leaderboards

    board = leaderboards.with_short_names(board)
    out.print("Test scores in points: mean and standard deviation over seeds", style="bold")
    for section in leaderboards.sections(board):
        rows = section.table
        out.print()
        table = terminal.table(map(str, rows), numbers=section.numbers, title=section.title)
        for row in rows.head(MAX_ROWS).to_numpy().tolist():
            table.add_row(*(escape(cell) for cell in row))
        terminal.show(table)
        if len(rows) > MAX_ROWS:
            out.print(f"and {len(rows) - MAX_ROWS} more rows, in leaderboard.csv")
    out.print("\ndifference: to the baseline, mean over paired seeds; the intervals of one table")
    out.print("hold together in 95% of cases; bound: of the size of the difference; sd: of the")
    out.print("paired differences; rank: 1 is best. Every verdict follows from its interval.")
    for lines in (leaderboards.summary(board), leaderboards.sentences(board)):
        for line in lines[:MAX_SENTENCES]:
            out.print(escape(line), soft_wrap=True)
        if len(lines) > MAX_SENTENCES:
            out.print(f"and {len(lines) - MAX_SENTENCES} more sentences, in leaderboard.md")
    for note in board.notes:
        err.print(escape(note.text), style="yellow", soft_wrap=True)


def _show_pairing(board: "Leaderboard") -> None:
    """Print the variance of the difference to the baseline, paired and unpaired."""
    import leaderboards

    pairing = leaderboards.pairing_table(board)
    if pairing.empty:
        out.print("No row has 8 paired seeds; with fewer the ratio says little. Run more seeds.")
        return
    numbers = ("seeds", "paired", "unpaired", "ratio")
    method = ["method"] if board.rows["method"].nunique() > 1 else []
    names = ("scope", "metric", *method, "loss")
    title = f"Variance of the difference to {board.baseline}, in points squared"
    table = terminal.table((*names, *numbers), numbers=numbers, title=title)
    for row in pairing.to_dict("records"):
        table.add_row(
            *(escape(str(row[key])) for key in (*names, "seeds")),
            f"{row['paired_variance']:.4g}",
            f"{row['unpaired_variance']:.4g}",
            # At zero variance the ratio is NaN, which does not equal itself.
            f"{row['ratio']:.1f}x" if row["ratio"] == row["ratio"] else "",
        )
    terminal.show(table)
    out.print("unpaired: the sum of both variances over seeds, as if the runs shared nothing;")
    out.print("ratio: unpaired runs need this many times more seeds for the same precision.")
