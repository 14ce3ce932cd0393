"""The map (H, S) -> P, eps: values against PySCF, derivatives against finite differences, degenerate orbitals."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed
from pyscf import dft, gto, scf
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck

from ase_mlwave.quantum.density import density_matrix, energy_weighted_density, orbitals, penalised


@cache
def _hartree_fock(name: str, basis: str) -> scf.hf.RHF:
    atoms = molecule(name)
    mole = gto.M(atom=list(zip(atoms.symbols, atoms.positions, strict=True)), basis=basis, verbose=0)
    field = scf.RHF(mole)
    field.conv_tol = 1e-12
    field.kernel()
    return field


def _matrices(name: str, basis: str) -> tuple[Tensor, Tensor, int]:
    field = _hartree_fock(name, basis)
    return torch.from_numpy(field.get_fock()), torch.from_numpy(field.get_ovlp()), field.mol.nelectron // 2


def _random_pair(n_orbitals: int, *batch: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(3)
    H = torch.randn(*batch, n_orbitals, n_orbitals, dtype=torch.float64, generator=generator)
    B = torch.randn(*batch, n_orbitals, n_orbitals, dtype=torch.float64, generator=generator)
    return 0.5 * (H + H.mT), B @ B.mT + n_orbitals * torch.eye(n_orbitals, dtype=torch.float64)


def _threefold_matrix(projection: Tensor) -> Tensor:
    """Draw a matrix of three equal sites with two functions each: symmetric under C3v, hence degenerate levels."""
    same, other = projection[:2], projection[2:]
    same, other = 0.5 * (same + same.mT), 0.5 * (other + other.mT)
    identity, ones = torch.eye(3, dtype=torch.float64), torch.ones(3, 3, dtype=torch.float64)
    return torch.kron(identity, same) + torch.kron(ones - identity, other)


@pytest.mark.parametrize("basis", ["sto-3g", "def2-svp"])
def test_density_and_energies_equal_pyscf(basis: str) -> None:
    H, S, n_occupied = _matrices("H2O", basis)
    field = _hartree_fock("H2O", basis)
    P, energies = density_matrix(H, S, n_occupied)
    np.testing.assert_allclose(P.numpy(), field.make_rdm1(), atol=1e-7)
    np.testing.assert_allclose(energies.numpy(), field.mo_energy, atol=1e-9)
    assert float((P * S).sum()) == pytest.approx(10.0, abs=1e-11)
    torch.testing.assert_close(P @ S @ P, 2 * P, atol=1e-11, rtol=0)


def test_density_and_energies_equal_pyscf_kohn_sham() -> None:
    mole = gto.M(atom="N 0 0 0; H 0 1.77 -0.7; H 1.53 -0.88 -0.7; H -1.53 -0.88 -0.7", unit="B", basis="def2-svp")
    mole.verbose = 0
    field = dft.RKS(mole, xc="pbe").density_fit()
    field.kernel()
    P, energies = density_matrix(torch.from_numpy(field.get_fock()), torch.from_numpy(field.get_ovlp()), 5)
    np.testing.assert_allclose(P.numpy(), field.make_rdm1(), atol=1e-4)
    np.testing.assert_allclose(energies.numpy(), field.mo_energy, atol=1e-6)


def test_orbitals_solve_the_generalised_problem() -> None:
    H, S = _random_pair(6, 2)
    C, energies = orbitals(H, S)
    torch.testing.assert_close(H @ C, S @ C * energies.unsqueeze(-2))
    torch.testing.assert_close(C.mT @ S @ C, torch.eye(6, dtype=torch.float64).expand(2, 6, 6))
    P, same_energies = density_matrix(H, S, 2)
    torch.testing.assert_close(P, 2 * C[..., :2] @ C[..., :2].mT)
    torch.testing.assert_close(same_energies, energies)


def test_density_gradient_random_batch() -> None:
    H, S = _random_pair(5, 2)
    n_occupied = torch.tensor([2, 3])

    def function(hamiltonian: Tensor, overlap: Tensor) -> Tensor:
        return density_matrix(hamiltonian, overlap, n_occupied)[0]

    assert gradcheck(function, (H.requires_grad_(), S.requires_grad_()))
    assert gradgradcheck(function, (H, S))


def test_orbital_energy_gradient() -> None:
    H, S = _random_pair(5)
    assert gradcheck(lambda h, s: density_matrix(h, s, 2)[1], (H.requires_grad_(), S.requires_grad_()))


@pytest.mark.parametrize("n_occupied", [2, 4])
def test_density_gradient_degenerate(n_occupied: int) -> None:
    generator = torch.Generator().manual_seed(11)
    H = _threefold_matrix(torch.randn(4, 2, dtype=torch.float64, generator=generator))
    S = torch.eye(6, dtype=torch.float64) + 0.05 * _threefold_matrix(
        torch.randn(4, 2, dtype=torch.float64, generator=generator)
    )
    energies = orbitals(H, S)[1]
    gaps = energies.diff()
    assert int((gaps < 1e-12).sum()) == 2, "the case must have two degenerate pairs"
    if float(gaps[n_occupied - 1]) < 1e-12:
        n_occupied += 1

    def function(hamiltonian: Tensor, overlap: Tensor) -> Tensor:
        return density_matrix(hamiltonian, overlap, n_occupied)[0]

    assert gradcheck(function, (H.requires_grad_(), S.requires_grad_()))
    assert gradgradcheck(function, (H, S))


@pytest.mark.parametrize("name", ["NH3", pytest.param("C6H6", marks=pytest.mark.slow)])
def test_density_gradient_of_symmetric_molecules(name: str) -> None:
    """Along random directions; the full Jacobian of benzene would be large."""
    H, S, n_occupied = _matrices(name, "sto-3g")
    energies = orbitals(H, S)[1][:n_occupied]
    assert int((energies.diff() < 1e-4).sum()) >= 1, "the molecule must have degenerate occupied orbitals"
    generator = torch.Generator().manual_seed(5)
    draws = [torch.randn(H.shape, dtype=torch.float64, generator=generator) for _ in range(4)]
    directions = [0.5 * (draw + draw.mT) for draw in draws[:3]]
    weights = draws[3] @ draws[3].mT / len(H)

    def function(steps: Tensor) -> Tensor:
        P = density_matrix(H + steps[0] * directions[0], S + 0.01 * steps[1] * directions[1], n_occupied)[0]
        return torch.stack([(P * weights).sum(), (P * directions[2]).sum()])

    steps = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    assert gradcheck(function, (steps,), eps=1e-5)
    assert gradgradcheck(function, (steps,), eps=1e-5)


def test_naive_differentiation_fails_where_ours_does_not() -> None:
    """The reason for this module: autograd through the eigenvectors of a degenerate matrix is not finite."""
    H = torch.diag(torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64)).requires_grad_()
    weights = torch.arange(9, dtype=torch.float64).reshape(3, 3)
    vectors = torch.linalg.eigh(H)[1][:, :2]
    (naive,) = torch.autograd.grad((vectors @ vectors.mT * weights).sum(), H)
    (ours,) = torch.autograd.grad((density_matrix(H, torch.eye(3).double(), 2)[0] * weights).sum(), H)
    assert not bool(torch.isfinite(naive).all())
    expected = torch.zeros(3, 3, dtype=torch.float64)
    expected[0, 2] = expected[2, 0] = (weights[0, 2] + weights[2, 0]) / (1.0 - 3.0)
    expected[1, 2] = expected[2, 1] = (weights[1, 2] + weights[2, 1]) / (1.0 - 3.0)
    torch.testing.assert_close(ours, expected)


def test_force_loss_trains_through_the_density() -> None:
    """Second use in a training loss: the force is a first derivative, the step on its error a second one."""
    H, S, n_occupied = _matrices("NH3", "sto-3g")
    generator = torch.Generator().manual_seed(7)
    draw = torch.randn(H.shape, dtype=torch.float64, generator=generator)
    slope = 0.05 * (draw + draw.mT)

    def loss(parameters: Tensor) -> Tensor:
        position = torch.zeros((), dtype=torch.float64, requires_grad=True)
        hamiltonian = H + slope * (parameters[0] * position + parameters[1] * position**2 + parameters[1])
        P = density_matrix(hamiltonian, S, n_occupied)[0]
        energy = 0.5 * (P * (hamiltonian + H)).sum()
        (gradient,) = torch.autograd.grad(energy, position, create_graph=True)
        return (gradient - 0.1) ** 2

    parameters = torch.tensor([0.3, 0.2], dtype=torch.float64, requires_grad=True)
    assert gradcheck(loss, (parameters,))
    optimiser = torch.optim.SGD([parameters], lr=0.05)
    losses = []
    for _ in range(3):
        optimiser.zero_grad()
        value = loss(parameters)
        value.backward()
        optimiser.step()
        losses.append(float(value.detach()))
    assert losses[2] < losses[1] < losses[0]


def test_energy_weighted_density() -> None:
    H, S = _random_pair(5)
    C, energies = orbitals(H, S)
    P = density_matrix(H, S, 2)[0]
    torch.testing.assert_close(energy_weighted_density(P, H), 2 * (C[:, :2] * energies[:2]) @ C[:, :2].mT)

    def function(hamiltonian: Tensor) -> Tensor:
        return energy_weighted_density(density_matrix(hamiltonian, S, 2)[0], hamiltonian)

    assert gradcheck(function, (H.requires_grad_(),))
    assert gradgradcheck(function, (H,))


def test_band_energy_gradient_is_the_density() -> None:
    """Hellmann-Feynman: d(2 sum eps_i)/dH = P and d(2 sum eps_i)/dS = -W."""
    H, S = _random_pair(6)
    H.requires_grad_()
    S.requires_grad_()
    P, energies = density_matrix(H, S, 3)
    of_hamiltonian, of_overlap = torch.autograd.grad(2 * energies[:3].sum(), (H, S))
    torch.testing.assert_close(of_hamiltonian, P)
    torch.testing.assert_close(of_overlap, -energy_weighted_density(P, H))


def test_padded_batch_equals_single_systems() -> None:
    """Values, first derivatives with respect to both matrices, and second derivatives."""
    sizes, n_occupied = torch.tensor([5, 8]), torch.tensor([2, 3])
    pairs = [_random_pair(5), _random_pair(8)]
    weights = torch.arange(64, dtype=torch.float64).reshape(8, 8)

    def found(H: Tensor, S: Tensor, n: Tensor, m: Tensor | None) -> list[Tensor]:
        H, S = H.clone().requires_grad_(), S.clone().requires_grad_()
        P, energies = density_matrix(H, S, n, m)
        inside = (
            P if m is None else P * (torch.arange(8) < m[:, None, None]) * (torch.arange(8)[:, None] < m[:, None, None])
        )
        total = (inside * weights[: P.shape[-1], : P.shape[-1]]).sum()
        first = torch.autograd.grad(total, (H, S), create_graph=True)
        second = torch.autograd.grad(sum((g * g).sum() for g in first), (H, S))
        return [P, *(g.detach() for g in first), *second, torch.diag_embed(energies)]

    H, S = (
        torch.stack([torch.nn.functional.pad(pair[k], (0, 8 - len(pair[k]), 0, 8 - len(pair[k]))) for pair in pairs])
        for k in (0, 1)
    )
    together = found(H, S, n_occupied, sizes)
    for b, (pair, n, m) in enumerate(zip(pairs, n_occupied, sizes.tolist(), strict=True)):
        for padded, single in zip(together, found(*pair, n, None), strict=True):
            torch.testing.assert_close(padded[b, :m, :m], single)


def test_float32_is_kept() -> None:
    H, S = _random_pair(4, 3)
    P, energies = density_matrix(H.float(), S.float(), 2)
    assert P.dtype == energies.dtype == torch.float32
    torch.testing.assert_close(P.double(), density_matrix(H, S, 2)[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("n_occupied", [0, 4])
def test_empty_and_full_shells(n_occupied: int) -> None:
    H, S = _random_pair(4)
    H.requires_grad_()
    P = density_matrix(H, S, n_occupied)[0]
    expected = torch.zeros_like(S) if n_occupied == 0 else 2 * torch.linalg.inv(S)
    torch.testing.assert_close(P, expected)
    (gradient,) = torch.autograd.grad(P.sum(), H)
    torch.testing.assert_close(gradient, torch.zeros_like(S))


def test_wrong_input_is_refused() -> None:
    H, S = _random_pair(4, 2)
    with pytest.raises(ValueError, match=r"outside 0\.\.4"):
        density_matrix(H, S, 5)
    with pytest.raises(ValueError, match="give one integer or shape"):
        density_matrix(H, S, torch.tensor([1, 2, 3]))
    with pytest.raises(ValueError, match="must be integers"):
        density_matrix(H, S, torch.tensor([1.0, 2.0]))
    with pytest.raises(ValueError, match="overlap has shape"):
        density_matrix(H, S[0], 2)
    with pytest.raises(ValueError, match="square"):
        density_matrix(H[..., :3], S, 2)
    with pytest.raises(ValueError, match="convert one"):
        density_matrix(H, S.float(), 2)
    with pytest.raises(CalculationFailed, match="not positive definite"):
        density_matrix(H, -S, 2)
    with pytest.raises(CalculationFailed, match="NaN"):
        density_matrix(H * torch.nan, S, 2)


def test_second_derivative_of_orbital_energies_is_refused() -> None:
    H, S = _random_pair(4)
    H.requires_grad_()
    (gradient,) = torch.autograd.grad(density_matrix(H, S, 2)[1].sum(), H, create_graph=True)
    with pytest.raises(RuntimeError, match="second derivatives of orbital energies"):
        gradient.square().sum().backward()


# --- the penalty of dependent functions -------------------------------------------------------------------------------


def test_penalty_keeps_errors_of_dependent_functions_from_occupied_orbitals() -> None:
    """A spurious level of the combination that depends most on the others is as if it had not been."""
    H, S, n_occupied = _matrices("C2H4", "def2-svp")
    exact, _ = density_matrix(H, S, n_occupied)
    smallest, vector = (part[..., 0] for part in torch.linalg.eigh(S))
    level = vector @ H @ vector / smallest
    spurious = H - (level + 0.6) * smallest * torch.outer(vector, vector)  # no element is off by more than 3 mHa

    def lost(hamiltonian: Tensor, penalty: float) -> float:
        """Energy above that of the exact density to first order, Hartree."""
        P, _ = density_matrix(penalised(hamiltonian, S, penalty), S, n_occupied)
        return float(((P - exact) * H).sum())

    penalty = 3.0 * float(smallest) ** 2  # lifts it by 3 Hartree
    assert lost(spurious, 0.0) > 0.5
    assert lost(spurious, penalty) < 1e-3
    assert 0 < lost(H, penalty) < 1e-3  # what it costs where H is exact


def test_penalty_of_padded_batch_equals_single_systems_and_none_is_none() -> None:
    H, S = _random_pair(6)
    padded = [torch.nn.functional.pad(matrix, (0, 3, 0, 3)) for matrix in (H, S)]
    alone = penalised(H, S, 0.1)
    batch = penalised(*(matrix[None] for matrix in padded), 0.1, torch.tensor([6]))
    torch.testing.assert_close(batch[0, :6, :6], alone)
    torch.testing.assert_close(alone, H + 0.1 * torch.linalg.inv(S))
    assert penalised(H, S, 0.0) is H


def test_density_of_a_penalised_matrix_can_be_differentiated_twice() -> None:
    H, S = _random_pair(4)

    def density(H: Tensor, S: Tensor) -> Tensor:
        return density_matrix(penalised(0.5 * (H + H.mT), S, 0.3), S, 2)[0]

    inputs = tuple(matrix.requires_grad_() for matrix in (H, S))
    assert gradcheck(density, inputs)
    assert gradgradcheck(density, inputs)


def test_penalty_leaves_a_dependent_basis_to_the_error_that_explains_it() -> None:
    H, S = torch.eye(2, dtype=torch.float64), torch.ones(2, 2, dtype=torch.float64)
    with pytest.raises(CalculationFailed, match="overlap matrix is not positive definite"):
        density_matrix(penalised(H, S, 1e-4), S, 1)
