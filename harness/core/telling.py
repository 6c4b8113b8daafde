"""Tell an error in a plugin's code as one sentence, and show no text from outside that acts."""

import sysconfig
from pathlib import Path
from traceback import extract_tb

from harness.core.errors import InputError
from harness.core.sources import OURS

MAX_REASON = 300
"""Characters of the line that says why a cell failed; the cell's log has all of the error."""
MAX_KEPT = 1000
"""Characters of a reason that are kept, with what to do; the traceback has all of it."""
MAX_PLACE = 100
"""Characters of them that name the line of a plugin's code."""
CUT = " more characters)"
"""What stands in a line where it was cut, after the number."""


def visible(text: object, keep: str = "") -> str:
    r"""Return ``text`` with what could act, or is not seen, as the escapes of Python's ``repr``.

    These are controls, line breaks, zero-width marks, marks that turn the direction of a text,
    halves of a character, which no file can hold, and spaces other than the plain one, such as the
    no-break space: two names that differ in one would look alike. Characters in ``keep`` stay.
    Boards have a function of this name, because they import nothing of ours: both go by
    ``str.isprintable``.

    >>> print(visible("a\x1b[31mb\n\u202egnp.exe"))
    a\x1b[31mb\n\u202egnp.exe
    """
    text = str(text)
    if text.isprintable():
        return text
    kept = (each if each.isprintable() or each in keep else ascii(each)[1:-1] for each in text)
    return "".join(kept)


def one_line(text: str, most: int = MAX_REASON) -> str:
    r"""Return a text on one line that cannot act, and how much of it ``most`` characters leave out.

    >>> one_line("ValueError:\nbad \x07 luck")
    'ValueError: bad \\x07 luck'
    >>> one_line("one two three four five six", 26)
    'one … (23 more characters)'
    """
    line = visible(" ".join(text.split()))
    if len(line) <= most:
        return line
    end = f"… ({len(line):,}{CUT}"  # As long as the number that follows, or longer.
    kept = max(most - len(end), 0)
    return f"{line[:kept]}… ({len(line) - kept:,}{CUT}"


def told(error: BaseException) -> str:
    """Return an error as one sentence, without a full stop at its end.

    An :class:`InputError` is one already. Any other error is a bug, so that its type is named,
    and the last line of a plugin's code that led to it; a long message is cut, these are not.

    >>> told(InputError("`seed` must be 0 or more: got -1."))
    '`seed` must be 0 or more: got -1'
    >>> told(KeyError("label"))
    "KeyError: 'label'"
    """
    text = message_of(error).removesuffix(".")
    if isinstance(error, InputError):
        return text
    frames = [frame for frame in extract_tb(error.__traceback__) if _is_a_plugins(frame.filename)]
    place = ""
    if frames:
        last = frames[-1]
        name = Path(last.filename).name
        place = f" (in `{one_line(last.name, MAX_PLACE // 2)}`, "
        place += f"{one_line(name, MAX_PLACE // 2)}, line {last.lineno})"
    said = type(error).__name__ + (f": {text}" if text.strip() else "")
    return one_line(said, MAX_REASON - len(place) - 1) + place  # Some add a full stop.


def message_of(error: BaseException) -> str:
    """Return the message of an error, which a plugin's own type of error may fail to make."""
    try:
        return str(error)
    except Exception as failed:
        return f"its message cannot be made: {type(failed).__name__}"


def _is_a_plugins(file: str) -> bool:
    """Return whether a source file is neither Triptych's nor a library's."""
    path, ours = Path(file), Path(__file__).parents[2]
    if path.is_relative_to(ours) and path.relative_to(ours).parts[0] in OURS:
        return False
    libraries = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    return path.is_absolute() and not any(path.is_relative_to(folder) for folder in libraries)
