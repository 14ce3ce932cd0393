"""What training has in common for all models: settings, the order of molecules, checkpoints, and the loop."""
