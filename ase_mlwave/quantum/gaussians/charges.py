"""Spherical Gaussian charges on nuclei whose Coulomb potentials act on the electrons.

A nucleus is the limit of an infinitely sharp Gaussian, the SAP fit a sum of a few, a smeared charge one wide Gaussian;
so one formula serves all: a unit charge of exponent a and a Gaussian product of exponent p at the distance r repel each
other with erf(sqrt(alpha) r) / r, where 1 / alpha = 1 / a + 1 / p.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray

from ase_mlwave.quantum.names import load_basis

__all__ = ["SMEARING", "PotentialName", "charge_distribution", "sap_fit"]

PotentialName = Literal["nuclear", "sap", "smeared"]
#: Width of the Gaussian charges of ``"smeared"``, Bohr: their potential is Z / r to 1e-12 from 15 Bohr on.
SMEARING = 3.0
_SAP_BASIS = "sapgrasplarge"


def charge_distribution(name: PotentialName, number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give the charges that an atom exposes electrons to, as electrons feel them: positive repels.

    Parameters
    ----------
    name : str
        ``"nuclear"``, ``"sap"`` or ``"smeared"``.
    number : int
        Atomic number.

    Returns
    -------
    widths : ndarray, (K,)
        Inverse exponents, Bohr^2; 0 for a point.
    charges : ndarray, (K,)
        e; the sum is -Z for ``"nuclear"`` and Z for the others.
    """
    if name == "nuclear":
        return np.zeros(1), np.array([-float(number)])
    if name == "smeared":
        return np.array([SMEARING**2]), np.array([float(number)])
    exponents, charges = sap_fit(number)
    return 1 / exponents, -charges


@lru_cache(maxsize=128)
def sap_fit(number: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Load exponents and charges of an element's SAP fit; the charges sum up to -Z."""
    fit: NDArray[np.float64] = np.asarray(load_basis(_SAP_BASIS, chemical_symbols[number])[0][1:], dtype=np.float64)
    return fit[:, 0], fit[:, 1]
