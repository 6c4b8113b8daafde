"""Draw the picture at the top of the README: ``python docs/draw_board.py runs/quickstart``.

It is the first screen of the page of a run: the title, the answer, the matrix and the paired
differences, by the same functions that draw them for the page. It goes to ``docs/board.svg``.
"""

import re
import sys
import textwrap
from pathlib import Path

from harness.store.table import load_records
from leaderboards import leaderboard
from leaderboards.figures.svg import TEXT, Svg
from leaderboards.render.formats import drawn
from leaderboards.report.model import Report
from leaderboards.report.report import report

PICTURE = Path(__file__).parent / "board.svg"
MARGIN = 14.0


def drawing(made: Report) -> str:
    """Return the picture of a report."""
    svg = Svg(TEXT + 2 * MARGIN, made.title, " ".join(made.answer))
    y = MARGIN + 14
    svg.text(MARGIN, y, made.title, size=15, bold=True)
    facts = textwrap.wrap(" · ".join(made.facts), 110)
    answer = [line for text in made.answer for line in textwrap.wrap(text, 88)]
    for line in facts:
        y += 12
        svg.text(MARGIN, y, line, role="muted", size=7.5)
    y += 5
    for line in answer:
        y += 14
        svg.text(MARGIN, y, line, size=10)
    y += 12
    inner = []
    for name in ("matrix", "differences"):
        figure = drawn(made, name, TEXT)
        if figure is not None:
            place = f'x="{MARGIN:g}" y="{y:g}" width="{figure.width:g}" height="{figure.height:g}"'
            inner.append(re.sub(r'width="[^"]*in" height="[^"]*in"', place, str(figure), count=1))
            y += figure.height + 12
    svg.height = y
    paper = f'<rect width="{svg.width:g}" height="{svg.height:g}" fill="#ffffff"/>'
    head, _, rest = str(svg).partition("</desc>")
    return f"{head}</desc>{paper}{rest.removesuffix('</svg>' + chr(10))}{''.join(inner)}</svg>\n"


if __name__ == "__main__":
    board = leaderboard(load_records(sys.argv[1]))
    PICTURE.write_text(drawing(report(board, *sys.argv[2:3])), encoding="utf-8")
