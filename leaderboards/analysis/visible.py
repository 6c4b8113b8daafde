"""Text that cannot act, and that is no longer than what it stands in has room for."""

from hashlib import sha256

MAX_CELL = 300
"""Characters of a text that a cell, a heading or a title shows; CSV and JSON have all of a cell."""
MAX_TEXT = 2000
"""Characters of a paragraph from outside, such as a note or a command."""
DIGITS = 16
"""Digits of the checksum that ends a key which is cut."""


def visible(text: object) -> str:
    r"""Return ``text`` with what could act, or is not seen, as the escapes of Python's ``repr``.

    These are controls, line breaks, zero-width marks, marks that turn the direction of a text,
    halves of a character, which no file can hold, and spaces other than the plain one, such as the
    no-break space: two names that differ in one would look alike. Every renderer and figure passes
    what it did not write itself through this function.

    >>> print(visible("a\x1b[31mb\n"))
    a\x1b[31mb\n
    >>> print(visible("\u202egnp.exe"))
    \u202egnp.exe
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def brief(text: object, most: int = MAX_CELL) -> str:
    """Return a text that cannot act, cut to a length.

    >>> brief("adnce(mu=0.5)", 9)
    'adnce(mu…'
    """
    seen = visible(str(text)[: most + 1])
    return seen if len(seen) <= most else f"{seen[: most - 1]}…"


def anchor_of(text: str) -> str:
    """Return a text by which a page finds elements: a long one is cut, but is still its own.

    >>> anchor_of("siamese/infonce"), len(anchor_of("siamese/" + "x" * 10**6))
    ('siamese/infonce', 300)
    """
    if len(text) <= MAX_CELL:
        return text
    digest = sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:DIGITS]
    return f"{text[: MAX_CELL - DIGITS - 1]} {digest}"
