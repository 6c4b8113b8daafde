"""Search spaces of tuning, sampled at the same points for every loss."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.core.errors import InputError, require, require_choice, require_number

MAX_SETTINGS = 16
"""The number of coordinates of every point. A loss reads one coordinate per setting that it
searches. Adding a loss to a study, or a setting to one loss, thus changes no trial of the other
losses."""

MAX_TRIALS = 4096
SEQUENCE_SEED = 0
"""The seed of the Sobol sequence's scrambling, the same for all studies."""

MAX_BOUND = 1e12
"""The largest absolute value of a range's ends."""

DIGITS = 4
"""Significant digits of the values that are tried, so that specs stay readable."""


@dataclass(frozen=True)
class Range:
    """Span the numbers from ``low`` to ``high``, uniformly or, with ``log``, log-uniformly."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def at(self, u: float) -> float | int:
        """Return the value at ``u`` in [0, 1), with four significant digits.

        >>> Range(0.01, 1.0, log=True).at(0.5), Range(1, 4, whole=True).at(0.99)
        (0.1, 4)
        """
        if self.whole:
            return int(self.low) + int(u * (self.high - self.low + 1))
        if self.log:
            # Interpolate between the logarithms: equal ratios get equal shares of [0, 1).
            ends = math.log(self.low), math.log(self.high)
            value = math.exp(ends[0] + u * (ends[1] - ends[0]))
        else:
            value = self.low + u * (self.high - self.low)
        # Rounding to a few digits may leave the range.
        return min(max(float(f"{value:.{DIGITS}g}"), self.low), self.high)

    @property
    def ends(self) -> tuple[Any, ...]:
        """Return the values to validate: if both ends are valid, so are all values between them."""
        return self.low, self.high

    def to_dict(self) -> dict[str, Any]:
        """Return the range as a study's file writes it."""
        return {"low": self.low, "high": self.high} | ({"log": True} if self.log else {})


@dataclass(frozen=True)
class Choices:
    """List a few values, of any type, all equally likely."""

    options: tuple[Any, ...]

    def at(self, u: float) -> Any:
        """Return the option at ``u`` in [0, 1).

        >>> Choices(("image", "graph")).at(0.5)
        'graph'
        """
        return self.options[int(u * len(self.options))]

    @property
    def ends(self) -> tuple[Any, ...]:
        """Return the values to validate, which are all options."""
        return self.options

    def to_dict(self) -> list[Any]:
        """Return the choices as a study's file writes them."""
        return list(self.options)


Space = Mapping[str, Range | Choices]


def points(trials: int) -> NDArray[np.float64]:
    """Return the first ``trials`` points of one scrambled Sobol sequence, in [0, 1).

    Trial k is point k for any number of trials, so that a higher number adds trials and changes
    none.

    >>> points(3).shape, bool((points(3) == points(8)[:3]).all())
    ((3, 16), True)
    """
    from scipy.stats import qmc

    # A Sobol sequence is balanced over the first 2^m points, so draw a power of 2 of them.
    sequence = qmc.Sobol(MAX_SETTINGS, scramble=True, rng=np.random.default_rng(SEQUENCE_SEED))
    drawn: NDArray[np.float64] = sequence.random_base2(math.ceil(math.log2(max(trials, 2))))
    return drawn[:trials]


def settings_at(space: Space, point: NDArray[np.float64]) -> dict[str, Any]:
    """Return {setting: value} of one point: one coordinate a setting, in the space's order."""
    return {name: part.at(float(u)) for (name, part), u in zip(space.items(), point, strict=False)}


def read(name: str, value: Any, default: Any) -> Range | Choices:
    """Parse a study's ``value`` for the setting ``name`` as a part of a search space.

    Args:
        name: the setting's name, for error messages.
        value: ``{low, high, log}``, or a list of choices.
        default: the setting's default; if it is an int, numbers are whole.

    Raises:
        InputError: if the value is neither, or its bounds make no sense.
    """
    if isinstance(value, list | tuple):
        plain = all(isinstance(option, str | int | float | None) for option in value)
        require(
            plain and len(value) >= 2 and len(set(value)) == len(value),
            f"`{name}` must list at least two different numbers or texts: got {value!r}.",
        )
        return Choices(tuple(value))
    for key in value:
        require_choice(f"{name}.{key}", key, ("low", "high", "log"))
    missing = [key for key in ("low", "high") if key not in value]
    lacking = " and ".join(missing)
    require(not missing, f"`{name}` must have `low` and `high`: got {value}. Add {lacking}.")
    whole = type(default) is int
    require(
        whole or default is None or isinstance(default, float),
        f"`{name}` must be a list of choices, as its default {default!r} is not a number: "
        f"got {value}. Write [{default!r}, ...].",
    )
    log = value.get("log", False)
    require_choice(f"{name}.log", log, (True, False))
    require(
        not (whole and log),
        f"`{name}` must not have `log`, as it is a whole number: got {value}. List its choices "
        "instead.",
    )
    require_number(
        f"{name}.low", value["low"], above=0 if log else None, at_least=-MAX_BOUND, whole=whole
    )
    require_number(f"{name}.high", value["high"], at_most=MAX_BOUND, whole=whole)
    low, high = value["low"], value["high"]
    require(low < high, f"`{name}` must have low < high: got {low!r} and {high!r}.")
    part = Range(low, high, log, True) if whole else Range(float(low), float(high), log)
    # Coordinates are below 1, so that `at(1.0)` is no valid call.
    require(
        part.at(0.0) != part.at(0.999),
        f"`{name}` must have ends that differ in their first {DIGITS} digits: got {low!r} and "
        f"{high!r}.",
    )
    return part


def require_settings(space: Space) -> None:
    """Raise :class:`InputError` if ``space`` has more settings than a point has coordinates."""
    if len(space) > MAX_SETTINGS:
        raise InputError(f"A loss must search at most {MAX_SETTINGS} settings: got {list(space)}.")
