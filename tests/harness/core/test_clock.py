"""The clock of a cell's seconds stands still while the process is stopped, and only then."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.core import clock

GAPS = st.lists(
    st.tuples(st.floats(0.0, 1000.0), st.floats(0.0, 1.0)), min_size=1, max_size=20
)  # (seconds since the last reading, share of them in which the process computed)


def read(gaps: Sequence[tuple[float, float]], *, watched: bool) -> tuple[float, float]:
    """Return what the clock shows after these gaps between readings, and the sum of them."""
    now, used = 100.0, 5.0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock.time, "perf_counter", lambda: now)
        patch.setattr(clock.time, "process_time", lambda: used)
        tested = clock.Clock()
        if watched:
            tested.watch()
        began = tested.seconds()
        for gap, share in gaps:
            now += gap
            used += share * gap
            tested.seconds()
        return tested.seconds() - began, now - 100.0


@given(GAPS)
def test_a_watched_clock_leaves_out_long_gaps_without_computation(
    gaps: list[tuple[float, float]],
) -> None:
    shown, _ = read(gaps, watched=True)
    near = (abs(share - clock.IDLE) < 1e-6 or abs(gap - clock.LATE) < 1e-6 for gap, share in gaps)
    if not any(near):  # There, rounding decides.
        kept = [g for g, share in gaps if g <= clock.LATE or share >= clock.IDLE]
        assert shown == pytest.approx(sum(kept), abs=1e-6)


@given(GAPS)
def test_a_clock_that_nobody_watches_counts_everything(gaps: list[tuple[float, float]]) -> None:
    shown, passed = read(gaps, watched=False)
    assert shown == pytest.approx(passed)
