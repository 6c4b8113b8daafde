"""From SVG to PDF, with text kept as text and the font in the file."""

import io
from functools import cache
from pathlib import Path

from leaderboards.figures.svg import FONT

EMBEDDED = "Vera"
"""The font of PDF files, Bitstream Vera Sans, which reportlab ships."""


@cache
def _register_font() -> str:
    """Make the embedded font known, and return its name: journals refuse a file without it."""
    import reportlab
    from svglib.fonts import register_font

    folder = Path(reportlab.__file__).parent / "fonts"
    register_font(EMBEDDED, str(folder / "VeraBd.ttf"), weight="bold")
    name, _ = register_font(EMBEDDED, str(folder / "Vera.ttf"))
    return str(name)


def to_pdf(svg: str) -> bytes:
    """Return a figure as a PDF file.

    Letters that Bitstream Vera lacks, such as Greek or Chinese ones, become empty boxes; the SVG
    file shows them in the reader's fonts.

    Raises:
        ImportError: if svglib is not installed.
    """
    try:
        from reportlab.graphics import renderPDF
        from reportlab.graphics.shapes import STATE_DEFAULTS
        from reportlab.pdfgen.canvas import Canvas
        from svglib.svglib import svg2rlg
    except ImportError as error:
        raise ImportError(
            "Figures as PDF need the package svglib, which is not installed: "
            "`pip install 'triptych[figures]'`. Their SVG files need nothing."
        ) from error
    font = _register_font()
    drawing = svg2rlg(io.StringIO(svg.replace(FONT, EMBEDDED)))
    buffer = io.BytesIO()
    # The same bytes each time: without a date, and with the embedded font from the start.
    canvas = Canvas(buffer, (drawing.width, drawing.height), invariant=True, initialFontName=font)
    usual = STATE_DEFAULTS["fontName"]
    try:
        STATE_DEFAULTS["fontName"] = font  # Else the file names Helvetica, which it does not hold.
        renderPDF.draw(drawing, canvas, 0, 0)
    finally:
        STATE_DEFAULTS["fontName"] = usual
    canvas.save()
    return buffer.getvalue()
