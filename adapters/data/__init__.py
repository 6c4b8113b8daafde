"""Data sets by name, read from wheels, folders and archives."""
