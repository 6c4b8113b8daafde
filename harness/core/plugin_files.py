"""Import plugins from Python files that are not installed, and snapshot them for a run.

``my_losses.py:Margin`` names the class ``Margin`` of the file ``my_losses.py``. The file is
imported as the module ``my_losses``, and it may import other files of its folder. The folder
is searched last: a file in it never hides an installed module.

A run copies the files before it starts, and its workers read the copies. An edit while the run
goes on therefore changes none of its cells.
"""

import importlib
import importlib.util
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from harness.core.errors import InputError, require
from harness.core.files import write_atomically
from harness.core.schema import read_json

SUFFIX = ".py"
PACKAGE = f"__init__{SUFFIX}"
INDEX = "files.json"
"""The name of the file that lists the contents of a snapshot."""


@dataclass(frozen=True)
class PluginFile:
    """A Python file that defines plugins.

    Attributes:
        name: how specs name it: its file name, such as ``my_losses.py``; for definitions taken
            from a script, the script's name and the class, such as ``study.py:Margin``.
        module: the module that it is imported as.
        path: the file to read.
        folder: the folder whose other files it may import.
        origin: where the user has it; another place than ``path`` for a copy.
    """

    name: str
    module: str
    path: Path
    folder: Path
    origin: Path


_files: dict[str, PluginFile] = {}
"""{name: file} of all registered files."""
_origins: dict[Path, Path] = {}
"""{file that is a copy: where the user has it}."""
_search: list[Path] = []
"""Folders in which relative paths are looked up before the current folder."""


def add_file_or_copies(path: str | Path) -> list[PluginFile]:
    """Register a Python file, or all files of the snapshot in a run's folder.

    Raises:
        InputError: as :func:`add`, or if the snapshot cannot be read.
    """
    if not (Path(path) / INDEX).is_file():
        return [add(path)]
    before, origins = dict(_files), dict(_origins)
    use_snapshot(Path(path))
    found = known()
    for file in found:
        other = before.get(file.name, file)
        require(
            other == file,
            f"Two files of plugins must not share a name: got {other.path} and {file.path}. Give "
            "one of them.",
        )
    _files.update(before)
    _origins.update(origins)
    return found


def add(path: str | Path) -> PluginFile:
    """Register a Python file, so that specs may name its classes.

    Raises:
        InputError: if there is no such Python file, or if another file or module has its name.
    """
    found = _find(Path(path).expanduser())
    if found is None or found.suffix != SUFFIX:
        raise InputError(
            f"The file of a plugin must be a Python file that exists: got {str(path)!r}. Check "
            "the path."
        )
    known = _files.get(found.name)
    if known is not None:
        require(
            known.origin == found,
            f"Two files of plugins must not share a name: got {known.origin} and {found}. Rename "
            "one of them.",
        )
        return known
    require(
        found.stem.isidentifier(),
        "The file of a plugin must have a name of letters, digits and underscores, which Python "
        f"can import: got {found.name!r}. Rename it.",
    )
    other = _imported_from(found.stem)
    # A folder without code is a package to Python too, but the file is imported before it.
    require(
        other is None or other.is_dir() or other.samefile(found),
        f"The file of a plugin must not have the name of another module: got {found.name!r}, but "
        f"`import {found.stem}` leads to {other}. Rename the file.",
    )
    return register(PluginFile(found.name, found.stem, found, found.parent, found))


def register(file: PluginFile) -> PluginFile:
    """Register ``file`` without checks; it replaces a registered file of the same name."""
    if _last not in sys.meta_path:
        sys.meta_path.insert(0, _first)
        sys.meta_path.append(_last)
    _files[file.name] = file
    importlib.invalidate_caches()
    _remember()
    return file


def add_definitions(name: str, path: Path, folder: Path, origin: Path) -> None:
    """Register a file that holds definitions taken from a script or a notebook.

    Args:
        name: how specs name them: the script's name, a colon and the class.
        path: the file.
        folder: the folder whose other files it may import.
        origin: the script, whose name is the module's ``__file__``.
    """
    known = _files.get(name)
    if known is not None and known.path != path:
        sys.modules.pop(known.module, None)
    _origins[path] = origin
    register(PluginFile(name, path.stem, path, folder, origin))


def _find(path: Path) -> Path | None:
    """Return the file at ``path``, relative to a study's folder or to the current one."""
    for folder in (*_search, Path()):
        if (folder / path).is_file():
            return (folder / path).absolute()  # Not resolved: a link keeps its own name.
    return None


@contextmanager
def relative_to(folder: Path) -> Iterator[None]:
    """Look up relative paths in ``folder`` first, which holds a study's file."""
    _search.insert(0, folder)
    try:
        yield
    finally:
        _search.remove(folder)


def known() -> list[PluginFile]:
    """Return the registered files, in the order of their names."""
    return [_files[name] for name in sorted(_files)]


def file_of(name: str) -> PluginFile | None:
    """Return the registered file that defines the plugin ``name``; None if none does."""
    return _files.get(name) or _files.get(name.rpartition(":")[0])


