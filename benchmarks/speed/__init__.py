"""Times and memory of the parts of the package."""
