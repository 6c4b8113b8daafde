"""What lies behind a cell of the matrix: its seeds, its interval, and how to run it again."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from leaderboards.analysis.leaderboard import Leaderboard
from leaderboards.analysis.tables import each_row, scored
from leaderboards.analysis.words import BASELINE
from leaderboards.report import numbers
from leaderboards.report.answer import judged
from leaderboards.report.parts import Drawer, Seed
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
    base = (board.baseline_method, board.baseline)
    found = {}
    for number, row in enumerate(each_row(main)):
        key = (row.task, row.method, row.loss)
        own = by_row.get(key, [])
        others = {record.seed: record.value for record in by_row.get((row.task, *base), ())}
        found[key] = _drawer(board, row, f"c{number}", own, others, digits)
    return found


def _drawer(
    board: Leaderboard, row: Any, key: str, records: Sequence[Any], base: Mapping[int, float],
    digits: int,
) -> Drawer:  # fmt: skip
    labels = board.labels
    paired = board.differences.get((row.task, row.metric, row.method, row.loss), {})
    is_baseline = row.verdict == BASELINE
    seeds = tuple(
        Seed(
            record.seed,
            f"{record.value:.{digits}f}" + (" (collapsed)" if record.collapsed else ""),
            f"{base[record.seed]:.{digits}f}" if record.seed in base and not is_baseline else "",
            f"{paired[record.seed]:+.{digits}f}" if record.seed in paired and not is_baseline
            else "",
            str(getattr(record, "path", "") or f"key {record.key}"),
            str(getattr(record, "command", "") or ""),
        )
        for record in records
    )  # fmt: skip
    name = labels.row(row.method, row.loss)
    against = labels.loss(board.baseline)
    said = (
        "The row that all others are compared with."
        if is_baseline
        else (f"{name} against {against} {judged(row)}.")
    )
    margin = None if row.margin is None or math.isnan(row.margin) else float(row.margin)
    return Drawer(
        key=key,
        title=f"{name} on {labels.task(row.task)}: {labels.metric(row.metric)}",
        said=said,
        facts=tuple((name, text) for name, text in _facts(row, records, digits) if text),
        seeds=seeds,
        values=() if is_baseline else tuple(paired.values()),
        ends=(row.difference_low, row.difference_high),
        margin=margin,
    )


def _facts(row: Any, records: Sequence[Any], digits: int) -> Iterator[tuple[str, str]]:
    """Yield what a reader wants to know of a cell, each with its name."""
    if row.verdict != BASELINE:
        yield "Difference [95 %]", difference(row, digits)
        yield "p", "" if math.isnan(row.p) else numbers.p_value(row.p)
        yield "Seeds paired", f"{row.pairs} of {row.planned}"
    yield "Lacks", row.marks if row.seeds < row.planned or row.collapsed else ""
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
    yield "Data", ", ".join(f"{name} {str(sum_)[:16]}" for name, sum_ in _flat(first.data))
    yield "Commit, device", f"{str(first.commit or 'unknown')[:12]}, {first.device}"
    seconds = [float(record.seconds) for record in records if not pd.isna(record.seconds)]
    yield "Seconds a run", f"{min(seconds):.1f} to {max(seconds):.1f}" if seconds else ""
    yield "Finished", f"{str(max(str(record.finished) for record in records))[:19]}"


def _flat(data: str) -> Iterator[tuple[str, object]]:
    """Yield (name, checksum) of a record's data."""
    read = json.loads(data)
    yield from read.items() if isinstance(read, dict) else ()
