"""The comparison of models outside the sizes they learned: its parts, its rival, its table, and its refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ase import Atoms
from ase.calculators.calculator import InputError

from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.models.training import corrections
from benchmarks.extrapolation import __main__ as program
from benchmarks.extrapolation.__main__ import by_molecule, main, measure
from benchmarks.extrapolation.models import AtomSum, beyond, fit_qdf, fit_schnet
from benchmarks.extrapolation.molecules import Parts, conformers_of, divide, divide_by_split, energies, parts_of
from benchmarks.extrapolation.report import Result, conformer_rows, rows
from tests.benchmarks.test_cycles import conformer_file

SETTINGS = Path(program.__file__).parent
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


def split_chains() -> Dataset:
    """Make chains of which those of four atoms are split by seed, and all longer ones are for training."""
    names = {0: "valid", 1: "test"}
    records = [
        chain(n, k).with_info(split=names.get(k, "train") if n == 4 else "train") for n in (4, 5) for k in range(9)
    ]
    return Dataset(tuple(records), "pbe/def2-svp", "folder/chains.extxyz")


def test_splits_of_a_file_are_kept_and_larger_molecules_are_of_any() -> None:
    data = split_chains()
    parts = divide_by_split(data, 4, 7, 30)
    assert {name: len(part) for name, part in parts.items()} == {"train": 7, "valid": 1, "test": 1, "large": 9}
    assert all(record.info["split"] == name for name in ("train", "valid", "test") for record in parts[name])
    fewer = divide_by_split(data, 4, 3, 30)
    assert fewer["train"] == parts["train"][:3]
    with pytest.raises(InputError, match="too few molecules below or above 4 atoms for 8"):
        divide_by_split(data, 4, 8, 30)


def test_conformers_are_of_the_sizes_asked_for(tmp_path: Path) -> None:
    chains_of = [[atoms_from_record(chain(n, k)) for k in range(each)] for n, each in ((4, 3), (6, 5), (7, 1), (9, 2))]
    file = conformer_file(tmp_path / "set.npz", chains_of)
    found = conformers_of(file, (5, 8), 3)
    assert [record.info["molecule"] for record in found] == ["molecule 1"] * 3
    np.testing.assert_allclose(energies(found), [3.0, 5.0, 7.0])  # first, middle and last; Hartree that count up
    with pytest.raises(InputError, match="no molecule of 7 to 8 atoms with two conformers"):
        conformers_of(file, (7, 8), 3)


def test_conformers_need_energies_at_their_level_and_settings(tmp_path: Path) -> None:
    file = conformer_file(tmp_path / "set.npz", [[atoms_from_record(chain(6, k)) for k in range(2)]])
    molecules: dict[str, Any] = {"by_split": True, "bound": 4, "n_train": 7, "n_per_size": 30}
    with pytest.raises(InputError, match="which conformers"):
        parts_of(split_chains(), molecules, file)
    molecules["conformers"] = {"atoms": [5, 8], "each": 2}
    with pytest.raises(InputError, match="at pbe0, conformers have them at pbe/def2-svp"):
        parts_of(replace(split_chains(), level="pbe0"), molecules, file)
    assert len(parts_of(split_chains(), molecules, file)["conformers"]) == 2


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


def test_sum_over_atoms_is_exact_where_a_base_level_has_the_rest() -> None:
    """Labels beyond a base are what is learned; a base that lacks a constant an atom leaves no error."""
    parts: Parts = divide(chains(), 6, 40, 30)
    rest = AtomSum(parts["train"])
    learned = beyond(parts, lambda records: energies(records) - 3 * rest(records))
    result = measure("GFN2-xTB", {}, learned, "pbe/def2-svp", Path("nowhere"))
    assert max(*result.test, *result.large) < 1e-6
    assert np.mean(measure("sum over atoms", {}, parts, "pbe/def2-svp", Path("nowhere")).large) > 1.0


def test_field_beyond_a_base_level_learns_labels_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The base is off the labels already: it is not computed again, and the network has no wall of its own."""
    pytest.importorskip("tblite", exc_type=ImportError)

    def never(*_: Any) -> None:
        raise AssertionError("the base level was computed by the training")

    monkeypatch.setattr(corrections, "base_labels", never)
    parts = divide(chains(range(4, 6), 25), 4, 20, 5)
    model = {"dimension": 8, "potential_width": 4, "grid_level": 0, "readout_width": 8}
    settings = {"model": model, "grid_level": 0, "steps": 1, "loss": {"forces": 0.0}, "readout": {"directions": 0}}
    learned = {name: [replace(r, energy=AtomSum(part)([r])[0]) for r in part] for name, part in parts.items()}
    predict, _ = fit_qdf(learned, "pbe/def2-svp", {**settings, "base": "gfn2-xtb"}, tmp_path / "field")
    np.testing.assert_allclose(predict(learned["train"]), energies(learned["train"]), atol=2e-3)
    assert '"base": "gfn2-xtb"' in (tmp_path / "field" / "model" / "config.json").read_text()


# --- results ----------------------------------------------------------------------------------------------------------


