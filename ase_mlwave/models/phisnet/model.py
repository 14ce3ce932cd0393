"""The network: geometry -> Hamiltonian matrix (and, as options, overlap, core Hamiltonian, atomic energies)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from ase_mlwave.models.phisnet.assembly import MatrixBatch
from ase_mlwave.models.phisnet.atom_features import AtomFeatures
from ase_mlwave.models.phisnet.autocast import full_precision
from ase_mlwave.models.phisnet.blocks import BlockHead, HeadGroup, block_sources
from ase_mlwave.models.phisnet.clebsch_gordan import PaperOverlapPairs, PaperPairs
from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.domain import DomainDistance
from ase_mlwave.models.phisnet.edge_frame import EdgeFramePairs
from ase_mlwave.models.phisnet.geometry import EdgeGeometry
from ase_mlwave.models.phisnet.members import PotentialNetwork
from ase_mlwave.models.phisnet.orders import OrderLayout
from ase_mlwave.models.phisnet.packing import PackedModule
from ase_mlwave.models.phisnet.plan import BatchPlan, make_plan
from ase_mlwave.models.phisnet.potential import PotentialHeads
from ase_mlwave.models.phisnet.radial import switch_off
from ase_mlwave.quantum.basis import n_functions
from ase_mlwave.systems.batch import SystemBatch

__all__ = ["MatrixHeads", "PhiSNet", "PhiSNetOutput"]

#: Plans of batches, and groups of heads, that are kept for the next of their kind.
_KEPT = 8
#: Scale of atomic energies that were not learned from a remainder, Hartree.
_ATOMIC_SCALE = 0.01
#: Plans of larger batches are not kept, for they take up to 5 kB a pair.
_KEPT_PAIRS = 20_000


@dataclass(frozen=True)
class PhiSNetOutput:
    """What the network predicts for a batch.

    Parameters
    ----------
    hamiltonian : MatrixBatch
        Learned part of H, Hartree, PySCF's AO order, float64; the model's baseline is not in it.
    atomic_energies : Tensor, (N,), or None
        e_i of the wavefunction energy, Hartree, float64; None where they have features of their own:
        `PhiSNet.atomic_energies`.
    distances : Tensor, (N,), or None
        How unlike the training data each atom is, where it was asked for; see `DomainDistance`.
    overlap, core : MatrixBatch or None
        S and the core Hamiltonian, where the model has these heads.
    potential : Tensor or None
        Of a model that learns a local potential: coefficients c_P of its auxiliary basis, e, PySCF's order, the
        molecules' one behind the other, float64; the learned part of H is sum_P c_P (pq|P), and ``hamiltonian`` zero.
    """

    hamiltonian: MatrixBatch
    atomic_energies: Tensor | None
    distances: Tensor | None
    overlap: MatrixBatch | None = None
    core: MatrixBatch | None = None
    potential: Tensor | None = None


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

        self._groups: dict[tuple[str, ...], HeadGroup] = {}

    def forget(self) -> None:
        """Join heads again at the next use, after weights were replaced."""
        self._groups.clear()

    def _apply(self, *arguments: Any, **options: Any) -> Any:
        self.forget()
        return super()._apply(*arguments, **options)  # type: ignore[no-untyped-call]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_groups": {}}

    def head(self, name: str) -> BlockHead:
        """Find the head of an element (``"O"``) or of an ordered pair of elements (``"O-H"``)."""
        head: BlockHead = (self.pairs if "-" in name else self.atoms)[name]  # type: ignore[assignment]
        return head

    def group(self, names: tuple[str, ...]) -> HeadGroup:
        """Join the heads of the kinds that a batch has."""
        if names not in self._groups:
            while len(self._groups) >= _KEPT:
                self._groups.pop(next(iter(self._groups)))
            self._groups[names] = HeadGroup([self.head(name) for name in names])
        return self._groups[names]

    def sources(self, names: tuple[str, ...], counts: list[int]) -> Tensor:
        """As of `block_sources`, for kinds given by their names."""
        return block_sources([self.head(name) for name in names], counts)

    def forward(self, f_atoms: Tensor, f_pairs: Tensor, cut: Tensor, plan: BatchPlan) -> MatrixBatch:
        """Assemble matrices from features of atoms (R, N, F) and of pairs (R, E, F), all in the plan's order."""
        with full_precision(cut.device.type):
            return self._assembled(f_atoms.to(cut.dtype), f_pairs.to(cut.dtype), cut, plan)

    def _assembled(self, f_atoms: Tensor, f_pairs: Tensor, cut: Tensor, plan: BatchPlan) -> MatrixBatch:
        features = f_atoms.split([kind.stop - kind.start for kind in plan.atom_kinds], dim=1)
        features += f_pairs.split([kind.stop - kind.start for kind in plan.pair_kinds], dim=1)
        fade = torch.cat([cut.new_ones(f_atoms.shape[1]), cut])
        return plan.assembly(self.group(plan.kinds)(features, fade, plan.sources))


