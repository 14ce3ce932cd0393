"""Matrices, energies, forces, dipoles and charges of the shipped model, beside PySCF on waters that it never saw."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError
from ase.io.cube import read_cube
from ase.units import Bohr, Hartree
from pyscf import dft, gto
from pyscf.scf.hf import dip_moment

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.calculators.phisnet import ENERGY_LEVELS
from ase_mlwave.errors import OutOfDomainError, OutOfDomainWarning
from ase_mlwave.quantum.functional import converge
from ase_mlwave.reference.levels import LevelOfTheory
from tests.calculators.waters import LEVEL, MODEL, mole_of, pyscf_molecule, shipped, solve, solved, waters

#: Mean absolute error of H that a usable model keeps on average over vibrating waters, Hartree; of one it is up to
#: four times the average.
H_TOLERANCE = 10e-6


@pytest.fixture
def calc() -> PhiSNetCalculator:
    return shipped()


def _error(predicted: np.ndarray, reference: np.ndarray) -> float:
    assert predicted.shape == reference.shape
    assert predicted.dtype == np.float64
    return float(np.abs(predicted - reference).mean())


# --- matrices -----------------------------------------------------------------------------------------------------


def test_hamiltonian_is_that_of_the_converged_scf(calc: PhiSNetCalculator) -> None:
    errors = [_error(calc.hamiltonian(atoms), solved(k, 6)[1]) for k, atoms in enumerate(waters(6))]
    assert np.mean(errors) < H_TOLERANCE
    H = calc.hamiltonian(waters(3)[0])
    np.testing.assert_allclose(H, H.T, atol=1e-13)


def test_overlap_is_exact(calc: PhiSNetCalculator) -> None:
    for atoms in waters(2):
        np.testing.assert_allclose(calc.overlap(atoms), mole_of(atoms).intor("int1e_ovlp"), atol=1e-10)


def test_programs_of_integrals_agree() -> None:
    (atoms,) = waters(1)
    found = []
    for program in ("torch", "pyscf"):
        calc = PhiSNetCalculator(MODEL, energy="wavefunction", integrals=program)
        found.append((calc.get_potential_energy(atoms), calc.get_forces(atoms), calc.hamiltonian(atoms)))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)


def test_density_matrix_is_that_of_the_converged_scf(calc: PhiSNetCalculator) -> None:
    for k, atoms in enumerate(waters(3)):
        assert _error(calc.density_matrix(atoms), solved(k)[0].density) < 3e-5


def test_density_matrix_has_the_electrons(calc: PhiSNetCalculator) -> None:
    for atoms in [*waters(3), molecule("H2O")]:
        P, S = calc.density_matrix(atoms), calc.overlap(atoms)
        assert np.trace(P @ S) == pytest.approx(10, abs=1e-10)
        np.testing.assert_allclose(P @ S @ P, 2 * P, atol=1e-10)


def test_orbitals_diagonalise_the_hamiltonian(calc: PhiSNetCalculator) -> None:
    for k, atoms in enumerate(waters(3)):
        energies, C = calc.orbitals(atoms)
        H, S, P = calc.hamiltonian(atoms), calc.overlap(atoms), calc.density_matrix(atoms)
        np.testing.assert_allclose(C.T @ S @ C, np.eye(24), atol=1e-10)
        np.testing.assert_allclose(C.T @ H @ C, np.diag(energies), atol=1e-10)
        np.testing.assert_allclose(2 * C[:, :5] @ C[:, :5].T, P, atol=1e-10)
        assert (np.diff(energies) > 0).all()
        np.testing.assert_allclose(energies[:5], solved(k)[0].orbital_energies[:5], atol=1.5e-4)


@pytest.mark.parametrize("order", [[0, 1, 2], [1, 0, 2], [2, 1, 0]])
def test_matrices_follow_the_order_of_atoms(calc: PhiSNetCalculator, order: list[int]) -> None:
    """Rows and columns are those of a Mole with the same atoms in the same order, and Atoms and Mole say the same."""
    atoms = waters(3)[0][order]
    mole = pyscf_molecule(atoms)
    np.testing.assert_allclose(calc.overlap(mole), mole.intor("int1e_ovlp"), atol=1e-8)
    np.testing.assert_allclose(calc.overlap(atoms), mole.intor("int1e_ovlp"), atol=1e-7)  # the two values of a Bohr
    np.testing.assert_allclose(calc.hamiltonian(mole), calc.hamiltonian(atoms), atol=1e-6)
    reference = solved(0)[1] if order == [0, 1, 2] else solve(atoms)[1]
    assert _error(calc.hamiltonian(mole), reference) < 4 * H_TOLERANCE


def test_matrices_turn_with_the_molecule(calc: PhiSNetCalculator) -> None:
    atoms = waters(3)[1]
    atoms.rotate(77, (1, -2, 0.5))
    atoms.positions += [4.0, 1.0, -9.0]
    result, fock = solve(atoms)
    assert _error(calc.hamiltonian(atoms), fock) < 4 * H_TOLERANCE
    assert _error(calc.density_matrix(pyscf_molecule(atoms)), result.density) < 3e-5


@pytest.mark.parametrize("options", [{"basis": "sto-3g"}, {"basis": "def2-tzvp"}, {"cart": True}])
def test_mole_in_another_basis_is_refused(calc: PhiSNetCalculator, options: dict[str, Any]) -> None:
    mole = pyscf_molecule(molecule("H2O"), **options)
    for method in (calc.hamiltonian, calc.overlap, calc.density_matrix, calc.orbitals):
        with pytest.raises(InputError, match=r"basis is not the model's, 'def2-svp'.*initial_guess"):
            method(mole)


def test_what_is_no_molecule_of_the_model_has_no_matrices(calc: PhiSNetCalculator) -> None:
    unbuilt = gto.Mole()
    unbuilt.atom = "O 0 0 0; H 0 0 1; H 0 1 0"
    water = "O 0 0 0; H 0 0.76 0.59; H 0 -0.76 0.59"
    ghostly = gto.M(atom=f"{water}; ghost-H 0 0 3", basis="def2-svp", verbose=0)
    dication = gto.M(atom=water, basis="def2-svp", charge=2, verbose=0)
    for given, message in (
        (unbuilt, r"mol\.build\(\)"),
        (ghostly, r"ghost atoms \(indices \[3\]\)"),
        (dication, "Mole has charge 2, but the model was made for charge 0"),
        ([molecule("H2O")], "expected ase.Atoms or a PySCF Mole, got list"),
        (Atoms("He"), "does not know He: it was made for H, O"),
        (Atoms(), "empty"),
    ):
        with pytest.raises(InputError, match=message):
            calc.hamiltonian(given)


# --- energies and forces ------------------------------------------------------------------------------------------

#: Level of energy -> mean absolute errors allowed of energies, eV, and forces, eV/Angstrom.
ACCURACY = {"wavefunction": (2.5e-3, 15e-3), "functional": (1e-5, 3e-5), "response": (2e-6, 1e-5), "scf": (2e-6, 1e-5)}


def test_held_out_labels_are_those_of_pyscf() -> None:
    """The labels in the file that all of this is compared with are what PySCF computes today, by default."""
    for atoms in waters(3):
        mean_field = LevelOfTheory.parse(LEVEL).mean_field(mole_of(atoms))
        result = converge(mean_field, grid_response=False)
        assert result.energy * Hartree == pytest.approx(atoms.get_potential_energy(), abs=1e-6)
        assert result.forces is not None
        np.testing.assert_allclose(result.forces * Hartree / Bohr, atoms.get_forces(), atol=1e-4)


@pytest.mark.parametrize(("level", "count"), [("wavefunction", 24), ("functional", 5), ("response", 2), ("scf", 2)])
def test_energies_and_forces_are_those_of_the_reference(level: str, count: int) -> None:
    references = waters(count)
    results = shipped(level).predict(references)
    energy = np.mean([abs(r["energy"] - a.get_potential_energy()) for r, a in zip(results, references, strict=True)])
    errors = [r["forces"] - _forces(a, level) for r, a in zip(results, references, strict=True)]
    assert energy < ACCURACY[level][0]
    assert np.mean(np.abs(errors)) < ACCURACY[level][1]


def _forces(atoms: Atoms, level: str) -> np.ndarray:
    """Return the labels; for levels that are more accurate than those PySCF's, with the response of the grid."""
    if level == "wavefunction":
        return np.asarray(atoms.get_forces())
    forces = solve(atoms)[0].forces
    assert forces is not None
    return forces * Hartree / Bohr


