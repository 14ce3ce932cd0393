from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.packed import write_packed
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.quantum.basis import build_mole

DESCRIPTION = "RKS PBE/def2-SVP, density fitting"


def labelled(name: str, *, forces: bool) -> Record:
    """Give a molecule a matrix as large as a Kohn-Sham matrix, without the cost of one."""
    record = record_from_atoms(molecule(name), name=name, split="train")
    mole = build_mole(record.numbers, record.positions, "def2-svp")
    noise = np.random.default_rng(1).normal(size=(mole.nao, mole.nao), scale=0.02)
    matrix = mole.intor("int1e_kin") - 2.0 * mole.intor("int1e_ovlp") + noise + noise.T
    pulls = np.random.default_rng(2).normal(size=(len(record), 3)) if forces else None
    return Record(
        record.numbers,
        record.positions,
        energy=-76.25,
        forces=pulls,
        matrices={"hamiltonian": matrix},
        info=dict(record.info),
    )


@pytest.fixture
def records() -> list[Record]:
    return [labelled("H2O", forces=True), labelled("CH3OH", forces=False)]


def test_packed_matrices_return_to_half_a_microhartree(records: list[Record], tmp_path: Path) -> None:
    records[0] = replace(records[0], dipole=np.array([0.0, 0.1, 0.7]))
    write_packed(tmp_path / "part.npz", records, "def2-svp", DESCRIPTION)
    dataset = read_dataset(tmp_path / "part.npz")
    assert dataset.notes == ()
    np.testing.assert_array_equal(dataset[0].dipole, [0.0, 0.1, 0.7])  # type: ignore[arg-type]
    assert dataset[1].dipole is None
    assert dataset.level == "pbe/def2-svp"
    for before, after in zip(records, dataset, strict=True):
        np.testing.assert_allclose(after.matrices["hamiltonian"], before.matrices["hamiltonian"], rtol=0, atol=5.1e-7)
        np.testing.assert_allclose(after.positions, before.positions, rtol=1e-14)
        assert after.energy == before.energy
        assert (after.forces is None) == (before.forces is None)
        assert after.info == before.info


def test_another_physical_zero_is_noticed(records: list[Record], tmp_path: Path) -> None:
    write_packed(tmp_path / "part.npz", records, "def2-svp", DESCRIPTION)
    with np.load(tmp_path / "part.npz") as archive:
        arrays = dict(archive)
    arrays["R"][0, 0] += 0.01
    np.savez(tmp_path / "other.npz", **arrays)
    with pytest.raises(ValueError, match=r"molecule 0 of .* does not add up"):
        read_dataset(tmp_path / "other.npz")
