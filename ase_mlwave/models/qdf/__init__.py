"""The quantum deep field: a learned energy functional of molecular orbitals that one linear layer makes."""
