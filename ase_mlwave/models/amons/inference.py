"""From geometries to energies, forces, virials and uncertainties: what the calculator is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.models.amons.model import AmonModel, Part
from ase_mlwave.models.amons.regression.environments import Environments, collect
from ase_mlwave.models.amons.regression.kernel import kernel_diagonal, kernel_matrix
from ase_mlwave.models.amons.regression.variance import add_own_kernels, add_row_kernels
from ase_mlwave.models.amons.slatm.neighbours import SlatmBatch
from ase_mlwave.models.domain.wall import repulsion
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.systems.system import System

__all__ = ["Prediction", "force_uncertainty", "predict_batch"]

Array = NDArray[np.float64]

#: Directions of a query that are differentiated along at a time.
_DIRECTIONS = 24
#: Atoms that are named as badly covered at most, and the share of the largest novelty that they have at least.
_NAMED, _SHARE = 5, 0.5


@dataclass(frozen=True)
class Prediction:
    """What the model says of one system, in atomic units.

    Parameters
    ----------
    atomic_energies : (N,)
        Of the molecule or the cell, with the baseline, Hartree.
    forces : (N, 3) or None
        Hartree/Bohr, where they were asked for.
    virial : (3, 3) or None
        Derivative of the energy by a strain of positions and cell, Hartree, symmetric; with the forces, for cells.
    uncertainty : float or None
        Standard deviation of the energy, Hartree, where it was asked for.
    novelty : (N,)
        Distance of every atom's environment to the nearest training environment of its element, in units of the
        largest distance between those: 0 where it has been seen, 1 where it is as foreign as they are to each other.
    """

    atomic_energies: Array
    forces: Array | None
    virial: Array | None
    uncertainty: float | None
    novelty: Array

    @property
    def energy(self) -> float:
        """Sum over the atoms, Hartree."""
        return float(self.atomic_energies.sum())

    @property
    def worst_atoms(self) -> list[int]:
        """The badly covered atoms, the worst first; what differs by rounding alone goes by the atoms' order."""
        order = np.argsort(-self.novelty.round(9), kind="stable")[:_NAMED]
        least = _SHARE * self.novelty[order[0]]
        return [int(i) for i in order if self.novelty[i] > 0 and self.novelty[i] >= least]

    def with_wall(self, system: System, contacts: NeighbourList | None = None) -> Prediction:
        """Add the repulsion that pushes apart atoms nearer than bonds are long."""
        wall = repulsion(system, contacts)
        forces = None if self.forces is None else self.forces + wall.forces
        virial = None if self.virial is None else self.virial + wall.virial
        return replace(self, atomic_energies=self.atomic_energies + wall.energies, forces=forces, virial=virial)


def predict_batch(
    model: AmonModel,
    systems: Sequence[System],
    *,
    forces: bool = False,
    uncertainty: bool = False,
    neighbours: NeighbourList | None = None,
) -> list[Prediction]:
    """Predict energies, and what else is asked for, of a batch.

    Parameters
    ----------
    model : AmonModel
        The model; its device is where everything is computed.
    systems : sequence of System, (B,)
        Molecules or cells of the model's elements.
    forces, uncertainty : bool
        Compute these, too.
    neighbours : NeighbourList, optional
        As of `ase_mlwave.systems.batch.collate`; of a batch of one also the model's part for its elements is kept.

    Returns
    -------
    list of Prediction, (B,)

    Notes
    -----
    Forces cost one evaluation of the kernel and one pass back through the representation, however many rows the
    training set had (`ase_mlwave.models.amons.regression.expansion`).
    """
    with torch.no_grad():
        is_flight = neighbours is not None and len(systems) == 1
        part = model.part({*systems[0].numbers.tolist()} if is_flight else None)
        batch = part.representation.collate(systems, neighbours, device=model.device)
        found = _on_device(model, part, batch, forces, uncertainty)
    atomic, novelty, gradient, by_cells, variances = _fetched(found)
    predictions, start = [], 0
    for index, system in enumerate(systems):
        own = slice(start, start := start + len(system))
        force = virial = None
        if forces:
            force = -gradient[own]
            if system.cell is not None:
                strained = -system.positions.T @ force + system.cell.T @ by_cells[index]
                virial = (strained + strained.T) / 2
        deviation = float(variances[index]) ** 0.5 if uncertainty else None
        predictions.append(Prediction(atomic[own], force, virial, deviation, novelty[own]))
    return predictions


