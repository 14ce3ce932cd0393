from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from ase_mlwave.data.convert import read_structure, record_from_atoms
from ase_mlwave.data.labels import LabelConventions, LabelUnits
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset
from ase_mlwave.data.summary import summary
from ase_mlwave.units import BOHR, HARTREE

FORCES = np.arange(9.0).reshape(3, 3)


def water(info: dict[str, Any] | None = None, **arrays: Any) -> Atoms:
    atoms = molecule("H2O", info=info or {})
    for name, array in arrays.items():
        atoms.new_array(name, np.array(array, dtype=float))
    return atoms


def read(tmp_path: Path, *frames: Atoms, **options: Any) -> Dataset:
    ase.io.write(tmp_path / "data.extxyz", frames, format="extxyz")
    return read_dataset(tmp_path / "data.extxyz", **options)


@pytest.mark.parametrize(
    ("energy", "forces"),
    [
        *[("energy", "forces"), ("free_energy", "forces"), ("REF_energy", "REF_forces"), ("dft_energy", "dft_forces")],
        *[("energy", "force"), ("Energy", "Forces"), ("TotEnergy", "force"), ("E", "F"), ("total_energy", "forces_qm")],
        *[("energy_eV", "dftForces"), ("potential_energy", "TRUE_FORCES"), ("E_tot", "ref_force"), ("TOTEN", "f")],
    ],
)
def test_usual_names_are_read(tmp_path: Path, energy: str, forces: str) -> None:
    dataset = read(tmp_path, water({energy: -7.0 * HARTREE}, **{forces: FORCES}))
    (record,) = dataset
    assert record.energy == pytest.approx(-7.0)
    np.testing.assert_allclose(record.forces, FORCES * BOHR / HARTREE, rtol=1e-7)  # type: ignore[arg-type]
    assert record.info == {}
    assert not any("not understood" in note for note in dataset.notes)


@pytest.mark.parametrize(
    ("info", "arrays", "left"),
    [
        ({"interaction_energy": -0.1}, {}, "entry interaction_energy"),
        ({"energy_hartree": -76.0}, {}, "entry energy_hartree"),
        ({}, {"gradient": FORCES}, "array gradient"),
        ({}, {"my_forces": FORCES}, "array my_forces"),
        ({}, {"force": [1.0, 2.0, 3.0]}, "array force"),
        ({}, {"hirshfeld": [1.0, 2.0, 3.0]}, "array hirshfeld"),
    ],
)
def test_what_is_not_understood_is_named(tmp_path: Path, info: Any, arrays: Any, left: str) -> None:
    dataset = read(tmp_path, water(info, **arrays), water())
    assert dataset[0].energy is None
    assert dataset[0].forces is None
    assert f"not understood as a label: {left} (1)" in summary(dataset)
    assert dataset[0].info == info


def test_options_name_the_labels(tmp_path: Path) -> None:
    frames = [water({"ccsd_e": -1.0, "energy": -2.0}, gradient=FORCES, forces=-2 * FORCES), water({"energy": -2.0})]
    dataset = read(tmp_path, *frames, energy_key="ccsd_e", forces_key="-gradient", units="Hartree", level="ccsd")
    assert [record.energy for record in dataset] == [-1.0, None]
    np.testing.assert_allclose(dataset[0].forces, -FORCES)  # type: ignore[arg-type]
    assert dataset.level == "ccsd"
    assert "energies from ccsd_e (1); forces from -gradient (1)" in summary(dataset)
    assert dataset[1].info == {}
    assert "not understood as a label: array forces (1), entry energy (2)" in summary(dataset)
    with pytest.raises(ValueError, match=r"no structure of .* has 'ccsd_E' \(energy_key\).*entry ccsd_e"):
        read(tmp_path, *frames, energy_key="ccsd_E")


@pytest.mark.parametrize(
    ("info", "arrays", "message"),
    [
        (
            {"energy": -1.0, "REF_energy": -2.0},
            {},
            "two kinds of energies, 'energy' and 'REF_energy', which differ by 1 eV",
        ),
        ({"dft_energy": -1.0, "total_energy": -1.5}, {}, "Say which is meant, energy_key='total_energy' "),
        ({}, {"forces": FORCES, "dft_forces": -FORCES}, "two kinds of forces.*--forces-key"),
    ],
)
def test_two_kinds_of_labels_are_refused(tmp_path: Path, info: Any, arrays: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"structure 1 of .*{message}"):
        read(tmp_path, water(), water(info, **arrays))


