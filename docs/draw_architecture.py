"""Draw the rooms of the project from its imports: ``python docs/draw_architecture.py``.

The picture, ``docs/architecture.svg``, has a column for each package and a box for each room,
the lowest at the bottom. A room imports from the rooms below it alone (``tests/test_layers.py``
holds this), so only the arrows between packages are drawn.
"""

import ast
from collections import Counter
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("triptych", "tasks", "adapters", "harness", "leaderboards")
ROOMS = {
    "triptych": ("",),
    "tasks": ("images", "sentences", "graphs", "known", "studies", ""),
    "adapters": ("data", "networks", "views", "metrics", "engines", "export", ""),
    "harness": (
        "core", "", "losses/engine", "losses", "methods", "evaluation", "store", "training",
        "study", "testing", "run", "cli",
    ),
    "leaderboards": ("statistics", "analysis", "report", "figures", "render", ""),
}  # fmt: skip
"""The rooms of each package, the lowest first; "" is its root."""

BETWEEN = (
    ("triptych", "harness", ""),
    ("tasks", "adapters", ""),
    ("adapters", "harness", ""),
    ("harness", "leaderboards", "cli alone"),
)
WIDTH, GAP, HEIGHT, TOP = 190, 60, 44, 60
STYLE = (
    "text{font:13px sans-serif;fill:#222}.name{font-weight:600}.small{font-size:10.5px;fill:#666}"
    "rect{fill:#f4f6fa;stroke:#8a97ad}line,path{stroke:#556;fill:none;stroke-width:1.4}"
)


def room_of(path: Path) -> tuple[str, str]:
    """Return a file's package and room."""
    package, *rest = path.relative_to(ROOT).parts
    return package, "/".join(rest[:-1])


def file_of(module: str) -> Path | None:
    """Return the file of one of our modules, or None."""
    place = ROOT.joinpath(*module.split("."))
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.exists()), None)


def imported(path: Path) -> set[Path]:
    """Return our own files that a file imports, or imports something from."""
    names: list[str] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            each = [f"{node.module}.{alias.name}" for alias in node.names]
            names += [name if file_of(name) else node.module for name in each]
    return {file for name in names if (file := file_of(name)) is not None}


def drawing() -> str:
    """Return the picture as SVG."""
    files = Counter(
        room_of(path)
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py"
    )
    tallest = max(map(len, ROOMS.values()))
    height = TOP + tallest * (HEIGHT + 10) + 20
    width = len(PACKAGES) * (WIDTH + GAP) - GAP + 40
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
        'aria-label="The rooms of each package, the lowest at the bottom">',
        f"<style>{STYLE}</style>",
        '<defs><marker id="to" markerWidth="9" markerHeight="9" refX="8" refY="4" orient="auto">'
        '<path d="M0,0 L8,4 L0,8"/></marker></defs>',
    ]
    left = {package: 20 + k * (WIDTH + GAP) for k, package in enumerate(PACKAGES)}
    for package in PACKAGES:
        parts.append(
            f'<text class="name" x="{left[package]}" y="{TOP - 22}" font-size="15">{package}</text>'
        )
        shown = [room for room in ROOMS[package] if files[package, room]]
        for place, room in enumerate(shown):
            y = height - 20 - (place + 1) * (HEIGHT + 10)
            parts += box(left[package], y, room or f"{package}/*.py", files[package, room])
    parts += [arrow(left[one], left[two], words) for one, two, words in BETWEEN]
    return "\n".join([*parts, "</svg>", ""])


def box(x: int, y: int, name: str, files: int) -> list[str]:
    """Return one room's box."""
    return [
        f'<rect x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="5"/>',
        f'<text class="name" x="{x + 10}" y="{y + 20}">{escape(name)}</text>',
        f'<text class="small" x="{x + 10}" y="{y + 35}">{files} file{"s" * (files > 1)}</text>',
    ]


def arrow(start: int, end: int, words: str) -> str:
    """Return an arrow between two packages' names."""
    y = TOP - 27
    if end - start > WIDTH + GAP:  # Past the packages in between.
        return (
            f'<path d="M{start + 70},{y - 6} C{start + 150},{y - 30} {end - 60},{y - 30} '
            f'{end + 20},{y - 8}" marker-end="url(#to)"/>'
        )
    return (
        f'<line x1="{start + 75}" y1="{y}" x2="{end - 8}" y2="{y}" marker-end="url(#to)"/>'
        f'<text class="small" x="{start + 130}" y="{y - 6}">{words}</text>'
    )


if __name__ == "__main__":
    (ROOT / "docs/architecture.svg").write_text(drawing(), encoding="utf-8")
