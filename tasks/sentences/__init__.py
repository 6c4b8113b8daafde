"""The task of sentences."""
