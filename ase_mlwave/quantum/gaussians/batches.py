"""Batches of molecules, parted so that large molecules do not bear with what others have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.quantum.gaussians.layout import Layout, Potentials, make_layout, prepare_layout
from ase_mlwave.quantum.gaussians.primitives import molecule_primitives

__all__ = ["Batch", "Part", "prepare", "stage"]

#: Pairs times centres of molecules of the same atoms from which on a CPU computes them apart: no room is left then for
#: centres that others have, and the layout is kept for other batches. A GPU needs many pairs at once.
_LARGE = 2**13


@dataclass(frozen=True)
class Part:
    """Molecules that are computed together.

    Parameters
    ----------
    layout : Layout
        Of these molecules.
    atoms : Tensor, (N',), or None
        Their atoms among those of the batch; None for all, in their order.
    """

    layout: Layout
    atoms: Tensor | None


@dataclass(frozen=True)
class Batch:
    """All that integrals of B molecules need besides positions; see `prepare`.

    Parameters
    ----------
    parts : tuple of Part
        Each molecule in one of them.
    sizes : tuple of int, (B,)
        M_b, the functions of each molecule.
    order : Tensor, (sum M_b^2,), or None
        Place of each element of the batch's matrices among those of all parts, one behind the other; None where it is
        its own.
    """

    parts: tuple[Part, ...]
    sizes: tuple[int, ...]
    order: Tensor | None


@lru_cache(maxsize=8)
@torch.inference_mode(False)  # what is kept must serve gradients later
def prepare(
    molecules: tuple[tuple[int, ...], ...], basis: str, potentials: tuple[Potentials, ...], device: torch.device
) -> Batch:
    """Prepare index maps and constants, which do not depend on positions.

    Parameters
    ----------
    molecules : tuple of tuple of int, (B,)
        Atomic numbers of each molecule.
    basis : str
        Name of a spherical basis.
    potentials : tuple of tuple of str, (V,)
        Sums of potentials, of any of ``"nuclear"``, ``"sap"``, ``"smeared"``: what is wanted together takes no longer
        than one of them.
    device : torch.device
        Where the integrals will be computed.

    Returns
    -------
    Batch
        Kept for further calls.

    Raises
    ------
    ValueError
        If PySCF has no such basis, or an element needs an effective core potential.
    """
    return _prepared(molecules, basis, potentials, device, device)


def stage(
    molecules: tuple[tuple[int, ...], ...], basis: str, potentials: tuple[Potentials, ...], device: torch.device
) -> Batch:
    """Prepare on the host, for one copy of all tensors to the device, and a batch that will not come again.

    Parameters, exceptions and, once it is copied, the result are those of `prepare`.
    """
    host = torch.device("cpu")
    if device == host:
        return prepare(molecules, basis, potentials, device)
    return _prepared(molecules, basis, potentials, device, host)


def _prepared(
    molecules: tuple[tuple[int, ...], ...],
    basis: str,
    potentials: tuple[Potentials, ...],
    device: torch.device,
    place: torch.device,
) -> Batch:
    starts = np.cumsum([0, *map(len, molecules)])
    parts, order = [], []
    for members in _together(molecules, basis, device):
        atoms = np.concatenate([np.arange(starts[b], starts[b + 1]) for b in members])
        given = tuple(molecules[b] for b in members), basis, potentials, device
        layout = prepare_layout(*given) if place == device else make_layout(*given, place)
        in_order = len(atoms) == starts[-1] and bool((np.diff(atoms) > 0).all())
        parts.append(Part(layout, None if in_order else torch.from_numpy(atoms).to(place)))
        order += members
    sizes = tuple(molecule_primitives(basis, numbers).contraction.shape[1] for numbers in molecules)
    places = None if order == sorted(order) else torch.from_numpy(_places(sizes, order)).to(place)
    return Batch(tuple(parts), sizes, places)


def _together(molecules: Sequence[tuple[int, ...]], basis: str, device: torch.device) -> list[list[int]]:
    """Say which molecules are computed together, sorted by their atoms."""
    small: list[int] = []
    apart: list[list[int]] = []
    by_atoms = sorted(range(len(molecules)), key=lambda index: molecules[index])
    for numbers, group in groupby(by_atoms, key=lambda index: molecules[index]):
        members = list(group)
        n_shells = len(molecule_primitives(basis, numbers).angular)
        if device.type == "cpu" and len(members) * len(numbers) * n_shells**2 // 2 > _LARGE:
            apart.append(members)
        else:
            small += members
    return [small, *apart] if small else apart


def _places(sizes: Sequence[int], order: Sequence[int]) -> NDArray[np.int64]:
    """Tell how to bring matrices that are sorted by ``order`` back to the order of the batch."""
    squares = np.array(sizes) ** 2
    starts = np.empty_like(squares)
    starts[order] = np.cumsum(squares[order]) - squares[order]
    return np.concatenate([start + np.arange(n) for start, n in zip(starts, squares, strict=True)])