@pytest.mark.parametrize("name", ["HCN", "H2CO"])
def test_energy_is_too_high_by_no_more_than_its_uncertainty(name: str) -> None:
    """Of the general model, whose errors are large enough to be told from rounding."""
    atoms = molecule(name)
    atoms.rattle(0.03, seed=4)
    outcomes = {}
    for level in ("functional", "response", "scf"):
        (outcomes[level],) = PhiSNetCalculator("phisnet-chno", energy=level).predict_outcomes([atoms], ["energy"])
    errors = {level: one.values["energy"] - outcomes["scf"].values["energy"] for level, one in outcomes.items()}
    bounds = {level: outcomes[level].extras["energy_uncertainty"] for level in ("functional", "response")}
    assert 1e-4 < errors["functional"] < bounds["functional"]
    assert -1e-6 < errors["response"] < 0.25 * errors["functional"]
    assert 0 < bounds["response"] < 0.2 * bounds["functional"]
    assert "energy_uncertainty" not in outcomes["scf"].extras


def test_an_energy_more_uncertain_than_in_validation_is_doubted_and_then_refused() -> None:
    """Stretched carbon monoxide, and hydrogen, which the general model never saw; what needs no energy goes on."""
    calc, hydrogen, stretched = PhiSNetCalculator("phisnet-chno", energy="functional"), molecule("H2"), molecule("CO")
    stretched.set_distance(0, 1, 1.25)
    with pytest.warns(OutOfDomainWarning, match="energy_uncertainty_per_atom"):
        calc.get_potential_energy(stretched)
    with pytest.raises(OutOfDomainError, match=r"energy_uncertainty_per_atom is 0\.\d+, the limit 0\.418"):
        calc.get_potential_energy(hydrogen)
    assert calc.extras["energy_uncertainty_per_atom"] == pytest.approx(calc.extras["energy_uncertainty"] / 2)
    calc.set(outside="warn")
    with pytest.warns(OutOfDomainWarning, match="energy_uncertainty_per_atom|domain_distance"):
        assert calc.get_potential_energy(hydrogen) == pytest.approx(-31, abs=2)
    calc.set(outside="error")
    with pytest.warns(OutOfDomainWarning, match="domain_distance"):
        assert calc.hamiltonian(hydrogen).shape == (10, 10)


