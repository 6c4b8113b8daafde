"""The frame of Triptych: settings, tasks, losses, methods, training, evaluation, runs and records.

The package ``triptych`` re-exports what notebooks and plugin authors need.
"""

import warnings
from importlib import import_module
from typing import Any

_MOVED = {
    "InputError": "harness.core.errors",
    "Interrupted": "harness.run.runner",
    "Study": "harness.study.study",
    "load_records": "harness.store.table",
}
"""What version 0.1.0 exported here, and where it is. It goes with the next release."""


def __getattr__(name: str) -> Any:
    """Return a name that version 0.1.0 exported, and say where to import it from."""
    if name not in _MOVED:
        raise AttributeError(f"module 'harness' has no attribute {name!r}")
    warnings.warn(
        f"`harness.{name}` will go with the next release: import it from `triptych`.",
        DeprecationWarning,
        stacklevel=2,
    )
    return getattr(import_module(_MOVED[name]), name)
