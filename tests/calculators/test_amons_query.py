"""A calculator that learns its query, with GFN2-xTB as the reference: fast, and an independent program."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.models.amons.learning.query import study_query
from ase_mlwave.models.amons.learning.settings import StudySettings
from ase_mlwave.reference.levels import TbliteLevel

pytest.importorskip("tblite")
pytest.importorskip("rdkit")

ENERGIES = FitSettings(directions=0)


def learn(query: object, database: Path, max_heavy: int = 2) -> AmonsCalculator:
    options = {"reference": "gfn2-xtb", "max_heavy": max_heavy, "settings": ENERGIES, "keep_geometry": False}
    with ThreadPoolExecutor(1) as threads:
        return AmonsCalculator.for_query(query, database=database, executor=threads, **options)


def test_second_query_pays_for_new_amons_only(labelled: list[str], tmp_path: Path) -> None:
    database = tmp_path / "amons.db"
    first = learn(molecule("CH3CH2OH"), database)
    paid = len(labelled)
    assert paid == DatasetFile(database).counts()["labelled"]
    assert set(first.extras["amons"]) <= set(labelled)
    again = learn(molecule("CH3CH2OH"), database)
    assert len(labelled) == paid
    assert again.extras["amons"] == first.extras["amons"]
    other = learn(molecule("CH3CH2NH2"), database)
    new = labelled[paid:]
    assert new
    assert all("N" in smiles for smiles in new if smiles not in {"[H]", "[C]"})
    assert {"C", "CC"} & set(other.extras["amons"]) <= set(labelled[:paid])


def test_place_of_the_model_is_looked_at_before_labels_are_paid_for(labelled: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"there can be no folder .*file"):
        AmonsCalculator.for_query("CCO", reference="gfn2-xtb", database=tmp_path / "a.db", folder=tmp_path / "file")
    assert labelled == []


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_query_is_learned_from_its_fragments(tmp_path: Path) -> None:
    query = molecule("CH3CH2OH")
    calc = learn(query, tmp_path / "amons.db", max_heavy=3)  # the query is its own largest amon
    curve = calc.learning_curve()
    assert [point.max_heavy for point in curve] == [2, 3]  # methane and water alone do not determine three elements
    assert curve[-1].n_amons == len(calc.study.records)
    query.calc = calc
    energy = query.get_potential_energy()
    assert curve[-1].energy == pytest.approx(energy, abs=1e-6)
    exact = TbliteLevel("gfn2-xtb").calculator(query)
    reference = query.copy()
    reference.calc = exact
    exact_energy = reference.get_potential_energy()
    assert energy == pytest.approx(exact_energy, abs=0.15)
    assert abs(curve[0].energy - exact_energy) > abs(curve[-1].energy - exact_energy)


def test_smiles_has_no_geometry_of_its_own(tmp_path: Path) -> None:
    calc = learn("CCO", tmp_path / "amons.db")
    with pytest.raises(InputError, match=r"learning_curve\(atoms\)"):
        calc.learning_curve()
    assert calc.learning_curve(molecule("CH3CH2OH"))[-1].max_heavy == 2


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_model_of_a_query_is_a_folder(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as threads:
        options = {"database": tmp_path / "amons.db", "folder": tmp_path / "model", "executor": threads}
        calc = AmonsCalculator.for_query("CO", reference="gfn2-xtb", max_heavy=2, displaced=4, **options)
    atoms: Atoms = molecule("CH3OH")
    again = AmonsCalculator(tmp_path / "model")
    for name, value in calc.predict([atoms])[0].items():
        np.testing.assert_array_equal(value, again.predict([atoms])[0][name])
    assert again.members[0].config.level == "gfn2-xtb"
    with pytest.raises(InputError, match="for_query"):
        again.learning_curve()


def test_database_of_another_level_is_refused(tmp_path: Path) -> None:
    options = {"max_heavy": 1, "database": tmp_path / "amons.db", "displaced": 0}
    study_query("C", StudySettings(reference="gfn2-xtb", **options))
    with pytest.raises(InputError, match="holds labels of the level 'gfn2-xtb'"):
        study_query("CO", StudySettings(reference="gfn1-xtb", **options))
    with pytest.raises(InputError, match="holds labels of the level 'gfn2-xtb'"):  # nothing new to label
        study_query("C", StudySettings(reference="gfn1-xtb", **options))


def test_amons_in_the_geometry_of_the_query_tell_its_energy_better(tmp_path: Path) -> None:
    query = molecule("CH3CH2OH")
    query.calc = TbliteLevel("gfn2-xtb").calculator(query)
    exact = query.get_potential_energy()
    errors = []
    with ThreadPoolExecutor(1) as threads:
        for keep in (False, True):
            options = {"database": tmp_path / f"{keep}.db", "settings": ENERGIES, "executor": threads}
            calc = AmonsCalculator.for_query(
                query, reference="gfn2-xtb", max_heavy=2, keep_geometry=keep, uncertainty="none", **options
            )
            errors.append(abs(calc.get_potential_energy(query) - exact))
    assert errors[1] < errors[0]


def test_deviation_covers_the_last_step_of_the_learning_curve(tmp_path: Path) -> None:
    query = molecule("C2H6CHOH")
    options = {"database": tmp_path / "amons.db", "settings": ENERGIES, "displaced": 0}
    study = study_query(query, StudySettings(reference="gfn2-xtb", max_heavy=3, **options))
    plain, widened = study.fit(), study.fit()
    study.cover(widened.model)
    assert study.query is not None
    before, after = (predict_batch(fit.model, [study.query], uncertainty=True)[0] for fit in (plain, widened))
    (smaller,) = predict_batch(study.fit(2).model, [study.query], uncertainty=True)
    rest = 3 * abs(before.energy - smaller.energy) * before.uncertainty / smaller.uncertainty
    assert after.energy == before.energy
    assert after.uncertainty == pytest.approx(np.hypot(before.uncertainty, rest), rel=0.1)
    assert after.uncertainty > 1.1 * before.uncertainty


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_several_queries_share_one_model(labelled: list[str], tmp_path: Path) -> None:
    queries = [molecule("CH3CH2OH"), molecule("CH3CH2NH2")]
    options = {"reference": "gfn2-xtb", "max_heavy": 2, "settings": ENERGIES, "database": tmp_path / "amons.db"}
    singles = [AmonsCalculator.for_query(query, **options) for query in queries]
    paid = len(labelled)
    calc = AmonsCalculator.for_query(queries, **options)
    assert len(labelled) == paid
    assert set(calc.extras["amons"]) == {smiles for one in singles for smiles in one.extras["amons"]}
    names = [record.geometry_hash() for record in calc.study.records]
    assert len(names) == len(set(names))
    for query, single in zip(queries, singles, strict=True):
        energy, own = (one.predict([query])[0]["energy"] for one in (calc, single))
        assert energy == pytest.approx(own, abs=0.1)
        assert calc.learning_curve(query)[-1].energy == pytest.approx(energy, abs=1e-6)
    with pytest.raises(InputError, match=r"learning_curve\(atoms\)"):
        calc.learning_curve()
    with pytest.raises(InputError, match="no query"):
        AmonsCalculator.for_query([], **options)


def test_amons_with_copies_are_also_learned_as_they_are_in_the_query(tmp_path: Path) -> None:
    query = molecule("CH3CH2OH")
    query.rattle(0.05, seed=1)
    options = {"database": tmp_path / "amons.db", "max_heavy": 2}
    study = study_query(query, StudySettings(reference="gfn2-xtb", displaced=1, **options))
    kept = study_query(query, StudySettings(reference="gfn2-xtb", displaced=0, **options))
    assert kept.n_new == 0
    assert {r.geometry_hash() for r in kept.records} <= {r.geometry_hash() for r in study.records}
    assert {record.info["smiles"] for record in study.records if "origin" in record.info} == {"C", "O", "CC", "CO"}
