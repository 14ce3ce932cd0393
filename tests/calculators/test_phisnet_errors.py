"""What `PhiSNetCalculator` refuses before any work, how it fails in it, and when it warns."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import (
    CalculationFailed,
    InputError,
    PropertyNotImplementedError,
    SCFError,
)

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.calculators.phisnet import ENERGY_LEVELS
from ase_mlwave.errors import OutOfDomainError, OutOfDomainWarning
from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.phisnet import molecules
from tests.calculators.protocols import water
from tests.calculators.waters import MODEL, shipped, waters


def _changed(**changes: Any) -> Atoms:
    """Return a water with some of its attributes or entries of ``info`` changed."""
    atoms = molecule("H2O")
    for name, value in changes.items():
        if name in {"charge", "spin"}:
            atoms.info[name] = value
        else:
            setattr(atoms, name, value)
    return atoms


#: Name -> structure and message.
REFUSED: dict[str, tuple[Callable[[], Any], str]] = {
    "unknown element": (lambda: molecule("CH3OH"), r"does not know C: it was made for H, O\. Take another model"),
    "periodic cell": (lambda: _changed(cell=[9, 9, 9], pbc=True), r"is periodic .*Set atoms\.pbc = False"),
    "NaN": (lambda: _changed(positions=np.full((3, 3), np.nan)), "position of atom 0 is not finite"),
    "coinciding atoms": (lambda: Atoms("OH2", [(0, 0, 0), (0, 0, 1), (0, 0, 1)]), "atoms 1 and 2 coincide"),
    "charge": (lambda: _changed(charge=2), r"info\['charge'\] is 2, but the model was made for charge 0"),
    "odd charge": (lambda: _changed(charge=1), r"info\['charge'\] is 1, but the model was made for charge 0"),
    "spin": (lambda: _changed(spin=2), r"info\['spin'\] is 2, but the model was made for spin 0"),
    "radical": (
        lambda: molecule("OH"),
        "9 electrons, which cannot leave 0 unpaired, and the model was made for charge 0 with 0 unpaired alone",
    ),
    "empty": (lambda: Atoms(), "the Atoms object is empty"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("level", ENERGY_LEVELS)
def test_bad_structure_is_refused_before_any_work(level: str, case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calc = PhiSNetCalculator(MODEL, energy=level)

    def work(*_: Any) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr(calc, "_compute", work)
    make, message = REFUSED[case]
    with pytest.raises(InputError, match=message):
        calc.get_potential_energy(make())
    with pytest.raises(InputError, match=f"structure 1: .*{message}"):
        calc.predict([molecule("H2O"), make()])
    for method in (calc.hamiltonian, calc.density_matrix, calc.orbitals):
        with pytest.raises(InputError, match=message):
            method(make())


def test_unknown_keyword_names_the_nearest() -> None:
    with pytest.raises(TypeError, match=r"has no option 'enrgy'\. Did you mean 'energy'"):
        PhiSNetCalculator(MODEL, enrgy="scf")
    with pytest.raises(TypeError, match=r"has no option 'charge'\. Set atoms\.info\['charge'\]"):
        PhiSNetCalculator(MODEL, charge=1)
    with pytest.raises(TypeError, match="positional"):
        PhiSNetCalculator(MODEL, "scf")  # type: ignore[misc]


@pytest.mark.parametrize("given", ["functionnal", "SCF ", "", 1])
def test_unknown_level_is_refused_and_changes_nothing(given: Any) -> None:
    with pytest.raises(InputError, match=r"energy is .*Known are: 'functional', 'response', 'scf', 'wavefunction'"):
        PhiSNetCalculator(MODEL, energy=given)
    calc = PhiSNetCalculator(MODEL)
    with pytest.raises(InputError, match="Did you mean 'functional'"):
        calc.set(energy="functionnal")
    assert calc.parameters["energy"] is None


def test_compiling_is_yes_or_no() -> None:
    with pytest.raises(InputError, match="compile is 'max'; give True or False"):
        PhiSNetCalculator(MODEL, compile="max")


def test_unknown_program_of_integrals_is_refused() -> None:
    with pytest.raises(InputError, match=r"integrals is 'pyscff'\. Did you mean 'pyscf'"):
        PhiSNetCalculator(MODEL, integrals="pyscff")


def test_property_that_the_model_lacks_is_named() -> None:
    atoms = molecule("H2O")
    atoms.calc = shipped()
    for method in (atoms.get_stress, atoms.get_magnetic_moments):
        with pytest.raises(PropertyNotImplementedError):
            method()
    with pytest.raises(PropertyNotImplementedError, match="Did you mean 'dipole'"):
        shipped().predict([atoms], ["dipol"])


def _model_at(level: str, folder: Path) -> Path:
    """Copy the shipped model with another level of theory in its description."""
    model = ModelFolder.load(MODEL)
    network = model.build()
    network.config = network.config.model_copy(update={"level": level})
    packed = ModelFolder.pack("phisnet", network, training_data=model.config.training_data, card=model.card)
    return packed.save(folder)


def test_scf_that_does_not_converge_is_an_scf_error(tmp_path: Path) -> None:
    folder = _model_at("pbe/def2-svp max_cycle=1", tmp_path / "impatient")
    atoms = waters(3)[0]
    atoms.calc = PhiSNetCalculator(folder, energy="scf")
    with pytest.raises(SCFError, match=r"did not converge to 1e-10 Hartree within 1 cycles, nor with level shifts"):
        atoms.get_potential_energy()
    assert atoms.calc.results == {}
    atoms.calc.set(energy="functional")  # which needs no convergence
    assert np.isfinite(atoms.get_potential_energy())


def test_scf_that_does_not_converge_is_rescued(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise SCFError

    atoms = waters(1)[0]
    atoms.calc = PhiSNetCalculator(MODEL, energy="scf")
    expected = atoms.get_potential_energy(), atoms.get_forces(), atoms.calc.extras["gap"]
    atoms.calc.reset()
    monkeypatch.setattr(molecules, "converge", fail)
    for found, value in zip((atoms.get_potential_energy(), atoms.get_forces()), expected[:2], strict=True):
        np.testing.assert_allclose(found, value, atol=1e-5)
    assert atoms.calc.extras["gap"] == pytest.approx(expected[2], abs=1e-5)
    assert atoms.calc.extras["scf_cycles"] is None


@pytest.mark.parametrize("level", ["hf/def2-svp", "b3lyp/def2-svp"])
def test_response_of_another_functional_is_refused(level: str, tmp_path: Path) -> None:
    calc = PhiSNetCalculator(_model_at(level, tmp_path / "model"), energy="response")
    with pytest.raises(InputError, match=rf"such as PBE, but the model was made for {level}.*energy='functional'"):
        calc.get_potential_energy(molecule("H2O"))


@pytest.mark.parametrize("level", ENERGY_LEVELS)
def test_numerical_failure_is_a_failed_calculation(broken_model: str, level: str) -> None:
    calc = PhiSNetCalculator(broken_model, energy=level)
    with pytest.raises(CalculationFailed):
        calc.get_potential_energy(molecule("H2O"))
    for method in (calc.hamiltonian, calc.density_matrix, calc.orbitals):
        with pytest.raises(CalculationFailed):
            method(molecule("H2O"))
    assert calc.results == {}


# --- out of domain ------------------------------------------------------------------------------------------------


def test_water_as_it_vibrates_gives_no_warning() -> None:
    """Warnings are errors in these tests."""
    shipped().predict([water(0.97, 102), *waters(24)], ["energy"])


@pytest.mark.parametrize(
    "atoms", [water(0.97, 102, 2.5), molecule("H2O2"), molecule("H2")], ids=["stretched", "peroxide", "hydrogen"]
)
def test_what_is_unlike_all_training_data_gives_an_error_on_every_path(atoms: Atoms) -> None:
    calc = PhiSNetCalculator(MODEL)
    committee = PhiSNetCalculator([MODEL, MODEL])
    for path in (
        calc.get_potential_energy,
        committee.get_potential_energy,
        *(getattr(calc, name) for name in ("hamiltonian", "overlap", "density_matrix", "orbitals")),
        committee.hamiltonian,
        lambda atoms: calc.predict([water(0.97, 102), atoms]),
    ):
        with pytest.raises(OutOfDomainError, match=r"domain_distance is .*, the limit"):
            path(atoms)


def test_what_is_far_from_the_training_data_gives_a_warning() -> None:
    atoms = water(0.97, 178)
    calc = PhiSNetCalculator(MODEL)
    with pytest.warns(OutOfDomainWarning, match=r"domain_distance.*atoms O0"):
        calc.get_potential_energy(atoms)
    threshold = calc.members[0].config.thresholds["domain_distance"]
    assert calc.extras["domain_distance"].max() > threshold
    calc.get_potential_energy(water(0.97, 102))
    assert calc.extras["domain_distance"].max() < threshold


# --- committees ---------------------------------------------------------------------------------------------------


def test_committee_of_two_measures_its_spread(tmp_path: Path) -> None:
    import torch

    model = ModelFolder.load(MODEL)
    network = model.build("cpu", torch.float64)
    generator = torch.Generator().manual_seed(1)
    for parameter in network.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype)
        parameter.data += 1e-4 * parameter.abs().mean() * noise
    other = ModelFolder.pack(
        "phisnet",
        network,
        training_data=model.config.training_data,
        card=model.card,
        defaults=model.config.defaults,
    )
    other.save(tmp_path / "other")
    atoms = waters(3)[0]
    calc = PhiSNetCalculator([MODEL, tmp_path / "other"])
    members = [PhiSNetCalculator(one) for one in (MODEL, tmp_path / "other")]
    singles = [one.predict([atoms], ["energy", "forces", "dipole"])[0] for one in members]
    energies = [single["energy"] for single in singles]
    assert calc.get_potential_energy(atoms) == pytest.approx(np.mean(energies), abs=1e-9)
    assert calc.extras["energy_spread"] == pytest.approx(np.std(energies, ddof=1), rel=1e-6)
    assert calc.extras["energy_spread"] > 1e-6
    np.testing.assert_allclose(calc.get_forces(atoms), np.mean([s["forces"] for s in singles], axis=0), atol=1e-9)
    assert calc.extras["forces_spread"].shape == (3,)
    assert len(calc.extras["members"]) == 2
    H = np.mean([one.hamiltonian(atoms) for one in members], axis=0)
    np.testing.assert_allclose(calc.hamiltonian(atoms), H, atol=1e-12)
    P, S = calc.density_matrix(atoms), calc.overlap(atoms)
    np.testing.assert_allclose(P @ S @ P, 2 * P, atol=1e-10)
    assert np.trace(P @ S) == pytest.approx(10, abs=1e-10)
