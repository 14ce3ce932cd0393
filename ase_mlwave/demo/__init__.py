"""The demonstration behind ``mlwave demo``: a molecule relaxed, its orbitals, SCF cycles saved, and dynamics."""
