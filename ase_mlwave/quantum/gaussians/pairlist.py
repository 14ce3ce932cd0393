"""Which pairs of primitive shells a batch of molecules has, and in which order they are computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ase_mlwave.quantum.gaussians.primitives import Primitives, molecule_primitives, pair_classes

__all__ = ["Pairs", "centres_by_element", "collect", "group_pairs"]


@dataclass(frozen=True)
class Pairs:
    """Pairs of one class, of all molecules.

    Parameters
    ----------
    la, lb : int
        Angular momenta.
    first, second : ndarray, (P,)
        Atoms of the batch that the shells a and b sit on.
    exponents : ndarray, (2, P)
        a and b, 1/Bohr^2.
    molecule : ndarray, (P,)
        Place of the molecule in the batch.
    diagonal : ndarray, (P,)
        Whether it is a shell with itself.
    targets : ndarray, ((2 la + 1)(2 lb + 1), P)
        Where the elements belong in all primitive matrices, one behind the other.
    """

    la: int
    lb: int
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    exponents: NDArray[np.float64]
    molecule: NDArray[np.int64]
    diagonal: NDArray[np.bool_]
    targets: NDArray[np.int64]

    def part(self, start: int, stop: int) -> Pairs:
        """Give some of the pairs."""
        return replace(
            self,
            first=self.first[start:stop],
            second=self.second[start:stop],
            exponents=self.exponents[:, start:stop],
            molecule=self.molecule[start:stop],
            diagonal=self.diagonal[start:stop],
            targets=self.targets[:, start:stop],
        )


def collect(
    molecules: Sequence[tuple[int, ...]], by_kind: Sequence[tuple[tuple[int, ...], tuple[int, ...]]], basis: str
) -> tuple[list[Pairs], int]:
    """Put the pairs of all molecules side by side, class by class, the largest la + lb first.

    Parameters
    ----------
    molecules : sequence of tuple of int, (B,)
        Atomic numbers.
    by_kind : sequence of (tuple of int, tuple of int)
        Atomic numbers, and the places in the batch of all molecules that have them, in this order.
    basis : str
        Name of a spherical basis.

    Returns
    -------
    list of Pairs
        By class.
    int
        Elements of the primitive matrices of all molecules.
    """
    first_atom = np.cumsum([0, *map(len, molecules)])
    collected: dict[tuple[int, int], list[Pairs]] = {}
    start = 0
    for numbers, members in by_kind:
        primitives = molecule_primitives(basis, numbers)
        size = len(primitives.contraction)
        matrices = start + size**2 * np.arange(len(members))
        for pairs in pair_classes(primitives):
            atoms = first_atom[list(members)]
            targets = _targets(primitives, pairs.first, pairs.second, size)
            collected.setdefault((pairs.la, pairs.lb), []).append(
                Pairs(
                    pairs.la,
                    pairs.lb,
                    (atoms[:, None] + primitives.atoms[pairs.first]).ravel(),
                    (atoms[:, None] + primitives.atoms[pairs.second]).ravel(),
                    np.tile([primitives.exponents[pairs.first], primitives.exponents[pairs.second]], len(members)),
                    np.repeat(members, len(pairs.first)),
                    np.tile(pairs.first == pairs.second, len(members)),
                    (targets[:, None] + matrices[:, None]).reshape(len(targets), -1),
                )
            )
        start += size**2 * len(members)
    ordered = sorted(collected.items(), key=lambda item: (-sum(item[0]), item[0]))
    return [_joined(parts) for _, parts in ordered], start


def _joined(parts: Sequence[Pairs]) -> Pairs:
    return Pairs(
        parts[0].la,
        parts[0].lb,
        np.concatenate([part.first for part in parts]),
        np.concatenate([part.second for part in parts]),
        np.concatenate([part.exponents for part in parts], -1),
        np.concatenate([part.molecule for part in parts]),
        np.concatenate([part.diagonal for part in parts]),
        np.concatenate([part.targets for part in parts], -1),
    )


def _targets(
    primitives: Primitives, first: NDArray[np.int64], second: NDArray[np.int64], size: int
) -> NDArray[np.int64]:
    """Give places in the flat matrix of primitives, ((2 la + 1)(2 lb + 1), P)."""
    la, lb = primitives.angular[first[0]], primitives.angular[second[0]]
    rows = primitives.starts[first] + np.arange(2 * la + 1)[:, None]
    columns = primitives.starts[second] + np.arange(2 * lb + 1)[:, None]
    return (rows[:, None] * size + columns).reshape(-1, len(first))


def centres_by_element(
    molecules: Sequence[tuple[int, ...]],
) -> tuple[list[int], tuple[int, ...], NDArray[np.int64], NDArray[np.bool_]]:
    """Sort atoms by element, with room for the largest number of each in any molecule.

    Parameters
    ----------
    molecules : sequence of tuple of int, (B,)
        Atomic numbers.

    Returns
    -------
    elements : list of int
        Atomic numbers that occur.
    counts : tuple of int
        Room for each, C together.
    centres : ndarray, (B, 3 C)
        Places in the flat transpose of the positions.
    present : ndarray, (C, B)
        False where there is only room.
    """
    arrays = [np.array(numbers) for numbers in molecules]
    elements = sorted(set().union(*molecules))
    counts = tuple(max(int((numbers == z).sum()) for numbers in arrays) for z in elements)
    atoms = np.zeros((len(arrays), sum(counts)), dtype=np.int64)
    present = np.zeros_like(atoms, dtype=bool)
    first_atom = np.cumsum([0, *map(len, arrays)])
    for row, numbers in enumerate(arrays):
        for z, end, count in zip(elements, np.cumsum(counts), counts, strict=True):
            found = np.flatnonzero(numbers == z)
            atoms[row, end - count :][: len(found)] = first_atom[row] + found
            present[row, end - count :][: len(found)] = True
    centres = (np.arange(3)[:, None] * first_atom[-1] + atoms[:, None]).reshape(len(arrays), -1)
    return elements, counts, centres, present.T


def group_pairs(pairs: Sequence[Pairs], smallest: int, largest: int) -> list[list[Pairs]]:
    """Put classes of equal la + lb together, and part or join them where their size asks for it.

    Parameters
    ----------
    pairs : sequence of Pairs
        From `collect`.
    smallest : int
        Groups of fewer pairs take in classes of lower la + lb.
    largest : int
        Classes of more pairs are parted.

    Returns
    -------
    list of list of Pairs
        Groups; the first member of each has the largest la + lb.
    """
    groups: list[list[Pairs]] = []
    for part in (whole.part(i, i + largest) for whole in pairs for i in range(0, len(whole.first), largest)):
        if groups:
            size = sum(len(other.first) for other in groups[-1])
            same = groups[-1][0].la + groups[-1][0].lb == part.la + part.lb
            if size < smallest or (same and size + len(part.first) <= largest):
                groups[-1].append(part)
                continue
        groups.append([part])
    return groups
