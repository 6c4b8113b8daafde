"""Take a class out of a script or a notebook, with all that it uses, as a module of its own.

A worker cannot import a script without running it, nor a notebook at all. The definitions that
a class needs are therefore copied: its own, those of the functions, classes and values that it
uses, and their imports.
"""

import ast
import builtins
import re
import symtable
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from harness.core.errors import InputError
from harness.core.sources import lines_of

_ASKS = re.compile(r"\bsys\.argv\b|(?<![\w.])input\(|\bargparse\.ArgumentParser\b")
"""Matches code that reads the command line or the keyboard; worker processes have neither."""
_MAGIC = re.compile(r"([ \t]*)[%!](?:.*\\\n)*.*")
"""Matches a line that only IPython understands, such as ``%%time`` or ``!pip install``, and the
lines that continue it after a backslash."""
_GIVEN = frozenset(dir(builtins)) | {"__file__"}
"""The names that every module has."""


@dataclass(frozen=True)
class _Statement:
    """A statement of a script's top level.

    Attributes:
        text: its source.
        binds: the names that it defines, or whose items or attributes it assigns.
        calls: the names that it calls a method of, for what this does: ``weights.update(a=1)``.
        uses: the names of the top level that it reads, then or in a function that is called later.
        at_once: those that it reads when it runs.
        replaces: whether it always gives these names new values, whatever they were before.
        imports: whether it is an import.
    """

    text: str
    binds: frozenset[str]
    calls: frozenset[str]
    uses: frozenset[str]
    at_once: frozenset[str]
    replaces: bool
    imports: bool


def definitions_of(name: str, texts: Sequence[str]) -> str:
    """Return the source of the definition of ``name``, and of all that it uses.

    Args:
        name: the name of a class or function.
        texts: the script, or the notebook's cells in the order in which they were run.

    Raises:
        InputError: if the definition uses a name that no statement of the top level defines.

    >>> print(definitions_of("f", ["import math", "x = 1", "y = x", "def f(): return math.pi * y"]))
    import math
    x = 1
    y = x
    def f(): return math.pi * y
    """
    statements = [statement for text in texts for statement in _statements(text)]
    kept = {
        i
        for i, statement in enumerate(statements)
        if statement.text.startswith("from __future__ ") or "*" in statement.binds
    }
    imported = {name for each in statements if each.imports for name in each.binds}
    bound = frozenset[str]().union(*(each.binds for each in statements))
    imports_all = any("*" in each.binds for each in statements)
    end = len(statements)
    # (a name, the statement before which its value is needed).
    waiting, found = [(name, end)], {(name, end)}
    while waiting:
        wanted, before = waiting.pop()
        places = _places(wanted, statements[:before], imported)
        if not places and before == end and not imports_all:
            if wanted == name:
                raise InputError(
                    f"`{name}` must be defined at the top level of its script or notebook: it is "
                    'inside a function, or below `if __name__ == "__main__":`. Move it there.'
                )
            raise InputError(
                f"`{name}` cannot be taken out of its script or notebook: it uses {wanted!r}, "
                "which no statement outside of functions defines. Define it there, or write "
                f"`{name}` into a file of its own."
            )
        for i in places:
            kept.add(i)
            # A function reads a name's last value; a statement reads the value at its own place.
            needed = {(each, end) for each in statements[i].uses}
            needed |= {(each, i) for each in statements[i].at_once}
            needed = {pair for pair in needed - found if pair[0] not in _GIVEN - bound}
            found |= needed
            waiting += sorted(needed)
    return "\n".join(statements[i].text for i in sorted(kept))


def asked_in(text: str) -> str:
    """Return the command-line arguments or user input that a text reads; empty if it reads none.

    >>> asked_in("rate = float(sys.argv[1])"), asked_in("name = model.input(3)")
    ('sys.argv', '')
    """
    found = _ASKS.search(text)
    return found[0].rstrip("(") if found is not None else ""


def other_value(module: ModuleType, script: ModuleType) -> str:
    """Return a name that has another value in a script than its definitions have given; or nothing.

    Compared are numbers, texts, arrays, tensors and containers of them, in the module and in the
    classes that it defines.

    Args:
        module: the imported definitions.
        script: the script or notebook that they were taken from.
    """
    pairs = [(vars(module), vars(script), "")]
    for name, value in vars(module).items():
        other = vars(script).get(name)
        if isinstance(value, type) and isinstance(other, type) and value is not other:
            pairs.append((vars(value), vars(other), f"{name}."))  # type: ignore[arg-type]
    for ours, theirs, prefix in pairs:
        for name, value in ours.items():
            if name.startswith("__") or name not in theirs:
                continue
            with suppress(TypeError):
                if _comparable(value) != _comparable(theirs[name]):
                    return f"{prefix}{name}"
    return ""


