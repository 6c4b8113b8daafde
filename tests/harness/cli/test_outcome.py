"""Lost cells: one line for a reason, with an example and the command that shows it."""

from itertools import product
from pathlib import Path

import pytest

from harness.cli import outcome
from harness.core.cells import Cell
from harness.core.telling import one_line
from harness.run.runner import Summary
from harness.run.status import CellState
from harness.store.records import Failure, Store

CELLS = [
    Cell(task, "siamese", loss, seed)
    for task, loss, seed in product(("images", "nodes"), ("adnce", "infonce", "dcl"), range(4))
]
LUCK = "ValueError: bad luck"
LONG = "RuntimeError: " + "one two three " * 300


def lines(capsys: pytest.CaptureFixture[str]) -> tuple[list[str], list[str]]:
    done = capsys.readouterr()
    return done.out.splitlines(), done.err.splitlines()


def test_lost_cells_are_grouped_by_reason(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path)
    for number, cell in enumerate(CELLS):
        store.write_failure(cell, Failure(f"{number:016x}", "failed", LUCK))
    failed = dict.fromkeys(CELLS[:12], LUCK) | {CELLS[12]: LONG, CELLS[13]: "killed"}
    diverged = dict.fromkeys(CELLS[14:16], "diverged at step 1 of 3")
    waiting = {f"row {number}": "no trial is done" for number in range(7)}
    summary = Summary(24, failed=failed, diverged=diverged, waiting=waiting)
    outcome.report_lost(summary, tmp_path, "triptych run q --seeds 4")
    out, err = lines(capsys)
    assert out == []
    assert err == [
        "2 cells diverged; the next run skips them:",
        "  2 cells of 1 task, 1 loss and 2 seeds: diverged at step 1 of 3",
        f"  details: triptych show {tmp_path} 000000000000000e  (adnce · seed 2 · nodes)",
        "14 cells failed:",
        f"  12 cells of 1 task, 3 losses and 4 seeds: {LUCK}",
        f"  details: triptych show {tmp_path} 0000000000000000  (adnce · seed 0 · images)",
        f"  nodes / siamese / adnce / seed 0: {one_line(LONG)}",
        f"  details: triptych show {tmp_path} 000000000000000c",
        "  nodes / siamese / adnce / seed 1: killed",
        f"See {tmp_path}/failures. To try them again:",
        "  triptych run q --seeds 4",
        "Tuning chose no settings for row 0, row 1, row 2, row 3, row 4 and 2 more: "
        "no trial is done.",
    ]


def test_a_cell_without_a_key_is_named_by_its_label() -> None:
    cell = Cell("images", "siamese", "adnce(mu=0.5)", 3)
    command = outcome.show_command(Path("runs/q"), cell, "")
    assert command == "triptych show runs/q 'images / siamese / adnce(mu=0.5) / seed 3'"
    trial = Cell("images", "siamese", "adnce", 10000, "validation")
    assert outcome.show_command(Path("q"), trial, "").endswith("seed 10000 tuning'")


def test_states_are_grouped_unless_every_cell_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    failed = [CellState(cell, f"{k:016x}", "failed", LUCK) for k, cell in enumerate(CELLS[:12])]
    other = CellState(CELLS[12], "c" * 16, "diverged", "at step 3")
    done = [CellState(cell, f"{k:016x}", "done") for k, cell in enumerate(CELLS[13:], start=13)]
    states = [*failed, other, *done]
    outcome.show_states(states, states, Path("runs/q"), every=False)
    out, _ = lines(capsys)
    assert out == [
        "24 cells: 11 done, 12 failed, 1 diverged, 0 to do",
        f"  failed     12 cells of 1 task, 3 losses and 4 seeds: {LUCK}",
        "             details: triptych show runs/q 0000000000000000  (adnce · seed 0 · images)",
        "  diverged   cccccccccccccccc  nodes / siamese / adnce / seed 0: at step 3",
    ]
    outcome.show_states(states, failed[:2], Path("runs/q"), every=True)
    out, _ = lines(capsys)
    assert out == [
        "2 of 24 cells: 0 done, 2 failed, 0 to do",
        f"  failed     0000000000000000  {CELLS[0]}: {LUCK}",
        f"  failed     0000000000000001  {CELLS[1]}: {LUCK}",
    ]


def test_many_reasons_do_not_flood(capsys: pytest.CaptureFixture[str]) -> None:
    states = [CellState(CELLS[0], str(k), "failed", f"reason {k}") for k in range(100)]
    outcome.show_states(states, states, Path("runs/q"), every=False)
    out, _ = lines(capsys)
    assert len(out) == 1 + outcome.MAX_LINES + 1
    assert "and 70 more reasons: add --cells" in out[-1]
