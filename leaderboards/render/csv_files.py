"""CSV: a file a table. Texts are quoted, and none of them can act as a spreadsheet's formula.

Numbers stay numbers. ``pandas.read_csv(file, dtype={column: str}, keep_default_na=False)`` gives
the texts of a column back but for three things: what could act is an escape, as
:func:`~leaderboards.analysis.visible.visible` writes it; an apostrophe stands before what a
spreadsheet would take for a formula (remove one there, and the text is as it was); and beyond
``MAX_TEXT`` it is cut, which JSON is not.
"""

import csv
import io
import math
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from leaderboards.analysis.pairs import with_short_proofs
from leaderboards.analysis.visible import brief
from leaderboards.report.model import CSV, Report, Table

DIGITS = 7
"""Significant digits of a number: more than any score has."""
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)? *"
EQUALS, PLUS = r"[=@\uff1d\uff20\ufe66\ufe6b]", r"[+\-\uff0b\uff0d\ufe62\ufe63]"
"""The signs that begin a formula, as ASCII has them, of full width and small."""
FORMULA = re.compile(
    rf"^[ \"']*(?={EQUALS}|(?!{NUMBER}$){PLUS})"
    rf"|[;,|][ \"']*(?={EQUALS}|(?!{NUMBER}(?:$|[;,)\]}}])){PLUS})",
    re.ASCII | re.IGNORECASE,
)
"""Where a spreadsheet would begin a formula. It may take a semicolon or a comma inside a text for
the end of a cell, and not see quotes as we do. A sign before nothing but a number begins no
formula. Tabs and line breaks are escapes by then."""
MAX_TEXT = 32_767
"""Characters of a text: as many as a spreadsheet's cell has."""


def to_csv(columns: Sequence[str], rows: Iterable[Sequence[Any]], digits: int = DIGITS) -> str:
    """Return rows as CSV: numbers plain, texts quoted, what is missing empty."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\n")
    writer.writerow(map(defused, columns))
    for row in rows:
        writer.writerow([_value(value, digits) for value in row])
    return buffer.getvalue()


def _value(value: Any, digits: int) -> Any:
    """Return a value as it is written."""
    if value is None or value != value:  # NaN does not equal itself.
        return ""
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return value if math.isinf(value) else float(f"{value:.{digits}g}")
    return defused(str(value))


def defused(text: str) -> str:
    """Return a text in which no spreadsheet finds a formula, whatever it takes for a separator.

    >>> defused("=1+1"), defused("a;=1+1"), defused("adnce(mu=0.5, x=-1)"), defused("-2")
    ("'=1+1", "a;'=1+1", 'adnce(mu=0.5, x=-1)', '-2')
    >>> defused("-2+3"), defused("[-0.5, -1e3]")
    ("'-2+3", '[-0.5, -1e3]')
    """
    return brief(FORMULA.sub(r"\g<0>'", brief(text, MAX_TEXT)), MAX_TEXT)


def table_csv(table: Table) -> str:
    """Return a table with all its columns for CSV."""
    columns = table.columns_in(CSV)
    rows = ([cell.value for cell in line.cells] for line in table.lines(CSV))
    return to_csv([column.key for column in columns], rows)


def _of(key: str, about: str) -> Callable[[Report], str]:
    """Return the format that writes one of a report's tables; ``about`` is its docstring."""

    def write(report: Report) -> str:
        return table_csv(report.tables[key])

    write.__doc__ = about
    return write


leaderboard = _of("scores", "Return the long table: a row per task, metric, method and loss.")
overall = _of("overall", "Return the differences pooled over tasks, a row a loss.")
curves = _of("curves", "Return validation scores and paired differences during training.")
tuned = _of("tuned", "Return the settings that tuning chose, and where in their space they lie.")
trials = _of("trials", "Return every tuning trial with its validation score.")
budget = _of("budget", "Return the best validation score by number of tuning trials.")
diagnostics = _of("diagnostic_steps", "Return the diagnostics at every step.")
settings = _of("settings", "Return scores against a setting in which tasks differ.")
pairing = _of("pairing", "Return how much pairing by seed lowers the variance.")
published = _of("published", "Return the published numbers that were asked for, never ranked.")


def matrix(report: Report) -> str:
    """Return the wide table: a row a loss, and the columns of each task beside one another."""
    return table_csv(report.matrix)


def records(report: Report) -> str:
    """Return one row a record, and one a cell that has none, with scores in full.

    Scores have a column each, ``validation_accuracy`` or ``test_accuracy``, and so have
    diagnostics, ``diagnostics_alignment``: those of the last step, empty where a task has
    no such metric.
    """
    table = with_short_proofs(report.board.records)
    cell = ["task", "method", "loss", "spec", "stage", "trial", "seed"]
    rest = ["modality", "status", "reason", "steps", "seconds", "train_seconds", "memory",
            "commit", "device", "finished", "start", "seen", "data", "versions",
            "source"]  # fmt: skip
    shown = (table["step"] == table["steps"]) | (table["status"] != "done")
    last = table.loc[shown, ["key", *cell, *rest, "split", "metric", "value"]]
    last = last.astype({"trial": "Int64"})  # As a table put together by hand may not have it.
    scores = last[last["status"] == "done"].assign(
        name=lambda t: t["split"].astype(str) + "_" + t["metric"].astype(str)
    )
    names = list(dict.fromkeys(scores["name"]))
    wide = scores.pivot(index=["key", *cell], columns="name", values="value").reset_index()
    first = last.drop_duplicates(["key", *cell])[["key", *cell, *rest]]
    joined = first.merge(wide, on=["key", *cell], how="left")
    order = [*cell, "modality", "status", "reason", *names, *rest[3:], "key"]
    ordered = joined[order].sort_values(["stage", *cell[:3], "trial", "seed"], kind="stable")
    rows = ordered.astype(object).where(ordered.notna(), None).itertuples(index=False)
    return to_csv(order, rows, digits=17)
