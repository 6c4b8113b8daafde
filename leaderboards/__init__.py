"""Leaderboards: tables of scores in, boards out. They know the tables' columns alone."""

from leaderboards.board import leaderboard, tidy
from leaderboards.export import readable, to_csv, to_markdown

__all__ = ["leaderboard", "readable", "tidy", "to_csv", "to_markdown"]
