"""Labels of amons in the user's data folder, which all queries at a level share."""

from __future__ import annotations

from pathlib import Path

import pytest
from ase.build import molecule
from ase.calculators.calculator import InputError

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.learning.settings import StudySettings
from ase_mlwave.models.amons.learning.shared import shared_database
from ase_mlwave.reference.levels import CalculatorLevel, LevelOfTheory
from tests.reference import levels_for_tests
from tests.reference.scripts import finish, script

pytest.importorskip("tblite")

QUERY = """
import sys
from ase.build import molecule
from ase_mlwave.models.amons.learning.query import study_query
from ase_mlwave.models.amons.learning.settings import StudySettings

study_query(molecule(sys.argv[1]), StudySettings(reference="gfn2-xtb", max_heavy=2, displaced=0))
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_queries_share_labels_and_say_so(home: Path) -> None:
    said: list[str] = []
    options = {"reference": "gfn2-xtb", "max_heavy": 1, "displaced": 0, "announce": said.append, "keep_geometry": False}
    calc = AmonsCalculator.for_query("CO", **options)
    (database,) = (home / "data" / "ase-mlwave" / "amons").glob("*.db")
    assert database == shared_database(LevelOfTheory.parse("gfn2-xtb"))
    assert str(database) in said[0]
    assert "to keep them elsewhere" in said[0]
    assert Path(calc.parameters["model"]).resolve().parent == home / "amons-models"
    paid = DatasetFile(database).counts()["labelled"]
    again = AmonsCalculator.for_query("CCO", **options)
    assert again.study is not None
    assert again.study.n_new == 0  # methane and water are known
    assert not Path("amons.db").exists()
    AmonsCalculator.for_query("CO", database="amons.db", **options)  # who wants none of it has none of it
    assert DatasetFile("amons.db").counts()["labelled"] == paid > 0


def test_every_level_has_its_own_shared_database() -> None:
    texts = ("gfn2-xtb", "gfn1-xtb", "pbe/def2-svp", "pbe/def2-svp grid_level=5", "phisnet-chno")
    paths = {shared_database(LevelOfTheory.parse(text)) for text in texts}
    assert len(paths) == len(texts)
    assert all(path.name.isascii() and "/" not in path.stem for path in paths)
    one, other = (CalculatorLevel("same", levels_for_tests.slow, {"cutoff": value}) for value in (1, 2))
    assert shared_database(one) != shared_database(other)


def test_levels_without_a_string_are_not_shared() -> None:
    settings = StudySettings(reference=CalculatorLevel("mine", levels_for_tests.slow))
    assert not settings.is_shared
    assert settings.address == Path("amons.db")
    assert StudySettings(reference="gfn2-xtb").is_shared
    assert not StudySettings(reference="gfn2-xtb", database="own.db").is_shared


def test_a_folder_that_cannot_be_made_is_refused_with_advice(home: Path) -> None:
    (home / "data").write_text("a file, not a folder")
    with pytest.raises(InputError, match=r"database='amons\.db'"):
        shared_database(LevelOfTheory.parse("gfn2-xtb"))


def test_a_saved_model_is_extended_from_shared_labels(home: Path) -> None:
    options = {"reference": "gfn2-xtb", "max_heavy": 1, "displaced": 0, "settings": FitSettings(directions=0)}
    calc = AmonsCalculator.for_query("CO", folder="model", **options)
    assert calc.study is not None
    again = AmonsCalculator("model", outside="warn")
    assert again.extend(molecule("CH3CH2OH"), reference="gfn2-xtb", folder="larger")


@pytest.mark.slow
def test_two_processes_make_and_share_the_database_at_once(home: Path) -> None:
    with script(home, QUERY, "CH3OH") as one, script(home, QUERY, "CH3OH") as other:
        finish(one)
        finish(other)
    (database,) = (home / "data" / "ase-mlwave" / "amons").glob("*.db")
    counts = DatasetFile(database).counts()
    names = [str(record.info["smiles"]) for record in DatasetFile(database).read()]
    assert {"C", "O", "CO"} <= set(names)
    assert len(names) == len(set(names)) == counts["labelled"]  # each once
    assert counts["pending"] == counts["failed"] == 0
