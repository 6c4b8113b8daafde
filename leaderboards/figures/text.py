"""How wide a text is, and how to shorten names so that they stay distinct."""

from collections.abc import Iterable
from itertools import count

from leaderboards.analysis.naming import alike
from leaderboards.figures.svg import SIZE

# Widths of the letters from space to tilde in Bitstream Vera Sans, in thousandths of their height.
# PDF files use that font; Helvetica, which pages use, is narrower.
_WIDTHS = (
    318, 401, 460, 838, 636, 950, 780, 275, 390, 390, 500, 838, 318, 361, 318, 337, 636, 636, 636,
    636, 636, 636, 636, 636, 636, 636, 337, 337, 838, 838, 838, 531, 1000, 684, 686, 698, 770, 632,
    575, 775, 752, 295, 295, 656, 557, 863, 748, 787, 603, 787, 695, 635, 611, 732, 684, 989, 685,
    611, 685, 390, 337, 390, 838, 500, 500, 613, 635, 550, 635, 615, 352, 635, 634, 278, 278, 579,
    278, 974, 634, 612, 635, 635, 411, 521, 392, 634, 592, 818, 592, 592, 525, 636, 337, 636, 838,
)  # fmt: skip
_OTHER, _WIDE = 700, 1000
"""The width of other letters, and from U+1100 on, where whole words of Asia are."""


def width(text: str, size: float = SIZE, *, bold: bool = False) -> float:
    """Return how wide a text is, in points, as far as that is known without its font.

    >>> width("||", 1000.0)
    674.0
    """
    found = 0
    for letter in text:
        code = ord(letter)
        found += _WIDTHS[code - 32] if 32 <= code < 127 else _OTHER if code < 0x1100 else _WIDE
    return found * size / 1000 * (1.1 if bold else 1)


def fit(text: str, room: float, size: float = SIZE) -> str:
    """Return a text, cut in its middle if it is too wide for ``room`` points.

    >>> fit("a rather long name of a loss", 60)
    'a rathe…a loss'
    """
    if width(text, size) <= room + 0.01:  # Sums of widths are rounded.
        return text
    # No letter is narrower than the narrowest: the loop is short for a text of any length.
    kept = min(len(text), int(room * 1000 / (min(_WIDTHS) * size)) + 1)
    while kept > 2 and width(_cut(text, kept), size) > room:
        kept -= 1
    return _cut(text, kept)


def _cut(text: str, kept: int) -> str:
    end = kept // 2
    return f"{text[: kept - end].rstrip()}…{text[len(text) - end :].lstrip()}"


def fit_all(names: Iterable[str], room: float, size: float = SIZE) -> dict[str, str]:
    """Return {name: name that fits ``room``}; what tells two names apart is never cut out.

    >>> list(fit_all(["ADNCE, sigma 0.25, long", "ADNCE, sigma 0.5, long"], 60).values())
    ['A…0.25, long', 'A…0.5, long']
    """
    names = list(dict.fromkeys(names))
    cut = {name: fit(name, room, size) for name in names}
    short = dict(cut)
    for name in names:
        rivals = [other for other in names if other != name and cut[other] == cut[name]]
        if rivals:  # Keep the part from where they differ.
            start = min(alike(name, other) for other in rivals)
            word = max(name.rfind(" ", 0, start) + 1, 1)
            rest = name[word:]
            while len(rest) > 1 and width(f"{name[0]}…{rest}", size) > room:
                rest = rest[:-1]
            short[name] = f"{name[0]}…{rest}"
    taken: set[str] = set()
    for name in names:
        numbered = (f"{short[name]} #{number}" for number in count(2))
        if short[name] in taken:
            short[name] = next(each for each in numbered if each not in taken)
        taken.add(short[name])
    return short
