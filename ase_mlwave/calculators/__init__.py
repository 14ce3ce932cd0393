"""What a simulation script touches: with the command line, the only rooms that know eV and Angstrom."""