def test_one_label_written_twice_is_one(tmp_path: Path) -> None:
    (record,) = read(tmp_path, water({"energy": -1.0, "REF_energy": -1.000001}, forces=FORCES, ref_forces=FORCES))
    assert record.energy == pytest.approx(-1.0 / HARTREE)
    assert record.info == {}


def test_other_results_pass_through(tmp_path: Path) -> None:
    atoms = water({"note": "x"})
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, stress=np.arange(6.0), charges=[-0.6, 0.3, 0.3])
    dataset = read(tmp_path, atoms)
    assert dataset[0].info.keys() == {"note", "stress"}
    assert "array charges (1)" in summary(dataset)


def test_dipoles_are_those_of_ase(tmp_path: Path) -> None:
    atoms = water()
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, dipole=[0.0, 0.0, 1.8])
    (record,) = read(tmp_path, atoms)
    np.testing.assert_allclose(record.dipole, [0.0, 0.0, 1.8 / BOHR], rtol=1e-14)  # type: ignore[arg-type]
    assert record.info == {}
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, dipole=1.8)  # its length, whatever it means
    assert record_from_atoms(atoms).labels.keys() == {"energy"}


def test_dipoles_of_a_file_in_other_units_stay_entries() -> None:
    atoms = water()
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, dipole=[0.0, 0.0, 1.8])
    record = read_structure(atoms, LabelConventions(units=LabelUnits.parse("Hartree"))).record
    assert record.dipole is None
    np.testing.assert_array_equal(record.info["dipole"], [0.0, 0.0, 1.8])


def test_other_databases_are_read_alike(tmp_path: Path) -> None:
    ion = molecule("OH")
    ion.set_initial_magnetic_moments(None)
    with connect(tmp_path / "foreign.db") as db:
        db.write(ion, dft_energy=-2.0, total_charge=-1, level="pbe/def2-svp", data={"dft_forces": FORCES[:2], "a": 1})
    dataset = read_dataset(tmp_path / "foreign.db")
    (record,) = dataset
    assert (record.energy, record.charge) == (pytest.approx(-2.0 / HARTREE), -1)
    np.testing.assert_allclose(record.forces, FORCES[:2] * BOHR / HARTREE)  # type: ignore[arg-type]
    assert record.info == {"total_charge": -1, "a": 1}
    assert dataset.level == "pbe/def2-svp"


def test_atoms_in_memory_are_read_alike() -> None:
    record = record_from_atoms(water({"REF_energy": -HARTREE}, REF_forces=FORCES), smiles="O")
    assert record.energy == pytest.approx(-1.0)
    assert record.info == {"smiles": "O"}


def test_one_line_says_what_was_read(tmp_path: Path) -> None:
    frames = [water({"split": "train", "level": "hf/sto-3g", "energy": -1.0}) for _ in range(3)]
    frames += [molecule("H2O2", info={"split": "a\x1b[31m", "level": "hf/sto-3g", "charge": -2})]
    line = summary(read(tmp_path, *frames))
    assert line == (
        f"{tmp_path}/data.extxyz: 4 structures, 3 energies, 0 forces, 0 matrices; splits train 3, a\\x1b[31m 1; level "
        "hf/sto-3g; charge -2, 0 unpaired: 1; 2 are copies of others"
    )


def test_copies_in_several_splits_are_counted(tmp_path: Path) -> None:
    frames = [water({"split": name, "energy": energy}) for name, energy in (("train", -1.0), ("test", -2.0))]
    assert "1 are copies of others, 1 with other labels, 1 geometries are in several splits" in summary(
        read(tmp_path, *frames)
    )


def test_level_may_be_stated_where_it_is_not_named(tmp_path: Path) -> None:
    assert read(tmp_path, water(), level="pbe").level == "pbe"
    with pytest.raises(ValueError, match="is at 'hf', not at 'pbe'"):
        read(tmp_path, water({"level": "hf"}), level="pbe")
