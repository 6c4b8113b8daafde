"""Encoders of a user's own: a class or function in a Python file, such as ``my_nets.py:Net``."""

import importlib
import inspect
from typing import Any

from torch import nn

from harness.core.errors import InputError, require


def build(spec: str, **sizes: Any) -> nn.Module:
    """Return the encoder that ``spec`` names, such as ``my_nets.py:Net(depth=3)``.

    Args:
        spec: the file, the class or function, and its settings.
        sizes: what the task knows of its data, such as ``channels``. The class gets those that
            its signature names; it must need no others.

    Raises:
        InputError: if there is no such file or class, or if it returns no module.
    """
    # Keys cover what an import statement names. How plugins are found changes no score, so this
    # module imports it by name, and keeps it out of the keys.
    plugins = importlib.import_module("harness.plugins")
    name, given = plugins.read(spec)
    factory = plugins.load("networks", name)
    parameters = inspect.signature(factory).parameters
    takes_all = any(each.kind is each.VAR_KEYWORD for each in parameters.values())
    known = {key: value for key, value in sizes.items() if takes_all or key in parameters}
    needed = [
        key
        for key, each in parameters.items()
        if each.default is each.empty
        and each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)
        and key not in {**known, **given}
    ]
    require(
        not needed,
        f"The network {spec!r} must need only what the task gives, {', '.join(sizes)}: it also "
        f"needs {', '.join(needed)}. Give these a default.",
    )
    try:
        made = factory(**{**known, **given})
    except (Exception, SystemExit) as error:
        raise InputError(
            f"The network {spec!r} could not be built: {plugins.told(error)}."
        ) from error
    require(
        isinstance(made, nn.Module),
        f"The network {spec!r} must be a torch.nn.Module: got {type(made).__name__}.",
    )
    encoder: nn.Module = made
    return encoder
