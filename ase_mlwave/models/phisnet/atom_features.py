"""Features of atoms, from messages between them: what matrices, and energies of their own, are read from."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from ase_mlwave.models.phisnet.clebsch_gordan import PaperInteraction
from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.edge_frame import EdgeFrameInteraction
from ase_mlwave.models.phisnet.embedding import ElementEmbedding
from ase_mlwave.models.phisnet.frames import EdgeLayout
from ase_mlwave.models.phisnet.geometry import EdgeGeometry
from ase_mlwave.models.phisnet.layers import ResidualBlock
from ase_mlwave.models.phisnet.orders import OrderLayout, with_rows
from ase_mlwave.models.phisnet.radial import BernsteinBasis

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
    """

    def __init__(self, config: PhiSNetConfig, layout: OrderLayout, cutoff: float) -> None:
        super().__init__()
        self.layout = layout
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

    def atom_features(self, embedded: Tensor, messages: EdgeGeometry) -> Tensor:
        """Pass messages between atoms, and add up what all modules give: (R, N, F)."""
        # In edge frames invariants give natural features alone in the first module: rows of zeros stay away.
        x, outputs = embedded[:1] if self._gated else embedded, []
        for before, interaction, after, output in zip(
            self.before, self.interactions, self.after, self.outputs, strict=True
        ):
            x = after(interaction(before(x), messages))
            outputs.append(output(x))
        total: Tensor = sum((with_rows(output, len(x)) for output in outputs[:-1]), start=outputs[-1])
        return total