def force_uncertainty(model: AmonModel, system: System) -> Array:
    """Compute the standard deviation of every component of the forces.

    Parameters
    ----------
    model : AmonModel
        The model.
    system : System
        One molecule or cell.

    Returns
    -------
    ndarray, (N, 3)
        Hartree/Bohr.

    Notes
    -----
    The posterior variance of the energy's derivatives; it needs the environments' full Jacobian, 3N passes forward, of
    which 24 are in memory at a time.
    """
    batch = model.representation.collate([system]).to(model.device)
    unit = torch.eye(3 * len(system), dtype=torch.float64, device=model.device).unflatten(1, (-1, 3))
    with torch.no_grad():
        pieces = (model.representation.pushforward(batch, some) for some in unit.split(_DIRECTIONS))
        variances = [_variance(model, collect([(system.numbers, *piece)]))[1:] for piece in pieces]
    return _numpy(torch.cat(variances).sqrt()).reshape(-1, 3)


def _on_device(model: AmonModel, part: Part, batch: SlatmBatch, forces: bool, uncertainty: bool) -> list[Tensor]:
    """Compute atomic energies, novelties, gradients, derivatives by cells and variances.

    Notes
    -----
    Nothing is waited for or copied where a neighbour list kept the batch (``test_a_prediction_waits_for_no_device``).
    """
    spectra = part.representation.spectra(batch, slopes=forces)
    energies, novelty, slopes, variances = _evaluate(model, part, batch, spectra.rows(), forces, uncertainty)
    gradients = spectra.pullback(slopes) if forces else (batch.positions[:0], batch.cells[:0])
    return [energies, novelty, *gradients, variances]


def _fetched(parts: Sequence[Tensor]) -> list[Array]:
    """Copy tensors to the host at once."""
    flat = torch.cat([part.flatten() for part in parts]).cpu().numpy()
    ends = np.cumsum([part.numel() for part in parts])[:-1]
    return [piece.reshape(part.shape) for piece, part in zip(np.split(flat, ends), parts, strict=True)]


def _evaluate(
    model: AmonModel, part: Part, batch: SlatmBatch, x: Tensor, forces: bool, uncertainty: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Compute atomic energies (N,) with the baseline, novelties (N,), slopes (N, D) and variances (B,) of rows (N, D).

    Slopes and variances are empty where they are not asked for.
    """
    n_systems, rows = len(batch.n_atoms), model.variance_rows() if uncertainty else None
    across, own = x.new_zeros(n_systems, rows.n_rows if rows else 0), x.new_zeros(n_systems if rows else 0)
    numbers, sizes = part.representation.config.numbers, [sum(counts) for counts in batch.counts]
    baseline, expansions = dict(zip(model.config.numbers, model.baseline, strict=True)), part.expansions
    parts, found = zip(x[batch.order].split(sizes), batch.order.split(sizes), strict=True), []
    for z, counts, (environments, atoms) in zip(numbers, batch.counts, parts, strict=True):
        if not len(atoms):
            continue
        terms = expansions[z](environments, slopes=forces)
        found.append((terms.energies + baseline[z], terms.nearest / model.reach(z), terms.slopes))
        if rows is not None:
            system, g = batch.system[atoms], expansions[z].constants.g
            inside = expansions[z].inside(environments)
            add_row_kernels(across, part.block(z, rows), rows.n_molecules, 1 + terms.changes, inside, system, g)
            add_own_kernels(own, environments, system, counts, g)
    energies, novelty, slopes = (torch.cat(part) for part in zip(*found, strict=True))
    variances = model.predictive_variance(across, own) if rows else own
    return energies[batch.place], novelty[batch.place], slopes[batch.place] if forces else slopes, variances


def _variance(model: AmonModel, query: Environments) -> Tensor:
    widths = model.by_element("width")
    across = kernel_matrix(query, model.variance_rows(), widths)
    return model.predictive_variance(across, kernel_diagonal(query, widths))


def _numpy(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array
