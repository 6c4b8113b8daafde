"""The report as data: what ``triptych board --json`` prints."""

import json
import math
from collections.abc import Mapping
from typing import Any

from leaderboards.report.model import CSV, Report, Table


def to_json(report: Report) -> str:
    """Return all tables of the report with their columns' meanings, as JSON.

    Numbers are in full, missing ones null; texts are as they are, escaped by JSON alone. Half a
    character, which few readers of JSON take, is the text of its escape.
    """
    labels = report.board.labels
    data = {
        "title": report.title,
        "facts": report.facts,
        "answer": report.answer,
        "pooled": report.pooled,
        "warnings": [warning._asdict() for warning in report.warnings],
        "baseline": {"method": report.board.baseline_method, "loss": report.board.baseline},
        "labels": {
            name: dict(getattr(labels, name)) for name in ("tasks", "losses", "methods", "metrics")
        },
        "legend": report.legend,
        "methods": report.methods,
        "sentences": report.sentences,
        "matrix": _table(report.matrix),
        "tables": {key: _table(table) for key, table in report.tables.items()},
    }
    return json.dumps(_whole(data), indent=1, allow_nan=False) + "\n"


def _whole(value: Any) -> Any:
    """Return plain values without halves of characters."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, Mapping):
        return {_whole(key): _whole(each) for key, each in value.items()}
    return [*map(_whole, value)] if isinstance(value, list | tuple) else value


def _table(table: Table) -> dict[str, Any]:
    columns = table.columns_in(CSV)
    return {
        "title": table.title,
        "caption": table.caption,
        "columns": {column.key: column.help for column in columns},
        "rows": [
            {
                column.key: _value(cell.value)
                for column, cell in zip(columns, line.cells, strict=True)
            }
            for line in table.lines(CSV)
        ],
    }


def _value(value: Any) -> Any:
    """Return a value that JSON has: infinite and missing numbers are null."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, str | int) else str(value)
