"""Compute all that a board says from a table of records."""