def test_table_has_means_by_size() -> None:
    parts = {"test": [chain(4, 0)], "large": [chain(5, 0), chain(5, 1), chain(6, 0)]}
    result = Result(1500, 12.4, 7, [2.0], [1.0, 3.0, 5.0], {})
    assert [row[2] for row in rows(parts, 4, {"a": result})] == (
        ["a", "2.00", "2.00", "5.00", "3.00", "12", "1,500 of 16", "7"]
    )


def conformer(name: str, size: int) -> Record:
    return Record([1] * size, np.arange(3.0 * size).reshape(size, 3), info={"molecule": name})


def test_conformers_err_about_the_mean_of_their_molecule() -> None:
    parts = {"conformers": [conformer(name, 21) for name in "abab"]}
    assert by_molecule(parts, np.array([1.0, 7.0, 3.0, 7.0])) == {"a": 1.0, "b": 0.0}


def test_table_of_conformers_counts_every_molecule_once() -> None:
    parts = {
        "conformers": [conformer(name, size) for name, size in (("a", 39), ("b", 31), ("c", 20)) for _ in range(2)]
    }
    result = Result(0, 0.0, 2, [], [], {"a": 1.0, "b": 2.0, "c": 6.0})
    assert conformer_rows(parts, {"x": result})[1:] == [
        ["20", "1", "6.00"],
        ["31 to 39", "2", "1.50"],
        ["all: mean", "3", "3.00"],
        ["median", "3", "2.00"],
    ]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "chains.extxyz", chains())
    return tmp_path / "chains.extxyz"


def shrunk(name: str, folder: Path, molecules: dict[str, Any], only: str = "") -> list[str]:
    """Write a file of settings with little to do; the words that ask for it."""
    settings = yaml.safe_load((SETTINGS / name).read_text())
    settings["molecules"] = molecules
    settings["models"] = {model: own for model, own in settings["models"].items() if only in model}
    small = {"model": {"dimension": 8, "potential_width": 4, "grid_level": 0}, "grid_level": 0}
    for model, own in settings["models"].items():
        own.update(steps=10) if "steps" in own else None
        own.update(small) if model.startswith("QDF") else None
    (folder / name).write_text(yaml.safe_dump(settings, sort_keys=False))
    return ["--settings", str(folder / name), "--output", str(folder / "out")]


def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Put a cheap function in place of GFN2-xTB; return how many molecules it is asked for, as they come."""
    asked: list[int] = []

    def level(records: Any) -> Any:
        asked.append(len(records))
        return np.array([-0.1 * len(record) for record in records])

    monkeypatch.setattr(program, "energies_at", lambda _: level)
    return asked


@pytest.mark.slow
def test_whole_benchmark_from_the_command_line(file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch_geometric", exc_type=ImportError)
    asked = stand_in(monkeypatch)
    words = [str(file), *shrunk("qm7.yaml", tmp_path, {"bound": 6, "n_train": 40, "n_per_size": 30})]
    main(words)
    table = (tmp_path / "out" / "chains.md").read_text()
    assert "| atoms | molecules | QDF | QDF without Hohenberg-Kohn term | SchNet | QDF + GFN2-xTB |" in table
    assert table.count("\n") == 11
    assert sum(asked) == 40 + 3 + 6 + 40  # every molecule once, for all models
    assert (tmp_path / "out" / "chains.png").stat().st_size > 10_000


def test_second_run_with_conformers_measures_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tblite", exc_type=ImportError)
    asked = stand_in(monkeypatch)
    write_dataset(tmp_path / "chains.extxyz", split_chains())
    of_molecules: list[list[Atoms]] = [[atoms_from_record(chain(n, k)) for k in range(3)] for n in (6, 7)]
    conformers = conformer_file(tmp_path / "set.npz", of_molecules)
    molecules = {"by_split": True, "bound": 4, "n_train": 7, "n_per_size": 5}
    molecules["conformers"] = {"atoms": [5, 8], "each": 2}
    alone = shrunk("chno.yaml", tmp_path, molecules)
    settings = yaml.safe_load((tmp_path / "chno.yaml").read_text())
    settings["models"] = {"sum over atoms": {}, "GFN2-xTB": {"base": "gfn2-xtb"}}
    (tmp_path / "chno.yaml").write_text(yaml.safe_dump(settings))
    words = [str(tmp_path / "chains.extxyz"), "--conformers", str(conformers), *alone]
    main(words)
    first = (tmp_path / "out" / "chains.md").read_text()
    assert "4 conformers: mean absolute error about each molecule's mean, kcal/mol." in first
    assert sum(asked) == 7 + 1 + 1 + 5 + 4

    def never(*_: Any) -> None:
        raise AssertionError("a model was measured again")

    monkeypatch.setattr(program, "measure", never)
    main(words)
    assert (tmp_path / "out" / "chains.md").read_text() == first
    assert sum(asked) == 7 + 1 + 1 + 5 + 4


def test_too_small_a_file_is_refused_before_any_work(file: Path, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="too few molecules"):
        main([str(file), "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()
