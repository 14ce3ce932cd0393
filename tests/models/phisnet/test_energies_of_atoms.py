"""Energies of atoms alone, whose features are not those of the matrices."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
from torch import Tensor

from ase_mlwave.models.phisnet.inference import PredictedBatch, predict_atoms, predict_batch
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.widening import grown
from ase_mlwave.systems.system import System
from tests.models.phisnet.systems import (
    MATRICES,
    PRODUCTS,
    Geometry,
    assert_equal,
    geometry,
    joined,
    matrices,
    network,
    predict,
    settings,
)

OWN = {"energy_from": "atoms", "energy_cutoff": 6.0}


@cache
def model_of(product: str) -> PhiSNet:
    return network(product, **OWN)


def predicted(model: PhiSNet, *molecules: Geometry, gradients: bool = False) -> PredictedBatch:
    return predict_batch(model, [System(numbers=z, positions=r) for z, r in molecules], gradients=gradients)


def energies(model: PhiSNet, *molecules: Geometry) -> Tensor:
    return predicted(model, *molecules).wavefunction_energies()


@pytest.mark.parametrize("product", PRODUCTS)
def test_energy_is_an_invariant(product: str) -> None:
    """Rotated, mirrored, shifted and with its atoms in another order."""
    model, (numbers, positions) = model_of(product), geometry("OCHHHH")
    turned = positions @ np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0] * [1, -1, 1] + 2.0
    others = [(numbers, turned), (numbers[::-1].copy(), turned[::-1].copy())]
    before, *after = energies(model, (numbers, positions), *others)
    for energy in after:
        assert_equal(energy, before)
    assert abs(float(energies(model, (numbers, 1.1 * positions))[0] - before)) > 1e-4


@pytest.mark.parametrize("product", PRODUCTS)
def test_force_is_minus_the_derivative_of_the_energy(product: str) -> None:
    model, (numbers, positions) = model_of(product), geometry("OCHHHH")
    batch = predicted(model, (numbers, positions), gradients=True)
    slope = batch.gradient(batch.wavefunction_energies())
    assert not batch.hamiltonian.flat.requires_grad
    direction, h = np.random.default_rng(1).normal(size=positions.shape), 1e-4
    plus, minus = energies(model, *((numbers, positions + s * h * direction) for s in (1, -1)))
    expected = float((slope * torch.from_numpy(direction)).sum())
    assert float((plus - minus) / (2 * h)) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(
    ("product", "n_modules", "message_cutoff"),
    [("edge_frame", 1, None), ("edge_frame", 2, 4.0), ("edge_frame", 3, None), ("clebsch_gordan", 2, None)],
)
def test_invariants_alone_are_those_of_all_features(product: str, n_modules: int, message_cutoff: float | None) -> None:
    """Their derivatives with respect to positions and weights, too."""
    model = network(product, n_modules=n_modules, message_cutoff=message_cutoff)
    batch = joined([geometry("OCHHHH"), geometry("OHH")], model.config.cutoff)
    batch, plan = batch.at(batch.positions.clone().requires_grad_()), model.plan(batch)
    weights = (batch.positions, model.embedding.element.weight, model.energy_head[0].weight)
    results = []
    for rows in (model.invariant_features(batch, plan), model.features(batch, plan)[0][0]):
        energies = model.energy_head(rows)
        results.append((rows.detach(), *torch.autograd.grad(energies.square().sum(), weights)))
    for short, full in zip(*results, strict=True):
        assert_equal(short, full)


def test_energies_of_molecules_far_apart_add_up() -> None:
    """From the range of the energies' messages on, which is shorter than that of the matrices."""
    model = model_of("edge_frame")
    (z_1, r_1), (z_2, r_2) = geometry("OHH", 1), geometry("CHHO", 2)
    gap = np.array([r_1[:, 0].max() - r_2[:, 0].min(), 0.0, 0.0])
    both = [(np.concatenate([z_1, z_2]), np.concatenate([r_1, r_2 + gap + [d, 0, 0]])) for d in (6.01, 3.0)]
    apart, near, first, second = energies(model, *both, (z_1, r_1), (z_2, r_2))
    assert_equal(apart, first + second)
    assert abs(float(near - first - second)) > 1e-8


@pytest.mark.parametrize("product", PRODUCTS)
def test_without_matrices_energies_are_the_same(product: str) -> None:
    systems = [System(*geometry(formula)) for formula in ("OHH", "OCHHHH")]
    model = deepcopy(model_of(product))
    model.domain.whitening += torch.eye(model.config.features)  # a measure to compare
    batch, alone = (predict_(model, systems, gradients=True) for predict_ in (predict_batch, predict_atoms))
    assert_equal(alone.energies.detach(), batch.wavefunction_energies().detach())
    assert_equal(alone.gradient(), batch.gradient(batch.wavefunction_energies()))
    assert_equal(alone.joined_distances, batch.joined_distances)


def test_energies_come_only_where_they_are_asked_for() -> None:
    batch = predict_batch(model_of("edge_frame"), [System(*geometry("OHH"))], energies=False)
    with pytest.raises(ValueError, match="ask for energies=True"):
        batch.wavefunction_energies()
    with pytest.raises(ValueError, match="from the features of its matrices"):
        network("edge_frame").atomic_energies(batch.molecules)


def test_energies_of_atoms_begin_with_the_features_of_the_matrices() -> None:
    """Matrices stay to the last bit; with the same range the features are the same, and energies those of the shift."""
    old, molecule = network("edge_frame"), geometry("OCHHHH")
    new = grown(old, settings("edge_frame", energy_from="atoms", energy_cutoff=old.config.cutoff))
    for name in MATRICES:
        pair = (matrices(predict(network_, molecule), name)[0] for network_ in (old, new))
        assert torch.equal(*pair)
    assert new.energy_features is not None
    for name, weight in new.energy_features.state_dict().items():
        assert torch.equal(weight, old.state_dict()[name])
    assert not energies(new, molecule).any()
    assert grown(new, new.config) is new
