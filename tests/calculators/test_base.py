from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, InputError
from ase.calculators.morse import MorsePotential
from ase.optimize import BFGS
from ase.units import Bohr, Hartree

from ase_mlwave.calculators.outcome import Outcome
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.systems.system import System
from tests.calculators.contract import CalculatorContract
from tests.calculators.morse import MorseCalculator, morse_folder

pytestmark = pytest.mark.usefixtures("morse_kind")


class TestMorseContract(CalculatorContract):
    calculator = MorseCalculator
    measure = "n_pairs"
    own_extras = {"n_pairs"}
    formulas = ("H2O", "H2O2", "H2")
    float32_tolerance = 1e-4

    @pytest.fixture
    def model(self, morse_model: str) -> str:
        return morse_model


@pytest.fixture
def calc(morse_model: str) -> MorseCalculator:
    return MorseCalculator(morse_model)


def _water() -> Atoms:
    atoms = molecule("H2O")
    atoms.rattle(0.05, seed=3)
    return atoms


def test_units_agree_with_ase_morse_potential(calc: MorseCalculator) -> None:
    """D [(1 - exp(-a (r - r0)))^2 - 1] with the smooth cutoff divided out, against ASE's own Morse potential."""
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 0.9]])
    smooth = (1 - 0.9 / Bohr / 12.0) ** 3
    theirs = MorsePotential(epsilon=0.15 * Hartree, r0=1.9 * Bohr, rho0=1.1 * 1.9, rcut1=50.0, rcut2=60.0)
    assert calc.get_potential_energy(atoms) == pytest.approx(theirs.get_potential_energy(atoms) * smooth, rel=1e-9)


def test_dipole_is_the_dipole_of_the_charges(calc: MorseCalculator) -> None:
    (result,) = calc.predict([_water()], ["dipole", "charges"])
    np.testing.assert_allclose(result["dipole"], result["charges"] @ _water().positions, atol=1e-12)


def test_optimiser_finds_the_bottom_of_the_well(calc: MorseCalculator) -> None:
    atoms = Atoms("H2", [[0, 0, 0], [0, 0, 1.2]])
    atoms.calc = calc
    assert BFGS(atoms, logfile=None).run(fmax=1e-4)
    assert np.abs(atoms.get_forces()).max() < 1e-4
    assert calc.results["energy"] < 0


def test_set_changes_an_option_and_forgets_results(calc: MorseCalculator) -> None:
    atoms = _water()
    atoms.calc = calc
    energy = atoms.get_potential_energy()
    members = calc.members
    assert calc.set(scale=2.0) == {"scale": 2.0}
    assert calc.members is members
    assert atoms.get_potential_energy() == pytest.approx(2 * energy)
    assert calc.todict()["scale"] == 2.0
    assert calc.set(scale=2.0) == {}


def test_refused_set_changes_nothing(calc: MorseCalculator) -> None:
    before = calc.todict(skip_default=False)
    with pytest.raises(InputError, match="float16"):
        calc.set(scale=3.0, dtype="float16")
    with pytest.raises(TypeError, match="Did you mean 'scale'"):
        calc.set(scales=3.0)
    assert calc.todict(skip_default=False) == before


def test_later_property_keeps_earlier_ones(calc: MorseCalculator, monkeypatch: pytest.MonkeyPatch) -> None:
    def only_what_is_asked(member: Any, systems: list[System], properties: tuple[str, ...]) -> list[Outcome]:
        full = [calc._single(member.network, system) for system in systems]
        return [Outcome({name: one.values[name] for name in properties}, {p: True for p in properties}) for one in full]

    monkeypatch.setattr(calc, "_compute", only_what_is_asked)
    atoms = _water()
    atoms.calc = calc
    atoms.get_potential_energy()
    atoms.get_dipole_moment()
    assert set(calc.results) == {"energy", "free_energy", "dipole"}
    assert calc.extras == {"energy": True, "dipole": True}


