"""From geometries to energies, forces and densities: what calculators are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ase_mlwave.models.curvature import second_derivatives
from ase_mlwave.models.qdf.batch import FieldBatch
from ase_mlwave.models.qdf.model import QDF
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.systems.system import System

__all__ = ["Prediction", "density_on_points", "energy_hessian", "measure_distances", "predict_batch"]

Array = NDArray[np.float64]

#: Points times atoms that are evaluated at a time.
_BLOCK = 100_000


@dataclass(frozen=True)
class Prediction:
    """What the model says of one molecule, in atomic units.

    Parameters
    ----------
    energy : float
        Hartree.
    forces : (N, 3) or None
        Hartree/Bohr, where they were asked for.
    atomic_energies : (N,)
        Parts of the energy by cells, Hartree.
    cell_electrons : (N,)
        Electrons of every cell before scaling.
    distances : (N,) or None
        How unlike the training data each atom is, where the model has a measure.
    deviation : float or None
        Standard deviation of the energy, Hartree, where the model has a measure.
    """

    energy: float
    forces: Array | None
    atomic_energies: Array
    cell_electrons: Array
    distances: Array | None
    deviation: float | None


def predict_batch(
    network: QDF,
    systems: Sequence[System],
    *,
    forces: bool = False,
    grid_level: int | None = None,
    neighbours: NeighbourList | None = None,
) -> list[Prediction]:
    """Predict energies and forces in one pass over all points of all molecules.

    Parameters
    ----------
    network : QDF
        The model; its device is where everything is computed.
    systems : sequence of System, (B,)
        Molecules of the model's elements.
    forces : bool
        Differentiate also.
    grid_level : int, optional
        Size of the integration grid; the model's own by default.
    neighbours : NeighbourList, optional
        As of `ase_mlwave.systems.batch.collate`.

    Returns
    -------
    list of Prediction, (B,)
    """
    batch = network.collate(systems, grid_level=grid_level, neighbours=neighbours)
    gradient = None
    if forces:
        with torch.enable_grad():
            positions = batch.positions.requires_grad_()
            output = network(batch)
            (gradient,) = torch.autograd.grad(output.energies.sum(), positions)
        found = network.energy_deviations(batch)
    else:
        output, found = network.energies_and_deviations(batch)
    parts = [_split(batch, tensor) for tensor in (output.atomic_energies, output.cell_electrons)]
    forces_of = [None] * len(systems) if gradient is None else _split(batch, -gradient)
    distances = [measure_distances(network, system) for system in systems]
    deviations = [None] * len(systems) if found is None else found.tolist()
    columns = (output.energies.tolist(), forces_of, *parts, distances, deviations)
    return [Prediction(*values) for values in zip(*columns, strict=True)]


def energy_hessian(
    network: QDF,
    system: System,
    *,
    grid_level: int | None = None,
    progress: Callable[[int], None] = lambda done: None,
) -> Array:
    """Differentiate the energy of a molecule twice, the motion of its points included.

    Parameters
    ----------
    network : QDF
        The model.
    system : System
        One molecule.
    grid_level : int, optional
        As of `predict_batch`.
    progress : callable
        As of `ase_mlwave.models.curvature.second_derivatives`.

    Returns
    -------
    ndarray, (3N, 3N)
        Hartree/Bohr^2.
    """
    batch = network.collate([system], grid_level=grid_level)
    with torch.enable_grad():
        positions = batch.positions.requires_grad_()
        return second_derivatives(network(batch).energies.sum(), positions, progress)


def measure_distances(network: QDF, system: System) -> Array | None:
    """Measure how unlike the training data the atoms (N,) of a molecule are; None where the model has no measure."""
    return network.domain(system) if network.domain.measures else None


def density_on_points(network: QDF, system: System, points: Array, *, grid_level: int | None = None) -> Array:
    """Evaluate the density of a molecule.

    Parameters
    ----------
    network : QDF
        The model.
    system : System
        One molecule.
    points : (G, 3)
        Bohr.
    grid_level : int, optional
        Size of the grid that electrons are counted on; the model's own by default.

    Returns
    -------
    (G,)
        e/Bohr^3.
    """
    batch = network.collate([system], grid_level=grid_level)
    with torch.no_grad():
        electrons = network.cell_electrons(batch)
        step = max(1, _BLOCK // len(system))
        flat = torch.from_numpy(np.ascontiguousarray(points, dtype=np.float64)).to(batch.positions.device)
        blocks = [network.density(block, batch, electrons) for block in flat.split(step)]
    return np.concatenate([_numpy(block) for block in blocks])


def _split(batch: FieldBatch, tensor: Tensor) -> list[Array]:
    return [_numpy(part) for part in batch.split(tensor)]


def _numpy(tensor: Tensor) -> Array:
    array: Array = tensor.detach().cpu().double().numpy()
    return array
