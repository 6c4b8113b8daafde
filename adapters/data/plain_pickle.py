"""Read arrays from pickles that may call only the functions that build arrays.

Planetoid's files are pickles of Python 2, and ``pickle.load`` calls whatever a pickle names.
Here the names that a pickle may use are in a short list, and all others are refused.
"""

import io
import pickle
import re
from collections import defaultdict
from typing import Any

import numpy as np

from harness.core.errors import InputError

NUMBERS = re.compile(r"[<>|]?(b1|[fiu][1248])")
"""The types that arrays may have: booleans, whole numbers and floats; no objects, no texts."""


class _Described:
    """Keep the arguments and the state of an object in a pickle, without building the object.

    NumPy's own classes act on a state while it is read: a type with false flags would make an
    array take its bytes for pointers and follow them.
    """

    def __init__(self, *arguments: Any) -> None:
        self.arguments = arguments
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_Described):
    """Stand in for an array of numpy."""


class _Type(_Described):
    """Stand in for the type of numpy's arrays."""


class _Matrix(_Described):
    """Stand in for a CSR matrix of SciPy."""


def _latin1(text: str, encoding: str) -> bytes:
    """Stand in for `_codecs.encode`: up to protocol 2, Python 3 writes bytes as text."""
    if encoding != "latin1":
        raise ValueError(f"bytes are written as {encoding!r}")
    return text.encode("latin1")


_KNOWN = {
    "numpy.ndarray": _Array,
    "numpy.core.multiarray._reconstruct": _Array,
    "numpy._core.multiarray._reconstruct": _Array,
    "numpy.dtype": _Type,
    "scipy.sparse.csr.csr_matrix": _Matrix,
    "scipy.sparse._csr.csr_matrix": _Matrix,
    "collections.defaultdict": defaultdict,
    "__builtin__.list": list,
    "builtins.list": list,
    "_codecs.encode": _latin1,
}


class _Reader(pickle.Unpickler):
    """An unpickler that knows the names above and refuses all others."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self.name = name

    def find_class(self, module: str, name: str) -> Any:
        """Return the object that a name in the pickle stands for, or refuse the name."""
        if f"{module}.{name}" not in _KNOWN:
            raise _refused(self.name, f"it names {module}.{name}")
        return _KNOWN[f"{module}.{name}"]


def read(content: bytes, name: str) -> Any:
    """Return the array, matrix, dictionary, list or number that a pickle holds.

    Args:
        content: the pickle.
        name: the file's name, for errors.

    Raises:
        InputError: if the pickle holds anything else, or is damaged.
    """
    try:
        return _plain(_Reader(content, name).load(), name)
    except InputError:
        raise
    except Exception as error:  # A damaged file may raise anything.
        raise _refused(name, f"it is damaged ({type(error).__name__}: {error})") from error


def _plain(value: Any, name: str) -> Any:
    """Return ``value`` with arrays and matrices built from their descriptions; refuse the rest."""
    if isinstance(value, _Matrix):
        return _matrix(value.state, name)
    if isinstance(value, _Array):
        return _array(value.state, name)
    if isinstance(value, dict):
        return {key: _plain(item, name) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_plain(item, name) for item in value)
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return value
    raise _refused(name, f"it holds a {type(value).__name__}")


def _array(state: Any, name: str) -> np.ndarray:
    """Return an array of numbers: ``state`` is (version, shape, type, by columns, bytes)."""
    _, shape, kind, by_columns, content = state
    # A type is described by its name, such as f4, and by a state (version, byte order, ...).
    text = str(kind.arguments[0])
    order: Any = kind.state[1] if kind.state else "|"
    if not NUMBERS.fullmatch(text) or order not in ("<", ">", "|", "="):
        raise _refused(name, f"an array must hold numbers: got the type {order}{text}")
    # Python 2's strings of bytes were decoded as Latin-1, which maps each byte to one character.
    raw = content.encode("latin1") if isinstance(content, str) else content
    flat = np.frombuffer(raw, np.dtype(text).newbyteorder(order))
    return flat.reshape(shape, order="F" if by_columns else "C")


def _matrix(state: Any, name: str) -> Any:
    import scipy.sparse

    parts = tuple(_plain(state[part], name) for part in ("data", "indices", "indptr"))
    rows, columns = state.get("_shape", state.get("shape"))
    matrix: Any = scipy.sparse.csr_matrix(parts, (int(rows), int(columns)))
    matrix.check_format(full_check=True)  # SciPy does not check indices before it follows them.
    return matrix


def _refused(name: str, why: str) -> InputError:
    return InputError(
        f"{name} is not read: {why}. A file may hold only numeric arrays, CSR matrices, "
        "dictionaries and lists; nothing in it was run. Fetch the file again from its source."
    )
