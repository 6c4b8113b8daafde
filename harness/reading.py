"""Parse the parts of a study: check each, and collect all mistakes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from typing import Any

from harness import search
from harness.cells import UNTRAINED, Spec, is_trained
from harness.errors import InputError, require_number, unknown

EXAMPLES = {
    "losses": "adnce = {mu = 0.5}",
    "methods": "moco = {momentum = 0.99}",
    "tasks": "images = {labels = 20}",
}
MOST_SEEDS = 10_000
FIRST_TUNING_SEED = MOST_SEEDS
"""The first tuning seed if a number is given: no board seed given by a number reaches it."""


@dataclass(frozen=True)
class Tuning:
    """The budget that every searched loss gets on every task, with every method.

    Attributes:
        trials: how many points of a loss's search space are tried.
        seeds: the seeds that each point is tried with; the board uses none of them.
    """

    trials: int
    seeds: tuple[int, ...]


class Mistakes:
    """Collect the mistakes of a study, to report them all at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, line: str) -> None:
        """Add a mistake."""
        self.lines.append(line)

    @contextmanager
    def caught(self) -> Iterator[None]:
        """Add the block's :class:`InputError`, if any, instead of raising it."""
        try:
            yield
        except InputError as error:
            self.lines += str(error).split("\n")

    def error(self, name: object) -> InputError:
        """Return all mistakes as one error."""
        return InputError("\n".join([f"The study {name!r} is wrong:", *self.lines]))

    def stop(self, name: object) -> None:
        """Raise all mistakes as one error, if there are any."""
        if self.lines:
            raise self.error(name)


def table_of(group: str, value: Any, wrong: Mistakes) -> dict[Spec, Mapping[str, Any]]:
    """Return {spec: settings} of a list of specs or a table, without untrained encoders."""
    listed = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    tabled = isinstance(value, Mapping) and all(isinstance(v, Mapping) for v in value.values())
    if not listed and not tabled:
        example = EXAMPLES[group]
        wrong.add(
            f'`{group}` must be a list of specs, such as ["{example.split()[0]}"], or a table of '
            f"their settings, such as [{group}] {example}: got {value!r}."
        )
        return {}
    found = dict(value) if tabled else {spec: {} for spec in value}
    # Every study includes `untrained` and each task's references anyway.
    for name in [name for name in found if group == "losses" and not is_trained(name)]:
        if found.pop(name):
            wrong.add(f"`losses.{name}` has no settings: it is an encoder as it is.")
    if not found:
        extra = f" ({UNTRAINED!r} is always included)" if group == "losses" else ""
        wrong.add(f"`{group}` must name at least one of the {group}{extra}: got none.")
    return found


def seeds_of(name: str, value: Any, first: int, wrong: Mistakes) -> tuple[int, ...]:
    """Return the seeds: a list unchanged, or for a number n the n seeds from ``first`` on."""
    seeds: Any = value
    if _is_whole(value):
        # Bounded: one seed too many is enough for the mistake below.
        seeds = range(first, first + min(int(value), MOST_SEEDS + 1))
    good = isinstance(seeds, Sequence) and not isinstance(seeds, str | bytes)
    if good and len(seeds) <= MOST_SEEDS and all(_is_whole(seed) and seed >= 0 for seed in seeds):
        found = tuple(int(seed) for seed in seeds)
        if found and len(set(found)) == len(found):
            return found
    wrong.add(
        f"`{name}` must be a number of seeds, 1 to {MOST_SEEDS}, or a list of different ones, "
        f"each 0 or above: got {value!r}."
    )
    return ()


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def tuning_of(value: Any, wrong: Mistakes) -> Tuning | None:
    """Parse a study's table ``tuning``."""
    if value is None:
        return None
    if isinstance(value, Tuning):
        value = asdict(value)
    if not isinstance(value, Mapping):
        wrong.add(f"`tuning` must be a table, such as {{trials = 8, seeds = 2}}: got {value!r}.")
        return None
    known = [field.name for field in fields(Tuning)]
    wrong.lines += [
        str(unknown("key of tuning", str(key), known)) for key in value if key not in known
    ]
    wrong.lines += [f"`tuning.{key}` is missing." for key in known if key not in value]
    trials = value.get("trials", 1)
    with wrong.caught():
        require_number("tuning.trials", trials, at_least=1, at_most=search.MOST_TRIALS, whole=True)
    return Tuning(trials, seeds_of("tuning.seeds", value.get("seeds", 1), FIRST_TUNING_SEED, wrong))
