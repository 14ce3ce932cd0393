"""How a calculator reads PySCF's molecules."""

from __future__ import annotations

from ase.calculators.calculator import InputError
from pyscf import gto

from ase_mlwave.models.domain.scope import Domain, check_system
from ase_mlwave.systems.conversion import system_from_mole
from ase_mlwave.systems.structures import check_finite
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = ["read_mole"]


def read_mole(mole: gto.Mole, domain: Domain) -> System:
    """Check a PySCF molecule and read it in atomic units.

    Parameters
    ----------
    mole : pyscf.gto.Mole
        Not changed; its basis does not matter.
    domain : Domain
        What the model was made for.

    Returns
    -------
    System

    Raises
    ------
    InputError
        If the ``Mole`` is not built, has ghost atoms, or is outside the domain; as `check_system`.
    """
    if not len(mole._atm):
        raise InputError("the Mole is not built or has no atoms. Call mol.build() first.")
    ghosts = [i for i in range(mole.natm) if gto.is_ghost_atom(mole.atom_symbol(i))]
    if ghosts:
        raise InputError(f"the Mole has ghost atoms (indices {ghosts}), which the model does not know. Leave them out.")
    for name, value, allowed in (("charge", mole.charge, domain.charges), ("spin", abs(mole.spin), domain.spins)):
        if value not in allowed:
            raise InputError(
                f"the Mole has {name} {value}, but the model was made for {name} "
                f"{' or '.join(map(str, sorted(allowed)))}. Take PySCF's own methods for it, or another model."
            )
    check_finite(mole.atom_coords() * BOHR)
    system = system_from_mole(mole)
    check_system(system, domain)
    return system
