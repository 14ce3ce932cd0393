"""Molecules of unseen groups: what is asked for, what is written, and how large errors and warnings are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.reference.molecules import starting_geometries
from benchmarks import unseen
from benchmarks.unseen import Prediction, main, named, summary

ROOT = Path(__file__).parents[2]


def test_shipped_labels_are_of_the_molecules_that_are_asked_for() -> None:
    data = read_dataset(ROOT / "datasets" / "unseen_groups.extxyz")
    asked = {name.partition(":")[2]: split for name, split in named().items()}
    assert {record.info["name"]: record.info["split"] for record in data} == asked
    assert all(record.energy is not None and record.forces is not None for record in data)
    for record in data:
        text = next(name for name in named() if name.endswith(f":{record.info['name']}"))
        assert starting_geometries(text)[0].formula == record.formula
        assert set(record.numbers.tolist()) <= {1, 6, 7, 8}


def test_warnings_are_counted_where_errors_are_large() -> None:
    energies = {"": (0.1, -0.7), "warned": (-0.6, 0.2), "refused": (np.nan,)}
    found = [Prediction("x", "test", e, 0.02, verdict) for verdict, some in energies.items() for e in some]
    (row,) = summary("model", [*found])
    assert row == ["model, test", "5", "nan", "20", "3", "2", "1", "1 of 2"]


def test_a_model_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    some = ["ase:N2", "smiles:O=C=O", "ase:H2"]
    monkeypatch.setattr(unseen, "named", lambda: dict(zip(some, ["valid", "test", "valid"], strict=True)))
    file, everyday = tmp_path / "some.extxyz", ROOT / "datasets" / "water_ccsdt_ccpvdz.npz"
    main(["references", str(file), "--level", "gfn2-xtb"])
    main(["run", "amons-chno", "--data", str(file), "--everyday", str(everyday), "--output", str(tmp_path)])
    text = (tmp_path / "unseen.md").read_text(encoding="utf-8")
    assert "| amons-chno, valid | 2 |" in text
    assert "| `N2` | valid | " in text
    assert "3 of 3 molecules" in capsys.readouterr().out
