"""The physical zero: a cheap approximation H0 of the Hamiltonian to which the network adds its correction."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ase_mlwave.quantum.integrals import OneElectronIntegrals

__all__ = ["baseline_matrix", "energy_core", "flatten"]


def baseline_matrix(kind: str, integrals: OneElectronIntegrals) -> Tensor:
    """Compute H0.

    Parameters
    ----------
    kind : str
        ``"none"``: zero. ``"sap"``: T + V_ne + V_SAP, kinetic energy and the superposition of screened atomic
        potentials (Lehtola, Visscher and Engel 2020).
    integrals : OneElectronIntegrals
        Of one molecule, or of several one behind the other; with ``sap`` where the kind needs it.

    Returns
    -------
    Tensor, (M, M) or (sum M_b^2,)
        Hartree, differentiable with respect to the positions as the integrals are.

    Raises
    ------
    ValueError
        If the kind is unknown or the SAP integrals are missing.
    """
    if kind == "none":
        return torch.zeros_like(integrals.overlap)
    if kind == "sap" and integrals.sap is not None:
        return integrals.core + integrals.sap
    raise ValueError(f"no baseline {kind!r} from integrals {'with' if integrals.sap is not None else 'without'} SAP")


def energy_core(integrals: OneElectronIntegrals, *, short_range: bool) -> Tensor:
    """Give the core Hamiltonian of the wavefunction energy, Hartree.

    Parameters
    ----------
    integrals : OneElectronIntegrals
        Of one molecule, or of several one behind the other; with ``smeared`` for ``short_range``.
    short_range : bool
        Add the smeared charges' repulsion, so that nuclear attraction is of short range.

    Returns
    -------
    Tensor, (M, M) or (sum M_b^2,)

    Raises
    ------
    ValueError
        If the smeared charges are missing.
    """
    if not short_range:
        return integrals.core
    if integrals.smeared is None:
        raise ValueError("a short-range energy needs the integrals of smeared charges; ask for smeared=True")
    return integrals.core + integrals.smeared


def flatten(matrices: Sequence[Tensor]) -> Tensor:
    """Join matrices (M_b, M_b) one behind the other, (sum M_b^2,), as ``MatrixBatch`` stores them."""
    return torch.cat([matrix.reshape(-1) for matrix in matrices])
