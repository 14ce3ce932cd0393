"""Initial guesses from the shipped model: they fit every mean field that they claim to fit, and save cycles there."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, InputError
from pyscf import dft, gto, scf
from pyscf.pbc import dft as periodic_dft
from pyscf.pbc import gto as periodic_gto

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.calculators.matrices import state_of
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.quantum.functional import converge
from ase_mlwave.quantum.preconditioner import precondition
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.units import HARTREE
from tests.calculators.waters import pyscf_molecule, shipped, waters

WATER = "O 0 0 0; H 0 0.76 0.59; H 0 -0.76 0.59"


@pytest.fixture
def calc() -> PhiSNetCalculator:
    return shipped()


@pytest.fixture(autouse=True)
def _no_scf(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """In tests of refusals, an SCF that starts is a failure."""
    if "refused" in request.node.name:

        def started(*_: Any, **__: Any) -> None:
            raise AssertionError("an SCF was started")

        monkeypatch.setattr(scf.hf, "kernel", started)


def _cold_and_warm(calc: PhiSNetCalculator, make: Callable[[], Any]) -> tuple[Any, Any]:
    """Converge from PySCF's default guess and from the model's."""
    cold, warm = make(), make()
    cold.kernel()
    guess = calc.initial_guess(warm)
    assert np.vdot(guess.sum(0) if guess.ndim == 3 else guess, warm.get_ovlp()) == pytest.approx(10, abs=1e-10)
    warm.kernel(dm0=guess)
    assert cold.converged
    assert warm.converged
    return cold, warm


METHODS: dict[str, Callable[[gto.Mole], Any]] = {
    "RKS": lambda mole: dft.RKS(mole, xc="pbe"),
    "RKS fitted": lambda mole: dft.RKS(mole, xc="pbe").density_fit(),
    "UKS fitted": lambda mole: dft.UKS(mole, xc="pbe").density_fit(),
    "RHF": lambda mole: scf.RHF(mole),
    "UHF fitted": lambda mole: scf.UHF(mole).density_fit(),
    "B3LYP": lambda mole: dft.RKS(mole, xc="b3lyp").density_fit(),
}


@pytest.mark.parametrize("method", METHODS)
def test_guess_never_costs_cycles_and_gives_the_same_energy(calc: PhiSNetCalculator, method: str) -> None:
    atoms = waters(5)[3]

    def make() -> Any:
        mean_field = METHODS[method](pyscf_molecule(atoms))
        mean_field.conv_tol = 1e-9
        return mean_field

    cold, warm = _cold_and_warm(calc, make)
    assert warm.e_tot == pytest.approx(cold.e_tot, abs=1e-8)
    assert warm.cycles <= cold.cycles


@pytest.mark.parametrize("basis", ["def2-tzvp", "cc-pvdz", "6-31g*", "sto-3g"])
def test_guess_in_another_basis_never_costs_cycles(calc: PhiSNetCalculator, basis: str) -> None:
    atoms = waters(5)[1]

    def make() -> Any:
        mean_field = dft.RKS(pyscf_molecule(atoms, basis=basis), xc="pbe").density_fit()
        mean_field.grids.level = 1
        mean_field.conv_tol = 1e-9
        return mean_field

    cold, warm = _cold_and_warm(calc, make)
    assert warm.e_tot == pytest.approx(cold.e_tot, abs=1e-8)
    assert warm.cycles <= cold.cycles


def test_at_the_models_own_level_the_guess_saves_half_of_the_cycles(calc: PhiSNetCalculator) -> None:
    counts = []
    for atoms in waters(4):

        def make(atoms: Any = atoms) -> Any:
            mean_field = dft.RKS(pyscf_molecule(atoms), xc="pbe").density_fit()
            mean_field.conv_tol = 1e-9
            return mean_field

        cold, warm = _cold_and_warm(calc, make)
        counts.append((cold.cycles, warm.cycles))
        assert warm.cycles <= 5
        assert warm.cycles < cold.cycles
    assert np.mean(counts, axis=0)[1] <= 0.6 * np.mean(counts, axis=0)[0]


def _water(first: float, second: float, degrees: float, basis: Any = "def2-svp") -> gto.Mole:
    """Build a water from two bonds (Angstrom) and their angle."""
    angle = np.radians(degrees)
    place = [(0, 0, 0), (first, 0, 0), (second * np.cos(angle), second * np.sin(angle), 0)]
    return gto.M(atom=list(zip("OHH", place, strict=True)), basis=basis, verbose=0)


#: Waters that the model serves, at the rim of what it knows.
RIM = [(0.75, 0.95, 125.0), (1.36, 0.96, 120.0), (1.2, 1.28, 78.0), (0.8, 0.82, 85.0), (1.1, 0.96, 172.0)]
#: Waters that it must not serve: the first three unlike its data, the last with a narrow gap.
BEYOND = {
    "stretched": ((2.1, 0.96, 92.0), OutOfDomainWarning, "unlike anything that it was trained on"),
    "dissociated": ((1.9, 2.6, 110.0), OutOfDomainWarning, "unlike anything that it was trained on"),
    "compressed": ((0.7, 0.71, 95.0), OutOfDomainWarning, "unlike anything that it was trained on"),
    "narrow gap": ((1.25, 1.3, 165.0), UserWarning, "predicted gap is below 0.08 Hartree"),
}


def _shifted(mole: gto.Mole) -> Any:
    field = scf.RHF(mole)
    field.level_shift = 0.5
    return field


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
@pytest.mark.parametrize("geometry", RIM)
def test_at_the_rim_of_the_domain_the_state_is_the_same_and_not_later(
    calc: PhiSNetCalculator, geometry: tuple[float, float, float]
) -> None:
    methods: list[tuple[str, Callable[[gto.Mole], Any]]] = [
        ("def2-svp", lambda mole: scf.UHF(mole)),
        ("sto-3g", lambda mole: scf.RHF(mole)),
        ("6-31g*", lambda mole: dft.UKS(mole, xc="pbe0").density_fit()),
        ("def2-svp", _shifted),
    ]
    for basis, method in methods:
        cold, warm = _cold_and_warm(calc, lambda method=method, basis=basis: method(_water(*geometry, basis)))
        assert warm.cycles <= cold.cycles
        assert warm.e_tot == pytest.approx(cold.e_tot, abs=1e-7)
        assert np.ndim(warm.mo_occ) == 1 or warm.spin_square()[0] == pytest.approx(cold.spin_square()[0], abs=1e-3)


@pytest.mark.parametrize("kind", [scf.RHF, dft.UKS])
@pytest.mark.parametrize("case", BEYOND)
def test_beyond_it_the_guess_is_that_of_pyscf(calc: PhiSNetCalculator, case: str, kind: Any) -> None:
    geometry, category, message = BEYOND[case]
    mean_field = kind(_water(*geometry))
    for careless in (calc, PhiSNetCalculator("phisnet-water", outside="warn")):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            guess = careless.initial_guess(mean_field)
        spoken = [w for w in caught if "the model cannot guess, PySCF's 'minao' guess is used" in str(w.message)]
        assert len(spoken) == 1
        assert spoken[0].category is category
        assert spoken[0].filename == __file__
        assert message in str(spoken[0].message)
        np.testing.assert_array_equal(guess, mean_field.get_init_guess())


@pytest.mark.filterwarnings("ignore:the model cannot guess")
@pytest.mark.parametrize("name", ["CO", "O3"])
def test_what_the_general_model_never_saw_costs_no_cycles(name: str) -> None:
    general = PhiSNetCalculator("phisnet-chno")

    def make() -> Any:
        mean_field = dft.RKS(pyscf_molecule(molecule(name)), xc="pbe").density_fit()
        mean_field.grids.level = 1
        mean_field.conv_tol = 1e-9
        return mean_field

    cold, warm = make(), make()
    cold.kernel()
    warm.kernel(dm0=general.initial_guess(warm))
    assert warm.cycles <= cold.cycles
    assert warm.e_tot == pytest.approx(cold.e_tot, abs=1e-8)


@pytest.mark.parametrize("closer", [True, False])
def test_past_the_warning_a_density_is_handed_over_if_it_is_much_closer(
    calc: PhiSNetCalculator, closer: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mole = _water(0.96, 0.96, 104.5)
    predicted, mean_field = calc.density_matrix(mole), dft.RKS(mole)
    monkeypatch.setattr(calc, "domain", replace(calc.domain, thresholds={"domain_distance": 0.0}))
    if closer:
        np.testing.assert_allclose(calc.initial_guess(mean_field), predicted, atol=1e-10)
        return
    monkeypatch.setattr("ase_mlwave.quantum.initial_guess._MUCH_CLOSER", 1e-9)
    with pytest.warns(OutOfDomainWarning, match="PySCF's 'minao' guess is used"):
        np.testing.assert_array_equal(calc.initial_guess(mean_field), mean_field.get_init_guess())


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
@pytest.mark.parametrize("case", ["stretched", "narrow gap"])
def test_level_scf_starts_there_as_pyscf_does(case: str) -> None:
    mole = _water(*BEYOND[case][0])
    calc = PhiSNetCalculator("phisnet-water", energy="scf", outside="warn")
    atoms = Atoms("OH2", mole.atom_coords(unit="Angstrom"))
    expected = converge(precondition(LevelOfTheory.parse("pbe/def2-svp").mean_field(mole)), forces=False)
    assert calc.get_potential_energy(atoms) == pytest.approx(expected.energy * HARTREE, abs=1e-6)
    assert calc.extras["scf_cycles"] == expected.cycles


def test_level_scf_takes_the_first_fock_matrix_into_account() -> None:
    calc = PhiSNetCalculator("phisnet-water", energy="scf")
    ours, usual = 0, 0
    for atoms in waters(3):
        calc.get_potential_energy(atoms)
        mean_field = LevelOfTheory.parse("pbe/def2-svp").mean_field(pyscf_molecule(atoms))
        ours += calc.extras["scf_cycles"]
        usual += converge(mean_field, calc.initial_guess(mean_field), forces=False).cycles or 0
    assert ours < usual


def test_the_users_own_choice_of_guess_is_what_is_handed_over(calc: PhiSNetCalculator) -> None:
    mean_field = scf.RHF(_water(2.1, 0.96, 92.0))
    mean_field.init_guess = "1e"
    with pytest.warns(OutOfDomainWarning, match="PySCF's '1e' guess is used"):
        np.testing.assert_allclose(calc.initial_guess(mean_field), mean_field.get_init_guess(key="1e"))
    with pytest.warns(OutOfDomainWarning, match="PySCF's 'vsap' guess is used"):
        np.testing.assert_allclose(
            calc.initial_guess(mean_field, fallback="vsap"), mean_field.get_init_guess(key="vsap")
        )


def test_the_guess_builds_no_fock_matrix(calc: PhiSNetCalculator, monkeypatch: pytest.MonkeyPatch) -> None:
    """Hence it costs no cycle, whether the model serves or not."""

    def built(*_: Any, **__: Any) -> None:
        raise AssertionError("a Fock matrix was built")

    monkeypatch.setattr(scf.hf.SCF, "get_jk", built)
    monkeypatch.setattr(dft.rks.RKS, "get_veff", built)
    assert calc.initial_guess(dft.RKS(_water(0.96, 0.96, 104.5))).shape == (24, 24)
    with pytest.warns(OutOfDomainWarning):
        assert calc.initial_guess(dft.RKS(_water(2.1, 0.96, 92.0))).shape == (24, 24)


def test_second_order_solver_takes_fewer_fock_matrices(calc: PhiSNetCalculator) -> None:
    def count(*, warm: bool) -> tuple[int, float]:
        counts: list[int] = []
        solver = scf.RHF(_water(0.93, 1.05, 110.0)).newton()
        solver.callback = lambda state: counts.append(state.get("jktot", 0))
        solver.kernel(dm0=calc.initial_guess(solver) if warm else None)
        return max(counts), solver.e_tot

    cold, warm = count(warm=False), count(warm=True)
    assert warm[0] < cold[0]
    assert warm[1] == pytest.approx(cold[1], abs=1e-8)


#: Two basis sets at once: functions that depend on one another almost.
_DEPENDENT = {s: gto.basis.load("aug-cc-pvdz", s) + gto.basis.load("def2-tzvp", s) for s in ("H", "O")}


@pytest.mark.filterwarnings("ignore:remove_linear_dep_:DeprecationWarning")
def test_basis_with_linear_dependences_is_served(calc: PhiSNetCalculator) -> None:
    def make() -> Any:
        mean_field = scf.addons.remove_linear_dep_(scf.RHF(_water(0.96, 0.99, 103.0, _DEPENDENT)))
        mean_field.init_guess = "1e"
        return mean_field

    cold, warm = _cold_and_warm(calc, make)
    assert np.linalg.eigvalsh(warm.get_ovlp()).min() < 1e-6
    assert warm.cycles < cold.cycles
    assert warm.e_tot == pytest.approx(cold.e_tot, abs=1e-6)


def test_failure_of_pyscfs_own_guess_is_explained(calc: PhiSNetCalculator) -> None:
    """In a basis that is exactly dependent PySCF cannot project its "minao"."""
    twice = {symbol: 2 * gto.basis.load("def2-svp", symbol) for symbol in ("H", "O")}
    mean_field = scf.RHF(_water(2.1, 0.96, 92.0, twice))
    mean_field.get_init_guess = _singular
    with (
        pytest.warns(OutOfDomainWarning),
        pytest.raises(CalculationFailed, match=r"guess 'minao' fails in this basis .*fallback='hcore'"),
    ):
        calc.initial_guess(mean_field)


def _singular(*_: Any, **__: Any) -> None:
    raise np.linalg.LinAlgError("singular matrix")


def test_unrestricted_guess_is_split_evenly(calc: PhiSNetCalculator) -> None:
    mole = pyscf_molecule(molecule("H2O"))
    guess = calc.initial_guess(scf.UHF(mole))
    assert guess.shape == (2, 24, 24)
    np.testing.assert_array_equal(guess[0], guess[1])
    np.testing.assert_allclose(guess.sum(0), calc.density_matrix(mole), atol=1e-10)


def test_guess_follows_the_order_of_atoms(calc: PhiSNetCalculator) -> None:
    atoms = waters(3)[0][[1, 2, 0]]
    mole = pyscf_molecule(atoms)
    np.testing.assert_allclose(calc.initial_guess(scf.RHF(mole)), calc.density_matrix(mole), atol=1e-10)


def test_unbuilt_mole_is_built_by_pyscf_itself(calc: PhiSNetCalculator, capfd: pytest.CaptureFixture[str]) -> None:
    mole = gto.Mole()
    mole.atom, mole.basis, mole.verbose = WATER, "def2-svp", 0
    assert calc.initial_guess(scf.RHF(mole)).shape == (24, 24)


BAD: dict[str, tuple[Callable[[], Any], str]] = {
    "triplet": (lambda: dft.UKS(_mole(spin=2)), "6 alpha and 4 beta"),
    "cation": (lambda: scf.UHF(_mole(charge=1, spin=1)), "5 alpha and 4 beta"),
    "dication": (lambda: scf.RHF(_mole(charge=2)), "charge 2, but the model was made for charge 0"),
    "restricted open shell": (lambda: scf.ROHF(_mole(spin=2)), "restricted open-shell"),
    "two components": (lambda: scf.GHF(_mole()), "two-component"),
    "unknown element": (lambda: scf.RHF(_mole("He 0 0 0")), "does not know He: it was made for H, O"),
    "ghost atom": (lambda: scf.RHF(_mole(f"{WATER}; ghost-O 0 0 4")), "ghost atoms"),
    "coinciding atoms": (lambda: scf.RHF(_mole("O 0 0 0; H 0 0 0.05; H 0 1 0")), "atoms 0 and 1 coincide"),
}


def _mole(atom: str = WATER, **options: Any) -> gto.Mole:
    return gto.M(atom=atom, basis="def2-svp", verbose=0, **options)


@pytest.mark.parametrize("case", BAD)
def test_refused_before_the_scf(calc: PhiSNetCalculator, case: str) -> None:
    make, message = BAD[case]
    with pytest.raises(InputError, match=f"{message}.*Or give fallback='minao'"):
        calc.initial_guess(make())


@pytest.mark.parametrize("case", ["triplet", "unknown element", "dication"])
@pytest.mark.parametrize("name", ["minao", "1e"])
def test_fallback_warns_and_is_the_guess_of_pyscf(calc: PhiSNetCalculator, case: str, name: str) -> None:
    make, message = BAD[case]
    with pytest.warns(UserWarning, match=f"PySCF's '{name}' guess is used: .*{message}"):
        guess = calc.initial_guess(make(), fallback=name)
    mean_field = make()
    np.testing.assert_allclose(guess, mean_field.get_init_guess(key=name), atol=1e-12)
    mean_field.kernel(dm0=guess)
    assert mean_field.converged


def test_fallback_is_not_used_where_the_model_serves(calc: PhiSNetCalculator) -> None:
    mole = _mole()
    guess = calc.initial_guess(scf.RHF(mole), fallback="minao")
    np.testing.assert_allclose(guess, calc.density_matrix(mole), atol=1e-10)


@pytest.mark.parametrize("name", ["minaoo", "chkfile", "", 3])
def test_unknown_fallback_is_refused_even_where_it_is_not_needed(calc: PhiSNetCalculator, name: Any) -> None:
    with pytest.raises(InputError, match=r"no initial guess of PySCF's.*Known are: .*'minao'"):
        calc.initial_guess(scf.RHF(_mole()), fallback=name)


@pytest.mark.parametrize("fallback", [None, "minao"])
def test_what_is_no_mean_field_is_refused(calc: PhiSNetCalculator, fallback: str | None) -> None:
    for given in (_mole(), molecule("H2O"), None, "water"):
        with pytest.raises(InputError, match=r"it is no mean-field object\. Allowed: RHF, RKS, UHF, UKS"):
            calc.initial_guess(given, fallback=fallback)


@pytest.mark.parametrize("fallback", [None, "hcore"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_positions_that_are_not_finite_are_refused(calc: PhiSNetCalculator, fallback: str | None, bad: float) -> None:
    """Whatever the fallback: PySCF's guesses end in a singular matrix for them, or in NaN."""
    mole = gto.M(atom=[("O", (0, 0, 0)), ("H", (0, bad, 1)), ("H", (1, 0, 0))], basis="sto-3g", verbose=0)
    with pytest.raises(InputError, match="not finite"):
        calc.initial_guess(scf.RHF(mole), fallback=fallback)


