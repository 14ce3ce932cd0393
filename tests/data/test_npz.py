from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ase_mlwave.data import npz
from ase_mlwave.data.npz import level_from_description, unpack_upper_triangle
from ase_mlwave.data.readers import read_dataset

# One Hartree, Bohr and kcal/mol by CODATA 2018, independent of the package's constants.
EV_PER_HARTREE = 27.211386245988
ANGSTROM_PER_BOHR = 0.529177210903
EV_PER_KCAL_PER_MOL = 4184.0 / 6.02214076e23 / 1.602176634e-19
RNG = np.random.default_rng(0)


def symmetric(size: int) -> Any:
    matrix = RNG.normal(size=(size, size))
    return matrix + matrix.T


def save(path: Path, **arrays: Any) -> Path:
    np.savez(path, **arrays)
    return path


def test_upper_triangle_round_trip() -> None:
    matrix = symmetric(5)
    assert np.array_equal(unpack_upper_triangle(matrix[np.triu_indices(5)]), matrix)
    with pytest.raises(ValueError, match="no upper triangle"):
        unpack_upper_triangle(np.zeros(4))


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("RKS PBE/def2-SVP, density fitting (PySCF 2.14 ...)", "pbe/def2-svp"),
        ("UKS B3LYP/6-31G(2df,p) ...", "b3lyp/6-31g(2df"),
        ("RHF def2-TZVP, no density fitting", "hf/def2-tzvp"),
        ("level: ccsd(t)/cc-pvdz frozen_core=true; PySCF 2.14", "ccsd(t)/cc-pvdz frozen_core=true"),
    ],
)
def test_level_from_description(text: str, level: str) -> None:
    assert level_from_description(text).startswith(level)


def test_one_molecule_with_matrices(tmp_path: Path) -> None:
    matrices = [symmetric(2) for _ in range(3)]
    positions = RNG.normal(size=(3, 2, 3))
    forces = RNG.normal(size=(3, 2, 3))
    path = save(
        tmp_path / "h2.npz",
        Z=np.array([1, 1], dtype=np.int8),
        R=positions,
        E=np.array([-1.1, -1.2, -1.3]),
        F=forces,
        H_triu=np.array([m[np.triu_indices(2)] for m in matrices]),
        split=np.array(["train", "test", "train"]),
        meta=np.array("RKS PBE/def2-SVP, density fitting; R Angstrom, E Hartree"),
    )
    dataset = read_dataset(path)
    assert dataset.level == "pbe/def2-svp"
    assert dataset.splits == {"train": 2, "test": 1}
    record = dataset[2]
    assert record.energy == -1.3
    assert np.array_equal(record.forces, forces[2])  # type: ignore[arg-type]
    assert np.array_equal(record.matrices["hamiltonian"], matrices[2])
    np.testing.assert_allclose(record.positions, positions[2] / ANGSTROM_PER_BOHR, rtol=1e-8)


def flattened(n_atoms: list[int]) -> dict[str, Any]:
    return {
        "Z": np.ones(sum(n_atoms), dtype=np.int8),
        "R": np.arange(3.0 * sum(n_atoms)).reshape(-1, 3),
        "offsets": np.cumsum([0, *n_atoms]),
        "smiles": np.array(["[H][H]", "?qm7/1.xyz"]),
        "T": np.array([300, 0], dtype=np.int16),
    }


def test_many_molecules_with_matrices(tmp_path: Path) -> None:
    matrices = [symmetric(2), symmetric(3)]
    path = save(
        tmp_path / "many.npz",
        **flattened([2, 1]),
        E=np.array([-1.0, -0.5]),
        F=np.arange(9.0).reshape(3, 3),
        H_triu=np.concatenate([m[np.triu_indices(len(m))] for m in matrices]),
        h_offsets=np.array([0, 3, 9]),
        index=np.array([7, 9]),
        meta=np.array("RKS PBE/def2-SVP"),
    )
    first, second = read_dataset(path)
    assert first.info == {"smiles": "[H][H]", "temperature": 300.0, "index": 7}
    assert second.info == {"name": "qm7/1.xyz", "temperature": 0.0, "index": 9}
    assert len(second) == 1
    assert np.array_equal(second.forces, [[6.0, 7.0, 8.0]])  # type: ignore[arg-type]
    assert np.array_equal(second.matrices["hamiltonian"], matrices[1])


