"""Choose cells of a run: by the start of a key, by words, or by their parts."""

import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any, Literal

from harness import plugins
from harness.core.cells import Spec, name_of
from harness.core.errors import InputError
from harness.run.status import CellState, recorded, states
from harness.store.labels import aliases_of, display_names
from harness.store.records import Store

MIN_KEY = 4
"""Digits that the start of a key has at least."""

Group = Literal["tasks", "methods", "losses"]
GROUPS: tuple[Group, ...] = ("tasks", "methods", "losses")

# A word holds no space or comma, except in brackets and quotation marks.
_WORD = re.compile(
    r"""(?:[^\s,()'"]|\((?:[^()'"]|'[^']*'|"[^"]*"|\([^()]*\))*\))+|[^\s,]+""", re.VERBOSE
)
_SEPARATORS = ("/", "·")


@dataclass(frozen=True)
class Filters:
    """Choose cells by their parts; an empty filter chooses all.

    Attributes:
        tasks: names, specs, labels or aliases of tasks.
        methods: the same of methods.
        losses: the same of losses, and labels of rows.
        seeds: whole seeds.
        states: states of cells.
    """

    tasks: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    seeds: tuple[int, ...] = ()
    states: tuple[str, ...] = ()


@dataclass(frozen=True)
class Names:
    """Hold the labels and aliases of a study, in lower case.

    Attributes:
        aliases: {alias: the spec or the label of the row that it stands for}.
        labels: {label: the names, specs or labels of rows that it stands for}.
    """

    aliases: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def from_study(cls, study: Mapping[str, Any]) -> "Names":
        """Read them from a study's file; older files have none.

        The plugins' own labels count as well, so that every name of the board names its cells.
        """
        aliases = {alias.casefold(): spec for alias, spec in aliases_of(study).items()}
        labels: dict[str, list[str]] = {}
        for name, text in display_names(study).items():
            if text.casefold() not in aliases:  # Boards show aliases as labels.
                labels.setdefault(text.casefold(), []).append(name)
        return cls(aliases, labels)

    def split(self, text: str) -> list[str]:
        """Return the words of ``text``; a label or alias is one word, spaces included.

        >>> Names(labels={"adnce, sharp": ["adnce(sigma=0.5)"]}).split("ADNCE, sharp seed 1")
        ['adnce, sharp', 'seed', '1']
        >>> Names().split("images(data='a b', size=8) / adnce / seed 1")
        ["images(data='a b', size=8)", 'adnce', 'seed', '1']
        """
        words: list[str] = []
        longest_first = sorted({*self.aliases, *self.labels}, key=len, reverse=True)
        while text := text.lstrip(" ,\t\n"):
            word = next((each for each in longest_first if _starts(text, each)), "")
            if not word:
                found = _WORD.match(text)
                assert found is not None  # Its second alternative takes any other letter.
                word = found[0]
            text = text[len(word) :]
            if word not in _SEPARATORS:
                words.append(word)
        return words


def _starts(text: str, label: str) -> bool:
    """Return whether ``text`` starts with all of ``label``, and not with a longer word."""
    rest = text[len(label) :]
    return text[: len(label)].casefold() == label and (not rest or rest[0] in " ,\t\n")


@dataclass
class Words:
    """Hold what the words of a cell ask for.

    Attributes:
        parts: names, specs, settings, labels of rows, labels and aliases: all must match.
        seeds: whole seeds.
        trials: numbers of tuning trials.
        tuning: whether cells of tuning trials are meant.
    """

    parts: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    trials: list[int] = field(default_factory=list)
    tuning: bool = False

    @classmethod
    def read(cls, words: Sequence[str]) -> "Words":
        """Sort words by their meaning: a number is a seed, behind ``trial`` a trial's.

        Raises:
            InputError: if no whole number follows the word ``seed``.

        >>> Words.read(["adnce", "trial", "2", "seed", "10001"])
        Words(parts=['adnce'], seeds=[10001], trials=[2], tuning=True)
        """
        found, before = cls(), ""
        for word in words:
            kind = word.casefold()
            number = re.fullmatch(r"(?:(seed|trial)[=:]?)?(\d+)", kind)
            if number:
                kind = number[1] or before
                found.tuning |= kind == "trial"
                (found.trials if kind == "trial" else found.seeds).append(int(number[2]))
            elif before == "seed":
                break
            elif kind in ("tuning", "trial"):
                found.tuning = True
            elif kind != "seed":
                found.parts.append(word)
            before = "" if number else kind
        if before == "seed":
            raise InputError(
                f"`CELL` must have a whole number after 'seed': got {' '.join(words)!r}. "
                "Write it as in 'adnce seed 2'."
            )
        return found


