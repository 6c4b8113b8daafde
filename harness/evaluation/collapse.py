"""Detect that a trained encoder gives nearly the same representation for every example."""

import math
from collections.abc import Sequence
from typing import Any

MIN_RANK_SHARE = 0.1
"""Representations with less than this share of the untrained effective rank have collapsed."""
MAX_COSINE = 0.99
"""Representations have collapsed at this mean cosine, unless it was as high before training."""

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
    'effective rank 3.0 (untrained 150.0); mean cosine 0.9994 (untrained 0.5500)'
    """
    if len(diagnostics) < 2:
        return ""
    (start, first), *_, (_, last) = diagnostics
    if start:  # The first diagnostics are not those of step 0, so there is nothing to compare with.
        return ""
    # A comparison with NaN is False, so a missing value is no sign of a collapse.
    signs = []
    before, after = (values.get("effective_rank", math.nan) for values in (first, last))
    if after < MIN_RANK_SHARE * before:
        signs.append(f"effective rank {after:.1f} (untrained {before:.1f})")
    before, after = (values.get("mean_cosine", math.nan) for values in (first, last))
    if before < MAX_COSINE <= after:
        signs.append(f"mean cosine {after:.4f} (untrained {before:.4f})")
    return "; ".join(signs)
