"""Find the modules that a result depends on, and digest their code.

Only the standard library, and modules that import nothing else, are imported here, so that any
Python can compute a digest.
"""

import ast
import importlib.util
import io
import re
import sys
import tokenize
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

from harness.core import plugin_files

OURS = frozenset({"harness", "adapters", "tasks", "triptych"})
"""Triptych's packages whose code affects scores."""
BOARDS = "leaderboards"
"""Triptych's package that makes boards; its code affects no score."""

LIBRARIES = (
    "triptych", "torch", "transformers", "datasets", "torch-geometric", "kornia",
    "scikit-learn", "scipy", "numpy", "pandas", "evaluate", "tokenizers", "pillow",
    "pytorch-optimizer", "timm",
)  # fmt: skip
"""Distributions that a record names by version, instead of digesting their code."""

MODULES = {"scikit-learn": "sklearn", "pillow": "PIL"}
"""{distribution: the module that it is imported as} where the names differ."""

INIT = "__init__.py"

_EMPTY_LINES = re.compile(r"(?:[ \t\f]*\n)+")


def source_digest(modules: Iterable[str]) -> str:
    """Return a digest of the code of ``modules`` and of all that they import.

    Comments, docstrings, labels and empty lines are removed first; all other text is digested
    unchanged. See :func:`modules_of` for which imports are followed.
    """
    digest = sha256()
    for name, path in sorted(modules_of(modules).items()):
        digest.update(f"{name}\0".encode() + sha256(code_of(path).encode()).digest())
    return digest.hexdigest()[:32]


def modules_of(modules: Iterable[str]) -> dict[str, Path]:
    """Return {module: file} of ``modules`` and all that they import, without running them.

    Imports are followed through Triptych's packages and those that ``modules`` belong to, from a
    plugin's file to the other files of its folder, and to all modules that are not installed, such
    as those in a folder of ``PYTHONPATH``. A name imported from a package leads
    to the module that defines it. The package's ``__init__`` does not count unless it defines
    the name, nor do its other imports.
    ``TYPE_CHECKING`` blocks are not followed.
    """
    roots = sorted(set(modules))
    packages = OURS | {_top(name) for name in roots}
    if any(plugin_files.path_of(_top(name)) is not None for name in roots):
        packages |= plugin_files.neighbours()
    found: dict[str, Path] = {}
    waiting = list(roots)
    while waiting:
        name = waiting.pop()
        path = find_module(name)
        if name in found or path is None or not _counts(_top(name), packages):
            continue
        found[name] = path
        waiting += _imports(name, path, packages)
    return found


def _counts(top: str, packages: Collection[str]) -> bool:
    """Return whether a top-level module counts: it is one of ``packages``, or a user's own."""
    return top in packages or is_users(top)


@cache
def is_users(module: str) -> bool:
    """Return whether a module is a user's own: neither installed nor a library.

    One that is installed as a link to its folder (``pip install -e``) is a user's own too.
    """
    top, libraries = _top(module), {module_of(name) for name in LIBRARIES}
    if top in libraries | OURS | {BOARDS} or top in sys.stdlib_module_names:
        return False
    file, folders = _located(top)
    path = file or next(iter(folders), None)
    return path is not None and not {"site-packages", "dist-packages"} & set(path.parts)


def module_of(distribution: str) -> str:
    """Return the module that a distribution of ``LIBRARIES`` is imported as."""
    return MODULES.get(distribution, distribution.replace("-", "_"))


def forget() -> None:
    """Clear all caches: files may have changed since this process read them."""
    for cached in (_located, is_users, code_of, _parsed, _imports, _definers):
        cached.cache_clear()


def find_module(name: str) -> Path | None:
    """Return the file of module ``name``, or None if there is none.

    The file is looked up on disk: ``find_spec`` would import the parents of a dotted name.
    """
    return _located(name)[0]


def _is_package(name: str) -> bool:
    return bool(_located(name)[1])


