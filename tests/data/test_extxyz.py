from __future__ import annotations

from pathlib import Path
from typing import Any

import ase.io
import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.singlepoint import SinglePointCalculator

from ase_mlwave.data.extxyz import check_extxyz, write_extxyz

ENTRIES: dict[str, Any] = {
    **{"zeros": "007", "nothing": None, "smiles": "F/C=C\\F", "lines": "two\nlines", "yes": True, "text": "True"},
    **{"T": "T", "list": [1, 2], "mixed": [1, "b"], "nested": {"x": [1, 2]}, "empty": "", "quoted": 'say "hi" [x]'},
    **{"matrix": np.arange(9).reshape(3, 3), "json": "_JSON 3", "with space": "1 2 3", "large": 2**70, "sign": "a=b"},
    **{"status": "converged", "id": 7, "level": "hf", "split": "train", "geometry_hash": "abc", "none": np.array([])},
}


def test_entries_come_back_as_they_were(tmp_path: Path) -> None:
    atoms = molecule("H2O", info=ENTRIES)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0, forces=np.zeros((3, 3)))
    write_extxyz(tmp_path / "a.extxyz", [atoms])
    back = ase.io.read(tmp_path / "a.extxyz")
    assert back.get_potential_energy() == -1.0
    assert back.info.keys() == ENTRIES.keys() == atoms.info.keys()
    for name, value in ENTRIES.items():
        assert type(back.info[name]) is type(value) or isinstance(value, int | list | np.ndarray)
        np.testing.assert_array_equal(back.info[name], value)


@pytest.mark.parametrize(
    ("info", "message"),
    [
        ({"pbc": "no"}, "structure 1: the entry 'pbc'"),
        ({"who": object()}, "the entry 'who'"),
        ({"energy": -2.0}, "structure 1: there is an entry or array 'energy' beside the result"),
    ],
)
def test_nothing_is_written_where_something_cannot_be(tmp_path: Path, info: dict[str, Any], message: str) -> None:
    atoms = molecule("H2O", info=info)
    atoms.calc = SinglePointCalculator(atoms, energy=-1.0)
    with pytest.raises(ValueError, match=message):
        write_extxyz(tmp_path / "a.extxyz", [molecule("H2O"), atoms])
    strange = molecule("H2O")
    strange.new_array("phase", np.array([1j, 0, 0]))
    with pytest.raises(ValueError, match="an array is of a type"):
        write_extxyz(tmp_path / "a.extxyz", [molecule("H2O"), strange])
    assert not list(tmp_path.iterdir())


def test_structures_are_checked_before_their_results_are_there() -> None:
    check_extxyz([molecule("H2O", info={"energy": -1.0})], ["forces"])
    with pytest.raises(ValueError, match="structure 1: there is an entry or array 'energy' beside the result"):
        check_extxyz([molecule("H2O"), molecule("H2O", info={"energy": -1.0})], ["energy", "forces"])
