"""How a calculator reads PySCF's molecules."""

from __future__ import annotations

import numpy as np
from ase import Atoms
from ase.calculators.calculator import InputError
from pyscf import gto

from ase_mlwave.calculators.checks import Domain, read_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.units import BOHR

__all__ = ["read_mole"]


def read_mole(mole: gto.Mole, domain: Domain) -> Record:
    """Check a PySCF molecule and read it in atomic units.

    Parameters
    ----------
    mole : pyscf.gto.Mole
        Not changed; its basis does not matter.
    domain : Domain
        What the model was made for.

    Returns
    -------
    Record
        Positions in Bohr; no labels.

    Raises
    ------
    InputError
        If the ``Mole`` is not built, has ghost atoms, or is outside the domain; as `read_atoms`.
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
    numbers = np.array([gto.charge(mole.atom_pure_symbol(i)) for i in range(mole.natm)], dtype=np.int64)
    info = {"charge": mole.charge, "spin": abs(mole.spin)}
    return read_atoms(Atoms(numbers, mole.atom_coords() * BOHR, info=info), domain)
