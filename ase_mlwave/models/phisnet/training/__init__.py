"""Training of PhiSNet: settings, prepared data, losses, and the Lightning loop."""
