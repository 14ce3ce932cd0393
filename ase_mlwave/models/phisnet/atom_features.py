"""Features of atoms, from messages between them: what matrices, and energies of their own, are read from."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ase_mlwave.models.phisnet.autocast import full_precision
from ase_mlwave.models.phisnet.clebsch_gordan import PaperInteraction
from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.edge_frame import EdgeFrameInteraction
from ase_mlwave.models.phisnet.embedding import ElementEmbedding
from ase_mlwave.models.phisnet.frames import EdgeLayout
from ase_mlwave.models.phisnet.geometry import EdgeGeometry, edge_geometry
from ase_mlwave.models.phisnet.layers import ResidualBlock
from ase_mlwave.models.phisnet.orders import OrderLayout, with_rows
from ase_mlwave.models.phisnet.plan import BatchPlan
from ase_mlwave.models.phisnet.radial import BernsteinBasis
from ase_mlwave.systems.batch import SystemBatch

__all__ = ["AtomFeatures"]


class AtomFeatures(nn.Module):
    """Embed elements and let messages pass between atoms.

    Parameters
    ----------
    config : PhiSNetConfig
        Hyperparameters.
    layout : OrderLayout
        Rows of the features.
    cutoff : float
        Beyond it radial functions vanish, Bohr.
    message_range : float, optional
        Range of messages, Bohr, where it is shorter.
    """

    def __init__(
        self, config: PhiSNetConfig, layout: OrderLayout, cutoff: float, message_range: float | None = None
    ) -> None:
        super().__init__()
        self.layout = layout
        self._message_range = message_range
        self.embedding = ElementEmbedding(layout, config.features, config.numbers)
        self.radial = BernsteinBasis(config.n_radial, cutoff)
        self.edges = EdgeLayout(layout)
        self._gated = config.product == "edge_frame"
        interaction: Any = EdgeFrameInteraction if self._gated else PaperInteraction

        def residual() -> ResidualBlock:
            return ResidualBlock(layout, config.features, gated=self._gated)

        self.before = nn.ModuleList(residual() for _ in range(config.n_modules))
        self.interactions = nn.ModuleList(interaction(config, layout) for _ in range(config.n_modules))
        self.after = nn.ModuleList(residual() for _ in range(config.n_modules))
        self.outputs = nn.ModuleList(residual() for _ in range(config.n_modules))

    def layers(self) -> list[nn.Module]:
        """List the layers of all modules."""
        return [layer for part in (self.before, self.interactions, self.after, self.outputs) for layer in part]

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the weights."""
        return self.radial.raw_alpha.dtype

    def features(self, batch: SystemBatch, plan: BatchPlan) -> tuple[Tensor, Tensor, EdgeGeometry]:
        """Give features of atoms (R, N, F), what they begin with, and the geometry of pairs, in the plan's order."""
        embedded, messages, geometry = self._beginning(batch, plan)
        return self.atom_features(embedded, messages).to(self.dtype), embedded, geometry

    def invariant_features(self, batch: SystemBatch, plan: BatchPlan) -> Tensor:
        """Give the first row of `features`, (N, F), in the plan's order, and compute nothing else.

        Notes
        -----
        In edge frames messages of the last module are then made from invariants alone, and so are all messages of
        networks of two modules: half of the time or less. Law: ``test_invariants_alone_are_those_of_all_features``.
        """
        axial = self._gated and len(self.interactions) <= 2  # the first module begins with invariants
        embedded, messages, _ = self._beginning(batch, plan, axial=axial)
        return self.atom_features(embedded, messages, invariant=True)[0].to(self.dtype)

    def _beginning(
        self, batch: SystemBatch, plan: BatchPlan, *, axial: bool = False
    ) -> tuple[Tensor, EdgeGeometry, EdgeGeometry]:
        """Give what features begin with, (R, N, F), the pairs that exchange messages, and all pairs."""
        with full_precision(plan.first.device.type):
            vectors = batch.vectors().index_select(0, plan.pairs)
            pairs = (plan.first, plan.second)
            geometry = edge_geometry(vectors, *pairs, self.radial, self.edges, self.dtype, axial=axial)
            messages = geometry
            if plan.near is not None and self._message_range is not None:
                messages = geometry.within(*plan.near, self.radial, self._message_range)
            return self.embedding(plan.element), messages, geometry

    def atom_features(self, embedded: Tensor, messages: EdgeGeometry, *, invariant: bool = False) -> Tensor:
        """Pass messages between atoms, and add up what all modules give: (R, N, F), or the first row or rows of it."""
        # In edge frames invariants give natural features alone in the first module: rows of zeros stay away.
        x, outputs = embedded[:1] if self._gated else embedded, []
        alone, last = invariant and self._gated, self.interactions[-1]
        for before, interaction, after, output in zip(
            self.before, self.interactions, self.after, self.outputs, strict=True
        ):
            options = (True,) if alone and interaction is last else ()
            x = after(interaction(before(x), messages, *options))
            outputs.append(output(x[:1] if alone else x))
        total: Tensor = sum((with_rows(output, len(outputs[-1])) for output in outputs[:-1]), start=outputs[-1])
        return total
