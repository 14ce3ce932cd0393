"""PySCF's methods on a GPU: what is refused where there is none, and what is copied where there is one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import InputError
from pyscf import dft, scf

from ase_mlwave.data.failures import ENVIRONMENT
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.quantum.functional import converge, evaluate_functional, kohn_sham_gradient
from ase_mlwave.quantum.gpu import check_device, gpu_serves_pyscf, on_device
from ase_mlwave.quantum.guesses import predicted_guess
from ase_mlwave.reference.failures import kind_of_error
from ase_mlwave.reference.levels import LevelOfTheory
from tests import pretend_gpu4pyscf

NUMBERS = (8, 1, 1)
POSITIONS = np.array([[0.0, 0.05, 0.22], [0.0, 1.55, -0.9], [0.1, -1.4, -0.95]])


def _mean_field(xc: str = "pbe") -> Any:
    mole = build_mole(NUMBERS, POSITIONS, "sto-3g")
    mean_field = (scf.RHF(mole) if xc == "hf" else dft.RKS(mole, xc=xc)).density_fit()
    mean_field.conv_tol = 1e-11
    return mean_field


def test_device_that_pyscf_has_not_is_refused() -> None:
    with pytest.raises(InputError, match=r"'gpu'.*'cpu'.*'cuda'"):
        check_device("gpu")
    check_device("cpu")


def test_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ase_mlwave.quantum.gpu.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"gpu4pyscf is not installed.*pip install 'ase-mlwave\[gpu\]'") as caught:
        on_device(_mean_field(), "cuda")
    assert kind_of_error(caught.value) == ENVIRONMENT  # another machine may have it: no molecule is to blame
    assert not gpu_serves_pyscf()


def test_missing_device_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpu4pyscf.install(monkeypatch, n_devices=0)
    with pytest.raises(InputError, match="no CUDA device") as caught:
        check_device("cuda")
    assert kind_of_error(caught.value) == ENVIRONMENT
    assert not gpu_serves_pyscf()


@pytest.mark.parametrize("xc", ["pbe", "hf"])
def test_results_come_back_as_arrays_of_the_host(xc: str, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = pretend_gpu4pyscf.install(monkeypatch)
    assert gpu_serves_pyscf()
    one, other = converge(_mean_field(xc)), converge(on_device(_mean_field(xc), "cuda"))
    assert len(moved) == 1
    assert (other.energy, other.cycles) == (one.energy, one.cycles)
    for name in ("forces", "density", "orbital_energies"):
        # Of semilocal functionals gradients on the host are our own, and equal to rounding.
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), rtol=0, atol=1e-12)
        assert type(getattr(other, name)) is np.ndarray
    warm = converge(on_device(_mean_field(xc), "cuda"), other.density, forces=False)
    assert warm.cycles is not None
    assert other.cycles is not None
    assert warm.cycles < other.cycles


def test_functional_of_a_given_density_goes_there_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpu4pyscf.install(monkeypatch)
    reference = _mean_field()
    reference.kernel()
    arguments = reference.mo_coeff, reference.mo_energy
    host, there = _mean_field(), on_device(_mean_field(), "cuda")
    for one, other in zip(*(evaluate_functional(f, reference.make_rdm1()) for f in (host, there)), strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=1e-12)  # grids are summed in threads
    gradients = (kohn_sham_gradient(field, *arguments) for field in (there, host))
    np.testing.assert_allclose(*gradients, rtol=0, atol=1e-12)
    assert there.mo_coeff is None


def test_guesses_are_arrays_of_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpu4pyscf.install(monkeypatch)
    there, result = on_device(_mean_field(), "cuda"), converge(_mean_field(), forces=False)
    predicted = predicted_guess(there, lambda mole: (result.density, result.orbital_energies, mole))
    np.testing.assert_allclose(predicted, result.density, atol=1e-12)
    narrow = np.zeros_like(result.orbital_energies)
    with pytest.warns(UserWarning, match="cannot guess"):
        guess = predicted_guess(there, lambda mole: (result.density, narrow, mole))
    assert type(guess) is np.ndarray


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")  # of CuPy's and gpu4pyscf's, when they are imported
@pytest.mark.parametrize("name", ["pbe/def2-svp", "pbe0/def2-svp", "hf/def2-svp", "pbe/def2-svp density_fit=false"])
def test_gpu4pyscf_gives_the_labels_of_pyscf(name: str) -> None:
    pytest.importorskip("gpu4pyscf")
    level = LevelOfTheory.parse(name)
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=1)
    one, other = level.label(atoms), level.on("cuda").label(atoms)
    assert other.energy == pytest.approx(one.energy, abs=1e-7)
    np.testing.assert_allclose(other.forces, one.forces, atol=1e-5)
    np.testing.assert_allclose(other.matrices["hamiltonian"], one.matrices["hamiltonian"], atol=1e-5)
    np.testing.assert_allclose(other.dipole, one.dipole, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.filterwarnings("ignore")
def test_gpu4pyscf_takes_the_guess_and_counts_cycles() -> None:
    pytest.importorskip("gpu4pyscf")
    cold = converge(on_device(_mean_field(), "cuda"))
    warm = converge(on_device(_mean_field(), "cuda"), cold.density, forces=False)
    assert cold.cycles is not None
    assert warm.cycles is not None
    assert warm.cycles < cold.cycles
    field = on_device(_mean_field(), "cuda")
    reference = converge(_mean_field())
    energy, fock = evaluate_functional(field, reference.density)
    assert energy == pytest.approx(reference.energy, abs=1e-7)
    levels, orbitals = scf.hf.eig(fock, _mean_field().get_ovlp())
    np.testing.assert_allclose(kohn_sham_gradient(field, orbitals, levels), -reference.forces, atol=1e-5)
