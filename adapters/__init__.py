"""Foreign libraries, each wrapped once in our small types."""
