"""Find plugins: by entry point, in a Python file, or in a module.

A plugin has one of these names:

- ``adnce``: that of its entry point, or of a class in a registered file;
- ``triptych:adnce``: the same of one distribution, where several have a plugin of that name;
- ``my_losses.py:Margin``: a class in a Python file;
- ``mine.losses:Margin``: a class in a module that can be imported.
"""

import atexit
import importlib
import inspect
import shutil
import sys
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from importlib.metadata import entry_points, packages_distributions
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from harness.core import guard, plugin_files
from harness.core.definitions import asked_in, definitions_of, other_value
from harness.core.errors import InputError, require, unknown
from harness.core.files import write_atomically
from harness.core.sources import find_module, read
from harness.core.telling import told

GROUPS = ("losses", "methods", "tasks", "engines", "studies", "data", "boards")
BASES = {
    "losses": "harness.losses.base:Loss",
    "methods": "harness.methods.base:Method",
    "tasks": "harness.task:Task",
}
"""{kind of plugin that a file may define: its base class}."""
# Any, because dask imports importlib_metadata, whose class then replaces the standard library's.
EntryPoint = Any


NO_OWNER = "an unknown distribution"
"""The owner of an entry point that belongs to no distribution."""


@dataclass(frozen=True)
class Plugin:
    """Locate a plugin.

    Attributes:
        name: its name in canonical specs.
        module: the module that it is imported from.
        attribute: its name there.
        owner: the distribution or the file that it is from.
        entry: its entry point; None for a class in a file or module.
    """

    name: str
    module: str
    attribute: str
    owner: str
    entry: EntryPoint = None

    @property
    def is_foreign(self) -> bool:
        """Return whether the plugin is not Triptych's own.

        An entry point of no distribution is one that a process adds to itself, as tests do.
        """
        return self.entry is None or self.owner.lower() not in ("triptych", NO_OWNER)


def names(group: str) -> list[str]:
    """Return the names of all plugins of ``group``, installed or in registered files, sorted."""
    found = [
        plugin.name if len(alike) == 1 else f"{plugin.owner}:{name}"
        for name, alike in _entries(group).items()
        for plugin in alike
    ]
    return sorted([*found, *(name for kind, name in in_files() if kind == group)])


def find(group: str, name: str) -> Plugin:
    """Return where the plugin ``name`` is.

    Raises:
        InputError: if there is none, or if several have that name.
    """
    if ":" in name:
        return _find_in(group, name)
    found = rivals(group, name)
    spelled = [each for each in found if each.name.rpartition(":")[2] == in_one_style(name)]
    if not all(each.is_foreign for each in spelled):
        found = spelled  # `infonce` in a shipped study is not a user's class InfoNCE.
    if not found:
        raise _unknown(group, name)
    if len(found) > 1:
        own = [each.name if ":" in each.name else f"{each.owner}:{each.name}" for each in found]
        raise InputError(
            f"The {kind_of(group)} {name!r} is ambiguous: {' and '.join(sorted(own))} have that "
            "name. Write one of these."
        )
    return found[0]


def _unknown(group: str, name: str) -> InputError:
    """Return the error for a name without a colon that is no plugin's."""
    module, _, attribute = name.rpartition(".")
    if name.endswith(plugin_files.SUFFIX) and Path(name).is_file():
        file = plugin_files.add(name)
        own = [each for kind, each in _classes_in(file) if kind == group]
        ways = " or ".join(f"'{name}:{each}'" for each in own) or "none, for it has no such class"
        return InputError(
            f"A {kind_of(group)} in a file has its class behind a colon: write {ways}."
        )
    path = f"{module}{plugin_files.SUFFIX}"
    if module and (Path(path).is_file() or find_module(module) is not None):
        place = path if Path(path).is_file() else module
        return InputError(
            f"There is no {kind_of(group)} {name!r}. A class in a file or module has a colon "
            f"before its name: write '{place}:{attribute}'."
        )
    return unknown(kind_of(group), name, names(group))


def rivals(group: str, name: str) -> list[Plugin]:
    """Return the plugins that a name without a colon may mean."""
    alike = [
        _in_file(group, each)
        for kind, each in in_files()
        if kind == group and _plain(each.rpartition(":")[2]) == _plain(name)
    ]
    return [*_entries(group).get(in_one_style(name), ()), *alike]


def _find_in(group: str, name: str) -> Plugin:
    """Return the plugin of a name with a colon: in a file, a distribution or a module."""
    name = plugin_files.with_file_added(name)
    owner, _, attribute = name.rpartition(":")
    if owner.endswith(plugin_files.SUFFIX):
        return _in_file(group, name)
    found = rivals(group, attribute)
    for plugin in found:
        if plugin.owner == owner:
            # Without a rival the plugin keeps its short name, so that both ways to write it agree.
            return plugin if len(found) == 1 else replace(plugin, name=name)
    if find_module(owner) is not None:
        installed = _installed(group, owner, attribute)
        return installed or Plugin(name, owner, attribute, owner)
    raise unknown(kind_of(group), name, names(group))


