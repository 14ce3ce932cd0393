"""Errors of models against references: energies, forces, matrices, SCF cycles, and what committees know of them."""
