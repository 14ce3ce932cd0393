from __future__ import annotations

import warnings
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import Parameters
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from ase_mlwave.data.convert import atoms_from_record, record_from_atoms
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.systems.charge_spin import charge_and_spin, check_electrons, electrons_at_fault, other_statements


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({}, (0, 0)),
        ({"charge": -1}, (-1, 0)),
        ({"charge": -0.9999999}, (-1, 0)),
        ({"charge": np.int64(2), "spin": np.array(1.0)}, (2, 1)),
        ({"total_charge": 1, "multiplicity": 2}, (1, 1)),
        ({"TotalCharge": -2}, (-2, 0)),
        ({"NET_CHARGE": 1.0, "charge": 1}, (1, 0)),
        ({"spin_multiplicity": 3, "spin": 2}, (0, 2)),
        ({"n_unpaired_electrons": 1}, (0, 1)),
        ({"Multiplicity": 1}, (0, 0)),
        ({"charge": 0, "ion_charge": -1, "spin": 0, "uhf": 2}, (0, 0)),  # what is stated makes the rest harmless
        ({"ion_charge": 0, "total_spin": 0, "dft_multiplicity": 1}, (0, 0)),
        ({"charges": [0.1, -0.1], "max_charge": 0.4, "charge_model": "hirshfeld", "uhf": True, "spinach": 3}, (0, 0)),
    ],
)
def test_spellings_that_mean_one_thing_are_understood(info: dict[str, Any], expected: tuple[int, int]) -> None:
    assert charge_and_spin(info) == expected


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"charge": 0.5}, r"atoms.info\['charge'\] is 0.5. Give the total charge .* whole number"),
        ({"charge": "plus"}, "whole number"),
        ({"charge": True}, "whole number"),  # the word alone in a comment line
        ({"charge": np.array([0.1, -1.1])}, "whole number"),
        ({"charge": float("nan")}, "whole number"),
        ({"charge": 1e30}, "whole number"),
        ({"total_charge": None}, "whole number"),
        ({"spin": -1}, "0 or more"),
        ({"spin": 1.9}, "number of unpaired electrons"),
        ({"multiplicity": 0}, "1 or more"),
        ({"charge": 0, "total_charge": -1}, r"'charge'\] and atoms.info\['total_charge'\] disagree.*0 and -1"),
        ({"spin": 0, "multiplicity": 3}, "numbers of unpaired electrons of 0 and 2"),
        ({"ion_charge": -1}, r"'ion_charge'\] is -1, which may mean a charge.*Set atoms.info\['charge'\]"),
        ({"total_spin": 1}, "may mean a spin"),
        ({"uhf": 2}, "may mean a spin"),
        ({"dft_multiplicity": 3}, "may mean a spin"),
    ],
)
def test_what_is_not_clear_is_refused(info: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        charge_and_spin(info)


def anion(**info: Any) -> Atoms:
    atoms = molecule("OH")
    atoms.set_initial_magnetic_moments(None)
    atoms.info.update(info)
    return atoms


def test_readers_and_records_read_alike(tmp_path: Any) -> None:
    for info in ({"charge": -1}, {"total_charge": -1}, {"Charge": -0.9999999}, {"net_charge": -1, "multiplicity": 1}):
        atoms = anion(**info)
        ase.io.write(tmp_path / "anion.extxyz", atoms)
        (read,) = read_dataset(tmp_path / "anion.extxyz")
        for record in (read, record_from_atoms(atoms)):
            assert (record.charge, record.spin) == (-1, 0)
            assert record_from_atoms(atoms_from_record(record)).charge == -1
    ase.io.write(tmp_path / "anion.extxyz", [anion(), anion(charge=0.5)])
    with pytest.raises(ValueError, match=r"structure 1 of .*anion.extxyz: atoms.info\['charge'\] is 0.5"):
        read_dataset(tmp_path / "anion.extxyz")


def test_a_stated_zero_outlives_a_misleading_entry() -> None:
    record = record_from_atoms(molecule("H2O", info={"charge": 0, "ion_charge": -1}))
    assert record.info == {"ion_charge": -1}
    assert record_from_atoms(atoms_from_record(record)).charge == 0


def _charges(atoms: Atoms) -> None:
    atoms.set_initial_charges([-1, 0, 0])


def _moments(atoms: Atoms) -> None:
    atoms.set_initial_magnetic_moments([1.5, 0.5, 0])


def _parameters(atoms: Atoms) -> None:
    atoms.calc = SinglePointCalculator(atoms)
    atoms.calc.parameters = Parameters(charge=1, multiplicity=2)


def _moment(atoms: Atoms) -> None:
    atoms.calc = SinglePointCalculator(atoms, magmom=2.0)


def _results(atoms: Atoms) -> None:
    atoms.calc = SinglePointCalculator(atoms, charges=[-1.2, 0.1, 0.1], magmoms=[0.0, 1.0, 1.0])


@pytest.mark.parametrize(
    ("fill", "statements"),
    [
        (_charges, ["initial charges add up to -1, but the charge that is read is 0"]),
        (_moments, ["initial magnetic moments add up to 2, but the spin that is read is 0"]),
        (_parameters, ["the calculator's parameter 'charge' is 1, but", "the calculator's multiplicity leaves"]),
        (_results, ["atomic charges add up to -1, but", "atomic magnetic moments add up to 2, but"]),
        (_moment, ["the magnetic moment is 2, but"]),
    ],
)
def test_other_ways_of_giving_them_are_warned_about(fill: Any, statements: list[str]) -> None:
    atoms = molecule("H2O")
    fill(atoms)
    found = other_statements(atoms, 0, 0)
    assert len(found) == len(statements)
    assert all(one.startswith(words) for one, words in zip(found, statements, strict=True))
    with pytest.warns(UserWarning, match=f"H2O: {statements[0]}"):
        record_from_atoms(atoms)


def test_they_are_quiet_where_they_agree_or_say_nothing() -> None:
    atoms = molecule("O2", info={"spin": 2})  # ASE gives it moments
    atoms.set_initial_charges([0.3, -0.31])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert record_from_atoms(atoms).spin == 2
        assert record_from_atoms(anion(charge=-1)).charge == -1


def test_a_file_warns_once(tmp_path: Any) -> None:
    ase.io.write(tmp_path / "oxygen.extxyz", [molecule("H2"), molecule("O2"), molecule("O2")])
    with pytest.warns(UserWarning, match=r"structure 1 of .*oxygen.extxyz \(and of 1 others\): initial mag") as caught:
        read_dataset(tmp_path / "oxygen.extxyz")
    assert len(caught) == 1


def test_the_charge_of_another_calculator_in_a_database_is_warned_about(tmp_path: Any) -> None:
    calculator = LennardJones(charge=-1)  # any calculator that stores its parameters
    atoms = anion()
    atoms.calc = calculator
    atoms.get_potential_energy()
    connect(tmp_path / "foreign.db").write(atoms)
    with pytest.warns(UserWarning, match="structure 0 of .*the calculator's parameter 'charge' is -1, but the charge"):
        read_dataset(tmp_path / "foreign.db")


def test_electrons_are_counted_before_training() -> None:
    assert electrons_at_fault([8, 1, 1], 0, 0) == ""
    assert "with charge 0 has 9 electrons, which cannot leave 0 unpaired" in electrons_at_fault([8, 1], 0, 0)
    assert "multiplicity" in electrons_at_fault([8, 1, 1], 0, 1)
    records = [record_from_atoms(anion(charge=-1)), record_from_atoms(anion()), record_from_atoms(anion())]
    with pytest.raises(ValueError, match=r"structure 1: HO with charge 0 .* So have 1 others\."):
        check_electrons(records)
    check_electrons(records[:1])