@pytest.mark.parametrize(
    ("level", "step", "tolerance"),
    [("wavefunction", 1e-4, 1e-5), *((level, 1e-3, 5e-5) for level in ("functional", "response", "scf"))],
)
def test_forces_are_minus_the_derivative(level: str, step: float, tolerance: float) -> None:
    """Along a random direction."""
    atoms = waters(3)[2]
    direction = np.random.default_rng(4).normal(size=(3, 3))
    direction /= np.linalg.norm(direction)
    ends = []
    for sign in (1, -1):
        moved = atoms.copy()
        moved.positions += sign * step * direction
        ends.append(moved)
    calc = shipped(level)
    forward, backward = calc.predict(ends, ["energy"])
    slope = -(forward["energy"] - backward["energy"]) / (2 * step)
    (result,) = calc.predict([atoms], ["forces"])
    assert np.vdot(result["forces"], direction) == pytest.approx(slope, abs=tolerance)


@pytest.mark.parametrize("level", ENERGY_LEVELS)
def test_dipole_and_charges_are_those_of_the_density(level: str) -> None:
    for k, atoms in enumerate(waters(3)[:2]):
        (result,) = shipped(level).predict([atoms], ["dipole", "charges"])
        mole, density = mole_of(atoms), solved(k)[0].density
        expected = dip_moment(mole, density, unit="AU", verbose=0) * Bohr
        np.testing.assert_allclose(result["dipole"], expected, atol=1e-5 if level == "scf" else 3e-4)
        assert result["charges"].sum() == pytest.approx(0, abs=1e-9)
        assert result["charges"].shape == (3,)
        assert result["charges"][0] < 0


