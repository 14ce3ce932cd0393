"""The demonstration behind ``mlwave demo``: a relaxation, a trajectory, and SCF cycles saved, on real water."""
