"""What a run leaves on disk: records, their identity and provenance, checkpoints, the table."""
