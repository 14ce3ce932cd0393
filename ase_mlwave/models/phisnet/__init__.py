"""PhiSNet: an equivariant network from molecular geometry to Hamiltonian matrix."""