@cache
def _located(name: str) -> tuple[Path | None, tuple[Path, ...]]:
    """Return the file of a module; and, if it is a package, the folders of its modules.

    A package without ``__init__.py`` has no file.
    """
    top, *rest = name.split(".")
    folders: tuple[Path, ...]
    file = plugin_files.path_of(top)
    if file is not None:
        folders = (file,) if file.is_dir() else (file.parent,) if file.name == INIT else ()
    else:
        try:
            spec = importlib.util.find_spec(top)
        except ValueError:  # A loaded module may have no spec, such as __main__.
            return None, ()
        if spec is None:
            return None, ()
        file = Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
        folders = tuple(map(Path, spec.submodule_search_locations or ()))
    for part in rest:
        inside = [folder / part for folder in folders]
        files = (path for at in inside for path in (at.parent / f"{part}.py", at / INIT))
        file = next((path for path in files if path.is_file()), None)
        folders = tuple(at for at in inside if at.is_dir()) if file is None else ()
        if file is not None and file.name == INIT:
            folders = (file.parent,)
    return file if file is None or file.is_file() else None, folders


# The code of a file


def read(path: Path) -> str:
    """Return the text of a Python file, with Unix line endings."""
    content = path.read_bytes()
    encoding, _ = tokenize.detect_encoding(io.BytesIO(content).readline)
    return content.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")


@cache
def code_of(path: Path) -> str:
    """Return the code of a file, as :func:`code_in` of its text; a process reads it once."""
    return code_in(read(path))


@cache
def code_in(text: str) -> str:
    """Return a text's code without comments, docstrings, labels and empty lines.

    A text that is not valid Python is returned unchanged.
    """
    try:
        return without_remarks(text)
    except (SyntaxError, tokenize.TokenError):
        return text


def without_remarks(text: str) -> str:
    r"""Return Python code without comments, docstrings, labels and empty lines.

    A docstring is any statement that consists of a string alone, also below an assignment.
    A label is what people call a plugin or a metric: see :func:`_docstrings_and_labels`.
    All other text is kept as written. It is not turned into tokens or a syntax tree, because
    those differ between versions of Python.

    >>> without_remarks('def f():\n    "What f does."\n\n    return 1  # one\n')
    'def f():\n    return 1\n'
    >>> without_remarks('class Mine(Loss):\n    label = "My loss"\n    rate = 2.0\n')
    'class Mine(Loss):\n    rate = 2.0\n'
    """
    starts = list(accumulate(map(len, lines_of(text)), initial=0))
    remarks = set(_docstrings_and_labels(text, starts))
    strings: set[tuple[int, int]] = set()
    for kind, first, last in _strings_and_comments(text):
        place = (starts[first[0] - 1] + first[1], starts[last[0] - 1] + last[1])
        (remarks if kind == "comment" else strings).add(place)
    # Strings are copied unchanged, as they may contain empty lines. Between them, comments,
    # docstrings and labels are removed, and runs of empty lines become one line break.
    kept: list[str] = []
    code, position = "", 0
    for start, end in sorted([*remarks, *strings]):
        if start < position:  # This string or comment is a part of what was removed.
            continue
        code += text[position:start]
        if (start, end) not in remarks:
            kept += [_EMPTY_LINES.sub("\n", code), text[start:end]]
            code = ""
        position = end
    kept.append(_EMPTY_LINES.sub("\n", code + text[position:]))
    return "".join(kept).lstrip("\n")


