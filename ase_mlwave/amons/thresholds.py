"""Past which standard deviation of the energy a calculator warns."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ase_mlwave.units import HARTREE

__all__ = ["library_thresholds", "query_thresholds"]

#: 1 kcal/mol, in eV, and the number of atoms up to which it is asked for.
_CHEMICAL_ACCURACY, _ATOMS = 0.0434, 20
#: Share of the training energies that may be less certain, when left out, than what is taken for certain enough.
_WORST = 0.1


def query_thresholds(n_atoms: int | None) -> Mapping[str, float]:
    """Ask for chemical accuracy, as a model that was made for one query should have it.

    Parameters
    ----------
    n_atoms : int or None
        Of the query; None where it is not known.

    Returns
    -------
    mapping of str to float
        For the model folder: 1 kcal/mol, or as much for every 20 atoms of a larger query, eV.

    Notes
    -----
    The deviations that are claimed are calibrated (``python -m benchmarks.amons_calibration``), so they can be held to
    a number. The deviations of left-out amons could not: a query has few, and leaving out the one that brings a
    functional group says nothing of the query, which has it.
    """
    size = 1.0 if n_atoms is None else max(1.0, n_atoms / _ATOMS)
    return {"energy_uncertainty": _CHEMICAL_ACCURACY * size}


def library_thresholds(deviations: NDArray[np.float64]) -> Mapping[str, float]:
    """Take for certain what is no less certain than all but the worst training energies, when they are left out.

    Parameters
    ----------
    deviations : (B,)
        Standard deviation of every training energy, predicted from all other rows, Hartree.

    Returns
    -------
    mapping of str to float
        Their 90th percentile, at least 1 kcal/mol, eV: what a model of many molecules claims of its like.
    """
    return {"energy_uncertainty": max(_CHEMICAL_ACCURACY, float(np.quantile(deviations, 1 - _WORST)) * HARTREE)}
