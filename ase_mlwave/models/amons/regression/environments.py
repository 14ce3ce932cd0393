"""Environments of the atoms of many molecules by element, and their derivatives along directions: what kernels compare.

Only atoms of the same element are compared, and of all features an element's environments have only some that are not
zero. So everything is kept per element, with the columns that are in use. What a query has in columns that no training
environment uses is orthogonal to all of those: it counts in norms, which are of all columns, and in nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.systems.system import System

__all__ = ["Block", "Directions", "Environments", "Representation", "collect", "environment_rows", "gather"]

Directions: TypeAlias = NDArray[np.float64] | None
"""Displacements (R, N, 3) of all atoms of a system; None for none."""

#: Atoms of molecules without directions that are computed at a time, and directions of one molecule.
_ATOMS, _DIRECTIONS = 256, 32


class Representation(Protocol):
    """What turns systems into environments; `ase_mlwave.models.amons.slatm.representation.Slatm` is one."""

    def collate(self, systems: Sequence[System]) -> Any:
        """Join systems to a batch that has ``to(device)``."""

    def environments_of(self, batch: Any) -> Tensor:
        """Return the features (N, D) of all atoms of a batch."""

    def pushforward(self, batch: Any, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features (N, D) and their derivatives (K, N, D) along directions (K, N, 3)."""

    def pullback(self, batch: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Return a scalar's derivatives by positions (N, 3) and cells (B, 3, 3) from those by features (N, D)."""


@dataclass(frozen=True)
class Block:
    """Hold the environments of all atoms of one element, sorted by molecule.

    Parameters
    ----------
    columns : Tensor, (C,) int64
        Features that are kept, ascending.
    values : Tensor, (P, C)
        Environments.
    norms : Tensor, (P,)
        Squared norms over all features.
    molecules : Tensor, (P,) int64
        Molecule of each, ascending.
    slopes : Tensor, (E, C)
        Derivatives along directions, 1/Bohr; one entry for every direction and atom of its molecule.
    products : Tensor, (E,)
        Inner products of slopes and their environments over all features.
    slope_atoms : Tensor, (E,) int64
        Which environment is differentiated.
    slope_rows : Tensor, (E,) int64
        Along which direction, ascending, counted over all molecules.
    """

    columns: Tensor
    values: Tensor
    norms: Tensor
    molecules: Tensor
    slopes: Tensor
    products: Tensor
    slope_atoms: Tensor
    slope_rows: Tensor

    def onto(self, columns: Tensor) -> Block:
        """Keep other columns; norms and inner products stay those over all features."""
        if torch.equal(columns, self.columns):
            return self
        place = torch.searchsorted(columns, self.columns).clamp(max=max(0, len(columns) - 1))
        is_kept = columns[place] == self.columns if len(columns) else torch.zeros_like(self.columns, dtype=torch.bool)

        def spread(values: Tensor) -> Tensor:
            wide = values.new_zeros(len(values), len(columns))
            wide[:, place[is_kept]] = values[:, is_kept]
            return wide

        return replace(self, columns=columns, values=spread(self.values), slopes=spread(self.slopes))

    def part(self, start: int, stop: int, first: int = 0, last: int = 0) -> Block:
        """Keep environments ``start:stop``, whole molecules, and the slopes ``first:last``: theirs, or none."""
        arrays = {name: getattr(self, name)[start:stop] for name in ("values", "norms", "molecules")}
        arrays |= {name: getattr(self, name)[first:last] for name in ("slopes", "products", "slope_rows")}
        return Block(columns=self.columns, slope_atoms=self.slope_atoms[first:last] - start, **arrays)

    def to(self, device: torch.device | str) -> Block:
        """Move to a device."""
        return Block(**{name: tensor.to(device) for name, tensor in vars(self).items()})


@dataclass(frozen=True)
class Environments:
    """Hold the environments of molecules, by element.

    Parameters
    ----------
    blocks : mapping of int to Block
        Atomic number -> environments.
    n_molecules, n_directions : int
        Numbers of molecules and of directions of all molecules: the rows of a kernel, in this order.
    """

    blocks: Mapping[int, Block]
    n_molecules: int
    n_directions: int

    @property
    def n_rows(self) -> int:
        """Rows of a kernel: molecules, then directions."""
        return self.n_molecules + self.n_directions

    def onto(self, other: Environments) -> Environments:
        """Keep the columns that another set uses, of its elements."""
        common = {z: block.onto(other.blocks[z].columns) for z, block in self.blocks.items() if z in other.blocks}
        return replace(self, blocks=common)

    def without_directions(self) -> Environments:
        """Keep the molecules alone."""
        return Environments({z: b.part(0, len(b.values)) for z, b in self.blocks.items()}, self.n_molecules, 0)

    def to(self, device: torch.device | str) -> Environments:
        """Move to a device."""
        return replace(self, blocks={z: block.to(device) for z, block in self.blocks.items()})


def gather(
    representation: Representation,
    systems: Sequence[System],
    directions: Sequence[Directions] | None = None,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Environments:
    """Compute the environments of systems and their derivatives along directions.

    Parameters
    ----------
    representation : Representation
        What makes environments of atoms.
    systems : sequence of System
        In the order in which they are counted.
    directions : sequence of (R, N, 3) or None, optional
        For each system, directions of all its coordinates along which environments are differentiated.
    device : torch.device or str
        Where to compute, and where the result is.
    progress : callable, optional
        Called with the number of molecules done since the last call.

    Returns
    -------
    Environments

    Notes
    -----
    Memory is that of the result and of one batch: columns of zeros are dropped molecule by molecule.
    """
    return collect(environment_rows(representation, systems, directions, device=device, progress=progress))


def collect(molecules: Iterable[tuple[NDArray[np.int64], Tensor, Tensor]]) -> Environments:
    """Sort the environments of molecules by element.

    Parameters
    ----------
    molecules : iterable of (numbers (N,), environments (N, D), slopes (R, N, D))
        In the order in which they are counted.

    Returns
    -------
    Environments
    """
    parts: dict[int, list[Block]] = {}
    n_molecules = n_directions = 0
    for numbers, values, slopes in molecules:
        for z in np.unique(numbers).tolist():
            chosen = torch.from_numpy(np.flatnonzero(numbers == z)).to(values.device)
            parts.setdefault(z, []).append(_part(values[chosen], slopes[:, chosen], n_molecules, n_directions))
        n_molecules += 1
        n_directions += len(slopes)
    return Environments({z: _joined(parts[z]) for z in sorted(parts)}, n_molecules, n_directions)


def environment_rows(
    representation: Representation,
    systems: Sequence[System],
    directions: Sequence[Directions] | None = None,
    *,
    device: torch.device | str = "cpu",
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[NDArray[np.int64], Tensor, Tensor]]:
    """Compute the environments of molecules one after the other.

    Parameters
    ----------
    representation, systems, directions, device, progress
        As for `gather`.

    Yields
    ------
    numbers : (N,)
    environments : Tensor, (N, D)
    slopes : Tensor, (R, N, D)
        Derivatives along the molecule's directions.
    """
    for run, along in _runs(systems, directions or [None] * len(systems)):
        for system, rows in zip(run, _compute(representation, run, along, device), strict=True):
            yield system.numbers, *rows
        if progress is not None:
            progress(len(run))


def _runs(
    systems: Sequence[System], directions: Sequence[Directions]
) -> Iterator[tuple[list[System], NDArray[np.float64] | None]]:
    """Split into runs of systems without directions, and single systems with."""
    run: list[System] = []
    for system, along in zip(systems, directions, strict=True):
        moves = along is not None and len(along) > 0
        if run and (moves or sum(map(len, run)) + len(system) > _ATOMS):
            yield run, None
            run = []
        if moves:
            yield [system], along
        else:
            run.append(system)
    if run:
        yield run, None


def _compute(
    representation: Representation, systems: Sequence[System], directions: Directions, device: torch.device | str
) -> list[tuple[Tensor, Tensor]]:
    """Compute environments (N, D) and slopes (R, N, D) of each system; directions are those of a single one."""
    batch = representation.collate(systems).to(device)
    with torch.no_grad():
        if directions is None:
            values = representation.environments_of(batch).split([len(system) for system in systems])
            return [(own, own.new_zeros(0, *own.shape)) for own in values]
        along = torch.from_numpy(np.asarray(directions, dtype=np.float64)).to(device)
        pieces = [representation.pushforward(batch, some) for some in along.split(_DIRECTIONS)]
    return [(pieces[0][0], torch.cat([slopes for _, slopes in pieces]))]


def _part(values: Tensor, slopes: Tensor, molecule: int, first_row: int) -> Block:
    """Keep what is not zero of one molecule's environments (n, D) and slopes (R, n, D) of one element."""
    n_rows, n_atoms = slopes.shape[:2]
    columns = torch.nonzero((values != 0).any(dim=0) | (slopes != 0).flatten(0, 1).any(dim=0)).flatten()
    atoms = torch.arange(n_atoms, device=values.device)
    rows = torch.arange(first_row, first_row + n_rows, device=values.device)
    return Block(
        columns=columns,
        values=values[:, columns],
        norms=(values**2).sum(dim=1),
        molecules=torch.full_like(atoms, molecule),
        slopes=slopes.flatten(0, 1)[:, columns],  # (R n, C)
        products=(slopes * values).sum(dim=2).flatten(),
        slope_atoms=atoms.repeat(n_rows),
        slope_rows=rows.repeat_interleave(n_atoms),
    )


def _joined(parts: Sequence[Block]) -> Block:
    """Join the blocks of molecules, in order."""
    columns = reduce(lambda one, other: torch.unique(torch.cat([one, other])), (part.columns for part in parts))
    wide = [part.onto(columns) for part in parts]
    first = 0
    atoms = []
    for part in wide:
        atoms.append(part.slope_atoms + first)
        first += len(part.values)
    joined = {
        name: torch.cat([getattr(part, name) for part in wide])
        for name in ("values", "norms", "molecules", "slopes", "products", "slope_rows")
    }
    return Block(columns=columns, slope_atoms=torch.cat(atoms), **joined)
