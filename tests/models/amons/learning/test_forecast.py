"""What is said before labels are computed."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from ase.build import molecule

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.models.amons.learning.forecast import stand_in
from ase_mlwave.models.amons.learning.query import study_query
from ase_mlwave.models.amons.learning.settings import Labelling, StudySettings

pytest.importorskip("tblite")
pytest.importorskip("rdkit")


def test_number_of_labels_and_time_are_told_before(tmp_path: Path) -> None:
    lines: list[tuple[str, int]] = []
    database = tmp_path / "amons.db"

    def announce(text: str) -> None:
        lines.append((text, DatasetFile(database).counts()["labelled"]))

    settings = StudySettings(reference="gfn2-xtb", max_heavy=3, database=database, displaced=2)
    study = study_query(molecule("CH3CH2OH"), settings, Labelling(announce=announce))
    ((text, n_labelled),) = lines
    told = re.fullmatch(r".* up to 3 heavy atoms: (\d+) to label at gfn2-xtb, and (\d+) displaced .*; about .*s", text)
    assert told is not None
    assert sum(map(int, told.groups())) == study.n_new == len(study.records)
    assert n_labelled == 2  # those that were timed
    assert study_query(molecule("CH3CH2OH"), settings, Labelling(announce=announce)).n_new == 0
    assert len(lines) == 1  # nothing to come, nothing to tell


@pytest.mark.parametrize(
    ("formula", "charge", "level", "is_told"),
    [
        ("CH3CONH2", 0, "pbe/def2-svp", True),
        ("CH3CONH2", 0, "pbe/def2-tzvp", False),
        ("CH3SH", 0, "pbe/def2-svp", False),
        ("NH3", 1, "pbe/def2-svp", False),
    ],
)
def test_model_that_labels_all_amons_is_told_of(formula: str, charge: int, level: str, is_told: bool) -> None:
    amons = [record_from_atoms(molecule("H2O")), replace(record_from_atoms(molecule(formula)), charge=charge)]
    assert ("reference='phisnet-chno'" in stand_in(amons, level)) is is_told


def test_line_goes_to_stderr_also_where_a_script_has_its_own_progress(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = {"reference": "gfn2-xtb", "max_heavy": 1, "database": tmp_path / "amons.db", "displaced": 0}
    AmonsCalculator.for_query("CO", progress=lambda _: None, **options)
    shown = capsys.readouterr()
    assert "2 to label at gfn2-xtb" in shown.err.replace("\n", " ")
    assert not shown.out
