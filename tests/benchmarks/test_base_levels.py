"""Kernels on cheaper levels of any molecule: what they learn, what is kept, what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.calculator import InputError

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from benchmarks.base_levels import main, measure, splits_of
from benchmarks.kernels import Energies

WATERS = Path(__file__).parent.parent / "data" / "files" / "waters_pbe_def2svp.db"


def test_a_base_that_lacks_a_constant_leaves_nothing_to_learn() -> None:
    training, test = splits_of(read_dataset(WATERS), 0)

    def shifted(records: Sequence[Record]) -> Energies:
        return np.array([float(record.energy or 0.0) - 0.3 for record in records])

    errors = measure(training, test, {"shifted": shifted}, [2, 4, 5])
    assert [list(errors[name]) for name in errors] == [[2, 4], [2, 4], [0]]
    assert np.abs(errors["shifted, its mean shifted"][0]).max() < 1e-6
    assert np.abs(errors["kernel on shifted"][4]).max() < 1e-3 * np.abs(errors["kernel"][4]).max()


def test_bases_are_computed_once_and_all_is_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "results"
    words = [str(WATERS), "--base", "hf/sto-3g", "--points", "2", "4", "--output", str(output)]
    main(words)
    assert "kernel on hf/sto-3g" in capsys.readouterr().out
    kept = output / "hf_sto_3g.json"
    before = kept.stat().st_mtime_ns
    main(words)
    assert (kept.stat().st_mtime_ns, (output / "base_levels.png").is_file()) == (before, True)


def test_what_is_not_one_labelled_molecule_is_refused() -> None:
    records = list(read_dataset(WATERS))
    other = Record(np.array([1, 1]), np.array([[0, 0, 0], [0, 0, 1.4]]), energy=-1.0, info={"split": "test"})
    with pytest.raises(InputError, match=r"one molecule; it has \['H2', 'H2O'\]"):
        splits_of(Dataset((*records, other), "hf/sto-3g", "both"), 0)
    lacking = tuple(replace(record, energy=None) for record in records)
    with pytest.raises(InputError, match="without energies"):
        splits_of(Dataset(lacking, "hf/sto-3g", "both"), 0)
