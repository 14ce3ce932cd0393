"""Pair mixing in the frame of the edge: dense matrices within each m, gated by a network of the invariants."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.frames import EdgeLayout
from ase_mlwave.models.phisnet.geometry import EdgeGeometry
from ase_mlwave.models.phisnet.layers import OrderLinear, OrderWeights, ResidualBlock, ScalarGate
from ase_mlwave.models.phisnet.orders import OrderLayout, with_rows
from ase_mlwave.models.phisnet.packing import PackedModule

__all__ = ["EdgeFrameInteraction", "EdgeFrameMixing", "EdgeFramePairs"]


class EdgeFrameMixing(PackedModule):
    """Couple the features of two atoms along their edge, all orders and channels at once.

    Parameters
    ----------
    layout : OrderLayout
        Rows of the features.
    features : int
        Channels F.
    n_radial : int
        Radial functions.
    hidden : int
        Width of the invariant network, and of the gated layer of each m.

    Notes
    -----
    Differs from the paper: there pair mixing is a sum over Clebsch-Gordan couplings with radial coefficients. In the
    frame of the edge a harmonic has one non-zero component, so those sums become matrices within each m; the
    invariants (m = 0 of natural parity) may pass any network, which then gates all others.
    Sources: Passaro and Zitnick (arXiv:2302.03655), SO(2) layers; QHNetV2 (arXiv:2506.09398).
    Law: ``test_network_is_equivariant``.
    """

    def __init__(self, layout: OrderLayout, features: int, n_radial: int, hidden: int) -> None:
        super().__init__()
        self.edges = EdgeLayout(layout)
        self.features = features
        self.hidden = hidden
        self.first = OrderLinear(layout, features, features)
        self.second = OrderLinear(layout, features, features)
        n0, n_pseudo, n_of_m = self.edges.n_invariant, self.edges.n_pseudo, self.edges.n_of_m
        self.invariant_in = nn.Linear(n0 * features, hidden)
        self.radial = nn.Linear(n_radial, 2 * hidden)
        self.invariant_hidden = nn.Linear(hidden, hidden)
        n_gates = len(n_of_m) + (1 if n_pseudo else 0)
        self.gates = nn.Linear(hidden, n_gates * hidden)
        self.invariant_out = nn.Linear(hidden, n0 * features)
        of_m = zip(self.edges.natural_of_m, self.edges.unnatural_of_m, strict=True)
        self.blocks = ([(0, n_pseudo, 1)] if n_pseudo else []) + [(*both, 2) for both in of_m]
        """Natural and unnatural orders, and copies (cosines and sines), of each block besides the invariants."""
        widths = [natural + unnatural for natural, unnatural, _ in self.blocks]
        self.inward = nn.ParameterList(torch.randn(w * features, hidden) * (w * features) ** -0.5 for w in widths)
        self.outward = nn.ParameterList(torch.randn(hidden, w * features) * hidden**-0.5 for w in widths)

    @property
    def packed_from(self) -> tuple[Tensor, ...]:
        """All weights."""
        linear = (self.invariant_in, self.radial, self.invariant_hidden, self.gates, self.invariant_out)
        biased = (self.first, self.second, *linear)
        return (*(w for layer in biased for w in (layer.weight, layer.bias)), *self.inward, *self.outward)

    def pack(self) -> _MixingWeights:
        """Join weights that act on the same features."""
        matrices = torch.cat([self.first.weight, self.second.weight], dim=2)
        biases = torch.cat([self.first.bias, self.second.bias])
        gated = torch.cat([self.gates.weight, self.invariant_out.weight])
        scaled = nn.functional.pad(torch.ones_like(self.radial.bias[: self.hidden]), (0, self.hidden))
        inward, outward = [], []
        for (natural, unnatural, n), w_in, w_out in zip(self.blocks, self.inward, self.outward, strict=True):
            widths = [natural * self.features, unnatural * self.features]
            inward.append(w_in.expand(n, -1, -1).split(widths, dim=1))
            outward.append(w_out.expand(n, -1, -1).split(widths, dim=2))
        return _MixingWeights(
            atoms=OrderWeights.of(matrices, biases, self.first.layout, self.first.order_of_row),  # type: ignore[arg-type]
            radial_bias=self.radial.bias + scaled,
            gated=gated.t(),
            gated_bias=torch.cat([self.gates.bias, self.invariant_out.bias]),
            inward=tuple(inward),
            outward=tuple(outward),
        )

    def forward(self, x: Tensor, geometry: EdgeGeometry, invariant: bool = False) -> list[Tensor]:
        """Mix features of atoms i and j.

        Parameters
        ----------
        x : Tensor, (R, N, F)
            Atom features: all rows, the natural ones, or the invariants; those left out are zero.
        geometry : EdgeGeometry
            Pairs, with their frames.
        invariant : bool
            Give the invariants of pairs alone, which depend on invariants in the frame alone.

        Returns
        -------
        list of Tensor, (E, R+, F) and (E, R-, F)
            Natural and unnatural pair features outside the frame, zero at the cutoff; of invariants natural ones alone;
            if ``invariant`` (E, 1, F).
        """
        weights: _MixingWeights = self.packed()
        if invariant:
            return [self._invariant(x[: self.first.layout.n_natural], geometry, weights)]
        both = weights.atoms(x).view(*x.shape[:2], 2, self.features)
        n_natural = self.first.layout.n_natural
        parts = []
        for rows, rotation in zip(both.tensor_split([n_natural]), geometry.rotations, strict=True):
            if len(rows):
                first, second = rows.permute(2, 1, 0, 3).contiguous().unbind()  # (N, R, F) each
                sums = first.index_select(0, geometry.first) + second.index_select(0, geometry.second)
                parts.append(sums if len(x) == 1 else torch.bmm(rotation, sums))  # (E, R, F), by m
        natural, *unnatural = self._within_frame(parts, geometry, weights)
        back = [torch.bmm(geometry.rotations[0][:, : natural.shape[1]].mT, natural)]
        return back + [torch.bmm(geometry.rotations[1][:, -v.shape[1] :].mT, v) for v in unnatural]

    def _invariant(self, x: Tensor, geometry: EdgeGeometry, weights: _MixingWeights) -> Tensor:
        """Make the invariants of pairs, (E, 1, F), from natural features of atoms (R', N, F)."""
        both = weights.atoms(x).view(*x.shape[:2], 2, self.features)
        first, second = both.permute(2, 1, 0, 3).contiguous().unbind()  # (N, R', F) each
        sums = first.index_select(0, geometry.first) + second.index_select(0, geometry.second)
        if len(x) > 1:
            sums = torch.bmm(geometry.rotations[0][:, : self.edges.n_invariant], sums)
        h = self._hidden(sums.flatten(1), geometry, weights)
        start = len(self.blocks) * self.hidden
        part = slice(start, start + self.features)  # behind the gates; l = 0 comes first, and no frame turns it
        out = torch.addmm(weights.gated_bias[part], h, weights.gated[:, part])
        return (out * geometry.cut[:, None])[:, None]

    def _hidden(self, invariants: Tensor, geometry: EdgeGeometry, weights: _MixingWeights) -> Tensor:
        """Map invariants in the frame, (E, orders of them * F), to what gates and invariants are made from."""
        scale, shift = torch.addmm(weights.radial_bias, geometry.rbf, self.radial.weight.t()).split(self.hidden, dim=1)
        inner = self.invariant_in
        h = nn.functional.linear(invariants, inner.weight[:, : invariants.shape[1]], inner.bias)
        h = nn.functional.silu(torch.addcmul(shift, h, scale))
        return nn.functional.silu(self.invariant_hidden(h))

    def _within_frame(self, parts: list[Tensor], geometry: EdgeGeometry, weights: _MixingWeights) -> list[Tensor]:
        """Act on features of one or both parities in the frame, (E, R, F).

        Returns natural features (of invariants alone those with m = 0) and unnatural ones (without those with m = 0
        where there were none).
        """
        n, n0, hidden = len(geometry.cut), self.edges.n_invariant, self.hidden
        alone, scalar = len(parts) == 1, parts[0].shape[1] == 1
        skipped = len(self.blocks) if scalar else int(alone and self.edges.n_pseudo > 0)
        blocks = self.blocks[skipped:]
        natural = parts[0].split([1] if scalar else [n0, *(a * copies for a, _, copies in blocks)], dim=1)
        unnatural = [] if alone else parts[1].split([b * copies for _, b, copies in blocks], dim=1)
        h = self._hidden(natural[0].flatten(1), geometry, weights)
        gated = torch.addmm(weights.gated_bias[skipped * hidden :], h, weights.gated[:, skipped * hidden :])
        *gates, out = (gated * geometry.cut[:, None]).split([*[hidden] * len(blocks), n0 * self.features], dim=1)
        results: tuple[list[Tensor], list[Tensor]] = [out.view(n, n0, self.features)], []
        for i, (*widths, copies) in enumerate(blocks):
            sources = [of_parity[i] for of_parity in (natural[1:], unnatural) if of_parity]
            terms = [
                (v.view(n, copies, w.shape[1]).transpose(0, 1), w)
                for v, w in zip(sources, weights.inward[skipped + i], strict=False)
                if v.shape[1]
            ]
            mixed = torch.bmm(*terms[0])
            for term in terms[1:]:
                mixed = torch.baddbmm(mixed, *term)
            mixed = mixed * gates[i]
            for result, width, w in zip(results, widths, weights.outward[skipped + i], strict=True):
                if width:
                    result += torch.bmm(mixed, w).view(copies, n, width, self.features).unbind()
        return [torch.cat(result, dim=1) for result in results if result]


@dataclass(frozen=True)
class _MixingWeights:
    """Weights of an `EdgeFrameMixing`, joined; those of blocks for natural and unnatural rows."""

    atoms: OrderWeights
    radial_bias: Tensor
    gated: Tensor
    gated_bias: Tensor
    inward: tuple[tuple[Tensor, ...], ...]
    outward: tuple[tuple[Tensor, ...], ...]


class EdgeFrameInteraction(nn.Module):
    """Gather messages from all neighbours and add them to an atom's features.

    Parameters
    ----------
    config : PhiSNetConfig
        Hyperparameters.
    layout : OrderLayout
        Rows of the features.
    """

    def __init__(self, config: PhiSNetConfig, layout: OrderLayout) -> None:
        super().__init__()
        self.mixing = EdgeFrameMixing(layout, config.features, config.n_radial, config.hidden)
        self.residual = ResidualBlock(layout, config.features, gated=True)
        self.gate = ScalarGate(layout, config.features)
        self.linear = OrderLinear(layout, config.features, config.features)

    def forward(self, x: Tensor, geometry: EdgeGeometry, invariant: bool = False) -> Tensor:
        """Map features (R, N, F) to the same shape; of invariants alone to natural features, of those to all.

        If ``invariant``, to the first row of that, (1, N, F).
        """
        gathered = []
        for messages in self.mixing(x, geometry, invariant):
            nothing = geometry.cut.new_zeros(x.shape[1], *messages.shape[1:])  # sums in the network's precision
            gathered.append(nothing.index_add(0, geometry.first, messages.to(nothing.dtype)))
        update: Tensor = self.linear(self.gate(self.residual(torch.cat(gathered, dim=1).transpose(0, 1))))
        return (x[:1] if invariant else with_rows(x, len(update))) + update


class EdgeFramePairs(nn.Module):
    """Make the features of matrix blocks: of atoms for diagonal, of pairs for off-diagonal ones.

    Parameters
    ----------
    config : PhiSNetConfig
        Hyperparameters.
    layout : OrderLayout
        Rows of the features.
    """

    def __init__(self, config: PhiSNetConfig, layout: OrderLayout) -> None:
        super().__init__()
        self.n_rows = layout.n_rows
        self.atoms = ResidualBlock(layout, config.features, gated=True)
        self.mixing = EdgeFrameMixing(layout, config.features, config.n_radial, config.hidden)
        self.residual = ResidualBlock(layout, config.features, gated=True)

    def forward(self, f: Tensor, geometry: EdgeGeometry) -> tuple[Tensor, Tensor]:
        """Map features (R, N, F), or first rows of them, to those of diagonal blocks (R, N, F) and of pairs (R, E, F).

        Heads multiply by the cutoff function last, so that blocks vanish smoothly.
        """
        mixed = torch.cat([part.transpose(0, 1) for part in self.mixing(f, geometry)])
        return with_rows(self.atoms(f), self.n_rows), with_rows(self.residual(mixed), self.n_rows)

    def environment_free(self, embedded: Tensor, geometry: EdgeGeometry) -> tuple[Tensor, Tensor]:
        """Make block features from elements and distance alone, as the overlap needs."""
        return self.forward(embedded[:1], geometry)
