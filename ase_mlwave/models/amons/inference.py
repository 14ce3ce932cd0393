"""From geometries to energies, forces, virials and uncertainties: what the calculator is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.models.amons.model import AmonModel
from ase_mlwave.models.amons.regression.environments import Environments, collect
from ase_mlwave.models.amons.regression.kernel import kernel_diagonal, kernel_matrix
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
        """The badly covered atoms, the worst first."""
        order = np.argsort(-self.novelty, kind="stable")[:_NAMED]
        least = _SHARE * self.novelty[order[0]]
        return [int(i) for i in order if self.novelty[i] > 0 and self.novelty[i] >= least]

    def with_wall(self, system: System) -> Prediction:
        """Add the repulsion that pushes apart atoms nearer than bonds are long."""
        wall = repulsion(system)
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
        As of `ase_mlwave.systems.batch.collate`.

    Returns
    -------
    list of Prediction, (B,)

    Notes
    -----
    Forces cost one evaluation of the kernel and one pass back through the representation, however many rows the
    training set had (`ase_mlwave.models.amons.regression.expansion`).
    """
    sizes = [len(system) for system in systems]
    numbers = np.concatenate([system.numbers for system in systems])
    batch = model.representation.collate(systems, neighbours).to(model.device)
    with torch.no_grad():
        x = model.representation.environments_of(batch)
        atomic, slopes, novelty = _atoms(model, numbers, x, forces)
        gradient, by_cells = model.representation.pullback(batch, slopes) if forces else (None, None)
        deviations = _deviations(model, systems, x) if uncertainty else [None] * len(sizes)
    predictions = []
    parts = [[_numpy(part) for part in tensor.split(sizes)] for tensor in (atomic, novelty)]
    for index, system in enumerate(systems):
        start = sum(sizes[:index])
        force = None if gradient is None else -_numpy(gradient[start : start + sizes[index]])
        virial = None
        if force is not None and by_cells is not None and system.cell is not None:
            strained = -system.positions.T @ force + system.cell.T @ _numpy(by_cells[index])
            virial = (strained + strained.T) / 2
        predictions.append(Prediction(parts[0][index], force, virial, deviations[index], parts[1][index]))
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


def _atoms(model: AmonModel, numbers: NDArray[np.int64], x: Tensor, forces: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Compute atomic energies (N,) with the baseline, their slopes (N, D) and novelties (N,)."""
    energies, novelty = x.new_zeros(len(x)), x.new_zeros(len(x))
    slopes = torch.zeros_like(x) if forces else x.new_zeros(0, x.shape[1])
    reaches = model.by_element("reach")
    for index, (z, expansion) in enumerate(model.expansions().items()):
        of_element = torch.from_numpy(np.flatnonzero(numbers == z)).to(x.device)
        if not len(of_element):
            continue
        terms = expansion(x[of_element], slopes=forces)
        energies[of_element] = terms.energies + model.baseline[index]
        novelty[of_element] = terms.nearest / (reaches[z] if reaches[z] > 0 else 1.0)
        if forces:
            slopes[of_element] = terms.slopes
    return energies, slopes, novelty


def _deviations(model: AmonModel, systems: Sequence[System], x: Tensor) -> list[float | None]:
    """Compute the standard deviation of each system's energy."""
    values = x.split([len(system) for system in systems])
    rows = (
        (s.numbers, environments, x.new_zeros(0, *environments.shape))
        for s, environments in zip(systems, values, strict=True)
    )
    return [float(variance) ** 0.5 for variance in _variance(model, collect(rows))]


def _variance(model: AmonModel, query: Environments) -> Tensor:
    widths = model.by_element("width")
    across = kernel_matrix(query, model.variance_rows(), widths)
    return model.predictive_variance(across, kernel_diagonal(query, widths))


def _numpy(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().numpy()
    return array
