"""Properties of molecules from their predicted matrices, at each level of energy."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np
import torch
from ase.calculators.calculator import InputError, SCFError
from numpy.typing import NDArray
from pyscf import gto

from ase_mlwave.models.curvature import second_derivatives
from ase_mlwave.models.domain.wall import repulsion, wall_hessian
from ase_mlwave.models.phisnet.inference import PredictedBatch, predict_atoms, predict_batch
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.functional import converge, functional_and_drop, scf_result
from ase_mlwave.quantum.gpu import gpu_serves_pyscf, on_device
from ase_mlwave.quantum.initial_guess import doubt
from ase_mlwave.quantum.integrals import IntegralProgram
from ase_mlwave.quantum.populations import dipole_moment, mulliken_charges
from ase_mlwave.quantum.preconditioner import pays_off, precondition
from ase_mlwave.quantum.response import relaxed_functional
from ase_mlwave.quantum.semilocal import serves_semilocal
from ase_mlwave.reference.levels import LevelOfTheory, PyscfLevel
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.systems.system import System

__all__ = ["atoms_hessian", "frontier", "matrices_of", "mean_field_of", "mole_of", "molecular_properties"]

Array = NDArray[np.float64]
Values = dict[str, Any]

#: The energy that linearised exchange and correlation leave out, at most, as a share of what relaxing the density
#: gains: 0.02 to 0.14 of it on validation molecules of ``phisnet-chno``, 0.05 in the median.
_LINEARISATION = 0.15


def molecular_properties(
    network: PhiSNet,
    systems: Sequence[System],
    properties: Collection[str],
    *,
    energy: str,
    in_domain: Callable[[Mapping[str, Any]], bool],
    neighbours: NeighbourList | None = None,
    integrals: IntegralProgram = "torch",
    orbitals: bool = True,
) -> list[tuple[Values, Values]]:
    """Compute properties of molecules.

    Parameters
    ----------
    network : PhiSNet
        The model.
    systems : sequence of System, (B,)
        Closed-shell molecules of its elements.
    properties : collection of str
        ASE's names of what is asked for.
    energy : str
        One of ``ENERGY_LEVELS``.
    in_domain : callable
        Tells of the matrices of a molecule whether it is like the training data, and so fit to start an SCF.
    neighbours : NeighbourList, optional
        As of `ase_mlwave.systems.batch.collate`.
    integrals : str
        As of `ase_mlwave.quantum.integrals.batch_integrals`.
    orbitals : bool
        Whether matrices and orbitals are wanted where neither the energy nor a property needs them.

    Returns
    -------
    list of (dict, dict), (B,)
        ASE property -> value, atomic units; and as `matrices_of`. Of the level ``"scf"`` the density and orbital
        energies are the converged ones, with ``"scf_cycles"``, of ``"response"`` the relaxed ones; this level and
        ``"functional"`` have ``"energy_uncertainty"`` and ``"energy_uncertainty_per_atom"``.
    """
    forces = "forces" in properties
    gradients = forces and energy != "scf"
    wanted = energy == "wavefunction"
    alone = wanted and network.config.energy_from == "atoms"
    if alone and not orbitals and not {"dipole", "charges"} & set(properties):
        return _energies_of_atoms(network, systems, forces, neighbours)
    options: Any = {"gradients": gradients, "energies": wanted, "neighbours": neighbours, "integrals": integrals}
    batch = predict_batch(network, systems, **options)
    results: list[tuple[Values, Values]] = [({}, matrices) for matrices in matrices_of(batch)]
    if energy == "scf" and properties:
        for system, (values, matrices) in zip(systems, results, strict=True):
            _converge(network, system, values, matrices, forces, in_domain)
    elif forces or "energy" in properties or (energy == "response" and properties):
        total = _LEVELS[energy](network, batch, systems, [matrices for _, matrices in results])
        slopes = _parts(batch.gradient(total), [(len(one), 3) for one in systems]) if forces else []
        for b, (value, (values, _)) in enumerate(zip(_numpy(total).tolist(), results, strict=True)):
            values["energy"] = value
            values |= {"forces": -slopes[b]} if forces else {}
            if energy == "wavefunction":
                _add_wall(values, results[b][1], systems[b])
    if "dipole" in properties or "charges" in properties:
        for system, (values, matrices) in zip(systems, results, strict=True):
            mole = mole_of(network, system)
            values["dipole"] = dipole_moment(matrices["density_matrix"], mole)
            values["charges"] = mulliken_charges(matrices["density_matrix"], mole)
    return results


def _energies_of_atoms(
    network: PhiSNet, systems: Sequence[System], forces: bool, neighbours: NeighbourList | None
) -> list[tuple[Values, Values]]:
    """Compute energies that need no matrices, and distances from the training data."""
    batch = predict_atoms(network, systems, gradients=forces, neighbours=neighbours)
    results = []
    slopes = _parts(batch.gradient(), [(len(one), 3) for one in systems]) if forces else []
    parts, distances = (_of_atoms(joined, systems) for joined in (batch.atomic_energies, batch.joined_distances))
    for b, (system, energy) in enumerate(zip(systems, _numpy(batch.energies).tolist(), strict=True)):
        values: Values = {"energy": energy} | ({"forces": -slopes[b]} if forces else {})
        extras: Values = {"domain_distance": distances[b], "atomic_energies": parts[b]}
        _add_wall(values, extras, system)
        results.append((values, extras))
    return results


def atoms_hessian(network: PhiSNet, system: System, progress: Callable[[int], None] = lambda done: None) -> Array:
    """Differentiate the energy of a molecule that is that of its atoms alone twice.

    Parameters
    ----------
    network : PhiSNet
        A model with ``energy_from: atoms``.
    system : System
        One molecule.
    progress : callable
        As of `ase_mlwave.models.curvature.second_derivatives`.

    Returns
    -------
    ndarray, (3N, 3N)
        Hartree/Bohr^2; the short-range wall included.

    Notes
    -----
    Energies that come from matrices are differentiated once only: their integrals have no exact second derivatives.
    """
    batch = predict_atoms(network, [system], gradients=True)
    return second_derivatives(batch.energies.sum(), batch.molecules.positions, progress) + wall_hessian(system)


def matrices_of(batch: PredictedBatch) -> list[Values]:
    """Return what was predicted of each molecule: name in ``calc.extras`` -> float64 array, Hartree.

    Notes
    -----
    One copy from the device for each name, not for each molecule.
    """
    H, states = batch.hamiltonian, batch.joined_states
    atoms, squares = batch.molecules.n_atoms, [(m, m) for m in H.sizes]
    columns = {
        "hamiltonian": _parts(H.flat, squares),
        "overlap": _parts(batch.exact.overlap, squares),
        "density_matrix": _parts(states.density.flat, squares),
        "orbital_energies": _parts(states.orbital_energies, [(m,) for m in H.sizes]),
        "domain_distance": _parts(batch.joined_distances, [(n,) for n in atoms]),
    }
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    return [row | frontier(row["orbital_energies"], n) for row, n in zip(rows, states.n_occupied, strict=True)]


def frontier(orbital_energies: Array, n_occupied: int) -> Values:
    """Name the energies of the highest occupied and lowest empty orbital, and the gap between them.

    Parameters
    ----------
    orbital_energies : ndarray, (M,)
        Ascending, Hartree.
    n_occupied : int
        Doubly occupied orbitals.

    Returns
    -------
    dict
        ``"homo"``, ``"lumo"`` and ``"gap"``, Hartree; nan where there is no such orbital.
    """
    homo, lumo = np.concatenate([[np.nan], orbital_energies, [np.nan]])[n_occupied : n_occupied + 2].tolist()
    return {"homo": homo, "lumo": lumo, "gap": lumo - homo}


def mole_of(network: PhiSNet, system: System) -> gto.Mole:
    """Return PySCF's molecule in the model's basis."""
    return build_mole(system.numbers, system.positions, network.config.basis, system.charge, system.spin)


def mean_field_of(network: PhiSNet, system: System, *, on_gpu: bool = True) -> Any:
    """Return the level's mean field, on a GPU where the network is on one and gpu4pyscf is installed."""
    mean_field = LevelOfTheory.parse(network.config.level).mean_field(mole_of(network, system))
    on_gpu = on_gpu and network.radial.raw_alpha.device.type != "cpu" and gpu_serves_pyscf()
    return on_device(mean_field, "cuda" if on_gpu else "cpu")


