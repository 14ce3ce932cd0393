"""Invariants of the orbitals' gradients, against derivatives that PyTorch takes."""

from __future__ import annotations

import torch
from ase.build import molecule

from ase_mlwave.data.record import Record
from ase_mlwave.models.qdf.exponentials import log_slopes, log_terms
from ase_mlwave.models.qdf.model import QDF
from ase_mlwave.units import BOHR
from tests.models.qdf.networks import random_network

WATER = Record(molecule("H2O").numbers, molecule("H2O").positions / BOHR)


def test_slopes_of_the_terms() -> None:
    r2 = torch.linspace(0, 40, 90, dtype=torch.float64)[None].requires_grad_()  # beyond the cutoff, 36, also
    table = torch.tensor([[[0.3, -0.7, 1.5, 0.0, 1.0, 0.0]]], dtype=torch.float64)
    power = torch.exp2(table @ log_terms(r2, torch.zeros(90, dtype=torch.float64), 0.3, 6.0))
    (expected,) = torch.autograd.grad(power.sum(), r2)
    torch.testing.assert_close((power * (table @ log_slopes(r2, 0.3, 6.0)))[:, 0], expected)
    assert expected.abs().max() > 0.1


def naive_invariants(network: QDF, points: torch.Tensor) -> torch.Tensor:
    """Differentiate every psi_n(r) with respect to r, (R, G)."""
    points = points.clone().requires_grad_()
    r2 = (torch.tensor(WATER.positions)[:, None] - points).square().sum(2)
    terms = log_terms(r2, r2.new_zeros(len(points)), network.config.softening, network.config.cutoff)
    element = network.elements_of(torch.tensor(WATER.numbers))
    psi = network.orbitals.mixing().T @ network.orbitals.basis(terms, element)
    slopes = torch.stack([torch.autograd.grad(one.sum(), points, retain_graph=True)[0] for one in psi])  # (d, G, 3)
    assert network.gradients is not None
    left, right = (torch.einsum("nk,ngx->kgx", u, slopes) for u in (network.gradients.left, network.gradients.right))
    return (left * right).sum(2)


def test_invariants_are_those_of_the_gradients_of_the_orbitals() -> None:
    network = random_network(dimension=5, gradients=3)
    batch = network.collate([WATER])
    for block, (vectors, here) in zip(batch.blocks, network._places(batch, network._grid_of(batch, None)), strict=True):
        values = network.field(vectors, here)
        points = (batch.positions[block.centres][:, None] + here.offsets).flatten(0, 1)
        assert values.invariants is not None
        torch.testing.assert_close(values.invariants.flatten(1), naive_invariants(network, points))
        assert values.invariants.abs().max() > 0.1


def test_gradients_tell_an_angle_from_its_density() -> None:
    """Of two neighbours at the same distances from a point, the density there is the same at all angles."""
    network = random_network(gradients=3)
    offsets = torch.zeros(1, 1, 3, dtype=torch.float64)
    found = []
    for cosine in (-1.0, 0.0, 0.9):
        other = [2 * cosine, 2 * (1 - cosine**2) ** 0.5, 0.0]
        vectors = torch.tensor([[[0.0, 0, 0], [2.0, 0, 0], other]], dtype=torch.float64)
        batch = network.collate([Record(WATER.numbers, vectors[0].numpy())])
        here = network._places(batch, network._grid_of(batch, None))[0][1]
        element = network.elements_of(torch.tensor([8, 1, 1]))
        charges = torch.tensor([[8.0, 1, 1]], dtype=torch.float64)
        here = type(here)(element[:1], element, charges, offsets, torch.ones(1, 1, dtype=torch.float64))
        found.append(network.field(vectors, here))
    for values in found[1:]:
        torch.testing.assert_close(values.squared, found[0].squared)
        assert values.invariants is not None
        assert (values.invariants - found[0].invariants).abs().max() > 1e-3