def test_list_of_different_molecules_gives_what_each_gives_alone() -> None:
    """Water with its atoms in other orders and places, and a molecule far outside: batches mix them."""
    calc = PhiSNetCalculator("phisnet-water", outside="warn")
    structures: list[Atoms] = [*waters(3), waters(3)[0][[2, 0, 1]], molecule("H2O2")]
    structures[1].positions += 50.0
    names = ["energy", "forces", "dipole", "charges"]
    with pytest.warns(UserWarning, match="domain_distance"):
        together = calc.predict(structures, names)
    for atoms, result in zip(structures[:4], together[:4], strict=True):
        (alone,) = calc.predict([atoms], names)
        assert alone["energy"] == pytest.approx(result["energy"], abs=1e-8)
        for name in names[1:]:
            np.testing.assert_allclose(alone[name], result[name], atol=1e-8)


@pytest.mark.parametrize("level", ENERGY_LEVELS)
def test_extras_hold_the_wavefunction(level: str) -> None:
    calc = PhiSNetCalculator("phisnet-water", energy=level)
    atoms = waters(3)[0]
    atoms.calc = calc
    atoms.get_potential_energy()
    expected = {"hamiltonian", "overlap", "density_matrix", "orbital_energies", "domain_distance"}
    expected |= {"homo", "lumo", "gap"}
    own = {"wavefunction": set(), "scf": {"scf_cycles"}}
    assert set(calc.extras) == expected | own.get(level, {"energy_uncertainty", "energy_uncertainty_per_atom"})
    assert set(calc.results) <= set(calc.implemented_properties)
    P, S = calc.extras["density_matrix"], calc.extras["overlap"]
    assert P.dtype == np.float64
    assert np.trace(P @ S) == pytest.approx(10, abs=1e-8)
    assert calc.extras["orbital_energies"].shape == (24,)
    assert calc.extras["domain_distance"].shape == (3,)
    np.testing.assert_allclose(calc.extras["hamiltonian"], calc.hamiltonian(atoms), atol=1e-10)
    homo, lumo = calc.extras["orbital_energies"][4:6] * Hartree
    frontier = [calc.extras[name] for name in ("homo", "lumo", "gap")]
    assert frontier == pytest.approx([homo, lumo, lumo - homo], abs=1e-9)
    if level == "scf":
        assert 1 <= calc.extras["scf_cycles"] <= 7
        np.testing.assert_allclose(P, solved(0)[0].density, atol=1e-5)


# --- in space -----------------------------------------------------------------------------------------------------


def test_density_in_space_is_that_of_the_density_matrix(calc: PhiSNetCalculator) -> None:
    """On PySCF's own grid it holds the electrons, and the nuclei see them as the dipole says."""
    atoms = waters(3)[0]
    mole = gto.M(atom=[(a.symbol, a.position) for a in atoms], basis="def2-svp", verbose=0)
    grids = dft.gen_grid.Grids(mole).build()
    density = calc.density(atoms, grids.coords[None] * Bohr)
    assert density.shape == (1, len(grids.weights))
    weights = grids.weights * Bohr**3
    assert weights @ density[0] == pytest.approx(10, abs=1e-3)
    dipole = atoms.numbers @ atoms.positions - (weights * density[0]) @ (grids.coords * Bohr)
    np.testing.assert_allclose(dipole, calc.get_dipole_moment(atoms), atol=1e-3)


