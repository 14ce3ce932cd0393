"""How a calculator reads what PySCF gives it: molecules, and the names of PySCF's own initial guesses."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from ase import Atoms
from ase.calculators.calculator import CalculationFailed, InputError
from numpy.typing import NDArray
from pyscf import gto

from ase_mlwave.calculators.checks import Domain, read_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.errors import suggestion
from ase_mlwave.quantum.names import without_evaluation
from ase_mlwave.units import BOHR

__all__ = ["PYSCF_GUESSES", "check_fallback", "pyscf_guess", "read_mole"]

#: PySCF's initial guesses that need no file. PySCF itself takes an unknown name for "minao" without a word.
PYSCF_GUESSES = ("minao", "atom", "huckel", "mod_huckel", "sap", "vsap", "1e", "hcore")


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


def pyscf_guess(mean_field: Any, name: str | None) -> NDArray[np.float64]:
    """Make one of PySCF's own initial guesses.

    Parameters
    ----------
    mean_field : PySCF mean-field object
        Not changed.
    name : str or None
        One of ``PYSCF_GUESSES``; None is the mean field's own, what ``kernel()`` would start from.

    Returns
    -------
    ndarray, (M, M) or (2, M, M)
        Density matrix.

    Raises
    ------
    CalculationFailed
        If PySCF cannot make it, as its ``"minao"`` in a basis with linear dependences.
    """
    key = mean_field.init_guess if name is None else name
    try:
        with without_evaluation():
            guess: NDArray[np.float64] = mean_field.get_init_guess(mean_field.mol, key)
    except scipy.linalg.LinAlgError as error:
        raise CalculationFailed(
            f"PySCF's own guess {key!r} fails in this basis ({error}); give fallback='hcore', which needs no projection"
        ) from error
    return guess


def check_fallback(name: str | None) -> None:
    """Refuse a name that is no initial guess of PySCF's.

    Parameters
    ----------
    name : str or None
        None is allowed: no fallback.

    Raises
    ------
    InputError
        If the name is not among ``PYSCF_GUESSES``.
    """
    if name is not None and (not isinstance(name, str) or name not in PYSCF_GUESSES):
        raise InputError(
            f"fallback is {name!r}, which is no initial guess of PySCF's. {suggestion(str(name), PYSCF_GUESSES)}"
        )
