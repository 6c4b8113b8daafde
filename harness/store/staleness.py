"""Find stale records: those whose code has changed since their cells were run.

``run`` makes stale cells anew; ``status``, ``plan`` and the board say so before. A run writes a
digest of every module that its cells depend on. Here they are compared with today's files, and no
plugin is imported.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from itertools import chain
from pathlib import Path
from typing import Any

from harness.core import plugin_files, sources
from harness.core.definitions import definitions_of
from harness.core.errors import InputError

CODE = "code"
"""The key of a written study that holds what :func:`written` returns."""

MAX_NAMED = 2
"""The most files that a reason names."""
MAX_REASONS = 3
"""The most reasons that a sentence names."""

Block = Mapping[str, Any]
"""The modules of the cells of one run.

``modules`` is {module: [digest of its file, digest of its code]}, with the path of a user's own
file after them, which another process may not find; ``shared`` lists those that all
cells depend on, ``uses`` is {digest of a cell's code, as its record holds it: its other modules},
and ``copies`` is the place of the copies of plugins' files in the run's folder.
"""


def written(
    uses: Mapping[str, Mapping[str, Path]], earlier: Iterable[Block], copies: str = ""
) -> list[Block]:
    """Return what a run writes with its plan: a block, and those of earlier runs still in use.

    Args:
        uses: {digest of a cell's code: {module: file} of all modules that it depends on}.
        earlier: the blocks of earlier runs in the folder. They are kept for the cells whose code
            the new block does not have: their records may still be there.
        copies: the place of the copies of plugins' files in the run's folder; empty: none.
    """
    modules = {name: path for found in uses.values() for name, path in found.items()}
    shared = frozenset[str]().union(*uses.values()).intersection(*uses.values())
    blocks: list[Block] = [
        {
            "modules": {
                name: [*_digests(path), *([str(path)] if sources.is_users(name) else [])]
                for name, path in sorted(modules.items())
            },
            "shared": sorted(shared),
            "uses": {source: sorted(found.keys() - shared) for source, found in uses.items()},
            "copies": copies,
        }
    ]
    for block in earlier:
        known = {source for newer in blocks for source in newer["uses"]}
        left = {source: names for source, names in block["uses"].items() if source not in known}
        if left:
            blocks.append({**block, "uses": left})
    return blocks


def _digests(path: Path) -> list[str]:
    return [_digest(path.read_bytes()), _digest(sources.code_of(path).encode())]


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]


class Code:
    """Compare the code that a run's records depend on with today's files.

    Args:
        study: the written study, as :meth:`harness.store.records.Store.study` returns it.
        folder: the run's folder, which has the copies of its plugins' files.
    """

    def __init__(self, study: Mapping[str, Any], folder: Path) -> None:
        blocks = study.get(CODE)
        listed = blocks if isinstance(blocks, list) else []  # An earlier version had a mapping.
        self.blocks: Sequence[Block] = list(filter(_is_block, listed))
        self.folder = folder
        self._reasons: dict[str, str] = {}

    def why(self, source: str) -> str:
        """Return why a record is stale: which files have changed. Empty if none has, or if unknown.

        Args:
            source: the digest of its code, as the record holds it.
        """
        if source not in self._reasons:
            self._reasons[source] = self._why(source)
        return self._reasons[source]

    def _why(self, source: str) -> str:
        for block, changed in zip(self.blocks, self._changed, strict=True):
            if source in block["uses"]:
                names = [*block["shared"], *block["uses"][source]]
                files = [changed[name] for name in names if name in changed]
                return reason(files) if files else ""
        return ""

    @cached_property
    def _changed(self) -> list[dict[str, str]]:
        """Return, for each block, {module: its file's name} of those that have changed since."""
        return [
            _changed(block["modules"], _copied(self.folder / block["copies"]))
            for block in self.blocks
        ]


def _is_block(value: Any) -> bool:
    """Return whether a value of a study's file has the form of a :data:`Block`."""
    try:
        texts = [value["copies"], *value["shared"], *value["uses"], *chain(*value["uses"].values())]
        texts += [*value["modules"], *chain(*value["modules"].values())]
        return all(isinstance(text, str) for text in texts)
    except (TypeError, KeyError, AttributeError):
        return False


def reason(files: Iterable[str]) -> str:
    """Return the end of a sentence: which files have changed.

    >>> reason(["my_losses.py"]), reason(["b.py", "a.py", "b.py", "c.py"])
    ('my_losses.py changed since', 'a.py, b.py and 1 more file changed since')
    """
    names = sorted(set(files))
    more = len(names) - MAX_NAMED
    if more > 0:
        others = "1 more file" if more == 1 else f"{more} more files"
        return f"{', '.join(names[:MAX_NAMED])} and {others} changed since"
    return f"{' and '.join(names)} changed since"


def _copied(copies: Path) -> dict[str, tuple[Path, str]]:
    """Return {module: the user's file, a class} of copies of plugins' files.

    The class is the one that the copy was taken out of a script for; else it is empty.
    """
    found: dict[str, tuple[Path, str]] = {}
    classes = plugin_files.classes_in(copies / plugin_files.INDEX)
    for place, origin in plugin_files.origins_in(copies / plugin_files.INDEX).items():
        module = place.removesuffix(plugin_files.SUFFIX).replace("/", ".")
        module = module.removesuffix(".__init__")
        found[module] = origin, classes.get(module, "")
    return found


def _changed(
    modules: Mapping[str, Sequence[str]], copied: Mapping[str, tuple[Path, str]]
) -> dict[str, str]:
    """Return {module: its file's name} of the modules whose code differs from what is written."""
    found = {}
    for name, digests in modules.items():
        if name not in copied:
            path = Path(digests[2]) if len(digests) > 2 else sources.find_module(name)
            if path is None or not _is_same(path, digests):
                found[name] = name if path is None or len(digests) < 3 else path.name
        elif copied[name][0].is_file():  # A notebook has no file, and the user's may be gone.
            path, of_class = copied[name]
            if not _is_same(path, digests, of_class):
                found[name] = path.name
    return found


def _is_same(path: Path, digests: Sequence[str], of_class: str = "") -> bool:
    try:
        raw, code = digests[:2]
        # Most files did not change at all; only for others comments are taken out.
        if not of_class and raw == _digest(path.read_bytes()):
            return True
        text = sources.read(path)  # It may have changed since this process read it first.
        if of_class:
            text = definitions_of(of_class, [text]) + "\n"
        return code == _digest(sources.code_in(text).encode())
    except InputError:  # The script has no such class any more, or was a notebook's.
        return True
    except (OSError, ValueError, TypeError, SyntaxError):
        return False


def sentence(reasons: Iterable[str], *, past: bool = False) -> str:
    """Return how many cells are stale, or were, and why; an empty text if none is.

    >>> sentence(["a.py changed since", "b.py changed since", "a.py changed since"])
    '3 cells are stale: a.py changed since (2 cells); b.py changed since (1 cell).'
    """
    counts = Counter(reasons)
    if not counts:
        return ""
    number = sum(counts.values())
    parts = [f"{why} ({cells(count)})" for why, count in counts.most_common(MAX_REASONS)]
    more = len(counts) - MAX_REASONS
    parts += [f"and {more} more reasons"] if more > 0 else []
    listed = next(iter(counts)) if len(counts) == 1 else "; ".join(parts)
    verb = ("was" if past else "is") if number == 1 else ("were" if past else "are")
    return f"{cells(number)} {verb} stale: {listed}."


def cells(number: int) -> str:
    """Return a number of cells in words."""
    return f"{number} cell{'' if number == 1 else 's'}"