def test_orbitals_in_space_make_the_density(calc: PhiSNetCalculator) -> None:
    atoms, points = waters(3)[0], np.random.default_rng(0).normal(size=(2, 3, 3))
    density = sum(2 * calc.orbital(atoms, index, points) ** 2 for index in range(5))
    np.testing.assert_allclose(density, calc.density(atoms, points), atol=1e-10)
    with pytest.raises(InputError, match="no orbital -1"):
        calc.orbital(atoms, -1, points)
    for wrong, message in (([[0.0, 1.0]], "shape"), ([[0, 0, np.nan]], "finite"), ("here", "no numbers")):
        with pytest.raises(InputError, match=message):
            calc.density(atoms, wrong)


def test_cube_of_the_density_holds_the_electrons(calc: PhiSNetCalculator, tmp_path: Path) -> None:
    atoms = waters(3)[0]
    calc.write_density(atoms, tmp_path / "density.cube", spacing=0.12)
    with (tmp_path / "density.cube").open() as file:
        cube = read_cube(file)
    assert cube["atoms"].get_chemical_formula() == "H2O"
    np.testing.assert_allclose(cube["atoms"].positions, atoms.positions, atol=1e-4)
    voxel = abs(np.linalg.det(cube["spacing"])) / Bohr**3
    assert max(np.linalg.norm(cube["spacing"], axis=1)) <= 0.12 + 1e-6
    # A grid so coarse misses the cusp at oxygen, nothing else.
    assert cube["data"].sum() * voxel == pytest.approx(10, abs=0.3)


def test_cube_of_an_orbital_is_normalised(calc: PhiSNetCalculator, tmp_path: Path) -> None:
    calc.write_orbital(molecule("H2O"), tmp_path / "homo.cube", 4, spacing=0.15)
    with (tmp_path / "homo.cube").open() as file:
        cube = read_cube(file)
    voxel = abs(np.linalg.det(cube["spacing"])) / Bohr**3
    assert (cube["data"] ** 2).sum() * voxel == pytest.approx(1, abs=0.02)
    plane = np.abs(cube["data"]).max()  # the highest orbital of water is odd in the plane of the molecule
    assert cube["data"].min() == pytest.approx(-plane, rel=0.1)
    assert cube["data"].max() == pytest.approx(plane, rel=0.1)


def test_cube_of_what_is_not_there_is_refused(calc: PhiSNetCalculator, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no orbital 24; this molecule has 0 to 23"):
        calc.write_orbital(molecule("H2O"), tmp_path / "no.cube", 24)
    for spacing in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="must be positive"):
            calc.write_density(molecule("H2O"), tmp_path / "no.cube", spacing=spacing)
    assert not (tmp_path / "no.cube").exists()


def test_model_is_at_the_level_of_these_tests(calc: PhiSNetCalculator) -> None:
    assert calc.members[0].config.level == LEVEL


# --- memory -------------------------------------------------------------------------------------------------------

MANY_WATERS = """
import resource
import numpy as np
from ase.build import molecule
from ase_mlwave import PhiSNetCalculator

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

calc = PhiSNetCalculator("phisnet-water", energy="wavefunction", device="cpu")
rng = np.random.default_rng(0)
waters = [molecule("H2O") for _ in range(2000)]
for water in waters:
    water.positions += rng.normal(scale=0.03, size=(3, 3))
calc.predict(waters[:1], ["energy"])
before = peak()
calc.predict(waters, ["energy"])
print(peak() - before)
"""


@pytest.mark.slow
def test_energies_of_many_waters_need_little_memory() -> None:
    """50 MB for 10,000 of them; 2,000 take 20 s."""
    run = subprocess.run([sys.executable, "-c", MANY_WATERS], capture_output=True, text=True, check=True)
    assert float(run.stdout) < 200
