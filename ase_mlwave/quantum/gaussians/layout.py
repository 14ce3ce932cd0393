"""What the integrals of a batch of molecules need besides positions: index maps and constants, prepared once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import groupby
from math import pi

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.quantum.gaussians.blocks import Block, Products, make_blocks, powers
from ase_mlwave.quantum.gaussians.cartesians import (
    derivative_matrix,
    derivative_terms,
    raised,
)
from ase_mlwave.quantum.gaussians.charges import PotentialName, charge_distribution
from ase_mlwave.quantum.gaussians.pairlist import Pairs, centres_by_element, collect, group_pairs
from ase_mlwave.quantum.gaussians.primitives import molecule_primitives
from ase_mlwave.quantum.gaussians.radial import Charges, Table

__all__ = ["Group", "Kind", "Layout", "Potentials", "make_layout", "prepare_layout"]

Potentials = tuple[PotentialName, ...]
"""Potentials that are added up."""

#: Groups of fewer pairs times centres join the next larger order: a kernel's start costs more than its work.
_SMALLEST_GROUP = 2000
#: Larger classes are parted, so that intermediate results stay near the processor, or at least in memory.
_LARGEST_GROUP, _LARGEST_GROUP_ON_GPU = 2**17, 2**21


@dataclass(frozen=True)
class Group:
    """P pairs of primitive shells that are computed together, to the largest order L among them.

    Parameters
    ----------
    order : int
        L.
    ends : Tensor, (6 P,)
        Places of A, then B, in the flat transpose of the positions.
    molecule : Tensor, (P,)
        Molecule of each pair.
    fractions : Tensor, (2, P)
        w_a = a / (a + b) and w_b.
    reduced : Tensor, (P,)
        mu = a b / (a + b), 1/Bohr^2.
    scale : Tensor, (P,)
        (pi / (a + b))^(3/2), half of it for a shell with itself: the matrix is symmetrised in the end.
    monomials : Tensor, (D,)
        The monomial of each of the D terms of all derivatives up to the order L + 1.
    powers : Tensor, (2, D, P)
        (-2 mu)^m of overlap, and that times mu (3 + 2 m) of kinetic energy, for these terms.
    steeper, derivatives : Tensor, (H, D)
        `derivative_matrix` of L + 1, and of L.
    raised : Tensor, (3 H',)
        Place of one more derivative along x, y, z of the H' derivatives up to the order L.
    charges : tuple of Charges
        Of the centres, in their order.
    present : Tensor, (C, P), or None
        1 where the molecule has the centre, 0 where it is padding; None if all are there.
    blocks : tuple of Block or Products
        By class, or all together.
    """

    order: int
    ends: Tensor
    molecule: Tensor
    fractions: Tensor
    reduced: Tensor
    scale: Tensor
    monomials: Tensor
    powers: Tensor
    steeper: Tensor
    derivatives: Tensor
    raised: Tensor
    charges: tuple[Charges, ...]
    present: Tensor | None
    blocks: tuple[Block | Products, ...]

    def select(self, kept: Tensor) -> Group:
        """Leave out all pairs but those with these ascending places, (P',); the host waits for their number."""
        blocks, start = [], 0
        for block in self.blocks:
            assert isinstance(block, Block)  # of products there are few, and all pairs are kept
            blocks.append(block.select(kept, start))
            start = blocks[-1].pairs.stop
        return replace(
            self,
            ends=self.ends.view(6, -1)[:, kept].view(-1),
            molecule=self.molecule[kept],
            fractions=self.fractions[:, kept],
            reduced=self.reduced[kept],
            scale=self.scale[kept],
            powers=self.powers[..., kept],
            charges=tuple(charges.select(kept) for charges in self.charges),
            present=None if self.present is None else self.present[:, kept],
            blocks=tuple(blocks),
        )


@dataclass(frozen=True)
class Kind:
    """Molecules of the same atoms, in the same order.

    Parameters
    ----------
    n_molecules : int
        How many.
    contraction : Tensor, (K, M)
        From primitive to contracted functions.
    """

    n_molecules: int
    contraction: Tensor


@dataclass(frozen=True)
class Layout:
    """What molecules that are computed together need besides positions; see `make_layout`.

    Parameters
    ----------
    n_atoms : int
        N of all together.
    potentials : tuple of tuple of str
        The V sums of potentials, in the order of results.
    groups : tuple of Group
        Pairs of primitives.
    kinds : tuple of Kind
        Molecules by their atoms; matrices lie in this order, one behind the other.
    n_elements : int
        Elements of all primitive matrices together.
    n_terms : int
        All pairs times C.
    centres : Tensor, (B, 3 C)
        Places of the C centres of each molecule in the flat transpose of the positions, element by element.
    """

    n_atoms: int
    potentials: tuple[Potentials, ...]
    groups: tuple[Group, ...]
    kinds: tuple[Kind, ...]
    n_elements: int
    n_terms: int
    centres: Tensor


def make_layout(
    molecules: tuple[tuple[int, ...], ...],
    basis: str,
    potentials: tuple[Potentials, ...],
    device: torch.device,
    place: torch.device,
) -> Layout:
    """Prepare index maps and constants of molecules that are sorted by their atoms.

    Parameters
    ----------
    molecules, basis, potentials, device
        As of `ase_mlwave.quantum.gaussians.batches.prepare`.
    place : torch.device
        Where its tensors are at first.

    Returns
    -------
    Layout

    Raises
    ------
    ValueError
        If PySCF has no such basis, or an element needs an effective core potential.
    """
    by_kind = [(numbers, tuple(group)) for numbers, group in groupby(range(len(molecules)), key=molecules.__getitem__)]
    pairs, n_elements = collect(molecules, by_kind, basis)
    elements, counts, centres, present = centres_by_element(molecules)
    upload, n_atoms, n_centres = _Upload(place), sum(map(len, molecules)), sum(counts)
    largest = _LARGEST_GROUP if device.type == "cpu" else _LARGEST_GROUP_ON_GPU
    grouped = group_pairs(pairs, _SMALLEST_GROUP // n_centres, max(1, largest // n_centres))
    groups = tuple(
        _group(
            members,
            make_blocks(members, device, place),
            _charges(members, elements, counts, potentials, upload) if potentials else (),
            present,
            n_atoms,
            upload,
        )
        for members in grouped
    )
    kinds = tuple(
        Kind(len(members), upload(molecule_primitives(basis, numbers).contraction)) for numbers, members in by_kind
    )
    n_terms = n_centres * sum(len(part.first) for part in pairs)
    return Layout(n_atoms, potentials, groups, kinds, n_elements, n_terms, upload(centres))


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # what is kept must serve gradients later
def prepare_layout(
    molecules: tuple[tuple[int, ...], ...], basis: str, potentials: tuple[Potentials, ...], device: torch.device
) -> Layout:
    """Keep what `make_layout` makes on the device."""
    return make_layout(molecules, basis, potentials, device, device)


class _Upload:
    """Copy arrays to a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, array: NDArray[np.generic]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(self.device)


def _group(
    members: Sequence[Pairs],
    blocks: tuple[Block | Products, ...],
    charges: tuple[Charges, ...],
    present: NDArray[np.bool_],
    n_atoms: int,
    upload: _Upload,
) -> Group:
    a, b = np.concatenate([part.exponents for part in members], -1)
    first, second, molecule, diagonal = (
        np.concatenate([getattr(part, name) for part in members])
        for name in ("first", "second", "molecule", "diagonal")
    )
    total, reduced = a + b, a * b / (a + b)
    order = members[0].la + members[0].lb
    terms = derivative_terms(order + 1)
    degree = np.repeat(np.arange(order + 2), [term.stop - term.start for term in terms])
    radial_powers = powers(-2 * reduced, degree)
    axes = np.arange(3)[:, None] * n_atoms
    return Group(
        order=order,
        ends=upload(np.concatenate([first + axes, second + axes]).ravel()),
        molecule=upload(molecule),
        fractions=upload(np.stack([a, b]) / total),
        reduced=upload(reduced),
        scale=upload((pi / total) ** 1.5 * np.where(diagonal, 0.5, 1.0)),
        powers=upload(np.stack([radial_powers, radial_powers * reduced * (3 + 2 * degree[:, None])])),
        monomials=upload(np.concatenate([np.arange(term.start, term.stop) for term in terms])),
        steeper=upload(derivative_matrix(order + 1)),
        derivatives=upload(derivative_matrix(order)),
        raised=upload(raised(order).ravel()),
        charges=charges,
        present=None if present.all() else upload(present[:, molecule].astype(np.float64)),
        blocks=blocks,
    )


def _charges(
    members: Sequence[Pairs],
    elements: Sequence[int],
    counts: Sequence[int],
    potentials: tuple[Potentials, ...],
    upload: _Upload,
) -> tuple[Charges, ...]:
    """Prepare charges element by element, or of all elements at once where there is little to do."""
    exponents, order = np.concatenate([part.exponents for part in members], -1).sum(0), members[0].la + members[0].lb
    different, places = np.unique(exponents, return_inverse=True)
    tables = [_table(z, potentials, tuple(different.tolist()), order + 4) for z in elements]
    present = list(zip(tables, counts, strict=True))
    together = len(exponents) * sum(counts) < _SMALLEST_GROUP
    result = []
    for some in [present] if together else [[element] for element in present]:
        which = np.repeat(np.arange(len(some)), [count for _, count in some])
        result.append(
            Charges.of([table for table, _ in some], upload(which), torch.from_numpy(different), upload(places))
        )
    return tuple(result)


@lru_cache(maxsize=128)
def _table(number: int, potentials: tuple[Potentials, ...], exponents: tuple[float, ...], orders: int) -> Table:
    """Keep what molecules of the same elements have in common."""
    names = list(dict.fromkeys(name for together in potentials for name in together))
    parts = [charge_distribution(name, number) for name in names]
    widths = np.concatenate([widths for widths, _ in parts])
    strength = np.stack(
        [
            np.concatenate([(name in together) * charges for name, (_, charges) in zip(names, parts, strict=True)])
            for together in potentials
        ]
    )
    given = map(torch.from_numpy, (widths, strength, np.array(exponents)))
    return Table.of(*given, orders=orders)