def find(store: Store, wanted: str = "", filters: Filters | None = None) -> list[CellState]:
    """Return the cells of ``store`` that ``wanted`` names, among those that ``filters`` choose.

    Args:
        store: the run's folder.
        wanted: the start of a record's key, or words (see :func:`named`); empty for all cells.
        filters: what the cells must have; None for all cells.

    Raises:
        InputError: if there is no such cell, with the nearest names.
    """
    names, folder = Names.from_study(store.study()), store.given
    cells = states(store)
    cells += recorded(store, {state.key for state in cells})
    cells = choose(cells, filters or Filters(), names, folder)
    if not cells:
        raise InputError(
            f"No cell of {str(folder)!r} passes all filters. Leave one of them out, or list the "
            f"cells: `triptych status {folder} --cells`."
        )
    return named(cells, wanted.strip(), names, folder) if wanted.strip() else cells


def choose(
    cells: Sequence[CellState], filters: Filters, names: Names, folder: Path
) -> list[CellState]:
    """Return those of ``cells``, of the run in ``folder``, that ``filters`` choose, if any.

    Raises:
        InputError: if a filter has a value that no cell has, with the nearest name.
    """

    def part_of(group: Group) -> Callable[[Any, CellState], bool]:
        return lambda value, state: _is_part(value, state, names, (group,))

    rules: list[tuple[str, Sequence[Any], Callable[[Any, CellState], bool]]] = [
        ("--task", filters.tasks, part_of("tasks")),
        ("--method", filters.methods, part_of("methods")),
        ("--loss", filters.losses, part_of("losses")),
        ("--seed", filters.seeds, lambda value, state: value == state.cell.seed),
    ]
    chosen = [state for state in cells if not filters.states or state.state in filters.states]
    for option, values, passes in rules:
        for value in values:
            if not any(passes(value, state) for state in cells):
                raise _unknown(folder, option, value, _words_of(cells, names))
        if values:
            chosen = [s for s in chosen if any(passes(value, s) for value in values)]
    return chosen


def named(cells: Sequence[CellState], wanted: str, names: Names, folder: Path) -> list[CellState]:
    """Return those of ``cells``, of the run in ``folder``, that ``wanted`` names.

    From strict to loose, the first rule that matches any cell decides: the whole key; the start
    of a key; all words, where a bare name such as ``adnce`` means that loss at its defaults; all
    words, where it means the loss with any settings. See :func:`matches`.

    Raises:
        InputError: if there is no such cell, with the nearest name.
    """
    for by_key in (
        [state for state in cells if state.key == wanted],
        [state for state in cells if len(wanted) >= MIN_KEY and state.key.startswith(wanted)],
    ):
        if by_key:
            return by_key
    words = Words.read(names.split(wanted))
    for exact in (True, False):
        found = [state for state in cells if matches(state, words, names, exact=exact)]
        if found:
            return found
    raise _nothing(folder, wanted, words, cells, names)


def matches(state: CellState, words: Words, names: Names, *, exact: bool) -> bool:
    """Return whether a cell is one that ``words`` name.

    Every part must match as a whole: the name of the cell's task, method or loss; its spec; one
    of its settings, such as ``mu=0.5``; the label of its row; or a label or alias for one of
    these. Seeds and trials must be equal to the cell's. Cells of tuning trials match only words
    that ask for tuning.

    Args:
        state: the cell.
        words: the words.
        names: the study's labels and aliases.
        exact: whether a bare name is a whole spec: ``adnce`` does not match ``adnce(mu=0.5)``.
    """
    return (
        words.tuning == (state.cell.scored == "validation")
        and all(seed == state.cell.seed for seed in words.seeds)
        and all(trial == state.trial for trial in words.trials)
        and all(_is_part(part, state, names, GROUPS, exact=exact) for part in words.parts)
    )


