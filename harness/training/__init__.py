"""Train one cell: the loop, what proves its pairs, and checks of its first steps."""
