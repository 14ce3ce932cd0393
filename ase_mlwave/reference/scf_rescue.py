"""Bring an SCF to convergence that does not converge as it is: a ladder of steadier, slower ways."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ase_mlwave.quantum.gpu import to_numpy
from ase_mlwave.quantum.preconditioner import pays_off, precondition

__all__ = ["AS_IS", "RESCUE_KEY", "converge_with_rescue"]

#: Entry of ``Record.info`` that names the rung which converged, where that was not the first.
RESCUE_KEY = "scf_rescue"
#: The first rung.
AS_IS = "as is"
#: Times that a converged second-order SCF is moved on from a saddle point.
_MAX_SADDLES = 3
#: Energies that differ by less are those of one state, Hartree.
_SAME_ENERGY = 1e-6


@dataclass(frozen=True)
class _Rung:
    """One way to converge before the last, second order; each has the cycles and the threshold of the level."""

    name: str
    changes: dict[str, Any]
    """Attributes of the mean field."""


_LADDER = (
    _Rung(AS_IS, {}),
    _Rung("level shift", {"level_shift": 0.3, "damp": 0.3}),
    _Rung("atomic guess, small steps", {"init_guess": "atom", "level_shift": 0.5, "damp": 0.5, "diis_space": 12}),
)
_LAST = "second order"


def converge_with_rescue(make: Callable[[], Any], on_host: Callable[[], Any] | None = None) -> tuple[Any, str]:
    """Run an SCF; where it does not converge, try again with more care.

    Parameters
    ----------
    make : callable
        Returns a fresh, silent PySCF mean-field object with its threshold and number of cycles.
    on_host : callable, optional
        The same by PySCF itself, where ``make`` gives one of gpu4pyscf, which has no test for saddle points.

    Returns
    -------
    mean_field : PySCF mean-field object
        As ``make`` made it, or ``on_host`` if it was rescued, with the converged orbitals.
    rung : str
        ``"as is"`` where nothing had to be rescued, then ``"level shift"``, ``"atomic guess, small steps"``,
        ``"second order"``; empty where nothing converged.

    Notes
    -----
    The first rung has `precondition` for closed shells where that pays off; open ones that are degenerate would lie
    otherwise than by PySCF alone. Whatever is rescued ends with a second-order SCF without shifts, to the level's
    threshold, and is moved on from saddle points. The energy of any density is an upper bound of the ground state's, so
    that a rung which converges above the energy of an earlier one has found another state, and does not count.
    """
    careful = on_host or make
    lowest: Any = None
    for rung in _LADDER:
        mean_field = make()
        if rung.name == AS_IS and mean_field.mol.spin == 0 and pays_off(mean_field):
            mean_field = precondition(mean_field)
        for name, value in rung.changes.items():
            setattr(mean_field, name, value)
        try:
            with warnings.catch_warnings():
                if rung.name != AS_IS:
                    warnings.simplefilter("ignore", DeprecationWarning)  # PySCF's atomic guess uses what it deprecates
                mean_field.kernel()
        except np.linalg.LinAlgError:  # DIIS or the eigenproblem, for matrices that diverge
            continue
        if mean_field.converged and rung.name == AS_IS:
            return mean_field, rung.name
        if mean_field.converged:
            descended = _descend(careful, mean_field)
            if descended.converged and _is_lowest(descended, lowest):
                return descended, rung.name
        if np.isfinite(mean_field.e_tot) and (lowest is None or mean_field.e_tot < lowest.e_tot):
            lowest = mean_field
    descended = _descend(careful, lowest)
    return descended, _LAST if descended.converged and _is_lowest(descended, lowest) else ""


def _is_lowest(mean_field: Any, lowest: Any) -> bool:
    return lowest is None or bool(mean_field.e_tot < lowest.e_tot + _SAME_ENERGY)


def _descend(make: Callable[[], Any], start: Any) -> Any:
    """Minimise the energy in second order from the orbitals of another mean field, past saddle points."""
    plain = make()
    solver = plain.newton()
    solver.conv_tol, solver.max_cycle, solver.chkfile = plain.conv_tol, plain.max_cycle, None
    orbitals = (None, None) if start is None else (to_numpy(start.mo_coeff), to_numpy(start.mo_occ))
    before = np.inf
    try:
        for _ in range(1 + _MAX_SADDLES):
            solver.kernel(*orbitals)
            if not solver.converged or solver.e_tot > before - _SAME_ENERGY:
                break
            for name in ("mo_coeff", "mo_energy", "mo_occ", "e_tot", "converged", "scf_summary"):
                setattr(plain, name, getattr(solver, name))
            before, orbitals = solver.e_tot, (solver.stability()[0], solver.mo_occ)
    except np.linalg.LinAlgError:  # what has converged before it is kept
        pass
    return plain