def _is_part(
    part: str, state: CellState, names: Names, groups: Collection[Group], *, exact: bool = False
) -> bool:
    """Return whether ``part`` names the cell's plugin of one of ``groups``, or its row."""
    word = part.casefold()
    aliased = [names.aliases[word]] if word in names.aliases else []
    plain = [part]
    for name in names.labels.get(word, ()):
        alias = names.aliases.get(name.casefold())
        (plain if alias is None else aliased).append(alias or name)
    return any(_is_plain(each, state, groups, exact=True) for each in aliased) or any(
        _is_plain(each, state, groups, exact=exact) for each in plain
    )


def _is_plain(part: str, state: CellState, groups: Collection[Group], *, exact: bool) -> bool:
    """Return the same for a part that is neither a label nor an alias."""
    if "losses" in groups and part.casefold() in map(str.casefold, state.rows):
        return True
    return any(
        _is_spec(part, group, spec, exact=exact)
        for group in groups
        for spec in _specs(state, group)
    )


def _is_spec(part: str, group: Group, spec: Spec, *, exact: bool) -> bool:
    """Return whether ``part`` is the name of ``spec``, the whole spec, or one of its settings."""
    if "(" in part:
        same_name = _in_one_style(name_of(part)) == _in_one_style(name_of(spec))
        plain = part == spec or _plain_form(part) == spec
        return plain or (same_name and _canonical(group, part) == spec)
    if "=" in part:
        asked, given = _settings(f"x({part})"), _settings(spec)
        return bool(asked) and asked.items() <= given.items()
    return _in_one_style(part) == _in_one_style(spec if exact else name_of(spec))


def _specs(state: CellState, group: Group) -> tuple[Spec, ...]:
    """Return the spec of the cell's plugin of ``group``; a task's also with names for paths."""
    cell = state.cell
    if group == "tasks":
        return cell.task, state.task or cell.task
    return (cell.method,) if group == "methods" else (cell.loss,)


def _in_one_style(name: str) -> str:
    """Return a name in lower case, with underscores for dashes, and without a plugin's file."""
    return name.rpartition(":")[2].casefold().replace("-", "_")


@cache
def _canonical(group: Group, spec: Spec) -> Spec:
    """Return the canonical form of ``spec``; as it stands if its plugin is not installed."""
    try:
        return plugins.canonical(group, spec)
    except InputError:
        return spec


@cache
def _plain_form(spec: Spec) -> Spec:
    """Return ``spec`` as it is written in cells, but with the defaults that it gives.

    This needs no plugin, whose import may take seconds.
    """
    try:
        name, given = plugins.read(spec)
    except InputError:
        return spec
    listed = ", ".join(f"{key}={value!r}" for key, value in given.items())
    return f"{name}({listed})" if listed else name


@cache
def _settings(spec: Spec) -> dict[str, Any]:
    """Return the settings that ``spec`` gives; none if it cannot be read."""
    try:
        return plugins.read(spec)[1]
    except InputError:
        return {}


def _words_of(cells: Iterable[CellState], names: Names) -> set[str]:
    """Return the words that name parts of ``cells``, and the study's labels and aliases."""
    specs = {spec for state in cells for group in GROUPS for spec in _specs(state, group) if spec}
    rows = {row for state in cells for row in state.rows}
    return {*map(name_of, specs), *specs, *rows, *names.aliases, *names.labels}


def _unknown(folder: Path, argument: str, value: object, known: Iterable[str]) -> InputError:
    """Return the error for a value that no cell has."""
    near = get_close_matches(str(value), sorted(known), n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return InputError(
        f"`{argument}` must name a cell of {str(folder)!r}: no cell has {value!r}.{hint} "
        f"To list the cells, run `triptych status {folder} --cells`."
    )


def _nothing(
    folder: Path, wanted: str, words: Words, cells: Sequence[CellState], names: Names
) -> InputError:
    """Return the error for words that name no cell."""
    for part in words.parts:
        if not any(_is_part(part, state, names, GROUPS) for state in cells):
            return _unknown(folder, "CELL", part, _words_of(cells, names))
    other = replace(words, tuning=not words.tuning)
    if any(matches(state, other, names, exact=False) for state in cells):
        what = (
            "cells of tuning trials: add the word 'tuning'"
            if other.tuning
            else ("cells of the board: leave out the word 'tuning' or 'trial'")
        )
        return InputError(f"`CELL` must say which cells are meant: {wanted!r} names only {what}.")
    return InputError(
        f"`CELL` must name a cell of {str(folder)!r}: no cell has all of {wanted!r}. "
        f"To list the cells, run `triptych status {folder} --cells`."
    )
