"""The path of malonaldehyde's proton from one oxygen to the other, and energies along it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ase_mlwave.data.record import Record
from ase_mlwave.units import BOHR
from benchmarks.common import KCAL_PER_MOL, picture

__all__ = ["coordinate", "draw", "near", "transfer"]

Array = NDArray[np.float64]
#: The proton, the oxygen that it leaves, and the other, in the archive's order of atoms.
_PROTON, _FROM, _TO = 2, 8, 7
#: What exchanges the two ends of the molecule.
_EXCHANGED = [1, 0, 2, 3, 6, 5, 4, 8, 7]
#: Steps from the minimum to the saddle, and the largest root mean square distance of atoms from the path, Angstrom.
_STEPS, _NEAR = 12, 0.03


def coordinate(record: Record) -> float:
    """Tell how far the proton is: r(O-H) of the bond it leaves less r(O-H) of the one it makes, Angstrom."""
    place = record.positions
    lengths = [float(np.linalg.norm(place[_PROTON] - place[oxygen])) for oxygen in (_FROM, _TO)]
    return BOHR * (lengths[0] - lengths[1])


def transfer(minimum: Record, saddle: Record) -> list[Record]:
    """Lay a parabola through the minimum, the saddle, and the minimum whose ends are exchanged.

    Parameters
    ----------
    minimum, saddle : Record
        Geometries in the archive's order of atoms.

    Returns
    -------
    list of Record
        Without labels, from one minimum to the other; the first, the middle and the last are those three.
    """
    first = _aligned(minimum.positions, saddle.positions)
    last = _aligned(minimum.positions[_EXCHANGED], saddle.positions)
    middle = _centred(saddle.positions)
    bend, slope = (first + last) / 2 - middle, (last - first) / 2
    steps = np.linspace(-1, 1, 2 * _STEPS + 1)
    return [replace(minimum, positions=middle + t * slope + t * t * bend, energy=None) for t in steps]


def near(path: Sequence[Record], records: Sequence[Record]) -> list[Record]:
    """Choose the geometries that are near a point of the path, whichever end of the molecule is which.

    Notes
    -----
    With the best rotation or reflection the mean square distance of two sets of N points, centred, is
    (|a|^2 + |b|^2 - 2 sum_i s_i) / N, s_i the singular values of a^T b (Kabsch 1976).
    """
    half = np.array([_centred(one.positions) for one in path[: _STEPS + 1]])  # the rest are these, exchanged
    places = np.array([_centred(record.positions) for record in records])
    least = np.full(len(records), np.inf)
    for some in (places, places[:, _EXCHANGED]):
        overlaps = np.linalg.svd(np.einsum("bni,pnj->bpij", some, half), compute_uv=False).sum(-1)
        norms = np.square(some).sum((1, 2))[:, None] + np.square(half).sum((1, 2))
        least = np.minimum(least, (norms - 2 * overlaps).min(axis=1))
    distances = BOHR * np.sqrt(np.maximum(least, 0.0) / places.shape[1])
    return [record for record, distance in zip(records, distances, strict=True) if distance < _NEAR]


def draw(
    curves: Mapping[str, Sequence[Array]],
    minimum: Record,
    beside: Sequence[Record],
    path: Sequence[Record],
    target: Path,
) -> None:
    """Plot energies along the path, and errors at geometries of the archive near it.

    Parameters
    ----------
    curves : mapping of str to sequence of ndarray
        Name -> energies of minimum and saddle (2,), of ``beside`` and of ``path``, Hartree.
    minimum : Record
        With its label.
    beside : sequence of Record
        With labels.
    path : sequence of Record
        Geometries.
    target : Path
        PNG file.
    """
    wanted = np.array([float(record.energy or 0.0) - float(minimum.energy or 0.0) for record in beside])
    with picture(target, (9.5, 4.2), panels=2, dpi=150) as (energies, errors):
        for name, (ends, others, along) in curves.items():
            energies.plot([coordinate(one) for one in path], KCAL_PER_MOL * (along - ends[0]), label=name)
            # Energies of Hartree-Fock theory begin elsewhere: errors are those of energies above the minimum's.
            lacking = KCAL_PER_MOL * (others - ends[0] - wanted)
            errors.plot([abs(coordinate(one)) for one in beside], lacking, ".", label=name)
        errors.axhline(0.0, color="0.6", linewidth=0.8)
        energies.set(xlabel="r(O-H) left less r(O-H) made (Å)", ylabel="energy above the minimum (kcal/mol)")
        errors.set(xlabel="difference of the O-H distances (Å)", ylabel="error near the path (kcal/mol)")
        energies.figure.legend(
            *energies.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False
        )


def _centred(positions: Array) -> Array:
    """Move positions (N, 3) so that their mean is the origin."""
    return positions - positions.mean(axis=0)


def _aligned(moving: Array, fixed: Array) -> Array:
    """Turn, and mirror where that helps, positions (N, 3) onto others; both are centred first."""
    moving, fixed = _centred(moving), _centred(fixed)
    left, _, right = np.linalg.svd(moving.T @ fixed)
    return moving @ left @ right
