"""Which cells of a run are stale: the code that they depend on has changed since, and where.

``run`` makes records of stale cells anew; ``status``, ``plan`` and the board say so before. A run
writes a digest of every module that its cells depend on. Here they are compared with today's
files, and no plugin is imported.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from harness.core import plugin_files, sources
from harness.core.cells import Cell, specs_of

CODE = "code"
"""The key of a written study that holds what :func:`written` returns."""
FRAME = ""
"""The name, in place of a spec, of what all cells depend on."""

MAX_NAMED = 2
"""Files that a reason names."""
MAX_REASONS = 3
"""Reasons that a sentence names."""

Written = Mapping[str, Any]


def written(uses: Mapping[str, Mapping[str, Path]]) -> dict[str, Any]:
    """Return the digests of the modules of each spec, for a run to write with its plan.

    Args:
        uses: {spec, or ``FRAME``: {module: file} of all modules that it depends on}.

    Returns:
        ``modules``, {module: [digest of its file, digest of its code]}, and ``uses``, {spec: its
        modules that are not the frame's}.
    """
    common = uses.get(FRAME, {})
    modules = {name: path for found in uses.values() for name, path in found.items()}
    return {
        "modules": {name: _digests(path) for name, path in sorted(modules.items())},
        "uses": {
            spec: sorted(found if spec == FRAME else found.keys() - common.keys())
            for spec, found in uses.items()
        },
    }


def _digests(path: Path) -> list[str]:
    return [_digest(path.read_bytes()), _digest(sources.code_of(path).encode())]


def _digest(content: bytes) -> str:
    return sha256(content).hexdigest()[:16]


def stale(study: Written, folder: Path) -> dict[str, str]:
    """Return {key: why its cell is stale} of the cells that a written study planned.

    Args:
        study: the study, as :meth:`harness.store.records.Store.study` returns it.
        folder: the run's folder, which has the copies of its plugins' files.
    """
    code = study.get(CODE)
    if not isinstance(code, Mapping):
        return {}
    changed = _changed(code.get("modules", {}), _copied(folder))
    if not changed:
        return {}
    uses = code.get("uses", {})
    found = {}
    for place in (*study.get("plan", []), *study.get("earlier", [])):
        specs = [FRAME, *(spec for _, spec in specs_of(Cell(**place["cell"])))]
        names = [name for spec in specs for name in uses.get(spec, ()) if name in changed]
        if names and place.get("key"):
            found[place["key"]] = reason(changed[name] for name in names)
    return found


def reason(files: Iterable[str]) -> str:
    """Return a sentence on the files that have changed.

    >>> reason(["my_losses.py"]), reason(["b.py", "a.py", "b.py", "c.py"])
    ('my_losses.py changed since', 'a.py, b.py and 1 more file changed since')
    """
    names = sorted(set(files))
    more = len(names) - MAX_NAMED
    if more > 0:
        others = "1 more file" if more == 1 else f"{more} more files"
        return f"{', '.join(names[:MAX_NAMED])} and {others} changed since"
    return f"{' and '.join(names)} changed since"


def _copied(folder: Path) -> dict[str, Path]:
    """Return {module: the user's file} of the copies of plugins' files in a run's folder."""
    found: dict[str, Path] = {}
    copies = sorted((folder / "plugins").glob(f"*/{plugin_files.INDEX}"), key=_age)
    for index in copies:
        for place, origin in plugin_files.origins_in(index).items():
            module = place.removesuffix(plugin_files.SUFFIX).replace("/", ".")
            found[module.removesuffix(".__init__")] = origin
    return found


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _changed(modules: Mapping[str, Sequence[str]], copied: Mapping[str, Path]) -> dict[str, str]:
    """Return {module: its file's name} of the modules whose code differs from what is written."""
    found = {}
    for name, digests in modules.items():
        path = copied.get(name) or sources.find_module(name)
        if name in copied and not copied[name].is_file():
            continue  # The user's file is gone, or it was taken from a script or notebook.
        if path is None or not _is_same(path, digests):
            found[name] = path.name if name in copied and path is not None else name
    return found


def _is_same(path: Path, digests: Sequence[str]) -> bool:
    try:
        raw, code = digests
        # Most files did not change at all; only for others comments are taken out.
        return raw == _digest(path.read_bytes()) or code == _digests(path)[1]
    except (OSError, ValueError, TypeError):
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
