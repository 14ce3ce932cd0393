"""Training data with what the losses need of them: residuals to the baseline and true orbitals, computed once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib.metadata import version
from typing import Any, Literal

import numpy as np
import torch
from ase.calculators.calculator import InputError
from numpy.typing import NDArray
from pyscf import lib
from torch import Tensor

from ase_mlwave.data.record import Record
from ase_mlwave.models.phisnet.baseline import baseline_matrix, energy_core, exact_potentials, flatten
from ase_mlwave.models.phisnet.energy import n_occupied
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.plan import BatchPlan
from ase_mlwave.models.phisnet.training.forms import FORMS, PotentialForms, potential_forms
from ase_mlwave.models.training.cache import Arrays, Cache, fill
from ase_mlwave.quantum.basis import build_mole, n_functions
from ase_mlwave.quantum.density import orbitals
from ase_mlwave.quantum.gaussians.batches import Batch, stage
from ase_mlwave.quantum.integrals import IntegralName, OneElectronIntegrals, integral_arrays, nuclear_repulsion
from ase_mlwave.systems.batch import SystemBatch, collate

__all__ = ["MatrixName", "Orbitals", "Preparation", "PreparedDataset", "PreparedSystem", "TrainingBatch", "join"]

#: Increased when the arrays that are kept, or how they are computed, change.
_FORMAT = 3

_COORDINATES: tuple[Literal["x"], Literal["y"], Literal["z"]] = ("x", "y", "z")
MatrixName = Literal["baseline", "overlap", "core", "energy_core", "orbitals", "x", "y", "z"]


@dataclass(frozen=True)
class PreparedSystem:
    """One training molecule.

    Parameters
    ----------
    record : Record
        Geometry and labels.
    matrices : mapping of str to Tensor, (M, M)
        ``"residual"``: reference H less baseline, Hartree, where the molecule has one, or `potential_forms` in its
        place; and what the preparation keeps, with ``"orbitals"`` also ``"orbital_energies"`` (M, 1).
    remainder : float or None
        What atomic energies stand for where H is the reference, Hartree; None without a reference of H or the energy.
    """

    record: Record
    matrices: Mapping[str, Tensor]
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
    short_range : bool
        As in ``PhiSNetConfig``.
    kept : tuple of str
        Matrices (M, M) that are kept beside the reference's residual: ``"baseline"`` H0, ``"overlap"`` S, ``"core"``
        h, ``"energy_core"`` h of the wavefunction energy, ``"orbitals"`` C of the reference H, with their energies,
        ``"x"``, ``"y"`` and ``"z"`` the coordinates, Bohr.
    shift : float
        ``PhiSNetConfig.baseline_shift``, Hartree.
    auxiliary : str or None
        Auxiliary basis of a learned potential: `potential_forms` then stand for residual and orbitals.
    """

    basis: str
    baseline: str
    short_range: bool = True
    kept: tuple[MatrixName, ...] = ()
    shift: float = 0.0
    auxiliary: str | None = None

    def __call__(self, record: Record) -> Arrays:
        """Compute the arrays of a labelled, closed-shell molecule; of symmetric matrices the lower triangles.

        Raises
        ------
        InputError
            If its Hamiltonian is in another basis.
        """
        if not self.kept and "hamiltonian" not in record.matrices:
            return {}
        mole = build_mole(record.numbers, record.positions, self.basis, record.charge, record.spin)
        reference = record.matrices.get("hamiltonian")
        if reference is not None and reference.shape != (mole.nao, mole.nao):
            raise InputError(
                f"the Hamiltonian of {record.formula} has the shape {reference.shape}, but model.basis={self.basis} "
                f"needs {(mole.nao, mole.nao)}"
            )
        names: list[IntegralName] = ["overlap", "kinetic", "nuclear"]
        names += ["sap"] if self.baseline == "sap" else []
        names += ["smeared"] if self.short_range else []
        arrays = integral_arrays(mole, names)
        integrals = OneElectronIntegrals(**{name: torch.from_numpy(array) for name, array in arrays.items()})
        matrices: dict[MatrixName, Tensor] = {
            "baseline": baseline_matrix(self.baseline, integrals, self.shift),
            "overlap": integrals.overlap,
            "core": integrals.core,
            "energy_core": energy_core(integrals, short_range=self.short_range),
        }
        if "x" in self.kept:
            matrices |= dict(zip(_COORDINATES, torch.from_numpy(mole.intor_symmetric("int1e_r", comp=3)), strict=True))
        found: Arrays = {name: _triangle(matrix) for name, matrix in matrices.items() if name in self.kept}
        if reference is not None:
            hamiltonian = torch.from_numpy(np.array(reference))
            residual = hamiltonian - matrices["baseline"]
            coefficients, levels = orbitals(hamiltonian, integrals.overlap)
            if self.auxiliary is not None:
                fitted = build_mole(record.numbers, record.positions, self.auxiliary, record.charge, record.spin)
                found |= potential_forms(mole, fitted, residual.numpy(), coefficients.numpy(), levels.numpy())
            else:
                found["residual"] = _triangle(residual)
            if "orbitals" in self.kept:
                found["orbitals"] = np.ascontiguousarray(coefficients.numpy())
                found["orbital_energies"] = levels.numpy()[:, None].copy()
            if record.energy is not None:
                energy = self._energy(record, hamiltonian + matrices["energy_core"], coefficients)
                found["remainder"] = np.array([record.energy - energy])
        return found

    def _energy(self, record: Record, operators: Tensor, coefficients: Tensor) -> float:
        """Sum up 1/2 tr[P (H + h)] + E_nn of the reference's orbitals, Hartree, with H + h (M, M) given."""
        numbers, positions = (torch.from_numpy(np.array(values)) for values in (record.numbers, record.positions))
        occupied = coefficients[:, : n_occupied(record.numbers, record.charge)]
        repulsion = nuclear_repulsion(positions, numbers, short_range=self.short_range)
        return float((occupied * (operators @ occupied)).sum() + repulsion)

    def n_bytes(self, record: Record) -> int:
        """Estimate the size of the arrays of a molecule."""
        m = sum(n_functions(self.basis, z) for z in record.numbers.tolist())
        if self.auxiliary is not None:
            return 8 * sum(n_functions(self.auxiliary, z) for z in record.numbers.tolist()) ** 2
        triangles = 1 + len(set(self.kept) - {"orbitals"})
        return 4 * m * (m + 1) * triangles + (8 * m * m if "orbitals" in self.kept else 0)

    def key(self, record: Record) -> str:
        """Name the arrays of a molecule in a cache."""
        preparation = {name: value for name, value in asdict(self).items() if name != "shift" or value}
        return Cache.key(record=record.content_hash(), preparation=preparation, **_versions())


