"""Leaderboards: tables of scores in, boards out. They know the tables' columns alone."""

from leaderboards.board import leaderboard
from leaderboards.export import (
    files,
    overall_csv,
    records_csv,
    sections,
    sentences,
    summary,
    to_csv,
    to_html,
    to_latex,
    to_markdown,
)
from leaderboards.naming import with_short_names
from leaderboards.pairing import pairing_table
from leaderboards.published import published_rows
from leaderboards.tables import Leaderboard

__all__ = [
    "Leaderboard",
    "files",
    "leaderboard",
    "overall_csv",
    "pairing_table",
    "published_rows",
    "records_csv",
    "sections",
    "sentences",
    "summary",
    "to_csv",
    "to_html",
    "to_latex",
    "to_markdown",
    "with_short_names",
]
