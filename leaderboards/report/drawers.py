"""What lies behind a cell of the matrix: its seeds, its interval, and how to run it again."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from leaderboards.analysis.leaderboard import Leaderboard
from leaderboards.analysis.marks import flaw
from leaderboards.analysis.tables import each_row, scored
from leaderboards.analysis.visible import MAX_TEXT, brief
from leaderboards.analysis.words import BASELINE, COLLAPSED, INCOMPLETE
from leaderboards.report import numbers
from leaderboards.report.answer import judged
from leaderboards.report.methods import checksums
from leaderboards.report.model import Drawer, Seed
from leaderboards.report.scores import difference

MAX_DRAWERS = 400
"""Cells of a matrix that have a drawer; of more the page would be slow: records.csv has all."""


def drawers(board: Leaderboard, digits: int) -> Mapping[tuple[str, str, str], Drawer]:
    """Return {(task, method, loss): what lies behind its cell in the matrix}."""
    main = board.rows[board.rows["main"].astype(bool)]
    if len(main) > MAX_DRAWERS:
        return {}
    wanted = main[["task", "metric", "method", "loss"]]
    records = scored(board.records).merge(wanted, on=list(wanted))
    by_row: dict[tuple[str, str, str], list[Any]] = {}
    for record in each_row(records.sort_values("seed", kind="stable")):
        by_row.setdefault((record.task, record.method, record.loss), []).append(record)
    lost: dict[tuple[str, str, str], list[Any]] = {}
    for cell in each_row(board.cells[board.cells["stage"] == "final"]):
        lost.setdefault((cell.task, cell.method, cell.loss), []).append(cell)
    base = (board.baseline_method, board.baseline)
    found = {}
    for number, row in enumerate(each_row(main)):
        key = (row.task, row.method, row.loss)
        others = {record.seed: record.value for record in by_row.get((row.task, *base), ())}
        seeds = _seeds(board, row, by_row.get(key, []), lost.get(key, []), others, digits)
        found[key] = _drawer(board, row, f"c{number}", by_row.get(key, []), seeds, digits)
    return found


def _is_result(row: Any) -> bool:
    """Return whether a row's difference means anything: no seed failed, and it did not collapse."""
    return row.verdict not in (BASELINE, INCOMPLETE, COLLAPSED)


def _seeds(
    board: Leaderboard, row: Any, records: Sequence[Any], lost: Sequence[Any],
    base: Mapping[int, float], digits: int,
) -> tuple[Seed, ...]:  # fmt: skip
    """Return a line for each seed of a row, with those that have no score last."""
    paired = board.differences.get((row.task, row.metric, row.method, row.loss), {})
    compared = row.verdict != BASELINE

    def of_record(record: Any) -> Seed:
        seed = record.seed
        return Seed(
            seed,
            f"{record.value:.{digits}f}" + (" (collapsed)" if record.collapsed else ""),
            f"{base[seed]:.{digits}f}" if compared and seed in base else "",
            f"{paired[seed]:+.{digits}f}" if seed in paired and _is_result(row) else "",
            brief(record.path or f"key {record.key}", MAX_TEXT),
            brief(record.command or "", MAX_TEXT),
        )

    without = (Seed(int(cell.seed), str(cell.status), "", "", "", "") for cell in lost)
    return (*map(of_record, records), *without)


def _drawer(
    board: Leaderboard, row: Any, key: str, records: Sequence[Any], seeds: tuple[Seed, ...],
    digits: int,
) -> Drawer:  # fmt: skip
    labels = board.labels
    paired = board.differences.get((row.task, row.metric, row.method, row.loss), {})
    name = labels.row(row.method, row.loss)
    said = f"{name} against {board.baseline_label} {judged(row, digits)}."
    shown = _is_result(row)
    return Drawer(
        key=key,
        title=f"{name} on {labels.task(row.task)}: {labels.metric(row.metric)}",
        said="All others are compared with this row." if row.verdict == BASELINE else said,
        facts=tuple(
            (name, brief(text, MAX_TEXT)) for name, text in _facts(row, records, digits) if text
        ),
        seeds=seeds,
        values=tuple(paired.values()) if shown else (),
        ends=(row.difference_low, row.difference_high) if shown else (math.nan, math.nan),
        margin=None if row.margin is None or math.isnan(row.margin) else float(row.margin),
    )


def _facts(row: Any, records: Sequence[Any], digits: int) -> Iterator[tuple[str, str]]:
    """Yield what a reader wants to know of a cell, each with its name."""
    if _is_result(row):
        yield "Difference [95 %]", difference(row, digits)
        yield "p", "" if math.isnan(row.p) else numbers.p_value(row.p)
        yield "Seeds paired", f"{row.pairs} of {row.planned}"
    yield "Lacks", flaw(row._asdict())
    if not records:
        return
    first = records[0]
    settings = json.loads(first.settings)
    yield "Settings", ", ".join(f"{name} {value}" for name, value in settings.items())
    yield "Spec", row.spec
    task = json.loads(first.task_settings)
    yield "Task", ", ".join(f"{name} {value}" for name, value in task.items()) or row.task
    versions = json.loads(first.versions)
    yield "Versions", ", ".join(f"{name} {value}" for name, value in versions.items())
    yield (
        "Data",
        ", ".join(f"{name} {str(checksum)[:16]}" for name, checksum in checksums(first.data)),
    )
    yield "Commit, device", f"{str(first.commit or 'unknown')[:12]}, {first.device}"
    seconds = [float(record.seconds) for record in records if not pd.isna(record.seconds)]
    yield "Seconds a run", f"{min(seconds):.1f} to {max(seconds):.1f}" if seconds else ""
    yield "Finished", f"{str(max(str(record.finished) for record in records))[:19]}"
