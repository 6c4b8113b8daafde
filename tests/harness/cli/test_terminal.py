from itertools import count

import pytest

from harness.cli import terminal
from harness.cli.terminal import Pace
from harness.core.cells import Cell
from harness.run.engines import Event
from harness.run.runner import Summary


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: clock[0])
    return clock


def cells(task: str, number: int, loss: str = "infonce") -> list[Cell]:
    return [Cell(task, "siamese", loss, seed) for seed in range(number)]


def test_time_left_is_estimated_from_cells_of_the_same_task(now: list[float]) -> None:
    """Two quick cells are done; what is left is slow, and there are two workers."""
    quick, slow = cells("quick", 3), cells("slow", 3)
    summary = Summary(expected=6, cells=[*quick, *slow])
    pace = Pace()
    assert pace.left(summary) is None
    for cell, seconds in ((quick[0], 10), (quick[1], 20), (slow[0], 100)):
        pace.observe(Event("started", cell, worker=1))
        now[0] += seconds
        pace.observe(Event("done", cell, worker=1))
        summary.done.append(cell)
    for worker, cell in ((1, quick[2]), (2, slow[1])):
        pace.observe(Event("started", cell, worker=worker))
    now[0] += 2
    assert pace.left(summary) == pytest.approx((15 + 2 * 100) / 2)


def test_tuned_cells_not_chosen_yet_are_expected_to_take_the_mean_time(now: list[float]) -> None:
    trials = cells("t", 2)
    summary = Summary(expected=12, cells=trials, done=[trials[0]])
    pace = Pace()
    pace.observe(Event("started", trials[0], worker=1))
    now[0] += 8
    pace.observe(Event("done", trials[0], worker=1))
    pace.observe(Event("started", trials[1], worker=1))
    assert pace.left(summary) == pytest.approx(8 * 11)


def test_untrained_cells_are_timed_apart(now: list[float]) -> None:
    trained, plain = cells("t", 5), cells("t", 5, "untrained")
    summary = Summary(expected=10, cells=[*trained, *plain], done=[trained[0], plain[0]])
    pace = Pace()
    for cell, seconds in ((trained[0], 50), (plain[0], 1)):
        pace.observe(Event("started", cell, worker=1))
        now[0] += seconds
        pace.observe(Event("done", cell, worker=1))
    assert pace.left(summary) == pytest.approx(4 * 50 + 4 * 1)


def test_failed_and_claimed_cells_are_not_timed(now: list[float]) -> None:
    pace, ticks = Pace(), count()
    summary = Summary(expected=1, cells=cells("t", 1))
    for kind in ("failed", "claimed", "diverged"):
        pace.observe(Event("started", summary.cells[0], worker=next(ticks)))
        now[0] += 5
        pace.observe(Event(kind, summary.cells[0], worker=next(ticks) - 1))  # type: ignore[arg-type]
    assert pace.left(summary) is None
