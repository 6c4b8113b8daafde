"""Marks: what stands behind a mean that is not what it seems. They are set here, once."""

from collections.abc import Mapping
from typing import Any

BEST, TIED = "best", "tied"
"""The best rank of a task and metric; a row whose difference to it may be 0."""


def flaw(row: Mapping[str, Any]) -> str:
    """Return why a row's mean is not that of all its seeds; empty if it is.

    Every table, figure and file shows it with the mean.

    Args:
        row: with the numbers ``seeds``, ``planned`` and ``collapsed``.

    >>> flaw({"seeds": 2, "planned": 4, "collapsed": 1})
    '2 of 4 seeds, 1 collapsed'
    >>> flaw({"seeds": 3, "planned": 3, "collapsed": 3})
    'collapsed'
    >>> flaw({"seeds": 3, "planned": 3, "collapsed": 0})
    ''
    """
    seeds, planned, collapsed = row["seeds"], row["planned"], row["collapsed"]
    parts = [f"{seeds} of {planned} seeds"] if seeds < planned else []
    if collapsed:
        parts.append("collapsed" if collapsed == seeds else f"{collapsed} collapsed")
    return ", ".join(parts)


def marks(row: Mapping[str, Any]) -> str:
    """Return all marks of a row: its flaw, and whether it is the best or tied with the best.

    >>> marks({"seeds": 3, "planned": 3, "collapsed": 0, "best": True, "tied": False})
    'best'
    """
    parts = [flaw(row), BEST if row["best"] else "", TIED if row["tied"] else ""]
    return ", ".join(part for part in parts if part)
