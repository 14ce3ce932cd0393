"""Densities relaxed in the linearised functional, against converged PySCF and finite differences."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from ase.calculators.calculator import SCFError
from pyscf import dft

from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.density import density_matrix
from ase_mlwave.quantum.functional import energy_drop, evaluate_functional, kohn_sham_energy
from ase_mlwave.quantum.integrals import one_electron_integrals
from ase_mlwave.quantum.response import Relaxed, relax_density, relaxed_functional

NUMBERS = (8, 1, 1)
POSITIONS = np.array([[0.0, 0.05, 0.22], [0.0, 1.55, -0.9], [0.1, -1.4, -0.95]])


def _mean_field(positions: np.ndarray = POSITIONS, xc: str = "pbe") -> Any:
    field = dft.RKS(build_mole(NUMBERS, positions, "def2-svp"), xc=xc).density_fit()
    field.grids.level = 0
    field.conv_tol = 1e-12
    return field


def _noisy_density(field: Any, noise: float) -> np.ndarray:
    H = field.get_fock()
    error = noise * np.random.default_rng(4).normal(size=H.shape)
    C = scipy.linalg.eigh(H + error + error.T, field.get_ovlp())[1][:, :5]
    return np.asarray(2 * C @ C.T)


def _relaxed(field: Any, density: np.ndarray) -> Relaxed:
    return relaxed_functional(torch.from_numpy(field.mol.atom_coords()), torch.from_numpy(density), field)


def _model(positions: torch.Tensor, xc: str) -> Relaxed:
    """Relax the density of a model whose Hamiltonian is h + V_SAP and something that depends on R smoothly."""
    integrals = one_electron_integrals(positions, NUMBERS, "def2-svp", sap=True)
    assert integrals.sap is not None
    draw = torch.randn(24, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    hamiltonian = integrals.core + integrals.sap + 0.01 * torch.sin(positions.sum()) * draw
    P, _ = density_matrix(hamiltonian, integrals.overlap, 5)
    return relaxed_functional(positions, P, _mean_field(positions.detach().numpy(), xc))


@pytest.mark.parametrize("xc", ["pbe", "lda,vwn"])
def test_relaxed_derivative_is_that_of_the_energy(xc: str) -> None:
    positions = torch.from_numpy(POSITIONS).requires_grad_()
    (gradient,) = torch.autograd.grad(_model(positions, xc).energy, positions)
    step = 1e-3
    for atom, axis in [(0, 2), (1, 1)]:
        shift = torch.zeros(3, 3, dtype=torch.float64)
        shift[atom, axis] = step
        with torch.no_grad():
            ahead, behind = (float(_model(positions + sign * shift, xc).energy) for sign in (1, -1))
        assert float(gradient[atom, axis]) == pytest.approx((ahead - behind) / (2 * step), abs=2e-6)


def test_relaxed_energy_is_an_order_closer() -> None:
    """Both errors are of second order, and the energy stays above the minimum."""
    field = _mean_field()
    field.kernel()
    errors = []
    for noise in (1e-3, 1e-2):
        P = _noisy_density(field, noise)
        errors.append((kohn_sham_energy(field, P) - field.e_tot, float(_relaxed(field, P).energy) - field.e_tot))
        assert 0 < errors[-1][1] < 0.15 * errors[-1][0]
    assert errors[1][1] / errors[0][1] == pytest.approx(100, rel=0.3)


def test_self_consistent_density_stays() -> None:
    field = _mean_field()
    field.kernel()
    P = np.asarray(field.make_rdm1())
    relaxed = _relaxed(field, P)
    assert float(relaxed.energy) == pytest.approx(field.e_tot, abs=1e-9)
    assert relaxed.drop == pytest.approx(0, abs=1e-9)
    np.testing.assert_allclose(relaxed.density, P, atol=1e-5)
    np.testing.assert_allclose(relaxed.orbital_energies, field.mo_energy, atol=1e-5)
    assert energy_drop(field.get_fock(), field.get_ovlp(), P) == pytest.approx(0, abs=1e-9)


def test_energy_error_is_below_the_drop() -> None:
    """Repulsion stiffens the density: the energy falls by less than the Fock matrix promises, and not far less."""
    field = _mean_field()
    field.kernel()
    for noise in (1e-3, 1e-2):
        P = _noisy_density(field, noise)
        energy, fock = evaluate_functional(field, P)
        drop = energy_drop(fock, field.get_ovlp(), P)
        assert 0.3 * drop < energy - field.e_tot < drop


def test_density_that_does_not_relax_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    field = _mean_field()
    P = np.asarray(field.get_init_guess())
    _, fock = evaluate_functional(field, P)
    monkeypatch.setattr("ase_mlwave.quantum.response._CONV_TOL", 0.0)
    with pytest.raises(SCFError, match="did not converge"):
        relax_density(field, P, fock)
