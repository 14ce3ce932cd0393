"""The comparison of functionals: one set of molecules for all, each trained once, measured on what it has not seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.calculators.calculator import InputError

from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import write_dataset
from benchmarks import functionals
from benchmarks.functionals import FIGURES, main, subset

TINY = {"dimension": 4, "readout_width": 4, "potential_width": 4, "grid_level": 0, "domain_environments": 0}
FIT = {"directions": 2, "orientations": 0, "penalties": [1e-6, 1e-3]}


def springs(n: int, split: str, seed: int) -> list[Record]:
    """Make distorted H2 and H2O with energies of springs to the first atom."""
    records = []
    for i in range(n):
        rng = np.random.default_rng([seed, i])
        numbers = np.array([[1, 1], [8, 1, 1]][i % 2])
        positions = 1.8 * np.eye(3)[: len(numbers)] + rng.normal(scale=0.1, size=(len(numbers), 3))
        vectors = positions[1:] - positions[0]
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        pull = 0.2 * (lengths - 2) * vectors / lengths
        forces = np.concatenate([pull.sum(0, keepdims=True), -pull])
        energy = 0.1 * float(np.square(lengths - 2).sum()) - len(numbers)
        records.append(Record(numbers, positions, energy=energy, forces=forces, info={"split": split}))
    return records


@pytest.fixture
def data() -> Dataset:
    return Dataset((*springs(6, "train", 0), *springs(2, "valid", 1)), "pbe/def2-svp", "springs")


def test_training_molecules_are_drawn_and_those_that_validate_stay(data: Dataset) -> None:
    chosen = subset(data, 3, 0)
    assert len(chosen.split("train")) == 3
    assert list(chosen.split("valid")) == list(data.split("valid"))
    assert subset(replace(data, records=data.records * 2), 3, 0) != subset(data, 3, 1)
    with pytest.raises(InputError, match="there are 6 training molecules with forces, 7 were asked for"):
        subset(data, 7, 0)


def test_every_functional_is_trained_once(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, settings, output = tmp_path / "springs.db", tmp_path / "settings.yaml", tmp_path / "output"
    write_dataset(file, data)
    common = {"loss": {"energy": 1.0}, "steps": 1, "readout": FIT}
    models = {"local": TINY, "gradients, wide": {**TINY, "gradients": 2}}
    models = {name: {**common, "model": model} for name, model in models.items()}
    settings.write_text(yaml.safe_dump({"train": 4, "models": models}, sort_keys=False), encoding="utf-8")
    words = [str(file), "--output", str(output), "--settings", str(settings)]
    monkeypatch.setattr(functionals, "_TURNS", 2)
    main(words)
    table = (output / "functionals.md").read_text(encoding="utf-8")
    lines = [line.split("|") for line in table.splitlines() if line.startswith("|")]
    assert [line[1].strip() for line in lines[2:]] == list(models)
    assert all(float(value) > 0 for line in lines[2:] for value in line[2 : 2 + len(FIGURES)])
    monkeypatch.setattr(functionals, "train", None)  # what is there is not trained again
    main(words)
    assert (output / "functionals.md").read_text(encoding="utf-8") == table
    assert "gradients, wide" in capsys.readouterr().out
