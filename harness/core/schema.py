"""Build dataclasses from plain values that were read from a file, and check their types."""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, fields
from functools import cache
from math import isfinite
from operator import call
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from harness.core.errors import is_number

T = TypeVar("T")

MAX_DEPTH = 150
"""How deep lists and objects may be nested in a JSON document.

The limit is far below that of Python's parser. Functions such as ``repr`` recurse too, and may be
called when less of the stack is left: they would fail on a document that was parsed.
"""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(content: str | bytes) -> Any:
    """Parse a JSON document.

    Raises:
        ValueError: if it is not JSON, or its lists and objects are nested more than
            ``MAX_DEPTH`` deep.
    """
    try:
        values = json.loads(content)
        # Count brackets first: it is fast, and most documents have too few to be nested so deep.
        too_deep = _brackets(content) > MAX_DEPTH and _is_deeper(values, MAX_DEPTH)
    except RecursionError:
        too_deep = True
    if too_deep:
        raise ValueError(f"its lists or objects are nested more than {MAX_DEPTH} deep")
    return values


def _brackets(content: str | bytes) -> int:
    """Return how many opening brackets a document has."""
    if isinstance(content, str):
        return content.count("[") + content.count("{")
    return content.count(b"[") + content.count(b"{")


def _is_deeper(values: Any, depth: int) -> bool:
    """Return whether lists and objects are nested more than ``depth`` deep, without recursion."""
    level = [values] if type(values) in (list, dict) else []
    for _ in range(depth):
        level = [
            item
            for each in level
            for item in (each.values() if type(each) is dict else each)
            if type(item) in (list, dict)
        ]
        if not level:
            return False
    return bool(level)


def read_json(content: str | bytes) -> Any:
    r"""Parse a JSON document, and refuse texts that cannot be written to a file.

    Raises:
        ValueError: as :func:`parse_json`; or if a text has half a surrogate pair, such as
            ``\udc80``, which UTF-8 cannot encode.
    """
    values = parse_json(content)
    raw = content.encode() if isinstance(content, str) else content
    if _SURROGATE.search(raw):  # Whole pairs are texts like any other.
        json.dumps(values, ensure_ascii=False).encode()
    return values


def from_values(kind: type[T], values: Any) -> T:
    """Build the dataclass ``kind`` from plain values such as JSON has.

    Missing fields get their defaults; values that belong to no field are ignored.

    Raises:
        ValueError: if a field without a default is missing, or a value is not of its
            field's type; the message names the field.

    >>> from harness.core.cells import Cell
    >>> from_values(Cell, {"task": "images", "method": "", "loss": "untrained", "seed": "0"})
    Traceback (most recent call last):
        ...
    ValueError: `seed` must be int: got '0'
    """
    if not isinstance(values, Mapping):
        raise ValueError(f"{kind.__name__} must be a mapping: got {values!r}")
    given: dict[str, Any] = {}
    hints = _hints(kind)  # type: ignore[arg-type]
    for each in fields(kind):  # type: ignore[arg-type]
        if each.name in values:
            wrong = mismatch(values[each.name], hints[each.name], each.name)
            if wrong:
                raise ValueError(wrong)
            given[each.name] = _with_tuples(values[each.name], hints[each.name])
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ValueError(f"`{each.name}` is missing")
    return kind(**given)


def mismatch(value: Any, annotation: Any, name: str = "value") -> str:
    """Return why ``value`` does not fit its annotation; an empty text if it fits.

    The annotation may be Any, None, bool, int, float (finite; whole numbers too), str, Literal, a
    union, list[...], tuple[...] of fixed length, which JSON writes as a list, or dict[...], whose
    keys JSON can only write as texts.

    >>> mismatch({"test": {"accuracy": "high"}}, dict[str, dict[str, float]], "scores")
    "`scores.test.accuracy` must be float: got 'high'"
    """
    if _check(annotation)(value):  # Nearly always: the reason is looked for only if it is not.
        return ""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return f"`{name}` must be one of {parts}: got {value!r}"
    if origin in (Union, UnionType):
        return mismatch(value, parts[0], name)
    if origin is dict:
        if not isinstance(value, dict) or not all(_is(key, parts[0]) for key in value):
            return f"`{name}` must be a mapping by {_type_name(parts[0])}: got {value!r}"
        items = value.items()
        return _first_mismatch(mismatch(item, parts[1], f"{name}.{key}") for key, item in items)
    if origin in (list, tuple):
        if not isinstance(value, list | tuple):
            return f"`{name}` must be a list: got {value!r}"
        kinds = parts if origin is tuple else parts * len(value)
        if len(kinds) != len(value):
            return f"`{name}` must have {len(kinds)} items: got {value!r}"
        pairs = enumerate(zip(value, kinds, strict=True))
        return _first_mismatch(mismatch(item, kind, f"{name}[{i}]") for i, (item, kind) in pairs)
    return f"`{name}` must be {_type_name(annotation)}: got {value!r}"


@cache
def _check(annotation: Any) -> Callable[[Any], bool]:
    """Return a function that tests whether a value fits an annotation: see :func:`mismatch`.

    It is made once for each annotation, because a board checks millions of values.
    """
    origin, parts = get_origin(annotation), get_args(annotation)
    checks = [] if origin is Literal else [_check(part) for part in parts]
    if annotation is Any:
        return lambda value: True
    if origin is Literal:
        return lambda value: value in parts
    if origin in (Union, UnionType):
        return lambda value: any(check(value) for check in checks)
    if origin is dict:
        key, item = checks
        return lambda v: isinstance(v, dict) and all(map(key, v)) and all(map(item, v.values()))
    if origin is list:
        return lambda value: isinstance(value, list | tuple) and all(map(checks[0], value))
    if origin is tuple:
        return lambda value: (
            isinstance(value, list | tuple)
            and len(value) == len(checks)
            and all(map(call, checks, value))
        )
    if annotation is float:
        return lambda value: _is(value, float)
    # Compare types first: it is fast, and enough for most values. For a float it is not enough,
    # because a float must also be finite.
    return lambda value: type(value) is annotation or _is(value, annotation)


def _with_tuples(value: Any, annotation: Any) -> Any:
    """Turn the lists of a conforming ``value`` into tuples where its annotation has tuples."""
    convert = _conversion(annotation)
    return value if convert is None else convert(value)


@cache
def _conversion(annotation: Any) -> Callable[[Any], Any] | None:
    """Return a function that turns lists into the tuples of an annotation; None if it has none."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        if not any(map(_conversion, parts)):
            return tuple
        inner = [_conversion(part) or _same for part in parts]
        return lambda value: tuple(make(item) for make, item in zip(inner, value, strict=True))
    convert = _conversion(parts[-1]) if origin in (list, dict) else None
    if convert is None:
        return None
    if origin is list:
        return lambda value: [convert(item) for item in value]
    return lambda value: {key: convert(item) for key, item in value.items()}


def _same(value: Any) -> Any:
    return value


def _is(value: Any, kind: type) -> bool:
    if kind is float:
        return isfinite(value) if type(value) is float else is_number(value, finite=True)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _type_name(kind: type) -> str:
    return "None" if kind is NoneType else kind.__name__


def _first_mismatch(mismatches: Iterable[str]) -> str:
    return next(filter(None, mismatches), "")


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)
