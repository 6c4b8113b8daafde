"""What people call the plugins, metrics, tasks and rows of a study: labels and aliases."""

import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeGuard

from harness.core.cells import CONTROL, TUNED, UNTRAINED, Spec, name_of
from harness.core.errors import InputError, require, unknown
from harness.plugins import build, load, names, settings
from harness.study.parsing import Mistakes

if TYPE_CHECKING:
    from harness.study.study import Study

Table = Mapping[str, Any]
USE = "use"
"""The key of a plugin's table that makes the table's own key an alias."""

MAX_LENGTH = 80
"""Characters of a label or an alias."""

_INVISIBLE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of control characters, invisible marks and line breaks."""


def is_label(text: object) -> TypeGuard[str]:
    r"""Return whether ``text`` can be a label: 1 to 80 characters that can all be seen.

    >>> is_label("f-MICL (χ²)"), is_label(""), is_label("two\nlines"), is_label(None)
    (True, False, False, False)
    """
    return (
        isinstance(text, str)
        and bool(text.strip())
        and len(text) <= MAX_LENGTH
        and not any(unicodedata.category(character) in _INVISIBLE for character in text)
    )


# Plugins


def plugin_label(group: str, name: str) -> str:
    """Return what people call a plugin: the ``label`` of its own class, or its name in its file.

    It is empty for an installed plugin without a label.

    A class that derives from another plugin's does not take over that plugin's label.

    >>> plugin_label("losses", "infonce"), plugin_label("losses", "simclr")
    ('InfoNCE', 'SimCLR')
    """
    label = getattr(load(group, name), "__dict__", {}).get("label")
    # A plugin may have a setting of this name, which says something else.
    if is_label(label) and "label" not in settings(group, name):
        return label
    return name.rpartition(":")[2] if ":" in name else ""  # The file is in the details.


def plugin_names(study: "Study") -> dict[str, str]:
    """Return {name: label} of the plugins of ``study`` and of its tasks' metrics.

    Those without a label are left out.
    """
    specs: dict[str, Iterable[Spec]] = {
        "tasks": study.tasks,
        "losses": [entry.spec for entry in study.entries],
        "methods": study.all_methods,
    }
    found = {
        name: plugin_label(group, name)
        for group, each in specs.items()
        for name in dict.fromkeys(map(name_of, each))
    }
    for name, label in metric_labels(study.tasks).items():
        found[name] = found.get(name) or label
    return {name: label for name, label in found.items() if label}


def metric_labels(tasks: Iterable[Spec]) -> dict[str, str]:
    """Return {metric: its label} of the metrics that ``tasks`` declare."""
    found: dict[str, str] = {}
    for task in tasks:
        # A task whose metrics are wrong is refused when it is scored. Labels must stop no run.
        with suppress(Exception):
            for metric in build("tasks", task).metrics:
                found.setdefault(metric.name, metric.label if is_label(metric.label) else "")
    return found


# A study's own


class Aliases:
    """Collect the aliases of a study, and the specs as its file writes them.

    Attributes:
        known: {alias: its spec, or the label of its row}.
        written: {a key of the study's file: the canonical spec, or the label of the row}.
    """

    def __init__(self, given: object, mistakes: Mistakes) -> None:
        """Start with the aliases in ``given``, which is a study's key ``aliases``."""
        self.known: dict[str, str] = {}
        self.written: dict[str, str] = {}
        if _are_texts(given):
            self.known |= given
        else:
            mistakes.add(f"`aliases` must be a table of texts: got {given!r}.")

    def read(self, group: str, key: Spec, table: Table) -> tuple[Spec, Table]:
        """Return the spec and the settings that a key of the study's file and its table give.

        Raises:
            InputError: if the table's ``use`` is not a text.
        """
        if USE not in table:
            return self.known[key].removesuffix(TUNED) if key in self.known else key, table
        spec = table[USE]
        require(
            isinstance(spec, str),
            f"`use` of `{group}.{key}` must be a spec, such as "
            f"{'adnce(mu=0.5)' if group == 'losses' else names(group)[0]!r}: got {spec!r}.",
        )
        return spec, {name: value for name, value in table.items() if name != USE}

    def add(self, key: Spec, table: Table, code: str) -> None:
        """Note that a key of the study's file stands for ``code``: a spec, or a row's label.

        Raises:
            InputError: if ``key`` is an alias of something else.
        """
        self.written[key] = code
        if USE in table:
            rival = self.known.setdefault(key, code)
            require(
                rival == code,
                f"The alias {key!r} must stand for one spec: got {rival} and {code}. Rename one.",
            )

    def resolved(self, name: Any) -> Any:
        """Return what ``name`` stands for, as canonical text; other values unchanged."""
        if not isinstance(name, str):
            return name
        return self.known.get(name) or self.written.get(name, name)

    def checked(self, codes: Collection[str]) -> dict[str, str]:
        """Return {alias: its code}, without those that say nothing new.

        Args:
            codes: the specs and the labels of rows that a study has.

        Raises:
            InputError: if there are mistakes; the message lists all of them.
        """
        kept = {a: code for a, code in self.known.items() if code.removesuffix(TUNED) != a}
        lines = [*self._mistakes(kept, codes)]
        if lines:
            raise InputError("\n".join(lines))
        return kept

    def _mistakes(self, kept: Mapping[str, str], codes: Collection[str]) -> Iterator[str]:
        plugins = {name for group in ("tasks", "losses", "methods") for name in names(group)}
        first: dict[str, str] = {}
        for alias, code in kept.items():
            if not re.fullmatch(r"\w[\w. -]*", alias) or not is_label(alias):
                yield (
                    "An alias must be of letters, digits, '.', '_', '-' and spaces, start with a "
                    f"letter or digit, and have at most {MAX_LENGTH} characters: got {alias!r}."
                )
            elif alias.replace("-", "_") in {*plugins, UNTRAINED, CONTROL}:
                yield (
                    f"The alias {alias!r} of {code} must not be the name of a plugin or row, which "
                    "would stand for two things. Rename it."
                )
            elif code not in codes:
                yield str(unknown("spec of `aliases`", code, codes))
            elif first.setdefault(code, alias) != alias:
                yield f"{code} must have one alias: got {first[code]!r} and {alias!r}."


def labels_of(value: object, aliases: Aliases, codes: Collection[str]) -> dict[str, str]:
    """Return {spec, row, plugin or metric: its label} of a study's key ``labels``.

    Args:
        value: {name: label}, where a name may also be an alias, or a spec as the file writes it.
        aliases: the study's aliases.
        codes: all names that may have a label, in canonical form.

    Raises:
        InputError: if there are mistakes; the message lists all of them.
    """
    if not isinstance(value, Mapping):
        raise InputError(
            f'`labels` must be a table of texts, such as {{adnce = "ADNCE (ours)"}}: got {value!r}.'
        )
    found: dict[str, str] = {}
    named: dict[str, str] = {}
    lines = []
    for name, text in value.items():
        code = name if name in codes else aliases.resolved(name)
        if not is_label(text):
            lines.append(
                f"`labels.{name}` must be a text of 1 to {MAX_LENGTH} characters, without control "
                f"characters: got {text!r}."
            )
        elif code not in codes:
            every = {*codes, *aliases.known, *aliases.written}
            lines.append(str(unknown("name of `labels`", str(name), every)))
        elif found.setdefault(code, text) != text:
            lines.append(f"`labels` must name {code} once: got {found[code]!r} and {text!r}.")
        elif (other := named.setdefault(text, code)) != code:
            lines.append(
                f"`labels` must give each name another label: {other} and {code} are both {text!r}."
            )
    if lines:
        raise InputError("\n".join(lines))
    return found


def _are_texts(value: object) -> TypeGuard[Mapping[str, str]]:
    return isinstance(value, Mapping) and all(
        isinstance(text, str) for pair in value.items() for text in pair
    )
