"""Score and describe frozen encoders: representations, probes, diagnostics."""
