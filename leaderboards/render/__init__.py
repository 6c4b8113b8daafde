"""Renderers: from the report to a file, a page or a terminal, one medium a file."""