def _comparable(value: Any) -> str:
    """Return a text that two equal values share; raise TypeError for values of other kinds."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, Mapping):
        return repr({_comparable(key): _comparable(each) for key, each in value.items()})
    if isinstance(value, list | tuple):
        return repr([_comparable(each) for each in value])
    if isinstance(value, set | frozenset):
        return repr(sorted(map(_comparable, value)))
    if hasattr(value, "tolist") and not isinstance(value, type):
        return repr(value.tolist())
    raise TypeError(f"{type(value).__name__} is not compared")


def _places(name: str, statements: Sequence[_Statement], imported: Set[str]) -> list[int]:
    """Return the statements that give ``name`` its last value.

    A call such as ``triptych.run(study)`` is none of them: it does not change an imported name.
    """
    places = [
        i
        for i, each in enumerate(statements)
        if name in each.binds or (name in each.calls and name not in imported)
    ]
    fresh = [i for i in places if statements[i].replaces and name not in statements[i].uses]
    return [i for i in places if not fresh or i >= fresh[-1]]


def _statements(text: str) -> Iterator[_Statement]:
    """Yield the statements of a text; none if it is not valid Python."""
    text = without_magics(text)
    try:
        tree = ast.parse(text)
    except SyntaxError:  # The cell was never run.
        return
    lines = lines_of(text)
    for node in tree.body:
        if _is_main_guard(node):
            continue
        decorators = getattr(node, "decorator_list", [])
        if decorators:
            first = min(each.lineno for each in decorators)
            source = "".join(lines[first - 1 : node.end_lineno]).rstrip("\n")
        else:
            source = ast.get_source_segment(text, node) or ""  # It counts lines as Python does.
        yield _statement(source, node)


def without_magics(text: str) -> str:
    r"""Return a cell with its IPython commands replaced by ``pass``, each line in its place.

    Only a line at which Python finds an error can be a command: the second line of ``(100`` and
    ``% 7)`` is none.

    >>> without_magics("%%time\nx = (100\n% 7)\nif x:\n    !ls")
    'pass\nx = (100\n% 7)\nif x:\n    pass'
    """
    while True:
        try:
            ast.parse(text)
        except SyntaxError as error:
            lines = text.split("\n")
            before = "".join(f"{line}\n" for line in lines[: (error.lineno or 1) - 1])
            found = _MAGIC.match(text, len(before))
            if found is None:
                return text
            command = found[1] + "pass" + "\n" * found[0].count("\n")
            text = before + command + text[found.end() :]
        else:
            return text


def _is_main_guard(node: ast.stmt) -> bool:
    """Return whether a statement is ``if __name__ == "__main__"``."""
    return isinstance(node, ast.If) and any(
        isinstance(part, ast.Name) and part.id == "__name__" for part in ast.walk(node.test)
    )


def _statement(source: str, statement: ast.stmt) -> _Statement:
    table = symtable.symtable(source, "script", "exec")
    binds = {each.get_name() for each in table.get_symbols() if each.is_assigned()}
    binds |= {each.get_name() for each in table.get_symbols() if each.is_imported()}
    binds |= {each.get_name() for each in table.get_symbols() if each.is_namespace()}
    if isinstance(statement, ast.ImportFrom) and statement.names[0].name == "*":
        binds.add("*")
    nodes = list(_run_at_once(statement))
    for node in nodes:
        if isinstance(node, ast.Subscript | ast.Attribute) and not isinstance(node.ctx, ast.Load):
            binds |= {*_root(node)}
    calls = {
        name
        for node in nodes
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)
        for name in _root(node.value.func)
        if isinstance(node.value.func, ast.Attribute)
    }
    definitions = (
        ast.Assign | ast.AnnAssign | ast.ImportFrom
        | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    )  # fmt: skip
    return _Statement(
        source,
        binds=frozenset(binds),
        calls=frozenset(calls),
        uses=frozenset(_used(table)),
        at_once=frozenset(_used(table, later=False)),
        replaces=isinstance(statement, definitions),
        imports=isinstance(statement, ast.Import | ast.ImportFrom),
    )


def _run_at_once(node: ast.AST) -> Iterator[ast.AST]:
    """Yield a node and all nodes inside it, except those in the bodies of functions."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from _run_at_once(child)


def _root(node: ast.expr) -> Iterator[str]:
    """Yield the name that an expression such as ``weights["a"].rows`` begins with."""
    while isinstance(node, ast.Subscript | ast.Attribute):
        node = node.value
    if isinstance(node, ast.Name):
        yield node.id


def _used(table: symtable.SymbolTable, *, later: bool = True) -> Iterator[str]:
    """Yield the names that a scope and those inside it read from the top level.

    Args:
        table: the scope.
        later: whether to look into functions, which run when they are called.
    """
    for each in table.get_symbols():
        if each.is_referenced() and (table.get_type() == "module" or each.is_global()):
            yield each.get_name()
    for inner in table.get_children():
        comprehension = inner.get_name().endswith(("comp", "genexpr"))
        if later or inner.get_type() != "function" or comprehension:
            yield from _used(inner, later=later)
