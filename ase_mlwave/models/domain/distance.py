"""The distance of an atom's surroundings from those that a model was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial.distance import cdist
from torch import Tensor, nn

from ase_mlwave.models.domain.bonds import kinds_of_atoms
from ase_mlwave.models.domain.surroundings import describe, n_features
from ase_mlwave.systems.system import System

__all__ = ["DistanceFromTraining"]

Array = NDArray[np.float64]

#: Share of the training surroundings that lie nearer than 1 to those of other sum formulas.
_SHARE = 0.95
#: Smallest unit of distances: what thermal motion changes.
_LEAST = 0.2
#: Least distance of an atom whose bonds no training atom has: past the threshold of a warning, short of the limit.
_UNKNOWN_BONDS = 1.3


class DistanceFromTraining(nn.Module):
    """Measure how far the surroundings of atoms are from the nearest that were trained on.

    Parameters
    ----------
    numbers : sequence of int
        Atomic numbers of the model's elements, in order.
    n_kept : int
        Training surroundings that are kept of every element; 0 for no measure.
    n_kinds : int
        Kinds of bonded training atoms (`ase_mlwave.models.domain.bonds`) that are kept, of more the most frequent; 0 to
        look at surroundings alone.

    Notes
    -----
    The unit of the distance is, element by element, that below which 95 % of the training surroundings find one of
    another sum formula. What is kept are the surroundings farthest from one another, so that none is far from all.
    An atom whose bonds no training atom has, such as those of an azide or a nitro group, is at least 1.3 away: sums
    over all that surrounds an atom hardly tell it from others.
    Laws: ``test_distance_grows_outside``, ``test_atoms_with_unknown_bonds_are_outside``.
    """

    known: Tensor
    """(E, K, D) surroundings, half precision."""
    unit: Tensor
    """(E,) distances that count as 1; tiny where an element was not in the training data: all its atoms are far."""

    kinds: Tensor
    """(n_kinds,) of bonded training atoms, int64; not there where none are kept."""

    def __init__(self, numbers: Sequence[int], n_kept: int, n_kinds: int = 0) -> None:
        super().__init__()
        self.numbers = tuple(numbers)
        shape = (len(numbers), n_kept, n_features(len(numbers)) if n_kept else 0)
        self.register_buffer("known", torch.zeros(shape, dtype=torch.float16))
        self.register_buffer("unit", torch.ones(len(numbers) if n_kept else 0, dtype=torch.float64))
        self.n_kinds = n_kinds if n_kept else 0
        if self.n_kinds:
            self.register_buffer("kinds", torch.zeros(n_kinds, dtype=torch.int64))
        self._copied: tuple[Any, tuple[Tensor, ...], tuple[Array, ...]] | None = None

    @property
    def measures(self) -> bool:
        """Whether the model has a measure."""
        return self.known.shape[1] > 0

    def forward(self, system: System) -> Array:
        """Measure the atoms of one molecule.

        Parameters
        ----------
        system : System
            All its elements are among the model's.

        Returns
        -------
        ndarray, (N,)
            Dimensionless; about 1 and less for what the model knows.
        """
        x = describe(system, self.numbers)
        known, unit = self._on_host()
        distances = np.zeros(len(system))
        for index, z in enumerate(self.numbers):
            of_element = system.numbers == z
            if of_element.any():
                distances[of_element] = cdist(x[of_element], known[index]).min(axis=1) / unit[index]
        if self.n_kinds:
            unknown = ~np.isin(kinds_of_atoms(system), self.kinds.cpu().numpy())
            distances[unknown] = np.maximum(distances[unknown], _UNKNOWN_BONDS)
        return distances

    def _on_host(self) -> tuple[Array, ...]:
        """Return the buffers in double precision on the host, copied only where they have changed."""
        buffers = (self.known, self.unit)
        state = [(id(buffer), buffer._version) for buffer in buffers]  # kept alive below: no other has their id
        if self._copied is None or self._copied[0] != state:
            self._copied = (state, buffers, tuple(buffer.cpu().double().numpy() for buffer in buffers))
        return self._copied[2]

    def fit(self, systems: Sequence[System]) -> None:
        """Learn what training surroundings look like.

        Parameters
        ----------
        systems : sequence of System
            The training molecules.
        """
        if self.n_kinds:
            kinds, numbers = np.unique(np.concatenate([kinds_of_atoms(s) for s in systems]), return_counts=True)
            frequent = kinds[np.argsort(-numbers, kind="stable")[: self.n_kinds]]
            self.kinds.copy_(torch.from_numpy(np.resize(frequent, self.n_kinds)))
        described = [describe(system, self.numbers) for system in systems]
        for index, z in enumerate(self.numbers):
            x = np.concatenate([values[s.numbers == z] for values, s in zip(described, systems, strict=True)])
            counts = [int((system.numbers == z).sum()) for system in systems]
            formulas = np.repeat([system.formula for system in systems], counts)
            if not len(x):
                self.unit[index] = 1e-6  # whatever has the element is far from all
                continue
            groups = formulas if len(set(formulas.tolist())) > 1 else np.repeat(np.arange(len(systems)), counts)
            selected = _farthest_points(x, self.known.shape[1])
            self.known[index] = torch.from_numpy(x[np.resize(selected, self.known.shape[1])])
            distances = cdist(x, x[selected])
            distances[groups[:, None] == groups[selected]] = np.inf
            nearest = distances.min(axis=1)
            nearest = nearest[np.isfinite(nearest)]
            self.unit[index] = max(_LEAST, float(np.quantile(nearest, _SHARE))) if len(nearest) else _LEAST


def _farthest_points(x: Array, n: int) -> NDArray[np.int64]:
    """Choose at most n rows, each the farthest from those before."""
    selected = [int(np.linalg.norm(x - x.mean(axis=0), axis=1).argmax())]
    distances = np.linalg.norm(x - x[selected[0]], axis=1)
    while len(selected) < n and distances.max() > 0:
        selected.append(int(distances.argmax()))
        distances = np.minimum(distances, np.linalg.norm(x - x[selected[-1]], axis=1))
    return np.array(selected)