def _converge(
    network: PhiSNet,
    system: System,
    values: Values,
    matrices: Values,
    forces: bool,
    in_domain: Callable[[Mapping[str, Any]], bool],
) -> None:
    """Converge an SCF from the predicted density where that is fit, else from PySCF's own guess.

    Where neither converges, it is what the level's rescue finds, as in labels.
    """
    mean_field, n_occupied = mean_field_of(network, system), system.n_electrons // 2
    doubtful = not in_domain(matrices) or doubt(mean_field, matrices["orbital_energies"], n_occupied)
    if pays_off(mean_field):
        mean_field = precondition(mean_field)
    elif not doubtful:
        # PySCF's DIIS leaves out the first Fock matrix, which is a bad one from its own guess but not from ours.
        mean_field.diis_start_cycle = 0
    try:
        result = converge(mean_field, None if doubtful else matrices["density_matrix"], forces=forces)
    except SCFError:
        level = LevelOfTheory.parse(network.config.level)
        if not isinstance(level, PyscfLevel):
            raise
        rescued, _ = level.converged(mole_of(network, system), system.formula)
        result = replace(scf_result(rescued, forces=forces), cycles=None)  # of which nobody has counted all
    matrices |= {"density_matrix": result.density, "orbital_energies": result.orbital_energies}
    matrices |= {"scf_cycles": result.cycles, **frontier(result.orbital_energies, n_occupied)}
    values |= {"energy": result.energy} | ({"forces": result.forces} if forces else {})


