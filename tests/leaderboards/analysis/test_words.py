"""The words follow from one interval and never contradict it."""

import math

import numpy as np
import pytest
from conftest import ROOT
from hypothesis import assume, given
from hypothesis import strategies as st

from leaderboards.analysis.words import (
    ABOVE,
    BELOW,
    EQUIVALENT,
    MEANINGS,
    NOT_BETTER,
    NOT_WORSE,
    UNDECIDED,
    possible_failures,
    with_margin,
    word,
)
from leaderboards.statistics.paired import paired_interval

NUMBERS = st.floats(-10, 10).map(lambda value: round(value, 3))
MARGINS = st.floats(0.01, 5)


@given(NUMBERS, NUMBERS, MARGINS)
def test_a_word_says_what_its_interval_says(one: float, other: float, margin: float) -> None:
    low, high = sorted((one, other))
    found = word(low, high, margin)
    assert found in MEANINGS
    assert (found in ABOVE) == (low > 0)
    assert (found in BELOW) == (high < 0)
    if found == EQUIVALENT:
        assert -margin < low <= 0 <= high < margin
    if found == NOT_WORSE:
        assert -margin < low <= 0 and high >= margin
    if "more than" in found:
        assert min(abs(low), abs(high)) > margin
    if "less than" in found:
        assert max(abs(low), abs(high)) <= margin


MIRROR = dict(zip(ABOVE, BELOW, strict=True))
MIRROR |= {EQUIVALENT: EQUIVALENT, UNDECIDED: UNDECIDED, NOT_WORSE: NOT_BETTER}


@given(NUMBERS, NUMBERS, MARGINS)
def test_better_and_worse_are_mirror_images(one: float, other: float, margin: float) -> None:
    low, high = sorted((one, other))
    both = MIRROR | {value: key for key, value in MIRROR.items()}
    assert word(-high, -low, margin) == both[word(low, high, margin)]


@given(st.lists(NUMBERS, min_size=4, max_size=4), MARGINS)
def test_an_interval_inside_another_never_says_the_opposite(
    ends: list[float], margin: float
) -> None:
    low, inner_low, inner_high, high = sorted(ends)
    outer, inner = word(low, high, margin), word(inner_low, inner_high, margin)
    assert not (outer in ABOVE and inner not in ABOVE)
    assert not (outer in BELOW and inner not in BELOW)
    assert not (outer == EQUIVALENT and "more than" in inner)
    assert not (outer == NOT_WORSE and inner in BELOW and "less" not in inner)


@given(st.lists(NUMBERS, min_size=3, max_size=8), st.integers(0, 7), MARGINS)
def test_a_nudge_moves_each_end_across_one_mark_at_most(
    differences: list[float], place: int, margin: float
) -> None:
    assume(min(abs(m) for m in (margin,)) > 1e-3)
    nudged = [d + 1e-9 * (i == place % len(differences)) for i, d in enumerate(differences)]
    for before, after in zip(
        paired_interval(differences, 0.05)[1:], paired_interval(nudged, 0.05)[1:], strict=True
    ):
        low, high = sorted((float(before), float(after)))
        assert sum(low <= mark < high for mark in (-margin, 0, margin)) <= 1


def test_equal_differences_are_judged_like_nearly_equal_ones() -> None:
    """Ten differences of .1 were *better* where nine of .1 and one of .12 were *equivalent*."""
    found = {
        word(*map(float, paired_interval(sample, 0.05)[1:]), 0.5)
        for sample in ([0.1] * 10, [0.1] * 9 + [0.12])
    }
    assert len(found) == 1


def test_three_zeros_on_20_test_items_are_undecided() -> None:
    """One item weighs 5 points, more than the margin: nothing is equivalent there."""
    _, low, high = paired_interval([0.0, 0.0, 0.0], 5.0)
    assert word(float(low), float(high), 0.5) == word(float(low), float(high), None) == UNDECIDED


def test_more_seeds_of_the_same_kind_do_not_turn_better_into_equivalent() -> None:
    words = []
    for seeds in (5, 20, 80):
        sample = np.tile([0.2, 0.3, 0.1, 0.25, 0.15], seeds // 5)
        words.append(word(*map(float, paired_interval(sample, 0.05)[1:]), 0.5))
    assert words == ["better, but less than m"] * 3


def test_without_a_margin_nothing_is_equivalent() -> None:
    assert word(-0.1, 0.1, None) == UNDECIDED
    assert word(0.1, 0.2, None) == "better" and word(-0.2, -0.1, None) == "worse"
    assert word(math.nan, 1.0, 0.5) == UNDECIDED


@pytest.mark.parametrize(
    ("name", "margin", "unit", "text"),
    [
        (EQUIVALENT, 1.0, "%", "equivalent within 1 point"),
        (EQUIVALENT, 0.5, "nats", "equivalent within 0.5 nats"),
        (EQUIVALENT, None, "%", EQUIVALENT),
        ("better", 0.5, "%", "better"),
    ],
)
def test_a_margin_is_said_as_a_number(
    name: str, margin: float | None, unit: str, text: str
) -> None:
    assert with_margin(name, margin, unit) == text


def test_the_rule_of_three() -> None:
    assert [round(possible_failures(n), 2) for n in (3, 4, 10)] == [0.63, 0.53, 0.26]


def test_the_docs_have_the_words_of_the_code() -> None:
    text = (ROOT / "docs/boards.md").read_text(encoding="utf-8")
    for name, meaning in MEANINGS.items():
        assert f"| {name} | {meaning} |" in text
