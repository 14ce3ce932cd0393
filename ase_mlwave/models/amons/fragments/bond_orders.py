"""Bond orders and formal charges of atoms whose neighbours are known: the least charged of all Lewis structures.

An integer program: every atom takes one of the states that its element and its number of neighbours allow (a valence
and a charge, at a cost), the bonds at it add up to its valence, and the charges add up to that of the structure. The
cheapest solution does not depend on the order of the atoms, and serves molecules and infinite bond graphs alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase.data import chemical_symbols
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import coo_array, csr_array

__all__ = ["ELEMENTS", "Edge", "LewisStructure", "NoLewisStructureError", "lewis_structure"]

#: Element -> valence electrons.
_ELECTRONS = {
    1: 1, 5: 3, 6: 4, 7: 5, 8: 6, 9: 7, 13: 3, 14: 4, 15: 5, 16: 6, 17: 7, 31: 3, 32: 4, 33: 5, 34: 6, 35: 7, 50: 4,
    51: 5, 52: 6, 53: 7, 2: 8, 10: 8, 18: 8, 36: 8, 54: 8,
}  # fmt: skip
#: Elements whose bonds are known.
ELEMENTS = frozenset(_ELECTRONS)
_SECOND_PERIOD, _OCTET = 10, 8
#: Element -> cost of a positive and of a negative charge (of others in its group, those of the last one).
_POSITIVE = {5: 60.0, 6: 40.0, 7: 10.0, 8: 16.0, 14: 30.0, 15: 10.0, 16: 12.0, 17: 28.0, 35: 26.0, 53: 24.0}
_NEGATIVE = {5: 10.0, 6: 30.0, 7: 12.0, 8: 8.0, 9: 8.0, 13: 10.0, 14: 25.0, 15: 18.0, 16: 8.0, 17: 8.0}
_OTHER_CHARGES = 30.0
#: Cost of two bonds beyond the octet, of an unpaired electron, and of every neighbour of a negative atom (O- rather
#: than N-, and the end of an azide rather than its middle).
_BEYOND_OCTET, _UNPAIRED, _INNER = 2.0, 30.0, 0.5
#: Nitrogen of five bonds stands for N+ beside a negative atom (nitro groups, N-oxides, azides) while structures are
#: compared: such pairs cost less than charges apart.
_NITROGEN, _FIVE, _PAIR_OF_CHARGES = 7, 5, 4.0
#: Lengths of single, double and triple bonds in sums of covalent radii, and the cost of a squared deviation: it decides
#: between structures of equal charges.
_USUAL, _STIFFNESS = (1.0, 0.87, 0.79), 5.0
_TIME_LIMIT = 60.0


class NoLewisStructureError(ValueError):
    """Atoms have more neighbours than bonds to give, or no charges add up."""


@dataclass(frozen=True)
class Edge:
    """Hold one bond; two atoms of a crystal may share several, and an atom may be bonded to its own image.

    Parameters
    ----------
    i, j : int
        Its atoms.
    stretch : float
        Its length in sums of covalent radii.
    """

    i: int
    j: int
    stretch: float = 1.0


@dataclass(frozen=True)
class LewisStructure:
    """Hold bond orders and formal charges.

    Parameters
    ----------
    orders : tuple of int, (E,)
        1, 2 or 3 for every edge.
    charges : tuple of int, (N,)
        Formal charges, elementary charges.
    unpaired : tuple of int, (N,)
        Bonds that are left unmade.
    """

    orders: tuple[int, ...]
    charges: tuple[int, ...]
    unpaired: tuple[int, ...]


@dataclass(frozen=True)
class _State:
    """What an atom may be: its valence, its charge, and the cost of that."""

    valence: int
    charge: int
    cost: float


def lewis_structure(numbers: Sequence[int], edges: Sequence[Edge], charge: int) -> LewisStructure:
    """Find the least charged Lewis structure.

    Parameters
    ----------
    numbers : sequence of int, (N,)
        Atomic numbers, among ``ELEMENTS``.
    edges : sequence of Edge, (E,)
        The bonds; every neighbour is bonded at least once.
    charge : int
        Sum of the formal charges, elementary charges.

    Returns
    -------
    LewisStructure
        With as few unpaired electrons as can be, then with as few charges (on atoms that bear them well), then with
        multiple bonds where the bonds are short.

    Raises
    ------
    NoLewisStructureError
        If an atom has too many neighbours, or no charges add up to what is asked for.

    Notes
    -----
    Independent of the order of atoms and edges (``test_lewis_structure_does_not_depend_on_the_order_of_atoms``): where
    several structures cost the same, invariants of the atoms' surroundings decide.
    """
    order = _canonical_order(numbers, edges)
    place = {atom: index for index, atom in enumerate(order)}
    ends = [sorted((place[edge.i], place[edge.j])) for edge in edges]
    sequence = sorted(range(len(edges)), key=lambda e: (ends[e], edges[e].stretch))
    solution = _solve(
        [numbers[atom] for atom in order],
        [Edge(ends[e][0], ends[e][1], round(edges[e].stretch, 4)) for e in sequence],
        charge,
        order,
    )
    orders = dict(zip(sequence, solution.orders, strict=True))
    return LewisStructure(
        tuple(orders[e] for e in range(len(edges))),
        tuple(solution.charges[place[atom]] for atom in range(len(numbers))),
        tuple(solution.unpaired[place[atom]] for atom in range(len(numbers))),
    )


def _states(number: int, n_neighbours: int) -> list[_State]:
    """List what an atom with so many neighbours may be, neutral states first."""
    states = []
    electrons = _ELECTRONS[number]
    for charge in (0, 1, -1):
        shell = electrons - charge
        if (charge and number in (1, 2)) or not 0 <= shell <= _OCTET:
            continue
        lowest = min(shell, _OCTET - shell) if number > 1 else 1
        highest = shell if number > _SECOND_PERIOD and _OCTET - shell < shell < _OCTET else lowest
        cost = _charge_cost(number, charge) + (_INNER * n_neighbours if charge < 0 else 0.0)
        states += [
            _State(valence, charge, cost + _BEYOND_OCTET * (valence - lowest) / 2)
            for valence in range(lowest, highest + 1, 2)
            if valence >= n_neighbours
        ]
    if number == _NITROGEN and n_neighbours < _FIVE:
        states.append(_State(_FIVE, 0, _PAIR_OF_CHARGES))
    return states


def _charge_cost(number: int, charge: int) -> float:
    table = {1: _POSITIVE, 0: {}, -1: _NEGATIVE}[charge]
    group = [z for z in table if _ELECTRONS[z] == _ELECTRONS[number] and z <= number]
    return 0.0 if charge == 0 else table.get(max(group, default=0), _OTHER_CHARGES)


def _solve(numbers: Sequence[int], edges: Sequence[Edge], charge: int, names: Sequence[int]) -> LewisStructure:
    """Solve the integer program, and read its solution."""
    n = len(numbers)
    counts = np.bincount([atom for edge in edges for atom in (edge.i, edge.j)], minlength=n)
    states = [_states(z, int(count)) for z, count in zip(numbers, counts, strict=True)]
    _refuse_crowded(numbers, counts, states, names)
    flat = [state for some in states for state in some]
    matrix = _constraints(states, counts, edges)
    most = np.array([max(state.valence for state in some) for some in states]) - counts
    open_edges = [edge.i != edge.j and min(most[edge.i], most[edge.j]) > 0 for edge in edges]
    lengths = [_STIFFNESS * _gain(edge.stretch, extra) for edge in edges for extra in (1, 2)]
    right_sides = np.concatenate([np.zeros(n), np.ones(n), [charge]])
    solution = milp(
        np.array([*(state.cost for state in flat), *[_UNPAIRED] * n, *lengths]),
        integrality=np.ones(matrix.shape[1]),
        bounds=Bounds(0, np.concatenate([np.ones(len(flat)), most, np.repeat(np.array(open_edges, dtype=float), 2)])),
        constraints=LinearConstraint(matrix, right_sides, right_sides),
        options={"mip_rel_gap": 0.0, "time_limit": _TIME_LIMIT},
    )
    if solution.x is None:
        raise NoLewisStructureError(f"no formal charges add up to {charge}")
    taken, missing, extra = np.split(np.rint(solution.x).astype(int), [len(flat), len(flat) + n])
    orders = [int(1 + more) for more in extra.reshape(-1, 2).sum(axis=1)]
    charges = [flat[column].charge for column in np.flatnonzero(taken)]
    for atom, column in enumerate(np.flatnonzero(taken)):
        if numbers[atom] == _NITROGEN and flat[column].valence == _FIVE:
            _separate_charges(atom, numbers, edges, orders, charges)
    return LewisStructure(tuple(orders), tuple(charges), tuple(int(count) for count in missing))


def _separate_charges(
    nitrogen: int, numbers: Sequence[int], edges: Sequence[Edge], orders: list[int], charges: list[int]
) -> None:
    """Write N+ and a negative neighbour for nitrogen of five bonds, in place: O- before N-, ends before middles."""
    degrees = Counter(atom for edge in edges for atom in (edge.i, edge.j))
    multiple = [
        (_charge_cost(numbers[other], -1), degrees[other], -edge.stretch, other, index)
        for index, edge in enumerate(edges)
        if orders[index] > 1 and nitrogen in (edge.i, edge.j)
        for other in (edge.i + edge.j - nitrogen,)
        if charges[other] == 0
    ]
    if multiple:  # else it lacks bonds
        *_, other, index = min(multiple)
        orders[index] -= 1
        charges[nitrogen], charges[other] = 1, -1


def _refuse_crowded(
    numbers: Sequence[int], counts: NDArray[np.int64], states: Sequence[Sequence[_State]], names: Sequence[int]
) -> None:
    crowded = sorted((names[atom], atom) for atom, some in enumerate(states) if not some)
    if crowded:
        listed = ", ".join(f"{chemical_symbols[numbers[atom]]}{name} ({counts[atom]})" for name, atom in crowded[:10])
        raise NoLewisStructureError(f"atoms have more neighbours than they have bonds to give: {listed}")


def _constraints(states: Sequence[Sequence[_State]], counts: NDArray[np.int64], edges: Sequence[Edge]) -> csr_array:
    """Return the coefficients of the program's equations.

    Columns: one per state of every atom, one per atom for the bonds that it lacks, and two per edge (its second and its
    third bond). Rows: of every atom the bonds that it needs less those that it gets (0), and its states (1); the sum of
    the charges.
    """
    n, flat = len(states), [state for some in states for state in some]
    owner = np.repeat(np.arange(n), [len(some) for some in states])
    valence, charge = (np.array([getattr(state, name) for state in flat]) for name in ("valence", "charge"))
    column, total = np.arange(len(flat)), np.full(len(flat), 2 * n)
    ends = np.array([[edge.i, edge.j] for edge in edges], dtype=np.int64).reshape(-1, 2)
    bonds = len(flat) + n + np.arange(2 * len(edges))
    entries = [
        (owner, column, valence - counts[owner]),
        (n + owner, column, np.ones(len(flat))),
        (total, column, charge),
        (np.arange(n), len(flat) + np.arange(n), -np.ones(n)),
        (np.repeat(ends[:, 0], 2), bonds, -np.ones(len(bonds))),
        (np.repeat(ends[:, 1], 2), bonds, -np.ones(len(bonds))),
    ]
    rows, columns, values = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    shape = (2 * n + 1, len(flat) + n + len(bonds))
    return coo_array((values.astype(np.float64), (rows, columns)), shape=shape).tocsr()


def _gain(stretch: float, extra: int) -> float:
    """Return how much worse the length of a bond fits once it has one bond more."""
    return float((stretch - _USUAL[extra]) ** 2 - (stretch - _USUAL[extra - 1]) ** 2)


def _canonical_order(numbers: Sequence[int], edges: Sequence[Edge]) -> list[int]:
    """Order atoms by invariants of their surroundings, refined until they tell no more atoms apart."""
    around: list[list[tuple[float, int]]] = [[] for _ in numbers]
    for edge in edges:
        around[edge.i].append((round(edge.stretch, 4), edge.j))
        around[edge.j].append((round(edge.stretch, 4), edge.i))
    colours = _ranked([(number, len(near)) for number, near in zip(numbers, around, strict=True)])
    while True:
        finer = _ranked(
            [
                (colour, sorted((length, colours[at]) for length, at in near))
                for colour, near in zip(colours, around, strict=True)
            ]
        )
        if max(finer, default=0) == max(colours, default=0):
            return sorted(range(len(numbers)), key=lambda atom: (finer[atom], atom))
        colours = finer


def _ranked(keys: Sequence[tuple[object, object]]) -> list[int]:
    """Replace keys by their places among the different ones."""
    distinct = {repr(key): key for key in keys}
    place = {text: rank for rank, (text, _) in enumerate(sorted(distinct.items(), key=lambda item: item[1]))}
    return [place[repr(key)] for key in keys]