def lines_of(text: str) -> list[str]:
    """Return the lines as Python counts them: ``str.splitlines`` also splits at form feeds."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


LABELLED_CALLS = ("Metric", "preset")
"""The calls whose argument ``label`` is what people call a metric or a preset loss."""


def _docstrings_and_labels(text: str, starts: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Yield the start and the end of every docstring and label, in characters.

    A label is what people call a plugin or a metric, on boards and in figures. No result depends
    on it, so correcting one must not run any cell again. A text that reads a ``label`` of anything
    has none: there it may be a value. Otherwise it is ``label = "text"`` in the body of
    a class, plain or annotated as a ``ClassVar``, or the argument ``label="text"`` of a call in
    ``LABELLED_CALLS``, with the comma before it. Any other ``label`` counts as code: an annotated
    field is a setting, a class without a base is no plugin, and an enumeration holds values.
    """
    lines = lines_of(text)

    # A syntax tree counts columns in UTF-8 bytes.
    def offset(line: int, column: int) -> int:
        return starts[line - 1] + len(lines[line - 1].encode()[:column].decode())

    def span(node: Any) -> tuple[int, int]:
        return offset(node.lineno, node.col_offset), offset(node.end_lineno, node.end_col_offset)

    nodes = [*ast.walk(ast.parse(text))]
    reads = (node for node in nodes if isinstance(node, ast.Attribute) and node.attr == "label")
    has_labels = not any(isinstance(node.ctx, ast.Load) for node in reads)
    for node in nodes:
        if isinstance(node, ast.Expr) and _is_text(node.value):
            yield span(node)
        elif not has_labels:
            continue
        elif isinstance(node, ast.ClassDef) and node.bases:
            if not any(_dotted(base).endswith("Enum") for base in node.bases):
                yield from (span(statement) for statement in node.body if _is_label(statement))
        elif isinstance(node, ast.Call) and _dotted(node.func).rpartition(".")[2] in LABELLED_CALLS:
            arguments = sorted((*node.args, *node.keywords), key=span)
            for before, part in pairwise(arguments):
                if isinstance(part, ast.keyword) and part.arg == "label" and _is_text(part.value):
                    yield text.index(",", span(before)[1]), span(part)[1]


def _is_label(statement: ast.stmt) -> bool:
    """Return whether a statement in a class's body assigns a text to ``label`` alone."""
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign) and "ClassVar" in ast.dump(statement.annotation):
        targets = [statement.target]
    else:
        return False
    return [_dotted(target) for target in targets] == ["label"] and _is_text(statement.value)


