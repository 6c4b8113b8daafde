"""The shipped studies: each TOML file here is one."""
