"""Leaderboards: tables of scores in, boards out. They know the tables' columns alone."""

from leaderboards.analysis.board import leaderboard
from leaderboards.analysis.naming import with_short_names
from leaderboards.analysis.pairing import pairing_table
from leaderboards.analysis.published import published_rows
from leaderboards.analysis.tables import Leaderboard
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
