"""Saved encoders for other libraries, and their benchmarks run on them."""
