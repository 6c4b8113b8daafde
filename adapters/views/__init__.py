"""Random views from foreign libraries."""
