"""The quantum deep field: geometry -> orbitals on points -> density -> energy, and density -> external potential.

    psi_n(r)  = sum_j c_{t(j),n} phi_{t(j)}(r)                        atomic orbitals, one linear graph convolution
    N_A       = int w_A(r) sum_n psi_n(r)^2 dr                        electrons in the cell of atom A, before scaling
    s(r)      = sum_A w_A(r) Z_A / N_A,   psi -> sqrt(s) psi          every cell gets its Z_A electrons
    rho(r)    = sum_n psi_n(r)^2
    E         = sum_A (E_ref,A - E_free,A) + int g(rho(r)) f(psi(r)) dr + sum_A<B E_AB(R_AB),
                                                                    g(rho) = rho / (1 + rho/rho_0)

g vanishes with the density and levels off in the core, which is large, nearly the same in all molecules, and would
otherwise drown what happens between the atoms.
E_free,A is the same integral for the isolated atom, so that an isolated atom has the energy E_ref,A exactly. E_AB is
the screened repulsion of nuclei, which is no functional of the field.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ase_mlwave.models.domain.distance import DistanceFromTraining
from ase_mlwave.models.qdf.batch import Block, FieldBatch
from ase_mlwave.models.qdf.config import QDFConfig
from ase_mlwave.models.qdf.field import FieldValues, ScaledField, count_electrons, integrate
from ase_mlwave.models.qdf.grids import FieldGrid, cell_ratios, envelope, field_grid
from ase_mlwave.models.qdf.networks import EnergyFunctional, HohenbergKohnMap
from ase_mlwave.models.qdf.orbitals import AtomicOrbitals
from ase_mlwave.models.qdf.repulsion import NuclearRepulsion

__all__ = ["QDF", "QDFOutput"]

#: Values (centres x points x neighbours) that are kept for the backward pass; of larger batches blocks are recomputed.
KEPT_VALUES = 4_000_000

#: rho_0, e/Bohr^3: about the density inside a bond.
_SATURATION = 0.3
#: Unit of the energy functional's output, Hartree per electron: that of the bonds' energies.
_UNIT = 0.1


@dataclass(frozen=True)
class QDFOutput:
    """What the network predicts for a batch, float64.

    Parameters
    ----------
    energies : Tensor, (B,)
        Hartree.
    atomic_energies : Tensor, (N,)
        Their parts by cells.
    cell_electrons : Tensor, (N,)
        N_A, electrons of each cell before scaling.
    potential_error : Tensor or None, (N,)
        int w_A (V_HK - V_target)^2 dr of each cell, where it was asked for.
    """

    energies: Tensor
    atomic_energies: Tensor
    cell_electrons: Tensor
    potential_error: Tensor | None


class QDF(nn.Module):
    """Predict energies and densities from a field of points around the atoms.

    Parameters
    ----------
    config : QDFConfig
        Hyperparameters.

    Notes
    -----
    Laws, each a test in ``tests/models/qdf/test_laws.py``: energies change under rotation and reflection by the
    quadrature error alone; translation and permutation change nothing; molecules further apart than twice the cutoff
    add up; the density integrates to the number of electrons; E has two continuous derivatives; an isolated atom has
    its reference energy.
    Source: Tsubaki and Mizoguchi, PRL 125, 206401 (2020).
    Differs from the paper: an integral instead of a sum over points; electrons are normalised atom by atom, without
    which energies are not size consistent; g(rho) f(psi) instead of a functional that does not vanish with the density;
    smooth activations; the repulsion of nuclei is a term of its own.
    """

    element_index: Tensor
    charges: Tensor
    references: Tensor

    def __init__(self, config: QDFConfig) -> None:
        super().__init__()
        self.config = config
        index = torch.full((max(config.numbers) + 1,), -1, dtype=torch.int64)
        index[list(config.numbers)] = torch.arange(len(config.numbers))
        self.register_buffer("element_index", index, persistent=False)
        self.register_buffer("charges", torch.tensor(config.numbers, dtype=torch.float64), persistent=False)
        self.register_buffer("references", torch.zeros(len(config.numbers), dtype=torch.float64))
        self.orbitals = AtomicOrbitals(config)
        self.cell_shifts = nn.Parameter(torch.zeros(len(config.numbers), dtype=torch.float64))
        self.functional = EnergyFunctional(
            config.dimension, config.functional_layers, config.readout_width, len(config.elements)
        )
        self.repulsion = NuclearRepulsion(config.numbers, config.pair_functions, 2 * config.cutoff)
        self.domain = DistanceFromTraining(config.numbers, config.domain_environments)
        self.potential = HohenbergKohnMap(config.potential_width, config.potential_layers)

    # --- settings ---------------------------------------------------------------------------------------------------

    def grid(self, level: int | None = None) -> FieldGrid:
        """Give the points of one atom: the model's own, or those of another level (``ValueError`` if there is none).

        Notes
        -----
        A pass is told its grid and the network does not remember it: passes on different grids may run side by side.
        """
        config = self.config
        return field_grid(config.grid_level if level is None else level, config.cutoff, self.references.device)

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the network's weights."""
        return self.cell_shifts.dtype

    def cast(self, dtype: torch.dtype) -> QDF:
        """Set the precision of the weights in place; the grid and the references stay in float64."""
        for parameter in self.parameters():
            parameter.data = parameter.data.to(dtype)
        return self

    def elements_of(self, numbers: Tensor) -> Tensor:
        """Map atomic numbers (N,) to indices of the model's elements.

        Raises
        ------
        ValueError
            If an element is unknown to the model.
        """
        in_table = (numbers > 0) & (numbers < len(self.element_index))
        element = torch.where(in_table, self.element_index[numbers.clamp(0, len(self.element_index) - 1)], -1)
        if bool((element < 0).any()):
            unknown = sorted({chemical_symbols[z] for z in numbers[element < 0].tolist()})
            raise ValueError(f"elements {unknown} are unknown to this model, which has {list(self.config.elements)}")
        return element

    # --- the field --------------------------------------------------------------------------------------------------

    def field(self, vectors: Tensor, element: Tensor, present: Tensor, offsets: Tensor) -> FieldValues:
        """Evaluate orbitals and cells on the points around centres.

        Parameters
        ----------
        vectors : Tensor, (C, K, 3)
            From every centre to its neighbours (the first is itself), Bohr, in the network's precision.
        element : Tensor, (C, K)
            Element index of the neighbours.
        present : Tensor, (C, K)
            0 for padding.
        offsets : Tensor, (P, 3)
            Points, from the centre.

        Returns
        -------
        FieldValues
        """
        config = self.config
        own_r2 = offsets.square().sum(1, keepdim=True)  # (P, 1)
        cross = torch.matmul(offsets, vectors.transpose(1, 2))  # (C, P, K)
        r2 = torch.add(own_r2 + vectors.square().sum(2)[:, None], cross, alpha=-2)
        cut = envelope(r2, config.cutoff) * present[:, None]
        shift = self.cell_shifts[element]
        ratios = cell_ratios(
            r2, own_r2, cut, envelope(own_r2, config.cutoff), (shift - shift[:, :1])[:, None], config.partition
        )
        psi = self.orbitals(r2, cut, element)
        return FieldValues(psi, psi.square().sum(2), ratios / ratios.sum(2, keepdim=True), r2)

    def _scaled(self, values: FieldValues, quota: Tensor, weights: Tensor) -> ScaledField:
        """Give every cell its electrons.

        Parameters
        ----------
        values : FieldValues
            Of C centres.
        quota : Tensor, (C, K)
            Z_B / N_B of their neighbours.
        weights : Tensor, (P,)
            Of the points.

        Returns
        -------
        ScaledField
        """
        scale = torch.matmul(values.shares, quota[..., None])[..., 0]  # (C, P)
        rho = values.squared * scale
        cell_weights = weights * values.shares[..., 0]
        measure = _UNIT * cell_weights * rho / (1 + rho / _SATURATION)
        return ScaledField(values.psi * scale.sqrt()[..., None], rho, cell_weights, measure)

    def _free_fields(self, grid: FieldGrid) -> tuple[Tensor, ScaledField]:
        """Evaluate the field of the isolated atom of every element: one point per shell equals the full grid."""
        count, dtype = len(self.config.numbers), self.dtype
        element = torch.arange(count, device=self.references.device)
        vectors = torch.zeros(count, 1, 3, dtype=dtype, device=element.device)
        weights = grid.shell_weights.to(dtype)
        values = self.field(vectors, element[:, None], torch.ones_like(vectors[..., 0]), grid.shell_offsets.to(dtype))
        quota = self.charges.to(dtype) / (weights * values.squared).sum(1)
        return element, self._scaled(values, quota[:, None], weights)

    def _free_atoms(self, grid: FieldGrid) -> Tensor:
        """Integrate g(rho) f(psi) for the isolated atom of every element, (n_elements,), Hartree, float64."""
        element, field = self._free_fields(grid)
        energies: Tensor = (field.measure * self.functional(field.psi, element)).sum(1).double()
        return energies

    def linear_terms(self, batch: FieldBatch, *, grid_level: int | None = None) -> tuple[Tensor, Tensor]:
        """Evaluate what the energy is linear in.

        Parameters
        ----------
        batch : FieldBatch
            Molecules, as for ``forward``.
        grid_level : int, optional
            As for ``forward``.

        Returns
        -------
        fixed : Tensor, (B,)
            Hartree, float64.
        features : Tensor, (B, M)
            Hartree, float64: first, for every element, g(rho) h_k(psi) integrated over its cells, less the same for
            isolated atoms; then the learned functions of the repulsion, by pairs of elements. Their product with
            ``linear_weights()`` plus ``fixed`` is the energy less the atoms' references
            (``test_energy_is_linear_in_the_readout``). Works under forward-mode differentiation.
        """
        element, dtype, grid = self.elements_of(batch.numbers), self.dtype, self.grid(grid_level)
        values = [self._block_values(block, batch.positions, element, grid) for block in batch.blocks]
        weights = grid.weights.to(dtype)
        centres = torch.cat([block.centres for block in batch.blocks])
        counts = torch.cat([count_electrons(v, weights) for v in values])[centres.argsort()]
        quota = (batch.numbers.double() / counts).to(dtype)
        fields = [self._scaled(v, quota[b.neighbours], weights) for v, b in zip(values, batch.blocks, strict=True)]
        cells = torch.cat([integrate(field, self.functional.features(field.psi)) for field in fields])
        free = self._free_fields(grid)[1]
        excess = cells - integrate(free, self.functional.features(free.psi))[element[centres]]
        rows = batch.system[centres] * len(self.config.elements) + element[centres]
        count = len(batch.n_atoms)
        total = excess.new_zeros(count * len(self.config.elements), excess.shape[1]).index_add(0, rows, excess)
        terms = [self.repulsion.terms(*_pairs(block, batch.positions, element)) for block in batch.blocks]
        system = batch.system[centres]
        fixed = excess.new_zeros(count).index_add(0, system, torch.cat([wall for wall, _ in terms]))
        pairs = torch.cat([functions for _, functions in terms]).flatten(1)
        pairs = excess.new_zeros(count, pairs.shape[1]).index_add(0, system, pairs)
        return fixed, torch.cat([total.reshape(count, -1), pairs], 1)

    def pair_energies(self, batch: FieldBatch) -> Tensor:
        """Evaluate the repulsion of nuclei of every molecule, (B,), Hartree, float64."""
        centres = torch.cat([block.centres for block in batch.blocks])
        halves = self._pair_halves(batch, self.elements_of(batch.numbers))
        return halves.new_zeros(len(batch.n_atoms)).index_add(0, batch.system[centres], halves)

    def _pair_halves(self, batch: FieldBatch, element: Tensor) -> Tensor:
        """Evaluate every centre's half of its pair energies, (N,), in the order of the blocks."""
        return torch.cat([self.repulsion(*_pairs(block, batch.positions, element)) for block in batch.blocks])

    def linear_weights(self) -> Tensor:
        """Give the weights (M,) that `linear_terms` are multiplied by, float64."""
        return torch.cat([p.detach().double().flatten() for p in self._linear_parameters()])

    @torch.no_grad()
    def set_linear_weights(self, weights: Tensor) -> None:
        """Set the weights (M,) that `linear_terms` are multiplied by."""
        parameters = self._linear_parameters()
        for parameter, part in zip(parameters, weights.split([p.numel() for p in parameters]), strict=True):
            parameter.copy_(part.reshape(parameter.shape))

    def _linear_parameters(self) -> tuple[Tensor, Tensor]:
        return self.functional.readout.weight, self.repulsion.weight

    def _block_values(self, block: Block, positions: Tensor, element: Tensor, grid: FieldGrid) -> FieldValues:
        """Evaluate the field of a block on a grid."""
        dtype = self.dtype
        vectors = positions[block.neighbours] - positions[block.centres][:, None]
        return self.field(vectors.to(dtype), element[block.neighbours], block.present.to(dtype), grid.offsets.to(dtype))

    def forward(self, batch: FieldBatch, *, potential: bool = False, grid_level: int | None = None) -> QDFOutput:
        """Predict energies.

        Parameters
        ----------
        batch : FieldBatch
            Molecules of the model's elements, collated with a reach of twice the cutoff.
        potential : bool
            Evaluate the Hohenberg-Kohn map also.
        grid_level : int, optional
            Size of the grid, index into ``GRID_LEVELS``; the model's own by default.

        Returns
        -------
        QDFOutput
            Differentiable with respect to ``batch.positions`` and the weights, to second order.

        Raises
        ------
        ValueError
            If an element is unknown to the model.

        Notes
        -----
        Cells couple through N_A: one pass over the blocks for these, one for the energies. Where the batch is large,
        what the backward pass needs is computed again block by block instead of being kept.
        """
        element, grid = self.elements_of(batch.numbers), self.grid(grid_level)
        width = max(self.config.dimension, self.config.readout_width) // 64 + 1
        size = sum(max(block.neighbours.numel(), width * len(block.centres)) for block in batch.blocks)
        small = size * len(grid.offsets) <= KEPT_VALUES
        run = _directly if small or not torch.is_grad_enabled() else _with_recomputation
        dtype = self.dtype
        weights = grid.weights.to(dtype)

        def electrons(block: Block, positions: Tensor, values: FieldValues | None = None) -> Tensor:
            return count_electrons(values or self._block_values(block, positions, element, grid), weights)

        def energies(
            block: Block, positions: Tensor, quota: Tensor, values: FieldValues | None = None
        ) -> tuple[Tensor, Tensor]:
            values = values or self._block_values(block, positions, element, grid)
            field = self._scaled(values, quota[block.neighbours].to(dtype), weights)
            energy = (field.measure * self.functional(field.psi, element[block.centres])).sum(1).double()
            error = energy.new_zeros(len(energy))
            if potential:
                charge = batch.numbers[block.neighbours].to(dtype) * block.present.to(dtype)
                target = -torch.matmul(torch.exp(-values.r2), charge[..., None])[..., 0]
                error = (field.cell_weights * (self.potential(field.rho) - target).square()).sum(1).double()
            return energy, error

        order = torch.cat([block.centres for block in batch.blocks]).argsort()
        r = batch.positions
        first_pass = [(self._block_values(block, r, element, grid),) if small else () for block in batch.blocks]
        counts = torch.cat([run(electrons, b, r, *v) for b, v in zip(batch.blocks, first_pass, strict=True)])[order]
        quota = batch.numbers.double() / counts
        parts = [run(energies, b, r, quota, *v) for b, v in zip(batch.blocks, first_pass, strict=True)]
        pairs = self._pair_halves(batch, element)
        cells = (torch.cat([energy for energy, _ in parts]) + pairs)[order]
        atomic = self.references[element] + cells - self._free_atoms(grid)[element]
        total = atomic.new_zeros(len(batch.n_atoms)).index_add(0, batch.system, atomic)
        error = torch.cat([error for _, error in parts])[order] if potential else None
        return QDFOutput(total, atomic, counts, error)

    @torch.no_grad()
    def density(self, points: Tensor, batch: FieldBatch, cell_electrons: Tensor) -> Tensor:
        """Evaluate the density of one molecule on any points.

        Parameters
        ----------
        points : Tensor, (G, 3)
            Bohr.
        batch : FieldBatch
            One molecule.
        cell_electrons : Tensor, (N,)
            As ``forward`` gave it for the molecule.

        Returns
        -------
        Tensor, (G,)
            e/Bohr^3, float64.

        Notes
        -----
        Zero beyond the cutoff of all atoms. All atoms are looked at for every point; give points in blocks.
        """
        config, dtype = self.config, self.dtype
        element = self.elements_of(batch.numbers)
        r2 = (points[:, None] - batch.positions).square().sum(2).to(dtype)  # (G, N)
        cut = envelope(r2, config.cutoff)
        psi = self.orbitals(r2[None], cut[None], element[None])[0]
        nearest = r2.min(1, keepdim=True).values
        shift = self.cell_shifts[element]
        shares = cell_ratios(r2, nearest, cut, torch.ones_like(nearest), shift, config.partition)
        shares = shares / shares.sum(1, keepdim=True).clamp(min=torch.finfo(dtype).tiny)
        quota = (batch.numbers.double() / cell_electrons).to(dtype)
        rho: Tensor = psi.square().sum(1) * (shares @ quota)
        return rho.double()


def _pairs(block: Block, positions: Tensor, element: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Give what the repulsion is a function of: vectors (C, K, 3), elements and presence (C, K) of neighbours."""
    vectors = positions[block.neighbours] - positions[block.centres][:, None]
    return vectors, element[block.neighbours], block.present


def _directly(function: Callable[..., Any], *arguments: Any) -> Any:
    return function(*arguments)


def _with_recomputation(function: Callable[..., Any], *arguments: Any) -> Any:
    return checkpoint(function, *arguments, use_reentrant=False)
