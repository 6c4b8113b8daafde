"""Read arrays out of pickles without unpickling: nothing that a file names is called.

Planetoid's files are pickles of Python 2, and ``pickle.load`` runs what a pickle
tells it to. Here the opcodes are read one by one and understood only as far as
arrays, SciPy's CSR matrices, dictionaries, lists and numbers need it.
"""

import pickletools
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from harness.errors import InputError, require

_ARRAY, _DTYPE, _MATRIX, _DICT, _LIST, _ENCODE = "array", "dtype", "matrix", "dict", "list", "text"
_KNOWN = {
    "numpy ndarray": _ARRAY,
    "numpy.core.multiarray _reconstruct": _ARRAY,
    "numpy._core.multiarray _reconstruct": _ARRAY,
    "numpy dtype": _DTYPE,
    "scipy.sparse.csr csr_matrix": _MATRIX,
    "scipy.sparse._csr csr_matrix": _MATRIX,
    "collections defaultdict": _DICT,
    "__builtin__ list": _LIST,
    "builtins list": _LIST,
    "_codecs encode": _ENCODE,  # How Python 3 writes bytes for Python 2.
}
_NUMBERS = re.compile(r"[<>|]?(b1|[fiu][1248])")
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_PUSHED = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "BINFLOAT", "FLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE",
    "BINBYTES", "SHORT_BINBYTES",
}  # fmt: skip
_STORED = {"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"}
_FETCHED = {"GET", "BINGET", "LONG_BINGET"}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Name:
    """A name that the file mentions, one of the few that are known."""

    def __init__(self, kind: str) -> None:
        self.kind = kind


class _Made:
    """An object that the file describes: its kind, arguments and state."""

    def __init__(self, kind: str, arguments: tuple[Any, ...]) -> None:
        self.kind, self.arguments = kind, arguments
        self.state: Any = None


def read(content: bytes, name: str) -> Any:
    """Return the array, matrix, dictionary, list or number that a pickle holds.

    Args:
        content: the pickle; arrays of protocol 2 to 4.
        name: of the file, for errors.

    Raises:
        InputError: where the pickle holds anything else, or is damaged.
    """
    try:
        return _value(_described(content, name))
    except InputError:
        raise
    except Exception as error:  # Whatever a damaged file may cause: nothing was called.
        raise _refused(name, f"it is damaged ({type(error).__name__}: {error})") from error


def _described(content: bytes, name: str) -> Any:
    stack: list[Any] = []
    marks: list[int] = []  # Where the items of tuples, lists and dictionaries begin.
    memory: dict[int, Any] = {}

    def since_mark() -> list[Any]:
        start = marks.pop()
        items = stack[start:]
        del stack[start:]
        return items

    argument: Any
    for operation, argument, _ in pickletools.genops(content):
        code = operation.name
        if code in _PUSHED:
            stack.append(argument)
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code in _STORED:
            memory[len(memory) if code == "MEMOIZE" else int(argument)] = stack[-1]
        elif code in _FETCHED:
            stack.append(memory[int(argument)])
        elif code == "MARK":
            marks.append(len(stack))
        elif code in _TUPLES:
            size = _TUPLES[code]
            items = [stack.pop() for _ in range(size)]
            stack.append(tuple(reversed(items)))
        elif code == "TUPLE":
            stack.append(tuple(since_mark()))
        elif code == "EMPTY_LIST":
            stack.append([])
        elif code == "LIST":
            stack.append(since_mark())
        elif code in ("APPEND", "APPENDS"):
            items = since_mark() if code == "APPENDS" else [stack.pop()]
            stack[-1].extend(items)
        elif code == "EMPTY_DICT":
            stack.append({})
        elif code in ("SETITEM", "SETITEMS", "DICT"):
            pairs = since_mark() if code != "SETITEM" else [stack.pop(-2), stack.pop()]
            if code == "DICT":
                stack.append({})
            held = stack[-1].state if isinstance(stack[-1], _Made) else stack[-1]
            held.update(zip(pairs[::2], pairs[1::2], strict=True))
        elif code in ("GLOBAL", "STACK_GLOBAL"):
            called = argument if code == "GLOBAL" else " ".join([stack.pop(-2), stack.pop()])
            if called not in _KNOWN:
                raise _refused(name, f"it names {called.replace(' ', '.')}")
            stack.append(_Name(_KNOWN[called]))
        elif code in ("REDUCE", "NEWOBJ"):
            arguments, function = stack.pop(), stack.pop()
            stack.append(_made(function.kind, tuple(arguments)))
        elif code == "BUILD":
            state = stack.pop()
            stack[-1].state = state
        elif code == "STOP":
            require(len(stack) == 1, f"{name} is damaged: it ends too early. Fetch it again.")
        elif code not in ("PROTO", "FRAME"):
            raise _refused(name, f"it uses the operation {code}")
    return stack[0]


def _made(kind: str, arguments: tuple[Any, ...]) -> Any:
    if kind == _ENCODE:
        text, encoding = arguments
        require(encoding == "latin1", f"Bytes must be written as latin1: got {encoding!r}.")
        return text.encode("latin1")
    made = _Made(kind, arguments)
    if kind == _DICT:
        made.state = {}
    return made


def _value(described: Any) -> Any:
    if not isinstance(described, _Made):
        return described
    makers: dict[str, Callable[[_Made], Any]] = {
        _ARRAY: _array,
        _DTYPE: _dtype,
        _MATRIX: _matrix,
        _DICT: lambda made: dict(made.state),
    }
    return makers[described.kind](described)


def _dtype(made: _Made) -> np.dtype[Any]:
    order: Any = made.state[1] if made.state else "|"
    text = str(made.arguments[0])
    require(
        _NUMBERS.fullmatch(text) is not None and order in ("<", ">", "|", "="),
        f"An array must hold numbers: got the type {order}{text}.",
    )
    return np.dtype(text).newbyteorder(order)


def _array(made: _Made) -> np.ndarray:
    _, shape, dtype, by_columns, content = made.state
    raw = content.encode("latin1") if isinstance(content, str) else content
    flat = np.frombuffer(raw, _value(dtype))
    return flat.reshape(shape, order="F" if by_columns else "C")


def _matrix(made: _Made) -> Any:
    import scipy.sparse

    state = made.state
    parts = tuple(_value(state[part]) for part in ("data", "indices", "indptr"))
    rows, columns = state.get("_shape", state.get("shape"))
    shape = (int(rows), int(columns))
    matrix: Any = scipy.sparse.csr_matrix(parts, shape)
    matrix.check_format(full_check=True)
    return matrix


def _refused(name: str, why: str) -> InputError:
    return InputError(
        f"{name} is not read: {why}. Only numeric arrays, CSR matrices, dictionaries and lists "
        "are, and nothing in it was run. Fetch the file again from its source."
    )
