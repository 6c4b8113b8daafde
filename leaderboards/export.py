"""Boards as CSV, Markdown and readable tables."""

import html
import re

import pandas as pd

from leaderboards.board import OVERALL


def to_csv(table: pd.DataFrame) -> str:
    """Return ``table`` as CSV, numbers in full, missing ones empty."""
    return table.to_csv(index=False, lineterminator="\n")


def readable(board: pd.DataFrame) -> pd.DataFrame:
    """Return a board of texts for the eye: rounded, intervals in one column.

    The method is shown where there are several; the overall rows come last.
    """
    table = pd.DataFrame(
        {
            "task": board["task"],
            "metric": board["metric"],
            "method": board["method"],
            "loss": board["loss"],
            "mean ± std": [
                _spread(mean, std) for mean, std in zip(board["mean"], board["std"], strict=True)
            ],
            "difference [95%]": _differences(board),
            "seeds": board["seeds"].astype(str),
            "rank": [_number(rank, "g") for rank in board["rank"]],
        }
    )
    return table.drop(columns=["method"] if board["method"].nunique() == 1 else [])


def to_markdown(board: pd.DataFrame) -> str:
    """Return the readable board as a Markdown table; nothing in it acts as markup."""
    table = readable(board)
    table = table.map(_escape)
    return str(table.to_markdown(index=False, disable_numparse=True)) + "\n"


def _escape(text: str) -> str:
    return re.sub(r"([\\`*_|~$:\[\]])", r"\\\1", html.escape(text, quote=False))


def _spread(mean: float, std: float) -> str:
    return _number(mean, ".2f") + ("" if pd.isna(std) else f" ± {std:.2f}")


def _differences(board: pd.DataFrame) -> list[str]:
    baseline = board.attrs.get("baseline")
    columns = ["loss", "task", "difference", "difference_low", "difference_high"]
    return [
        "baseline" if loss == baseline and task != OVERALL else _interval(mean, low, high)
        for loss, task, mean, low, high in board[columns].itertuples(index=False)
    ]


def _interval(mean: float, low: float, high: float) -> str:
    if pd.isna(mean):
        return ""
    return f"{mean:+.2f}" + ("" if pd.isna(low) else f" [{low:+.2f}, {high:+.2f}]")


def _number(value: float, form: str) -> str:
    return "" if pd.isna(value) else format(value, form)
