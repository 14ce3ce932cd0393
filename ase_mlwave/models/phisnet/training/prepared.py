"""Training data with everything that the losses need, computed once: integrals, baseline, their derivatives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import lru_cache
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import InputError
from numpy.typing import NDArray
from pyscf import lib
from torch import Tensor

from ase_mlwave.data.record import Record
from ase_mlwave.models.phisnet.assembly import MatrixBatch
from ase_mlwave.models.phisnet.baseline import baseline_matrix, energy_core, flatten
from ase_mlwave.models.phisnet.energy import electronic_states, n_occupied, wavefunction_energies
from ase_mlwave.models.training.cache import Arrays, Cache, fill
from ase_mlwave.quantum.basis import build_mole, n_functions
from ase_mlwave.quantum.integrals import (
    IntegralName,
    OneElectronIntegrals,
    attach_derivatives,
    derivative_arrays,
    integral_arrays,
)
from ase_mlwave.systems.batch import SystemBatch, collate

__all__ = ["Preparation", "PreparedDataset", "PreparedSystem", "TrainingBatch", "join"]

#: Increased when the arrays that are kept, or how they are computed, change.
_FORMAT = 1
_INTEGRALS: tuple[IntegralName, ...] = ("overlap", "kinetic", "nuclear", "sap", "smeared")


@dataclass(frozen=True)
class _MatrixWithDerivative:
    """A one-electron matrix (M, M) and, where forces are trained, its derivative (N, 3, M, M) per Bohr."""

    value: Tensor
    derivative: Tensor | None

    def at(self, positions: Tensor) -> Tensor:
        """Give the matrix its dependence on the positions (N, 3), where derivatives are known."""
        return self.value if self.derivative is None else attach_derivatives(positions, self.value, self.derivative)

    def to(self, device: torch.device | str) -> _MatrixWithDerivative:
        """Copy to a device."""
        derivative = None if self.derivative is None else self.derivative.to(device)
        return _MatrixWithDerivative(self.value.to(device), derivative)


@dataclass(frozen=True)
class PreparedSystem:
    """One training molecule.

    Parameters
    ----------
    record : Record
        Geometry and labels.
    hamiltonian : Tensor or None, (M, M)
        Reference, Hartree.
    baseline, overlap, core, energy_core : _MatrixWithDerivative
        H0, S, h, and the core Hamiltonian of the wavefunction energy; h has no derivative.
    remainder : float or None
        What atomic energies stand for where H is the reference, Hartree; None without a reference of H or the energy.
    """

    record: Record
    hamiltonian: Tensor | None
    baseline: _MatrixWithDerivative
    overlap: _MatrixWithDerivative
    core: _MatrixWithDerivative
    energy_core: _MatrixWithDerivative
    remainder: float | None


@dataclass(frozen=True)
class Preparation:
    """Say what is computed of every molecule before the steps.

    Parameters
    ----------
    basis : str
        Basis of the Hamiltonians.
    baseline : str
        As :func:`ase_mlwave.models.phisnet.baseline.baseline_matrix` takes it.
    derivatives : bool
        Compute the derivatives of the integrals that energies depend on also (for the loss of forces).
    short_range : bool
        As in ``PhiSNetConfig``.
    """

    basis: str
    baseline: str
    derivatives: bool = False
    short_range: bool = True

    def __call__(self, record: Record) -> Arrays:
        """Compute the arrays of a labelled, closed-shell molecule; of symmetric matrices (M, M) the lower triangles.

        Raises
        ------
        InputError
            If its Hamiltonian is in another basis.
        """
        mole = build_mole(record.numbers, record.positions, self.basis, record.charge, record.spin)
        reference = record.matrices.get("hamiltonian")
        if reference is not None and reference.shape != (mole.nao, mole.nao):
            raise InputError(
                f"the Hamiltonian of {record.formula} has the shape {reference.shape}, but model.basis={self.basis} "
                f"needs {(mole.nao, mole.nao)}"
            )
        values = _tensors(integral_arrays(mole, _INTEGRALS))
        matrices = {"core": values.core, **self._matrices(values)}
        if self.derivatives:
            slopes = self._matrices(_tensors(derivative_arrays(mole, _INTEGRALS)))
            matrices |= {f"{name}_derivative": matrix for name, matrix in slopes.items()}
        if reference is not None:
            matrices["hamiltonian"] = torch.from_numpy(np.array(reference))
        arrays = {name: _packed(matrix.numpy()) for name, matrix in matrices.items()}
        if reference is not None and record.energy is not None:
            arrays["remainder"] = self._remainder(record, matrices)
        return arrays

    def _matrices(self, parts: OneElectronIntegrals) -> dict[str, Tensor]:
        return {
            "overlap": parts.overlap,
            "baseline": baseline_matrix(self.baseline, parts),
            "energy_core": energy_core(parts, short_range=self.short_range),
        }

    def _remainder(self, record: Record, matrices: Mapping[str, Tensor]) -> NDArray[np.float64]:
        """Subtract the energy from the reference H without atomic energies from the reference energy, Hartree."""
        batch, H = collate([record], 1.0), MatrixBatch.of([matrices["hamiltonian"]])
        states = electronic_states(H, flatten([matrices["overlap"]]), [n_occupied(batch.numbers, record.charge)])
        none = torch.zeros(len(record), dtype=torch.float64)
        core = flatten([matrices["energy_core"]])
        energy = wavefunction_energies(batch, H, core, states, none, short_range=self.short_range)
        remainder: NDArray[np.float64] = float(record.energy or 0.0) - energy.numpy()
        return remainder

    def n_bytes(self, record: Record) -> int:
        """Estimate the size of the arrays of a molecule."""
        m = sum(n_functions(self.basis, z) for z in record.numbers.tolist())
        n_matrices = 5 + (9 * len(record) if self.derivatives else 0)
        return 4 * m * (m + 1) * n_matrices

    def key(self, record: Record) -> str:
        """Name the arrays of a molecule in a cache."""
        return Cache.key(record=record.content_hash(), preparation=asdict(self), **_versions())


class PreparedDataset:
    """Training molecules with their integrals, in memory or in a cache, from which they are read when they are needed.

    Parameters
    ----------
    records : sequence of Record
        Labelled, closed-shell molecules.
    preparation : Preparation
        What is computed.
    cache : Cache, optional
        Where it is kept; in memory by default.
    n_workers : int
        Processes that fill the cache.
    progress : callable, optional
        Called with the number of molecules done since the last call.
    """

    def __init__(
        self,
        records: Sequence[Record],
        preparation: Preparation,
        cache: Cache | None = None,
        *,
        n_workers: int = 1,
        progress: Callable[[int], None] = lambda n: None,
    ) -> None:
        self.records, self.preparation, self.cache = records, preparation, cache
        self._in_memory: list[Arrays] = []
        if cache is not None:
            self._keys = [preparation.key(record) for record in records]
            entries = dict(zip(self._keys, records, strict=True))
            fill(cache, entries, preparation, n_workers=n_workers, progress=progress)
            return
        for record in records:
            self._in_memory.append(preparation(record))
            progress(1)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> PreparedSystem:
        return _system(self.records[index], self._arrays(index))

    def _arrays(self, index: int) -> Arrays:
        if self.cache is None:
            return self._in_memory[index]
        arrays = self.cache.read(self._keys[index])
        if arrays is None:  # damaged, or removed since
            arrays = self.preparation(self.records[index])
            self.cache.write(self._keys[index], arrays)
        return arrays


@lru_cache
def _versions() -> dict[str, Any]:
    return {"format": _FORMAT, "pyscf": version("pyscf")}


def _tensors(arrays: Mapping[IntegralName, NDArray[np.float64]]) -> OneElectronIntegrals:
    return OneElectronIntegrals(**{name: torch.from_numpy(array) for name, array in arrays.items()})


def _packed(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """Take the lower triangles of symmetric matrices (..., M, M); others are left as they are."""
    if not np.array_equal(matrix, matrix.swapaxes(-1, -2)):
        return np.ascontiguousarray(matrix)
    triangles: NDArray[np.float64] = lib.pack_tril(np.ascontiguousarray(matrix).reshape(-1, *matrix.shape[-2:]))
    return triangles.reshape(*matrix.shape[:-2], -1)


def _unpacked(array: NDArray[np.float64]) -> Tensor:
    """Make matrices (M, M) or (N, 3, M, M) of what `_packed` gave."""
    if array.ndim % 2 == 0:
        return torch.from_numpy(np.array(array))
    matrices: NDArray[np.float64] = lib.unpack_tril(np.ascontiguousarray(array.reshape(-1, array.shape[-1])))
    return torch.from_numpy(matrices.reshape(*array.shape[:-1], *matrices.shape[-2:]))


def _system(record: Record, arrays: Arrays) -> PreparedSystem:
    tensors = {name: _unpacked(array) for name, array in arrays.items() if name != "remainder"}

    def both(name: str) -> _MatrixWithDerivative:
        return _MatrixWithDerivative(tensors[name], tensors.get(f"{name}_derivative"))

    return PreparedSystem(
        record=record,
        hamiltonian=tensors.get("hamiltonian"),
        baseline=both("baseline"),
        overlap=both("overlap"),
        core=both("core"),
        energy_core=both("energy_core"),
        remainder=float(arrays["remainder"][0]) if "remainder" in arrays else None,
    )


@dataclass(frozen=True)
class TrainingBatch:
    """Molecules of one step, with their references.

    Parameters
    ----------
    molecules : SystemBatch
        Geometry.
    baselines, overlaps, cores, energy_cores : tuple of _MatrixWithDerivative, (B,)
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
    baselines: tuple[_MatrixWithDerivative, ...]
    overlaps: tuple[_MatrixWithDerivative, ...]
    cores: tuple[_MatrixWithDerivative, ...]
    energy_cores: tuple[_MatrixWithDerivative, ...]
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
