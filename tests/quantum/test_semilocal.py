"""The gradient of semilocal functionals on a moving grid, against PySCF's own and against the energy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from pyscf import dft, gto
from pyscf.dft import radi
from pyscf.grad import rks

from ase_mlwave.quantum.functional import (
    evaluate_functional,
    gradient_method,
    kohn_sham_functional,
    kohn_sham_gradient,
)
from ase_mlwave.quantum.semilocal import semilocal_terms, serves_semilocal

GEOMETRY = "O 0.1 0 0.05; C 0 0 1.2; H 0.9 0.1 1.8; H -0.9 0.05 1.75"


def formaldehyde(xc: str = "pbe", **settings: object) -> dft.rks.RKS:
    """Return a mean field with orbitals that are not self-consistent."""
    mf = dft.RKS(gto.M(atom=GEOMETRY, basis="6-31g", verbose=0), xc=xc).density_fit()
    mf.grids.level = 0
    for name, value in settings.items():
        setattr(mf.grids, name, value)
    mf.mo_energy, mf.mo_coeff = mf.eig(mf.get_fock(dm=mf.get_init_guess()), mf.get_ovlp())
    mf.mo_occ = mf.get_occ()
    mf.grids.build()
    return mf


@pytest.mark.parametrize(
    ("xc", "settings"),
    [
        ("pbe", {}),
        ("lda,vwn", {}),
        ("blyp", {"radii_adjust": radi.becke_atomic_radii_adjust}),
        ("pbe", {"radii_adjust": None, "prune": None}),
    ],
)
def test_semilocal_gradient_is_that_of_pyscf(xc: str, settings: dict[str, object]) -> None:
    mf = formaldehyde(xc, **settings)
    assert serves_semilocal(mf)
    P = mf.make_rdm1()
    response, potential = rks.get_vxc_full_response(mf._numint, mf.mol, mf.grids, mf.xc, P)
    for atom, (a, b) in enumerate(mf.mol.aoslice_by_atom()[:, 2:]):
        response[atom] += 2 * np.einsum("xij,ij->x", potential[:, a:b], P[a:b])
    found = semilocal_terms(mf, mf.mo_coeff[:, mf.mo_occ > 0], potential=True)
    np.testing.assert_allclose(found.gradient, response, atol=1e-11)
    np.testing.assert_allclose(found.gradient.sum(axis=0), 0, atol=1e-11)
    _, energy, fock = mf._numint.nr_rks(mf.mol, mf.grids, mf.xc, P)
    assert found.energy == pytest.approx(energy, abs=1e-10)
    np.testing.assert_allclose(found.potential, fock, atol=1e-10)  # type: ignore[arg-type]


def test_energy_and_gradient_in_one_pass_are_those_of_two() -> None:
    mf = formaldehyde()
    P = torch.from_numpy(np.array(mf.make_rdm1())).requires_grad_()
    positions = torch.from_numpy(mf.mol.atom_coords()).requires_grad_()
    energy = kohn_sham_functional(positions, P, mf)
    energy.backward()
    expected, fock = evaluate_functional(mf, P.detach().numpy())
    assert energy.item() == pytest.approx(expected, abs=1e-10)
    np.testing.assert_allclose(P.grad, fock, atol=1e-10)
    explicit = kohn_sham_gradient(mf, mf.mo_coeff, np.zeros(len(mf.mo_occ)), mf.mo_occ)
    np.testing.assert_allclose(positions.grad, explicit, atol=1e-10)


def test_gradients_take_it_and_stay_those_of_pyscf(monkeypatch: pytest.MonkeyPatch) -> None:
    mf = formaldehyde()
    method = mf.nuc_grad_method()
    method.grid_response = True
    expected = method.kernel()
    monkeypatch.setattr(rks, "get_vxc_full_response", None)  # not called
    np.testing.assert_allclose(gradient_method(mf).kernel(), expected, atol=1e-10)
    np.testing.assert_allclose(kohn_sham_gradient(mf, mf.mo_coeff, mf.mo_energy, mf.mo_occ), expected, atol=1e-10)


def test_what_it_does_not_serve_is_left_to_pyscf() -> None:
    for xc in ("b3lyp", "tpss", "hf"):
        assert not serves_semilocal(dft.RKS(gto.M(atom=GEOMETRY), xc=xc))
    mole = gto.M(atom="O", spin=2)
    assert not serves_semilocal(dft.UKS(mole, xc="pbe"))
    assert not serves_semilocal(dft.ROKS(mole, xc="pbe"))
    assert not serves_semilocal(mole.RHF())
    nonlocal_correlation = dft.RKS(gto.M(atom=GEOMETRY), xc="pbe")
    nonlocal_correlation.nlc = "vv10"
    assert not serves_semilocal(nonlocal_correlation)
    stratmann = dft.RKS(gto.M(atom=GEOMETRY), xc="pbe")
    stratmann.grids.becke_scheme = dft.gen_grid.stratmann
    assert not serves_semilocal(stratmann)
    halves = formaldehyde()
    halves.mo_occ[[7, 8]] = 1.0, 1.0
    method = halves.nuc_grad_method()
    method.grid_response = True
    np.testing.assert_allclose(gradient_method(halves).kernel(), method.kernel(), atol=1e-10)
