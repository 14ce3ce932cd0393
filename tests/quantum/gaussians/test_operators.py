"""Matrices of batches and their gradients, against PySCF."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ase_mlwave.quantum.ao_order import rotate_aos
from ase_mlwave.quantum.basis import build_mole, shells
from ase_mlwave.quantum.gaussians import batches, layout, operators, pairs
from ase_mlwave.quantum.gaussians.batches import Batch, prepare
from ase_mlwave.quantum.gaussians.layout import Potentials
from ase_mlwave.quantum.integrals import IntegralName, derivative_arrays, integral_arrays

CPU = torch.device("cpu")
NAMES: tuple[IntegralName, ...] = ("overlap", "kinetic", "nuclear", "sap", "smeared")
POTENTIALS: tuple[Potentials, ...] = (("nuclear",), ("sap",), ("smeared",))
NUMBERS = (8, 6, 1, 1)
POSITIONS = np.array([[0.1, -0.05, 2.25], [0.0, 0.1, 0.0], [0.05, 1.8, -1.1], [-0.2, -1.7, -1.0]])


def _each(positions: Tensor, prepared: Batch) -> list[Tensor]:
    """Compute the matrices of each molecule, (5, M_b, M_b)."""
    parts = operators.matrices(positions, prepared).split([m * m for m in prepared.sizes], 1)
    return [part.view(-1, m, m) for part, m in zip(parts, prepared.sizes, strict=True)]


def _matrices(positions: np.ndarray, numbers: tuple[int, ...], basis: str) -> Tensor:
    (result,) = _each(torch.from_numpy(positions), prepare((numbers,), basis, POTENTIALS, CPU))
    return result


def _positions(n_atoms: int, seed: int, spread: float = 3.0) -> np.ndarray:
    return spread * np.random.default_rng(seed).normal(size=(n_atoms, 3))


@pytest.mark.parametrize(
    ("numbers", "basis"),
    [
        ((8, 6, 1, 1), "sto-3g"),
        ((8, 6, 1, 1), "6-31g*"),
        ((8, 6, 1, 1), "def2-svp"),
        ((8, 6, 1, 1), "cc-pvdz"),
        ((7, 9, 2, 3), "def2-tzvp"),
        ((4, 5, 10), "cc-pvtz"),
        ((11, 12, 13), "def2-svp"),
        ((14, 15, 16), "def2-tzvp"),
        ((17, 18, 1), "cc-pvdz"),
    ],
)
def test_values_equal_pyscf(numbers: tuple[int, ...], basis: str) -> None:
    positions = POSITIONS if len(numbers) == 4 else _positions(len(numbers), seed=len(basis))
    expected = integral_arrays(build_mole(numbers, positions, basis, spin=None), NAMES)
    for name, ours in zip(NAMES, _matrices(positions, numbers, basis).numpy(), strict=True):
        np.testing.assert_allclose(ours, expected[name], rtol=1e-10, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("distance", [0.0, 1e-6, 0.3, 12.0, 200.0])
def test_values_equal_pyscf_near_and_far(distance: float) -> None:
    positions = np.array([[0.0, 0.0, 0.0], [0.6 * distance, 0.0, 0.8 * distance], [0.0, 1.9, 0.3]])
    expected = integral_arrays(build_mole((8, 1, 1), positions, "def2-tzvp"), NAMES)
    for name, ours in zip(NAMES, _matrices(positions, (8, 1, 1), "def2-tzvp").numpy(), strict=True):
        np.testing.assert_allclose(ours, expected[name], rtol=1e-10, atol=1e-11, err_msg=name)


@pytest.mark.parametrize(("numbers", "basis"), [((8, 6, 1, 1), "def2-tzvp"), ((17, 16, 7, 1), "cc-pvdz")])
def test_gradients_equal_contracted_derivatives_of_pyscf(numbers: tuple[int, ...], basis: str) -> None:
    expected = derivative_arrays(build_mole(numbers, POSITIONS, basis, spin=None), NAMES)
    positions = torch.from_numpy(POSITIONS).requires_grad_()
    (result,) = _each(positions, prepare((numbers,), basis, POTENTIALS, CPU))
    generator = torch.Generator().manual_seed(0)
    for name, matrix in zip(NAMES, result, strict=True):
        weights = torch.randn(matrix.shape, dtype=torch.float64, generator=generator)  # not symmetric
        (ours,) = torch.autograd.grad((weights * matrix).sum(), positions, retain_graph=True)
        theirs = np.einsum("axpq,pq->ax", expected[name], weights.numpy())
        np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-10, atol=1e-10 * np.abs(theirs).max(), err_msg=name)


@pytest.fixture
def _small_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    """Part classes into groups of a few pairs, and let backward passes compute all again."""
    prepare.cache_clear()
    layout.prepare_layout.cache_clear()
    monkeypatch.setattr(layout, "_LARGEST_GROUP", 500)
    monkeypatch.setattr(layout, "_SMALLEST_GROUP", 100)
    monkeypatch.setattr(operators, "_MOST_TERMS", 0)


MOLECULES = ((8, 1, 1), (8, 6, 1, 1), (1, 1), (8, 1, 1))


def _batch() -> tuple[Tensor, list[int]]:
    sizes = [len(numbers) for numbers in MOLECULES]
    return torch.from_numpy(np.concatenate([_positions(n, seed) for seed, n in enumerate(sizes)])), sizes


def _check_batch() -> None:
    positions, sizes = _batch()
    positions.requires_grad_()
    together = _each(positions, prepare(MOLECULES, "def2-svp", POTENTIALS, CPU))
    (gradient,) = torch.autograd.grad(sum((m * m).sum() for m in together), positions)
    for numbers, alone, matrix, slope in zip(
        MOLECULES, positions.detach().split(sizes), together, gradient.split(sizes), strict=True
    ):
        alone.requires_grad_()
        (expected,) = _each(alone, prepare((numbers,), "def2-svp", POTENTIALS, CPU))
        torch.testing.assert_close(matrix, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(
            slope, torch.autograd.grad((expected * expected).sum(), alone)[0], rtol=1e-10, atol=1e-10
        )


@pytest.mark.parametrize("large", [0, 2**11, 2**30])
def test_batch_equals_single_molecules(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of molecules apart, only the larger ones, or all together."""
    prepare.cache_clear()
    monkeypatch.setattr(batches, "_LARGE", large)
    _check_batch()
    assert len(prepare(MOLECULES, "def2-svp", POTENTIALS, CPU).parts) == {0: 3, 2**11: 2, 2**30: 1}[large]


