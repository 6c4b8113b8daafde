"""Tell an error in a plugin's code as one sentence."""

import sysconfig
from pathlib import Path
from traceback import extract_tb

from harness.core.errors import InputError
from harness.core.sources import OURS


def told(error: BaseException) -> str:
    """Return an error as one sentence, without a full stop at its end.

    An :class:`InputError` is one already. Any other error is a bug, so that its type is named,
    and the last line of a plugin's code that led to it.

    >>> told(InputError("`seed` must be 0 or more: got -1."))
    '`seed` must be 0 or more: got -1'
    >>> told(KeyError("label"))
    "KeyError: 'label'"
    """
    if isinstance(error, InputError):
        return str(error).removesuffix(".")
    frames = [frame for frame in extract_tb(error.__traceback__) if _is_a_plugins(frame.filename)]
    text = " ".join(str(error).split()).removesuffix(".")
    said = type(error).__name__ + (f": {text}" if text else "")
    if not frames:
        return said
    last = frames[-1]
    return f"{said} (in `{last.name}`, {Path(last.filename).name}, line {last.lineno})"


def _is_a_plugins(file: str) -> bool:
    """Return whether a source file is neither Triptych's nor a library's."""
    path, ours = Path(file), Path(__file__).parents[2]
    if path.is_relative_to(ours) and path.relative_to(ours).parts[0] in OURS:
        return False
    libraries = (sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib"))
    return path.is_absolute() and not any(path.is_relative_to(folder) for folder in libraries)