def _in_file(group: str, name: str) -> Plugin:
    """Return the plugin of a name such as ``my_losses.py:Margin``; its case does not count."""
    file = plugin_files.file_of(name)
    path, _, attribute = name.rpartition(":")
    if file is None:
        raise InputError(
            f"The {kind_of(group)} {name!r} must be in a Python file that exists: got {path!r}. "
            "Check the path."
        )
    module = _import_file(file)
    defined = vars(module)
    if attribute not in defined:
        alike = [each for each in defined if _plain(each) == _plain(attribute)]
        classes = [each for kind, each in _classes_in(file) if kind == group]
        if len(alike) != 1:
            raise unknown(f"{kind_of(group)} in {file.name}", attribute, classes)
        attribute = alike[0]
    return Plugin(f"{path}:{attribute}", file.module, attribute, str(file.origin))


def _import_file(file: plugin_files.PluginFile) -> Any:
    if file.module not in sys.modules:
        guard.require_survival("import", str(file.path), file.name, f"The file {file.origin}")
    try:
        with guard.contained(file.module):
            return plugin_files.load(file)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"The plugin's file {file.origin} could not be imported: {told(error)}."
        ) from error


def _plain(name: str) -> str:
    """Return a name in the style that ``Margin`` and ``margin`` share."""
    return name.replace("_", "").replace("-", "").lower()


def in_files() -> list[tuple[str, str]]:
    """Return (group, name) of each loss, method and task in the files that the user has given.

    A file that only a spec names is not among them: its classes have no shorter name.
    """
    return [*_given]


def defined_in_file(path: str | Path) -> list[tuple[str, str]]:
    """Register a Python file; return (group, name) of each loss, method and task in it.

    ``path`` may also be the folder of a run that has copies of such files.

    Raises:
        InputError: if the file cannot be imported, or defines none of them.
    """
    files = plugin_files.add_file_or_copies(path)
    found = [
        (group, file.name if ":" in file.name else f"{file.name}:{name}")
        for file in files
        for group, name in _classes_in(file)
    ]
    _given.update(dict.fromkeys(found))
    require(
        bool(found),
        f"The plugin's file {path} must define a class derived from triptych.Loss, "
        "triptych.Method or triptych.Task: got none.",
    )
    return found


_given: dict[tuple[str, str], None] = {}
"""The pairs (group, name) that :func:`defined_in_file` has registered, in their order."""


def _classes_in(file: plugin_files.PluginFile) -> list[tuple[str, str]]:
    """Return (group, class) of each loss, method and task that a file itself defines."""
    found = []
    for name, value in vars(_import_file(file)).items():
        own = isinstance(value, type) and value.__module__ == file.module
        if own and not name.startswith("_") and not inspect.isabstract(value):
            found += [(group, name) for group in BASES if issubclass(value, base_of(group))]
    return found


def base_of(group: str) -> type:
    """Return the class that the plugins of a group derive from."""
    module, _, name = BASES[group].partition(":")
    base: type = getattr(importlib.import_module(module), name)
    return base


def name_of_class(group: str, cls: type) -> str:
    """Return the plugin name of a class; register the class's file if it is not installed.

    A class of a script or a notebook is copied out of it, with all that it uses: workers cannot
    import these.

    Raises:
        InputError: if its source cannot be read, or if it is defined inside a function.
    """
    module, name = cls.__module__, cls.__qualname__
    installed = _installed(group, module, name)
    if installed is not None:
        return installed.name
    require(
        "." not in name,
        f"A {kind_of(group)} must be a class of a file's or notebook's top level: got {name}. "
        "Move it there.",
    )
    if module == "__main__":
        return _of_script(name)
    source = find_module(module)
    require(
        source is not None,
        f"The source of the {kind_of(group)} {name} must be in a Python file: got the module "
        f"{module!r}, which has none. Write the class into a file.",
    )
    assert source is not None
    replaced = [
        key for key, value in vars(cls).items()
        if inspect.isfunction(value) and value.__module__ == "__main__"
    ]  # fmt: skip
    require(
        not replaced,
        f"The {kind_of(group)} {name} must be as its file defines it, which workers import: the "
        f"script or notebook has replaced its {', '.join(replaced)}. Derive a class from it there.",
    )
    if "." in module or module in packages_distributions():
        return f"{module}:{name}"
    return f"{plugin_files.add(source).name}:{name}"


def _installed(group: str, module: str, attribute: str) -> Plugin | None:
    """Return the plugin whose entry point leads to an attribute of a module; None if none does."""
    for alike in _entries(group).values():
        for plugin in alike:
            if (plugin.module, plugin.attribute) == (module, attribute):
                full = f"{plugin.owner}:{plugin.name}"
                return plugin if len(alike) == 1 else replace(plugin, name=full)
    return None


