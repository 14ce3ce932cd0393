"""Training data with everything that the losses need, computed once: integrals, baseline, their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.models.phisnet.baseline import baseline_matrix, energy_core, flatten
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.integrals import (
    IntegralName,
    OneElectronIntegrals,
    attach_derivatives,
    derivative_arrays,
    integral_arrays,
)
from ase_mlwave.systems.batch import SystemBatch, collate

__all__ = ["PreparedDataset", "PreparedSystem", "TrainingBatch", "join"]


_INTEGRALS: tuple[IntegralName, ...] = ("overlap", "kinetic", "nuclear", "sap", "smeared")


@dataclass(frozen=True)
class MatrixWithDerivative:
    """A one-electron matrix (M, M) and, where forces are trained, its derivative (N, 3, M, M) per Bohr."""

    value: Tensor
    derivative: Tensor | None

    def at(self, positions: Tensor) -> Tensor:
        """Give the matrix its dependence on the positions (N, 3), where derivatives are known."""
        return self.value if self.derivative is None else attach_derivatives(positions, self.value, self.derivative)

    def to(self, device: torch.device | str) -> MatrixWithDerivative:
        """Copy to a device."""
        derivative = None if self.derivative is None else self.derivative.to(device)
        return MatrixWithDerivative(self.value.to(device), derivative)


@dataclass(frozen=True)
class PreparedSystem:
    """One training molecule.

    Parameters
    ----------
    record : Record
        Geometry and labels.
    hamiltonian : Tensor or None, (M, M)
        Reference, Hartree.
    baseline, overlap, core, energy_core : MatrixWithDerivative
        H0, S, h, and the core Hamiltonian of the wavefunction energy.
    """

    record: Record
    hamiltonian: Tensor | None
    baseline: MatrixWithDerivative
    overlap: MatrixWithDerivative
    core: MatrixWithDerivative
    energy_core: MatrixWithDerivative


class PreparedDataset:
    """Training molecules with their integrals.

    Parameters
    ----------
    dataset : Dataset
        Labelled, closed-shell molecules.
    basis : str
        Basis of the Hamiltonians.
    baseline : str
        As :func:`ase_mlwave.models.phisnet.baseline.baseline_matrix` takes it.
    derivatives : bool
        Compute the derivatives of all integrals also (for the loss of forces).
    short_range : bool
        As in ``PhiSNetConfig``.
    progress : callable, optional
        Called with the number of molecules done since the last call.
    """

    def __init__(
        self,
        dataset: Dataset,
        basis: str,
        baseline: str,
        *,
        derivatives: bool = False,
        short_range: bool = True,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        self.systems: list[PreparedSystem] = []
        for record in dataset:
            self.systems.append(_prepare(record, basis, baseline, derivatives=derivatives, short_range=short_range))
            if progress is not None:
                progress(1)

    def __len__(self) -> int:
        return len(self.systems)

    def __getitem__(self, index: int) -> PreparedSystem:
        return self.systems[index]


def _prepare(record: Record, basis: str, baseline: str, *, derivatives: bool, short_range: bool) -> PreparedSystem:
    mole = build_mole(record.numbers, record.positions, basis, record.charge, record.spin)
    arrays = integral_arrays(mole, _INTEGRALS)
    integrals = OneElectronIntegrals(**{k: torch.from_numpy(v) for k, v in arrays.items()})
    slopes: OneElectronIntegrals | None = None
    if derivatives:
        arrays = derivative_arrays(mole, _INTEGRALS)
        slopes = OneElectronIntegrals(**{k: torch.from_numpy(v) for k, v in arrays.items()})
    reference = record.matrices.get("hamiltonian")

    def both(matrix: Callable[[OneElectronIntegrals], Tensor]) -> MatrixWithDerivative:
        return MatrixWithDerivative(matrix(integrals), None if slopes is None else matrix(slopes))

    return PreparedSystem(
        record=record,
        hamiltonian=None if reference is None else torch.from_numpy(np.array(reference)),
        baseline=both(lambda parts: baseline_matrix(baseline, parts)),
        overlap=both(lambda parts: parts.overlap),
        core=both(lambda parts: parts.core),
        energy_core=both(lambda parts: energy_core(parts, short_range=short_range)),
    )


@dataclass(frozen=True)
class TrainingBatch:
    """Molecules of one step, with their references.

    Parameters
    ----------
    molecules : SystemBatch
        Geometry.
    baselines, overlaps, cores, energy_cores : tuple of MatrixWithDerivative, (B,)
        H0, S, h and the core Hamiltonian of the energy, of each molecule.
    hamiltonian : Tensor or None, (sum M_b^2,)
        Reference matrices one behind the other, Hartree.
    energies : Tensor or None, (B,)
        Hartree.
    forces : Tensor or None, (N, 3)
        Hartree/Bohr.
    charges : tuple of int, (B,)
        Total charges.
    """

    molecules: SystemBatch
    baselines: tuple[MatrixWithDerivative, ...]
    overlaps: tuple[MatrixWithDerivative, ...]
    cores: tuple[MatrixWithDerivative, ...]
    energy_cores: tuple[MatrixWithDerivative, ...]
    hamiltonian: Tensor | None
    energies: Tensor | None
    forces: Tensor | None
    charges: tuple[int, ...]

    def to(self, device: torch.device | str) -> TrainingBatch:
        """Copy everything to a device."""
        moved: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, (Tensor, SystemBatch)):
                moved[field.name] = value.to(device)
            elif field.name in ("baselines", "overlaps", "cores", "energy_cores"):
                moved[field.name] = tuple(matrix.to(device) for matrix in value)
        return replace(self, **moved)


def join(systems: Sequence[PreparedSystem], cutoff: float) -> TrainingBatch:
    """Join prepared molecules to a batch; a label that one of them lacks is left out for all."""
    records = [s.record for s in systems]
    hamiltonians = [s.hamiltonian for s in systems if s.hamiltonian is not None]
    energies = [r.energy for r in records if r.energy is not None]
    forces = [torch.from_numpy(np.array(r.forces)) for r in records if r.forces is not None]
    n = len(systems)
    return TrainingBatch(
        molecules=collate(records, cutoff),
        baselines=tuple(s.baseline for s in systems),
        overlaps=tuple(s.overlap for s in systems),
        cores=tuple(s.core for s in systems),
        energy_cores=tuple(s.energy_core for s in systems),
        hamiltonian=flatten(hamiltonians) if len(hamiltonians) == n else None,
        energies=torch.tensor(energies, dtype=torch.float64) if len(energies) == n else None,
        forces=torch.cat(forces) if len(forces) == n else None,
        charges=tuple(r.charge for r in records),
    )
