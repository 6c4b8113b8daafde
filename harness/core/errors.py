"""The error type for input that a user can correct, and checks that raise it."""

import sys
from collections.abc import Iterable
from difflib import get_close_matches
from numbers import Real
from typing import TypeGuard


class InputError(ValueError):
    """Report input that a user can correct.

    The message names the argument, the rule, the value and the next step; the
    command line prints it without a traceback and exits with status 2.
    """


def require(condition: bool, message: str) -> None:
    """Raise :class:`InputError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise InputError(message)


def require_number(
    name: str,
    value: object,
    *,
    above: float | None = None,
    at_least: float | None = None,
    at_most: float | None = None,
    whole: bool = False,
) -> None:
    """Raise :class:`InputError` unless ``value`` is a number inside the bounds.

    >>> require_number("temperature", 0.5, above=0)
    >>> require_number("temperature", -1, above=0)
    Traceback (most recent call last):
        ...
    harness.core.errors.InputError: `temperature` must be a number above 0: got -1.
    """
    bounds = (("above", above), ("at least", at_least), ("at most", at_most))
    rules = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
    good = (
        isinstance(value, int if whole else int | float)
        and not isinstance(value, bool)
        and (above is None or value > above)
        and (at_least is None or value >= at_least)
        and (at_most is None or value <= at_most)
        and value == value  # This is false for NaN alone.
    )
    rule = f"a {'whole ' if whole else ''}number {rules}".strip()
    require(good, f"`{name}` must be {rule}: got {value!r}.")


def is_number(value: object, *, finite: bool = False) -> bool:
    """Return whether ``value`` is a number of Python or NumPy; True and False are not.

    >>> is_number(1.5), is_number(True), is_number("1"), is_number(float("nan"), finite=True)
    (True, False, False, False)
    """
    if not isinstance(value, Real) or isinstance(value, bool):
        return False
    # `math.isfinite` would fail for whole numbers that are too large for a float.
    return not finite or bool(abs(value) <= sys.float_info.max)  # type: ignore[operator]


def require_choice(name: str, value: object, choices: Iterable[object]) -> None:
    """Raise :class:`InputError` unless ``value`` is one of ``choices``.

    >>> require_choice("form", "imag", ["image"])
    Traceback (most recent call last):
        ...
    harness.core.errors.InputError: `form` must be one of 'image': got 'imag'. Did you mean 'image'?
    """
    allowed = list(choices)
    if value in allowed:
        return
    listed = ", ".join(repr(choice) for choice in allowed)
    near = get_close_matches(value, filter(_is_text, allowed), n=1) if _is_text(value) else []
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise InputError(f"`{name}` must be one of {listed}: got {value!r}.{hint}")


def _is_text(value: object) -> TypeGuard[str]:
    return isinstance(value, str)


def unknown(kind: str, name: str, known: Iterable[str]) -> InputError:
    """Return the error for an unknown name, with the known names that come closest.

    >>> str(unknown("loss", "infonec", ["adnce", "infonce"]))
    "There is no loss 'infonec'. Did you mean 'infonce'? Known: adnce, infonce."
    """
    names = sorted(known)
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(repr(n) for n in near)}?" if near else ""
    return InputError(f"There is no {kind} {name!r}.{hint} Known: {', '.join(names) or 'none'}.")
