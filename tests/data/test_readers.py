from __future__ import annotations

from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk, molecule
from ase.calculators.singlepoint import SinglePointCalculator
from ase.db import connect

from ase_mlwave.data.readers import read_dataset

EV_PER_HARTREE = 27.211386245988
ANGSTROM_PER_BOHR = 0.529177210903


def labelled_water(energy: float = -EV_PER_HARTREE) -> Atoms:
    atoms = molecule("H2O")
    atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=np.full((3, 3), 0.5))
    return atoms


@pytest.mark.parametrize("suffix", ["extxyz", "xyz"])
def test_extxyz(tmp_path: Path, suffix: str) -> None:
    ion = molecule("OH")
    ion.set_initial_magnetic_moments(None)
    ion.info = {"charge": -1, "split": "test", "level": "pbe/def2-svp"}
    first = labelled_water()
    first.info = {"split": "train", "level": "pbe/def2-svp"}
    path = tmp_path / f"molecules.{suffix}"
    ase.io.write(path, [first, ion], format="extxyz")
    dataset = read_dataset(path)
    assert dataset.level == "pbe/def2-svp"
    assert dataset.splits == {"train": 1, "test": 1}
    assert dataset[0].energy == pytest.approx(-1.0, rel=1e-8)
    np.testing.assert_allclose(dataset[0].positions, molecule("H2O").positions / ANGSTROM_PER_BOHR, atol=1e-7)
    expected = 0.5 * ANGSTROM_PER_BOHR / EV_PER_HARTREE
    np.testing.assert_allclose(dataset[0].forces, expected, rtol=1e-6)  # type: ignore[arg-type]
    assert (dataset[1].charge, dataset[1].energy, dataset[1].forces) == (-1, None, None)


def test_plain_xyz(tmp_path: Path) -> None:
    path = tmp_path / "plain.xyz"
    path.write_text("2\nsome comment\nH 0 0 0\nH 0 0 0.74\n")
    (record,) = read_dataset(path)
    assert record.formula == "H2"
    assert record.positions[1, 2] == pytest.approx(0.74 / ANGSTROM_PER_BOHR)


def test_mixed_levels_are_refused(tmp_path: Path) -> None:
    frames = [labelled_water(), labelled_water()]
    frames[0].info["level"], frames[1].info["level"] = "pbe/def2-svp", "hf/def2-svp"
    ase.io.write(tmp_path / "mixed.extxyz", frames)
    with pytest.raises(ValueError, match="mixes levels of theory"):
        read_dataset(tmp_path / "mixed.extxyz")


def test_periodic_structures_are_refused(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "crystal.extxyz", [labelled_water(), bulk("Cu")])
    with pytest.raises(ValueError, match=r"structure 1 of .*periodic"):
        read_dataset(tmp_path / "crystal.extxyz")


def test_malformed_xyz_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.xyz"
    path.write_text("3\ncomment\nH 0 0 0\n")
    with pytest.raises(ValueError, match="no well-formed XYZ file"):
        read_dataset(path)
    path.write_text("2\nheavy hydrogen\nD 0 0 0\nD 0 0 0.74\n")
    with pytest.raises(ValueError, match="XYZ file: 'D' is not the symbol of an element"):
        read_dataset(path)


def test_ase_database_of_someone_else(tmp_path: Path) -> None:
    path = tmp_path / "foreign.db"
    with connect(path) as db:
        db.write(labelled_water(), split="train")
        db.write(molecule("CH4"))
    dataset = read_dataset(path)
    assert dataset.level == ""
    assert [record.formula for record in dataset] == ["H2O", "CH4"]
    assert dataset[0].energy == pytest.approx(-1.0, rel=1e-8)
    assert dataset.splits == {"train": 1}


def test_unknown_kind_and_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"known kinds of data file are \.db, \.npz, \.extxyz, \.xyz"):
        read_dataset(tmp_path / "data.csv")
    with pytest.raises(FileNotFoundError, match="there is no data file"):
        read_dataset(tmp_path / "missing.npz")
