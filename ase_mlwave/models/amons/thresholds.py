"""Past which deviation of the energy a calculator warns, and past which novelty of an atom it refuses."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ase_mlwave.units import HARTREE

__all__ = ["library_limits", "library_thresholds", "query_limits", "query_thresholds"]

#: 1 kcal/mol, in eV, and the number of atoms up to which it is asked for.
_CHEMICAL_ACCURACY, _ATOMS = 0.0434, 20
#: Share of the training energies that may be less certain, when left out, than half of what is certain enough: other
#: molecules are less certain than those are.
_WORST, _LESS_CERTAIN = 0.1, 2.0
#: Novelties of an atom past which a library hardly knows it, and past which it knows nothing of it.
_NOVEL, _FOREIGN = 0.16, 0.45
#: The latter for the few environments of one query's amons, which may be nearly all alike.
_FOREIGN_TO_FEW = 3.0
#: Claimed deviation past which the energy of a library is none, in thresholds.
_THRESHOLDS = 5.0


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
    return {"energy_uncertainty": _CHEMICAL_ACCURACY * _size(n_atoms)}


def library_thresholds(deviations: NDArray[np.float64]) -> Mapping[str, float]:
    """Take for certain what is no less certain than all but the worst training energies, when they are left out.

    Parameters
    ----------
    deviations : (B,)
        Standard deviation of every training energy, predicted from all other rows, Hartree.

    Returns
    -------
    mapping of str to float
        Of the energy twice their 90th percentile, at least 1 kcal/mol, eV; of an atom a novelty of 0.16.

    Notes
    -----
    A fit to the 859 molecules of chno_pbe_def2svp.npz, the 61 closed-shell CHNO molecules of ASE's g2 set, against
    PBE/def2-SVP: of 15 with errors above 0.5 eV 13 pass a threshold (not furan, 0.56 eV, and singlet methylene), of the
    other 46 five do. Of its held-out molecules one in twenty has a novelty above 0.25.
    """
    certain = _LESS_CERTAIN * float(np.quantile(deviations, 1 - _WORST)) * HARTREE
    return {"energy_uncertainty": max(_CHEMICAL_ACCURACY, certain), "novelty": _NOVEL}


def query_limits() -> Mapping[str, float]:
    """Say past what a model that was made for one query refuses a structure.

    Returns
    -------
    mapping of str to float
        For the model folder: a novelty of 3 for every atom.

    Notes
    -----
    The query itself has novelties of at most 1, since it counts among the environments that novelty is measured by:
    where its amons are too small there is a warning with an honest deviation, however large, and it can be extended.
    """
    return {"novelty": _FOREIGN_TO_FEW}


def library_limits(thresholds: Mapping[str, float]) -> Mapping[str, float]:
    """Say past what a model of many molecules refuses a structure.

    Parameters
    ----------
    thresholds : mapping of str to float
        From `library_thresholds`.

    Returns
    -------
    mapping of str to float
        For the model folder: a novelty of 0.45 for every atom, and five times the threshold of the energy, eV.

    Notes
    -----
    The same fit: held-out molecules reach novelties of 0.39 and deviations of 0.9 eV; N2O, nitromethane and ozone, with
    errors of 4 to 6 eV, are past 0.45. Formic acid, of which it knows nothing like the hydrogen in its place, begins at
    0.15 and 0.57 eV, has 0.43 and 2.7 eV where it first falls by 4 eV, and 1.7 and 11 eV in the next step.
    """
    return {"novelty": _FOREIGN, "energy_uncertainty": _THRESHOLDS * thresholds["energy_uncertainty"]}


def _size(n_atoms: int | None) -> float:
    return 1.0 if n_atoms is None else max(1.0, n_atoms / _ATOMS)
