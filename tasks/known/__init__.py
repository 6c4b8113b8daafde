"""Tasks whose right answer is known."""
