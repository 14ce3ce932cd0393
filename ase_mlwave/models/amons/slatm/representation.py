"""aSLATM: what an atom sees within 4.8 Angstrom, as spectra of distances and angles by element."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from ase.data import chemical_symbols
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.models.amons.slatm.neighbours import SlatmBatch, join_with_triangles, n_candidates
from ase_mlwave.models.amons.slatm.spectra import Spectra, SpectrumShapes
from ase_mlwave.models.amons.slatm.types import TypeTable
from ase_mlwave.systems.batch import pairs_of
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.systems.system import System
from ase_mlwave.units import BOHR

__all__ = ["Slatm"]

#: Relative distance beyond the cutoff that lists still include; what it contributes is decided by the cutoff itself.
_SLACK = 1e-9
#: Candidates for triangles up to which pairs and triangles are kept from step to step: some hundred megabytes.
_KEPT = 1 << 23


class Slatm:
    """Represent atoms by the spectra of their pairs and triangles.

    Parameters
    ----------
    config : SlatmConfig
        Elements, grids, cutoffs, and whether they are smooth.

    Notes
    -----
    For an atom I, with atomic numbers z, grids x and Gaussian width s,

    - one-body: z_I;
    - two-body, by element of J: z_I z_J / 2 dg / (sqrt(2 pi) s) x^-6 sum_J f(r_IJ) exp(-(x - r_IJ)^2 / 2 s^2);
    - three-body, by elements of i and k: z_i z_I z_k / 3 dg / (sqrt(2 pi) s) sum over pairs {i, k} of
      f(r_iI) f(r_kI) f(r_ik) [1 + cos x cos t_i cos t_k] / (r_iI r_kI r_ik)^3 exp(-(x - t_I)^2 / 2 s^2).

    f is 1 up to the cutoff and 0 beyond it (``smooth=False``: the public implementation, to rounding), or falls there
    with three continuous derivatives (``smooth=True``: energies, forces and Hessians are continuous).

    Rows are *compact*: only the blocks that an atom of its element can have, (charge | distances by element | angles by
    pair of elements). Distances between environments of one element are those of the *full* layout; `expand` gives it.

    Laws, all tested: rotation, reflection, translation and permutation change nothing; a batch is its systems; a cell
    is its supercell.
    Source: Huang and von Lilienfeld, Nat. Chem. 12, 945 (2020).

    Examples
    --------
    >>> slatm = Slatm(SlatmConfig(elements=("H", "O")))
    >>> water = System([8, 1, 1], [[0.0, 0.0, 0.0], [1.8, 0.0, 0.0], [-0.45, 1.74, 0.0]])
    >>> slatm.environments_of(slatm.collate([water])).shape
    torch.Size([3, 699])
    """

    def __init__(self, config: SlatmConfig) -> None:
        self.config = config
        self._shapes = SpectrumShapes(config)

    @property
    def table(self) -> TypeTable:
        """Which columns belong to which type, in both layouts."""
        return self._shapes.table

    @property
    def types(self) -> tuple[tuple[int, ...], ...]:
        """One-, two- and three-body types in the order of the full layout (the centre of a triangle in the middle)."""
        return self.table.types

    @property
    def width(self) -> int:
        """Columns D of the compact layout."""
        return self.table.width

    @property
    def cutoff(self) -> float:
        """Largest distance, Bohr."""
        return self.config.cutoff_angstrom / BOHR

    def collate(
        self,
        systems: Sequence[System],
        neighbours: NeighbourList | None = None,
        *,
        device: torch.device | str = "cpu",
    ) -> SlatmBatch:
        """Join systems to a batch, with the pairs and triangles within the cutoff.

        Parameters
        ----------
        systems : sequence of System, (B,)
            Molecules and cells.
        neighbours : NeighbourList, optional
            As of `ase_mlwave.systems.batch.collate`; pairs and triangles of a batch of one are kept where the batch is,
            with those a little beyond the cutoff, as long as the list keeps them.
        device : torch.device or str
            Where the batch is.

        Returns
        -------
        SlatmBatch

        Raises
        ------
        ValueError
            If a system has coinciding atoms, or elements that the representation lacks.
        """
        for system in systems:
            self._refuse_unknown(system.numbers)
        reach = self.cutoff * (1 + _SLACK)
        if neighbours is None or len(systems) != 1:
            return join_with_triangles(systems, pairs_of(systems, reach), self.table).to(device)
        system = systems[0]
        candidates = neighbours.candidates(system, reach)
        key = self.config, str(device)
        if key not in candidates.kept:
            if n_candidates(candidates.pairs) > _KEPT:
                return join_with_triangles(systems, [candidates.within(system, reach)], self.table).to(device)
            found = join_with_triangles(systems, [candidates.pairs], self.table, is_exact=False)
            candidates.kept[key] = found.to(device)
        batch: SlatmBatch = candidates.kept[key]
        return batch.at(torch.tensor(system.positions, device=device))

    def environments(self, numbers: Any, positions: Tensor, cell: Any = None, pbc: Any = None) -> Tensor:
        """Represent the atoms of one system.

        Parameters
        ----------
        numbers : (N,)
            Atomic numbers.
        positions : Tensor, (N, 3)
            Bohr, float64; may require gradients or be the input of ``torch.func.jvp``.
        cell : (3, 3), optional
            Bohr; rows are cell vectors; may require gradients.
        pbc : (3,), optional
            Periodic directions.

        Returns
        -------
        Tensor, (N, D)
            Compact rows, on the device of ``positions``.

        Raises
        ------
        ValueError
            As `collate` and `System`; or if positions are not float64.
        """
        values = np.array(positions.detach().tolist())  # by way of a list: see SlatmBatch.portions
        cell_values = np.array(cell.detach().tolist()) if isinstance(cell, Tensor) else cell
        z = np.array(numbers.tolist() if isinstance(numbers, Tensor) else numbers)
        batch = self.collate([System(z, values, cell=cell_values, pbc=pbc)]).to(positions.device)
        cells = cell[None] if isinstance(cell, Tensor) and batch.shifts is not None else None
        return self.environments_of(batch.at(positions, cells))

    def environments_of(self, batch: SlatmBatch) -> Tensor:
        """Represent all atoms of a batch.

        Parameters
        ----------
        batch : SlatmBatch
            From this representation's `collate`, on any device.

        Returns
        -------
        Tensor, (N, D)
            Compact rows, float64, twice differentiable in the batch's positions and cells where ``smooth``.

        Raises
        ------
        ValueError
            If positions are not float64.

        Notes
        -----
        Without derivatives, memory is that of the result, for a moment twice, and of a few thousand triangles. With
        them it grows with all triangles; `pullback` and `pushforward` are what stays small.
        """
        return Spectra(self._shapes, batch).rows()

    def spectra(self, batch: SlatmBatch, *, slopes: bool = True) -> Spectra:
        """Evaluate the spectra of a batch, such that rows and their derivatives come from one evaluation.

        Parameters
        ----------
        batch : SlatmBatch
        slopes : bool
            Whether derivatives are wanted: in closed form, outside of autograd.
        """
        with torch.no_grad():
            return Spectra(self._shapes, batch, slopes=slopes)

    def pullback(self, batch: SlatmBatch, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Turn the gradient of a scalar by the environments into that by positions and cells.

        Parameters
        ----------
        batch : SlatmBatch
        gradient : Tensor, (N, D)
            dE/dx of every row.

        Returns
        -------
        by_positions : Tensor, (N, 3)
            dE/dR, in units of E per Bohr (forces are its negative).
        by_cells : Tensor, (B, 3, 3)
            dE/dcell at fixed positions, zero for molecules.

        Notes
        -----
        Blocks of atoms are computed again one after the other, so that memory does not grow with the batch
        (``test_pullback_and_pushforward_are_the_derivatives``).
        """
        with torch.no_grad():
            return self.spectra(batch).pullback(gradient)

    def pushforward(self, batch: SlatmBatch, directions: Tensor) -> tuple[Tensor, Tensor]:
        """Differentiate the environments along directions.

        Parameters
        ----------
        batch : SlatmBatch
        directions : Tensor, (K, N, 3)
            Displacements U_k of all atoms.

        Returns
        -------
        environments : Tensor, (N, D)
        derivatives : Tensor, (K, N, D)
            d x(R + t U_k) / dt at t = 0, per Bohr.

        Notes
        -----
        Block by block, so that no graph is kept; derivatives by pair vectors are computed once for all directions, and
        many directions cost little more than one.
        """
        with torch.no_grad():
            spectra = self.spectra(batch)
            return spectra.rows(), spectra.pushforward(directions)

    def expand(self, environments: Tensor, numbers: Tensor) -> Tensor:
        """Spread compact rows over the columns of all types.

        Parameters
        ----------
        environments : Tensor, (N, D)
            Compact rows.
        numbers : Tensor, (N,)
            Atomic numbers.

        Returns
        -------
        Tensor, (N, full width)
            Blocks in the order of `types`; this is the layout of the public implementation.
        """
        full = environments.new_zeros(len(environments), self.table.full_width)
        begin = 0
        for kind in self.types:
            size = self.table.block_width(kind)
            for centre in sorted(set(kind)):
                column = self.table.column(centre, kind)
                if column is not None:
                    rows = (numbers == centre).nonzero().squeeze(-1)
                    full[rows, begin : begin + size] = environments[rows, column : column + size]
            begin += size
        return full

    def _refuse_unknown(self, numbers: NDArray[np.int64]) -> None:
        unknown = sorted({*map(int, np.unique(numbers))} - set(self.config.numbers))
        if unknown:
            names = [chemical_symbols[z] if 0 < z < len(chemical_symbols) else str(z) for z in unknown]
            raise ValueError(f"elements {names} are unknown to this representation of {list(self.config.elements)}")
