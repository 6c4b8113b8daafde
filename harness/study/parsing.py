"""Parse and check the parts of a study, and collect all mistakes."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from numbers import Integral
from typing import Any

from harness.core.cells import UNTRAINED, Spec, is_trained, name_of
from harness.core.errors import InputError, require_number, unknown
from harness.plugins import spec_of
from harness.settings import plain
from harness.study import search

EXAMPLES = {
    "losses": "adnce = {mu = 0.5}",
    "methods": "moco = {momentum = 0.99}",
    "tasks": "images = {labels = 20}",
}
MAX_SEEDS = 10_000
FIRST_TUNING_SEED = MAX_SEEDS
"""The first tuning seed if only the number of seeds is given: board seeds that are given by a
number stay below it."""


@dataclass(frozen=True)
class Tuning:
    """The tuning budget of each loss with a search space, on each task with each method.

    Attributes:
        trials: how many points of a loss's search space are tried.
        seeds: the seeds that each point is tried with; no score of the board uses them.
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


def table_of(group: str, value: Any, mistakes: Mistakes) -> dict[Spec, Mapping[str, Any]]:
    """Return {spec: settings} of a list of specs or a table, without untrained encoders.

    A class or an instance of a plugin may stand in the place of its spec.
    """
    try:
        if isinstance(value, Mapping):
            value = {spec_of(group, key): plain(table) for key, table in value.items()}
        elif isinstance(value, list | tuple):
            value = [spec_of(group, item) for item in value]
    except InputError as error:
        mistakes.add(str(error))
        return {}
    listed = isinstance(value, list | tuple) and all(isinstance(item, str) for item in value)
    tabled = isinstance(value, Mapping) and all(isinstance(v, Mapping) for v in value.values())
    if not listed and not tabled:
        example = EXAMPLES[group]
        mistakes.add(
            f'`{group}` must be a list of specs, such as ["{example.split()[0]}"], or a table of '
            f"their settings, such as [{group}] {example}: got {value!r}."
        )
        return {}
    found = dict(value) if tabled else {spec: {} for spec in value}
    # Every study includes `untrained` and each task's references anyway.
    for name in [name for name in found if group == "losses" and not is_trained(name)]:
        table = found.pop(name)
        if table:
            mistakes.add(
                f"`losses.{name}` must have no settings, as it is not trained: got {table}."
            )
    if not found:
        extra = f" ({UNTRAINED!r} is always included)" if group == "losses" else ""
        mistakes.add(f"`{group}` must name at least one of the {group}{extra}: got none.")
    return found


def seeds_of(name: str, value: Any, first: int, mistakes: Mistakes) -> tuple[int, ...]:
    """Return the seeds: those of a list, or for a number n the n seeds from ``first`` on."""
    seeds: Any = plain(value)
    if _is_whole(value):
        # One seed too many suffices for the mistake below; more would only fill memory.
        seeds = range(first, first + min(int(value), MAX_SEEDS + 1))
    good = isinstance(seeds, Sequence) and not isinstance(seeds, str | bytes)
    if good and len(seeds) <= MAX_SEEDS and all(_is_whole(seed) and seed >= 0 for seed in seeds):
        found = tuple(int(seed) for seed in seeds)
        if found and len(set(found)) == len(found):
            return found
    mistakes.add(
        f"`{name}` must be a number of seeds, 1 to {MAX_SEEDS}, or a list of different seeds, "
        f"each 0 or above: got {value!r}."
    )
    return ()


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def margins_of(
    value: Any, tasks: Iterable[Spec], spec_of: Callable[[Any], Any] = lambda task: task
) -> dict[str, float]:
    """Return {task or its name: the smallest difference that matters}.

    Args:
        value: a study's key ``margins``.
        tasks: the study's tasks.
        spec_of: returns the task of an alias, or of a spec as the study's file writes it.

    Raises:
        InputError: if a margin is not a number above 0, or if it is of no task of the study.

    >>> margins_of(0.5, ["images", "nodes(steps=9)"])
    {'images': 0.5, 'nodes(steps=9)': 0.5}
    >>> margins_of({"nodes": 1}, ["images", "nodes(steps=9)"])
    {'nodes': 1.0}
    """
    value = plain(value)
    if value is None:
        return {}
    tasks = list(tasks)
    table = value if isinstance(value, Mapping) else dict.fromkeys(tasks, value)
    known = {*tasks, *map(name_of, tasks)}
    found = {}
    for name, margin in table.items():
        task = name if name in known else spec_of(name)
        if task not in known:
            raise unknown("task of `margins`", str(name), sorted(known))
        require_number("margins", margin, above=0)
        found[task] = float(margin)
    return found


def tuning_of(value: Any, mistakes: Mistakes) -> Tuning | None:
    """Parse a study's table ``tuning``."""
    if value is None:
        return None
    if isinstance(value, Tuning):
        value = asdict(value)
    value = plain(value)
    if not isinstance(value, Mapping):
        mistakes.add(f"`tuning` must be a table, such as {{trials = 8, seeds = 2}}: got {value!r}.")
        return None
    known = [field.name for field in fields(Tuning)]
    mistakes.lines += [
        str(unknown("key of tuning", str(key), known)) for key in value if key not in known
    ]
    mistakes.lines += [f"`tuning.{key}` is missing." for key in known if key not in value]
    trials = value.get("trials", 1)
    with mistakes.caught():
        require_number("tuning.trials", trials, at_least=1, at_most=search.MAX_TRIALS, whole=True)
    seeds = seeds_of("tuning.seeds", value.get("seeds", 1), FIRST_TUNING_SEED, mistakes)
    return Tuning(trials, seeds)