@pytest.mark.usefixtures("_small_groups")
def test_batch_equals_single_molecules_in_small_groups() -> None:
    _check_batch()


def test_pairs_that_are_left_out_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    shifts = np.array([[[0.0, 0.0, 0.0]], [[9.0, 0.0, 0.0]], [[0.0, 14.0, 3.0]]])
    positions = torch.from_numpy((POSITIONS + shifts).reshape(-1, 3)).requires_grad_()
    prepared = prepare((NUMBERS * 3,), "def2-svp", POTENTIALS, CPU)
    found = []
    for limit in (0, 2**40):
        monkeypatch.setattr(operators, "_MANY_TERMS", limit)
        (result,) = _each(positions, prepared)
        found.append((result, torch.autograd.grad((result * result).sum(), positions)[0]))
    assert len(pairs.overlapping(positions.detach().t().reshape(-1), prepared.parts[0].layout.groups[-1]).scale) < len(
        prepared.parts[0].layout.groups[-1].scale
    )
    for few, every in zip(*found, strict=True):
        torch.testing.assert_close(few, every, rtol=1e-12, atol=1e-12)


def _forces(positions: Tensor, weights: Tensor) -> Tensor:
    (result,) = _each(positions, prepare(((8, 1),), "sto-3g", POTENTIALS, CPU))
    return torch.autograd.grad((weights * result).sum(), positions, create_graph=True)[0]


def test_gradient_is_differentiable_in_weights_and_positions() -> None:
    """Training on forces takes the derivative with respect to the weights, Hessians that with respect to positions."""
    positions = torch.from_numpy(POSITIONS[[0, 2]].copy()).requires_grad_()
    generator = torch.Generator().manual_seed(2)
    weights, others = torch.randn(2, 5, 6, 6, dtype=torch.float64, generator=generator)
    assert gradcheck(lambda r: _forces(r, weights), (positions,), atol=1e-6)
    # Forces are linear in the weights.
    direction = torch.randn(2, 3, dtype=torch.float64, generator=generator)
    (slope,) = torch.autograd.grad((_forces(positions, weights.requires_grad_()) * direction).sum(), weights)
    expected = (_forces(positions, others) * direction).sum()
    torch.testing.assert_close((slope * others).sum(), expected)


