"""The published quantum deep field, to rounding the same function of the geometry as the original."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ase_mlwave.models.qdf.published.config import PublishedConfig
from ase_mlwave.models.qdf.published.dense import dense, rectified_dense
from ase_mlwave.models.qdf.published.field import (
    ATOMS_IN_ONE_BLOCK,
    NEGLIGIBLE,
    Block,
    OrbitalTable,
    cut_into_blocks,
    external_potential,
    grid_sphere,
    squared_distances,
)
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR, HARTREE

__all__ = ["PublishedQDF"]

Index = NDArray[np.int64]

#: Smallest norm that orbitals are divided by.
_TINY = 1e-12
#: Points that the energy functional takes at a time.
_ROWS = 2048


class PublishedQDF(nn.Module):
    """Predict energies from a sum over the points of a field.

    Parameters
    ----------
    config : PublishedConfig
        Hyperparameters and elements.

    Notes
    -----
    With distances in Angstrom, phi_j(r) = |r-R_j|^(q-1) exp(-zeta_j |r-R_j|^2) is divided by its norm over the field,
    and the coefficients c_{t(j),n} by theirs over the molecule's orbitals j; then psi_n(r) = sum_j c_{t(j),n} phi_j(r)
    is scaled so that the sum of psi_n^2 over the field is N_electrons / d. The energy is a linear function of the sum
    (or mean) over the field of a dense ReLU network of psi(r); a second one maps rho(r) = sum_n psi_n(r)^2 to V(r).
    Molecules never share a matrix, so the cost of one does not depend on the others
    (``test_a_batch_is_its_molecules``). The energy depends on the orientation of the molecule and has jumps: it is no
    potential energy surface. Source: Tsubaki and Mizoguchi, Phys. Rev. Lett. 125, 206401 (2020).
    """

    def __init__(self, config: PublishedConfig) -> None:
        super().__init__()
        self.config = config
        names, d, hidden = config.orbital_names(), config.width, config.map_width
        self.coefficients = nn.Parameter(torch.randn(len(names), d))
        self.exponents = nn.Parameter(torch.ones(len(names)))
        self.functional = nn.ModuleList(nn.Linear(d, d) for _ in range(config.functional_layers))
        self.output = nn.Linear(d, len(config.outputs))
        self.map_input = nn.Linear(1, hidden)
        self.map_layers = nn.ModuleList(nn.Linear(hidden, hidden) for _ in range(config.map_layers))
        self.map_output = nn.Linear(hidden, 1)
        self.sphere: Tensor
        self.register_buffer(
            "sphere", grid_sphere(config.radius_angstrom, config.grid_interval_angstrom), persistent=False
        )
        self.table = OrbitalTable(*_tables(config))  # stays on the CPU, where molecules come from

    def cast(self, dtype: torch.dtype) -> Self:
        """Set the precision of the parameters; geometry is always float64."""
        for parameter in self.parameters():
            parameter.data = parameter.data.to(dtype)
        return self

    # --- what it predicts -------------------------------------------------------------------------------------------

    def forward(self, systems: Sequence[System]) -> Tensor:
        """Predict the energies of molecules.

        Parameters
        ----------
        systems : sequence of System, (B,)
            Molecules with elements of ``config.elements``.

        Returns
        -------
        Tensor, (B, n_outputs)
            Hartree, float64.
        """
        values: list[Tensor] = []
        pending: list[Tensor] = []
        for system in systems:
            pending.append(self._first_layer(system))
            if sum(len(rows) for rows in pending) >= _ROWS:
                values += self._pooled(pending)
                pending = []
        values += self._pooled(pending)
        electronvolts = torch.stack(values) if values else self.sphere.new_zeros(0, len(self.config.outputs))
        return electronvolts.double() / HARTREE

    def orbitals(self, system: System) -> Tensor:
        """Evaluate the molecular orbitals psi_n on the field.

        Parameters
        ----------
        system : System
            One molecule.

        Returns
        -------
        Tensor, (N * P, d)
            The sum of squares of each column is N_electrons / d. Points are in the order of the atoms.
        """
        molecule = _Molecule(self, system)
        coefficients = self._normalised(molecule) / molecule.orbital_norms()[:, None]
        parts = [dense(phi.T, coefficients[members].T) for phi, members in molecule.basis()]
        raw = molecule.in_order(parts)
        return raw * (molecule.amplitude / _norms(raw))

    def density(self, system: System) -> Tensor:
        """Evaluate rho(r) = sum_n psi_n(r)^2 on the field, (N * P,); its sum is the number of electrons."""
        return self.orbitals(system).square().sum(dim=1)

    def potential(self, density: Tensor) -> Tensor:
        """Map a density to the external potential at the same points, (G,) -> (G,): the Hohenberg-Kohn map.

        Notes
        -----
        As published, no ReLU stands between the first two layers, so they are one linear function of the density.
        """
        first, last = self.map_input, self.map_output
        layers = _linear_layers(self.map_layers)
        slope: Tensor = first.weight[:, 0]
        shift: Tensor = first.bias
        if layers:
            slope, shift = layers[0].weight @ slope, layers[0].weight @ shift + layers[0].bias
        hidden = torch.addcmul(shift, density[:, None], slope)
        hidden = hidden.relu() if layers else hidden
        for layer in layers[1:]:
            hidden = rectified_dense(hidden, layer.weight, layer.bias)
        return dense(hidden, last.weight, last.bias)[:, 0]

    def reference_potential(self, system: System) -> Tensor:
        """Compute what `potential` is fitted to, (N * P,); see `external_potential`."""
        molecule = _Molecule(self, system)
        parts = [external_potential(squared, molecule.numbers[atoms]) for squared, atoms in molecule.geometry()]
        return molecule.in_order(parts).to(self.exponents.dtype)

    def points(self, system: System) -> Tensor:
        """Return the points of the field, (N * P, 3), Bohr, float64."""
        positions = torch.as_tensor(np.array(system.positions), device=self.sphere.device)
        return (positions[:, None, :] + self.sphere / BOHR).reshape(-1, 3)

    # --- how --------------------------------------------------------------------------------------------------------

    def _normalised(self, molecule: _Molecule) -> Tensor:
        """Return the coefficients of a molecule's orbitals, (M, d), each column of norm 1."""
        rows = self.coefficients[molecule.types]
        return rows / _norms(rows)

    def _first_layer(self, system: System) -> Tensor:
        """Evaluate the functional's first layer on a molecule's points, (G, d).

        Notes
        -----
        Where there are fewer orbitals than columns, psi itself is not needed: its norms follow from the overlaps of
        the orbitals over the field, and its coefficients are multiplied into the layer's weight matrix.
        """
        layer = _linear_layers(self.functional)[0]
        molecule = _Molecule(self, system)
        if len(molecule.blocks) > 1 or len(molecule.types) >= self.config.width:
            return dense(self.orbitals(system), layer.weight, layer.bias, rectify=True)
        ((phi, _),) = molecule.basis()
        overlap = dense(phi, phi)  # (M, M)
        coefficients = self._normalised(molecule) / overlap.diagonal().sqrt().clamp_min(_TINY)[:, None]
        squared = (dense(overlap, coefficients.T) * coefficients).sum(dim=0)
        scale = molecule.amplitude / squared.clamp_min(_TINY**2).sqrt()
        return dense(phi.T, dense(layer.weight * scale, coefficients), layer.bias, rectify=True)

    def _pooled(self, first: list[Tensor]) -> list[Tensor]:
        """Take the outputs of the first layer to energies, eV, each (n_outputs,), one per molecule."""
        if not first:
            return []
        hidden = torch.cat(first) if len(first) > 1 else first[0]
        for layer in _linear_layers(self.functional)[1:]:
            hidden = rectified_dense(hidden, layer.weight, layer.bias)
        mean = self.config.pooling == "mean"
        parts = hidden.split([len(rows) for rows in first])
        return list(self.output(torch.stack([rows.sum(dim=0) / (len(rows) if mean else 1) for rows in parts])))