def _of_script(name: str) -> str:
    """Copy a class out of the running script or notebook into a file; return its name."""
    main = sys.modules["__main__"]
    script, cells = getattr(main, "__file__", None), vars(main).get("In")
    if script is not None and Path(script).suffix == plugin_files.SUFFIX:
        origin = Path(script).resolve()
        texts = [read(origin)]
    elif isinstance(cells, list):  # IPython keeps the cells that were run.
        origin = Path("notebook.py").resolve()
        texts = [str(cell) for cell in cells]
    else:
        raise InputError(
            f"The source of {name} cannot be read: it was typed at a prompt. Write it into a file, "
            "and name it by the file: 'my_losses.py:" + name + "'."
        )
    text = definitions_of(name, texts)
    refused = f"`{name}` cannot be taken out of its script or notebook: "
    require(
        not asked_in(text),
        f"{refused}what it uses reads `{asked_in(text)}`, and workers cannot answer. Make that a "
        f"setting of the class, or write `{name}` into a file of its own.",
    )
    # Each text has a folder of its own, because a notebook's cell may be edited and run again.
    folder = _copies() / sha256(text.encode()).hexdigest()[:16]
    folder.mkdir(exist_ok=True)
    path = folder / f"{origin.stem}_{name}{plugin_files.SUFFIX}"
    write_atomically(path, text + "\n")
    given = f"{origin.name}:{name}"
    plugin_files.add_definitions(given, path, origin.parent, origin)
    file = plugin_files.file_of(given)
    assert file is not None
    other = other_value(_import_file(file), main)
    require(
        not other,
        f"{refused}{other!r} has another value there than the statements give that define it or "
        "change it. A function may have changed it, or it was drawn at random. Set it in one "
        f"statement, or write `{name}` into a file of its own.",
    )
    return given


@cache
def _copies() -> Path:
    """Return a folder for definitions taken from scripts, which ends with this process."""
    folder = Path(tempfile.mkdtemp(prefix="triptych-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def load(group: str, name: str) -> Any:
    """Import and return a plugin: a class, a function or, in the group ``studies``, a package.

    Raises:
        InputError: if there is no such plugin, or if it cannot be imported.
    """
    plugin = find(group, name)
    if plugin.is_foreign and plugin.module not in sys.modules:
        guard.require_survival("load", group, name, f"The {kind_of(group)} {name!r}")
    try:
        with guard.contained(plugin.module) if plugin.is_foreign else nullcontext():
            if plugin.entry is not None:
                return plugin.entry.load()
            made = getattr(importlib.import_module(plugin.module), plugin.attribute)
    except (Exception, SystemExit) as error:
        raise InputError(
            f"The {kind_of(group)} {name!r} of {plugin.owner} could not be loaded from "
            f"'{plugin.module}:{plugin.attribute}': {told(error)}."
            f"{_shadow(plugin) if isinstance(error, ImportError | AttributeError) else ''}"
        ) from error
    if group in BASES:
        base = base_of(group)
        require(
            isinstance(made, type) and issubclass(made, base),
            f"The {kind_of(group)} {name!r} must be a class derived from triptych.{base.__name__}: "
            f"got {made!r}. Name another class, or give it that base.",
        )
    return made


def kind_of(group: str) -> str:
    """Return the word for one plugin of a group: ``loss`` for ``losses``."""
    return {"losses": "loss", "studies": "study"}.get(group, group.removesuffix("s"))


@cache
def _entries(group: str) -> dict[str, tuple[Plugin, ...]]:
    """Return {name: the installed plugins of that name}."""
    if group not in GROUPS:
        raise unknown("kind of plugin", group, GROUPS)
    found: dict[str, tuple[Plugin, ...]] = {}
    for entry in entry_points(group=f"harness.{group}"):
        name = in_one_style(entry.name)
        alike = found.get(name, ())
        # An editable install in the current folder is listed twice; that is no conflict.
        if entry.value not in [each.entry.value for each in alike]:
            plugin = Plugin(name, entry.module, entry.attr or "", _distribution(entry), entry)
            found[name] = (*alike, plugin)
    if not found:
        raise InputError(
            f"No {group} are installed. Install Triptych: `make install`, or `pip install -e .`."
        )
    return found


def in_one_style(name: str) -> str:
    """Return a plugin's name with underscores in the place of dashes, which users may write.

    Presets had dashes in version 0.1.0; these names go on as aliases. A name with a colon has
    that of a file or distribution, which is kept as it is.
    """
    return name if ":" in name else name.replace("-", "_")


def _distribution(entry: EntryPoint) -> str:
    return NO_OWNER if entry.dist is None else _name_of(entry.dist)


@cache
def _name_of(distribution: Any) -> str:
    """Return a distribution's name; parse its long metadata once, not again for each plugin."""
    name: str = distribution.name
    return name


def _shadow(plugin: Plugin) -> str:
    """Return a sentence that names what shadows a plugin's package, or where it was found."""
    if plugin.entry is None:
        return ""
    top = plugin.module.split(".")[0]
    owners = sorted(set(packages_distributions().get(top, [])))
    others = [owner for owner in owners if owner != plugin.owner]
    if others:
        return (
            f" The package {top!r} is shadowed by the distribution {', '.join(others)}: "
            "uninstall it, or use a fresh environment."
        )
    found = find_spec(top)  # Finding a top package does not import it; its import has failed.
    return f" The package {top!r} was found at {found.origin}." if found else ""
