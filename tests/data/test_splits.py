from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from scipy.spatial.transform import Rotation

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.splits import assign_splits, formula_split, parse_fractions

FRACTIONS = {"train": 0.7, "valid": 0.1, "test": 0.2}


def dataset(n_records: int = 100, n_groups: int = 20) -> Dataset:
    records = tuple(
        Record(numbers=np.array([1, 1]), positions=[[0, 0, 0], [0, 0, 1 + i]], info={"smiles": f"C{i % n_groups}"})
        for i in range(n_records)
    )
    return Dataset(records, "", "test data")


def names(divided: Dataset) -> list[str]:
    return [record.info["split"] for record in divided]


def test_shares_are_met() -> None:
    assert assign_splits(dataset(), FRACTIONS, seed=0).splits == {"train": 70, "valid": 10, "test": 20}


def test_the_seed_decides() -> None:
    assert names(assign_splits(dataset(), FRACTIONS, 1)) == names(assign_splits(dataset(), FRACTIONS, 1))
    assert names(assign_splits(dataset(), FRACTIONS, 1)) != names(assign_splits(dataset(), FRACTIONS, 2))


def test_no_group_is_divided() -> None:
    divided = assign_splits(dataset(), FRACTIONS, seed=5, group="smiles")
    pairs = {(record.info["smiles"], record.info["split"]) for record in divided}
    assert len(pairs) == 20
    assert divided.splits == {"train": 70, "valid": 10, "test": 20}  # groups of five fit these shares
    assert [record.info["smiles"] for record in divided] == [record.info["smiles"] for record in dataset()]


def test_copies_of_a_geometry_are_in_one_split() -> None:
    rng = np.random.default_rng(3)
    waters = [molecule("H2O", positions=rng.normal(size=(3, 3))) for _ in range(20)]
    turn = Rotation.random(random_state=1).as_matrix()
    others = [
        replace(w, numbers=w.numbers[[2, 0, 1]], positions=(w.positions @ turn.T + 3)[[2, 0, 1]], energy=-1.0)
        for w in waters
    ]
    given = Dataset((*waters, *reversed(others)), "", "copies")
    divided = assign_splits(given, {"train": 0.5, "valid": 0.25, "test": 0.25}, seed=0)
    assert divided.splits == {"train": 20, "valid": 10, "test": 10}
    assert names(divided)[:20] == names(divided)[:19:-1]


def test_copies_join_groups() -> None:
    one, other, third = (molecule("H2O", positions=p) for p in np.random.default_rng(0).normal(size=(3, 3, 3)))
    chain = [r.with_info(smiles=s) for r, s in ((one, "a"), (other, "a"), (other, "b"), (third, "b"), (third, "c"))]
    with pytest.raises(ValueError, match="has 1 different values of 'smiles'"):
        assign_splits(Dataset(tuple(chain), "", "chain"), {"train": 0.5, "test": 0.5}, 0, group="smiles")


def test_groups_by_formula() -> None:
    records = [Record(numbers=np.array([1 + i % 3]), positions=np.full((1, 3), float(i))) for i in range(30)]
    divided = assign_splits(Dataset(tuple(records), "", ""), {"a": 0.5, "b": 0.5}, 0, group="formula")
    assert len({(record.formula, record.info["split"]) for record in divided}) == 3


def molecule(formula: str, offset: float = 0.0, positions: Any = None) -> Record:
    numbers = Atoms(formula).numbers
    anywhere = np.arange(3.0 * len(numbers)).reshape(-1, 3) + offset
    return Record(numbers=numbers, positions=anywhere if positions is None else positions)


def test_formula_decides_alone() -> None:
    assert formula_split(molecule("C5H10")) == formula_split(molecule("H10C5", offset=1.0)) == "test"
    assert formula_split(molecule("CH3NO")) == "valid"  # both by hand: md5sum of the text, modulo 5 and 20
    assert formula_split(molecule("H2O")) == "valid"  # 2 modulo 20
    assert formula_split(molecule("CH4")) == "train"


def test_shipped_splits_follow_the_rule() -> None:
    shipped = read_dataset(Path(__file__).parents[2] / "datasets" / "chno_pbe_def2svp.npz")
    names = {(record.formula, record.info["split"]) for record in shipped if record.formula != "H2O"}
    assert {name for _, name in names} == {"train", "valid", "test"}
    assert all(formula_split(molecule(formula)) == name for formula, name in names)
    assert {record.info["split"] for record in shipped if record.formula == "H2O"} == {"train"}


def test_formula_splits_have_the_shares_of_the_rule() -> None:
    names = [formula_split(molecule(f"C{c}H{h}N{n}O2")) for c in range(1, 12) for h in range(1, 25) for n in range(3)]
    assert names.count("test") / len(names) == pytest.approx(1 / 5, abs=0.04)
    assert names.count("valid") / len(names) == pytest.approx(1 / 10, abs=0.03)


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="add up to 1"):
        assign_splits(dataset(), {"train": 0.5, "test": 0.4}, 0)
    with pytest.raises(ValueError, match="add up to 1"):
        assign_splits(dataset(), {"train": 1.5, "test": -0.5}, 0)
    with pytest.raises(ValueError, match=r"has 2 different geometries, too few for 3 splits"):
        assign_splits(dataset(2), FRACTIONS, 0)
    with pytest.raises(ValueError, match="record 0 of test data has no 'scaffold' to group by; it has 'smiles'"):
        assign_splits(dataset(), FRACTIONS, 0, group="scaffold")


def test_fractions_are_parsed() -> None:
    assert parse_fractions("train=0.7, valid=0.1,test=0.2") == FRACTIONS
    for text in ("train", "train=x,test=0.5", "", "=1.0"):
        with pytest.raises(ValueError, match=r"splits"):
            parse_fractions(text)
