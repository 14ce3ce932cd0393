"""Matrix elements of pairs of primitive shells, and their gradient.

Every element is a derivative with respect to A and B of one of two things: a function of R = A - B (overlap and kinetic
energy of s Gaussians), or the product of the overlap with a potential at P = w_a A + w_b B. Both are sums of radial
derivatives times monomials, so all that depends on angular momenta is a matrix product with constants.

The gradient takes the incoming matrix through the same products backwards: first to a charge density in Hermite
Gaussians at each P, then to forces on P and on the centres, which take the next radial derivative. It is made of
operations that can be differentiated themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor
from torch.nn.functional import pad

from ase_mlwave.quantum.gaussians.cartesians import (
    derivative_terms,
    monomials,
    monomials_gradient,
    n_components,
    n_derivatives,
)
from ase_mlwave.quantum.gaussians.layout import Block, Group, Layout
from ase_mlwave.quantum.gaussians.radial import coulomb_radial

__all__ = ["State", "elements", "gradient", "overlapping", "prepare_state"]

#: Pairs whose overlap has a factor below exp(-40), 4e-18, do not count.
_FARTHEST = 40.0
#: To leave out fewer than every fourth takes longer than to compute them.
_WORTHWHILE = 0.75


@dataclass(frozen=True)
class State:
    """What the elements of a group and their gradient have in common.

    Parameters
    ----------
    prefactors : Tensor, (2, H, P)
        Derivatives of overlap and kinetic energy of s Gaussians with respect to R, of the orders 0 .. L + 1 (0 .. L
        without gradients).
    hermite : tuple of Tensor, (elements, H', P)
        By block, from derivatives of a potential to matrix elements.
    powers : tuple of Tensor, (n_components(n), C, P)
        Monomials of P - C.
    radial : Tensor, (L + 2, C, V, P)
        Radial derivatives of the potentials; L + 1 without gradients.
    potential : Tensor, (V, H', P)
        Derivatives of the sum of all centres, of the orders 0 .. L.
    """

    prefactors: Tensor
    hermite: tuple[Tensor, ...] = ()
    powers: tuple[Tensor, ...] = ()
    radial: Tensor | None = None
    potential: Tensor | None = None


def overlapping(flat: Tensor, group: Group) -> Group:
    """Leave out pairs of primitives that are too far apart to matter.

    Parameters
    ----------
    flat : Tensor, (3 N,)
        Transposed positions, Bohr.
    group : Group
        Pairs of primitive shells.

    Returns
    -------
    Group
        The same where that would save little.
    """
    a, b = flat[group.ends].view(2, 3, -1)
    r = a - b
    kept = (group.reduced * (r * r).sum(0) < _FARTHEST).nonzero().squeeze(1)
    return group if len(kept) > _WORTHWHILE * len(group.scale) else group.select(kept)


def prepare_state(flat: Tensor, group: Group, layout: Layout, *, gradients: bool) -> State:
    """Compute what elements and gradient need.

    Parameters
    ----------
    flat : Tensor, (3 N,)
        Transposed positions, Bohr.
    group : Group
        Pairs of primitive shells.
    layout : Layout
        That they belong to.
    gradients : bool
        Whether `gradient` will be asked for: it takes one radial derivative more.

    Returns
    -------
    State
    """
    a, b = flat[group.ends].view(2, 3, -1)
    prefactors = _prefactors(a - b, group, group.order + gradients)
    if not layout.potentials:
        return State(prefactors)
    centres = flat[layout.centres]
    if len(centres) > 1:
        centres = centres.index_select(0, group.molecule)
    r = (group.fractions[0] * a + group.fractions[1] * b)[:, None] - centres.t().reshape(3, -1, len(centres))
    u = (r * r).sum(0)
    radial = torch.cat(
        [
            coulomb_radial(part, charges, group.order + 1 + gradients)
            for part, charges in zip(u.split([len(c.elements) for c in group.charges]), group.charges, strict=True)
        ],
        1,
    )
    if group.present is not None:
        radial = radial * group.present[:, None]
    powers = monomials(r, max(1, group.order))
    by_order = radial.transpose(1, 2).unsqueeze(2).unbind()  # (V, 1, C, P)
    terms = torch.cat([(by_order[m] * powers[d]).sum(2) for m, d in _terms(group.order)], 1)
    potential = _matrix(group, group.order) @ terms if group.order else terms
    hermite = tuple(_hermite(prefactors[0, :, block.pairs], block) for block in group.blocks)
    return State(prefactors, hermite, tuple(powers), radial, potential)


def _hermite(overlaps: Tensor, block: Block) -> Tensor:
    features = overlaps.index_select(0, block.formula.features) * block.weights
    return (block.formula.potential @ features).view(block.shape[0], -1, block.shape[1])


def _prefactors(r: Tensor, group: Group, order: int) -> Tensor:
    u = (r * r).sum(0)
    overlap = group.scale * torch.exp(-group.reduced * u)
    powers = monomials(r, order)
    terms = torch.cat([powers[d] for _, d in _terms(order)])
    terms = terms * group.powers[:, : len(terms)]
    # tau = mu (3 - 2 mu u) S, so tau_n = (-2 mu)^n (mu (3 + 2 n) - 2 mu^2 u) S
    overlaps, kinetic = ((_matrix(group, order) @ terms) * overlap).unbind()
    return torch.stack([overlaps, kinetic - (2 * group.reduced * group.reduced * u) * overlaps])


def elements(state: State, group: Group) -> list[Tensor]:
    """Compute matrix elements.

    Parameters
    ----------
    state : State
        From `prepare_state`.
    group : Group
        Pairs of primitive shells.

    Returns
    -------
    list of Tensor, (2 + V, elements x P)
        By block: overlap, kinetic energy, potentials.
    """
    results = []
    for place, block in enumerate(group.blocks):
        highest = state.prefactors[:, _highest(block), block.pairs]
        both = (block.formula.overlap @ highest).flatten(1)
        if state.potential is not None:
            potential = state.potential[:, None, : n_derivatives(block.formula.order), block.pairs]
            both = torch.cat([both, (state.hermite[place] * potential).sum(2).flatten(1)])
        results.append(both)
    return results


def gradient(state: State, incoming: Sequence[Tensor], group: Group, layout: Layout) -> Tensor:
    """Contract derivatives of elements with an incoming gradient.

    Parameters
    ----------
    state : State
        From `prepare_state`.
    incoming : sequence of Tensor, (2 + V, elements x P)
        By block.
    group : Group
        Pairs of primitive shells.
    layout : Layout
        That they belong to.

    Returns
    -------
    Tensor, (3 N,)
        With respect to the flat transpose of the positions.
    """
    of_prefactors, densities = [], []
    height = n_derivatives(group.order)
    for place, (block, part) in enumerate(zip(group.blocks, incoming, strict=True)):
        given = part.view(len(part), *block.shape)
        below = height - n_derivatives(block.formula.order)
        of_prefactor = pad(block.formula.overlap.t() @ given[:2], (0, 0, _highest(block).start, below))
        of_prefactors.append(of_prefactor)
        if state.potential is not None:
            hermite, weights = state.hermite[place], given[2:, :, None]  # (elements, H', P), (V, elements, 1, P)
            densities.append(pad((hermite * weights).sum(1), (0, 0, 0, below)))
            of_hermite = (weights * state.potential[:, None, : hermite.shape[1], block.pairs]).sum(0).flatten(0, 1)
            of_features = (block.formula.potential.t() @ of_hermite) * block.weights
            of_prefactor[0].index_add_(0, block.formula.features, of_features)
    following = state.prefactors.index_select(1, group.raised).view(2, 3, height, -1)
    of_r = (following * torch.cat(of_prefactors, -1)[:, None]).sum((0, 2))
    if state.potential is None:
        return _on_ends(of_r, torch.zeros_like(of_r), group, layout)
    forces = _forces(state, torch.cat(densities, -1), group)
    return _on_ends(of_r, forces.sum(1), group, layout) - _on_centres(forces, group, layout)


def _forces(state: State, densities: Tensor, group: Group) -> Tensor:
    """Differentiate the energy of Hermite densities (V, H', P) with respect to P - C: (3, C, P)."""
    assert state.radial is not None
    of_terms = _matrix(group, group.order).t() @ densities if group.order else densities
    terms, radial = _terms(group.order), state.radial.transpose(1, 2).unbind()  # (V, C, P)
    of_radial: list[list[Tensor]] = [[] for _ in range(group.order + 1)]
    of_powers: list[list[Tensor]] = [[] for _ in state.powers]
    for (m, d), part in zip(terms, of_terms.unsqueeze(2).split([n_components(d) for _, d in terms], 1), strict=True):
        of_radial[m].append((part * state.powers[d]).sum(1) if d else part[:, 0])
        if d:
            of_powers[d].append((part * radial[m][:, None]).sum(0))
    along = [(reduce(add, parts) * radial[m + 1]).sum(0) for m, parts in enumerate(of_radial)]
    result = state.powers[1] * reduce(add, along)  # d h_m / dr = r h_(m+1)
    if group.order == 0:
        return result
    return result + monomials_gradient(state.powers, [reduce(add, parts) for parts in of_powers[1:]])


def _on_ends(of_r: Tensor, of_p: Tensor, group: Group, layout: Layout) -> Tensor:
    """Carry gradients with respect to R and P, (3, P), to A and B: (3 N,)."""
    both = torch.cat([group.fractions[0] * of_p + of_r, group.fractions[1] * of_p - of_r])
    return both.new_zeros(3 * layout.n_atoms).index_add(0, group.ends, both.view(-1))


def _on_centres(forces: Tensor, group: Group, layout: Layout) -> Tensor:
    """Sum up what acts on each centre, (3, C, P) -> (3 N,)."""
    if len(layout.centres) == 1:
        places, forces = layout.centres[0], forces.sum(-1)
    else:
        places = layout.centres.t().index_select(1, group.molecule).reshape(-1)
    return forces.new_zeros(3 * layout.n_atoms).index_add(0, places, forces.reshape(-1))


def _matrix(group: Group, order: int) -> Tensor:
    """Give the matrix from terms to derivatives, of orders up to this."""
    width = sum(n_components(d) for _, d in _terms(order))
    return group.derivatives[: n_derivatives(order), :width]


def _terms(order: int) -> list[tuple[int, int]]:
    """List the terms of all derivatives up to an order."""
    return [term for n in range(order + 1) for term in derivative_terms(n)]


def _highest(block: Block) -> slice:
    return slice(n_derivatives(block.formula.order - 1), n_derivatives(block.formula.order))
