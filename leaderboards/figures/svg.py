"""A small writer of SVG: lines, shapes and texts, each with a role that says its colour.

Lengths are points (1/72 inch). Every element has its colour as an attribute, so that any program
shows it, and a class of the same name, so that a page's style sheet can change it: see
:func:`style_sheet`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from html import escape

from leaderboards.analysis.visible import anchor_of, visible

SIZE = 8.0
"""The height of letters, in points."""
FONT = "Helvetica, Arial, sans-serif"
COLUMN, TEXT = 234.0, 486.0
"""The widths of figures: a column of a two-column article (3.25 inches), and its text (6.75)."""

ROLES = {
    "paper": ("#ffffff", "#1c2027"),
    "ink": ("#1c1f24", "#e8e9ea"),
    "muted": ("#565c66", "#a3a9b3"),
    "grid": ("#e3e3de", "#343a44"),
    "margin": ("#ecece6", "#2a2f38"),
    "faint": ("#b9bdc4", "#565c66"),
    "better": ("#00664b", "#4fcea6"),
    "worse": ("#a34700", "#f39a5b"),
    "equivalent": ("#1c1f24", "#e8e9ea"),
    "open": ("#6b7280", "#9aa1ad"),
    "better-tint": ("#d7efe6", "#173b31"),
    "worse-tint": ("#fae3d3", "#44290f"),
    # Okabe and Ito's hues, https://jfly.uni-koeln.de/color/, in a lightness that has at least 3:1
    # on the page that they are for.
    "line-0": ("#6b7280", "#a5adba"),
    "line-1": ("#0077c8", "#4fb0f5"),
    "line-2": ("#b4590f", "#ee9a55"),
    "line-3": ("#008a5e", "#38c795"),
    "line-4": ("#a3588e", "#d890c4"),
    "line-5": ("#a07000", "#d9a72c"),
    "line-6": ("#5563b8", "#929ee8"),
    "line-7": ("#b03a48", "#ee7f8c"),
}
"""{role: its colour on a light page, and on a dark one}; ``line-0`` is the baseline's."""
LINES = sum(name.startswith("line-") for name in ROLES)
"""How many lines of a figure can be told apart."""
DASHES = ("", "5 2", "1.5 1.5", "6 2 1.5 2", "", "5 2", "1.5 1.5", "6 2 1.5 2")


def style_sheet() -> str:
    """Return the rules by which a page gives each role its colour, light or dark."""
    variables = "".join(f"--{role}:light-dark({a},{b});" for role, (a, b) in ROLES.items())
    rules = "".join(
        f".fill-{role}{{fill:var(--{role})}}[data-stroke={role}]{{stroke:var(--{role})}}"
        for role in ROLES
    )
    return f":root{{{variables}}}\n{rules}\n"


class Svg:
    """A figure: elements are added one by one, and ``str()`` is the file.

    Args:
        width: its width in points; the height grows with :attr:`height`.
        title: what it is.
        caption: what it shows and how to read it, in one or two sentences.
    """

    def __init__(self, width: float, title: str, caption: str) -> None:
        self.width = width
        self.height = 0.0
        self.title = title
        self.caption = caption
        self._parts: list[str] = []

    @contextmanager
    def group(self, row: str = "", task: str = "") -> Iterator[None]:
        """Group the elements of a row or of a task, so that a page can hide them together."""
        name, value = ("row", row) if row else ("task", task)
        self._parts.append(f'<g data-{name}="{_text(anchor_of(value))}">')
        yield
        self._parts.append("</g>")

    def line(
        self, x1: float, y1: float, x2: float, y2: float, role: str, width: float = 0.8,
        dash: str = "",
    ) -> None:  # fmt: skip
        """Draw a straight line."""
        ends = f'x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}"'
        self._add("line", f"{ends}{_stroke(role, width, dash)}")

    def path(
        self, points: Sequence[tuple[float, float]], role: str, width: float = 1.2, dash: str = ""
    ) -> None:
        """Draw a line through points."""
        joined = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        self._add("polyline", f'points="{joined}" fill="none"{_stroke(role, width, dash)}')

    def area(self, points: Sequence[tuple[float, float]], role: str, opacity: float = 0.15) -> None:
        """Fill the polygon through points."""
        joined = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        self._add("polygon", f'points="{joined}"{_fill(role)} fill-opacity="{opacity:g}"')

    def rect(self, x: float, y: float, width: float, height: float, role: str) -> None:
        """Fill a rectangle."""
        size = f'x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"'
        self._add("rect", size + _fill(role))

    def circle(
        self, x: float, y: float, radius: float, role: str, *, hollow: bool = False,
        width: float = 1.2,
    ) -> None:  # fmt: skip
        """Draw a dot; ``hollow``: a ring."""
        place = f'cx="{x:.2f}" cy="{y:.2f}" r="{radius:g}"'
        ring = _fill("paper") + _stroke(role, width, "")
        self._add("circle", place + (ring if hollow else _fill(role)))

    def text(
        self, x: float, y: float, text: str, anchor: str = "start", role: str = "ink",
        size: float = SIZE, *, bold: bool = False, turned: bool = False,
    ) -> None:  # fmt: skip
        """Write a text with its base line at y; ``turned``: upwards."""
        turn = f' transform="rotate(-90 {x:.2f} {y:.2f})"' if turned else ""
        weight = ' font-weight="bold"' if bold else ""
        place = f'x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" font-size="{size:g}"'
        self._add("text", f"{place}{weight}{_fill(role)}{turn}", _text(text))

    def _add(self, name: str, attributes: str, inside: str | None = None) -> None:
        end = "/>" if inside is None else f">{inside}</{name}>"
        self._parts.append(f"<{name} {attributes}{end}")

    def __str__(self) -> str:
        """Return the file."""
        inches = f'width="{self.width / 72:.4g}in" height="{self.height / 72:.4g}in"'
        box = f'viewBox="0 0 {self.width:g} {self.height:.2f}"'
        head = f'<svg xmlns="http://www.w3.org/2000/svg" {inches} {box} font-family="{FONT}" '
        about = f"<title>{_text(self.title)}</title><desc>{_text(self.caption)}</desc>"
        return "\n".join([f'{head}role="img">', about, *self._parts, "</svg>", ""])


def _text(text: str) -> str:
    return escape(visible(text))


def _fill(role: str) -> str:
    return f' class="fill-{role}" fill="{ROLES[role][0]}"'


def _stroke(role: str, width: float, dash: str) -> str:
    dashes = f' stroke-dasharray="{dash}"' if dash else ""
    return f' stroke="{ROLES[role][0]}" stroke-width="{width:g}" data-stroke="{role}"{dashes}'
