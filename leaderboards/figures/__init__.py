"""Figures: from the report to SVG, one figure a file."""
