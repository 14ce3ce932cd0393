"""One-electron matrices of a batch of molecules, differentiable with respect to positions to second order.

Source: McMurchie and Davidson 1978 (doi:10.1016/0021-9991(78)90092-X); spherical Gaussians as derivatives: Hobson 1892,
Reine, Tellgren and Helgaker 2007 (doi:10.1039/b705594c); densities in Hermite Gaussians: Ahmadi and Almlof 1995
(doi:10.1016/0009-2614(95)01127-4).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from ase_mlwave.quantum.gaussians.batches import Batch
from ase_mlwave.quantum.gaussians.layout import Group, Layout
from ase_mlwave.quantum.gaussians.pairs import State, elements, gradient, overlapping, prepare_state

__all__ = ["matrices"]

#: Pairs times centres from which on pairs are looked at one by one: in small molecules all are near.
_MANY_TERMS = 2**17
#: Pairs times centres from which on a backward pass computes again what the forward pass had: some GB.
_MOST_TERMS = 2**23


def matrices(positions: Tensor, batch: Batch, *, second: bool = True) -> Tensor:
    """Compute the one-electron matrices of a batch.

    Parameters
    ----------
    positions : Tensor, (N, 3)
        Of all atoms, molecule by molecule, Bohr, float64, on the batch's device.
    batch : Batch
        From `ase_mlwave.quantum.gaussians.batches.prepare`.
    second : bool
        As of `ase_mlwave.quantum.integrals.joined_integrals`.

    Returns
    -------
    Tensor, (2 + V, sum M_b^2)
        Overlap, kinetic energy (Hartree) and the batch's potentials (Hartree), in PySCF's AO order, the molecules'
        matrices one behind the other.
    """
    results: list[Tensor] = []
    for part in batch.parts:
        inside = positions if part.atoms is None else positions.index_select(0, part.atoms)
        results += _contracted(inside, part.layout, second)
    joined = torch.cat(results, 1) if len(results) > 1 else results[0]
    return joined if batch.order is None else joined.index_select(1, batch.order)


def _contracted(positions: Tensor, layout: Layout, second: bool) -> Iterator[Tensor]:
    """Compute the matrices of each kind of molecules of a layout, (2 + V, B M^2)."""
    primitive: Tensor = _Primitive.apply(positions.t().reshape(-1), layout, second)  # type: ignore[no-untyped-call]
    shapes = [(kind.n_molecules, *kind.contraction.shape) for kind in layout.kinds]
    parts = primitive.split([count * size**2 for count, size, _ in shapes], 1)
    for part, kind, (count, size, _) in zip(parts, layout.kinds, shapes, strict=True):
        half = kind.contraction.t() @ (part.view(-1, count, size, size) @ kind.contraction)
        yield (half + half.mT).flatten(1)


class _Primitive(torch.autograd.Function):
    """Transposed positions (3 N,) -> upper halves of all matrices of primitives, one behind the other."""

    @staticmethod
    def forward(ctx: Any, flat: Tensor, layout: Layout, second: bool) -> Tensor:
        gradients = ctx.needs_input_grad[0]
        groups = layout.groups
        if layout.n_terms > _MANY_TERMS and not flat.is_cuda:  # a GPU's host would wait for the number of those left
            groups = tuple(overlapping(flat, group) for group in groups)
        ctx.layout, ctx.second, ctx.groups, ctx.states = layout, second, groups, []
        ctx.save_for_backward(flat)
        parts = []
        for group in groups:
            state = prepare_state(flat, group, layout, gradients=gradients)
            parts += elements(state, group)
            if gradients and layout.n_terms < _MOST_TERMS:
                ctx.states.append(state)
        primitive = flat.new_zeros(2 + len(layout.potentials), layout.n_elements)
        return primitive.index_copy_(1, _targets(groups), torch.cat(parts, 1) if len(parts) > 1 else parts[0])

    @staticmethod
    def backward(ctx: Any, incoming: Tensor) -> tuple[Tensor, None, None]:
        (positions,) = ctx.saved_tensors
        layout: Layout = ctx.layout
        # What is to be differentiated with respect to positions again must be seen to depend on them.
        again = torch.is_grad_enabled() and ctx.second
        flat = positions if again else positions.detach()
        states: Sequence[State | None] = () if again else ctx.states
        sizes = [block.targets.numel() for group in ctx.groups for block in group.blocks]
        parts = iter(incoming.index_select(1, _targets(ctx.groups)).split(sizes, 1))
        result = torch.zeros_like(flat)
        for group, kept in zip_longest(ctx.groups, states):
            state = kept or prepare_state(flat, group, layout, gradients=True)
            result = result + gradient(state, [next(parts) for _ in group.blocks], group, layout)
        if torch.is_grad_enabled() and not ctx.second:
            result = _UnknownSlope.apply(result, positions)  # type: ignore[no-untyped-call]
        return result, None, None


class _UnknownSlope(torch.autograd.Function):
    """(values, positions) -> values, which are not known as a function of the positions: their gradient is NaN."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, positions: Tensor) -> Tensor:
        return values.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        return gradient, torch.full_like(gradient, torch.nan)


def _targets(groups: Sequence[Group]) -> Tensor:
    targets = [block.targets for group in groups for block in group.blocks]
    return torch.cat(targets) if len(targets) > 1 else targets[0]
