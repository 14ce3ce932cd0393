"""What depends on the elements and pairs of a batch but not on its geometry: found once, on the host, and kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.models.phisnet.assembly import AOPlan, Assembly
from ase_mlwave.systems.batch import SystemBatch

__all__ = ["BatchPlan", "Kind", "all_pairs", "coefficient_places", "make_plan"]


@dataclass(frozen=True)
class Kind:
    """Atoms of one element (named by its symbol), or pairs of two, that stand together from ``start`` to ``stop``."""

    name: str
    start: int
    stop: int


@dataclass(frozen=True)
class BatchPlan:
    """The order in which a network computes a batch: atoms by their elements, pairs by those of both atoms.

    Parameters
    ----------
    atoms, place : Tensor, (N,)
        Atoms of the batch in the network's order, and the place of each atom of the batch in it.
    pairs : Tensor, (E,)
        Pairs of the batch in the network's order.
    element : Tensor, (N,)
        Index of the element of each atom, in the network's order, as `first` and `second`.
    first, second : Tensor, (E,)
        Atoms of each pair.
    near : (Tensor (n,), Tensor (n,), Tensor (n,)) or None
        Pairs that exchange messages, with their first and second atoms; None for all.
    atom_kinds, pair_kinds : tuple of Kind
        Elements and pairs of elements present.
    assembly : Assembly
        Where blocks of atoms, then of pairs, stand in the matrices.
    sources : Tensor
        As of `ase_mlwave.models.phisnet.blocks.block_sources`, for these kinds; empty without blocks.
    coefficients : Tensor
        As of `coefficient_places`, for a learned potential; otherwise empty.
    mates : (Tensor (m,), Tensor (m,)), optional
        Of a learned potential: the atoms of all pairs of two that are in one molecule, each pair once.
    """

    atoms: Tensor
    place: Tensor
    pairs: Tensor
    element: Tensor
    first: Tensor
    second: Tensor
    near: tuple[Tensor, Tensor, Tensor] | None
    atom_kinds: tuple[Kind, ...]
    pair_kinds: tuple[Kind, ...]
    assembly: Assembly
    sources: Tensor
    coefficients: Tensor
    mates: tuple[Tensor, Tensor] | None = None

    @property
    def kinds(self) -> tuple[str, ...]:
        """Names of all kinds, those of atoms first."""
        return tuple(kind.name for kind in (*self.atom_kinds, *self.pair_kinds))


def make_plan(
    batch: SystemBatch,
    functions: Mapping[int, int],
    element: Tensor,
    sources: Callable[[tuple[str, ...], list[int]], Tensor] | None,
    auxiliary: Mapping[int, int] | None,
    near: NDArray[np.bool_] | None,
    device: torch.device,
) -> BatchPlan:
    """Order atoms and pairs.

    Parameters
    ----------
    batch : SystemBatch
        On the CPU; its positions do not matter.
    functions : mapping of atomic number to int
        Basis functions of each of the model's elements.
    element : Tensor, (N,)
        Index of each atom's element.
    sources : callable
        Gives `BatchPlan.sources`, on the host, for names of kinds and numbers of blocks; None without blocks.
    auxiliary : mapping of atomic number to int
        Functions of each element in the auxiliary basis of a learned potential; None without one.
    near : ndarray or None, (E,)
        Which pairs exchange messages; None for all.
    device : torch.device
        Where the plan is needed.

    Returns
    -------
    BatchPlan
    """
    numbers, first, second = batch.numbers.numpy(), batch.first.numpy(), batch.second.numpy()
    atoms, elements = _sorted(numbers)
    pairs, kinds = _sorted(numbers[first] * 1000 + numbers[second])
    place = np.argsort(atoms)
    first, second = place[first[pairs]], place[second[pairs]]

    def there(array: NDArray[Any]) -> Tensor:
        return torch.from_numpy(array).to(device)

    among = None
    if near is not None:
        chosen = np.flatnonzero(near[pairs])
        among = (there(chosen), there(first[chosen]), there(second[chosen]))
    atom_kinds = tuple(Kind(chemical_symbols[z], start, stop) for z, start, stop in elements)
    pair_kinds = tuple(
        Kind(f"{chemical_symbols[kind // 1000]}-{chemical_symbols[kind % 1000]}", start, stop)
        for kind, start, stop in kinds
    )
    ao, on_device = AOPlan(batch, functions, device), there(atoms)
    source, blocks = torch.empty(0, dtype=torch.int64), []
    if sources is not None:
        all_kinds = (*atom_kinds, *pair_kinds)
        source = sources(tuple(kind.name for kind in all_kinds), [kind.stop - kind.start for kind in all_kinds])
        both = on_device[there(first)], on_device[there(second)]
        members = [(on_device[start:stop],) * 2 for _, start, stop in elements]
        members += [(both[0][start:stop], both[1][start:stop]) for _, start, stop in kinds]
        shapes = [(functions[z], functions[z]) for z, _, _ in elements]
        shapes += [(functions[kind // 1000], functions[kind % 1000]) for kind, _, _ in kinds]
        blocks = [(*atoms, shape) for atoms, shape in zip(members, shapes, strict=True)]
    places, mates = np.empty(0, dtype=np.int64), None
    if auxiliary is not None:
        places = coefficient_places(numbers, auxiliary, atoms)
        left, right = (there(place[one]) for one in all_pairs(batch.n_atoms))
        mates = (left, right)
    return BatchPlan(
        atoms=on_device,
        place=there(place),
        pairs=there(pairs),
        element=there(element.numpy()[atoms]),
        first=there(first),
        second=there(second),
        near=among,
        atom_kinds=atom_kinds,
        pair_kinds=pair_kinds,
        assembly=Assembly.of(ao, blocks),
        sources=source.to(device),
        coefficients=there(places),
        mates=mates,
    )


def all_pairs(n_atoms: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Give the atoms of all pairs within each molecule of a batch, each pair once.

    Parameters
    ----------
    n_atoms : sequence of int, (B,)
        Atoms of each molecule.

    Returns
    -------
    ndarray, (m,), ndarray, (m,)
    """
    starts = np.cumsum([0, *n_atoms])
    pairs = [np.stack(np.triu_indices(n, 1)) + start for n, start in zip(n_atoms, starts, strict=False)]
    first, second = np.concatenate(pairs, 1)
    return first, second


def coefficient_places(
    numbers: NDArray[np.int64], functions: Mapping[int, int], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Tell where coefficients of atoms, in the batch's order, stand among those of the atoms in the network's order.

    Parameters
    ----------
    numbers : ndarray, (N,)
        Atomic numbers of all atoms of a batch.
    functions : mapping of int to int
        Auxiliary functions of each element.
    order : ndarray, (N,)
        Places of the network's atoms in the batch.

    Returns
    -------
    ndarray, (sum of functions,)
    """
    widths = np.array([functions[z] for z in numbers.tolist()])
    starts = np.empty_like(widths)
    starts[order] = np.cumsum(widths[order]) - widths[order]
    return np.concatenate([start + np.arange(width) for start, width in zip(starts, widths, strict=True)])


def _sorted(keys: NDArray[np.int64]) -> tuple[NDArray[np.int64], list[tuple[int, int, int]]]:
    """Sort by keys: the order, and for each key where it stands, (key, start, stop)."""
    order = np.argsort(keys, kind="stable")
    found, starts, counts = np.unique(keys[order], return_index=True, return_counts=True)
    return order, list(zip(found.tolist(), starts.tolist(), (starts + counts).tolist(), strict=True))
