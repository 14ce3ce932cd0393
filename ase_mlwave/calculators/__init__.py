"""The calculators that a simulation script touches: the only rooms, with the command line, that know eV and Angstrom."""
