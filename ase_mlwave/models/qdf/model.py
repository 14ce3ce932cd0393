"""The quantum deep field: geometry -> orbitals on points -> density -> energy, and density -> external potential.

    psi_n(r)  = sum_j c_{t(j),n} phi_{t(j)}(r)                        atomic orbitals, one linear graph convolution
    N_A       = int w_A(r) sum_n psi_n(r)^2 dr                        electrons in the cell of atom A, before scaling
    s(r)      = sum_A w_A(r) Z_A / N_A,   psi -> sqrt(s) psi          every cell gets its Z_A electrons
    rho(r)    = sum_n psi_n(r)^2
    q_k(r)    = s(r) (sum_n u_nk grad psi_n) . (sum_n v_nk grad psi_n)   invariants of the gradients, before scaling
    E         = sum_A (E_ref,A - E_free,A) + int g(rho(r)) f(psi(r), q(r)) dr + sum_A<B E_AB(R_AB),
                                                                    g(rho) = rho / (1 + rho/rho_0)

g vanishes with the density and levels off in the core, which is large, nearly the same in all molecules, and would
otherwise drown what happens between the atoms.
E_free,A is the same integral for the isolated atom, so that an isolated atom has the energy E_ref,A exactly. E_AB is
the screened repulsion of nuclei, which is no functional of the field.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from ase.data import chemical_symbols
from torch import Tensor, nn

from ase_mlwave.models.domain.distance import DistanceFromTraining
from ase_mlwave.models.qdf.batch import FieldBatch, with_patches
from ase_mlwave.models.qdf.config import QDFConfig
from ase_mlwave.models.qdf.exponentials import PEAK_WIDTH, log_envelope, log_slopes, log_terms, powers
from ase_mlwave.models.qdf.field import FieldValues, ScaledField, Surroundings, count_electrons
from ase_mlwave.models.qdf.grids import FieldGrid, cell_table, field_grid
from ase_mlwave.models.qdf.networks import EnergyFunctional, GradientInvariants, HohenbergKohnMap
from ase_mlwave.models.qdf.orbitals import AtomicOrbitals
from ase_mlwave.models.qdf.repulsion import NuclearRepulsion
from ase_mlwave.models.qdf.rows import directly, eagerly, with_recomputation
from ase_mlwave.models.qdf.uncertainty import EnergyUncertainty
from ase_mlwave.systems.batch import SystemBatch, collate
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.systems.system import System

__all__ = ["QDF", "QDFOutput"]

#: Values (centres x points x neighbours) that are kept for the backward pass, 300 bytes each; the blocks of larger
#: batches are recomputed, or differentiated at once where no weight is learned.
KEPT_VALUES = 2_000_000
#: Where padding lies, Bohr: out of every reach.
_FAR = 1e3
#: Points of a block on a CPU, whose cache holds what a block computes, and elsewhere.
_POINTS_IN_CACHE, _POINTS = 1536, 2**16

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
        self.gradients = GradientInvariants(config.dimension, config.gradients) if config.gradients else None
        self.functional = EnergyFunctional(
            config.dimension, config.functional_layers, config.readout_width, len(config.elements), config.gradients
        )
        wall = config.base is None  # a base level has its own
        self.repulsion = NuclearRepulsion(config.numbers, config.pair_functions, 2 * config.cutoff, wall=wall)
        self.domain = DistanceFromTraining(config.numbers, config.domain_environments, config.domain_bonds)
        self.potential = HohenbergKohnMap(config.potential_width, config.potential_layers)
        n_columns, kept = len(self.linear_weights()) + len(config.elements), config.uncertainty_directions
        self.uncertainty = EnergyUncertainty(n_columns, kept) if kept else None

    # --- settings ---------------------------------------------------------------------------------------------------

    def grid(self, level: int | None = None, *, patched: bool = False) -> FieldGrid:
        """Give the points of one atom: the model's own, or those of another level (``ValueError`` if there is none).

        Notes
        -----
        A pass is told its grid and the network does not remember it: passes on different grids may run side by side.
        """
        config = self.config
        level = config.grid_level if level is None else level
        return field_grid(level, config.cutoff, self.references.device, self.dtype, patched=patched)

    @property
    def dtype(self) -> torch.dtype:
        """Floating-point type of the network's weights."""
        return self.cell_shifts.dtype

    def cast(self, dtype: torch.dtype) -> QDF:
        """Set the precision of the weights in place; the references stay in float64."""
        for parameter in self.parameters():
            parameter.data = parameter.data.to(dtype)
        return self

    def collate(
        self, systems: Sequence[System], *, grid_level: int | None = None, neighbours: NeighbourList | None = None
    ) -> FieldBatch:
        """Join molecules to a batch on the network's device: all that a pass needs to know from outside.

        Parameters
        ----------
        systems : sequence of System, (B,)
            Molecules of the model's elements.
        grid_level : int, optional
            Size of the grid, index into ``GRID_LEVELS``; the model's own by default.
        neighbours : NeighbourList, optional
            As of `ase_mlwave.systems.batch.collate`.

        Returns
        -------
        FieldBatch

        Raises
        ------
        ValueError
            If an element is unknown to the model.
        """
        config, device = self.config, self.references.device
        unknown = set().union(*(system.numbers.tolist() for system in systems)) - set(config.numbers)
        if unknown:
            symbols = sorted(chemical_symbols[z] for z in unknown)
            raise ValueError(f"elements {symbols} are unknown to this model, which has {list(config.elements)}")
        level = config.grid_level if grid_level is None else grid_level
        points = _POINTS_IN_CACHE if device.type == "cpu" else _POINTS
        return with_patches(collate(systems, 2 * config.cutoff, neighbours), level, config.cutoff, points).to(device)

    def elements_of(self, numbers: Tensor) -> Tensor:
        """Map atomic numbers (N,) to indices of the model's elements; -1 for others."""
        return self.element_index[numbers]

    # --- the field --------------------------------------------------------------------------------------------------

    def _places(self, batch: FieldBatch, grid: FieldGrid) -> list[tuple[Tensor, Surroundings]]:
        """Give for every block the vectors (C, K, 3), Bohr, from centres to neighbours, and what else there is."""
        dtype = self.dtype
        places = []
        for block in batch.blocks:
            centres, near, present = block.centres, block.neighbours, block.present
            vectors = batch.positions[near] - batch.positions[centres][:, None]
            vectors = vectors.masked_fill(~present[..., None], _FAR).to(dtype)
            elements = self.elements_of(batch.numbers[centres]), self.elements_of(block.numbers)
            points = grid.offsets[block.patches], grid.weights[block.patches]
            places.append((vectors, Surroundings(*elements, (block.numbers * present).to(dtype), *points)))
        return places

    def field(self, vectors: Tensor, here: Surroundings) -> FieldValues:
        """Evaluate orbitals and cells on the points around centres; vectors (C, K, 3) to neighbours, Bohr."""
        config = self.config
        own_r2 = here.offsets.square().sum(2)  # (C, P)
        cross = torch.bmm(vectors, here.offsets.transpose(1, 2)).transpose(0, 1)  # (K, C, P)
        r2 = torch.add(own_r2 + vectors.square().sum(2).T[..., None], cross, alpha=-2)
        cells = cell_table(self.cell_shifts, config.partition)
        own = self._own(own_r2, cells[here.own])
        terms = log_terms(r2.flatten(1), own.flatten(), config.softening, config.cutoff)
        ratios = powers(cells[here.element][:, None], terms).reshape(r2.shape)
        mixing, shape, invariants = self.orbitals.mixing(), own.shape, None
        if self.gradients is None:
            basis = self.orbitals.basis(terms, here.element)
        else:
            slopes = log_slopes(r2.flatten(1), config.softening, config.cutoff)
            away = (here.offsets - vectors.transpose(0, 1)[:, :, None]).flatten(1, 2).transpose(1, 2)  # (K, 3, G)
            basis, gradients = self.orbitals.basis_and_gradients(terms, slopes, away, here.element)
            invariants = self.gradients(gradients, mixing).unflatten(1, shape)
        squared = (((mixing @ mixing.T) @ basis) * basis).sum(0)
        columns = basis.unflatten(1, shape), squared.unflatten(0, shape)
        return FieldValues(*columns, ratios, 1 / ratios.sum(0), r2, invariants)

    def _own(self, r2: Tensor, cells: Tensor) -> Tensor:
        """Evaluate log2 p_A at points of A: squared distances (C, P) and rows of the cells' table (C, 6) -> (C, P)."""
        constant, gaussian, _, peak, envelope, _ = cells.T[..., None]
        logs = peak * torch.log2(r2 + PEAK_WIDTH) + envelope * log_envelope(r2, self.config.cutoff)
        logarithm: Tensor = constant + gaussian * r2 + logs
        return logarithm

    def _scaled(self, values: FieldValues, quota: Tensor, weights: Tensor) -> ScaledField:
        """Give every cell its electrons.

        Parameters
        ----------
        values : FieldValues
            Of C centres.
        quota : Tensor, (C, K)
            Z_B / N_B of their neighbours.
        weights : Tensor, (C, P)
            Of the points.

        Returns
        -------
        ScaledField
        """
        scale = (values.ratios * quota.T[..., None]).sum(0) * values.own  # (C, P)
        rho = values.squared * scale
        cell_weights = weights * values.own
        measure = _UNIT * cell_weights * rho / (1 + rho / _SATURATION)
        invariants = None if values.invariants is None else values.invariants * scale
        return ScaledField(values.basis * scale.sqrt(), rho, cell_weights, measure, invariants)

    def _free_fields(self, grid: FieldGrid) -> tuple[Tensor, ScaledField]:
        """Evaluate the field of the isolated atom of every element: one point per shell equals the full grid."""
        count, charges = len(self.config.numbers), self.charges.to(self.dtype)
        element = torch.arange(count, device=charges.device)
        present = element[:, None] == element
        points = grid.shell_offsets.expand(count, -1, -1), grid.shell_weights.expand(count, -1)
        here = Surroundings(element, element, charges * present, *points)
        vectors = charges.new_zeros(count, count, 3).masked_fill(~present[..., None], _FAR)
        values = self.field(vectors, here)
        quota = here.charges / (here.weights * values.squared).sum(1)[:, None]
        return element, self._scaled(values, quota, here.weights)

    def _free_atoms(self, grid: FieldGrid) -> Tensor:
        """Integrate g(rho) f(psi) for the isolated atom of every element, (n_elements,), Hartree, float64."""
        element, field = self._free_fields(grid)
        return self._energies(field, element)

    def _energies(self, field: ScaledField, element: Tensor) -> Tensor:
        """Integrate g(rho) f(psi) over cells of elements (C,), Hartree, float64."""
        values = self.functional(field, self.orbitals.mixing(), element)
        energies: Tensor = (field.measure * values).sum(1).double()
        return energies

    def _electrons(self, here: Surroundings, values: FieldValues | None, vectors: Tensor) -> Tensor:
        """Count the electrons of cells before scaling, (C, 1, 1); ``values`` are computed where there are none."""
        return count_electrons(values or self.field(vectors, here), here.weights)[:, None, None]

    def _cells(
        self, here: Surroundings, values: FieldValues | None, potential: bool, vectors: Tensor, quota: Tensor
    ) -> Tensor:
        """Integrate over cells: energies, and where asked for errors of the potential, (C, 1 or 2, 1), float64."""
        values = values or self.field(vectors, here)
        field = self._scaled(values, quota[..., 0], here.weights)
        columns = [self._energies(field, here.own)]
        if potential:
            target = -(torch.exp(-values.r2) * here.charges.T[..., None]).sum(0)
            columns.append((field.cell_weights * (self.potential(field.rho) - target).square()).sum(1).double())
        return torch.stack(columns, 1)[..., None]

    # --- energies ---------------------------------------------------------------------------------------------------

    def linear_terms(self, batch: FieldBatch, *, grid_level: int | None = None) -> tuple[Tensor, Tensor]:
        """Evaluate what the energy is linear in.

        Parameters
        ----------
        batch, grid_level
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
        return self._linear_terms(batch, self._excess(batch, grid_level)[0])

    def _excess(self, batch: FieldBatch, grid_level: int | None = None) -> tuple[Tensor, Tensor]:
        """Integrate g(rho) h_k(psi) over cells less the same for isolated atoms, (N, K); count electrons, (N,)."""
        grid = self._grid_of(batch, grid_level)
        places, mixing = self._places(batch, grid), self.orbitals.mixing()
        values = [self.field(*place) for place in places]
        counted = [count_electrons(v, here.weights) for v, (_, here) in zip(values, places, strict=True)]
        counts = _by_atom(batch, counted)
        quota = (batch.numbers.double() / counts).to(self.dtype)
        cells = []
        for v, (_, here), block in zip(values, places, batch.blocks, strict=True):
            field = self._scaled(v, quota[block.neighbours], here.weights)
            cells.append(self.functional.integrals(field, mixing))
        atoms = self.functional.integrals(self._free_fields(grid)[1], mixing)
        return _by_atom(batch, cells) - atoms[self.elements_of(batch.numbers)], counts

    def _linear_terms(self, batch: FieldBatch, excess: Tensor) -> tuple[Tensor, Tensor]:
        """Sum up atoms' integrals, and add the pairs' functions, as `linear_terms`."""
        element, count, n_elements = self.elements_of(batch.numbers), len(batch.n_atoms), len(self.config.elements)
        features = _sums(excess, batch.system * n_elements + element, count * n_elements)
        wall, functions, kind = self.repulsion.terms(*self._pairs(batch))
        system, n_kinds = batch.system[batch.first], len(self.repulsion.weight)
        pairs = _sums(functions, system * n_kinds + kind, count * n_kinds)
        return _sums(wall, system, count), torch.cat([features.reshape(count, -1), pairs.reshape(count, -1)], 1)

    @torch.no_grad()
    def energy_deviations(self, batch: FieldBatch) -> Tensor | None:
        """Evaluate the standard deviations of energies (B,), Hartree, float64; None where the model has no measure."""
        return None if self.uncertainty is None else self._deviations(batch, self._excess(batch)[0])

    @torch.no_grad()
    def energies_and_deviations(self, batch: FieldBatch) -> tuple[QDFOutput, Tensor | None]:
        """Evaluate energies, without derivatives, and their standard deviations: both in one pass where it gives both.

        Parameters
        ----------
        batch : FieldBatch
            As for ``forward``.

        Returns
        -------
        output : QDFOutput
            As of ``forward``, up to rounding.
        deviations : Tensor or None, (B,)
            As of `energy_deviations`.
        """
        if self.uncertainty is None:
            output: QDFOutput = self(batch)
            return output, None
        excess, counts = self._excess(batch)
        element = self.elements_of(batch.numbers)
        cells = (excess * self.functional.readout.weight.double()[element]).sum(1)
        return self._summed(batch, counts, cells, 0.0), self._deviations(batch, excess)

    def _deviations(self, batch: FieldBatch, excess: Tensor) -> Tensor:
        assert self.uncertainty is not None
        element, n_elements, count = self.elements_of(batch.numbers), len(self.config.elements), len(batch.n_atoms)
        ones = torch.ones(len(element), dtype=torch.float64, device=element.device)
        atoms = _sums(ones, batch.system * n_elements + element, count * n_elements).reshape(count, -1)
        deviations: Tensor = self.uncertainty(torch.cat([self._linear_terms(batch, excess)[1], atoms], 1))
        return deviations

    def pair_energies(self, batch: SystemBatch) -> Tensor:
        """Evaluate the repulsion of nuclei of every molecule, (B,), Hartree, float64."""
        return _sums(self.repulsion(*self._pairs(batch)), batch.system[batch.first], len(batch.n_atoms))

    def _pairs(self, batch: SystemBatch) -> tuple[Tensor, Tensor, Tensor]:
        """Give what the repulsion is a function of: vectors (E, 3), elements (E,) of first and second atoms."""
        element = self.elements_of(batch.numbers)
        return batch.vectors(), element[batch.first], element[batch.second]

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

    def _grid_of(self, batch: FieldBatch, level: int | None) -> FieldGrid:
        """Give the grid that a batch was made for, or one of any level where it serves all."""
        patched = batch.grid_level is not None
        return self.grid(batch.grid_level if patched else level, patched=patched)

    def forward(self, batch: FieldBatch, *, potential: bool = False, grid_level: int | None = None) -> QDFOutput:
        """Predict energies.

        Parameters
        ----------
        batch : FieldBatch
            Molecules of the model's elements, from `collate` or `with_blocks` with a reach of twice the cutoff.
        potential : bool
            Evaluate the Hohenberg-Kohn map also.
        grid_level : int, optional
            Size of the grid of a batch that serves all; the model's own by default.

        Returns
        -------
        QDFOutput
            Differentiable with respect to ``batch.positions`` and the weights, to second order.

        Notes
        -----
        Cells couple through N_A: one pass over the blocks for these, one for the energies. Nothing is copied between
        devices (``test_a_pass_runs_on_the_meta_device``).
        """
        grid = self._grid_of(batch, grid_level)
        places = self._places(batch, grid)
        run, keep = self._way(batch, grid, eager=not potential)
        values = [self.field(*place) if keep else None for place in places]
        known = list(zip(places, values, batch.blocks, strict=True))
        counts = _by_atom(batch, [run(partial(self._electrons, here, v), r) for (r, here), v, _ in known])[:, 0, 0]
        quota = (batch.numbers.double() / counts).to(self.dtype)[:, None]
        parts = [
            run(partial(self._cells, here, v, potential), r, quota[block.neighbours]) for (r, here), v, block in known
        ]
        cells, element = _by_atom(batch, parts), self.elements_of(batch.numbers)
        free = self._free_atoms(grid)[element]
        return self._summed(batch, counts, cells[:, 0, 0], free, cells[:, 1, 0] if potential else None)

    def _summed(
        self, batch: FieldBatch, counts: Tensor, cells: Tensor, free: Tensor | float, error: Tensor | None = None
    ) -> QDFOutput:
        """Add references and pairs to the integrals over cells (N,) less those of isolated atoms, Hartree."""
        element = self.elements_of(batch.numbers)
        pairs = _sums(self.repulsion(*self._pairs(batch)), batch.first, len(element))
        atomic = self.references[element] + cells + pairs - free
        return QDFOutput(_sums(atomic, batch.system, len(batch.n_atoms)), atomic, counts, error)

    def _way(self, batch: FieldBatch, grid: FieldGrid, *, eager: bool) -> tuple[Callable[..., Tensor], bool]:
        """Choose how blocks are evaluated, and whether the field is kept from the first pass to the second."""
        width = max(self.config.dimension, self.config.readout_width) // 64 + 1
        values = 1 if self.gradients is None else 2  # of a pair: orbitals, and their gradients
        size = sum(max(values * block.table.numel(), width * len(block.table)) for block in batch.blocks)
        small = size * grid.weights.shape[1] <= KEPT_VALUES
        if small or not torch.is_grad_enabled():
            return directly, small
        learned = any(parameter.requires_grad for parameter in self.parameters())
        return with_recomputation if learned or not eager else eagerly, False

    @torch.no_grad()
    def cell_electrons(self, batch: FieldBatch) -> Tensor:
        """Count the electrons of every cell before scaling, (N,), float64, as ``forward`` does on its way."""
        places = self._places(batch, self._grid_of(batch, None))
        return _by_atom(batch, [self._electrons(here, None, r) for r, here in places])[:, 0, 0]

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
            As `cell_electrons` gave it for the molecule.

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
        r2 = (batch.positions[:, None] - points).square().sum(2).to(dtype)  # (N, G)
        cells = cell_table(self.cell_shifts, config.partition)
        largest = cells[0, 1] * r2.min(0).values  # of the Gaussians, so that one at least is no zero
        terms = log_terms(r2, largest, config.softening, config.cutoff)
        psi = self.orbitals.mixing().T @ self.orbitals.basis(terms, element)
        shares = powers(cells[element][:, None], terms)[:, 0]
        shares = shares / shares.sum(0).clamp(min=torch.finfo(dtype).tiny)
        quota = (batch.numbers.double() / cell_electrons).to(dtype)
        rho: Tensor = psi.square().sum(0) * (quota @ shares)
        return rho.double()


def _by_atom(batch: FieldBatch, parts: Sequence[Tensor]) -> Tensor:
    """Sum what the blocks gave for their centres, (C, ...) each, by atoms, (N, ...)."""
    return _sums(torch.cat(list(parts)), torch.cat([block.centres for block in batch.blocks]), len(batch.numbers))


def _sums(values: Tensor, index: Tensor, count: int) -> Tensor:
    """Sum rows by their index, (n, ...) -> (count, ...)."""
    return values.new_zeros(count, *values.shape[1:]).index_add(0, index, values)
