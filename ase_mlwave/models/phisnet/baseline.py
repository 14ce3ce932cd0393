"""The physical zero: a cheap approximation H0 of the Hamiltonian to which the network adds its correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.quantum.gaussians.batches import Batch
from ase_mlwave.quantum.gaussians.layout import Potentials
from ase_mlwave.quantum.integrals import IntegralProgram, OneElectronIntegrals, joined_integrals

__all__ = ["ExactMatrices", "baseline_matrix", "energy_core", "exact_matrices", "exact_potentials", "flatten"]

#: Kind of baseline -> potentials that are added to the kinetic energy; None: the baseline is zero.
_BASELINES: dict[str, Potentials | None] = {"none": None, "sap": ("nuclear", "sap")}
#: The same of the core Hamiltonian of the energy, by whether it is of short range.
_CORES: dict[bool, Potentials] = {False: ("nuclear",), True: ("nuclear", "smeared")}


@dataclass(frozen=True)
class ExactMatrices:
    """What a batch needs beside the network, float64, matrices one behind the other, (sum M_b^2,) each.

    Parameters
    ----------
    overlap : Tensor
        S.
    baseline : Tensor
        H0 of `baseline_matrix`, Hartree.
    core : Tensor
        h of `energy_core`, Hartree.
    """

    overlap: Tensor
    baseline: Tensor
    core: Tensor


def exact_potentials(baseline: str, *, short_range: bool) -> tuple[Potentials, ...]:
    """Name the potentials of the core Hamiltonian, then of the baseline if it has any, for `exact_matrices`."""
    zero, core = _BASELINES[baseline], _CORES[short_range]
    return (core,) if zero is None else (core, zero)


def exact_matrices(
    positions: Tensor,
    molecules: Sequence[Sequence[int] | NDArray[Any]],
    basis: str,
    *,
    baseline: str,
    short_range: bool,
    integrals: IntegralProgram = "torch",
    second: bool = True,
    prepared: Batch | None = None,
    shift: float = 0.0,
) -> ExactMatrices:
    """Compute overlap, baseline and core Hamiltonian of a batch of molecules.

    Parameters
    ----------
    positions, molecules, basis, integrals
        As of `ase_mlwave.quantum.integrals.batch_integrals`.
    second, prepared
        As of `ase_mlwave.quantum.integrals.joined_integrals`.
    baseline, short_range, shift
        As of `baseline_matrix` and `energy_core`.

    Returns
    -------
    ExactMatrices

    Raises
    ------
    ValueError
        As `ase_mlwave.quantum.integrals.batch_integrals`.

    Notes
    -----
    What is added up is not computed one by one (``test_exact_matrices_are_sums_of_integrals``).
    """
    wanted = exact_potentials(baseline, short_range=short_range)
    options: Any = {"integrals": integrals, "second": second, "prepared": prepared}
    values, _ = joined_integrals(positions, molecules, basis, wanted, **options)
    overlap, kinetic, *potentials = values.unbind()
    sums = [kinetic + potential for potential in potentials]
    zero = sums[1] if len(sums) > 1 else torch.zeros_like(overlap)
    return ExactMatrices(overlap, zero + shift * overlap if shift else zero, sums[0])


def baseline_matrix(kind: str, integrals: OneElectronIntegrals, shift: float = 0.0) -> Tensor:
    """Compute H0.

    Parameters
    ----------
    kind : str
        ``"none"``: zero. ``"sap"``: T + V_ne + V_SAP, kinetic energy and the superposition of screened atomic
        potentials (Lehtola, Visscher and Engel 2020).
    integrals : OneElectronIntegrals
        Of one molecule; with ``sap`` where the kind needs it.
    shift : float
        Hartree: so many times the overlap matrix is added.

    Returns
    -------
    Tensor, (M, M)
        Hartree, differentiable with respect to the positions as the integrals are.

    Raises
    ------
    ValueError
        If the kind is unknown or the SAP integrals are missing.
    """
    rigid = shift * integrals.overlap
    if kind == "none":
        return rigid
    if kind == "sap" and integrals.sap is not None:
        return integrals.core + integrals.sap + rigid
    raise ValueError(f"no baseline {kind!r} from integrals {'with' if integrals.sap is not None else 'without'} SAP")


def energy_core(integrals: OneElectronIntegrals, *, short_range: bool) -> Tensor:
    """Give the core Hamiltonian of the wavefunction energy, Hartree.

    Parameters
    ----------
    integrals : OneElectronIntegrals
        Of one molecule; with ``smeared`` for ``short_range``.
    short_range : bool
        Add the smeared charges' repulsion, so that nuclear attraction is of short range.

    Returns
    -------
    Tensor, (M, M)

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
