"""Leaderboards: tables of scores in, boards out. They know the tables' columns alone."""

from leaderboards.analysis.board import leaderboard
from leaderboards.analysis.leaderboard import Leaderboard
from leaderboards.analysis.pairing import pairing_table
from leaderboards.analysis.published import published_rows

__all__ = ["Leaderboard", "leaderboard", "pairing_table", "published_rows"]
