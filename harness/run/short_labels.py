"""Name a cell within a given width: the name of its loss and its seed are never cut."""

from harness.core.cells import Cell, Spec

CUT = "…"
JOIN = " · "


def shortened(spec: Spec, width: int) -> str:
    """Return ``spec`` with its settings cut in the middle to ``width``; its name is never cut.

    >>> shortened("images(false_negatives=0.3, size=14, draws=3)", 30)
    'images(false_negat…4, draws=3)'
    >>> shortened("images(false_negatives=0.3, size=14, draws=3)", 9), shortened("images", 3)
    ('images(…)', 'images')
    >>> shortened("images(size=14)", 8)
    'images'
    """
    name, _, settings = spec.partition("(")
    room = width - len(f"{name}({CUT})")
    if len(spec) <= width or room < 0:
        return spec if len(spec) <= width else name
    settings = settings.removesuffix(")")
    end = room // 2
    return f"{name}({settings[: room - end]}{CUT}{settings[len(settings) - end :]})"


def short_label(cell: Cell, width: int, *, method: bool = False) -> str:
    """Return the loss, the seed and the task of ``cell`` in at most ``width`` characters.

    The task's settings are shortened first, then the method's and the loss's, then the names of
    the task and the method. The loss's name and the seed always stay, even beyond ``width``.

    Args:
        cell: the cell.
        width: the number of characters.
        method: whether the method is named too.

    >>> cell = Cell("images(size=14, draws=3)", "moco", "adnce(mu=0.7, sigma=0.5)", 2)
    >>> print(short_label(cell, 80))
    adnce(mu=0.7, sigma=0.5) · seed 2 · images(size=14, draws=3)
    >>> print(short_label(cell, 45))
    adnce(mu=0.7, sigma=0.5) · seed 2 · images(…)
    >>> print(short_label(cell, 33, method=True))
    adnce(…) · moco · seed 2 · images
    >>> print(short_label(cell, 22))
    adnce · seed 2 · imag…
    >>> print(short_label(cell, 3))
    adnce · seed 2
    """
    seed = f"seed {cell.seed}"
    loss, way, task = cell.loss, cell.method if method else "", cell.task

    def line() -> str:
        return JOIN.join(filter(None, (loss, way, seed, task)))

    def room(part: str) -> int:
        return width - (len(line()) - len(part))

    task = shortened(task, room(task))
    way = shortened(way, room(way))
    loss = shortened(loss, room(loss))
    task = _cut(task, room(task))
    way = _cut(way, room(way))
    return line()


def _cut(name: str, width: int) -> str:
    """Return ``name`` cut at its end to ``width``; nothing if hardly a letter is left."""
    if len(name) <= width:
        return name
    return f"{name[: width - 1]}{CUT}" if width > 3 else ""