def test_geometries_without_labels(tmp_path: Path) -> None:
    dataset = read_dataset(save(tmp_path / "geometries.npz", **flattened([2, 1])))
    assert dataset.level == ""
    assert [len(record) for record in dataset] == [2, 1]
    assert all(record.energy is None and record.forces is None for record in dataset)
    assert [record.info["index"] for record in dataset] == [0, 1]


def test_rmd17_in_ev(tmp_path: Path) -> None:
    arrays = {"Z": [1, 1], "R": RNG.normal(size=(1, 2, 3)), "E_eV": [-EV_PER_HARTREE]}
    forces = np.full((1, 2, 3), EV_PER_HARTREE / ANGSTROM_PER_BOHR)
    dataset = read_dataset(save(tmp_path / "ethanol_train01.npz", **arrays, F_eV_per_A=forces))
    assert dataset.level == "pbe/def2-svp"
    assert dataset.splits == {"train": 1}
    assert dataset[0].energy == pytest.approx(-1.0, rel=1e-8)
    np.testing.assert_allclose(dataset[0].forces, 1.0, rtol=1e-8)  # type: ignore[arg-type]


def test_rmd17_as_published(tmp_path: Path) -> None:
    path = save(
        tmp_path / "rmd17_h2.npz",
        nuclear_charges=[1, 1],
        coords=RNG.normal(size=(1, 2, 3)),
        energies=[-EV_PER_HARTREE / EV_PER_KCAL_PER_MOL],
        forces=np.ones((1, 2, 3)),
    )
    (record,) = read_dataset(path)
    assert record.energy == pytest.approx(-1.0, rel=1e-7)
    expected = EV_PER_KCAL_PER_MOL * ANGSTROM_PER_BOHR / EV_PER_HARTREE
    np.testing.assert_allclose(record.forces, expected, rtol=1e-7)  # type: ignore[arg-type]


GENERIC = {
    "nuclear_charges": np.array([1, 1]),
    "coords": RNG.normal(size=(2, 2, 3)),
    "energies": np.array([-1.0, -2.0]),
    "forces": np.full((2, 2, 3), 0.5),
}


def test_generic_names_need_a_sign_of_their_units(tmp_path: Path) -> None:
    path = save(tmp_path / "mine.npz", **GENERIC)
    with pytest.raises(ValueError, match=r"units of its energies and forces are not known. Give units \(--units\)"):
        read_dataset(path)
    with pytest.raises(ValueError, match=r"units are 'Rydberg'. Known are: eV, kcal/mol"):
        read_dataset(path, units="Rydberg")
    published = save(tmp_path / "other.npz", **GENERIC, old_energies=GENERIC["energies"])
    assert read_dataset(published).level == "pbe/def2-svp"
    assert read_dataset(published)[0].energy == pytest.approx(-EV_PER_KCAL_PER_MOL / EV_PER_HARTREE, rel=1e-7)
    with pytest.raises(ValueError, match=r"units: .* says itself what it holds"):
        read_dataset(published, units="eV")


@pytest.mark.parametrize(
    ("units", "energy", "force"),
    [
        ("eV", 1 / EV_PER_HARTREE, ANGSTROM_PER_BOHR / EV_PER_HARTREE),
        ("KCAL/mol", EV_PER_KCAL_PER_MOL / EV_PER_HARTREE, EV_PER_KCAL_PER_MOL * ANGSTROM_PER_BOHR / EV_PER_HARTREE),
        ("hartree", 1.0, 1.0),
        ("Hartree/Angstrom", 1.0, ANGSTROM_PER_BOHR),
    ],
)
def test_units_and_level_may_be_stated(tmp_path: Path, units: str, energy: float, force: float) -> None:
    path = save(tmp_path / "mine.npz", **GENERIC)
    dataset = read_dataset(path, units=units, level="hf/sto-3g")
    assert dataset.level == "hf/sto-3g"
    assert dataset[1].energy == pytest.approx(-2 * energy, rel=1e-7)
    np.testing.assert_allclose(dataset[0].forces, 0.5 * force, rtol=1e-7)  # type: ignore[arg-type]


def test_charges_of_an_archive_are_read_as_everywhere(tmp_path: Path) -> None:
    def read(**arrays: Any) -> list[tuple[int, int]]:
        dataset = read_dataset(save(tmp_path / "ions.npz", **GENERIC, **arrays), units="eV")
        return [(record.charge, record.spin) for record in dataset]

    assert read(total_charge=-2) == [(-2, 0), (-2, 0)]
    assert read(charge=[0, 1], multiplicity=[1, 2]) == [(0, 0), (1, 1)]
    with pytest.raises(ValueError, match=r"ion_charge.* may mean a charge"):
        read(ion_charge=[0, 1])
    with pytest.raises(ValueError, match="differ in length"):
        read(charge=[0])