def test_without_second_derivatives_forces_are_the_same_functions_of_weights() -> None:
    """Derivatives of forces with respect to positions are NaN, never a wrong number."""
    positions = torch.from_numpy(POSITIONS[[0, 2]].copy()).requires_grad_()
    prepared = prepare(((8, 1),), "sto-3g", POTENTIALS, CPU)
    weights, direction = torch.randn(5, 36, dtype=torch.float64).requires_grad_(), torch.randn(2, 3).double()
    found = []
    for second in (True, False):
        values = operators.matrices(positions, prepared, second=second)
        (forces,) = torch.autograd.grad((weights * values).sum(), positions, create_graph=True)
        found.append((forces, *torch.autograd.grad((forces * direction).sum(), weights, retain_graph=True)))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-12, atol=1e-12)
    assert bool(torch.autograd.grad(found[1][0].sum(), positions)[0].isnan().all())


def test_second_derivatives_of_f_functions() -> None:
    positions = torch.from_numpy(POSITIONS[[0, 2]].copy()).requires_grad_()
    prepared = prepare(((8, 1),), "def2-tzvp", POTENTIALS, CPU)
    weights = torch.randn(5, 37, 37, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    assert gradgradcheck(lambda r: (weights * _each(r, prepared)[0]).sum(), (positions,), atol=1e-5)


def test_translation_changes_nothing() -> None:
    moved = _matrices(POSITIONS + np.array([30.0, -20.0, 7.0]), NUMBERS, "def2-svp")
    torch.testing.assert_close(moved, _matrices(POSITIONS, NUMBERS, "def2-svp"), rtol=0, atol=1e-10)


def test_forces_and_torques_vanish() -> None:
    positions = torch.from_numpy(POSITIONS).requires_grad_()
    (result,) = _each(positions, prepare((NUMBERS,), "def2-svp", POTENTIALS, CPU))
    for matrix in result:
        (gradient,) = torch.autograd.grad(matrix.square().sum(), positions, retain_graph=True)
        assert float(gradient.abs().max()) > 1e-2
        torch.testing.assert_close(gradient.sum(0), torch.zeros(3, dtype=torch.float64), rtol=0, atol=1e-9)


@pytest.mark.parametrize("determinant", [1, -1])
def test_matrices_rotate_with_the_molecule(determinant: int) -> None:
    rotation = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(4)))[0]
    rotation *= determinant * torch.linalg.det(rotation).sign()
    turned = _matrices(POSITIONS @ rotation.numpy().T, NUMBERS, "def2-tzvp")
    u = rotate_aos([l for number in NUMBERS for l in shells("def2-tzvp", number)], rotation)
    torch.testing.assert_close(turned, u @ _matrices(POSITIONS, NUMBERS, "def2-tzvp") @ u.T, rtol=0, atol=1e-10)


def test_what_is_kept_from_inference_serves_gradients() -> None:
    prepare.cache_clear()
    layout.prepare_layout.cache_clear()
    with torch.inference_mode():
        _matrices(POSITIONS, NUMBERS, "sto-3g")
    positions = torch.from_numpy(POSITIONS).requires_grad_()
    (result,) = _each(positions, prepare((NUMBERS,), "sto-3g", POTENTIALS, CPU))
    assert bool(torch.autograd.grad(result.sum(), positions)[0].isfinite().all())


def test_no_potentials() -> None:
    positions = torch.from_numpy(POSITIONS).requires_grad_()
    (result,) = _each(positions, prepare((NUMBERS,), "def2-svp", (), CPU))
    torch.testing.assert_close(result, _matrices(POSITIONS, NUMBERS, "def2-svp")[:2])
    (gradient,) = torch.autograd.grad(result.square().sum(), positions)
    assert bool(gradient.isfinite().all())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_gpu_equals_cpu() -> None:
    results = []
    for device in (CPU, torch.device("cuda")):
        positions = _batch()[0].to(device).requires_grad_()
        found = _each(positions, prepare(MOLECULES, "def2-tzvp", POTENTIALS, device))
        (gradient,) = torch.autograd.grad(sum((m * m).sum() for m in found), positions)
        results.append([part.detach().cpu() for part in (*found, gradient)])
    for cpu, gpu in zip(*results, strict=True):
        torch.testing.assert_close(gpu, cpu, rtol=1e-10, atol=1e-10)
