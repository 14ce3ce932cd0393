"""The network: geometry -> Hamiltonian matrix (and, as options, overlap, core Hamiltonian, atomic energies)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from ase_mlwave.models.phisnet.assembly import AOPlan, MatrixBatch
from ase_mlwave.models.phisnet.blocks import BlockHead
from ase_mlwave.models.phisnet.clebsch_gordan import PaperInteraction, PaperOverlapPairs, PaperPairs
from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.domain import DomainDistance
from ase_mlwave.models.phisnet.edge_frame import EdgeFrameInteraction, EdgeFramePairs
from ase_mlwave.models.phisnet.embedding import ElementEmbedding
from ase_mlwave.models.phisnet.geometry import EdgeGeometry, edge_geometry
from ase_mlwave.models.phisnet.layers import ResidualBlock
from ase_mlwave.models.phisnet.orders import OrderLayout
from ase_mlwave.models.phisnet.radial import BernsteinBasis
from ase_mlwave.quantum.basis import n_functions
from ase_mlwave.systems.batch import SystemBatch

__all__ = ["MatrixHeads", "PhiSNet", "PhiSNetOutput"]


@dataclass(frozen=True)
class PhiSNetOutput:
    """What the network predicts for a batch.

    Parameters
    ----------
    hamiltonian : MatrixBatch
        Learned part of H, Hartree, PySCF's AO order, float64; the model's baseline is not in it.
    atomic_energies : Tensor, (N,)
        e_i of the wavefunction energy, Hartree, float64.
    distances : Tensor, (N,)
        How unlike the training data each atom is; see `DomainDistance`.
    overlap, core : MatrixBatch or None
        S and the core Hamiltonian, where the model has these heads.
    """

    hamiltonian: MatrixBatch
    atomic_energies: Tensor
    distances: Tensor
    overlap: MatrixBatch | None = None
    core: MatrixBatch | None = None


class MatrixHeads(nn.Module):
    """Heads of one kind of matrix for all elements and ordered pairs of elements."""

    def __init__(self, config: PhiSNetConfig, layout: OrderLayout) -> None:
        super().__init__()
        self.atoms = nn.ModuleDict(
            {chemical_symbols[z]: BlockHead(layout, config.features, config.basis, z, z) for z in config.numbers}
        )
        self.pairs = nn.ModuleDict(
            {
                f"{chemical_symbols[a]}-{chemical_symbols[b]}": BlockHead(layout, config.features, config.basis, a, b)
                for a in config.numbers
                for b in config.numbers
            }
        )

    def forward(self, f_atoms: Tensor, f_pairs: Tensor, geometry: EdgeGeometry, plan: AOPlan) -> MatrixBatch:
        """Assemble matrices from atom features (N, R, F) and pair features (E, R, F)."""
        blocks = []
        for _, head, atoms in self.atom_groups(geometry.batch):
            blocks.append((atoms, atoms, head(f_atoms[atoms])))
        for _, head, edges in self.pair_groups(geometry.batch):
            first, second = geometry.batch.first[edges], geometry.batch.second[edges]
            blocks.append((first, second, head(f_pairs[edges], geometry.cut[edges])))
        return plan.assemble(blocks)

    def atom_groups(self, batch: SystemBatch) -> list[tuple[str, BlockHead, Tensor]]:
        """Atoms of every element present: (symbol, head, indices)."""
        groups = []
        for z in batch.numbers.unique().tolist():
            symbol = chemical_symbols[z]
            groups.append((symbol, self.atoms[symbol], torch.nonzero(batch.numbers == z)[:, 0]))
        return groups  # type: ignore[return-value]

    def pair_groups(self, batch: SystemBatch) -> list[tuple[str, BlockHead, Tensor]]:
        """Pairs of every kind present: (symbols, head, indices of edges)."""
        kinds = batch.numbers[batch.first] * 1000 + batch.numbers[batch.second]
        groups = []
        for kind in kinds.unique().tolist():
            name = f"{chemical_symbols[kind // 1000]}-{chemical_symbols[kind % 1000]}"
            groups.append((name, self.pairs[name], torch.nonzero(kinds == kind)[:, 0]))
        return groups  # type: ignore[return-value]


class PhiSNet(nn.Module):
    """Predict Hamiltonian matrices with an O(3)-equivariant message-passing network.

    Parameters
    ----------
    config : PhiSNetConfig
        Hyperparameters.

    Notes
    -----
    Laws, each a test in ``tests/models/phisnet/test_model.py``: rotating or mirroring the molecule rotates or mirrors
    H; permuting atoms permutes H; H is symmetric; molecules far apart do not feel one another; a batch gives what its
    members give alone. Source: Unke et al. 2021.
    Differs from the paper: features have both parities, so that mirror images agree, too.
    """

    def __init__(self, config: PhiSNetConfig) -> None:
        super().__init__()
        self.config = config
        layout = OrderLayout(config.max_order, config.max_unnatural_order)
        self.layout = layout
        self.functions = {z: n_functions(config.basis, z) for z in config.numbers}
        index = torch.full((max(config.numbers) + 1,), -1, dtype=torch.int64)
        index[list(config.numbers)] = torch.arange(len(config.numbers))
        self.register_buffer("element_index", index, persistent=False)
        self.embedding = ElementEmbedding(layout, config.features, config.numbers)
        self.radial = BernsteinBasis(config.n_radial, config.cutoff)
        gated = config.product == "edge_frame"
        interaction = EdgeFrameInteraction if gated else PaperInteraction
        pairs = EdgeFramePairs if gated else PaperPairs
        overlap_pairs = EdgeFramePairs if gated else PaperOverlapPairs

        def residual() -> ResidualBlock:
            return ResidualBlock(layout, config.features, gated=gated)

        self.before = nn.ModuleList(residual() for _ in range(config.n_modules))
        self.interactions = nn.ModuleList(interaction(config, layout) for _ in range(config.n_modules))
        self.after = nn.ModuleList(residual() for _ in range(config.n_modules))
        self.outputs = nn.ModuleList(residual() for _ in range(config.n_modules))
        self.pair_features = pairs(config, layout)
        self.heads = MatrixHeads(config, layout)
        self.core_heads = MatrixHeads(config, layout) if config.core_head else None
        self.overlap_pairs = overlap_pairs(config, layout) if config.overlap_head else None
        self.overlap_heads = MatrixHeads(config, layout) if config.overlap_head else None
        self.energy_head = nn.Sequential(
            nn.Linear(config.features, config.hidden), nn.SiLU(), nn.Linear(config.hidden, 1)
        )
        self.domain = DomainDistance(len(config.numbers), config.features)
        self.register_buffer("energy_shift", torch.zeros(len(config.numbers), dtype=torch.float64))
        self.register_buffer("energy_scale", torch.ones((), dtype=torch.float64))

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the network's weights."""
        return self.radial.raw_alpha.dtype

    def cast(self, dtype: torch.dtype) -> PhiSNet:
        """Set the precision of the network in place: its weights only, for statistics and coupling stay in float64."""
        for parameter in self.parameters():
            parameter.data = parameter.data.to(dtype)
        return self

    def elements_of(self, batch: SystemBatch) -> Tensor:
        """Map atomic numbers to indices of the model's elements, (N,)."""
        index: Tensor = self.element_index  # type: ignore[assignment]
        in_table = (batch.numbers > 0) & (batch.numbers < len(index))
        element = torch.where(in_table, index[batch.numbers.clamp(0, len(index) - 1)], -1)
        if bool((element < 0).any()):
            unknown = sorted({chemical_symbols[z] for z in batch.numbers[element < 0].tolist()})
            raise ValueError(f"elements {unknown} are unknown to this model, which has {list(self.config.elements)}")
        return element

    def forward(self, batch: SystemBatch) -> PhiSNetOutput:
        """Predict matrices.

        Parameters
        ----------
        batch : SystemBatch
            Molecules of the model's elements.

        Returns
        -------
        PhiSNetOutput
            Differentiable with respect to ``batch.positions`` and the weights, to second order.

        Raises
        ------
        ValueError
            If an element is unknown to the model.
        """
        element = self.elements_of(batch)
        geometry = edge_geometry(batch, self.radial, self.layout, self.dtype)
        plan = AOPlan(batch, self.functions)
        embedded = self.embedding(element)
        x, f = embedded, torch.zeros_like(embedded)
        for before, interaction, after, output in zip(
            self.before, self.interactions, self.after, self.outputs, strict=True
        ):
            x = after(interaction(before(x), geometry))
            f = f + output(x)
        f_atoms, f_pairs = self.pair_features(f, geometry)
        overlap = core = None
        if self.core_heads is not None:
            core = self.core_heads(f_atoms, f_pairs, geometry, plan)
        if self.overlap_heads is not None and self.overlap_pairs is not None:
            s_atoms, s_pairs = self.overlap_pairs.environment_free(embedded, geometry)
            overlap = self.overlap_heads(s_atoms, s_pairs, geometry, plan)
        energy_shift: Tensor = self.energy_shift  # type: ignore[assignment]
        energies = self.energy_head(f[:, 0])[:, 0].double() * self.energy_scale + energy_shift[element]
        distances = self.domain(f[:, 0], element)
        return PhiSNetOutput(self.heads(f_atoms, f_pairs, geometry, plan), energies, distances, overlap, core)