class PreparedDataset:
    """Training molecules with their matrices, in memory or in a cache, from which they are read when they are needed.

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
        arrays = self._arrays(index)
        matrices = {name: _matrix(array) for name, array in arrays.items() if name != "remainder"}
        remainder = float(arrays["remainder"][0]) if "remainder" in arrays else None
        return PreparedSystem(self.records[index], matrices, remainder)

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


def _triangle(matrix: Tensor) -> NDArray[np.float64]:
    """Take the lower triangle of a matrix that is symmetric but for rounding."""
    triangle: NDArray[np.float64] = lib.pack_tril(np.ascontiguousarray(0.5 * (matrix + matrix.T)))
    return triangle


def _matrix(array: NDArray[np.float64]) -> Tensor:
    """Make a matrix (M, M) of a triangle; others are left as they are."""
    return torch.from_numpy(lib.unpack_tril(array) if array.ndim == 1 else array)


@dataclass(frozen=True)
class Orbitals:
    """True orbitals of a batch, padded with zeros to the largest molecule.

    Parameters
    ----------
    occupied, virtual : Tensor, (B, M, O) and (B, M, V)
        In columns.
    places : Tensor, (sum M_b^2,)
        Where elements of matrices that are stored one behind the other stand in (B, M, M).
    gaps : Tensor, (B, O, V)
        eps_a - eps_i of virtual and occupied orbitals, Hartree; infinite for what is padded.
    n_occupied, n_pairs : int
        Occupied orbitals, and pairs of an occupied and a virtual one, of all molecules together.
    """

    occupied: Tensor
    virtual: Tensor
    places: Tensor
    gaps: Tensor
    n_occupied: int
    n_pairs: int

    @classmethod
    def of(cls, systems: Sequence[PreparedSystem], n_occupied: Sequence[int]) -> Orbitals:
        """Join the orbitals of molecules with so many occupied ones."""
        coefficients = [s.matrices["orbitals"] for s in systems]
        levels = [s.matrices["orbital_energies"][:, 0] for s in systems]
        sizes = [len(matrix) for matrix in coefficients]
        n_virtual = [m - n for m, n in zip(sizes, n_occupied, strict=True)]
        b, m = len(sizes), max(sizes)
        occupied = torch.zeros(b, m, max(n_occupied), dtype=torch.float64)
        virtual = torch.zeros(b, m, max(n_virtual), dtype=torch.float64)
        places = torch.arange(b * m * m).view(b, m, m)
        gaps = torch.full((b, max(n_occupied), max(n_virtual)), torch.inf, dtype=torch.float64)
        for o, v, gap, matrix, e, n in zip(occupied, virtual, gaps, coefficients, levels, n_occupied, strict=True):
            o[: len(matrix), :n] = matrix[:, :n]
            v[: len(matrix), : len(matrix) - n] = matrix[:, n:]
            gap[:n, : len(e) - n] = e[None, n:] - e[:n, None]
        n_pairs = sum(n * v for n, v in zip(n_occupied, n_virtual, strict=True))
        kept = flatten([p[:n, :n] for p, n in zip(places, sizes, strict=True)])
        return cls(occupied, virtual, kept, gaps, sum(n_occupied), n_pairs)

    def errors(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Transform errors of matrices, stored one behind the other, (sum M_b^2,), to what the orbitals see of them.

        Returns
        -------
        levels : Tensor, (B, O)
            Diagonal of C_occ^T X C_occ.
        mixing : Tensor, (B, O, V)
            C_occ^T X C_virt.
        """
        b, m, _ = self.occupied.shape
        padded = flat.new_zeros(b * m * m).index_copy(0, self.places, flat).view(b, m, m)
        half = torch.bmm(self.occupied.mT, padded)
        return (half * self.occupied.mT).sum(2), torch.bmm(half, self.virtual)


