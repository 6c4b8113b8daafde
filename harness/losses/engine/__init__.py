"""Exact gradients of losses of scores, computed a block at a time."""
