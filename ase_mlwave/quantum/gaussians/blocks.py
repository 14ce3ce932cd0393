"""From derivatives of prefactors and potentials to matrix elements of pairs of shells, and back.

Elements are linear in the derivatives K of overlap and kinetic energy, and those of potentials bilinear in K and the
derivatives V of the potential: sum_fh c_fh K_f V_h. Of many pairs of one class the sums are matrix products with
constants; of few pairs of many classes all products are listed, one by one, so that a handful of kernels serves all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from ase_mlwave.quantum.gaussians.cartesians import n_components, n_derivatives, product_rule
from ase_mlwave.quantum.gaussians.pairlist import Pairs

__all__ = ["Block", "Products", "make_blocks", "powers"]

#: Products that are listed, of a group, at most: 24 bytes each.
_MOST_PRODUCTS, _MOST_PRODUCTS_ON_GPU = 2**14, 2**20


@dataclass(frozen=True)
class _Formula:
    """Constant matrices of pairs of angular momenta, with F features and H derivatives up to the order la + lb.

    Parameters
    ----------
    order : int
        la + lb.
    features : Tensor, (F,)
        Derivative of the Gaussian product's prefactor in each feature.
    overlap : Tensor, ((2 la + 1)(2 lb + 1), n_components(order))
        From derivatives of the order la + lb to matrix elements of operators that do not sit on a nucleus.
    potential : Tensor, ((2 la + 1)(2 lb + 1) H, F)
        See `product_rule`.
    """

    order: int
    features: Tensor
    overlap: Tensor
    potential: Tensor


@dataclass(frozen=True)
class Block:
    """Pairs of one class, within a group of the order L.

    Parameters
    ----------
    pairs : slice
        Where they are in the group.
    height : int
        Derivatives of the orders 0 .. L.
    formula : _Formula
        Of their angular momenta.
    weights : Tensor, (F, P)
        w_a^s w_b^t of each feature.
    targets : Tensor, (elements P,)
        Where the elements belong in all primitive matrices, one behind the other.
    """

    pairs: slice
    height: int
    formula: _Formula
    weights: Tensor
    targets: Tensor

    @property
    def _shape(self) -> tuple[int, int]:
        """Matrix elements of a pair, and pairs."""
        return len(self.formula.overlap), self.weights.shape[1]

    @property
    def _highest(self) -> slice:
        """Derivatives of the order la + lb."""
        return slice(n_derivatives(self.formula.order - 1), n_derivatives(self.formula.order))

    def select(self, kept: Tensor, start: int) -> Block:
        """Leave out all pairs but those with these places in the group, (P',), and begin elsewhere in it."""
        inside = kept[(kept >= self.pairs.start) & (kept < self.pairs.stop)] - self.pairs.start
        targets = self.targets.view(self._shape)[:, inside].reshape(-1)
        pairs = slice(start, start + len(inside))
        return replace(self, pairs=pairs, weights=self.weights[:, inside], targets=targets)

    def hermite(self, overlaps: Tensor) -> Tensor:
        """Compute, from derivatives of overlaps (H, P), what potentials are multiplied with: (elements, H', P)."""
        features = overlaps[:, self.pairs].index_select(0, self.formula.features) * self.weights
        return (self.formula.potential @ features).view(self._shape[0], -1, self._shape[1])

    def elements(self, prefactors: Tensor, hermite: Tensor | None, potential: Tensor | None) -> Tensor:
        """Compute elements of overlap, kinetic energy and potentials, (2 + V, elements P).

        Parameters
        ----------
        prefactors : Tensor, (2, H, P)
            Derivatives of overlap and kinetic energy, of the whole group.
        hermite : Tensor or None
            From `hermite`.
        potential : Tensor or None, (V, H, P)
            Derivatives of potentials, of the whole group.
        """
        both = (self.formula.overlap @ prefactors[:, self._highest, self.pairs]).flatten(1)
        if hermite is None or potential is None:
            return both
        values = hermite * potential[:, None, : hermite.shape[1], self.pairs]
        return torch.cat([both, values.sum(2).flatten(1)])

    def gradient(
        self, incoming: Tensor, hermite: Tensor | None, potential: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Carry a gradient (2 + V, elements P) to derivatives of prefactors (2, H, P) and potentials (V, H, P)."""
        given = incoming.view(len(incoming), *self._shape)
        below = self.height - n_derivatives(self.formula.order)
        of_prefactors = pad(self.formula.overlap.t() @ given[:2], (0, 0, self._highest.start, below))
        if hermite is None or potential is None:
            return of_prefactors, None
        weights = given[2:, :, None]  # (V, elements, 1, P)
        densities = pad((hermite * weights).sum(1), (0, 0, 0, below))
        of_hermite = (weights * potential[:, None, : hermite.shape[1], self.pairs]).sum(0).flatten(0, 1)
        of_features = (self.formula.potential.t() @ of_hermite) * self.weights
        of_prefactors[0].index_add_(0, self.formula.features, of_features)
        return of_prefactors, densities


@dataclass(frozen=True)
class Products:
    """Few pairs of several classes: all of a group of the order L.

    Parameters
    ----------
    shape : tuple of int
        Derivatives of the orders 0 .. L, and pairs.
    targets : Tensor, (E,)
        Where the elements belong in all primitive matrices, one behind the other.
    linear : tuple of Tensor, (n',)
        Of overlap and kinetic energy: element, place among derivatives of prefactors (H, P), and factor.
    bilinear : tuple of Tensor, (n,)
        Of potentials: element, places among derivatives of overlaps and of potentials (H, P), and factor.
    """

    shape: tuple[int, int]
    targets: Tensor
    linear: tuple[Tensor, Tensor, Tensor]
    bilinear: tuple[Tensor, Tensor, Tensor, Tensor]

    def hermite(self, overlaps: Tensor) -> Tensor:
        """Compute what potentials are multiplied with, (n,); see `Block.hermite`."""
        _, places, _, factors = self.bilinear
        return overlaps.reshape(-1).index_select(0, places) * factors

    def elements(self, prefactors: Tensor, hermite: Tensor | None, potential: Tensor | None) -> Tensor:
        """Compute elements, (2 + V, E); see `Block.elements`."""
        element, places, factors = self.linear
        zeros = factors.new_zeros(1, len(self.targets))
        values = _columns(prefactors.flatten(1), places) * factors
        both = zeros.expand(2, -1).index_add(1, element, values)
        if hermite is None or potential is None:
            return both
        element, _, places, _ = self.bilinear
        values = _columns(potential.flatten(1), places) * hermite
        return torch.cat([both, zeros.expand(len(potential), -1).index_add(1, element, values)])

    def gradient(
        self, incoming: Tensor, hermite: Tensor | None, potential: Tensor | None
    ) -> tuple[Tensor, Tensor | None]:
        """Carry a gradient (2 + V, E) to prefactors and potentials; see `Block.gradient`."""
        element, places, factors = self.linear
        zeros = factors.new_zeros(1, self.shape[0] * self.shape[1])
        of_prefactors = zeros.expand(2, -1).index_add(1, places, _columns(incoming[:2], element) * factors)
        if hermite is None or potential is None:
            return of_prefactors.view(2, *self.shape), None
        element, of_overlap, of_potential, factors = self.bilinear
        given = _columns(incoming[2:], element)
        densities = zeros.expand(len(given), -1).index_add(1, of_potential, given * hermite)
        of_products = (given * _columns(potential.flatten(1), of_potential)).sum(0) * factors
        of_prefactors[0].index_add_(0, of_overlap, of_products)
        return of_prefactors.view(2, *self.shape), densities.view(-1, *self.shape)


def _columns(values: Tensor, places: Tensor) -> Tensor:
    """Take columns of (V, H), much faster than ``index_select`` where there are few rows."""
    return values.gather(1, places.expand(len(values), -1))


def make_blocks(members: Sequence[Pairs], device: torch.device, place: torch.device) -> tuple[Block | Products, ...]:
    """Prepare the elements of a group: one list of products where they are few, else a block for each class.

    Parameters
    ----------
    members : sequence of Pairs
        The classes of the group; the first has the largest la + lb.
    device : torch.device
        Where they are computed.
    place : torch.device
        Where their tensors are at first.

    Returns
    -------
    tuple of Block or Products
    """
    n_products = sum(len(part.first) * np.count_nonzero(product_rule(part.la, part.lb)[1]) for part in members)
    few = n_products < (_MOST_PRODUCTS if device.type == "cpu" else _MOST_PRODUCTS_ON_GPU)
    if few and len(members) > 1:
        return (_products(members, place),)
    height, blocks, start = n_derivatives(members[0].la + members[0].lb), [], 0
    for part in members:
        pairs = slice(start, start + len(part.first))
        weights, targets = torch.from_numpy(_weights(part)), torch.from_numpy(part.targets.ravel())
        formula = _formula(part.la, part.lb, place)
        blocks.append(Block(pairs, height, formula, weights.to(place), targets.to(place)))
        start = pairs.stop
    return tuple(blocks)


def _weights(part: Pairs) -> NDArray[np.float64]:
    """Give w_a^s w_b^t of each feature, (F, P)."""
    features, _ = product_rule(part.la, part.lb)
    a, b = part.exponents / part.exponents.sum(0)
    return powers(a, features[:, 0]) * powers(b, features[:, 1])


def powers(base: NDArray[np.float64], exponents: NDArray[np.int64]) -> NDArray[np.float64]:
    """Raise all of ``base`` (P,) to each of ``exponents`` (F,): (F, P), much faster than ``**``."""
    repeated = np.broadcast_to(base, (int(exponents.max()), len(base)))
    result: NDArray[np.float64] = np.concatenate([np.ones((1, len(base))), np.cumprod(repeated, 0)])[exponents]
    return result


@lru_cache(maxsize=64)
def _formula(la: int, lb: int, device: torch.device) -> _Formula:
    features, matrix = product_rule(la, lb)
    constants = (features[:, 2], _overlap(la, lb), np.ascontiguousarray(matrix.reshape(len(features), -1).T))
    return _Formula(la + lb, *(torch.from_numpy(np.array(constant)).to(device) for constant in constants))


def _overlap(la: int, lb: int) -> NDArray[np.float64]:
    """Give the matrix from derivatives of the order la + lb to elements, ((2 la + 1)(2 lb + 1), n_components)."""
    n = n_components(la + lb)
    matrix: NDArray[np.float64] = np.ascontiguousarray(product_rule(la, lb)[1][:n, :, :, 0].reshape(n, -1).T)
    return matrix


def _products(members: Sequence[Pairs], device: torch.device) -> Products:
    """List all products of a group."""
    n_pairs = sum(len(part.first) for part in members)
    linear: list[tuple[NDArray[np.generic], ...]] = []
    bilinear: list[tuple[NDArray[np.generic], ...]] = []
    start = n_elements = 0
    for part in members:
        n = len(part.first)
        features, matrix = product_rule(part.la, part.lb)
        overlap = _overlap(part.la, part.lb)
        element, component = np.nonzero(overlap)
        rows = n_derivatives(part.la + part.lb - 1) + component
        factors = np.broadcast_to(overlap[element, component][:, None], (len(element), n))
        linear.append((_places(element, n, n_elements, n), _places(rows, n_pairs, start, n), factors))
        matrix = matrix.reshape(len(features), -1, matrix.shape[-1])
        feature, element, derivative = np.nonzero(matrix)
        bilinear.append(
            (
                _places(element, n, n_elements, n),
                _places(features[feature, 2], n_pairs, start, n),
                _places(derivative, n_pairs, start, n),
                matrix[feature, element, derivative][:, None] * _weights(part)[feature],
            )
        )
        start, n_elements = start + n, n_elements + part.targets.size
    height = n_derivatives(members[0].la + members[0].lb)

    def upload(arrays: Sequence[NDArray[np.generic]]) -> Tensor:
        return torch.from_numpy(np.concatenate([array.ravel() for array in arrays])).to(device)

    return Products(
        (height, n_pairs),
        upload([part.targets for part in members]),
        tuple(map(upload, zip(*linear, strict=True))),  # type: ignore[arg-type]
        tuple(map(upload, zip(*bilinear, strict=True))),  # type: ignore[arg-type]
    )


def _places(rows: NDArray[np.int64], width: int, start: int, n: int) -> NDArray[np.int64]:
    """Give places of n columns from ``start`` on, in rows of this width, (rows, n)."""
    return rows[:, None] * width + start + np.arange(n)