def with_file_added(name: str) -> str:
    """Return the name of a plugin in a file with the file's name in the place of its path.

    The file is registered if it exists. Other names are returned unchanged.

    >>> with_file_added("adnce"), with_file_added("nowhere/my_losses.py:Margin")
    ('adnce', 'nowhere/my_losses.py:Margin')
    """
    path, _, attribute = name.rpartition(":")
    known = file_of(name)
    if not path.endswith(SUFFIX) or (known is not None and known.path != known.origin):
        return name  # It names a copy, even if the current folder has a file of that name.
    found = _find(Path(path).expanduser())
    return name if found is None else f"{add(found).name}:{attribute}"


# Importing


loading: list[str] = []
"""The names of the plugins' modules whose import has begun and not ended."""


def load(file: PluginFile) -> ModuleType:
    """Import a plugin's file.

    Raises:
        Exception: whatever the file raises.
    """
    if file.module in sys.modules:
        return sys.modules[file.module]
    loading.append(file.module)
    try:
        module = importlib.import_module(file.module)
    finally:
        loading.remove(file.module)
    _remember()
    return module


class _First:
    """Find plugins' files, and the modules of packages in snapshots; Python asks it first."""

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a plugin's file, or of a module in a package of a snapshot."""
        del target
        if path is None:
            return next((_spec(name, f.path) for f in _files.values() if f.module == name), None)
        last = name.rpartition(".")[2]
        for folder in map(Path, path):
            for found in (folder / f"{last}{SUFFIX}", folder / last / PACKAGE):
                if found in _origins:
                    return _spec(name, found)
        return None


