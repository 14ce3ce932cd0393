"""Which column of the representation belongs to which one-, two- and three-body type.

Two layouts. The *full* one concatenates the blocks of all types, (z), (z1, z2), (z1, z2, z3) with the centre in the
middle, in one fixed order, as the public implementation does: most blocks of an atom are zero, because its element is
not the centre of their type. The *compact* one has, for an atom of element c, only the blocks of c: its charge, the
pairs (c, z) for every z, the triangles (z1, c, z3) for every pair z1 <= z3. Environments of the same element are the
same distance apart in both, and only those are ever compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np
from numpy.typing import NDArray

__all__ = ["TypeTable"]


@dataclass(frozen=True)
class TypeTable:
    """All types that elements can form, and where their blocks lie.

    Parameters
    ----------
    numbers : tuple of int
        Atomic numbers, rising.
    n_distance : int
        Grid points of a two-body block.
    n_angle : int
        Grid points of a three-body block.
    """

    numbers: tuple[int, ...]
    n_distance: int
    n_angle: int

    @cached_property
    def types(self) -> tuple[tuple[int, ...], ...]:
        """Types in the order of the full layout: (z), then (z1 <= z2), then (z1, centre, z3) with z1 <= z3."""
        pairs = tuple(combinations_with_replacement(self.numbers, 2))
        triples = tuple((a, c, b) for c in self.numbers for a, b in pairs)
        return (*((z,) for z in self.numbers), *pairs, *triples)

    @property
    def n_elements(self) -> int:
        """Number of elements."""
        return len(self.numbers)

    @property
    def n_pairs(self) -> int:
        """Number of unordered pairs of elements."""
        return self.n_elements * (self.n_elements + 1) // 2

    @property
    def width(self) -> int:
        """Columns of the compact layout."""
        return self.pair_stop + self.n_pairs * self.n_angle

    @property
    def full_width(self) -> int:
        """Columns of the full layout."""
        return sum(self.block_width(t) for t in self.types)

    @property
    def pair_stop(self) -> int:
        """First column of the compact layout behind the pairs."""
        return 1 + self.n_elements * self.n_distance

    def columns_in(self, other: TypeTable) -> NDArray[np.int64]:
        """Find the columns of the compact layout in that of more elements, on the same grids; (width,)."""
        places = other.element_index[list(self.numbers)]
        pairs = 1 + places[:, None] * self.n_distance + np.arange(self.n_distance)
        first, second = np.array(list(combinations_with_replacement(places.tolist(), 2))).T
        triangles = other.pair_stop + other.pair_index[first, second][:, None] * self.n_angle + np.arange(self.n_angle)
        return np.concatenate([[0], pairs.ravel(), triangles.ravel()])

    def block_width(self, of: Sequence[int]) -> int:
        """Give the number of columns of a type."""
        return (1, self.n_distance, self.n_angle)[len(of) - 1]

    @cached_property
    def element_index(self) -> NDArray[np.int64]:
        """Position of every atomic number in ``numbers``, -1 for others; (119,)."""
        table = np.full(119, -1)
        table[list(self.numbers)] = np.arange(self.n_elements)
        return table

    @cached_property
    def pair_index(self) -> NDArray[np.int64]:
        """Position of the unordered pair of two elements (as indices) among all pairs; (elements, elements)."""
        table = np.empty((self.n_elements, self.n_elements), dtype=np.int64)
        for index, (a, b) in enumerate(combinations_with_replacement(range(self.n_elements), 2)):
            table[a, b] = table[b, a] = index
        return table

    def column(self, centre: int, of: Sequence[int]) -> int | None:
        """Find a type's block in the compact rows of an element.

        Parameters
        ----------
        centre : int
            Atomic number of the atom.
        of : sequence of int
            A type as in ``types``.

        Returns
        -------
        int or None
            First column of the block, None where the element has no such block.

        Notes
        -----
        Law: copying all blocks of all elements gives the full layout (``test_molecules_equal_the_public_program``).
        """
        index = [int(i) for i in self.element_index[list(of)]]
        if len(of) == 1:
            return 0 if of[0] == centre else None
        if len(of) == 2:
            if centre not in of:
                return None
            other = index[1] if of[0] == centre else index[0]
            return 1 + other * self.n_distance
        if of[1] != centre:
            return None
        return self.pair_stop + int(self.pair_index[index[0], index[2]]) * self.n_angle
