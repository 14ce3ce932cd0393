"""Energies and gradients of given densities, against converged PySCF and finite differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from ase.calculators.calculator import SCFError
from pyscf import dft, scf

from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.density import density_matrix
from ase_mlwave.quantum.functional import (
    ScfResult,
    converge,
    evaluate_functional,
    kohn_sham_energy,
    kohn_sham_functional,
    kohn_sham_gradient,
)
from ase_mlwave.quantum.integrals import one_electron_integrals

NUMBERS = (8, 1, 1)
POSITIONS = np.array([[0.0, 0.05, 0.22], [0.0, 1.55, -0.9], [0.1, -1.4, -0.95]])


def _mean_field(positions: np.ndarray = POSITIONS, *, xc: str = "pbe", fitted: bool = True) -> Any:
    mole = build_mole(NUMBERS, positions, "def2-svp")
    field = scf.RHF(mole) if xc == "hf" else dft.RKS(mole, xc=xc)
    field = field.density_fit() if fitted else field
    field.conv_tol = 1e-12
    return field


def pyscf_gradient(field: Any, *, grid_response: bool = True) -> np.ndarray:
    method = field.nuc_grad_method()
    method.grid_response = grid_response
    gradient: np.ndarray = method.kernel()
    return gradient


def _noisy_orbitals(field: Any, noise: float) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(4)
    H = field.get_fock()
    error = generator.normal(size=H.shape) * noise
    energies, coefficients = scipy.linalg.eigh(H + error + error.T, field.get_ovlp())
    return energies, coefficients


@pytest.mark.parametrize(
    ("xc", "fitted"), [("pbe", True), ("pbe0", True), ("wb97x", True), ("hf", True), ("pbe", False)]
)
def test_values_at_self_consistency(xc: str, fitted: bool) -> None:
    field = _mean_field(xc=xc, fitted=fitted)
    field.kernel()
    other = _mean_field(xc=xc, fitted=fitted)
    energy, fock = evaluate_functional(other, field.make_rdm1())
    assert energy == pytest.approx(field.e_tot, abs=1e-9)
    assert kohn_sham_energy(other, field.make_rdm1()) == energy
    np.testing.assert_allclose(fock, field.get_fock(), atol=1e-6)
    gradient = kohn_sham_gradient(other, field.mo_coeff, field.mo_energy)
    np.testing.assert_allclose(gradient, pyscf_gradient(field), atol=1e-7)


def test_energy_error_is_second_order() -> None:
    field = _mean_field()
    field.kernel()
    errors = []
    for noise in (1e-4, 1e-3):
        _, C = _noisy_orbitals(field, noise)
        errors.append(kohn_sham_energy(field, 2 * C[:, :5] @ C[:, :5].T) - field.e_tot)
    assert 1e-8 < errors[0] < 1e-5
    assert errors[1] / errors[0] == pytest.approx(100, rel=0.1)


def test_gradient_error_is_first_order_and_smaller_from_the_fock_matrix() -> None:
    field = _mean_field()
    field.kernel()
    exact = pyscf_gradient(field)
    errors, better = [], []
    for noise in (1e-5, 1e-4):
        energies, C = _noisy_orbitals(field, noise)
        errors.append(np.abs(kohn_sham_gradient(field, C, energies) - exact).mean())
        _, fock = evaluate_functional(field, 2 * C[:, :5] @ C[:, :5].T)
        energies, C = scipy.linalg.eigh(fock, field.get_ovlp())
        better.append(np.abs(kohn_sham_gradient(field, C, energies) - exact).mean())
    assert errors[1] / errors[0] == pytest.approx(10, rel=0.1)
    assert better[0] < 0.5 * errors[0]


def _model_energy(positions: torch.Tensor, noise: float) -> torch.Tensor:
    """E[P(R)] of a model whose Hamiltonian is h + V_SAP and something that depends on R smoothly."""
    integrals = one_electron_integrals(positions, NUMBERS, "def2-svp", sap=True)
    assert integrals.sap is not None
    draw = torch.randn(24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hamiltonian = integrals.core + integrals.sap + noise * torch.sin(positions.sum()) * draw
    P, _ = density_matrix(hamiltonian, integrals.overlap, 5)
    return kohn_sham_functional(positions, P, _mean_field(positions.detach().numpy()))


def test_functional_derivative_is_that_of_the_energy() -> None:
    """Far from self-consistency, where the formula for converged orbitals is wrong by far more than the tolerance."""
    positions = torch.from_numpy(POSITIONS).requires_grad_()
    energy = _model_energy(positions, 0.05)
    (gradient,) = torch.autograd.grad(energy, positions)
    step = 1e-3
    for atom, axis in [(0, 2), (1, 1), (2, 0)]:
        shift = torch.zeros(3, 3, dtype=torch.float64)
        shift[atom, axis] = step
        with torch.no_grad():
            numerical = (_model_energy(positions + shift, 0.05) - _model_energy(positions - shift, 0.05)) / (2 * step)
        assert float(gradient[atom, axis]) == pytest.approx(float(numerical), abs=2e-6)


def test_functional_derivative_at_self_consistency() -> None:
    field = _mean_field()
    field.kernel()
    H = torch.from_numpy(field.get_fock())
    positions = torch.from_numpy(POSITIONS).requires_grad_()
    P, _ = density_matrix(H, one_electron_integrals(positions, NUMBERS, "def2-svp").overlap, 5)
    (gradient,) = torch.autograd.grad(kohn_sham_functional(positions, P, field), positions)
    np.testing.assert_allclose(gradient.numpy(), pyscf_gradient(field), atol=1e-6)
    np.testing.assert_allclose(gradient.numpy().sum(0), 0, atol=1e-9)  # nothing changes with a translation


@pytest.mark.parametrize(
    ("xc", "fitted", "spin"),
    [
        ("pbe", True, 0),
        ("pbe", False, 1),
        ("pbe0", True, 1),
        ("r2scan", True, 0),
        ("wb97x", False, 0),
        pytest.param("b97m-v", True, 1, marks=pytest.mark.slow),
        ("hf", True, 0),
    ],
)
def test_forces_of_the_scf_are_the_derivative_of_its_energy(xc: str, fitted: bool, spin: int) -> None:
    """On a coarse grid, whose response is large."""

    def energy_and_forces(positions: np.ndarray, *, forces: bool) -> ScfResult:
        field = small_field(positions, xc, fitted, spin)
        return converge(field, forces=forces)

    forces = energy_and_forces(POSITIONS, forces=True).forces
    assert forces is not None
    np.testing.assert_allclose(forces.sum(0), 0, atol=1e-8)
    direction = np.random.default_rng(0).normal(size=(3, 3))
    step = 1e-3
    ends = [energy_and_forces(POSITIONS + sign * step * direction, forces=False).energy for sign in (1, -1)]
    numerical = (ends[0] - ends[1]) / (2 * step)
    assert -(forces * direction).sum() == pytest.approx(numerical, abs=5e-6)
    if xc != "hf":
        without = -pyscf_gradient(converged(small_field(POSITIONS, xc, fitted, spin)), grid_response=False)
        assert abs(-(without * direction).sum() - numerical) > 5e-5


def small_field(positions: np.ndarray, xc: str, fitted: bool, spin: int) -> Any:
    mole = build_mole(NUMBERS, positions, "6-31g", spin, spin)
    if xc == "hf":
        field = scf.RHF(mole)
    else:
        field = (dft.UKS if spin else dft.RKS)(mole, xc=xc)
        field.grids.level, field.nlcgrids.level = 1, 0
    field = field.density_fit() if fitted else field
    field.conv_tol = 1e-11
    return field


def converged(field: Any) -> Any:
    field.kernel()
    return field


def test_the_response_of_the_grid_can_be_left_out() -> None:
    field = converged(_mean_field())
    gradient = kohn_sham_gradient(field, field.mo_coeff, field.mo_energy, grid_response=False)
    np.testing.assert_allclose(gradient, pyscf_gradient(field, grid_response=False), atol=1e-7)
    forces = converge(field, field.make_rdm1(), grid_response=False).forces
    np.testing.assert_allclose(forces, -gradient, atol=1e-6)  # type: ignore[arg-type]
    assert np.abs(gradient.sum(0)).max() > 1e-6


def test_a_pyscf_without_the_response_of_a_functional_is_warned_about(monkeypatch: pytest.MonkeyPatch) -> None:
    def older(*arguments: Any, **keywords: Any) -> None:
        raise NotImplementedError("meta-GGA")

    monkeypatch.setattr("pyscf.grad.rks.get_vxc_full_response", older)
    field = converged(_mean_field(xc="b3lyp"))  # of semilocal functionals the response is our own
    with pytest.warns(UserWarning, match=r"no response of the integration grid for 'b3lyp' \(meta-GGA\).*Update PySCF"):
        gradient = kohn_sham_gradient(field, field.mo_coeff, field.mo_energy)
    np.testing.assert_allclose(gradient, pyscf_gradient(field, grid_response=False), atol=1e-7)


def test_converge_gives_pyscf_results_without_noise(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    field = _mean_field()
    field.verbose = field.mol.verbose = 5
    field.chkfile = str(tmp_path / "check.h5")
    cold = converge(field)
    warm = converge(_mean_field(), cold.density)
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []
    assert field.verbose == field.mol.verbose == 5
    assert field.chkfile == str(tmp_path / "check.h5")
    reference = _mean_field()
    reference.kernel()
    assert cold.energy == pytest.approx(reference.e_tot, abs=1e-9)
    assert warm.energy == pytest.approx(reference.e_tot, abs=1e-9)
    assert cold.forces is not None
    np.testing.assert_allclose(cold.forces, -pyscf_gradient(reference), atol=1e-6)
    np.testing.assert_allclose(cold.orbital_energies, reference.mo_energy, atol=1e-6)
    assert warm.cycles is not None
    assert cold.cycles is not None
    assert warm.cycles < cold.cycles
    assert converge(_mean_field(), cold.density, forces=False).forces is None


def test_unconverged_scf_is_an_error() -> None:
    field = _mean_field()
    field.max_cycle = 2
    with pytest.raises(SCFError, match="did not converge to 1e-12 Hartree in 2 cycles"):
        converge(field)


def test_wrong_input_is_refused() -> None:
    field = _mean_field()
    with pytest.raises(ValueError, match="density has shape"):
        kohn_sham_energy(field, np.eye(7))
    with pytest.raises(ValueError, match="NaN"):
        kohn_sham_energy(field, np.full((24, 24), np.nan))
    with pytest.raises(ValueError, match="24 basis functions"):
        kohn_sham_gradient(field, np.eye(7), np.zeros(7), np.zeros(7))
    positions = torch.from_numpy(POSITIONS)
    with pytest.raises(ValueError, match="positions differ"):
        kohn_sham_functional(positions + 0.1, torch.eye(24, dtype=torch.float64), field)
    tenths = torch.eye(24, dtype=torch.float64) * 0.1
    for other in (field, _mean_field(xc="b3lyp")):
        with pytest.raises(ValueError, match="doubly occupied"):
            kohn_sham_functional(positions.clone().requires_grad_(), tenths, other).backward()