def test_periodic_mean_field_is_refused(calc: PhiSNetCalculator) -> None:
    cell = periodic_gto.M(atom=WATER, a=np.eye(3) * 8, basis="gth-szv", pseudo="gth-pade", verbose=0)
    with pytest.raises(InputError, match="periodic"):
        calc.initial_guess(periodic_dft.RKS(cell))


def test_failure_of_the_model_falls_back_too(broken_model: str) -> None:
    calc = PhiSNetCalculator(broken_model)
    with pytest.raises(CalculationFailed, match="fallback='minao'"):
        calc.initial_guess(scf.RHF(_mole()))
    with pytest.warns(UserWarning, match="PySCF's 'minao' guess is used"):
        assert calc.initial_guess(scf.RHF(_mole()), fallback="minao").shape == (24, 24)


def test_almost_dependent_functions_are_lifted_until_the_gap_is_wide(
    calc: PhiSNetCalculator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of H along the eigenvector of the smallest eigenvalue of S makes a spurious orbital."""
    mean_field = dft.RKS(gto.M(atom=WATER, basis="def2-svp", verbose=0), xc="pbe")
    right = calc.initial_guess(mean_field)
    network = calc.members[0].network_as(PhiSNet)
    predicted = calc._predicted

    def erroneous(system: Any) -> Any:
        outcome = predicted(system)
        H, S = outcome.extras["hamiltonian"], outcome.extras["overlap"]
        s, vectors = np.linalg.eigh(S)
        along = S @ vectors[:, 0] / np.sqrt(s[0])
        H = H - (along @ np.linalg.solve(S, H @ np.linalg.solve(S, along)) + 0.2) * np.outer(along, along)
        state = state_of(H, S, 5, network.config.overlap_penalty)
        extras = {
            "hamiltonian": H,
            "density_matrix": state.density.numpy(),
            "orbital_energies": state.orbital_energies.numpy(),
        }
        return replace(outcome, extras={**outcome.extras, **extras})

    monkeypatch.setattr(calc, "_predicted", erroneous)
    monkeypatch.setattr(network, "config", network.config.model_copy(update={"overlap_penalty": 1e-3}))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lifted = calc.initial_guess(mean_field)
    assert np.abs(lifted - right).max() < 0.1
    assert np.abs(lifted - mean_field.get_init_guess(key="minao")).max() > 1e-3
    monkeypatch.setattr("ase_mlwave.calculators.phisnet._LIFTS", ())
    with pytest.warns(UserWarning, match="gap"):
        calc.initial_guess(mean_field)
