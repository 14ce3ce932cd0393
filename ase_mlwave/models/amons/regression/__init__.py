"""Kernel ridge regression on atomic environments: energies, or energies and forces together, with their variance."""
