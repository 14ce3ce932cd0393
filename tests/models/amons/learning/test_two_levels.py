"""Copies that a cheap level labels, corrected by what the reference says of a few: GFN2-xTB for GFN1-xTB."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.build import molecule

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.learning.query import study_query
from ase_mlwave.models.amons.learning.settings import Labelling, StudySettings
from ase_mlwave.models.amons.learning.two_levels import corrected
from ase_mlwave.reference.levels import LevelOfTheory

pytest.importorskip("tblite")

FIT = FitSettings.for_forces().model_copy(update={"basis": 200})


def copies_of(name: str, seeds: range) -> list[Record]:
    found = []
    for seed in seeds:
        atoms = molecule(name)
        atoms.rattle(0.05, seed=seed)
        found.append(record_from_atoms(atoms, smiles=name, n_heavy=1))
    return found


def test_a_difference_of_atoms_is_corrected() -> None:
    level = LevelOfTheory.parse("gfn2-xtb")
    cheap = [level.label(one) for name in ("CH4", "H2O") for one in copies_of(name, range(3))]
    worth = {1: -0.1, 6: -30.0, 8: -70.0}
    exact = [replace(one, energy=one.energy + sum(worth[z] for z in one.numbers.tolist())) for one in cheap]
    found = corrected(cheap[1:3] + cheap[4:], [exact[0], exact[3]], [cheap[3], cheap[0]], FIT)
    for one, other in zip(found, exact[1:3] + exact[4:], strict=True):
        assert one.energy == pytest.approx(other.energy, abs=1e-6)
        np.testing.assert_allclose(one.forces, other.forces, atol=1e-6)


def test_the_reference_labels_one_copy_of_each_amon(tmp_path: Path) -> None:
    options = {"database": tmp_path / "amons.db", "max_heavy": 2, "displaced": 4, "settings": FIT}
    said: list[str] = []
    settings = StudySettings(reference="gfn1-xtb", coarse="gfn2-xtb", **options)
    study = study_query("CCO", settings, Labelling(announce=said.append))
    n_amons = len({record.info["smiles"] for record in study.records})
    assert (study.n_new, study.level, len(study.records)) == (n_amons, "gfn1-xtb", 4 * n_amons)
    stored = DatasetFile(tmp_path / "amons.db").read()
    assert len(stored) == n_amons
    assert f"{n_amons} to label at gfn1-xtb" in said[0]
    for record in stored:  # none of the other level's
        assert record.energy == pytest.approx(LevelOfTheory.parse("gfn1-xtb").label(record).energy, abs=1e-8)
    (cheap,) = tmp_path.glob("amons-gfn2-xtb-*.db")
    raw = {record.geometry_hash(): record for record in DatasetFile(cheap).read()}
    exact = [LevelOfTheory.parse("gfn1-xtb").label(record) for record in study.records]
    errors, uncorrected = (
        np.mean([np.abs(one.forces - other.forces).mean() for one, other in zip(some, exact, strict=True)])
        for some in (study.records, [raw[record.geometry_hash()] for record in study.records])
    )
    assert errors < 0.6 * uncorrected
    again = study_query("CCO", settings)
    assert again.n_new == 0
