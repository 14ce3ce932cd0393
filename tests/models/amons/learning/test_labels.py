"""One database of amons for several queries, one after the other and at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, InputError

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.learning.labels import Labeller, models_beside, same_conformer
from ase_mlwave.reference.levels import CalculatorLevel
from ase_mlwave.reference.workers import Workers
from tests.reference import levels_for_tests
from tests.reference.scripts import finish, noted, script

QUERY = """
import sys
from ase.build import molecule
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.learning.query import study_query
from ase_mlwave.models.amons.learning.settings import StudySettings
from ase_mlwave.reference.levels import CalculatorLevel
from tests.reference.levels_for_tests import named

options = {"max_heavy": 3, "settings": FitSettings(directions=0), "keep_geometry": False}
settings = StudySettings(reference=CalculatorLevel("named", named), **options)
study = study_query(molecule(sys.argv[1]), settings)
assert all(record.energy is not None for record in study.records)
assert len({record.info["smiles"] for record in study.records}) >= 4
"""


def methane(**changes: object) -> Record:
    return replace(record_from_atoms(molecule("CH4"), smiles="C", n_heavy=1), **changes)  # type: ignore[arg-type]


def label(wanted: Sequence[Record], path: Path, level: CalculatorLevel | None = None) -> tuple[list[Record], int]:
    with ThreadPoolExecutor(1) as executor:
        chosen = level or CalculatorLevel("slow", levels_for_tests.slow)
        return Labeller(chosen, path, Workers(executor)).find(wanted)


def test_two_queries_at_once_pay_for_each_amon_once(tmp_path: Path) -> None:
    with script(tmp_path, QUERY, "CH3CH2OH") as one, script(tmp_path, QUERY, "CH3CH2NH2") as other:
        finish(one, 240)
        finish(other, 240)
    times, processes = noted(tmp_path)
    assert len(processes) == 2
    file = DatasetFile(tmp_path / "amons.db")
    rows = Counter(str(record.info["smiles"]) for record in file.read())
    assert file.counts() == {"labelled": sum(rows.values()), "failed": 0, "pending": 0}
    assert times == rows  # as many labels as rows: none twice, none lost
    assert {"C", "CC", "CCO", "CCN"} <= times.keys()
    assert times["C"] == 1  # both queries have methane


def test_conformers_are_told_by_their_distances(tmp_path: Path) -> None:
    turned = methane(positions=methane().positions @ np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0])
    near = methane(positions=methane().positions * 1.0005)
    far = methane(positions=methane().positions * 1.1)
    copy = methane(info={**methane().info, "origin": "sha256:..."})
    assert same_conformer(methane(), turned)
    assert same_conformer(methane(), near)
    for other in (far, copy, methane(charge=1), methane(spin=2)):
        assert not same_conformer(methane(), other)
    (first, same, third), n_new = label([methane(), near, far], tmp_path / "amons.db")
    assert n_new == 2  # the first two are one
    np.testing.assert_array_equal(first.positions, same.positions)
    assert third.energy != first.energy
    assert DatasetFile(tmp_path / "amons.db").counts()["labelled"] == 2
    again, n_new = label([turned], tmp_path / "amons.db")
    assert n_new == 0
    assert again[0].content_hash() == first.content_hash()


def test_leftovers_of_other_queries_are_left_to_them(tmp_path: Path) -> None:
    level = CalculatorLevel("slow", levels_for_tests.slow)
    file = DatasetFile.create(tmp_path / "amons.db", level.name, level.settings())
    file.add([methane(positions=methane().positions * 1.1)])
    label([methane()], tmp_path / "amons.db")
    assert file.counts() == {"labelled": 1, "failed": 0, "pending": 1}


def test_failures_are_named(tmp_path: Path) -> None:
    with pytest.raises(CalculationFailed, match=r"1 amons could not be labelled at threads: C \(.*RuntimeError"):
        label([methane()], tmp_path / "amons.db", CalculatorLevel("threads", levels_for_tests.worker_threads))
    with pytest.raises(InputError, match="holds labels of the level 'threads'"):
        label([methane()], tmp_path / "amons.db")


def test_models_lie_beside_a_file() -> None:
    assert models_beside("data/amons.db") == Path("data/amons-models")
    assert models_beside("postgresql://ann@node1/amons") == Path("amons-models")


def test_few_that_fail_are_left_out_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    far = [methane(positions=methane().positions * (1 + 0.02 * n)) for n in range(12)]
    odd = replace(far[5], charge=1, spin=1)
    level = CalculatorLevel("refusing", levels_for_tests.slow)
    label_molecule = CalculatorLevel.label

    def refusing(self: CalculatorLevel, molecule: Record) -> Record:
        if molecule.charge:
            raise CalculationFailed("no ions")
        return label_molecule(self, molecule)

    monkeypatch.setattr(CalculatorLevel, "label", refusing)
    with pytest.warns(UserWarning, match=r"1 amons could not be labelled at refusing: C \(.*no ions.*without them"):
        records, n_new = label([*far, odd], tmp_path / "amons.db", level)
    assert n_new == 13
    assert [record.charge for record in records] == [0] * 12
    with pytest.raises(CalculationFailed, match="1 amons could not be labelled"):  # one of five is too much
        label([*far[:4], replace(odd, positions=odd.positions * 1.5)], tmp_path / "amons.db", level)
