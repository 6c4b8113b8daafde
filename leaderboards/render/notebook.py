"""What a notebook shows of a board: the answer, the matrix and the paired differences."""

from leaderboards.figures.svg import ROLES, TEXT
from leaderboards.render.formats import drawn, figure_names
from leaderboards.render.page import for_template, rendered
from leaderboards.report.model import BETTER, WORSE, Report


def to_notebook(report: Report) -> str:
    """Return an HTML fragment without a script; nothing in it acts as markup."""
    name = "differences"
    forest = drawn(report, name, TEXT) if name in figure_names() else None
    return rendered(
        "notebook.html.jinja",
        answer=report.answer,
        warnings=report.warnings,
        matrix=for_template(report.matrix),
        legend=report.legend,
        colours={outcome: ROLES[outcome][0] for outcome in (BETTER, WORSE)},
        forest="" if forest is None else str(forest),
    )
