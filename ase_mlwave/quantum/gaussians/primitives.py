"""Primitive shells of elements and molecules, and how they contract to basis functions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.names import has_core_potential

__all__ = ["PairClass", "Primitives", "check_all_electron", "molecule_primitives", "pair_classes"]


@dataclass(frozen=True)
class Primitives:
    """Uncontracted Gaussian shells of an atom or a molecule, s first, then p, d, ...

    Parameters
    ----------
    atoms : ndarray, (K,)
        Atom of each shell.
    angular : ndarray, (K,)
        l, ascending.
    exponents : ndarray, (K,)
        1/Bohr^2.
    contraction : ndarray, (sum of 2 l + 1, M)
        From primitives S_l(grad_A) exp(-a |r - A|^2) to normalised basis functions in PySCF's order. Shells that share
        primitives (general contraction) have them once.
    """

    atoms: NDArray[np.int64]
    angular: NDArray[np.int64]
    exponents: NDArray[np.float64]
    contraction: NDArray[np.float64]

    @property
    def starts(self) -> NDArray[np.int64]:
        """First row of each shell in ``contraction``, (K,)."""
        sizes = 2 * self.angular + 1
        return np.cumsum(sizes) - sizes


@dataclass(frozen=True)
class PairClass:
    """Unordered pairs of primitive shells with l_a <= l_b.

    Parameters
    ----------
    la, lb : int
        Angular momenta.
    first, second : ndarray, (P,)
        Shells a and b.
    """

    la: int
    lb: int
    first: NDArray[np.int64]
    second: NDArray[np.int64]


def check_all_electron(basis: str, number: int) -> None:
    """Refuse a basis that replaces the core of an element.

    Parameters
    ----------
    basis : str
        Name of the basis.
    number : int
        Atomic number.

    Raises
    ------
    ValueError
        If the basis comes with an effective core potential.
    """
    symbol = chemical_symbols[number]
    if has_core_potential(basis, symbol):
        raise ValueError(
            f"{basis} describes {symbol} with an effective core potential, which is not implemented; choose an "
            "all-electron basis or lighter elements"
        )


@lru_cache(maxsize=256)
def _element_primitives(basis: str, number: int) -> Primitives:
    check_all_electron(basis, number)
    mole = build_mole([number], np.zeros((1, 3)), basis, spin=None)
    shells = sorted({(mole.bas_angular(i), -a) for i in range(mole.nbas) for a in mole.bas_exp(i)})
    angular = np.array([l for l, _ in shells])
    exponents = np.array([-a for _, a in shells])
    starts = np.cumsum(2 * angular + 1) - (2 * angular + 1)
    place = {shell: int(start) for shell, start in zip(shells, starts, strict=True)}
    contraction = np.zeros((int((2 * angular + 1).sum()), mole.nao))
    column = 0
    for i in range(mole.nbas):
        l = mole.bas_angular(i)
        for coefficients in mole._libcint_ctr_coeff(i).T:
            for a, c in zip(mole.bas_exp(i), coefficients, strict=True):
                for m in range(2 * l + 1):
                    contraction[place[l, -a] + m, column + m] += c / (2 * a) ** l
            column += 2 * l + 1
    return Primitives(np.zeros(len(shells), dtype=np.int64), angular, exponents, contraction)


@lru_cache(maxsize=256)
def molecule_primitives(basis: str, numbers: tuple[int, ...]) -> Primitives:
    """Collect the primitive shells of a molecule.

    Parameters
    ----------
    basis : str
        Name of a spherical basis.
    numbers : tuple of int, (N,)
        Atomic numbers.

    Returns
    -------
    Primitives

    Raises
    ------
    ValueError
        If PySCF has no such basis, or an element needs an effective core potential.
    """
    parts = [_element_primitives(basis, number) for number in numbers]
    atoms = np.repeat(np.arange(len(parts)), [len(part.angular) for part in parts])
    angular = np.concatenate([part.angular for part in parts])
    order = np.argsort(angular, kind="stable")
    sizes = 2 * angular + 1
    starts = np.cumsum(sizes) - sizes
    rows = np.concatenate([start + np.arange(n) for start, n in zip(starts[order], sizes[order], strict=True)])
    contraction = np.zeros((int(sizes.sum()), sum(part.contraction.shape[1] for part in parts)))
    row = column = 0
    for part in parts:
        height, width = part.contraction.shape
        contraction[row : row + height, column : column + width] = part.contraction
        row, column = row + height, column + width
    exponents = np.concatenate([part.exponents for part in parts])
    return Primitives(atoms[order], angular[order], exponents[order], contraction[rows])


def pair_classes(primitives: Primitives) -> Iterator[PairClass]:
    """Group all unordered pairs of shells, a shell with itself among them, by their angular momenta."""
    first, second = np.triu_indices(len(primitives.angular))
    la, lb = primitives.angular[first], primitives.angular[second]
    for a, b in sorted(set(zip(la.tolist(), lb.tolist(), strict=True))):
        chosen = (la == a) & (lb == b)
        yield PairClass(a, b, first[chosen], second[chosen])
