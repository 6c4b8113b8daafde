"""Whether a trained encoder gives nearly the same representation for every example."""

import math
from collections.abc import Sequence
from typing import Any

LEAST_RANK = 0.1
"""Of the untrained encoder's effective rank: below it, the representations collapsed."""
HIGHEST_COSINE = 0.99
"""From this mean cosine on they collapsed, unless the untrained encoder's is as high."""

Diagnostics = Sequence[Sequence[Any]]
"""A record's: (step, {name: value}) pairs in order of steps."""


def collapse(diagnostics: Diagnostics) -> str:
    """Return in what way a cell's representations collapsed, or nothing if they did not.

    The last diagnostics are compared with those of step 0, which are of the same encoder
    before training. Either of two signs is enough: an effective rank below a tenth of
    that at step 0, or a mean cosine of different examples of .99 or more that was lower at
    step 0. A cell that was not trained, or whose task has no held-out batch, has not
    collapsed.

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
