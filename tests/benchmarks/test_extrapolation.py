"""The comparison of models outside the sizes they learned: its parts, its rival, its table, and its refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.calculators.calculator import InputError

from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import write_dataset
from benchmarks import extrapolation
from benchmarks.extrapolation import AtomSum, Result, divide, energies, fit_schnet, main, rows

#: Energies of the atoms of the made-up molecules, Hartree.
ATOMS = {1: -0.1, 6: -0.3}


def chain(size: int, seed: int) -> Record:
    """Make a zigzag of carbons and an even number of hydrogens: a sum over atoms and over neighbours' distances."""
    generator, hydrogens = np.random.default_rng([size, seed]), 2 * (size // 4)
    numbers = generator.permutation([6] * (size - hydrogens) + [1] * hydrogens)
    zigzag = np.array([[2.2 * i, 1.0 * (i % 2), 0.0] for i in range(size)])
    positions = zigzag + generator.normal(scale=0.1, size=(size, 3))
    bonds = np.linalg.norm(np.diff(positions, axis=0), axis=1)
    energy = sum(ATOMS[z] for z in numbers.tolist()) + 0.05 * (bonds - 2.4).sum()
    return Record(numbers, positions, energy=energy)


def chains(sizes: range = range(4, 9), each: int = 20) -> Dataset:
    return Dataset(tuple(chain(n, k) for n in sizes for k in range(each)), "pbe/def2-svp", "folder/chains.extxyz")


# --- molecules --------------------------------------------------------------------------------------------------------


def test_parts_are_disjoint_and_sorted_by_size() -> None:
    doubled = chains()
    parts = divide(replace(doubled, records=doubled.records * 2), 6, 40, 15)
    hashes = [{record.geometry_hash() for record in part} for part in parts.values()]
    assert {name: len(part) for name, part in parts.items()} == {"train": 40, "valid": 3, "test": 6, "large": 30}
    assert sum(map(len, hashes)) == len(set().union(*hashes)) == 79
    assert max(len(record) for name in ("train", "valid", "test") for record in parts[name]) == 6
    assert [len(record) for record in parts["large"]] == [7] * 15 + [8] * 15


def test_held_out_molecules_do_not_depend_on_the_number_of_training_molecules() -> None:
    data = chains()
    few, many = (divide(data, 6, n, 5) for n in (10, 50))
    assert few["train"] == many["train"][:10]
    assert (few["test"], few["large"]) == (many["test"], many["large"])
    assert divide(data, 6, 10, 5, seed=4)["test"] != few["test"]


def test_molecules_with_unlearned_elements_are_left_out() -> None:
    odd = Record([6, 1, 1, 1, 1, 1, 9], np.arange(21.0).reshape(7, 3), energy=-1.0)
    data = chains()
    assert len(divide(replace(data, records=(*data.records, odd)), 6, 40, 30)["large"]) == 40


@pytest.mark.parametrize(("bound", "n_train"), [(8, 10), (3, 10), (6, 1000)])
def test_too_few_molecules_are_refused(bound: int, n_train: int) -> None:
    with pytest.raises(InputError, match=rf"too few molecules below or above {bound} atoms for {n_train}"):
        divide(chains(), bound, n_train, 30)


# --- models -----------------------------------------------------------------------------------------------------------


def test_references_of_atoms_are_recovered() -> None:
    records = [Record(r.numbers, r.positions, energy=sum(ATOMS[z] for z in r.numbers.tolist())) for r in chains()]
    np.testing.assert_allclose(AtomSum(records).references, [-0.1, -0.3], atol=1e-12)


def test_schnet_learns_and_predicts_alike_alone_and_in_a_batch() -> None:
    pytest.importorskip("torch_geometric", exc_type=ImportError)
    parts = divide(chains(), 6, 40, 30)
    settings = {"features": 16, "interactions": 2, "cutoff": 4.0, "learning_rate": 5e-3, "steps": 150}
    predict, _ = fit_schnet(parts["train"], settings)
    fitted, truth = predict(parts["test"]), energies(parts["test"])
    np.testing.assert_allclose(fitted, np.concatenate([predict([record]) for record in parts["test"]]), atol=1e-6)
    assert np.abs(fitted - truth).mean() < 0.5 * np.abs(AtomSum(parts["train"])(parts["test"]) - truth).mean()


# --- results ----------------------------------------------------------------------------------------------------------


def test_table_has_means_by_size() -> None:
    parts = {"test": [chain(4, 0)], "large": [chain(5, 0), chain(5, 1), chain(6, 0)]}
    result = Result(1500, 12.4, 7, np.array([2.0]), np.array([1.0, 3.0, 5.0]))
    assert [row[2] for row in rows(parts, 4, {"a": result})] == (
        ["a", "2.00", "2.00", "5.00", "3.00", "12", "1,500 of 16", "7"]
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "chains.extxyz", chains())
    return tmp_path / "chains.extxyz"


@pytest.mark.slow
def test_whole_benchmark_from_the_command_line(file: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch_geometric", exc_type=ImportError)
    settings = yaml.safe_load(Path(extrapolation.__file__).with_suffix(".yaml").read_text())
    settings["molecules"] = {"bound": 6, "n_train": 40, "n_per_size": 30}
    small = {"model": {"dimension": 8, "potential_width": 4, "grid_level": 0}, "grid_level": 0}
    for model, own in settings["models"].items():
        own.update(steps=10) if model != "sum over atoms" else None
        own.update(small) if model.startswith("QDF") else None
    (tmp_path / "settings.yaml").write_text(yaml.safe_dump(settings))
    main([str(file), "--output", str(tmp_path / "out"), "--settings", str(tmp_path / "settings.yaml")])
    table = (tmp_path / "out" / "extrapolation.md").read_text()
    assert "| atoms | molecules | QDF | QDF without Hohenberg-Kohn term | SchNet | sum over atoms |" in table
    assert table.count("\n") == 11
    assert (tmp_path / "out" / "extrapolation.png").stat().st_size > 10_000


def test_too_small_a_file_is_refused_before_any_work(file: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="too few molecules"):
        main([str(file), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
