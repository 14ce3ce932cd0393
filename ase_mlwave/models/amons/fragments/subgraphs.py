"""Every connected induced subgraph of a graph, each exactly once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

__all__ = ["connected_subgraphs", "rings"]


def connected_subgraphs(
    neighbours: Sequence[Sequence[int]], largest: int, roots: Iterable[int] | None = None
) -> Iterator[tuple[int, ...]]:
    """Enumerate the connected induced subgraphs with at most ``largest`` nodes.

    Parameters
    ----------
    neighbours : sequence of sequences of int
        Adjacent nodes of each node.
    largest : int
        Number of nodes of the largest subgraph, at least 1.
    roots : iterable of int, optional
        Nodes of which one must be the smallest of the subgraph; all by default.

    Yields
    ------
    tuple of int
        Nodes, ascending.

    Notes
    -----
    Each subgraph comes once (``test_every_connected_subgraph_comes_once``), from its smallest node: it grows only by
    nodes larger than that one which no earlier node of it was adjacent to. Memory is that of one path of the
    recursion; time is linear in the number of subgraphs, and so in the size of a molecule.
    Source: Wernicke, IEEE/ACM Trans. Comput. Biol. Bioinf. 3, 347 (2006), ESU.
    """
    if largest < 1:
        return

    def grow(nodes: tuple[int, ...], frontier: frozenset[int], seen: frozenset[int]) -> Iterator[tuple[int, ...]]:
        yield tuple(sorted(nodes))
        if len(nodes) == largest:
            return
        candidates = set(frontier)
        while candidates:
            node = candidates.pop()
            fresh = {other for other in neighbours[node] if other > nodes[0] and other not in seen}
            yield from grow((*nodes, node), frozenset(candidates | fresh), seen | fresh)

    for root in range(len(neighbours)) if roots is None else roots:
        frontier = frozenset(other for other in neighbours[root] if other > root)
        yield from grow((root,), frontier, frontier | {root})


def rings(neighbours: Sequence[Sequence[int]], largest: int = 7) -> tuple[frozenset[int], ...]:
    """Find the rings that are not the union of two smaller ones.

    Parameters
    ----------
    neighbours : sequence of sequences of int
        Adjacent nodes of each node.
    largest : int
        Largest number of members.

    Returns
    -------
    tuple of frozenset of int
        Members of each ring, smaller rings first; a ring is told by its members.
    """
    cycles: set[frozenset[int]] = set()

    def walk(path: tuple[int, ...]) -> None:
        for node in neighbours[path[-1]]:
            if node == path[0] and len(path) > 2:
                cycles.add(frozenset(path))
            elif node > path[0] and node not in path and len(path) < largest:
                walk((*path, node))

    for root in range(len(neighbours)):
        walk((root,))
    return _simple(sorted(cycles, key=lambda ring: (len(ring), sorted(ring))))


def _simple(cycles: Sequence[frozenset[int]]) -> tuple[frozenset[int], ...]:
    """Leave out every ring that is the union of two smaller ones."""
    at: dict[int, list[frozenset[int]]] = {}
    for ring in cycles:
        for node in ring:
            at.setdefault(node, []).append(ring)
    simple = []
    for ring in cycles:
        inside = {other for node in ring for other in at[node] if other < ring}
        if not any(one | two == ring for one in inside for two in inside):
            simple.append(ring)
    return tuple(simple)
