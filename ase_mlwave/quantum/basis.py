"""Atom-centred basis sets: the shells of an element, and PySCF molecules built from arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from pyscf import df, gto
from pyscf.data import elements

from ase_mlwave.quantum.names import load_basis, without_evaluation

__all__ = ["auxiliary_basis", "build_mole", "n_functions", "shells"]


@lru_cache(maxsize=256)
def shells(basis: str, number: int) -> tuple[int, ...]:
    """List the angular momenta of an element's contracted shells, in PySCF's AO order.

    Parameters
    ----------
    basis : str
        Name of a spherical basis that PySCF knows, such as ``"def2-svp"``.
    number : int
        Atomic number.

    Returns
    -------
    tuple of int
        One ``l`` per contracted shell: oxygen in def2-SVP gives ``(0, 0, 0, 1, 1, 2)``.

    Raises
    ------
    ValueError
        If PySCF has no such basis for the element.
    """
    mole = build_mole([number], np.zeros((1, 3)), basis, spin=None)
    return tuple(mole.bas_angular(i) for i in range(mole.nbas) for _ in range(mole.bas_nctr(i)))


def n_functions(basis: str, number: int) -> int:
    """Count the spherical basis functions of an element, M of one atom."""
    return sum(2 * l + 1 for l in shells(basis, number))


def build_mole(
    numbers: Sequence[int] | NDArray[Any],
    positions: NDArray[Any],
    basis: str,
    charge: int = 0,
    spin: int | None = 0,
) -> gto.Mole:
    """Build a silent PySCF molecule in a spherical basis.

    Parameters
    ----------
    numbers : sequence of int, (N,)
        Atomic numbers.
    positions : ndarray, (N, 3)
        Bohr.
    basis : str
        Name of the basis.
    charge : int
        Total charge, e.
    spin : int or None
        Number of unpaired electrons; None lets PySCF choose.

    Returns
    -------
    pyscf.gto.Mole
        Built, unit Bohr, ``verbose=0``, no point group.

    Raises
    ------
    ValueError
        If PySCF has no such basis for an element.
    RuntimeError
        From PySCF, if the electron number contradicts ``spin``.

    Notes
    -----
    PySCF gets the numbers of its own basis set: where a name could also be a path, it never sees the name
    (``test_no_file_is_taken_for_a_basis``). ``mole.basis`` is the name, from which PySCF chooses auxiliary functions.
    """
    symbols = [chemical_symbols[int(z)] for z in numbers]
    atoms = [(symbol, tuple(map(float, r))) for symbol, r in zip(symbols, positions, strict=True)]
    shells_of = {symbol: load_basis(basis, symbol) for symbol in symbols}
    with without_evaluation():
        mole = gto.M(atom=atoms, basis=shells_of, charge=charge, spin=spin, unit="Bohr", cart=False, verbose=0)
    mole.basis = basis
    return mole


def auxiliary_basis(mole: gto.Mole, name: str | None) -> dict[str, list[Any]]:
    """Load the auxiliary functions that PySCF chooses for density fitting.

    Parameters
    ----------
    mole : pyscf.gto.Mole
        Whose ``basis`` is a name.
    name : str or None
        Choice of PySCF's ``density_fit``; None for that of ``make_auxbasis``.

    Returns
    -------
    dict
        Atom's label -> shells in PySCF's format, to be used as ``with_df.auxbasis``: numbers instead of names, which
        PySCF would take for files of the working directory, too.
    """
    with without_evaluation():
        functions = df.make_auxbasis(mole) if name is None else {atom[0]: name for atom in mole._atom}
    return {
        label: load_basis(shells, elements._std_symbol_without_ghost(label)) if isinstance(shells, str) else shells
        for label, shells in functions.items()
    }
