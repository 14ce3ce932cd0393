"""Training of a quantum deep field: settings, losses, and the Lightning module."""
