"""The command line, which puts all the parts together.

Importing it adds every command to ``app``, in the order in which ``--help`` shows them.
"""

from harness.cli import list_plugins, run, status, show, plan, board, data, check, new  # noqa: F401, I001
from harness.cli.shared import app

__all__ = ["app"]
