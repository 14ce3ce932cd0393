"""Unit conversions, once per direction (values from ``ase.units``).

Inside the package everything is in Hartree, Bohr and elementary charges; calculators, the command line and the
energies and forces of data files are in ASE's units.
"""

from __future__ import annotations

from ase import units as _ase

#: One Bohr in Angstrom.
BOHR: float = _ase.Bohr
#: One Hartree in eV.
HARTREE: float = _ase.Hartree
#: One Hartree/Bohr in eV/Angstrom.
HARTREE_PER_BOHR: float = _ase.Hartree / _ase.Bohr
#: One kcal/mol and one kJ/mol in eV.
KCAL_PER_MOL: float = _ase.kcal / _ase.mol
KJ_PER_MOL: float = _ase.kJ / _ase.mol