class _Molecule:
    """One molecule on the network's device, cut into blocks."""

    def __init__(self, network: PublishedQDF, system: System) -> None:
        device = network.sphere.device
        self.network = network
        self.n_atoms = len(system)
        self.numbers = torch.as_tensor(np.array(system.numbers), device=device)
        self.positions = torch.as_tensor(system.positions * BOHR, device=device)
        types, atoms, n_first = network.table.of(system.numbers)
        self.types = torch.as_tensor(types, device=device)
        self.blocks = [Block.of(*part, atoms, n_first, device) for part in self._cut(system)]
        self.amplitude = math.sqrt(system.n_electrons / network.config.width)

    def _cut(self, system: System) -> list[tuple[Index, Index]]:
        if len(system) <= ATOMS_IN_ONE_BLOCK:  # one block, whose exponents need not be asked for
            return cut_into_blocks(system, math.inf)
        smallest = float(self.network.exponents.detach().min())
        reach = math.sqrt(-math.log(NEGLIGIBLE) / smallest) if smallest > 0 else math.inf
        return cut_into_blocks(system, (reach + self.network.config.radius_angstrom) / BOHR)

    def geometry(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Give for every block the squared distances (J, G) and the atoms (J,)."""
        for block in self.blocks:
            yield self._squared(block), block.atoms

    def _squared(self, block: Block) -> Tensor:
        return squared_distances(self.network.sphere, self.positions[block.centres], self.positions[block.atoms])

    def basis(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Give for every block its orbitals on its points, (M_J, G), not normalised, and their indices (M_J,)."""
        minus_zetas = -self.network.exponents[self.types][:, None]
        for block in self.blocks:
            distances = self._squared(block).to(minus_zetas.dtype)
            powers = distances.index_select(0, block.rows) * minus_zetas[block.members]
            second = block.rows[block.n_first :]
            powers[block.n_first :].add_(distances.log().index_select(0, second), alpha=0.5)  # the factor |r - R|
            yield powers.exp_(), block.members

    def orbital_norms(self) -> Tensor:
        """Return the norms of the orbitals over the whole field, (M,)."""
        squares = torch.zeros(len(self.types), dtype=self.network.exponents.dtype, device=self.types.device)
        for phi, members in self.basis():
            squares = squares.index_add(0, members, phi.square().sum(dim=1))
        return squares.sqrt().clamp_min(_TINY)

    def in_order(self, parts: list[Tensor]) -> Tensor:
        """Join what the blocks gave, each (I * P, ...), in the order of the atoms, (N * P, ...)."""
        centres = torch.cat([block.centres for block in self.blocks])
        joined = torch.cat(parts)
        by_atom = joined.reshape(self.n_atoms, -1, *joined.shape[1:])
        return by_atom[centres.argsort()].reshape(joined.shape) if len(self.blocks) > 1 else joined


def _linear_layers(layers: nn.ModuleList) -> list[nn.Linear]:
    """Return the layers with their type."""
    return [layer for layer in layers if isinstance(layer, nn.Linear)]


def _norms(columns: Tensor) -> Tensor:
    """Return the norms of columns, (rows, n) -> (n,), kept away from zero."""
    norms: Tensor = torch.linalg.vector_norm(columns, dim=0)
    return norms.clamp_min(_TINY)


def _tables(config: PublishedConfig) -> tuple[Index, Index]:
    """Tabulate the rows of orbitals with q = 1 and q = 2 by atomic number; see `OrbitalTable`."""
    row = {name: index for index, name in enumerate(config.orbital_names())}
    tables = []
    for order in (1, 2):
        rows = {
            z: [row[name] for name, q in config.orbitals_of(element) if q == order]
            for z, element in zip(config.numbers, config.elements, strict=True)
        }
        table = np.full((max(config.numbers) + 1, max(map(len, rows.values()))), -1)
        for z, values in rows.items():
            table[z, : len(values)] = values
        tables.append(table)
    return tables[0], tables[1]
