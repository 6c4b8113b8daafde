"""Statistics of scores: pure functions on arrays."""
