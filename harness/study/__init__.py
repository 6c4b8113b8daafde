"""Studies: parsed from TOML or built in Python, with search spaces, expanded into cells."""
