"""Metrics from foreign libraries."""
