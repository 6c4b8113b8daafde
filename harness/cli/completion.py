"""Complete names in a shell: of plugins, studies, data sets and runs.

The names come from entry points and folders alone: importing a plugin takes seconds.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from harness.run import folders

Complete = Callable[[str], list[str]]


def plugins_of(group: str) -> Complete:
    """Return a function that completes names of plugins of ``group``, separated by commas.

    >>> plugins_of("methods")("siamese,moco_")
    ['siamese,moco_v3']
    """

    def complete(incomplete: str) -> list[str]:
        from harness import plugins

        before, comma, last = incomplete.rpartition(",")
        return [before + comma + name for name in _starting(last, plugins.names(group))]

    return complete


def study(incomplete: str) -> list[str]:
    """Complete the name of a shipped study, or the path of a TOML file."""
    found = [path for path in _paths(incomplete) if path.is_dir() or path.suffix == ".toml"]
    return shipped_study(incomplete) + [_shown(path) for path in found]


def shipped_study(incomplete: str) -> list[str]:
    """Complete the name of a shipped study."""
    from harness.study.shipped import shipped

    return _starting(incomplete, shipped())


def run_folder(incomplete: str) -> list[str]:
    """Complete the folder of a run under ``runs/``, or any folder."""
    runs = [str(path) for path in sorted(folders.RUNS.glob("*")) if folders.is_run(path)]
    found = [_shown(path) for path in _paths(incomplete) if path.is_dir()] if incomplete else []
    return list(dict.fromkeys([*_starting(incomplete, runs), *found]))


def _starting(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in sorted(names) if name.startswith(incomplete)]


def _paths(incomplete: str) -> list[Path]:
    """Return the visible files and folders whose path starts with ``incomplete``."""
    folder, slash, start = incomplete.rpartition("/")
    inside = Path(folder + slash)
    try:
        return sorted(p for p in inside.iterdir() if p.name.startswith(start) and p.name[0] != ".")
    except OSError:
        return []


def _shown(path: Path) -> str:
    return f"{path}/" if path.is_dir() and not folders.is_run(path) else str(path)