def test_committee_reports_mean_and_spread(tmp_path: Path) -> None:
    folders = [morse_folder(depth).save(tmp_path / str(depth)) for depth in (0.100, 0.101, 0.102)]
    singles = [MorseCalculator(folder).predict([_water()])[0] for folder in folders]
    atoms = _water()
    atoms.calc = committee = MorseCalculator(folders)
    energies = [single["energy"] for single in singles]
    assert atoms.get_potential_energy() == pytest.approx(np.mean(energies))
    assert committee.extras["energy_spread"] == pytest.approx(np.std(energies, ddof=1))
    forces = np.array([single["forces"] for single in singles])
    np.testing.assert_allclose(
        committee.extras["forces_spread"], np.linalg.norm(forces.std(axis=0, ddof=1), axis=1), rtol=1e-10
    )
    assert committee.extras["members"] == [{"n_pairs": 3}] * 3
    assert pickle.loads(pickle.dumps(committee)).results["energy"] == committee.results["energy"]


def test_committee_of_different_levels_of_theory_is_refused(tmp_path: Path) -> None:
    levels = ("pbe/def2-svp", "PBE/def2-SVP grid_response=false", "ccsd(t)/cc-pvdz")
    pbe, same, other = (morse_folder(level=level).save(tmp_path / str(n)) for n, level in enumerate(levels))
    with pytest.raises(InputError, match=r"different levels of theory, 'pbe/def2-svp' and 'ccsd\(t\)/cc-pvdz'"):
        MorseCalculator([pbe, other])
    committee = MorseCalculator([pbe, same])
    with pytest.raises(InputError, match="different levels"):
        committee.set(model=[same, other])
    assert committee.get_potential_energy(_water()) < 0


def test_batch_keeps_what_single_calculations_leave_in_extras(tmp_path: Path) -> None:
    committee = MorseCalculator([morse_folder(depth).save(tmp_path / str(depth)) for depth in (0.1, 0.101)])
    structures = [_water(), molecule("H2O2"), molecule("H2")]
    outcomes = committee.predict_outcomes(structures)
    for atoms, outcome in zip(structures, outcomes, strict=True):
        energy, forces = committee.get_potential_energy(atoms), committee.get_forces(atoms)
        assert outcome.values["energy"] == pytest.approx(energy)
        np.testing.assert_allclose(outcome.values["forces"], forces, atol=1e-12)
        assert outcome.extras["energy_spread"] == pytest.approx(committee.extras["energy_spread"])
        np.testing.assert_allclose(outcome.extras["forces_spread"], committee.extras["forces_spread"], atol=1e-12)
    with pytest.raises(InputError, match=r"structure 0: .*does not know C"):
        committee.predict_outcomes([molecule("CH4")])


def test_one_property_may_be_given_as_a_word(calc: MorseCalculator) -> None:
    assert calc.predict([_water()], "energy") == calc.predict([_water()], ["energy"])


def test_committee_warns_where_one_member_does(tmp_path: Path) -> None:
    folders = [
        morse_folder(0.1, thresholds={"n_pairs": 2}).save(tmp_path / "warns"),
        morse_folder(0.101).save(tmp_path / "silent"),
    ]
    with pytest.warns(OutOfDomainWarning, match="n_pairs"):
        MorseCalculator(folders).get_potential_energy(_water())


def test_warning_past_the_threshold(tmp_path: Path) -> None:
    folders = [
        morse_folder(depth, thresholds={"energy_spread": limit}).save(tmp_path / f"{depth}")
        for depth, limit in ((0.1, 0.05), (0.11, 100.0))
    ]
    committee = MorseCalculator(folders)
    assert committee.domain.thresholds["energy_spread"] == 0.05
    with pytest.warns(OutOfDomainWarning, match=r"energy_spread.*above 0\.05"):
        committee.get_potential_energy(_water())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        MorseCalculator(folders[1]).get_potential_energy(_water())


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_result_that_is_not_finite_fails(calc: MorseCalculator, bad: float) -> None:
    calc.set(scale=bad)
    with pytest.raises(CalculationFailed, match="not finite"):
        calc.get_potential_energy(_water())
    assert calc.results == {}


