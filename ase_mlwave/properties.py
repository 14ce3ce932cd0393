"""What is known of a system besides its atoms: one table of labels, results and extras, with shapes and units.

Inside the package a value is in its atomic unit; ``Property.to_ase`` and ``Property.from_ase`` alone turn it into the
unit that the calculators, the command line and data files speak: ASE's, but for matrices and orbital energies, which
stay in Hartree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ase_mlwave.units import BOHR, HARTREE, HARTREE_PER_BOHR

__all__ = ["EXTRAS", "LABELS", "MATRICES", "PROPERTIES", "RESULTS", "Property"]


@dataclass(frozen=True)
class Property:
    """Describe one quantity."""

    name: str
    """Of a record's field, of an entry of ``calc.results`` (ASE's name) or of ``calc.extras``."""
    shape: tuple[int | str, ...] | None
    """Sizes, ``"N"`` for the number of atoms and ``"M"`` for that of basis functions; None for what is no array."""
    unit: str
    """Inside the package; empty for numbers without one."""
    ase_unit: str
    """Outside."""
    factor: float
    """One ``unit`` in ``ase_unit``."""
    text: str
    """What it is, in a line."""
    is_label: bool = False
    """Whether records and data files have it."""
    is_result: bool = False
    """Whether it is one of ASE's properties; what is neither is an extra."""

    def to_ase(self, value: Any) -> Any:
        """Convert from ``unit`` to ``ase_unit``; a mapping entry by entry."""
        if self.factor == 1 or value is None:
            return value
        if isinstance(value, Mapping):
            return {name: self.to_ase(entry) for name, entry in value.items()}
        return value * self.factor

    def from_ase(self, value: Any) -> Any:
        """Convert from ``ase_unit`` to ``unit``."""
        return value / self.factor

    def sizes(self, n_atoms: int) -> tuple[int, ...]:
        """Return the shape of a label or result for a number of atoms."""
        return tuple(n_atoms if size == "N" else int(size) for size in self.shape or ())

    @property
    def figure_unit(self) -> str:
        """A thousandth of ``ase_unit``, as the name of a figure ends: ``"meV_per_A"``."""
        return "m" + self.ase_unit.replace("/Angstrom", "_per_A").replace("*Angstrom", "_A")


_FORCE, _FORCE_ASE = "Hartree/Bohr", "eV/Angstrom"


def _energy(name: str, shape: tuple[int | str, ...] | None, text: str, **roles: bool) -> Property:
    return Property(name, shape, "Hartree", "eV", HARTREE, text, **roles)


def _force(name: str, shape: tuple[int | str, ...], text: str, **roles: bool) -> Property:
    return Property(name, shape, _FORCE, _FORCE_ASE, HARTREE_PER_BOHR, text, **roles)


def _same(name: str, shape: tuple[int | str, ...] | None, unit: str, text: str, **roles: bool) -> Property:
    """Describe what has one unit inside and outside."""
    return Property(name, shape, unit, unit, 1.0, text, **roles)


_BOTH: dict[str, bool] = {"is_label": True, "is_result": True}

_TABLE = (
    # Labels and results.
    _energy("energy", (), "total energy", **_BOTH),
    _force("forces", ("N", 3), "minus the derivative of the energy by the positions", **_BOTH),
    Property(
        "dipole", (3,), "e*Bohr", "e*Angstrom", BOHR, "electric dipole moment; of an ion about the origin", **_BOTH
    ),
    _energy("free_energy", (), "the energy under its other name", is_result=True),
    _energy("energies", ("N",), "parts of the energy by atoms, which add up to it", is_result=True),
    Property(
        "stress",
        (6,),
        "Hartree/Bohr^3",
        "eV/Angstrom^3",
        HARTREE / BOHR**3,
        "derivative of the energy by strain, over the volume; Voigt's order",
        is_result=True,
    ),
    _same("charges", ("N",), "e", "Mulliken's charges of the atoms", is_result=True),
    # Extras of PhiSNet models.
    _same("hamiltonian", ("M", "M"), "Hartree", "Kohn-Sham matrix, PySCF's AO order"),
    _same("overlap", ("M", "M"), "", "overlap matrix"),
    _same("density_matrix", ("M", "M"), "", "density matrix, summed over spins"),
    _same("orbital_energies", ("M",), "Hartree", "orbital energies, ascending"),
    _energy("homo", (), "energy of the highest occupied orbital"),
    _energy("lumo", (), "energy of the lowest empty orbital"),
    _energy("gap", (), "the difference of both, of one-electron energies: no excitation"),
    _same("scf_cycles", (), "", "cycles of the SCF, with `energy='scf'`; None where it had to be rescued"),
    # Extras of quantum deep fields.
    _energy(
        "atomic_energies",
        ("N",),
        "the result `energies` under its first name; of a PhiSNet whose energy is that of atoms",
    ),
    _same("cell_electrons", ("N",), "e", "electrons of each atom's cell before they are scaled"),
    _energy("outputs", None, "all outputs of a published field, by name"),
    # Extras of amons, the first also of quantum deep fields and PhiSNet's levels `functional` and `response`.
    _energy("energy_uncertainty", (), "standard deviation of the energy; of a PhiSNet how much too high it is at most"),
    _energy("energy_uncertainty_per_atom", (), "the same over the number of atoms: thresholds are of this"),
    _force("forces_uncertainty", ("N", 3), "standard deviations of the forces, with `uncertainty='forces'`"),
    _same("novelty", ("N",), "", "distance to the nearest training environment, in units of the largest between those"),
    _same("badly_covered", None, "", "the least known atoms, worst first"),
    _same("missing_amon", None, "", "SMILES of the amon that would help most, or None"),
    _same("amons", None, "", "SMILES of the training molecules"),
    # Extras of networks, and of committees.
    _same("domain_distance", ("N",), "", "how unlike the training data each atom is"),
    _energy("energy_spread", (), "standard deviation over a committee's members"),
    _force("forces_spread", ("N",), "the same of the forces, root of the summed variance of the components"),
    _same("members", None, "", "the extras of each member of a committee"),
)

#: All of them, by name.
PROPERTIES: dict[str, Property] = {each.name: each for each in _TABLE}
#: What records and data files hold beside matrices.
LABELS: dict[str, Property] = {name: each for name, each in PROPERTIES.items() if each.is_label}
#: What ``calc.results`` may hold.
RESULTS: dict[str, Property] = {name: each for name, each in PROPERTIES.items() if each.is_result}
#: What ``calc.extras`` may hold.
EXTRAS: dict[str, Property] = {name: each for name, each in PROPERTIES.items() if not each.is_result}
#: Those that grow with the square of a molecule.
MATRICES: frozenset[str] = frozenset(name for name, each in EXTRAS.items() if each.shape == ("M", "M"))
