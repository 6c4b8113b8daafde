"""Markdown: the matrix first, then the answer, then the other tables."""

import html
import re

from leaderboards.analysis.visible import visible
from leaderboards.report.model import TEXT, Cell, Report, Table


def markdown(report: Report) -> str:
    """Return the report as Markdown; nothing in it acts as markup."""
    parts = [f"# {escape(report.title)}", table(report.matrix), escape(report.legend)]
    parts.append("\n".join(f"- {escape(line)}" for line in (*report.answer, *report.pooled)))
    if report.warnings:
        lines = []
        for warning in report.warnings:
            lines.append(f"- {escape(warning.text)}")
            lines += [f"    - {escape(detail)}" for detail in warning.details]
        parts.append("**Before believing it**\n\n" + "\n".join(lines))
    parts.append(escape(" · ".join(report.facts)))
    for section in report.sections:
        for each in (made for made in section.tables if not made.long):
            parts.append(f"## {escape(each.title)}\n\n{escape(each.caption)}\n\n{table(each)}")
    parts.append(f"## Methods\n\n{escape(report.methods)}")
    return "\n\n".join(parts) + "\n"


def table(made: Table) -> str:
    """Return a table with pipes."""
    columns = made.columns_in(TEXT)
    heads = [" ".join(part for part in (c.heading, c.unit and f"({c.unit})") if part)
             for c in columns]  # fmt: skip
    rows = [_row(map(escape, heads)), _row("--:" if c.number else ":--" for c in columns)]
    rows += [_row(map(_cell, line.cells)) for line in made.lines(TEXT)]
    return "\n".join(rows)


def _row(cells: object) -> str:
    return "| " + " | ".join(cells) + " |"  # type: ignore[arg-type]


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    text = f"**{text}**" if cell.best else text
    rest = escape(cell._replace(text="", link="").line)
    return f"{text} {rest}".strip()


def escape(text: str) -> str:
    r"""Return a text that no Markdown reader takes for markup, nor makes a link of.

    >>> print(escape("a_b | <i> https://x.org www.x.org"))
    a\_b \| &lt;i&gt; https:\//x.org www\.x.org
    """
    safe = re.sub(r"([\\`*_|~$#@\[\]])", r"\\\1", html.escape(visible(text), quote=False))
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", safe.replace("://", r":\//"))
