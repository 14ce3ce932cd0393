"""Kohn-Sham matrices in a few kilobytes: residuals to a physical zero, in whole micro-Hartree, as planes of bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ase_mlwave.data.record import Record
from ase_mlwave.quantum.integrals import one_electron_integrals
from ase_mlwave.units import BOHR

__all__ = ["read_packed", "write_packed"]

#: Unit of the stored residuals, Hartree: they are off by half of it at most.
_STEP = 1e-6
#: Largest relative deviation of the sum of a matrix's elements from that before packing, per element.
_TOLERANCE = 1e-6


def write_packed(path: Path, records: Sequence[Record], basis: str, description: str) -> None:
    """Write molecules with their Kohn-Sham matrices.

    Parameters
    ----------
    path : Path
        The ``.npz`` file.
    records : sequence of Record
        With energies and the matrix ``"hamiltonian"``; forces and dipoles may be missing. Entries of ``info`` that are
        text or numbers are kept.
    basis : str
        Basis of the matrices.
    description : str
        What was computed, beginning as ``RKS PBE/def2-SVP``.

    Notes
    -----
    Stored are H - (T + V_ne + V_SAP) in whole micro-Hartree, upper triangles: what is read differs from what was
    written by 0.5 micro-Hartree at most (``test_packed_matrices_return_to_half_a_microhartree``).
    """
    steps = []
    for record in records:
        residual = record.matrices["hamiltonian"] - _physical_zero(record.numbers, record.positions, basis)
        steps.append(np.round(residual[np.triu_indices(len(residual))] / _STEP).astype(np.int64))
    joined = np.concatenate(steps)
    folded = np.where(joined < 0, -2 * joined - 1, 2 * joined).astype("<u4")  # small numbers have zeros in high bytes
    forces = [np.full((len(r), 3), np.nan) if r.forces is None else r.forces for r in records]
    dipoles = [np.full(3, np.nan) if r.dipole is None else r.dipole for r in records]
    optional: dict[str, Any] = {} if np.isnan(dipoles).all() else {"dipole_e_Bohr": np.array(dipoles)}
    infos = [{k: v for k, v in r.info.items() if isinstance(v, str | int | float)} for r in records]
    np.savez_compressed(
        path,
        Z=np.concatenate([r.numbers for r in records]).astype(np.int8),
        R=np.concatenate([r.positions * BOHR for r in records]),
        E=np.array([r.energy for r in records]),
        F=np.concatenate(forces),
        offsets=_offsets([len(r) for r in records]),
        h_offsets=_offsets([len(part) for part in steps]),
        H_planes=folded.view(np.uint8).reshape(-1, 4).T,
        H_sum=np.array([r.matrices["hamiltonian"].sum() for r in records]),
        basis=np.array(basis),
        info=np.array(json.dumps(infos)),
        meta=np.array(description),
        **optional,
    )


def read_packed(arrays: Mapping[str, NDArray[Any]], path: Path) -> list[Record]:
    """Read molecules that `write_packed` wrote.

    Parameters
    ----------
    arrays : mapping of str to ndarray
        Of the archive.
    path : Path
        Of the file, for messages.

    Returns
    -------
    list of Record

    Raises
    ------
    ValueError
        If the arrays do not fit one another, or the physical zero is not the one that the matrices were packed with.
    """
    basis, info = str(arrays["basis"]), json.loads(str(arrays["info"]))
    offsets, places, planes = arrays["offsets"], arrays["h_offsets"], arrays["H_planes"]
    if planes.dtype != np.uint8 or planes.ndim != 2 or len(planes) != 4:
        raise ValueError(f"H_planes must be four rows of bytes, got {planes.dtype} of the shape {planes.shape}")
    folded = np.ascontiguousarray(planes.T).view("<u4")[:, 0].astype(np.int64)
    steps = np.where(folded % 2, -(folded + 1) // 2, folded // 2)
    records = []
    for row, energy in enumerate(arrays["E"]):
        atoms = slice(offsets[row], offsets[row + 1])
        numbers, positions = arrays["Z"][atoms].astype(np.int64), arrays["R"][atoms] / BOHR
        matrix = _physical_zero(numbers, positions, basis)
        upper = np.triu_indices(len(matrix))
        residual = np.zeros_like(matrix)
        residual[upper] = _STEP * steps[places[row] : places[row + 1]]
        matrix += residual + np.triu(residual, 1).T
        if abs(matrix.sum() - arrays["H_sum"][row]) > _TOLERANCE * matrix.size:
            raise ValueError(
                f"the matrix of molecule {row} of {path} does not add up to what was stored: this PySCF has other "
                "atomic potentials (sapgrasplarge) or another basis of that name. Take PySCF 2.14, or label again"
            )
        forces = arrays["F"][atoms]
        records.append(
            Record(
                numbers=numbers,
                positions=positions,
                energy=float(energy),
                forces=None if np.isnan(forces).any() else forces,
                matrices={"hamiltonian": matrix},
                info=info[row],
            )
        )
    return records


def _physical_zero(numbers: NDArray[np.int64], positions: NDArray[np.float64], basis: str) -> NDArray[np.float64]:
    """Compute T + V_ne + V_SAP, (M, M), Hartree."""
    # One molecule of each kind, without derivatives: preparations would take longer than the integrals.
    r = torch.from_numpy(np.array(positions))
    integrals = one_electron_integrals(r, numbers, basis, sap=True, integrals="pyscf")
    if integrals.sap is None:
        raise ValueError("the integrals of atomic potentials are missing")
    matrix: NDArray[np.float64] = (integrals.core + integrals.sap).numpy()
    return (matrix + matrix.T) / 2


def _offsets(lengths: Sequence[int]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
