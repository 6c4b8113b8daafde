"""Methods: how an encoder and two views of a batch become contrasts."""

from harness.methods.base import Method

__all__ = ["Method"]
