"""The package's models in other engines: one file an engine, imported by its full name where it is installed."""
