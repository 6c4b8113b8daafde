"""The report as one HTML file that opens offline and reads without a script.

Names come from users and plugins, so nothing of theirs is ever markup: jinja2 escapes the HTML,
figures escape their texts, and a content security policy allows no request and only the one script
that is named in it by its digest. ``page.js`` adds drawers, ticks and copying; without it every
link leads to a part of the page or to a file beside it.
"""

from base64 import b64encode
from collections.abc import Iterable, Mapping
from hashlib import sha256
from importlib.resources import files
from itertools import islice
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import escape

from leaderboards.analysis.visible import visible
from leaderboards.figures.strip import strip
from leaderboards.figures.svg import COLUMN, TEXT, style_sheet
from leaderboards.render.csv_files import matrix
from leaderboards.render.formats import FOLDER, drawn, figure_names
from leaderboards.render.latex import latex
from leaderboards.render.markdown import table
from leaderboards.report.methods import bibtex, provenance
from leaderboards.report.model import PAGE, Drawer, Report, Section, Table, row_key

MAX_ROWS = 400
"""Rows of a table on the page; its CSV file has all of them."""


def page(report: Report) -> str:
    """Return the report as one HTML file: no request, and the same bytes for the same board."""
    sections = [section for section in _sections(report) if section["show"]]
    script = _read("page.js").replace("</script", "<\\/script")
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return rendered(
        "page.html.jinja",
        css=style_sheet() + _read("page.css"),
        script=script,
        policy=f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; "
        "img-src data:; base-uri 'none'; form-action 'none'",
        title=report.title,
        facts=" · ".join(report.facts),
        answer=report.answer,
        warnings=report.warnings,
        ticks=_ticks(report),
        links=_links(report, sections),
        figures=f"{FOLDER}/" if report.figures else "#section-differences",
        copies=_copies(report),
        matrix=for_template(report.matrix, None),
        legend=report.legend,
        sections=sections,
        drawers=[_drawer(drawer) for drawer in report.drawers.values()],
        methods=report.methods,
        made=[(name, text) for name, text in provenance(report.board) if text],
        definitions=report.tables["scores"].columns_in(PAGE),
        bibtex=escape(bibtex(report.board)),
    )


SECTION_OF = {
    "failed": "failures", "waiting": "failures", "budget": "tuning", "border": "tuning",
    "collapsed": "diagnostics", "untrained": "scores", "rank": "scores", "control": "scores",
}  # fmt: skip
"""{kind of note: the section that shows what it is about}."""


def _links(report: Report, sections: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return {kind of warning: the section to look into}; empty where the page has none."""
    there = {section["key"] for section in sections}
    kinds = [warning.kind for warning in report.warnings]
    return {kind: SECTION_OF.get(kind, "") * (SECTION_OF.get(kind) in there) for kind in kinds}


def _ticks(report: Report) -> list[tuple[str, list[tuple[str, str]]]]:
    """Return what a reader can hide: losses and tasks, each by its key and label."""
    labels = report.board.labels
    losses = [(row_key(key), labels.row(*key)) for key in report.board.order]
    tasks = [(column.task, column.heading) for column in report.matrix.columns_in(PAGE)
             if column.task]  # fmt: skip
    return [("Losses", losses), ("Tasks", tasks)]


def _copies(report: Report) -> list[tuple[str, str, str]]:
    """Return what can be copied: its name, the file beside the page, and its text."""
    return [
        # Files have lines, which `rendered` would show as escapes: they are escaped here.
        ("Copy LaTeX", "leaderboard.tex", escape(latex(report))),
        ("Copy Markdown", "leaderboard.md", escape(table(report.matrix))),
        ("Copy CSV", "table.csv", escape(matrix(report))),
    ]


def _sections(report: Report) -> list[dict[str, Any]]:
    """Return the sections with their figures and tables; an empty one is not shown."""
    named = {name for section in report.sections for name in section.figures} | {"matrix"}
    others = [name for name in figure_names() if name not in named]
    more = Section("more", "More figures", "", others)  # Those of other packages.
    sections = []
    for section in (*report.sections, more):
        figures = [_figure(report, name) for name in section.figures if name in figure_names()]
        made = [each for each in figures if each is not None]
        tables = [for_template(table) for table in section.tables]
        sections.append(
            {
                "key": section.key,
                "title": section.title,
                "text": section.text,
                "figures": made,
                "tables": tables,
                "show": bool(made or tables or section.text),
            }
        )
    return sections


def _figure(report: Report, name: str) -> dict[str, str] | None:
    """Return a figure in both widths, or None where there is nothing to show."""
    wide, narrow = drawn(report, name, TEXT), drawn(report, name, COLUMN)
    if wide is None or narrow is None:
        return None
    pdf = f"{FOLDER}/{name}-text.pdf" if report.figures else ""
    about = {"title": wide.title, "caption": wide.caption, "name": name, "pdf": pdf}
    return about | {"wide": str(wide), "narrow": str(narrow)}


def _drawer(drawer: Drawer) -> dict[str, Any]:
    """Return a drawer with its seeds drawn as dots."""
    drawing = strip(drawer)
    return drawer._asdict() | {"strip": "" if drawing is None else str(drawing)}


def for_template(table: Table, most: int | None = MAX_ROWS) -> dict[str, Any]:
    """Return a table as templates take it, with the columns for pages and its first rows."""
    rows = len(table.source)
    return {
        "key": table.key,
        "title": table.title,
        "caption": table.caption,
        "file": table.file,
        "columns": table.columns_in(PAGE),
        "lines": list(islice(table.lines(PAGE), most)),
        "rows": rows,
        "more": 0 if most is None else max(0, rows - most),
    }


def rendered(template: str, **values: Any) -> str:
    """Return a template of this folder, filled in; every value is escaped."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=_visible,
    )  # fmt: skip
    return environment.from_string(_read(template)).render(values).strip() + "\n"


def _visible(value: Any) -> Any:
    """Return texts with characters that act as escapes; markup of ours stays as it is."""
    return visible(value) if type(value) is str else value


def _read(name: str) -> str:
    return (files("leaderboards.render") / name).read_text("utf-8")
