"""Text that cannot act: control, direction and zero-width characters shown as escapes."""

import re

ACTING = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff]"
)
"""Characters that move a cursor, end a line, turn the direction of the text around them, or are
not seen at all; and halves of a character, which no file can hold."""


def visible(text: object) -> str:
    r"""Return ``text`` with every character that acts as an escape.

    Every renderer and figure passes what it did not write itself through this function.

    >>> print(visible("a\x1b[31mb\n"))
    a\x1b[31mb\n
    >>> print(visible("\u202egnp.exe"))
    \u202egnp.exe
    """
    return ACTING.sub(lambda found: ascii(found[0])[1:-1], str(text))
