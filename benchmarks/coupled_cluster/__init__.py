"""From Hartree-Fock theory to coupled cluster, through the wavefunction."""