class _Last:
    """Find the modules beside plugins' files; Python asks it last."""

    def find_spec(
        self, name: str, path: Any = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a top-level module that lies in one of the folders.

        Raises:
            ModuleNotFoundError: if a snapshot lacks the module, which its user's folder has.
        """
        del target
        found = _candidate(name) if path is None else None  # Python looks into packages itself.
        if found is not None:
            return _spec(name, found)
        for file in _files.values():
            left = None if file.path == file.origin else _in_folder(file.origin.parent, name)
            if path is None and left is not None:
                raise ModuleNotFoundError(
                    f"No module named {name!r} among the copies of {file.origin.name}: write "
                    f"`import {name}` at the top of it, because only what an import statement "
                    "names is copied and counts in the cell's key",
                    name=name,
                )
        return None


_first: Any = _First()
_last: Any = _Last()


def _spec(name: str, found: Path) -> ModuleSpec | None:
    """Return the spec of a module in a file, or of a package without ``__init__.py``."""
    if found.is_dir():
        spec = ModuleSpec(name, None, is_package=True)
        spec.submodule_search_locations = [str(found)]
        return spec
    of_file = importlib.util.spec_from_file_location(name, found)
    if of_file is not None and found in _origins:
        of_file.origin = str(_origins[found])  # So that `__file__` leads to data beside it.
    return of_file


def _candidate(module: str) -> Path | None:
    """Return the file or folder of a top-level module in the folders, even if another hides it."""
    for file in _files.values():
        if file.module == module:
            return file.path
    folders = dict.fromkeys(file.folder for file in _files.values())
    return next(filter(None, (_in_folder(folder, module) for folder in folders)), None)


def _in_folder(folder: Path, module: str) -> Path | None:
    """Return the file of a module in a folder, or its own folder if that has no ``__init__.py``."""
    for path in (folder / f"{module}{SUFFIX}", folder / module / PACKAGE):
        if path.is_file():
            return path
    inside = folder / module
    return inside if inside.is_dir() and any(inside.glob(f"*{SUFFIX}")) else None


def path_of(module: str) -> Path | None:
    """Return the file of a top-level module that is imported from the folders; else None.

    It is a folder if the module is a package without ``__init__.py``.
    """
    found = _candidate(module)
    if found is None or found in _origins:  # No installed module hides a copy.
        return found
    other = _imported_from(module)
    return found if other is not None and other.exists() and other.samefile(found) else None


def _imported_from(module: str) -> Path | None:
    """Return where the code of a top-level module is imported from; None if there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # A loaded module may have no spec, such as __main__.
        return None
    if spec is None:
        return None
    folders = [*(spec.submodule_search_locations or ())]
    if spec.origin is None and folders:  # A package without `__init__.py`.
        return Path(folders[0])
    return Path(getattr(spec.loader, "path", None) or spec.origin or spec.name)


def neighbours() -> frozenset[str]:
    """Return the top-level modules that are imported from the folders of plugins' files."""
    names = {file.module for file in _files.values()}
    for folder in {file.folder for file in _files.values()}:
        names |= {path.stem for path in folder.glob(f"*{SUFFIX}")}
        names |= {path.parent.name for path in folder.glob(f"*/*{SUFFIX}")}
    return frozenset(name for name in names if path_of(name) is not None)


_stamps: dict[str, tuple[Path, tuple[int, int] | None]] = {}
"""{imported module: its file, and the file's time and size then}."""


def refresh() -> bool:
    """Forget the imported modules if one of their files was changed; return whether one was.

    They are imported anew when they are needed.
    """
    changed = any(_stamp(path) != stamp for path, stamp in _stamps.values())
    if changed:
        _forget_modules()
    return changed


def _forget_modules() -> None:
    for name in _stamps:
        sys.modules.pop(name, None)
    _stamps.clear()
    importlib.invalidate_caches()


def _remember() -> None:
    """Remember time and size of the files of all modules that were imported from the folders."""
    folders = tuple({str(file.folder) for file in _files.values()})
    for name, module in list(sys.modules.items()):
        # Ask the loader, which names the file that was read: for a copy, ``__spec__.origin`` is the
        # user's original.
        path = getattr(getattr(module, "__loader__", None), "path", None) or ""
        if name not in _stamps and path.startswith(folders) and path_of(name.partition(".")[0]):
            _stamps[name] = Path(path), _stamp(Path(path))


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        state = path.stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size


# Snapshots


def write_snapshot(folder: Path, modules: Mapping[str, Path]) -> Path | None:
    """Copy plugins' files, and what they import from their folders; return the copy's folder.

    Its name is a digest of its content: files that did not change are copied once.

    Args:
        folder: the folder of all snapshots of a run.
        modules: {module: file} of all that the plugins import.

    Returns:
        The copy's folder; None if no module lies in the folder of a plugin's file.
    """
    ours = {
        name: path
        for module, file in modules.items()
        if path_of(module.partition(".")[0]) is not None
        for name, path in _with_packages(module, file)
    }
    if not ours:
        return None
    places = {_inside(module, path): path for module, path in ours.items()}
    contents = {place: path.read_bytes() for place, path in sorted(places.items())}
    index = {
        "files": {
            file.name: {"module": file.module, "origin": str(file.origin)}
            for file in known()
            if file.module in ours
        },
        "origins": {place: str(_origins.get(path, path)) for place, path in places.items()},
    }
    text = json.dumps(index, indent=1, sort_keys=True)
    digest = sha256(text.encode())
    for place, content in contents.items():
        digest.update(f"{place} {len(content)}\n".encode() + content)
    into = folder / digest.hexdigest()[:16]
    for place, content in (contents | {INDEX: text.encode()}).items():
        (into / place).parent.mkdir(parents=True, exist_ok=True)
        write_atomically(into / place, content)
    return into


def _with_packages(module: str, path: Path) -> Iterator[tuple[str, Path]]:
    """Yield a module with its file, and the packages that it is in."""
    yield module, path
    folder = path.parent.parent if path.name == PACKAGE else path.parent
    while "." in module:
        module = module.rpartition(".")[0]
        if (folder / PACKAGE).is_file():
            yield module, folder / PACKAGE
        folder = folder.parent


def _inside(module: str, path: Path) -> str:
    """Return where a snapshot holds a module's file."""
    base = module.replace(".", "/")
    return f"{base}/{PACKAGE}" if path.name == PACKAGE else f"{base}{SUFFIX}"


def origins_in(index: Path) -> dict[str, Path]:
    """Return {place in a snapshot: where the user has the file}; empty if it cannot be read."""
    try:
        read = read_json(index.read_text(encoding="utf-8"))
        return {place: Path(origin) for place, origin in read["origins"].items()}
    except (OSError, ValueError, LookupError, AttributeError):
        return {}


def classes_in(index: Path) -> dict[str, str]:
    """Return {module of a snapshot: the class that it was taken out of a script for}."""
    try:
        read = read_json(index.read_text(encoding="utf-8"))
        files = {name: one["module"] for name, one in read["files"].items()}
    except (OSError, ValueError, LookupError, AttributeError, TypeError):
        return {}
    return {module: name.partition(":")[2] for name, module in files.items() if ":" in name}


@contextmanager
def snapshot_used(folder: Path | None) -> Iterator[None]:
    """Read the code of plugins' files from a snapshot, until the block ends.

    What has been imported stays.
    """
    before = dict(_files), dict(_origins)
    if folder is not None:
        use_snapshot(folder)
    try:
        yield
    finally:
        _files.clear()
        _files.update(before[0])
        _origins.clear()
        _origins.update(before[1])


def use_snapshot(folder: Path) -> None:
    """Register the files of a snapshot, in the place of all registered before.

    Raises:
        InputError: if the snapshot cannot be read.
    """
    try:
        index = read_json((folder / INDEX).read_text(encoding="utf-8"))
        origins = {folder / place: path for place, path in origins_in(folder / INDEX).items()}
        files = [(name, one["module"], Path(one["origin"])) for name, one in index["files"].items()]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise InputError(
            f"The copies of the plugins' files in {folder} cannot be read: {error}. Run the "
            "study's command again to make them."
        ) from error
    _files.clear()
    _origins.clear()
    _origins.update(origins)
    for name, module, origin in files:
        path = folder / f"{module.replace('.', '/')}{SUFFIX}"
        register(PluginFile(name, module, path, folder, origin))
