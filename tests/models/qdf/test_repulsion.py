"""Laws of the repulsion of nuclei."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ase_mlwave.models.qdf.batch import with_blocks
from ase_mlwave.models.qdf.config import QDFConfig
from ase_mlwave.models.qdf.model import QDF
from ase_mlwave.models.qdf.repulsion import NuclearRepulsion
from ase_mlwave.systems.batch import collate
from ase_mlwave.systems.system import System
from tests.models.qdf.networks import random_network

CUTOFF = 12.0


def pair(distance: float, numbers: tuple[int, int] = (6, 8), *, seed: int | None = None) -> float:
    """Return the energy of two atoms; learned weights are zero without a seed."""
    repulsion = NuclearRepulsion((1, 6, 8), 8, CUTOFF)
    if seed is not None:
        with torch.no_grad():
            repulsion.weight.copy_(torch.from_numpy(np.random.default_rng(seed).normal(size=repulsion.weight.shape)))
    element = torch.tensor([(1, 6, 8).index(z) for z in numbers])
    vectors = torch.tensor([[distance, 0, 0], [-distance, 0, 0]], dtype=torch.float64)
    energies = repulsion(vectors, element, element.flip(0))
    assert energies[0].item() == pytest.approx(energies[1].item(), abs=1e-15)
    return float(energies.detach().sum())


def test_wall_is_the_universal_screened_repulsion() -> None:
    """Against the published formula with lengths in Angstrom and energies in eV."""
    distance, charges = 1.1, (6, 8)
    length = 0.46850 / (charges[0] ** 0.23 + charges[1] ** 0.23)
    factors, rates = (0.18175, 0.50986, 0.28022, 0.02817), (3.19980, 0.94229, 0.40290, 0.20162)
    screening = sum(a * np.exp(-b * distance / length) for a, b in zip(factors, rates, strict=True))
    published = 14.399645 * charges[0] * charges[1] / distance * screening
    bohr = distance / 0.529177
    assert pair(bohr) * 27.211386 == pytest.approx(published * (1 - (bohr / CUTOFF) ** 2) ** 3, rel=1e-4)


def test_atoms_cannot_collapse() -> None:
    close = [pair(r, seed=3) for r in (0.05, 0.1, 0.2, 0.3)]
    assert min(close) > 0
    assert close == sorted(close, reverse=True)


def test_pairs_end_smoothly_at_the_cutoff() -> None:
    assert pair(CUTOFF, seed=1) == 0.0
    assert pair(CUTOFF + 1, seed=1) == 0.0
    assert abs(pair(CUTOFF - 1e-3, seed=1)) < 1e-9
    assert abs(pair(CUTOFF - 2.0, seed=1)) > 1e-4


def test_order_of_elements_does_not_matter() -> None:
    assert pair(2.5, (6, 8), seed=2) == pytest.approx(pair(2.5, (8, 6), seed=2), abs=1e-14)
    assert abs(pair(2.5, (6, 8), seed=2) - pair(2.5, (6, 6), seed=2)) > 1e-3


def test_forces_of_pairs_are_derivatives() -> None:
    repulsion = NuclearRepulsion((1, 6), 8, CUTOFF)
    with torch.no_grad():
        repulsion.weight.copy_(torch.from_numpy(np.random.default_rng(0).normal(size=repulsion.weight.shape)))
    first, second = torch.tensor([1, 1]), torch.tensor([0, 0])

    def energies(vectors: torch.Tensor) -> torch.Tensor:
        return repulsion(vectors, first, second)

    vectors = torch.tensor([[1.9, 0.2, 0.1], [-1.0, 1.8, 0.3]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(energies, vectors)
    assert torch.autograd.gradgradcheck(energies, vectors)


def test_a_model_without_learned_pairs_keeps_the_wall() -> None:
    network = QDF(QDFConfig(elements=("H",), dimension=4, grid_level=0, pair_functions=0))
    batch = with_blocks(collate([System(np.array([1, 1]), np.array([[0.0, 0, 0], [0.3, 0, 0]]))], 12.0))
    with torch.no_grad():
        energy = float(network(batch).energies)
        fixed, features = network.linear_terms(batch)
    assert energy == pytest.approx(float(fixed), abs=1e-12)
    assert features.shape == (1, network.config.readout_width)
    assert energy > 0.5


def test_untrained_pairs_are_counted_once() -> None:
    network = random_network()
    with torch.no_grad():
        network.functional.readout.weight.zero_()
        network.repulsion.weight.zero_()
    batch = with_blocks(collate([System(np.array([6, 8]), np.array([[0.0, 0, 0], [2.1, 0, 0]]))], 12.0))
    atoms = float(network.references[[1, 3]].sum())
    with torch.no_grad():
        assert float(network(batch).energies) - atoms == pytest.approx(pair(2.1), abs=1e-12)