def _wavefunction(
    network: PhiSNet, batch: PredictedBatch, systems: Sequence[System], matrices: Sequence[Values]
) -> torch.Tensor:
    """Evaluate energies that the network learned, (B,), Hartree."""
    if batch.atoms_alone and batch.atomic_energies is not None:
        for part, extras in zip(_of_atoms(batch.atomic_energies, systems), matrices, strict=True):
            extras["atomic_energies"] = part
    return batch.wavefunction_energies()


def _functional(
    network: PhiSNet, batch: PredictedBatch, systems: Sequence[System], matrices: Sequence[Values]
) -> torch.Tensor:
    """Evaluate the level of theory's functional at the predicted densities, (B,), Hartree."""
    energies = []
    for positions, state, system, extras in zip(batch.positions, batch.states, systems, matrices, strict=True):
        energy, drop = functional_and_drop(positions, state.density, mean_field_of(network, system))
        extras |= _uncertainty(drop, system)
        energies.append(energy)
    return torch.stack(energies)


def _response(
    network: PhiSNet, batch: PredictedBatch, systems: Sequence[System], matrices: Sequence[Values]
) -> torch.Tensor:
    """Relax the predicted densities in the functional linearised there, (B,), Hartree; matrices become the relaxed."""
    energies = []
    for positions, state, system, extras in zip(batch.positions, batch.states, systems, matrices, strict=True):
        mean_field = mean_field_of(network, system, on_gpu=False)
        if not serves_semilocal(mean_field):
            raise InputError(
                f"energy='response' is for functionals of the density and its gradient, such as PBE, but the model was "
                f"made for {network.config.level}. Take energy='functional' or 'scf'"
            )
        relaxed = relaxed_functional(positions, state.density, mean_field)
        extras |= {"density_matrix": relaxed.density, "orbital_energies": relaxed.orbital_energies}
        extras |= frontier(relaxed.orbital_energies, state.n_occupied)
        extras |= _uncertainty(_LINEARISATION * relaxed.drop, system)
        energies.append(relaxed.energy)
    return torch.stack(energies)


def _uncertainty(energy: float, system: System) -> Values:
    """Name by how much an energy is too high, at most, Hartree."""
    return {"energy_uncertainty": energy, "energy_uncertainty_per_atom": energy / len(system)}


_LEVELS: dict[str, Callable[..., torch.Tensor]] = {
    "wavefunction": _wavefunction,
    "functional": _functional,
    "response": _response,
}


def _add_wall(values: Values, extras: Values, system: System) -> None:
    """Push apart atoms nearer than bonds are long."""
    wall = repulsion(system)
    values["energy"] += wall.energy
    if "atomic_energies" in extras:
        extras["atomic_energies"] = extras["atomic_energies"] + wall.energies
    if "forces" in values:
        values["forces"] = values["forces"] + wall.forces


def _of_atoms(joined: torch.Tensor, systems: Sequence[System]) -> list[Array]:
    """Part what atoms have, (N,), by molecules."""
    return _parts(joined, [(len(one),) for one in systems])


def _parts(joined: torch.Tensor, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """Copy to the host what lies one behind the other, and part it into arrays of these shapes."""
    flat = _numpy(joined).reshape(-1)
    ends = np.cumsum([prod(shape) for shape in shapes])
    return [flat[end - prod(shape) : end].reshape(shape) for end, shape in zip(ends.tolist(), shapes, strict=True)]


def _numpy(tensor: torch.Tensor) -> Array:
    array: Array = tensor.detach().cpu().double().numpy()
    return array
