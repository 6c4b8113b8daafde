"""What a board may say of a difference: each word once, with its condition and its meaning.

Every word follows from one interval [low, high] of the difference and the metric's margin m,
turned so that above 0 is better. Without a margin only *better*, *worse* and *undecided* are said.
The terminal, the files, the page and ``docs/boards.md`` take words and meanings from here.
"""

import math

from leaderboards.analysis.visible import brief

MAX_UNIT = 40
"""How many characters of a metric's unit are shown after a number; the rest is cut."""

BASELINE, INCOMPLETE, UNDECIDED = "baseline", "incomplete", "undecided"
MUCH_BETTER, BETTER, SLIGHTLY_BETTER = "better by more than m", "better", "better, but less than m"
EQUIVALENT = "equivalent within m"
NOT_WORSE, NOT_BETTER = "not worse by m", "not better by m"
COLLAPSED = "collapsed"
MUCH_WORSE, WORSE, SLIGHTLY_WORSE = "worse by more than m", "worse", "worse, but less than m"

MEANINGS = {
    MUCH_BETTER: "low > m: better, and by more than the margin",
    BETTER: "low > 0 and high > m: better; whether by more than the margin is open",
    SLIGHTLY_BETTER: "low > 0 and high <= m: better, but by less than the margin",
    EQUIVALENT: "-m < low <= 0 <= high < m: no difference that matters in either direction",
    NOT_WORSE: "low > -m alone: not worse by the margin or more; whether better is open",
    NOT_BETTER: "high < m alone: not better by the margin or more; whether worse is open",
    SLIGHTLY_WORSE: "low >= -m and high < 0: worse, but by less than the margin",
    WORSE: "low < -m and high < 0: worse; whether by more than the margin is open",
    MUCH_WORSE: "high < -m: worse, and by more than the margin",
    UNDECIDED: "none of these: the seeds do not decide",
    COLLAPSED: "of the row or the baseline: representations hardly differ, so no score is a result",
    INCOMPLETE: "a seed of the row or of the baseline failed: the rest are a biased sample",
    BASELINE: "the row that all others are compared with",
}
"""{word: when it is said, and what it means}, the best first."""

ABOVE = (MUCH_BETTER, BETTER, SLIGHTLY_BETTER)
"""The words of a row whose whole interval is above 0."""
BELOW = (MUCH_WORSE, WORSE, SLIGHTLY_WORSE)
"""The words of a row whose whole interval is below 0."""
OPEN = (NOT_WORSE, NOT_BETTER, UNDECIDED)


def word(low: float, high: float, margin: float | None) -> str:
    """Return what an interval of a difference says; ``undecided`` if it has a NaN.

    Args:
        low: the interval's low end; above 0 is better.
        high: its high end.
        margin: the smallest difference that matters, above 0; None: no word that needs one.

    >>> [word(*ends, 0.5) for ends in ((0.6, 0.9), (0.1, 0.4), (-0.2, 0.3), (-0.2, 0.7))]
    ['better by more than m', 'better, but less than m', 'equivalent within m', 'not worse by m']
    >>> word(-0.2, 0.3, None)
    'undecided'
    """
    if math.isnan(low) or math.isnan(high):
        return UNDECIDED
    if margin is None:
        return BETTER if low > 0 else WORSE if high < 0 else UNDECIDED
    if low > 0:
        return MUCH_BETTER if low > margin else BETTER if high > margin else SLIGHTLY_BETTER
    if high < 0:
        return MUCH_WORSE if high < -margin else WORSE if low < -margin else SLIGHTLY_WORSE
    not_worse, not_better = low > -margin, high < margin
    if not_worse and not_better:
        return EQUIVALENT
    return NOT_WORSE if not_worse else NOT_BETTER if not_better else UNDECIDED


def with_margin(verdict: str, margin: float | None, unit: str) -> str:
    """Return a word with its margin as a number.

    >>> with_margin("better by more than m", 0.5, "%"), with_margin("better", 0.5, "%")
    ('better by more than 0.5 points', 'better')
    """
    if margin is None or math.isnan(margin) or not verdict.endswith(" m"):
        return verdict
    return f"{verdict.removesuffix('m')}{amount(margin, unit)}"


def amount(value: float, unit: str) -> str:
    """Return a number with the unit of a metric: shares are shown in points.

    >>> amount(1.0, "%"), amount(0.25, "nats")
    ('1 point', '0.25 nats')
    """
    named = ("point" if value == 1 else "points") if unit == "%" else brief(unit, MAX_UNIT)
    return f"{value:g} {named}".rstrip()


def intervals_named(*, screening: bool) -> str:
    """Return what the intervals of a board are, as a caption says it."""
    if screening:
        return "intervals that borrow variance over losses (screening: they decide nothing)"
    return "paired t intervals, simultaneous at 95 % over the losses of a task"


def possible_failures(pairs: int) -> float:
    """Return the share of seeds that could behave otherwise unseen: the rule of three.

    With probability .05, a share this large of all seeds shows in none of ``pairs`` seeds:
    (1 - share)^pairs = .05.

    >>> round(possible_failures(3), 2)
    0.63
    """
    share: float = 1 - 0.05 ** (1 / pairs)
    return share
