"""Derivatives of the representation: reverse, forward, second, by cells, and finite where triangles are collinear."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk, molecule
from torch import Tensor

from ase_mlwave.models.amons.slatm import spectra
from ase_mlwave.models.amons.slatm.representation import Slatm
from ase_mlwave.models.amons.slatm.terms import angle, triangle_terms
from ase_mlwave.units import BOHR
from tests.models.amons.slatm.systems import geometry, random_molecule, slatm

ELEMENTS = ("H", "C", "O")
STEP = 1e-4  # Bohr


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def positions_of(atoms: Atoms) -> Tensor:
    return torch.from_numpy(atoms.positions / BOHR)


def by_differences(representation: Slatm, atoms: Atoms, direction: Tensor) -> Tensor:
    """Differentiate along a direction by Richardson's extrapolation of central differences."""

    def central(step: float) -> Tensor:
        ends = [representation.environments(atoms.numbers, positions_of(atoms) + s * step * direction) for s in (1, -1)]
        return (ends[0] - ends[1]) / (2 * step)

    return (4 * central(STEP) - central(2 * STEP)) / 3


def energy(x: Tensor) -> Tensor:
    """Stand for a regression: a smooth scalar of all environments."""
    weights = random(*x.shape, seed=9)
    return (weights * x).sum().sin() + torch.exp(-x[:, 1:].square().sum(1)).sum()


@pytest.mark.parametrize("smooth", [True, False])
def test_forward_mode_equals_finite_differences(smooth: bool) -> None:
    representation, atoms = slatm(*ELEMENTS, smooth=smooth), random_molecule(ELEMENTS, 8, seed=3, side=4.5)
    direction = random(8, 3)
    _, derivative = torch.func.jvp(
        lambda r: representation.environments(atoms.numbers, r), (positions_of(atoms),), (direction,)
    )
    expected = by_differences(representation, atoms, direction)
    assert expected.abs().max() > 0.1
    torch.testing.assert_close(derivative, expected, rtol=0, atol=1e-6 * float(expected.abs().max()))


def test_pullback_and_pushforward_are_the_derivatives(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectra, "_GAUSSIANS_ON_CPU", 40)  # several blocks
    representation = slatm(*ELEMENTS)
    systems = [random_molecule(ELEMENTS, 8, seed=3, side=4.5), molecule("CO2"), Atoms("O")]
    batch = representation.collate([geometry(atoms) for atoms in systems])
    n = len(batch.numbers)
    directions = random(5, n, 3)

    moving = batch.positions.clone().requires_grad_()
    x = representation.environments_of(batch.at(moving))
    gradient = random(*x.shape, seed=1)
    (expected,) = torch.autograd.grad((gradient * x).sum(), moving)
    by_positions, by_cells = representation.pullback(batch, gradient)
    torch.testing.assert_close(by_positions, expected, rtol=1e-11, atol=1e-11)
    assert by_cells.count_nonzero() == 0

    rows, derivatives = representation.pushforward(batch, directions)
    torch.testing.assert_close(rows, x.detach(), rtol=0, atol=1e-13)
    products = (derivatives * gradient).sum((1, 2))
    torch.testing.assert_close(products, (directions * expected).sum((1, 2)), rtol=1e-10, atol=1e-10)


def test_vmap_over_directions_equals_one_by_one() -> None:
    representation, atoms = slatm(*ELEMENTS), molecule("CH3CH2OH")
    directions = random(4, len(atoms), 3)

    def along(direction: Tensor) -> Tensor:
        of_positions = lambda r: representation.environments(atoms.numbers, r)  # noqa: E731
        return torch.func.jvp(of_positions, (positions_of(atoms),), (direction,))[1]

    together = torch.func.vmap(along)(directions)
    torch.testing.assert_close(together, torch.stack([along(d) for d in directions]), rtol=0, atol=1e-12)


def test_first_and_second_derivatives_pass_gradcheck() -> None:
    representation, atoms = slatm("H", "O"), molecule("H2O2")
    moving = positions_of(atoms).requires_grad_()

    def of_positions(r: Tensor) -> Tensor:
        return energy(representation.environments(atoms.numbers, r))

    assert torch.autograd.gradcheck(of_positions, (moving,), eps=1e-5, atol=1e-5, rtol=1e-5)
    assert torch.autograd.gradgradcheck(of_positions, (moving,), eps=1e-5, atol=1e-4, rtol=1e-4)