@dataclass(frozen=True)
class TrainingBatch:
    """Molecules of one step, with their references.

    Parameters
    ----------
    molecules : SystemBatch
        Geometry.
    plan : BatchPlan
        Of the molecules, for the network.
    numbers : tuple of tuple of int, (B,)
        Atomic numbers of each molecule, for the host.
    n_occupied : tuple of int, (B,)
        Doubly occupied orbitals.
    integrals : Batch or None
        What the integrals of forces need besides positions.
    matrices : mapping of str to Tensor, (sum M_b^2,)
        Those that all molecules have, as in `PreparedSystem`, the molecules' one behind the other.
    orbitals : Orbitals or None
        Where all molecules have them.
    forms : PotentialForms or None
        Where all molecules have them.
    energies : Tensor or None, (B,)
        Hartree.
    forces : Tensor or None, (N, 3)
        Hartree/Bohr.
    dipoles : Tensor or None, (B, 3)
        e Bohr.
    """

    molecules: SystemBatch
    plan: BatchPlan
    numbers: tuple[tuple[int, ...], ...]
    n_occupied: tuple[int, ...]
    integrals: Batch | None
    matrices: Mapping[str, Tensor]
    orbitals: Orbitals | None
    forms: PotentialForms | None
    energies: Tensor | None
    forces: Tensor | None
    dipoles: Tensor | None = None


def join(
    systems: Sequence[PreparedSystem], network: PhiSNet, *, forces: bool = False, matrices: bool = True
) -> TrainingBatch:
    """Join prepared molecules to a batch on the host; a label that one of them lacks is left out for all.

    With ``forces`` their integrals are prepared for the device that the network is on, where its energies need any;
    without ``matrices`` there are only pairs as far apart as energies of atoms alone reach.
    """
    records, n = [s.record for s in systems], len(systems)
    common = set.intersection(*(set(s.matrices) for s in systems))
    energies = [r.energy for r in records if r.energy is not None]
    slopes = [torch.from_numpy(np.array(r.forces)) for r in records if r.forces is not None]
    dipoles = [torch.from_numpy(np.array(r.dipole)) for r in records if r.dipole is not None]
    occupied = tuple(n_occupied(r.numbers, r.charge) for r in records)
    config, numbers = network.config, tuple(tuple(r.numbers.tolist()) for r in records)
    alone = config.energy_from == "atoms"
    molecules = collate(records, config.energy_cutoff if alone and not matrices else config.cutoff)
    integrals = None
    if forces and not alone:
        potentials = exact_potentials(config.baseline, short_range=config.short_range)
        integrals = stage(numbers, config.basis, potentials, network.radial.raw_alpha.device)
    return TrainingBatch(
        molecules=molecules,
        plan=network.plan(molecules, molecules.positions.device),
        numbers=numbers,
        n_occupied=occupied,
        integrals=integrals,
        matrices={
            name: flatten([s.matrices[name] for s in systems])
            for name in sorted(common - {"orbitals", "orbital_energies", *FORMS})
        },
        orbitals=Orbitals.of(systems, occupied) if "orbitals" in common else None,
        forms=PotentialForms.of([s.matrices for s in systems]) if "potential" in common else None,
        energies=torch.tensor(energies, dtype=torch.float64) if len(energies) == n else None,
        forces=torch.cat(slopes) if len(slopes) == n else None,
        dipoles=torch.stack(dipoles) if len(dipoles) == n else None,
    )
