"""Laws of SCFs whose Fock matrices answer to the change of the density."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import InputError
from numpy.typing import NDArray
from pyscf import dft, gto, pbc, scf

from ase_mlwave.quantum.density_response import DensityResponse
from ase_mlwave.quantum.preconditioner import precondition


def _mole(name: str, basis: str = "def2-svp", **options: Any) -> gto.Mole:
    atoms = molecule(name)
    return gto.M(atom=list(zip(atoms.symbols, atoms.positions, strict=True)), basis=basis, verbose=0, **options)


def _rks(mole: gto.Mole, xc: str = "pbe") -> Any:
    mf = dft.RKS(mole, xc=xc).density_fit().set(conv_tol=1e-9)
    mf.grids.level = 1
    return mf


def _change(mf: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Give a density, and a small change that keeps the electrons' number."""
    density = mf.get_init_guess()
    energies, orbitals = mf.eig(mf.get_hcore() + mf.get_veff(mf.mol, density), mf.get_ovlp())
    return density, 1e-3 * (mf.make_rdm1(orbitals, mf.get_occ(energies, orbitals)) - density)


def test_repulsion_of_a_change_is_that_of_pyscf(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ase_mlwave.quantum.density_response._THIN", np.inf)  # no density is thick enough for a kernel
    mf = _rks(_mole("H2CO"))
    density, change = _change(mf)
    exact = scf.RHF(mf.mol).get_j(dm=change)
    np.testing.assert_allclose(DensityResponse(mf.mol, density)(change), exact, rtol=0, atol=1e-3 * np.abs(exact).max())


def test_kernel_is_the_derivative_of_the_local_potential() -> None:
    mf = _rks(_mole("H2CO"), "lda,pw")
    mf.grids.level = 3
    density, change = _change(mf)
    potentials = [mf.get_veff(mf.mol, density + sign * change) for sign in (1, -1)]
    exact = (potentials[0] - potentials[1]) / 2
    repulsion = mf.get_j(dm=change)
    error = np.abs(DensityResponse(mf.mol, density)(change) - exact).max()
    assert error < 0.1 * np.abs(exact - repulsion).max()


@pytest.mark.parametrize(
    ("name", "xc", "spin"), [("CH3CONH2", "pbe", 0), ("N2O", "b3lyp", 0), ("NO2", "pbe", 1), ("O2", "hf", 2)]
)
def test_preconditioned_scf_finds_the_same_energy_in_fewer_cycles(name: str, xc: str, spin: int) -> None:
    mole = _mole(name, basis="6-31g", spin=spin)
    mf = (dft.UKS if spin else dft.RKS)(mole, xc=xc).set(conv_tol=1e-9)
    mf.grids.level = 0
    quick = precondition(mf)
    assert quick.kernel() == pytest.approx(mf.kernel(), rel=0, abs=5e-9)
    assert mf.converged
    assert quick.converged
    assert quick.cycles < mf.cycles
    np.testing.assert_allclose(quick.mo_energy, mf.mo_energy, rtol=0, atol=1e-4)


def test_cycles_are_halved() -> None:
    cycles = []
    for name in ("H2CO", "N2O"):
        mf = _rks(_mole(name))
        quick = precondition(mf)
        mf.kernel()
        quick.kernel()
        cycles.append((quick.cycles, mf.cycles))
    few, many = np.sum(cycles, 0)
    assert few <= 0.6 * many


def test_forces_and_new_geometries_are_those_of_the_method() -> None:
    mf = _rks(_mole("H2CO"))
    quick, moved = precondition(mf), _mole("H2CO").set_geom_(_mole("H2CO").atom_coords() * 1.03, unit="Bohr")
    quick.kernel()
    quick.reset(moved).kernel()
    mf.reset(moved).kernel()
    gradients = [method.nuc_grad_method().kernel() for method in (quick, mf)]
    np.testing.assert_allclose(*gradients, rtol=0, atol=1e-5)


def test_nearly_degenerate_orbitals_stay_converged() -> None:
    stretched = gto.M(atom="N 0 0 0; N 0 0 2.2", basis="def2-svp", verbose=0)
    mf = _rks(stretched)
    quick = precondition(mf)
    assert quick.kernel() == pytest.approx(mf.set(conv_tol=1e-13).kernel(), rel=0, abs=1e-8)
    assert quick.converged


def test_too_little_memory_leaves_plain_diis(capsys: pytest.CaptureFixture[str]) -> None:
    mf = _rks(_mole("H2O"))
    mf.max_memory, mf.verbose = 1, 3
    quick = precondition(mf)
    assert quick.kernel() == pytest.approx(_rks(_mole("H2O")).kernel(), rel=0, abs=1e-8)
    assert "plain DIIS" in capsys.readouterr().err


def test_the_original_is_left_as_it_was() -> None:
    mf = _rks(_mole("H2O"))
    assert precondition(mf) is not mf
    assert mf.DIIS is scf.diis.CDIIS
    assert mf.diis_start_cycle == 1


@pytest.mark.parametrize("kind", ["rohf", "crystal", "second order"])
def test_other_methods_are_refused(kind: str) -> None:
    if kind == "rohf":
        mf: Any = scf.ROHF(_mole("NO2", spin=1))
    elif kind == "second order":
        mf = _rks(_mole("H2O")).newton()  # which has no DIIS to begin better
    else:
        mf = pbc.scf.RHF(pbc.gto.M(atom="He 0 0 0", a=np.eye(3) * 4, basis="sto-3g", verbose=0))
    with pytest.raises(InputError, match="precondition is for DIIS of RKS, RHF, UKS and UHF of molecules"):
        precondition(mf)