def test_reverse_over_reverse_equals_forward_over_reverse() -> None:
    representation, atoms = slatm(*ELEMENTS), molecule("CH3OH")
    positions, direction = positions_of(atoms), random(len(atoms), 3)

    def of_positions(r: Tensor) -> Tensor:
        return energy(representation.environments(atoms.numbers, r))

    moving = positions.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(of_positions(moving), moving, create_graph=True)
    (reverse,) = torch.autograd.grad((gradient * direction).sum(), moving)
    _, forward = torch.func.jvp(torch.func.grad(of_positions), (positions,), (direction,))
    torch.testing.assert_close(forward, reverse, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("name", ["CO2", "C2H2", "HCN"])
def test_derivatives_of_linear_molecules_are_finite(name: str, smooth: bool) -> None:
    atoms = molecule(name)
    representation = slatm(*set(atoms.symbols), smooth=smooth)
    moving = positions_of(atoms).requires_grad_()
    (gradient,) = torch.autograd.grad(
        energy(representation.environments(atoms.numbers, moving)), moving, create_graph=True
    )
    (second,) = torch.autograd.grad(gradient.square().sum(), moving)
    assert gradient.isfinite().all()
    assert second.isfinite().all()
    _, forward = torch.func.jvp(
        lambda r: representation.environments(atoms.numbers, r), (moving.detach(),), (random(len(atoms), 3),)
    )
    assert forward.isfinite().all()


def test_angles_near_180_degrees_are_precise() -> None:
    for bend in (1e-3, 1e-7, 1e-10, 0.0):
        u = torch.tensor([[1.3, 0.0, 0.0]], dtype=torch.float64)
        v = torch.tensor([[-1.1 * np.cos(bend), 1.1 * np.sin(bend), 0.0]], dtype=torch.float64)
        found = angle(u, v)
        assert float(np.pi - found) == pytest.approx(bend, rel=1e-5, abs=3e-16)
        sides = torch.stack([u, v, u - v]).square().sum(-1)
        softened = triangle_terms(sides, torch.ones(3, 1), None, torch.ones(1), 0.05, None)[0][0]
        assert float(np.pi - softened) == pytest.approx(np.hypot(bend, 0.05), rel=1e-3)


@pytest.mark.parametrize("pbc", [(True, True, True), (True, False, True)])
def test_derivatives_by_the_cell_are_those_of_a_strain(pbc: tuple[bool, ...]) -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.1)
    atoms.rattle(0.1, seed=2)
    atoms.pbc = pbc
    representation = slatm("Na", "Cl")
    batch = representation.collate([geometry(atoms)])
    strain = random(3, 3, seed=4)

    def strained(size: float) -> Tensor:
        matrix = torch.eye(3, dtype=torch.float64) + size * strain
        cell = torch.from_numpy(atoms.cell.array / BOHR) @ matrix
        return energy(representation.environments(atoms.numbers, positions_of(atoms) @ matrix, cell, pbc))

    x = representation.environments_of(batch).requires_grad_()
    (gradient,) = torch.autograd.grad(energy(x), x)
    by_positions, by_cells = representation.pullback(batch, gradient)
    virial = batch.positions.T @ by_positions + batch.cells[0].T @ by_cells[0]
    ends = [float((8 * strained(h) - strained(2 * h)).detach()) for h in (1e-4, -1e-4)]
    expected = (ends[0] - ends[1]) / 12e-4
    assert float((virial * strain).sum()) == pytest.approx(expected, rel=1e-6)
    assert abs(expected) > 0.1


def test_cells_take_part_in_autograd() -> None:
    atoms = bulk("Si")
    representation = slatm("Si")
    cell = torch.from_numpy(atoms.cell.array / BOHR).requires_grad_()
    x = representation.environments(atoms.numbers, positions_of(atoms), cell, atoms.pbc)
    (by_cell,) = torch.autograd.grad(energy(x), cell)
    with torch.no_grad():
        row = x.detach().clone().requires_grad_()
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(energy(row), row)
    _, expected = representation.pullback(representation.collate([geometry(atoms)]), gradient)
    torch.testing.assert_close(by_cell, expected[0])
    assert by_cell.abs().max() > 1e-3
