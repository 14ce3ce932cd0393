"""Displaced copies of amons, with GFN2-xTB as the reference."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.learning.settings import Displacements, StudySettings
from ase_mlwave.reference.levels import TbliteLevel

pytest.importorskip("tblite")

FEW = Displacements(number=3, temperature=300.0)


def learn(name: str, database: Path, displaced: Displacements | int = FEW, **options: object) -> AmonsCalculator:
    with ThreadPoolExecutor(1) as threads:
        return AmonsCalculator.for_query(
            molecule(name), reference="gfn2-xtb", max_heavy=2, database=database, displaced=displaced, executor=threads,
            **options,
        )  # fmt: skip


def test_copies_are_drawn_once(tmp_path: Path) -> None:
    first = learn("CH3OH", tmp_path / "amons.db")
    hot = [record for record in first.study.records if "origin" in record.info]
    assert len(hot) == FEW.number * len(first.extras["amons"])
    assert first.study.n_new == len(first.study.records) <= len(hot) + 2 * len(first.extras["amons"])
    again = learn("CH3OH", tmp_path / "amons.db")
    assert again.study.n_new == 0
    for one, other in zip(first.study.records, again.study.records, strict=True):
        np.testing.assert_array_equal(one.positions, other.positions)
    more = learn("CH3OH", tmp_path / "amons.db", Displacements(number=4, temperature=300.0))
    assert more.study.n_new == len(more.extras["amons"])
    other = learn("CH3OH", tmp_path / "other.db")
    hot = [record for record in other.study.records if "origin" in record.info]
    known = [record for record in first.study.records if "origin" in record.info]
    for one, same in zip(hot, known, strict=True):
        np.testing.assert_allclose(one.positions, same.positions, atol=1e-9)


def test_forces_of_the_query_are_learned(tmp_path: Path) -> None:
    calc = learn("CH3OH", tmp_path / "amons.db", Displacements(number=24, temperature=300.0), uncertainty="none")
    atoms = molecule("CH3OH")
    atoms.rattle(0.04, seed=3)
    reference = atoms.copy()
    reference.calc = TbliteLevel("gfn2-xtb").calculator(reference)
    atoms.calc = calc
    forces = reference.get_forces()
    assert np.abs(atoms.get_forces() - forces).mean() < 0.15 * np.abs(forces).mean()


def test_energies_alone_need_no_copies(tmp_path: Path) -> None:
    assert StudySettings(displaced=16, settings=FitSettings(directions=0)).copies is None
    assert StudySettings(displaced=0).copies is None
    assert StudySettings(displaced=5).copies == Displacements(number=5)
    calc = learn("CH3OH", tmp_path / "amons.db", 0)
    assert DatasetFile(tmp_path / "amons.db").counts()["labelled"] == calc.study.n_new == len(calc.study.records)
