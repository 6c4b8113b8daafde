"""Build dataclasses from plain values that were read from a file, and check their types."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, fields
from functools import cache
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from harness.core.errors import is_number

T = TypeVar("T")

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def read_json(content: str | bytes) -> Any:
    r"""Return what JSON holds; its texts can be written to a file again.

    Raises:
        ValueError: if it is not JSON, is nested too deep, or if a text has half a surrogate pair,
            such as ``\udc80``, which UTF-8 cannot encode.
    """
    try:
        values = json.loads(content)
        raw = content.encode() if isinstance(content, str) else content
        if _SURROGATE.search(raw):  # Whole pairs are texts like any other.
            json.dumps(values, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("its lists or objects are nested too deep") from None
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
    origin, parts = get_origin(annotation), get_args(annotation)
    if annotation is Any:
        return ""
    if origin is Literal:
        return "" if value in parts else f"`{name}` must be one of {parts}: got {value!r}"
    if origin in (Union, UnionType):
        mismatches = [mismatch(value, part, name) for part in parts]
        return "" if "" in mismatches else mismatches[0]
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
    if _is(value, annotation):
        return ""
    return f"`{name}` must be {_type_name(annotation)}: got {value!r}"


def _with_tuples(value: Any, annotation: Any) -> Any:
    """Turn the lists of a conforming ``value`` into tuples where its annotation has tuples."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is tuple:
        return tuple(_with_tuples(item, part) for item, part in zip(value, parts, strict=True))
    if origin is list:
        return [_with_tuples(item, parts[0]) for item in value]
    if origin is dict:
        return {key: _with_tuples(item, parts[1]) for key, item in value.items()}
    return value


def _is(value: Any, kind: type) -> bool:
    if kind is float:
        return is_number(value, finite=True)
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))


def _type_name(kind: type) -> str:
    return "None" if kind is NoneType else kind.__name__


def _first_mismatch(mismatches: Iterable[str]) -> str:
    return next(filter(None, mismatches), "")


@cache
def _hints(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)
