"""The tasks of graphs: one graph with many nodes, and many graphs."""
