"""The frame of Triptych: what a notebook needs is here, loaded when it is first used.

>>> import harness
>>> harness.Study("mine", tasks=["images"], losses=["infonce", "adnce"]).size()
9
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from harness.errors import InputError
    from harness.runner import Interrupted, run
    from harness.study import Study
    from harness.table import load_records

__all__ = ["InputError", "Interrupted", "Study", "load_records", "run"]
_HOMES = {
    "InputError": "harness.errors",
    "Interrupted": "harness.runner",
    "Study": "harness.study",
    "load_records": "harness.table",
    "run": "harness.runner",
}


def __getattr__(name: str) -> Any:
    """Import one of the names above: the command line starts without torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
