"""Fine-tuning on single molecules: splits that do not leak, labels of the level, a study that goes on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.calculator import InputError, SCFError

from ase_mlwave.calculators.phisnet import PhiSNetCalculator
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.reference.levels import LevelOfTheory, PyscfLevel
from benchmarks.fine_tuning import molecules
from benchmarks.fine_tuning.__main__ import main
from benchmarks.fine_tuning.molecules import WarmStarted, labelled, read_molecule
from benchmarks.fine_tuning.report import COLUMNS, rows

SETTINGS = """
data: none
output: none
loss: {hamiltonian: 1.0, density: 0.5, alignment: 0.3}
optimiser: {learning_rate: 1.0e-6}
steps: 2
batch_size: 2
steps_per_epoch: 1
"""


def waters(count: int, splits: str = "") -> tuple[Record, ...]:
    """Draw waters near equilibrium; ``splits`` are the first letters of their splits."""
    names = {letter: {"split": name} for letter, name in zip("tvx", ("train", "valid", "test"), strict=True)}
    rng = np.random.default_rng(0)
    start = np.array([(0, 0, 0), (1.81, 0, 0), (-0.45, 1.75, 0)])
    places = start + 0.1 * rng.normal(size=(count, 3, 3))
    infos = [names[letter] for letter in splits] or [{}] * count
    return tuple(Record(np.array([8, 1, 1]), place, info=info) for place, info in zip(places, infos, strict=True))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "waters.db", Dataset(waters(8), "", "drawn"))
    return tmp_path / "waters.db"


def hashes(records: Sequence[Record]) -> list[bytes]:
    return [record.positions.round(6).tobytes() for record in records]


def test_no_geometry_is_in_two_splits_and_more_geometries_begin_with_the_same(file: Path) -> None:
    few = read_molecule([file], {"train": 2, "valid": 1, "test": 2})
    many = read_molecule([file, file], {"train": 5, "valid": 1, "test": 2})
    assert len({one for part in many.values() for one in hashes(part)}) == 8
    for split, part in few.items():
        assert hashes(part) == hashes(many[split])[: len(part)]
        assert {record.info["split"] for record in part} == {split}


def test_splits_of_the_file_are_kept(tmp_path: Path) -> None:
    records = waters(6, "ttvvxx")
    write_dataset(tmp_path / "divided.db", Dataset(records, "", "drawn"))
    parts = read_molecule([tmp_path / "divided.db"], {"train": 2, "valid": 2, "test": 1})
    found = [hashes(parts[name]) for name in ("train", "valid", "test")]
    assert found == [hashes(some) for some in (records[:2], records[2:4], records[4:5])]


def test_what_a_file_lacks_is_left_out_and_two_molecules_are_refused(file: Path, tmp_path: Path) -> None:
    parts = read_molecule([file], {"train": 6, "valid": 1, "test": 2})
    assert {split: len(part) for split, part in parts.items()} == {"test": 2, "valid": 1, "train": 5}
    other = Record(np.array([1, 1]), np.array([(0, 0, 0), (0, 0, 1.4)]))
    write_dataset(tmp_path / "two.db", Dataset((*waters(1), other), "", "drawn"))
    with pytest.raises(InputError, match="must hold one molecule, has H2, H2O"):
        read_molecule([tmp_path / "two.db"], {"train": 1, "valid": 0, "test": 0})


def test_labels_are_those_of_the_level(tmp_path: Path) -> None:
    level = LevelOfTheory.parse("pbe/def2-svp grid_level=0")
    assert isinstance(level, PyscfLevel)
    first, second = waters(2)
    parts = {"train": [first], "test": [second.with_info(split="test")]}
    made = labelled(parts, tmp_path / "new" / "labels.db", level, PhiSNetCalculator("phisnet-water"))
    assert made["train"][0].forces is None
    found, expected = made["test"][0], level.label(second)
    assert found.energy == pytest.approx(expected.energy, abs=1e-8)
    for one, other in (
        (found.matrices["hamiltonian"], expected.matrices["hamiltonian"]),
        (found.forces, expected.forces),
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_what_does_not_converge_from_the_model_is_labelled_as_the_level_does(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SCFError

    monkeypatch.setattr(molecules, "converge", fail)
    level = LevelOfTheory.parse("pbe/sto-3g grid_level=0")
    assert isinstance(level, PyscfLevel)
    found = WarmStarted(level, PhiSNetCalculator("phisnet-water")).label(waters(1)[0])
    assert found.energy == level.label(waters(1)[0]).energy


def test_published_figures_stand_beside_ours() -> None:
    ours = {"geometries": 25.0, "test": 12.0, "hamiltonian_mae_uHa": 123.4, "functional_energy_mae_meV": 0.12}
    general = {**dict.fromkeys(ours, 1.0), "geometries": 0.0, "scf_cycles_minao_mean": 9.5}
    table = rows({"water": [general, ours], "mine": [ours]})
    assert all(len(line) == len(COLUMNS) + 2 for line in table)
    by_name = {(name, learned): cells for name, learned, *cells in table}
    assert by_name["water", "25"][:5] == ["12", "123", "", "", "0.12"]
    assert by_name["water", "QHNet, 500"][:3] == ["", "11", "34"]
    assert "9.5" in by_name["water", "PySCF's guess"]
    assert sum(name == "mine" for name, _ in by_name) == 1


@pytest.mark.slow
def test_a_second_call_goes_on(file: Path, tmp_path: Path) -> None:
    settings = tmp_path / "settings.yaml"
    settings.write_text(SETTINGS, encoding="utf-8")
    words = ["--molecules", f"water={file}", "--model", "phisnet-water", "--settings", str(settings), "--test", "2"]
    words += ["--valid", "2", "--scf", "1", "--output", str(tmp_path / "runs")]
    main([*words, "--geometries", "2"])
    models = list(tmp_path.glob("runs/water/*/2/model/model.safetensors"))
    before = models[0].read_bytes()
    main([*words, "--geometries", "2", "4"])
    assert models[0].read_bytes() == before
    assert len(list(tmp_path.glob("runs/water/*/errors_*.json"))) == 3
    table = (tmp_path / "runs" / "fine_tuning.md").read_text(encoding="utf-8")
    assert all(words in table for words in ("| others |", "| 2 |", "| 4 |", "QHNet, 500"))
    assert (tmp_path / "runs" / "fine_tuning.png").stat().st_size > 1000
