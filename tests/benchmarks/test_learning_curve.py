"""Learning curves: errors that are known, laws that are found again, smaller sets within larger ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase.calculators.calculator import InputError

from ase_mlwave import Dataset, PhiSNetCalculator, Record, write_dataset
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.quantum.density import orbitals
from ase_mlwave.units import HARTREE
from benchmarks import learning_curve
from benchmarks.learning_curve import FIGURES, errors_of, law, main, subset

SETTINGS = """
data: none
output: none
model: {elements: [H, O], level: pbe/def2-svp, basis: def2-svp, features: 4, n_modules: 1, hidden: 8}
loss: {hamiltonian: 1.0}
steps: 2
batch_size: 2
steps_per_epoch: 1
"""


def waters(splits: str) -> list[Record]:
    """Draw waters without labels; ``splits`` are the first letters of their splits."""
    names = {"t": "train", "v": "valid", "x": "test"}
    rng, start = np.random.default_rng(0), np.array([(0, 0, 0), (1.81, 0, 0), (-0.45, 1.75, 0)])
    return [
        Record(np.array([8, 1, 1]), start + 0.05 * rng.normal(size=(3, 3)), info={"split": names[letter]})
        for letter in splits
    ]


@pytest.fixture(scope="module")
def calculator() -> PhiSNetCalculator:
    return PhiSNetCalculator("phisnet-water")


def labelled(record: Record, hamiltonian: Any) -> Record:
    return Record(
        record.numbers, record.positions, energy=-76.0, matrices={"hamiltonian": hamiltonian}, info=dict(record.info)
    )


def file_of(path: Path, splits: str, calculator: PhiSNetCalculator) -> Path:
    """Write waters whose matrices are the model's, but for a shift of all levels by 1 mHa."""
    records = []
    for record in waters(splits):
        atoms = atoms_from_record(record)
        records.append(labelled(record, calculator.hamiltonian(atoms) + 1e-3 * calculator.overlap(atoms)))
    write_dataset(path, Dataset(tuple(records), "pbe/def2-svp", "made up"))
    return path


def test_errors_of_orbitals_are_found_again(calculator: PhiSNetCalculator) -> None:
    (record,) = waters("v")
    atoms = atoms_from_record(record)
    H, S = calculator.hamiltonian(atoms), calculator.overlap(atoms)
    C, eps = (each.numpy() for each in orbitals(torch.from_numpy(H), torch.from_numpy(S)))
    mixed = 1e-5 * np.random.default_rng(0).normal(size=(5, len(S) - 5))
    mixing = S @ C[:, :5] @ mixed @ C[:, 5:].T @ S
    change = mixing + mixing.T + 1e-4 * S
    found = errors_of(calculator, [labelled(record, H - change)], lambda done: None)
    energy = 2e3 * HARTREE * (mixed**2 / (eps[5:] - eps[:5, None])).sum()
    expected = (1e6 * np.abs(change).mean(), 1e6 * np.sqrt(np.mean(mixed**2)), energy, 0.1)
    assert found == pytest.approx(dict(zip(FIGURES, expected, strict=True)), rel=2e-3)


def test_a_law_is_found_again_and_a_bent_curve_widens_what_is_predicted() -> None:
    numbers = np.array([250, 500, 1000, 2000])
    straight = law(numbers, 7.0 * numbers**-0.4, [10000])
    assert straight["exponent"] == pytest.approx(-0.4)
    assert straight["factor"] == pytest.approx(7.0)
    assert straight["predicted"][10000] == pytest.approx([7.0 * 10000**-0.4] * 2)
    bent = law(numbers, [8.0, 4.0, 2.0, 2.0], [10000])
    low, high = bent["predicted"][10000]
    assert low < 1.0
    assert high == pytest.approx(2.0)
    assert bent["exponent_of_the_last_two"] == pytest.approx(0.0)


def test_smaller_sets_are_within_larger_ones_and_no_test_molecule_is_learned_from() -> None:
    records = waters("tttttvvxx")
    data = Dataset(tuple(records), "", "drawn")
    few, many = ({id(one) for one in subset(data, n, seed=1)} for n in (2, 4))
    assert few < many
    assert {id(one) for one in records[5:7]} < few
    assert not many & {id(one) for one in records[7:]}
    assert len(many) == 6
    with pytest.raises(InputError, match="there are 5 training geometries with matrices, 6 were asked for"):
        subset(data, 6, seed=1)


def test_models_that_are_there_are_measured_once(
    tmp_path: Path, calculator: PhiSNetCalculator, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = file_of(tmp_path / "data.db", "tvv", calculator)
    words = ["--data", str(data), "--models", "100=phisnet-water", "10=phisnet-water", "--output", str(tmp_path)]
    found = main(words)
    assert [one["geometries"] for one in found["curve"]] == [10, 100]
    assert found["curve"][0]["occupied_energies_mae_mHa"] == pytest.approx(1.0, rel=0.01)
    assert found["laws"]["hamiltonian_mae_uHa"]["exponent"] == pytest.approx(0.0, abs=1e-6)
    assert (tmp_path / "learning_curve.md").read_text().count("\n") == 7
    assert (tmp_path / "learning_curve.png").stat().st_size > 1000
    monkeypatch.setattr(learning_curve, "errors_of", None)
    assert main(words)["curve"] == found["curve"]


@pytest.mark.slow
def test_one_command_trains_measures_and_counts_cycles(tmp_path: Path, calculator: PhiSNetCalculator) -> None:
    data, settings = file_of(tmp_path / "data.db", "ttttv", calculator), tmp_path / "settings.yaml"
    settings.write_text(SETTINGS, encoding="utf-8")
    words = ["--data", str(data), "--settings", str(settings), "--output", str(tmp_path / "runs"), "--cycles", "1"]
    main([*words, "--geometries", "2"])
    weights = tmp_path / "runs" / "2" / "model" / "model.safetensors"
    before = weights.read_bytes()
    found = main([*words, "--geometries", "2", "4", "--set", "seed=1"])
    assert weights.read_bytes() == before
    assert [one["geometries"] for one in found["curve"]] == [2, 4]
    assert all(one["scf_cycles_model_mean"] > 1 for one in found["curve"])
    assert "| PySCF's guess |" in (tmp_path / "runs" / "learning_curve.md").read_text()