class PhiSNet(AtomFeatures):
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
        layout = OrderLayout(config.max_order, config.max_unnatural_order)
        super().__init__(config, layout, config.cutoff, config.message_range)
        self.config = config
        self.functions = {z: n_functions(config.basis, z) for z in config.numbers}
        self._plans: dict[Any, BatchPlan] = {}
        gated = config.product == "edge_frame"
        pairs = EdgeFramePairs if gated else PaperPairs
        overlap_pairs = EdgeFramePairs if gated else PaperOverlapPairs
        blocks, auxiliary = config.auxiliary is None, config.auxiliary
        self.pair_features = pairs(config, layout) if blocks else None
        self.heads = MatrixHeads(config, layout) if blocks else None
        self.potential = (
            None
            if auxiliary is None
            else PotentialHeads(layout, config.features, auxiliary, config.numbers, config.charge_range)
        )
        self.others = nn.ModuleList(PotentialNetwork(config, layout) for _ in range(config.members - 1))
        self.core_heads = MatrixHeads(config, layout) if config.core_head else None
        self.overlap_pairs = overlap_pairs(config, layout) if config.overlap_head else None
        self.overlap_heads = MatrixHeads(config, layout) if config.overlap_head else None
        self.energy_head = nn.Sequential(
            nn.Linear(config.features, config.hidden), nn.SiLU(), nn.Linear(config.hidden, 1)
        )
        self.domain = DomainDistance(len(config.numbers), config.features)
        self.register_buffer("energy_shift", torch.zeros(len(config.numbers), dtype=torch.float64))
        self.register_buffer("energy_scale", torch.ones((), dtype=torch.float64))
        own = config.energy_from == "atoms"
        self.energy_features = AtomFeatures(config, layout, config.energy_cutoff) if own else None
        if own:  # begin with the energies of free atoms, which are the shift
            nn.init.zeros_(self.energy_head[-1].weight)  # type: ignore[arg-type]
            nn.init.zeros_(self.energy_head[-1].bias)  # type: ignore[arg-type]

    def cast(self, dtype: torch.dtype) -> PhiSNet:
        """Set the precision of the network in place: its weights only, for statistics and coupling stay in float64."""
        for parameter in self.parameters():
            parameter.data = parameter.data.to(dtype)
        for module in self.modules():
            if isinstance(module, (PackedModule, MatrixHeads)):
                module.forget()
        return self

    def elements_of(self, batch: SystemBatch) -> Tensor:
        """Map atomic numbers to indices of the model's elements, (N,)."""
        index = {z: i for i, z in enumerate(self.config.numbers)}
        numbers = batch.numbers.tolist()
        unknown = sorted({chemical_symbols[z] for z in numbers if z not in index})
        if unknown:
            raise ValueError(f"elements {unknown} are unknown to this model, which has {list(self.config.elements)}")
        return torch.tensor([index[z] for z in numbers], device=batch.numbers.device)

    def forward(self, batch: SystemBatch, plan: BatchPlan | None = None, *, distances: bool = True) -> PhiSNetOutput:
        """Predict matrices.

        Parameters
        ----------
        batch : SystemBatch
            Molecules of the model's elements.
        plan : BatchPlan, optional
            From `plan` of the batch before it went to the network's device; with it, a pass neither waits for the
            device nor copies anything to it.
        distances : bool
            Compute `PhiSNetOutput.distances`, which read a matrix (F, F) for every atom.

        Returns
        -------
        PhiSNetOutput
            Differentiable with respect to ``batch.positions`` and the weights, to second order.

        Raises
        ------
        ValueError
            If an element is unknown to the model.
        """
        plan = self.plan(batch) if plan is None else plan
        precise = full_precision(plan.first.device.type)
        f, embedded, geometry = self.features(batch, plan)
        hamiltonian = core = overlap = potential = None
        cut = self._block_cutoff(geometry)
        if self.pair_features is not None and self.heads is not None:
            f_atoms, f_pairs = self.pair_features(f, geometry)
            hamiltonian = self.heads(f_atoms, f_pairs, cut, plan)
            if self.core_heads is not None:
                core = self.core_heads(f_atoms, f_pairs, cut, plan)
            if self.overlap_heads is not None and self.overlap_pairs is not None:
                of_pairs = self.overlap_pairs.environment_free(embedded, geometry)
                overlap = self.overlap_heads(*of_pairs, cut, plan)
        if self.potential is not None:
            with precise:
                potential = self.potential(f, batch.positions, plan)
            potential = sum((other(batch, plan) for other in self.others), start=potential) / self.config.members
        with precise:
            energies = None
            if self.energy_features is None:
                energies = self._atomic_energies(f[0], plan.element).index_select(0, plan.place)
            return PhiSNetOutput(
                hamiltonian=plan.assembly(cut.new_zeros(0)) if hamiltonian is None else hamiltonian,
                atomic_energies=energies,
                distances=self.domain(f[0], plan.element).index_select(0, plan.place) if distances else None,
                overlap=overlap,
                core=core,
                potential=potential,
            )

    @torch.no_grad()
    def domain_distances(self, batch: SystemBatch, plan: BatchPlan | None = None) -> Tensor:
        """Measure how unlike the training data each atom is, (N,), as `forward` does, without predicting matrices."""
        plan = self.plan(batch) if plan is None else plan
        invariants = self.invariant_features(batch, plan)
        with full_precision(plan.first.device.type):
            distances: Tensor = self.domain(invariants, plan.element).index_select(0, plan.place)
            return distances

    @torch.no_grad()
    def invariants(self, batch: SystemBatch) -> Tensor:
        """Give the invariant features of atoms (N, F) of which domain distances are made."""
        plan = self.plan(batch)
        features: Tensor = self.invariant_features(batch.to(plan.first.device), plan)
        return features.index_select(0, plan.place)

    def _atomic_energies(self, invariants: Tensor, element: Tensor) -> Tensor:
        """Give e_i of the wavefunction energy, (N,), Hartree; zero for a model without."""
        if not self.config.atomic_energies:
            return torch.zeros(len(element), dtype=torch.float64, device=element.device)
        energies: Tensor = self.energy_head(invariants)[:, 0].double() * self.energy_scale
        return energies + self.energy_shift.index_select(0, element)  # type: ignore[operator]

    def forget_atomic_energies(self) -> None:
        """Set e_i to zero, ready to learn a few milli-Hartree: before a model without learns them."""
        with torch.no_grad():
            last: Any = self.energy_head[-1]
            last.weight.zero_()
            last.bias.zero_()
            self.energy_shift.zero_()  # type: ignore[operator]
            self.energy_scale.fill_(_ATOMIC_SCALE)  # type: ignore[operator]

    def _block_cutoff(self, geometry: EdgeGeometry) -> Tensor:
        """Give what the blocks of pairs are multiplied by, (E,)."""
        cutoff = self.config.block_cutoff
        return geometry.cut if cutoff is None else geometry.cut * switch_off(geometry.distances, cutoff)

    def atomic_energies(self, batch: SystemBatch, plan: BatchPlan | None = None) -> Tensor:
        """Read atomic energies from features of their own, without predicting matrices.

        Parameters
        ----------
        batch : SystemBatch
            Molecules of the model's elements; pairs within ``config.energy_cutoff`` count.
        plan : BatchPlan, optional
            As of `forward`.

        Returns
        -------
        Tensor, (N,)
            Hartree, float64; differentiable as matrices are.

        Raises
        ------
        ValueError
            If the model's energies are those of the matrices' features, or an element is unknown to it.
        """
        own = self.energy_features
        if own is None:
            raise ValueError("this model reads atomic energies from the features of its matrices: forward gives them")
        plan = self.plan(batch) if plan is None else plan
        invariants = own.invariant_features(batch, plan)
        with full_precision(plan.first.device.type):
            return self._atomic_energies(invariants, plan.element).index_select(0, plan.place)

    def plan(self, batch: SystemBatch, device: torch.device | None = None) -> BatchPlan:
        """Find what depends on elements and pairs alone; kept for the next batch that has the same.

        Parameters
        ----------
        batch : SystemBatch
            On the CPU; one on another device is copied back first, which waits for the device.
        device : torch.device, optional
            Where the plan is needed; by default where the network is.

        Returns
        -------
        BatchPlan

        Raises
        ------
        ValueError
            If an element is unknown to the model.
        """
        batch = batch.to("cpu")
        device = self.radial.raw_alpha.device if device is None else device
        near = None
        if self.config.message_range < self.config.cutoff:
            near = (batch.vectors().detach().norm(dim=1) < self.config.message_range).numpy()
        arrays = (batch.numbers, batch.first, batch.second)
        key = (batch.n_atoms, device, *(a.numpy().tobytes() for a in arrays), None if near is None else near.tobytes())
        plan = self._plans.get(key)
        if plan is None:
            with torch.inference_mode(mode=False), torch.no_grad():  # kept for later calls, which may need gradients
                sources = None if self.heads is None else self.heads.sources
                auxiliary = None if self.potential is None else self.potential.functions
                plan = make_plan(batch, self.functions, self.elements_of(batch), sources, auxiliary, near, device)
            if len(batch.first) <= _KEPT_PAIRS:
                others = list(self._plans.items())[1 - _KEPT :]
                self._plans = dict([*others, (key, plan)])  # replaced, for another thread may read the old one
        return plan

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_plans": {}}
