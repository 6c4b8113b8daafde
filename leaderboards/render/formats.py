"""The files and figures of a board: every format and figure is an entry point.

The group is ``harness.boards``. A name with a suffix, such as ``table.csv``, is a file: its
function takes the :class:`~leaderboards.report.model.Report` and returns the file's text. A name
without one, such as ``differences``, is a figure: its function takes the report and a width in
points and returns an :class:`~leaderboards.figures.svg.Svg`, or None if there is nothing to show.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import cache, partial
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from leaderboards.figures import svg
from leaderboards.report.model import Report

GROUP = "harness.boards"
WIDTHS = {"column": svg.COLUMN, "text": svg.TEXT}
"""{name of a width: points}: a column of a two-column article, and the whole of its text."""
FOLDER = "figures"
"""The folder of the figures, beside the other files of a board."""

File = tuple[str, Callable[[], str | bytes]]
"""A file's name, and a function that makes its content."""


@cache
def installed() -> Mapping[str, Callable[..., Any]]:
    """Return {name: function} of all installed formats and figures."""
    return {entry.name: _loaded(entry) for entry in entry_points(group=GROUP)}


def _loaded(entry: EntryPoint) -> Callable[..., Any]:
    """Import a format or figure; one that cannot be imported says so when it is used."""
    try:
        found: Callable[..., Any] = entry.load()
    except Exception as error:
        reason = f"{entry.value} could not be imported: {type(error).__name__}: {error}"

        def found(*given: Any) -> Any:
            raise ImportError(reason)

    return found


def about() -> list[tuple[str, str]]:
    """Return (name, what it holds) of every file and figure: files first, each kind sorted."""
    found = []
    for name, make in sorted(installed().items(), key=lambda item: ("." not in item[0], item[0])):
        line = (make.__doc__ or "").strip().partition("\n")[0].removeprefix("Return ")
        found.append((name, line[:1].upper() + line[1:]))
    return found


def figure_names() -> list[str]:
    """Return the names of the figures, in the order in which they are installed."""
    return [name for name in installed() if "." not in name]


def drawn(report: Report, name: str, width: float) -> svg.Svg | None:
    """Return a figure of a given width in points, or None if there is nothing to show."""
    made: svg.Svg | None = installed()[name](report, width)
    return made


def figure(report: Report, name: str, width: str = "text") -> str:
    """Return a figure as the text of an SVG file.

    Raises:
        ValueError: if there is no such figure or width, or if there is nothing to show.
    """
    if name not in figure_names():
        raise ValueError(f"`name` must be one of {', '.join(figure_names())}: got {name!r}.")
    if width not in WIDTHS:
        raise ValueError(f"`width` must be one of {', '.join(WIDTHS)}: got {width!r}.")
    made = drawn(report, name, WIDTHS[width])
    if made is None:
        raise ValueError(
            f"`name` must be a figure that this board has something to show in: got {name!r}. "
            "`docs/boards.md` says what each figure needs."
        )
    return str(made)


def files(report: Report) -> Iterator[File]:
    """Yield every file of a board but its figures."""
    for name, write in installed().items():
        if "." in name:
            yield name, partial(write, report)


def figure_files(report: Report, *, pdf: bool = True) -> Iterator[File]:
    """Yield every figure in both widths, as SVG and, if ``pdf``, as PDF too.

    A function returns an empty text where the board has nothing to show.
    """
    from leaderboards.figures.pdf import to_pdf

    for name in figure_names():
        for width, points in WIDTHS.items():
            draw = cache(partial(_drawn_text, report, name, points))
            yield f"{FOLDER}/{name}-{width}.svg", draw
            if pdf:
                yield f"{FOLDER}/{name}-{width}.pdf", partial(_to_pdf, draw, to_pdf)


def _drawn_text(report: Report, name: str, width: float) -> str:
    made = drawn(report, name, width)
    return "" if made is None else str(made)


def _to_pdf(draw: Callable[[], str], to_pdf: Callable[[str], bytes]) -> bytes:
    text = draw()
    return to_pdf(text) if text else b""
