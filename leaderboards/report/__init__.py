"""The report: what every table, figure, page and file of a board shows."""