def _is_text(node: ast.AST | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


Place = tuple[int, int]
"""A line, counted from 1, and a column, in characters from 0."""


def _strings_and_comments(text: str) -> Iterator[tuple[str, Place, Place]]:
    """Yield (kind, start, end) of every string and comment.

    Since Python 3.12 an f-string is many tokens; they are yielded as one string.
    """
    # The starts of f-strings that have not ended: an f-string may contain others.
    open_starts: list[Place] = []
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        name = tokenize.tok_name[token.type]
        if name in ("FSTRING_START", "TSTRING_START"):
            open_starts.append(token.start)
        elif name in ("FSTRING_END", "TSTRING_END"):
            start = open_starts.pop()
            if not open_starts:
                yield "string", start, token.end
        elif not open_starts and name in ("STRING", "COMMENT"):
            yield name.lower(), token.start, token.end


# The imports of a file

_IMPORTING = ("importlib.import_module", "import_module", "__import__")
"""The functions that import the module of a given name."""


def _children(node: ast.AST, *, typing: bool) -> Iterator[ast.AST]:
    """Return a node's children; skip the body of ``if TYPE_CHECKING`` unless ``typing``."""
    if isinstance(node, ast.If) and _dotted(node.test).endswith("TYPE_CHECKING") and not typing:
        return iter(node.orelse)
    return ast.iter_child_nodes(node)


def _dotted(node: ast.AST) -> str:
    """Return the dotted name that ``node`` spells, or an empty text if it is another expression."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = _dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


@dataclass
class _File:
    """Hold the imports of a file and the dotted names that it uses.

    Attributes:
        names: (name in the file, module, name there) of each ``from module import name``.
        modules: (name in the file, module) of each ``import module``.
        stars: the modules of ``from module import *``.
        used: the dotted names in the file, each in full: ``a.b.c`` without ``a.b``.
        defined: the names that the file's top level defines.
    """

    names: list[tuple[str, str, str]] = field(default_factory=list)
    modules: list[tuple[str, str]] = field(default_factory=list)
    stars: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    defined: set[str] = field(default_factory=set)


@cache
def _parsed(name: str, path: Path, *, typing: bool = False) -> _File:
    """Parse the imports of module ``name``; with ``typing``, in ``TYPE_CHECKING`` blocks too."""
    package = name if path.name == INIT else name.rpartition(".")[0]
    # What our own files import by such calls changes no score, and is in no key.
    return _parsed_text(read(path), package, calls=_top(name) not in OURS, typing=typing)


@cache
def _parsed_text(text: str, package: str, *, calls: bool, typing: bool) -> _File:
    """Parse the imports in the text of a Python file.

    The result depends on the arguments alone. A process therefore parses each text once, however
    many runs it does.

    Args:
        text: the text of the file.
        package: the package that its relative imports start from.
        calls: whether calls such as ``import_module("sibling")`` count too.
        typing: whether imports in ``TYPE_CHECKING`` blocks count too.
    """
    found = _File()
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return found
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if dotted := _dotted(node):
            found.used.add(dotted)
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                # `import a.b` binds a; `import a.b as c` binds c to a.b.
                top = alias.name.partition(".")[0]
                found.modules.append((alias.asname or top, alias.name if alias.asname else top))
                found.modules.append(("", alias.name))
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            for alias in node.names:
                if alias.name == "*":
                    found.stars.append(base)
                else:
                    found.names.append((alias.asname or alias.name, base, alias.name))
        elif isinstance(node, ast.Call) and calls:
            found.modules += [("", module) for module in _imported_by_call(node)]
        waiting += _children(node, typing=typing)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found.defined |= {part.id for t in targets for part in ast.walk(t)
                          if isinstance(part, ast.Name)}  # fmt: skip
    return found


def _imported_by_call(call: ast.Call) -> Iterator[str]:
    """Yield the name in a call such as ``import_module("sibling")``; nothing for other calls."""
    if _dotted(call.func) in _IMPORTING and call.args:
        name = call.args[0]
        if isinstance(name, ast.Constant) and isinstance(name.value, str):
            yield name.value


@cache
def _imports(name: str, path: Path, packages: frozenset[str]) -> frozenset[str]:
    """Return the modules of ``packages`` that define what the file of module ``name`` imports."""
    file = _parsed(name, path)
    found: set[str] = {star for star in file.stars if _counts(_top(star), packages)}
    inner: dict[str, str] = {}  # {name in the file: the package that it is bound to}
    for local, base, imported in file.names:
        if _counts(_top(base), packages):
            definers = _definers(base, imported)
            found |= definers
            if not definers:
                inner[local] = f"{base}.{imported}"
    for local, module in file.modules:
        if not _counts(_top(module), packages):
            continue
        if not _is_package(module):
            found.add(module)
        elif local:
            inner[local] = module
    for dotted in file.used:
        local, _, rest = dotted.partition(".")
        if local in inner:
            found |= _reached(inner[local], rest)
    return frozenset(found)


def defined_in(module: str, name: str) -> frozenset[str]:
    """Return the modules that define ``name``, which is imported from ``module``."""
    return _definers(module, name) or frozenset({f"{module}.{name}"})


def _reached(package: str, dotted: str) -> frozenset[str]:
    """Return the modules that define ``dotted``, an attribute of a package or of a part of it."""
    name, _, rest = dotted.partition(".")
    if not name:  # The package is used as a whole: all of its imports count.
        return frozenset({package})
    return _definers(package, name) or _reached(f"{package}.{name}", rest)


@cache
def _definers(base: str, name: str) -> frozenset[str]:
    """Return the modules that define what ``from base import name`` gives.

    The set is empty if ``name`` is a package inside ``base``: which modules count depends on the
    attributes that are used.
    """
    path = find_module(base)
    if not _is_package(base):
        return frozenset({base})
    inside = f"{base}.{name}"
    if path is None:
        return frozenset() if _is_package(inside) else frozenset({inside})
    # A package that imports lazily may name its modules under `TYPE_CHECKING` alone.
    file = _parsed(base, path, typing=True)
    sources = {(where, there) for local, where, there in file.names if local == name}
    sources -= {(base, name)}  # `from . import name` in the package leads to itself.
    if sources:
        return frozenset().union(*(_definers(*source) for source in sources))
    if name in file.defined:
        return frozenset({base})
    if find_module(inside) is not None:
        return frozenset() if _is_package(inside) else frozenset({inside})
    return frozenset({base, *file.stars})


def _top(name: str) -> str:
    return name.partition(".")[0]
