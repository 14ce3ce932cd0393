"""Laws of the quantum deep field with quadrature, on networks of random weights, float64; Hartree and Bohr."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from pyscf import dft
from scipy.spatial.transform import Rotation
from torch import Tensor

from ase_mlwave.data.record import Record
from ase_mlwave.models.qdf import model as qdf_model
from ase_mlwave.models.qdf.batch import with_blocks
from ase_mlwave.models.qdf.inference import density_on_points, predict_batch
from ase_mlwave.models.qdf.model import QDF
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.systems.batch import collate
from ase_mlwave.units import BOHR, HARTREE
from tests.models.qdf.networks import random_network

REACH = 12.0  # twice the cutoff
MILLI_EV = 1e-3 / HARTREE

#: Functionals of the orbitals alone, and of their gradients also.
both = pytest.mark.parametrize("gradients", [0, 6])


def record(atoms: Atoms) -> Record:
    return Record(numbers=atoms.numbers, positions=atoms.positions / BOHR)


def rattled(name: str, seed: int = 1) -> Record:
    atoms = molecule(name)
    atoms.rattle(0.06, seed=seed)
    return record(atoms)


def energies(network: QDF, systems: Sequence[Record]) -> np.ndarray:
    return np.array([p.energy for p in predict_batch(network, systems)])


def energy_of(network: QDF, numbers: Sequence[int], positions: Tensor) -> Tensor:
    system = Record(np.array(numbers), positions.detach().numpy())
    batch = with_blocks(collate([system], 2 * network.config.cutoff))
    return network(batch.at(positions)).energies[0]


def diatomics(network: QDF, numbers: tuple[int, int], distances: np.ndarray) -> np.ndarray:
    direction = np.array([0.6, 0, 0.8])
    pairs = [np.stack([0 * direction, d * direction]) for d in distances]
    return energies(network, [Record(np.array(numbers), pair) for pair in pairs])


# --- symmetries -------------------------------------------------------------------------------------------------------


def spread(network: QDF, name: str, grid_level: int | None = None) -> float:
    system = rattled(name)
    matrices = [q.as_matrix() for q in Rotation.random(6, random_state=2)]
    matrices += [-m for m in matrices[:3]]
    turned = [replace(system, positions=system.positions @ m.T) for m in matrices]
    return float(np.std([p.energy for p in predict_batch(network, turned, grid_level=grid_level)]))


@pytest.mark.parametrize(
    ("name", "gradients"), [("H2O", 0), ("CH4", 0), ("CH3CH2OH", 0), ("HCN", 0), ("H2O", 6), ("HCN", 6)]
)
def test_energy_hardly_depends_on_the_orientation(name: str, gradients: int) -> None:
    network = random_network(seed=3, grid_level=2, gradients=gradients)
    assert spread(network, name) < 1 * MILLI_EV


@both
def test_dependence_on_the_orientation_falls_with_the_grid_level(gradients: int) -> None:
    network = random_network(seed=3, gradients=gradients)
    values = [max(spread(network, name, level) for name in ("H2O", "HCN")) for level in (0, 2, 4)]
    assert values[1] < values[0] / 4
    assert values[2] < values[1] / 4


@both
def test_translation_and_permutation_are_exact(gradients: int) -> None:
    network = random_network(gradients=gradients)
    system = rattled("CH3OH")
    order = np.random.default_rng(0).permutation(len(system))
    moved = replace(system, positions=system.positions + np.array([10.0, -20.0, 5.0]))
    permuted = Record(numbers=system.numbers[order], positions=system.positions[order])
    here, there, other = energies(network, [system, moved, permuted])
    assert there == pytest.approx(here, abs=1e-11)
    assert other == pytest.approx(here, abs=1e-11)


@both
def test_molecules_far_apart_add_up(gradients: int) -> None:
    network = random_network(gradients=gradients)
    water, methane = rattled("H2O"), rattled("CH4")
    for distance in (50 / BOHR, REACH + 6.0):
        both = Record(
            numbers=np.concatenate([water.numbers, methane.numbers]),
            positions=np.concatenate([water.positions, methane.positions + distance * np.eye(3)[0]]),
        )
        one, other, pair = energies(network, [water, methane, both])
        assert pair == pytest.approx(one + other, abs=1e-11)


# --- atoms ------------------------------------------------------------------------------------------------------------


@both
@pytest.mark.parametrize(("number", "reference"), [(1, -0.5), (6, -37.8), (8, -75.0)])
def test_isolated_atom_has_its_reference_energy(number: int, reference: float, gradients: int) -> None:
    network = random_network(gradients=gradients)
    (result,) = predict_batch(network, [Record(np.array([number]), np.zeros((1, 3)))], forces=True)
    assert result.energy == pytest.approx(reference, abs=1e-10)
    np.testing.assert_allclose(result.forces, 0, atol=1e-12)


def test_hydrogen_dissociates_into_its_atoms() -> None:
    network = random_network()
    scan = diatomics(network, (1, 1), np.array([8.0, 10.0, 11.9, 12.1, 40.0]))
    np.testing.assert_allclose(scan[3:], -1.0, atol=1e-12)
    assert abs(scan[2] + 1.0) < 1e-6  # orbitals and pair energies have faded before the cutoff


# --- smoothness -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", [(1, 1), (6, 8)])
def test_bond_scan_is_smooth(numbers: tuple[int, int]) -> None:
    network = random_network()

    def largest_change_of_curvature(step: float) -> float:
        scan = diatomics(network, numbers, np.arange(1.2, 12.5, step))  # every radial shell and the cutoff are passed
        curvature = np.diff(scan, 2) / step**2
        assert np.abs(curvature).max() < 20  # the wall, where nuclei are near; an Angstrom further, 1
        return float(np.abs(np.diff(curvature)).max())

    # A jump of the curvature would stay the same in smaller steps, one of the slope or the energy would grow.
    assert largest_change_of_curvature(0.01) < 0.65 * largest_change_of_curvature(0.02)


@both
def test_forces_are_minus_the_derivative(gradients: int) -> None:
    network = random_network(gradients=gradients)
    positions = torch.tensor(rattled("H2O").positions, requires_grad=True)
    assert torch.autograd.gradcheck(lambda r: energy_of(network, (8, 1, 1), r), positions, atol=1e-7)


@both
def test_second_derivatives_are_finite_and_right(gradients: int) -> None:
    network = random_network(dimension=4, gradients=gradients)
    positions = torch.tensor([[0.0, 0, 0], [1.0, 0.5, 1.2]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda r: energy_of(network, (8, 1), r), positions, atol=1e-6)


@both
@pytest.mark.parametrize("where", ["on a point", "on the other nucleus"])
def test_derivatives_are_finite_where_points_and_nuclei_coincide(where: str, gradients: int) -> None:
    network = random_network(gradients=gradients)
    other = network.grid().offsets[0, 40] if where == "on a point" else torch.zeros(3, dtype=torch.float64)
    positions = torch.stack([torch.zeros(3, dtype=torch.float64), other]).requires_grad_()
    (force,) = torch.autograd.grad(energy_of(network, (8, 1), positions), positions, create_graph=True)
    gradients = torch.autograd.grad(force.square().sum(), [positions, *network.orbitals.parameters()])
    assert all(bool(g.isfinite().all()) for g in (force, *gradients))


def test_recomputed_blocks_give_the_same_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    network = random_network()
    systems = [rattled("CH3OH"), rattled("H2O")]
    kept = predict_batch(network, systems, forces=True)
    monkeypatch.setattr(qdf_model, "KEPT_VALUES", 0)
    for one, other in zip(kept, predict_batch(network, systems, forces=True), strict=True):
        assert one.energy == pytest.approx(other.energy, abs=1e-12)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-12)


@both
@pytest.mark.parametrize("kept", [0, 10**9])
def test_frozen_network_has_the_same_forces(monkeypatch: pytest.MonkeyPatch, kept: int, gradients: int) -> None:
    systems, settings = [rattled("CH3OH"), rattled("H2O")], {"functional_layers": 2, "gradients": gradients}
    learned = predict_batch(random_network(**settings), systems, forces=True)
    monkeypatch.setattr(qdf_model, "KEPT_VALUES", kept)
    frozen = predict_batch(random_network(**settings).requires_grad_(False), systems, forces=True)
    for one, other in zip(learned, frozen, strict=True):
        assert one.energy == pytest.approx(other.energy, abs=1e-12)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-12)


@pytest.mark.parametrize("potential", [False, True])
def test_recomputed_blocks_of_a_frozen_network_have_forces(monkeypatch: pytest.MonkeyPatch, potential: bool) -> None:
    """As a validation computes them, of large batches with the Hohenberg-Kohn term."""
    network, results = random_network().requires_grad_(False), []
    for kept in (10**9, 0):
        monkeypatch.setattr(qdf_model, "KEPT_VALUES", kept)
        batch = network.collate([rattled("CH3OH"), rattled("H2O")])
        positions = batch.positions.requires_grad_()
        results.append(torch.autograd.grad(network(batch, potential=potential).energies.sum(), positions)[0])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("kept", [0, 10**9])
def test_frozen_network_has_second_derivatives(monkeypatch: pytest.MonkeyPatch, kept: int) -> None:
    monkeypatch.setattr(qdf_model, "KEPT_VALUES", kept)
    network = random_network(dimension=4).requires_grad_(False)
    positions = torch.tensor([[0.0, 0, 0], [1.0, 0.5, 1.2]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda r: energy_of(network, (8, 1), r), positions, atol=1e-6)


@both
def test_patches_change_rounding_only(gradients: int) -> None:
    network = random_network(grid_level=1, gradients=gradients).requires_grad_(False)
    chain = Atoms("CHO" * 7, [[1.2 * i, 0.4 * (i % 2), 0.1 * i] for i in range(21)])
    batches = with_blocks(collate([record(chain)], REACH)), network.collate([record(chain)])
    whole, patched = (
        sum(int(block.present.sum()) for block in batch.blocks) * network.grid(patched=cut).offsets.shape[1]
        for batch, cut in zip(batches, (False, True), strict=True)
    )
    assert patched < 0.9 * whole  # pairs of a point and an atom
    results = []
    for batch in batches:
        positions = batch.positions.clone().requires_grad_()
        energy = network(batch.at(positions)).energies[0]
        results.append((energy.item(), torch.autograd.grad(energy, positions)[0]))
    assert results[0][0] == pytest.approx(results[1][0], abs=1e-11)
    assert torch.allclose(results[0][1], results[1][1], rtol=0, atol=1e-11)


@both
@pytest.mark.parametrize("kept", [0, 10**9])
@pytest.mark.parametrize("learned", [True, False])
def test_a_pass_runs_on_the_meta_device(
    monkeypatch: pytest.MonkeyPatch, meta: str, kept: int, learned: bool, gradients: int
) -> None:
    """Where tensors have no values, whatever asks for one, or mixes in a tensor of the CPU, raises."""
    monkeypatch.setattr(qdf_model, "KEPT_VALUES", kept)
    network = random_network(gradients=gradients).requires_grad_(learned)
    batch = network.collate([rattled("CH3OH"), rattled("H2O")]).to(meta)
    network = network.to(meta)
    positions = batch.positions.clone().requires_grad_()
    output = network(batch.at(positions), potential=learned)
    (gradient,) = torch.autograd.grad(output.energies.sum(), positions, create_graph=learned)
    if learned:
        torch.autograd.grad(gradient.square().sum() + output.potential_error.sum(), network.cell_shifts)
    assert gradient.device.type == meta
    assert gradient.shape == batch.positions.shape


def test_long_chain_does_not_depend_on_how_it_is_cut_into_blocks() -> None:
    network = random_network()
    chain = Atoms("CH" * 20, [[1.2 * i, 0.4 * (i % 2), 0.1 * i] for i in range(40)])
    batch = collate([record(chain)], REACH)
    one, other = (network(with_blocks(batch, size)).energies.item() for size in (20, 10_000))
    assert one == pytest.approx(other, abs=1e-11)


# --- density ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["H2O", "HCN"])
def test_density_integrates_to_the_electrons(name: str) -> None:
    network = random_network(seed=3, grid_level=4)
    system = rattled(name)
    grid = dft.gen_grid.Grids(build_mole(system.numbers, system.positions, "sto-3g"))
    grid.level = 5
    grid.build()
    density = density_on_points(network, system, grid.coords)
    assert (density >= 0).all()
    assert grid.weights @ density == pytest.approx(system.numbers.sum(), abs=1e-3)


def test_elements_that_the_model_lacks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\['Cl'\] are unknown"):
        predict_batch(random_network(), [rattled("HCl")])
