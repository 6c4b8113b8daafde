"""Detect that a trained encoder gives nearly the same representation for every example."""

import math
from collections.abc import Sequence
from typing import Any

LEAST_RANK = 0.1
"""Representations collapsed below this share of the untrained encoder's effective rank."""
HIGHEST_COSINE = 0.99
"""They collapsed from this mean cosine on, unless the untrained encoder's is as high."""

Diagnostics = Sequence[Sequence[Any]]
"""A record's diagnostics: (step, {name: value}) pairs in order of steps."""


def collapse(diagnostics: Diagnostics) -> str:
    """Return how a cell's representations collapsed; an empty text if they did not.

    The last diagnostics are compared with those of the same encoder at step 0, before
    training. Either of two signs is enough: the effective rank is below a tenth of that at
    step 0, or the mean cosine of different examples is .99 or more and was lower at step 0. A
    cell that was not trained, or whose task has no held-out batch, counts as not collapsed.

    >>> first = {"effective_rank": 150.0, "mean_cosine": 0.55}
    >>> collapse([(0, first), (100, {"effective_rank": 40.0, "mean_cosine": 0.87})])
    ''
    >>> collapse([(0, first), (100, {"effective_rank": 3.0, "mean_cosine": 0.9994})])
    'effective rank 3.0, of 150.0 untrained; mean cosine 0.9994, of 0.5500 untrained'
    """
    if len(diagnostics) < 2:
        return ""
    (start, first), *_, (_, last) = diagnostics
    if start:
        return ""
    signs = []
    before, after = (values.get("effective_rank", math.nan) for values in (first, last))
    if after < LEAST_RANK * before:
        signs.append(f"effective rank {after:.1f}, of {before:.1f} untrained")
    before, after = (values.get("mean_cosine", math.nan) for values in (first, last))
    if before < HIGHEST_COSINE <= after:
        signs.append(f"mean cosine {after:.4f}, of {before:.4f} untrained")
    return "; ".join(signs)
