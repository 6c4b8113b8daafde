"""Progress: the time left, bars at any width, and lines in a pipe."""

import io
import re
from itertools import count

import pytest
from rich.console import Console

from harness.cli import progress
from harness.cli.progress import Bars, Pace
from harness.core.cells import Cell, name_of
from harness.core.telling import MAX_REASON
from harness.run.engines import Event
from harness.run.runner import Summary


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    clock = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
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


TASK = "images(false_negatives=0.3, size=14, draws=3)"
LOSSES = ("adnce(temperature=0.4, mu=0.7, sigma=0.5)", "adnce_sentence_paper", "infonce")


def screen(width: int) -> Console:
    return Console(file=io.StringIO(), force_terminal=True, width=width, color_system="256")


def plain(console: Console) -> str:
    """Return what was written, without colours."""
    assert isinstance(console.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;]*m", "", console.file.getvalue())


def drawn(bars: Bars) -> list[str]:
    """Return the lines that the bars show now."""
    console = screen(bars.screen.width)
    for part in bars.get_renderables():
        console.print(part)
    return plain(console).splitlines()


@pytest.mark.parametrize("width", [50, 60, 80, 200])
def test_bars_keep_loss_and_seed_at_any_width(width: int) -> None:
    bars = Bars(screen(width), methods=True)
    summary = Summary(expected=2000)
    shown = [Cell(TASK, "supervised_contrastive", loss, 10000) for loss in LOSSES]
    for worker, cell in enumerate(shown):
        bars.draw(Event("started", cell, worker), summary)
        step = Event("step", cell, worker, step=399_999, steps=400_000, loss=0.123456)
        bars.draw(step, summary)
    lines = drawn(bars)
    assert len(lines) == 1 + len(shown)
    assert all(len(line) <= width for line in lines), lines
    for cell, line in zip(shown, lines[1:], strict=True):
        assert re.match(rf"{name_of(cell.loss)}\b.* · seed 10000\b", line), line
        assert "399999/400000" in line


def test_bars_of_80_columns_show_what_there_is_to_know() -> None:
    bars = Bars(screen(80), methods=False)
    cell = Cell("sentences", "siamese", "adnce", 2)
    bars.draw(Event("started", cell, 1), Summary(expected=3))
    bars.draw(Event("step", cell, 1, step=40, steps=80, loss=3.1), Summary(expected=3))
    overall, line = drawn(bars)
    assert re.fullmatch(r"cells +━+ 0/3 *", overall)
    assert re.fullmatch(r"adnce · seed 2 · sentences ━+[╸╺]?━* 40/80 loss 3\.1, 0:00 left *", line)


def test_the_last_scores_stay_in_sight_and_do_not_flood() -> None:
    bars, summary = Bars(screen(80), methods=False), Summary(expected=9)
    for seed in range(9):
        cell = Cell(TASK, "siamese", LOSSES[0], seed)
        bars.draw(Event("started", cell, 1), summary)
        done = Event("done", cell, 1, metric="sts_spearman", score=61.24, seconds=34.2)
        bars.draw(done, summary)
    *scores, overall = drawn(bars)
    assert len(scores) == 3
    assert [re.findall(r"seed \d", line) for line in scores] == [["seed 6"], ["seed 7"], ["seed 8"]]
    assert all(line.endswith(": sts_spearman 61.24, 34 s") for line in scores)
    assert all(line.startswith("done: adnce") and len(line) <= 80 for line in scores)
    assert overall.startswith("cells")


def test_nothing_in_a_cell_moves_the_cursor() -> None:
    bars, cell = Bars(screen(80), methods=True), Cell("a\x1b[2J", "b\r", "c\x07", 1)
    bars.draw(Event("started", cell, 1), Summary(expected=1))
    text = "".join(drawn(bars))
    bars.draw(Event("done", cell, 1, metric="{m}\x1b[2J", score=1.0), Summary(expected=1))
    text += "".join(drawn(bars))
    assert "c\\x07" in text
    assert "{m}\\x1b[2J 1" in text
    assert not set(text) & {"\x1b", "\r", "\x07"}


def test_a_reason_is_printed_once_above_the_bars() -> None:
    bars, summary = Bars(screen(80), methods=False), Summary(expected=9)
    for seed in range(9):
        cell = Cell(TASK, "siamese", "adnce", seed)
        bars.draw(Event("failed", cell, 1, reason="ValueError: [bad] luck " * 9), summary)
    text = plain(bars.screen)
    assert text.count("failed: ") == 1
    assert max(map(len, text.splitlines())) <= 80


def test_a_pipe_gets_a_line_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    summary = Summary(expected=12)
    cell = Cell(TASK, "siamese", LOSSES[0], 10)
    with progress.progress() as listen:
        listen(Event("started", cell, 1), summary)
        listen(Event("step", cell, 1, step=1, steps=2), summary)
        listen(Event("failed", cell, 1, reason="a\nb\x1b" + "c" * 900), summary)
    started, failed = capsys.readouterr().out.splitlines()
    assert started == f"[ 0/12] 0:00  started  {cell}"
    assert failed.startswith(f"[ 0/12] 0:00  failed   {cell}: a b\\x1bccc")
    assert failed.endswith("… (630 more characters)")
    assert MAX_REASON - 5 < len(failed.partition(f"{cell}: ")[2]) <= MAX_REASON
