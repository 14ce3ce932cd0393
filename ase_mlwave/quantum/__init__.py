"""Quantum chemistry that the models share: basis, integrals, densities, the bridge to PySCF."""
