"""Encoders from foreign libraries."""