def test_names_that_give_units_give_no_level(tmp_path: Path) -> None:
    arrays = {"Z": [1, 1], "R": RNG.normal(size=(1, 2, 3)), "E_eV": [-1.0], "F_eV_per_A": np.zeros((1, 2, 3))}
    assert read_dataset(save(tmp_path / "hydrogen_train1.npz", **arrays)).level == ""
    assert read_dataset(save(tmp_path / "aspirin_test05.npz", **arrays)).level == "pbe/def2-svp"


def test_arrays_without_use_are_named(tmp_path: Path) -> None:
    dataset = read_dataset(save(tmp_path / "mine.npz", **GENERIC, dipoles=np.zeros((2, 3))), units="eV")
    assert dataset.notes == ("not read: arrays dipoles",)


@pytest.mark.parametrize(
    ("key", "per_hartree"),
    [("E_atomization_kcal_mol", EV_PER_HARTREE / EV_PER_KCAL_PER_MOL), ("E_atomization_eV", EV_PER_HARTREE)],
)
def test_padded_molecules_with_atomization_energies(tmp_path: Path, key: str, per_hartree: float) -> None:
    path = save(
        tmp_path / "padded.npz",
        Z=np.array([[8, 1, 1], [1, 1, 0]]),
        R=RNG.normal(size=(2, 3, 3)).astype(np.float32),
        n_atoms=np.array([3, 2]),
        **{key: np.array([-2.0, -1.0]) * per_hartree},
    )
    dataset = read_dataset(path)
    assert [record.formula for record in dataset] == ["H2O", "H2"]
    assert dataset[0].energy == pytest.approx(-2.0, rel=1e-7)
    assert "atomization" in dataset.level


def test_unknown_layout_lists_what_is_known(tmp_path: Path) -> None:
    path = save(tmp_path / "odd.npz", Z=[1], coordinates=[[0, 0, 0]])
    with pytest.raises(ValueError, match=r"has the arrays Z, coordinates(.|\n)*rMD17 split: E_eV, F_eV_per_A, R, Z"):
        read_dataset(path)


def test_arrays_of_different_length_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "short.npz", Z=[1, 1], R=np.zeros((3, 2, 3)), E_eV=[0.0], F_eV_per_A=np.zeros((3, 2, 3)))
    with pytest.raises(ValueError, match=r"not well formed.*differ in length: \{'R': 3, 'E_eV': 1, 'F_eV_per_A': 3\}"):
        read_dataset(path)


def test_pickled_objects_are_not_loaded(tmp_path: Path) -> None:
    path = tmp_path / "objects.npz"
    np.savez(path, Z=np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="no NumPy archive of plain arrays"):
        read_dataset(path)


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "text.npz"
    path.write_text("hello")
    with pytest.raises(ValueError, match="no NumPy archive"):
        read_dataset(path)


def test_kept_labels_of_small_molecules_are_read() -> None:
    path = Path(__file__).parents[2] / "datasets" / "chno_pbe_def2svp.npz"
    dataset = read_dataset(path)
    assert dataset.level == "pbe/def2-svp"
    assert len(dataset) > 700
    formulas = {name: {record.formula for record in dataset.split(name)} for name in ("train", "valid", "test")}
    assert not formulas["test"] & (formulas["train"] | formulas["valid"])
    for record in dataset:
        assert record.energy is not None
        assert record.forces is not None
        assert np.abs(record.forces.sum(axis=0)).max() < 5e-4  # Hartree/Bohr; the integration grid does not move


def test_archives_that_unpack_to_far_more_than_they_are_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.savez_compressed(tmp_path / "bomb.npz", Z=np.zeros(10**6))
    monkeypatch.setattr(npz, "_UNPACKED_BYTES", 10**6)
    with pytest.raises(ValueError, match="unpacks to 8000"):
        read_dataset(tmp_path / "bomb.npz")


def test_array_that_claims_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    """Its header says 8 TB; nothing of that follows."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        archive.writestr("Z.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + bytes(8))
    with pytest.raises(ValueError, match="no NumPy archive of plain arrays"):
        read_dataset(tmp_path / "x.npz")
