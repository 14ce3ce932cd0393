"""One Kekule structure of a bond graph: multiple bonds that use up the valences which single bonds leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["Edge", "double_bonds"]


@dataclass(frozen=True)
class Edge:
    """Hold one bond; two atoms of a crystal may share several, and an atom may be bonded to its own image."""

    index: int
    i: int
    j: int


def double_bonds(edges: Sequence[Edge], missing: Sequence[int]) -> tuple[dict[int, int], tuple[int, ...]]:
    """Distribute additional bonds over edges so that every atom gets what it misses.

    Parameters
    ----------
    edges : sequence of Edge
        The preferred ones (the short ones) first.
    missing : sequence of int, (N,)
        Bonds that each atom can still make.

    Returns
    -------
    added : dict of int to int
        Index of an edge -> bonds added to it (at most 2), where there are any.
    unpaired : tuple of int
        Atoms that are left with one bond unmade: at most one per connected group of atoms that miss bonds, and none
        where that is possible.

    Raises
    ------
    ValueError
        If even one unpaired electron per group does not help.
    """
    useful = [edge for edge in edges if edge.i != edge.j and missing[edge.i] > 0 and missing[edge.j] > 0]
    at: dict[int, list[Edge]] = {atom: [] for atom, count in enumerate(missing) if count > 0}
    for edge in useful:
        at[edge.i].append(edge)
        at[edge.j].append(edge)
    added: dict[int, int] = {}
    unpaired: list[int] = []
    for group in _groups(at):
        needs = {atom: missing[atom] for atom in group}
        found = _solve(at, needs) if sum(needs.values()) % 2 == 0 else None
        if found is None:
            found, lonely = _with_one_less(at, needs)
            unpaired.append(lonely)
        for index in found:
            added[index] = added.get(index, 0) + 1
    return added, tuple(sorted(unpaired))


def _with_one_less(at: dict[int, list[Edge]], needs: dict[int, int]) -> tuple[list[int], int]:
    """Leave one atom unpaired, the one with the fewest partners first."""
    for atom in sorted(needs, key=lambda a: (len(at[a]), a)):
        less = {other: count - (other == atom) for other, count in needs.items()}
        found = _solve(at, less) if sum(less.values()) % 2 == 0 else None
        if found is not None:
            return found, atom
    raise ValueError(f"no bond orders fit atoms {sorted(needs)[:10]}, which miss bonds")


def _groups(at: dict[int, list[Edge]]) -> list[set[int]]:
    """Split atoms into groups connected by edges."""
    left, groups = set(at), []
    while left:
        group, border = set(), {left.pop()}
        while border:
            group |= border
            border = {end for atom in border for edge in at[atom] for end in (edge.i, edge.j)} - group
        left -= group
        groups.append(group)
    return groups


def _solve(at: dict[int, list[Edge]], needs: dict[int, int]) -> list[int] | None:
    """Return the edges that get one bond more each (an edge may occur twice), or None."""
    open_atoms = [atom for atom, count in needs.items() if count > 0]
    if not open_atoms:
        return []

    def partners(atom: int) -> list[Edge]:
        return [edge for edge in at[atom] if needs[edge.i] > 0 and needs[edge.j] > 0]

    atom = min(open_atoms, key=lambda a: (len(partners(a)), a))
    for edge in partners(atom):
        rest = _solve(at, {**needs, edge.i: needs[edge.i] - 1, edge.j: needs[edge.j] - 1})
        if rest is not None:
            return [edge.index, *rest]
    return None
