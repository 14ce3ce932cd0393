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

import torch
from torch import Tensor

from ase_mlwave.quantum.gaussians.blocks import Products
from ase_mlwave.quantum.gaussians.cartesians import (
    derivative_terms,
    monomials,
    monomials_gradient,
    n_derivatives,
)
from ase_mlwave.quantum.gaussians.layout import Group, Layout
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
        Derivatives of overlap and kinetic energy of s Gaussians with respect to R, of the orders 0 .. L + 1.
    hermite : tuple of Tensor
        By block, what derivatives of potentials are multiplied with.
    powers : Tensor, (n_derivatives(L), C, P)
        Monomials of P - C.
    radial : Tensor, (L + 2, C, V, P)
        Radial derivatives of the potentials; L + 1 without gradients.
    potential : Tensor, (V, H', P)
        Derivatives of the sum of all centres, of the orders 0 .. L.
    """

    prefactors: Tensor
    hermite: tuple[Tensor, ...] = ()
    powers: Tensor | None = None
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
    if isinstance(group.blocks[0], Products):
        return group
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
    prefactors = _prefactors(a - b, group)
    if not layout.potentials:
        return State(prefactors)
    centres = flat[layout.centres]
    if len(centres) > 1:
        centres = centres.index_select(0, group.molecule)
    r = (group.fractions[0] * a + group.fractions[1] * b)[:, None] - centres.t().reshape(3, -1, len(centres))
    u = (r * r).sum(0)
    radials = [
        coulomb_radial(part, charges, group.order + 1 + gradients)
        for part, charges in zip(u.split([len(c.elements) for c in group.charges]), group.charges, strict=True)
    ]
    radial = torch.cat(radials, 1) if len(radials) > 1 else radials[0]
    if group.present is not None:
        radial = radial * group.present[:, None]
    powers = monomials(r, max(1, group.order))
    by_order = radial.transpose(1, 2).unsqueeze(2).unbind()  # (V, 1, C, P)
    terms = [(h * powers[term]).sum(2) for h, term in zip(by_order, derivative_terms(group.order), strict=False)]
    potential = group.derivatives @ torch.cat(terms, 1)
    return State(prefactors, tuple(block.hermite(prefactors[0]) for block in group.blocks), powers, radial, potential)


def _prefactors(r: Tensor, group: Group) -> Tensor:
    u = (r * r).sum(0)
    overlap = group.scale * torch.exp(-group.reduced * u)
    terms = monomials(r, group.order + 1).index_select(0, group.monomials) * group.powers
    # tau = mu (3 - 2 mu u) S, so tau_n = (-2 mu)^n (mu (3 + 2 n) - 2 mu^2 u) S
    overlaps, kinetic = ((group.steeper @ terms) * overlap).unbind()
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
    hermite = state.hermite or (None,) * len(group.blocks)
    return [
        block.elements(state.prefactors, one, state.potential) for block, one in zip(group.blocks, hermite, strict=True)
    ]


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
    hermite = state.hermite or (None,) * len(group.blocks)
    parts = [
        block.gradient(part, one, state.potential)
        for block, part, one in zip(group.blocks, incoming, hermite, strict=True)
    ]
    of_prefactors = torch.cat([part for part, _ in parts], -1)
    height = n_derivatives(group.order)
    following = state.prefactors.index_select(1, group.raised).view(2, 3, height, -1)
    of_r = (following * of_prefactors[:, None]).sum((0, 2))
    if state.potential is None:
        return _on_ends(of_r, torch.zeros_like(of_r), group, layout)
    densities = torch.cat([density for _, density in parts if density is not None], -1)
    forces = _forces(state, densities, group)
    return _on_ends(of_r, forces.sum(1), group, layout) - _on_centres(forces, group, layout)


def _forces(state: State, densities: Tensor, group: Group) -> Tensor:
    """Differentiate the energy of Hermite densities (V, H', P) with respect to P - C: (3, C, P)."""
    assert state.radial is not None
    assert state.powers is not None
    powers, of_terms = state.powers, (group.derivatives.t() @ densities).unsqueeze(2)  # (V, D, 1, P)
    radial, terms = state.radial.transpose(1, 2).unbind(), derivative_terms(group.order)  # (V, C, P)
    parts = of_terms.split([term.stop - term.start for term in terms], 1)
    of_radial = torch.stack([(part * powers[term]).sum(1) for part, term in zip(parts, terms, strict=True)])
    along = (of_radial * state.radial[1:].transpose(1, 2)).sum((0, 1))
    result = powers[1:4] * along  # d h_m / dr = r h_(m+1)
    if group.order == 0:
        return result
    of_powers = torch.zeros_like(powers)
    for part, term, h in zip(parts, terms, radial, strict=False):
        of_powers[term] += (part * h[:, None]).sum(0)
    return result + monomials_gradient(powers, of_powers)


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