def test_batch_that_does_not_fit_is_halved(calc: MorseCalculator, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def small_device(member: Any, systems: list[System], properties: tuple[str, ...]) -> list[Outcome]:
        sizes.append(len(systems))
        if len(systems) > 2:
            raise torch.OutOfMemoryError("pretend")
        return [calc._single(member.network, system) for system in systems]

    batch = [_water() for _ in range(5)]
    for index, atoms in enumerate(batch):
        atoms.positions[0, 2] += 0.01 * index
    expected = calc.predict(batch)
    monkeypatch.setattr(calc, "_compute", small_device)
    for one, other in zip(calc.predict(batch), expected, strict=True):
        assert one["energy"] == other["energy"]
    assert sizes == [5, 2, 3, 1, 2]


def test_one_structure_that_does_not_fit_fails(calc: MorseCalculator, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: Any) -> list[Outcome]:
        raise torch.OutOfMemoryError("pretend")

    monkeypatch.setattr(calc, "_compute", no_memory)
    with pytest.raises(CalculationFailed, match="H2O does not fit"):
        calc.get_potential_energy(_water())


def test_failed_linear_algebra_is_a_failed_calculation(calc: MorseCalculator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calc, "_compute", lambda *_: torch.linalg.inv(torch.zeros(2, 2)))
    with pytest.raises(CalculationFailed, match="linear algebra"):
        calc.get_potential_energy(_water())


def test_batches_are_those_of_the_options_or_what_fits(calc: MorseCalculator, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    waters = [_water() for _ in range(5)]
    monkeypatch.setattr(calc, "_bytes_of", lambda system, gradients: 100.0 if gradients else 1.0)
    monkeypatch.setattr("ase_mlwave.models.memory.free_bytes", lambda device: 500.0)
    calc.predict(waters, ["energy"], progress=sizes.append)
    calc.predict(waters, ["forces"], progress=sizes.append)
    calc.predict(waters, batch_size=4, progress=sizes.append)
    calc.set(batch_size=3)
    calc.predict(waters, progress=sizes.append)
    assert sizes == [5, *(2, 2, 1), *(4, 1), *(3, 2)]


def test_outcomes_are_collected_up_to_one_that_fails(calc: MorseCalculator, monkeypatch: pytest.MonkeyPatch) -> None:
    waters = [_water() for _ in range(5)]
    for index, atoms in enumerate(waters):
        atoms.positions[0, 2] += 0.01 * index
    expected = calc.predict_outcomes(waters)
    collected: list[Outcome] = []
    assert calc.predict_outcomes(waters, collect=collected.append, batch_size=2) == collected
    assert [one.values["energy"] for one in collected] == [one.values["energy"] for one in expected]
    collected.clear()
    compute = calc._compute

    def fails(member: Any, systems: list[System], properties: tuple[str, ...]) -> list[Outcome]:
        if len(systems) == 1:
            raise CalculationFailed("pretend")
        return compute(member, systems, properties)

    monkeypatch.setattr(calc, "_compute", fails)
    with pytest.raises(CalculationFailed, match="pretend"):
        calc.predict_outcomes(waters, collect=collected.append, batch_size=2)
    assert [one.values["energy"] for one in collected] == [one.values["energy"] for one in expected[:4]]


def test_empty_list_gives_an_empty_list(calc: MorseCalculator) -> None:
    assert calc.predict([]) == []


def test_model_of_another_kind_is_refused(morse_model: str) -> None:
    class Other(MorseCalculator):
        name = "test-other"

    with pytest.raises(InputError, match="kind 'test-morse', but Other needs 'test-other'"):
        Other(morse_model)


def test_subclass_may_change_an_inherited_default(morse_model: str) -> None:
    class Quick(MorseCalculator):
        default_parameters = {"dtype": "float32"}

    assert Quick(morse_model).members[0].network.depth.dtype == torch.float32
    assert Quick.default_parameters["scale"] == 1.0
    assert MorseCalculator.default_parameters["dtype"] == "float64"


def test_help_lists_the_options() -> None:
    import inspect

    parameters = inspect.signature(MorseCalculator).parameters
    assert list(parameters) == ["model", "scale", "device", "dtype", "batch_size", "outside"]
    assert all(p.kind is p.KEYWORD_ONLY for name, p in parameters.items() if name != "model")


@pytest.mark.gpu
def test_cuda_is_where_calculators_run_by_default(morse_model: str) -> None:
    assert MorseCalculator(morse_model).members[0].network.depth.is_cuda
