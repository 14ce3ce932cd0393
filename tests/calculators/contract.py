"""The contract suite: the laws and error messages that every calculator keeps.

A test file derives a class from `CalculatorContract`, names a model folder (of any kind, `load_calculator` knows which)
and sets the tolerances that its method deserves; pytest then runs the whole suite on it.
"""

from __future__ import annotations

import copy
import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.calculators.calculator import InputError, PropertyNotImplementedError, get_calculator_class
from ase.calculators.fd import calculate_numerical_forces
from ase.db import connect
from ase.io import read, write
from ase.outputs import all_outputs

from ase_mlwave.calculators.base import MlwaveCalculator
from ase_mlwave.errors import OutOfDomainError, OutOfDomainWarning
from ase_mlwave.models import folder as zoo
from ase_mlwave.properties import EXTRAS, MATRICES
from tests.calculators.refusals import Refusals
from tests.calculators.under_test import Make
from tests.pretend_device import PRETENDED, PretendDevice

ROTATION = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
ROTATION *= np.linalg.det(ROTATION)  # proper
MIRROR = np.diag([-1.0, 1.0, 1.0]) @ ROTATION


class CalculatorContract(Refusals):
    """Laws of `MlwaveCalculator`; energies in eV, forces in eV/Angstrom."""

    # --- laws ---------------------------------------------------------------------------------------------------------

    def test_batch_equals_single(self, calc: MlwaveCalculator) -> None:
        batch = [self.atoms(seed) for seed in range(3)]
        for result, atoms in zip(calc.predict(batch), batch, strict=True):
            atoms.calc = calc
            assert result["energy"] == pytest.approx(atoms.get_potential_energy(), abs=self.law_tolerance)
            np.testing.assert_allclose(result["forces"], atoms.get_forces(), atol=self.law_tolerance)

    def test_batch_size_does_not_matter(self, calc: MlwaveCalculator) -> None:
        batch = [self.atoms(seed) for seed in range(3)]
        done: list[int] = []
        by_two = calc.predict(batch, batch_size=2, progress=done.append)
        assert done == [2, 1]
        for one, other in zip(calc.predict(batch), by_two, strict=True):
            np.testing.assert_allclose(one["forces"], other["forces"], atol=self.law_tolerance)

    def test_what_a_trajectory_remembers_changes_nothing(self, calc: MlwaveCalculator) -> None:
        atoms = self.atoms()
        for step in range(3):
            energy, forces = self.both(calc, atoms)
            alone, forces_alone = self.both(copy.deepcopy(calc), atoms)  # remembers no neighbours
            assert energy == pytest.approx(alone, abs=1e-10)
            np.testing.assert_allclose(forces, forces_alone, rtol=0, atol=1e-10)
            atoms.rattle(0.02, seed=step)
        assert calc.neighbours.n_searches <= 1

    @pytest.mark.parametrize("matrix", [ROTATION, MIRROR], ids=["rotation", "reflection"])
    def test_forces_turn_with_the_molecule(self, calc: MlwaveCalculator, matrix: np.ndarray) -> None:
        atoms = self.atoms()
        turned = atoms.copy()
        turned.positions = atoms.positions @ matrix.T
        (energy, forces), (energy_turned, forces_turned) = self.both(calc, atoms), self.both(calc, turned)
        tolerance = self.law_tolerance if self.turning_tolerance is None else self.turning_tolerance
        assert energy_turned == pytest.approx(energy, abs=tolerance)
        np.testing.assert_allclose(forces_turned, forces @ matrix.T, atol=tolerance)

    def test_dipole_turns_with_the_molecule(self, calc: MlwaveCalculator) -> None:
        if "dipole" not in calc.implemented_properties:
            pytest.skip("no dipole")
        atoms = self.atoms()
        turned = atoms.copy()
        turned.positions = atoms.positions @ MIRROR.T + 1.0
        one, other = (result["dipole"] for result in calc.predict([atoms, turned], ["dipole"]))
        np.testing.assert_allclose(other, MIRROR @ one, atol=self.law_tolerance)

    def test_translation_changes_nothing(self, calc: MlwaveCalculator) -> None:
        atoms = self.atoms()
        moved = atoms.copy()
        moved.positions += [3.0, -5.0, 7.0]
        (energy, forces), (energy_moved, forces_moved) = self.both(calc, atoms), self.both(calc, moved)
        assert energy_moved == pytest.approx(energy, abs=self.law_tolerance)
        np.testing.assert_allclose(forces_moved, forces, atol=self.law_tolerance)
        np.testing.assert_allclose(forces.sum(axis=0), 0, atol=max(self.law_tolerance, self.force_tolerance))

    def test_permutation_permutes_the_forces(self, calc: MlwaveCalculator) -> None:
        atoms = self.atoms()
        order = np.random.default_rng(2).permutation(len(atoms))
        (energy, forces), (energy_permuted, forces_permuted) = self.both(calc, atoms), self.both(calc, atoms[order])
        assert energy_permuted == pytest.approx(energy, abs=self.law_tolerance)
        np.testing.assert_allclose(forces_permuted, forces[order], atol=self.law_tolerance)

    def test_energies_of_atoms_add_up_and_permute(self, make: Make, calc: MlwaveCalculator, model: str) -> None:
        if "energies" not in calc.implemented_properties:
            pytest.skip("no energies of atoms")
        atoms = self.atoms()
        order = np.random.default_rng(2).permutation(len(atoms))
        (one, other) = calc.predict([atoms, atoms[order]], ["energy", "energies"])
        assert one["energies"].sum() == pytest.approx(one["energy"], abs=1e-8)
        np.testing.assert_allclose(other["energies"], one["energies"][order], atol=self.law_tolerance)
        atoms.calc = make([model, model])
        np.testing.assert_allclose(atoms.get_potential_energies(), one["energies"], atol=self.law_tolerance)

    def test_two_molecules_far_apart_add_up(self, calc: MlwaveCalculator) -> None:
        one, other = self.atoms(0), self.atoms(len(self.formulas))  # of one kind: different ones may share electrons
        other.positions += [self.apart, 0, 0]
        (e1, f1), (e2, f2), (e12, f12) = (self.both(calc, atoms) for atoms in (one, other, one + other))
        assert e12 == pytest.approx(e1 + e2, abs=self.law_tolerance)
        np.testing.assert_allclose(f12, np.concatenate([f1, f2]), atol=self.law_tolerance)

    def test_forces_are_minus_the_derivative_of_the_energy(self, calc: MlwaveCalculator) -> None:
        atoms = self.atoms()
        atoms.calc = calc
        numerical = calculate_numerical_forces(atoms, eps=self.displacement)
        np.testing.assert_allclose(atoms.get_forces(), numerical, atol=self.force_tolerance)

    def test_hessian_is_the_derivative_of_the_forces(self, calc: MlwaveCalculator) -> None:
        atoms = self.atoms()
        hessian = calc.hessian(atoms)
        np.testing.assert_array_equal(hessian, hessian.T)
        row = 3 * len(atoms) - 2
        step = max(1e-3, self.displacement)
        moved = [atoms.copy(), atoms.copy()]
        for copy_, sign in zip(moved, (1, -1), strict=True):
            copy_.positions.flat[row] += sign * step
        ahead, behind = (result["forces"].ravel() for result in calc.predict(moved))
        np.testing.assert_allclose(hessian[row], (behind - ahead) / (2 * step), atol=self.hessian_tolerance)
        self.check_rigid_motions(atoms, hessian, self.both(calc, atoms)[1])

    def check_rigid_motions(self, atoms: Atoms, hessian: np.ndarray, forces: np.ndarray) -> None:
        """Move and turn by a little: forces stay, and they turn, H (w x r) = -(w x F), at any geometry."""
        for axis in np.eye(3):
            np.testing.assert_allclose(hessian @ np.tile(axis, len(atoms)), 0, atol=self.hessian_tolerance)
            turned = hessian @ np.cross(axis, atoms.positions).ravel()
            tolerance = max(10 * (self.turning_tolerance or 0.0), self.hessian_tolerance)
            np.testing.assert_allclose(turned, -np.cross(axis, forces).ravel(), atol=tolerance)

    def test_descriptors_are_invariant(self, calc: MlwaveCalculator) -> None:
        atoms = self.atoms()
        try:
            features = calc.descriptors(atoms)
        except PropertyNotImplementedError:
            pytest.skip("no descriptors")
        turned, order = atoms.copy(), np.random.default_rng(2).permutation(len(atoms))
        turned.positions = atoms.positions @ MIRROR.T + [1.0, 2.0, 3.0]
        assert features.shape[0] == len(atoms)
        scale = np.abs(features).max()
        np.testing.assert_allclose(calc.descriptors(turned[order]), features[order], atol=1e-8 * max(1.0, scale))
        turned.rattle(0.05, seed=3)
        assert np.abs(calc.descriptors(turned) - features).max() > 1e-4 * scale

    def test_float32_is_close_to_float64(self, make: Make, calc: MlwaveCalculator, model: str) -> None:
        if self.float32_tolerance is None:
            with pytest.raises(InputError, match="float64 only"):
                make(model, dtype="float32")
            with pytest.raises(InputError, match="float64 only"):
                calc.set(dtype="float32")
            return
        single = make(model, dtype="float32")
        (energy, forces), (energy32, forces32) = self.both(calc, self.atoms()), self.both(single, self.atoms())
        assert energy32 == pytest.approx(energy, abs=self.float32_tolerance)
        np.testing.assert_allclose(forces32, forces, atol=self.float32_tolerance)

    def test_committee_of_one_model_twice_is_the_model(self, make: Make, calc: MlwaveCalculator, model: str) -> None:
        committee = make([model, model])
        atoms = self.atoms()
        atoms.calc = committee
        energy, forces = self.both(calc, atoms)
        assert atoms.get_potential_energy() == pytest.approx(energy, abs=self.law_tolerance)
        np.testing.assert_allclose(atoms.get_forces(), forces, atol=self.law_tolerance)
        assert committee.extras["energy_spread"] == pytest.approx(0, abs=self.law_tolerance)
        np.testing.assert_allclose(committee.extras["forces_spread"], np.zeros(len(atoms)), atol=self.law_tolerance)

    def test_extras_of_a_committee_have_the_shapes_of_one_model(
        self, make: Make, calc: MlwaveCalculator, model: str
    ) -> None:
        committee = make([model, model])
        for one in (calc, committee):
            one.calculate(self.atoms(), ["energy", "forces"])
        assert committee.extras.keys() >= calc.extras.keys()
        for name, value in calc.extras.items():
            assert type(committee.extras[name]) is type(value), name
            assert np.shape(committee.extras[name]) == np.shape(value), name
            if isinstance(value, (float, np.ndarray)):
                np.testing.assert_allclose(committee.extras[name], value, atol=max(1e-6, self.law_tolerance))

    def test_extras_are_those_of_the_table(self, calc: MlwaveCalculator) -> None:
        atoms = self.atoms()
        calc.calculate(atoms, ["energy", "forces"])
        sizes = {"N": len(atoms)}
        assert calc.extras.keys() - EXTRAS.keys() == self.own_extras
        for name in calc.extras.keys() & EXTRAS.keys():
            shape = EXTRAS[name].shape
            if shape is not None:
                assert len(shape) == np.ndim(calc.extras[name]), name
                for size, found in zip(shape, np.shape(calc.extras[name]), strict=True):
                    assert sizes.setdefault(str(size), found) == found, name

    def test_batches_keep_the_extras_that_are_asked_for(self, calc: MlwaveCalculator) -> None:
        atoms = self.atoms()
        calc.calculate(atoms, ["energy", "forces"])
        name = sorted(calc.extras)[0]
        (by_default,), (named,) = (calc.predict_outcomes([atoms], extras=extras) for extras in (None, [name]))
        assert by_default.extras.keys() == calc.extras.keys() - MATRICES
        assert list(named.extras) == [name]
        with pytest.raises(InputError, match=r"gave no extra 'energy_spred'\. Did you mean 'energy_spread'"):
            calc.predict_outcomes([atoms], extras=["energy_spred"])

    def test_predict_keeps_no_extras(self, calc: MlwaveCalculator, monkeypatch: pytest.MonkeyPatch) -> None:
        evaluate, kept = calc._evaluate, []
        monkeypatch.setattr(calc, "_evaluate", lambda *args, **given: kept.append(evaluate(*args, **given)) or kept[-1])
        (result,) = calc.predict([self.atoms()], ["energy"])
        assert list(result) == ["energy"]
        assert [outcome.extras for outcome in kept[0]] == [{}]

    # --- devices ------------------------------------------------------------------------------------------------------

    def on_both(self, accelerator: str, model: Any, **options: Any) -> list[MlwaveCalculator]:
        """Make a calculator on the CPU, and one on another device."""
        given = {**self.options, **options}
        return [self.calculator(model, **given, device=device) for device in ("cpu", accelerator)]

    def agree(self, one: MlwaveCalculator, other: MlwaveCalculator, tolerance: float) -> None:
        """Compare everything that two calculators give for a structure."""
        for calc in (one, other):
            calc.calculate(self.atoms(), sorted(set(calc.implemented_properties) - {"stress"}))
        expected = {**one.results, **one.extras}
        assert expected.keys() == {**other.results, **other.extras}.keys()
        for name, value in {**other.results, **other.extras}.items():
            if isinstance(value, (float, np.ndarray)):
                size = max(1.0, float(np.abs(expected[name]).max(initial=0.0)))
                np.testing.assert_allclose(value, expected[name], rtol=0, atol=tolerance * size, err_msg=name)

    def test_numbers_of_a_device_are_those_of_the_cpu(self, model: str, accelerator: str) -> None:
        on_cpu, on_device = self.on_both(accelerator, model)
        self.agree(on_cpu, on_device, self.device_tolerance)
        network = on_device.members[0].network_as(torch.nn.Module)
        assert {tensor.device.type for tensor in network.state_dict().values()} == {accelerator}

    def test_batch_of_a_committee_on_a_device_gives_the_numbers_of_the_cpu(self, model: str, accelerator: str) -> None:
        batch = [self.atoms(seed) for seed in range(2)]
        expected, found = (calc.predict(batch) for calc in self.on_both(accelerator, [model, model]))
        for one, other in zip(expected, found, strict=True):
            for name in ("energy", "forces"):
                np.testing.assert_allclose(other[name], one[name], rtol=0, atol=self.device_tolerance)

    def test_float32_on_a_device_is_close_to_that_on_the_cpu(self, model: str, accelerator: str) -> None:
        if self.float32_tolerance is None:
            pytest.skip("float64 only")
        self.agree(*self.on_both(accelerator, model, dtype="float32"), self.float32_tolerance)

    def test_step_on_a_device_seldom_waits_for_it(self, model: str) -> None:
        batch = [self.atoms(seed) for seed in range(2)]
        with PretendDevice() as device:
            calc = self.calculator(model, **self.options, device=PRETENDED)
            for _ in range(2):
                before = device.n_crossings
                calc.predict(batch)
                for atoms in batch:
                    atoms.positions[0] += 0.01
        assert device.n_crossings - before <= self.crossings

    # --- the domain ---------------------------------------------------------------------------------------------------

    def narrowed(self, calc: MlwaveCalculator, **domain: dict[str, float]) -> MlwaveCalculator:
        """Give a calculator thresholds that every structure passes."""
        calc.domain = replace(calc.domain, **{"thresholds": {}, "limits": {}, **domain})
        return calc

    def test_warning_past_the_threshold_changes_no_number(self, calc: MlwaveCalculator, noise: float) -> None:
        energy = self.both(calc, self.atoms())[0]
        with pytest.warns(OutOfDomainWarning, match=self.measure):
            again = self.both(self.narrowed(calc, thresholds={self.measure: -1.0}), self.atoms())[0]
        assert again == pytest.approx(energy, rel=0, abs=noise)

    def test_error_past_the_limit(self, calc: MlwaveCalculator) -> None:
        energy = self.both(calc, self.atoms())[0]
        self.narrowed(calc, limits={self.measure: -1.0})
        atoms = self.atoms()
        atoms.calc = calc
        with pytest.raises(OutOfDomainError, match=f"{atoms.get_chemical_formula()}.*{self.measure}.*outside='warn'"):
            atoms.get_potential_energy()
        assert calc.results == {}
        assert np.max(calc.extras[self.measure]) > -1.0
        with pytest.raises(OutOfDomainError, match="structure 0: "):
            calc.predict([atoms, atoms])
        calc.set(outside="warn")
        with pytest.warns(OutOfDomainWarning, match=self.measure):
            assert atoms.get_potential_energy() == pytest.approx(energy, abs=1e-9)

    def test_committee_keeps_the_limit(self, make: Make, model: str) -> None:
        committee = self.narrowed(make([model, model]), limits={self.measure: -1.0})
        with pytest.raises(OutOfDomainError, match=self.measure):
            committee.get_potential_energy(self.atoms())

    # --- ASE's rules --------------------------------------------------------------------------------------------------

    def test_results_are_standard(self, calc: MlwaveCalculator) -> None:
        atoms = self.atoms()
        of_molecules = set(calc.implemented_properties) - {"stress"}
        calc.calculate(atoms, sorted(of_molecules))
        assert of_molecules <= set(calc.results) <= set(all_outputs)
        assert calc.results["free_energy"] == calc.results["energy"]
        for value in calc.results.values():
            assert type(value) is float or (type(value) is np.ndarray and value.dtype == np.float64)
        assert calc.export_properties()["forces"].shape == (len(atoms), 3)
        assert isinstance(calc.extras, dict)

    def test_input_is_untouched(self, calc: MlwaveCalculator) -> None:
        atoms = self.atoms()
        before = copy.deepcopy(atoms)
        calc.predict([atoms])
        calc.calculate(atoms, ["energy", "forces"])
        assert atoms == before
        assert atoms.info == before.info
        assert atoms.arrays.keys() == before.arrays.keys()

    def test_cache_answers_until_something_changes(
        self, calc: MlwaveCalculator, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        count = 0
        compute = calc._compute

        def counting(*args: Any) -> Any:
            nonlocal count
            count += 1
            return compute(*args)

        monkeypatch.setattr(calc, "_compute", counting)
        atoms = self.atoms()
        atoms.calc = calc
        forces = atoms.get_forces()
        energy = atoms.get_potential_energy()
        first = count
        atoms.get_forces()[:] = 0  # what is handed out is a copy
        atoms.info["name"] = "no matter"
        atoms.set_initial_charges(np.zeros(len(atoms)))
        np.testing.assert_array_equal(atoms.get_forces(), forces)
        assert count == first
        atoms.positions[0, 0] += 0.01
        assert atoms.get_potential_energy() != energy
        assert count > first
        calc.reset()
        assert calc.results == {}
        assert calc.extras == {}

    def test_cache_sees_charge_and_spin(self, calc: MlwaveCalculator) -> None:
        atoms = self.atoms()
        atoms.calc = calc
        atoms.get_potential_energy()
        for key in ("charge", "spin"):
            atoms.info[key] = 2
            assert key in calc.check_state(atoms)
            atoms.info[key] = 0
            assert calc.check_state(atoms) == []

    def test_todict_rebuilds_the_calculator(self, calc: MlwaveCalculator, noise: float) -> None:
        again = type(calc)(**json.loads(json.dumps(calc.todict())))
        assert again.todict() == calc.todict()
        assert again.todict(skip_default=False) == calc.todict(skip_default=False)
        energy = self.both(calc, self.atoms())[0]
        assert self.both(again, self.atoms())[0] == pytest.approx(energy, rel=0, abs=noise)

    def test_pickle_and_copy_keep_results_and_options(self, calc: MlwaveCalculator, noise: float) -> None:
        atoms = self.atoms()
        atoms.calc = calc
        energy, with_forces = atoms.get_potential_energy(), self.both(calc, atoms)[0]
        for again in (pickle.loads(pickle.dumps(calc)), copy.deepcopy(calc)):
            assert again.results["energy"] == energy
            assert again.todict() == calc.todict()
            assert self.both(again, atoms)[0] == pytest.approx(with_forces, rel=0, abs=noise)

    def test_copies_keep_the_weights_that_were_loaded(
        self, make: Make, model: str, tmp_path: Path, noise: float
    ) -> None:
        folder = shutil.copytree(zoo.locate(model), tmp_path / "gone")
        calc = make(folder)
        energy = self.both(calc, self.atoms())[0]
        shutil.rmtree(folder)
        assert copy.deepcopy(calc).members is calc.members
        assert copy.copy(calc).results is not calc.results
        again = pickle.loads(pickle.dumps(calc))
        assert self.both(again, self.atoms())[0] == pytest.approx(energy, rel=0, abs=noise)
        assert again.members[0].config == calc.members[0].config

    def test_model_folder_can_be_moved(
        self, make: Make, calc: MlwaveCalculator, model: str, tmp_path: Path, noise: float
    ) -> None:
        folder = shutil.copytree(zoo.locate(model), tmp_path / "elsewhere")
        moved = make(folder)
        energy = self.both(calc, self.atoms())[0]
        assert self.both(moved, self.atoms())[0] == pytest.approx(energy, rel=0, abs=noise)

    def test_extxyz_round_trip(self, calc: MlwaveCalculator, tmp_path: Path) -> None:
        atoms = self.atoms()
        atoms.calc = calc
        energy, forces = atoms.get_potential_energy(), atoms.get_forces()
        write(tmp_path / "one.extxyz", atoms)
        again = read(tmp_path / "one.extxyz")
        assert again.get_potential_energy() == pytest.approx(energy, abs=1e-7)
        np.testing.assert_allclose(again.get_forces(), forces, atol=1e-7)

    def test_trajectory_round_trip(self, calc: MlwaveCalculator, tmp_path: Path) -> None:
        atoms = self.atoms()
        atoms.calc = calc
        energy = atoms.get_potential_energy()
        write(tmp_path / "one.traj", atoms)
        assert read(tmp_path / "one.traj").get_potential_energy() == energy

    def test_database_row_rebuilds_the_calculator(self, calc: MlwaveCalculator, tmp_path: Path, noise: float) -> None:
        atoms = self.atoms()
        atoms.calc = calc
        energy, with_forces = atoms.get_potential_energy(), self.both(calc, atoms)[0]
        with connect(tmp_path / "one.db") as database:
            database.write(atoms)
        row = connect(tmp_path / "one.db").get(1)
        again = get_calculator_class(row.calculator)(**row.calculator_parameters)
        assert row.energy == energy
        assert self.both(again, row.toatoms())[0] == pytest.approx(with_forces, rel=0, abs=noise)

    def test_ase_knows_the_name(self, calc: MlwaveCalculator) -> None:
        assert get_calculator_class(calc.name) is type(calc)
