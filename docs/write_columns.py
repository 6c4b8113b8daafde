"""Write the tables of files and columns in ``docs/boards.md``: ``python docs/write_columns.py``.

They are read off the declarations, so a column or a format is described where it is declared.
``tests/leaderboards/report/test_report.py`` fails when the page is old.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from leaderboards import leaderboard
from leaderboards.analysis.tables import RECORD_COLUMNS
from leaderboards.render.formats import about
from leaderboards.report.model import CSV, Table

PAGE = Path(__file__).parent / "boards.md"
MARK = re.compile(
    r"(<!-- (\w+): written by docs/write_columns.py -->\n).*?(<!-- end -->)", re.DOTALL
)


def a_board() -> pd.DataFrame:
    """Return the records of the smallest board: its tables have all columns."""
    row = dict.fromkeys(RECORD_COLUMNS, "") | {
        "task": "images", "task_name": "images", "loss": "infonce", "loss_name": "infonce",
        "method": "siamese", "kind": "trained", "tuned": False, "baseline": True,
        "stage": "final", "trial": None, "seed": 0, "status": "done", "split": "test",
        "metric": "accuracy", "main": True, "unit": "%", "direction": "higher", "margin": 0.5,
        "resolution": 0.1, "step": 1, "value": 80.0, "steps": 1, "seconds": 1.0,
        "train_seconds": 1.0,
    }  # fmt: skip
    texts = ("task_given", "task_settings", "loss_given", "settings", "space", "versions",
             "memory", "data")  # fmt: skip
    row |= dict.fromkeys(texts, "{}") | {"proof": '{"start": "", "seen": ""}'}
    return pd.DataFrame([row])


def files() -> Iterator[str]:
    """Yield the table of a board's files and figures."""
    yield "| file or figure | what it holds |"
    yield "|---|---|"
    for name, line in about():
        yield f"| `{name}` | {line} |"


def columns() -> Iterator[str]:
    """Yield the tables of columns, one a CSV file."""
    report = leaderboard(a_board()).report
    for table in report.tables.values():
        if table.file:
            yield from _table(table)


def _table(table: Table) -> Iterator[str]:
    yield f"| column of `{table.file}` | what it is |"
    yield "|---|---|"
    for column in table.columns_in(CSV):
        yield f"| `{column.key}` | {column.help} |"
    yield ""


def written(text: str) -> str:
    """Return the page with its tables as they are declared now."""
    tables = {"files": files, "columns": columns}

    def table(found: re.Match[str]) -> str:
        lines = "\n".join(tables[found[2]]()).strip()
        return f"{found[1]}\n{lines}\n\n{found[3]}"

    return MARK.sub(table, text)


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
