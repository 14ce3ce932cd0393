"""The benchmark of amons: the demo exactly, every other class on something tiny, and what they share."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.calculator import CalculationFailed

from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.regression.environments import Geometry
from ase_mlwave.reference.levels import LevelOfTheory, TbliteLevel
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.units import BOHR
from benchmarks.amons import biomolecules, organic, pbe, pbe_random
from benchmarks.amons.__main__ import main
from benchmarks.amons.classes import CLASSES
from benchmarks.amons.curve import Curve, Options, read_curves, write_curves
from benchmarks.amons.molecules import choose
from benchmarks.amons.report import markdown, mean_errors
from benchmarks.amons.study import Query, Relaxing, distinct, free_atoms, label, learning_curves

DEMO = Path(__file__).parents[1] / "models" / "amons" / "files" / "phenylacetaldehyde.json"


def silent(folder: Path, **changes: object) -> Options:
    return replace(Options(folder, progress=False), **changes)  # type: ignore[arg-type]


def amon(smiles: str, seed: int = 0) -> Record:
    record = from_smiles(smiles, seed)
    return replace(record, info={**record.info, "n_heavy": int((record.numbers > 1).sum())})


# --- the driver -------------------------------------------------------------------------------------------------------


def test_demo_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["demo", "--output", "out", "--demo", str(DEMO), "--no-progress", "--write-docs"])
    (curve,) = read_curves(Path("out/demo.json"))
    expected = json.loads(DEMO.read_text())["expected_error_kcal_per_mol_by_k"]
    assert curve.sizes == tuple(map(int, expected))
    np.testing.assert_allclose(curve.errors_kcal, [*expected.values()], atol=1e-3)
    assert curve.n_amons[0] == 1
    assert curve.n_amons[-1] == 16
    assert 5_000 < Path("docs/amons/demo.png").stat().st_size < 80_000
    assert "| public demo | 1 | 7 | 0.23 | 0.23 | 0.23 | 0.226 | molecule |" in Path("docs/amons.md").read_text()
    main(["demo", "--output", "out", "--no-progress"])  # finished: read, and needs no file
    assert "demo: read from" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["watre"], "'watre' is no class of systems. Did you mean 'water'"),
        (["demo"], "the class demo needs --demo; give the files"),
        (["organic", "--qm7", "nowhere.npz"], "there is no file nowhere.npz; give --qm7 another one"),
        (["biomolecules", "--max-heavy", "0"], "--max-heavy was 0; it must be at least 1"),
    ],
)
def test_unusable_options_are_refused_before_any_work(words: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=message):
        main([*words, "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


# --- curves and tables ------------------------------------------------------------------------------------------------

CURVES = [
    Curve("one", -1.0, (1, 2), (1, 3), (-8.0, 2.0), n_atoms=5),
    Curve("two", -2.0, (2,), (4,), (-4.0,), "molecule", 7),
    Curve("three", -3.0, (), (), ()),
]


def test_curves_survive_a_file(tmp_path: Path) -> None:
    write_curves(tmp_path / "curves.json", CURVES)
    assert read_curves(tmp_path / "curves.json") == CURVES
    assert CURVES[1].final == -4.0
    assert CURVES[2].final is None
    with pytest.raises(ValueError, match="one: sizes, numbers of amons and errors differ in length"):
        replace(CURVES[0], sizes=(1,))


def test_means_are_over_the_systems_that_have_a_point() -> None:
    assert mean_errors(CURVES) == [(1, 1, 8.0), (2, 2, 3.0)]
    text = markdown({"biomolecules": CURVES})
    assert "| biomolecules | 3 | 2 | 3.00 | 3.00 | 4.00 | 1 | molecule |" in text
    assert "| two | 7 | 4 | - | -4.00 |" in text


# --- what classes share -----------------------------------------------------------------------------------------------


def test_distinct_conformers_are_kept_once_and_the_most_different_first() -> None:
    turned = amon("CCO")
    copies = [amon("CCO"), replace(turned, positions=turned.positions[:, ::-1]), amon("C")]
    stretched = [replace(turned, positions=turned.positions * factor) for factor in (1.1, 1.02)]
    found = distinct([*copies, *stretched])
    assert [record.info["smiles"] for record in found] == ["C", "CCO", "CCO", "CCO"]
    kept = distinct([*copies, *stretched], max_conformers=2)
    np.testing.assert_array_equal(kept[2].positions, stretched[0].positions)


def test_relaxing_level_relaxes_and_refuses_another_molecule() -> None:
    pytest.importorskip("tblite")
    level = Relaxing(TbliteLevel("gfn2-xtb"), largest_force=1e-4)
    found = level.label(amon("CO"))
    assert found.forces is not None
    assert np.abs(found.forces).max() < 1e-4
    near = np.array([[0.0, 0, 0], [0, 0, 2.05], [0, 0, 1.02]])  # Angstrom: O-H...F, which gives its H away
    torn = Record(np.array([9, 11, 1]), near / BOHR, info={"smiles": "", "n_heavy": 2})
    with pytest.raises(CalculationFailed, match="became another molecule"):
        level.label(torn)


def test_labels_are_read_where_they_are_known_and_none_where_they_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tblite")
    level, options = TbliteLevel("gfn2-xtb"), silent(tmp_path)
    hydroxyl = Record(np.array([8, 1]), np.array([[0, 0, 0], [0, 0, 1.8]]), info={"smiles": "[OH]", "n_heavy": 1})
    asked = [amon("O"), hydroxyl, amon("C")]
    first = label(asked, tmp_path / "a.db", level, options, "")
    energies = [None if one is None else one.energy for one in first]
    assert energies[0] == pytest.approx(level.label(asked[0]).energy, abs=1e-9)
    assert first[0] is not None
    assert first[0].info == asked[0].info
    monkeypatch.setattr("ase_mlwave.reference.runs.process_pool", None)  # nothing may be computed again
    again = label(asked[::-1], tmp_path / "a.db", level, options, "")
    assert [None if one is None else one.energy for one in again[::-1]] == energies


def test_learning_curve_is_exact_where_the_query_is_an_amon_and_leaves_out_what_lacks_its_elements() -> None:
    pytest.importorskip("tblite")
    level = TbliteLevel("gfn2-xtb")
    amons = [level.label(amon(smiles)) for smiles in ("C", "CC", "CO", "CCO", "CCC")]
    free = free_atoms([1, 6, 8], level)
    (curve,) = learning_curves([Query.of(amons[3], "ethanol", n_units=2)], amons, level.name, free=free)
    assert (curve.sizes, curve.n_amons, curve.n_atoms) == ((2, 3), (3, 5), 9)
    assert abs(curve.errors_kcal[1]) < 0.05 < abs(curve.errors_kcal[0])
    whole = Query("ethanol", Geometry(amons[3].numbers, amons[3].positions), amons[3].energy or 0.0)
    (other,) = learning_curves([whole], amons, level.name, free=free)
    np.testing.assert_allclose(other.errors_kcal, 2 * np.array(curve.errors_kcal), rtol=1e-9)


# --- the classes ------------------------------------------------------------------------------------------------------


def dataset(path: Path, *smiles: str) -> Path:
    """Write molecules as QM7 is kept."""
    records = [from_smiles(one) for one in smiles]
    most = max(map(len, records))
    padded = [np.pad(record.numbers, (0, most - len(record))) for record in records]
    positions = [np.pad(record.positions * BOHR, ((0, most - len(record)), (0, 0))) for record in records]
    sizes = [len(record) for record in records]
    energies = [-100.0 * size for size in sizes]
    np.savez(path, Z=padded, R=positions, n_atoms=sizes, E_atomization_kcal_mol=energies)
    return path


def test_choice_is_by_size_and_grows_with_the_count(tmp_path: Path) -> None:
    path = dataset(tmp_path / "few.npz", "CCC", "CCO", "CCCO", "C", "CNC", "COC")
    three = choose(path, (3,), 9, seed=1)
    assert sorted(record.info["name"] for record in three) == ["few-0", "few-1", "few-4", "few-5"]
    assert all(record.energy is None and record.info["n_heavy"] == 3 for record in three)
    assert [r.info["name"] for r in choose(path, (3,), 2, seed=1)] == [r.info["name"] for r in three[:2]]


def test_two_dozen_biomolecules_of_the_sizes_asked_for() -> None:
    records = [from_smiles(smiles) for smiles in biomolecules.MOLECULES.values()]
    assert len(records) == 24
    assert all(20 <= len(record) <= 100 and record.charge == 0 for record in records)


@pytest.mark.slow
def test_small_run_of_biomolecules(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    (curve,) = biomolecules.run(silent(tmp_path, n_systems=1, max_heavy=4))
    assert (curve.system, curve.n_atoms, curve.per) == ("methionine", 20, "molecule")
    assert curve.sizes == (1, 2, 3, 4)
    assert abs(curve.errors_kcal[-1]) < 10


@pytest.mark.slow
def test_small_run_of_organic_molecules(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    seven = dataset(tmp_path / "seven.npz", "CCCCCCO", "CCCCCCN")
    nine = dataset(tmp_path / "nine.npz", "CCCCCCCCO")
    options = silent(tmp_path, qm7=seven, qm9=nine, n_systems=3, max_heavy=4)
    curves = organic.run(options)
    assert sorted(curve.system for curve in curves) == ["nine-0", "seven-0", "seven-1"]
    assert all(abs(curve.errors_kcal[-1]) < 3 for curve in curves)
    assert len({curve.n_amons for curve in curves}) == 1  # pooled


@pytest.mark.slow
def test_small_run_of_density_functional_theory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tblite")
    monkeypatch.setattr(pbe, "LEVEL", "hf/sto-3g")
    monkeypatch.setattr(pbe, "MOLECULES", {"propanol": "OCCC"})
    monkeypatch.setattr(pbe_random, "_FROM_QM7", ((4,), 1))
    seven = dataset(tmp_path / "seven.npz", "OCCC")
    (known,) = pbe.run(silent(tmp_path, max_heavy=3))
    (curve,) = pbe_random.run(silent(tmp_path, qm7=seven, qm9=seven, max_heavy=3))
    assert (known.system, curve.system, curve.sizes) == ("propanol", "CCCO", (1, 2, 3))
    assert abs(known.errors_kcal[-1]) < 3
    level = LevelOfTheory.parse("hf/sto-3g")
    near = TbliteLevel("gfn2-xtb")
    relaxed = Relaxing(near, largest_force=2e-4).label(from_smiles("OCCC"))
    assert curve.reference_energy == pytest.approx(level.label(relaxed).energy, abs=1e-5)
    assert abs(curve.errors_kcal[-1]) < 3


def test_every_class_has_a_name_that_is_a_module() -> None:
    assert all(one.module == f"benchmarks.amons.{name.replace('-', '_')}" for name, one in CLASSES.items())
    for name in ("demo", "biomolecules", "organic", "pbe", "pbe-random"):
        assert CLASSES[name].exists
        assert callable(CLASSES[name].run)
