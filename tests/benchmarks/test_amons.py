"""The benchmark of amons: the demo exactly, every other class on something tiny, and what they share."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import CalculationFailed
from ase.data.s22 import create_s22_system
from rdkit import Chem

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fragments.perception import molecule_from
from ase_mlwave.models.amons.fragments.selection import find_amons
from ase_mlwave.reference.levels import LevelOfTheory, TbliteLevel
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.units import BOHR
from benchmarks.amons import builders, systems
from benchmarks.amons.__main__ import main, options
from benchmarks.amons.classes import CLASSES, Curve, read_curves, write_curves
from benchmarks.amons.report import errors_by_size, markdown
from benchmarks.amons.study import Bench, Target, distinct, learning_curves
from benchmarks.common import KCAL_PER_MOL
from benchmarks.references import Relaxing, label

DEMO = Path(__file__).parents[1] / "models" / "amons" / "files" / "phenylacetaldehyde.json"


def words(folder: Path, *more: str) -> argparse.Namespace:
    return options(["--output", str(folder), *more])


def run(name: str, folder: Path, *more: str, **changes: object) -> Sequence[Curve]:
    pytest.importorskip("tblite")
    return builders.run(CLASSES[name].model_copy(update=changes), words(folder, *more))


def amon(smiles: str, seed: int = 0) -> Record:
    record = from_smiles(smiles, seed)
    return replace(record, info={**record.info, "n_heavy": int((record.numbers > 1).sum())})


# --- the driver -------------------------------------------------------------------------------------------------------


def test_demo_from_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    main(["demo", "--output", "out", "--demo", str(DEMO), "--write-docs"])
    (curve,) = read_curves(Path("out/demo.json"))
    expected = json.loads(DEMO.read_text())["expected_error_kcal_per_mol_by_k"]
    assert curve.sizes == tuple(map(int, expected))
    np.testing.assert_allclose(curve.errors_kcal, [*expected.values()], atol=1e-3)
    assert (curve.n_amons[0], curve.n_amons[-1]) == (1, 16)
    assert 5_000 < Path("docs/amons/demo.png").stat().st_size < 80_000
    assert "| public demo | 1 | 7 | 0.23 | 0.23 | 0.23 | 0.226 | molecule |" in Path("docs/amons.md").read_text()
    main(["demo", "--output", "out"])  # finished: read, and needs no file
    assert "demo: read from" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["watre"], "'watre' is no class of systems. Did you mean 'water'"),
        (["demo"], "the class demo needs --demo; give the files"),
    ],
)
def test_unusable_classes_are_refused_before_any_work(given: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=message):
        main([*given, "--output", str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (["organic", "--qm7", "nowhere.npz"], "argument --qm7: there is no file nowhere.npz"),
        (["biomolecules", "--max-heavy", "0"], "argument --max-heavy: it was 0, and must be positive"),
    ],
)
def test_unusable_options_are_refused(given: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([*given, "--output", "out"])
    assert message in capsys.readouterr().err


# --- curves and tables ------------------------------------------------------------------------------------------------

CURVES = [
    Curve("one", -1.0, (1, 2), (1, 3), (-8.0, 2.0), n_atoms=5),
    Curve("two", -2.0, (2,), (4,), (-4.0,), "molecule", 7),
    Curve("three", -3.0, (), (), ()),
]


def test_curves_survive_a_file(tmp_path: Path) -> None:
    write_curves(tmp_path / "curves.json", CURVES)
    assert read_curves(tmp_path / "curves.json") == CURVES
    with pytest.raises(ValueError, match="one: sizes, numbers of amons and errors differ in length"):
        replace(CURVES[0], sizes=(1,))


def test_means_are_over_the_systems_that_have_a_point() -> None:
    assert errors_by_size(CURVES) == {1: [8.0], 2: [2.0, 4.0]}
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


def test_caps_alone_are_relaxed() -> None:
    pytest.importorskip("tblite")
    given = amon("CO").with_info(caps=[5])
    found = Relaxing(TbliteLevel("gfn2-xtb")).label(given)
    moved = np.abs(found.positions - given.positions).max(axis=1)
    assert moved[5] > 1e-3 > 1e-12 > np.delete(moved, 5).max()


def test_labels_are_read_where_they_are_known_and_none_where_they_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tblite")
    level = TbliteLevel("gfn2-xtb")
    hydroxyl = Record(np.array([8, 1]), np.array([[0, 0, 0], [0, 0, 1.8]]), info={"smiles": "[OH]", "n_heavy": 1})
    asked = [amon("O"), hydroxyl, amon("C")]
    first = label(asked, tmp_path / "a.db", level)
    energies = [None if one is None else one.energy for one in first]
    assert energies[0] == pytest.approx(level.label(asked[0]).energy, abs=1e-9)
    assert first[0] is not None
    assert asked[0].info.items() <= first[0].info.items()
    monkeypatch.setattr(TbliteLevel, "label", None)  # nothing may be computed again
    again = label(asked[::-1], tmp_path / "a.db", level)
    assert [None if one is None else one.energy for one in again[::-1]] == energies


def test_learning_curve_is_exact_where_the_query_is_an_amon_and_leaves_out_what_lacks_its_elements() -> None:
    pytest.importorskip("tblite")
    level, kind = TbliteLevel("gfn2-xtb"), CLASSES["pbe"]
    amons = [level.label(amon(smiles)) for smiles in ("C", "CC", "CO", "CCO", "CCC")]
    bench = Bench(CLASSES["water"], words(Path()))
    fit = {"settings": kind.fit, "free_atoms": {z: bench.energy(Atoms([z])) for z in (1, 6, 8)}}
    (curve,) = learning_curves([Target.of(amons[3], "ethanol", 2)], amons, level.name, **fit)
    assert (curve.sizes, curve.n_amons, curve.n_atoms) == ((2, 3), (3, 5), 9)
    assert abs(curve.errors_kcal[1]) < 0.05 < abs(curve.errors_kcal[0])
    (other,) = learning_curves([Target.of(amons[3], "ethanol")], amons, level.name, **fit)
    np.testing.assert_allclose(other.errors_kcal, 2 * np.array(curve.errors_kcal), rtol=1e-9)


# --- molecules --------------------------------------------------------------------------------------------------------


def dataset(path: Path, *smiles: str) -> str:
    """Write molecules as QM7 is kept."""
    records = [from_smiles(one) for one in smiles]
    most = max(map(len, records))
    padded = [np.pad(record.numbers, (0, most - len(record))) for record in records]
    positions = [np.pad(record.positions * BOHR, ((0, most - len(record)), (0, 0))) for record in records]
    sizes = [len(record) for record in records]
    energies = [-100.0 * size for size in sizes]
    np.savez(path, Z=padded, R=positions, n_atoms=sizes, E_atomization_kcal_mol=energies)
    return str(path)


def test_choice_is_by_size_and_grows_with_the_count(tmp_path: Path) -> None:
    path = Path(dataset(tmp_path / "few.npz", "CCC", "CCO", "CCCO", "C", "CNC", "COC"))
    three = systems.choose(path, (3,), 9, seed=1)
    assert sorted(record.info["name"] for record in three) == ["few-0", "few-1", "few-4", "few-5"]
    assert all(record.energy is None and record.info["n_heavy"] == 3 for record in three)
    assert [r.info["name"] for r in systems.choose(path, (3,), 2, seed=1)] == [r.info["name"] for r in three[:2]]


def test_two_dozen_biomolecules_of_the_sizes_asked_for() -> None:
    records = [from_smiles(smiles) for smiles in CLASSES["biomolecules"].molecules.values()]
    assert len(records) == 24
    assert all(20 <= len(record) <= 100 and record.charge == 0 for record in records)


@pytest.mark.slow
def test_small_run_of_biomolecules(tmp_path: Path) -> None:
    (curve,) = run("biomolecules", tmp_path, "--systems", "1", "--max-heavy", "4")
    assert (curve.system, curve.n_atoms, curve.per) == ("methionine", 20, "molecule")
    assert curve.sizes == (1, 2, 3, 4)
    assert curve.errors_kcal == pytest.approx((1008.00, 80.42, 19.30, 3.00), abs=0.05)  # as in docs/amons.md


@pytest.mark.slow
def test_small_run_of_organic_molecules(tmp_path: Path) -> None:
    seven = dataset(tmp_path / "seven.npz", "CCCCCCO", "CCCCCCN")
    nine = dataset(tmp_path / "nine.npz", "CCCCCCCCO")
    curves = run("organic", tmp_path, "--qm7", seven, "--qm9", nine, "--systems", "3", "--max-heavy", "4")
    assert sorted(curve.system for curve in curves) == ["nine-0", "seven-0", "seven-1"]
    assert all(abs(curve.errors_kcal[-1]) < 3 for curve in curves)
    assert len({curve.n_amons for curve in curves}) == 1  # pooled


@pytest.mark.slow
def test_small_run_of_density_functional_theory(tmp_path: Path) -> None:
    seven = dataset(tmp_path / "seven.npz", "OCCC")
    (known,) = run("pbe", tmp_path, "--max-heavy", "3", labels="hf/sto-3g", molecules={"propanol": "OCCC"})
    few = {"sizes": (4,), "count": 1}
    given = ["--qm7", seven, "--qm9", seven, "--max-heavy", "3"]
    (curve,) = run("pbe-random", tmp_path, *given, labels="hf/sto-3g", drawn={"qm7": few})
    assert (known.system, curve.system, curve.sizes) == ("propanol", "CCCO", (1, 2, 3))
    assert abs(known.errors_kcal[-1]) < 3
    relaxed = Relaxing(TbliteLevel("gfn2-xtb"), largest_force=2e-4).label(from_smiles("OCCC"))
    exact = LevelOfTheory.parse("hf/sto-3g").label(relaxed).energy
    assert curve.reference_energy == pytest.approx(exact, abs=1e-5)
    assert abs(curve.errors_kcal[-1]) < 3


# --- polymers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "smiles"),
    [
        ("polyethylene", 8 * "CC"),
        ("polyacetylene", 8 * "C=C"),
        ("polyethylene oxide", "CCOCCOCCOCCOCCOCCO"),
        ("polyvinyl chloride", "CC(Cl)CC(Cl)CC(Cl)CC(Cl)CC(Cl)CCCl"),
    ],
)
def test_chains_are_those_of_the_polymer(name: str, smiles: str) -> None:
    record = record_from_atoms(systems.built(name))
    assert systems.smiles_of(record) == Chem.MolToSmiles(Chem.MolFromSmiles(smiles))
    assert (len(record) - 2) % CLASSES["polymers"].parameters[name][1] == 0
    assert record.numbers[-2:].tolist() == [1, 1]


def test_cell_of_polyethylene_costs_what_a_monomer_costs(tmp_path: Path) -> None:
    pytest.importorskip("tblite")
    bench = Bench(CLASSES["polymers"], words(tmp_path))
    cell = systems.middle_cell(record_from_atoms(systems.built("polyethylene")), 8)
    assert cell.cell.lengths()[0] == pytest.approx(2 * 1.27)
    short, long = (builders.cell_energy(bench, cell, count) * KCAL_PER_MOL for count in (3, 5))
    assert short == pytest.approx(long, abs=0.3)


def test_tiny_polymer(tmp_path: Path) -> None:
    chain, cell = run("polymers", tmp_path, "--max-heavy", "4", "--systems", "1")
    assert (chain.system, cell.system) == ("polyethylene, chain", "polyethylene, cell")
    assert chain.sizes == cell.sizes == (1, 2, 3, 4)
    assert abs(chain.errors_kcal[-1]) < 1 < abs(chain.errors_kcal[0])
    assert abs(cell.errors_kcal[-1]) < 2
    assert cell.n_atoms == 6


# --- water ------------------------------------------------------------------------------------------------------------


def test_droplets_are_separate_waters() -> None:
    for name, n in CLASSES["water"].parameters.items():
        record = record_from_atoms(systems.built(name))
        molecule = molecule_from(record)
        assert [len(molecule.neighbours[atom]) for atom in molecule.heavy] == [2] * n
        assert np.ptp(record.positions * BOHR, axis=0).max() < 15


def test_tiny_water(tmp_path: Path) -> None:
    pair, triple = run("water", tmp_path, "--systems", "2", "--max-heavy", "2")
    assert (pair.system, triple.system) == ("(H2O)2", "(H2O)3")
    assert pair.sizes == (1, 2)
    assert abs(pair.errors_kcal[-1]) < 0.01 < abs(pair.errors_kcal[0])  # the pair is its own amon
    assert abs(triple.errors_kcal[-1]) < abs(triple.errors_kcal[0])
    assert (tmp_path / "water.db").is_file()


def test_errors_of_droplets_are_those_of_a_molecule(tmp_path: Path) -> None:
    (dimer,) = run("water", tmp_path, "--systems", "1", "--max-heavy", "1")
    assert (dimer.system, dimer.sizes) == ("(H2O)2", (1, 2))
    assert dimer.errors_kcal == pytest.approx((2.6886, 0.0), abs=0.01)  # its binding energy is twice that


# --- boron nitride ----------------------------------------------------------------------------------------------------


def test_flakes_are_hexagons() -> None:
    formulas = [systems.built(f"flake {count}").symbols.formula.format("hill") for count in (1, 2, 3)]
    assert formulas == ["H6B3N3", "H12B12N12", "H18B27N27"]


@pytest.mark.parametrize(("name", "n_carbon"), [("pure", 0), ("C2 for BN", 2), ("C for B", 1), ("C for N", 1)])
def test_flakes_and_sheets_are_doped_alike(name: str, n_carbon: int) -> None:
    sites = CLASSES["hbn"].parameters[name]
    flake, sheet = (systems.built(one, sites) for one in ("flake 2", "sheet 4"))
    for atoms in (flake, sheet):
        carbon = np.flatnonzero(atoms.numbers == 6)
        assert len(carbon) == n_carbon
        if n_carbon == 2:
            assert atoms.get_distance(*carbon, mic=bool(atoms.pbc.any())) == pytest.approx(2.504 / 3**0.5)
    assert np.count_nonzero(sheet.numbers == 5) - np.count_nonzero(sheet.numbers == 7) == (
        np.count_nonzero(flake.numbers == 5) - np.count_nonzero(flake.numbers == 7)
    )


def test_tiny_boron_nitride(tmp_path: Path) -> None:
    curves = run("hbn", tmp_path, "--systems", "1", "--max-heavy", "5")
    assert [curve.system for curve in curves] == ["flake, pure", "sheet, pure"]
    for curve in curves:
        assert curve.sizes == (1, 2, 3, 4, 5)
        assert abs(curve.errors_kcal[-1]) < 20 < abs(curve.errors_kcal[0])
    pair = curves[1].reference_energy * KCAL_PER_MOL / 2
    assert pair == pytest.approx(-1338.5, abs=1.0)  # an atom, as of three larger flakes


# --- silicon ----------------------------------------------------------------------------------------------------------


def test_both_cells_of_silicon_are_the_same_crystal() -> None:
    names = [*CLASSES["silicon"].parameters, *CLASSES["silicon-strained"].parameters]
    built = {name: f"silicon, {name}" for name in names}
    crystals = {name: (systems.built(one), systems.built(f"{one}, cubic")) for name, one in built.items()}
    assert len(crystals) == 9
    volumes = {name: cubic.get_volume() / crystals["perfect"][1].get_volume() for name, (_, cubic) in crystals.items()}
    assert volumes["compressed 3 %"] == pytest.approx(0.97**3)
    assert volumes["tetragonal"] == pytest.approx(0.98 * 1.01 * 1.02)
    for cell, cubic in crystals.values():
        assert cell.get_volume() / len(cell) == pytest.approx(cubic.get_volume() / len(cubic))
        nearest = [
            np.sort(atoms.get_distances(0, range(len(atoms)), mic=True))[1:5].mean()
            for atoms in (cell.repeat(4), cubic.repeat(2))
        ]
        assert nearest[0] == pytest.approx(nearest[1])


def test_tiny_silicon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builders, "supercell_energy", lambda cubic: len(cubic) * -1071.17 / KCAL_PER_MOL)
    (curve,) = run("silicon", tmp_path, "--systems", "1", "--max-heavy", "4")
    assert curve.sizes == (1, 2, 3, 4)
    assert abs(curve.errors_kcal[-1]) < 10 < abs(curve.errors_kcal[0])


def test_supercell_energy_is_that_of_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tblite")
    cell = bulk("Si", "diamond", a=5.431, cubic=True)
    monkeypatch.setattr(builders, "SUPERCELL", (1, 1, 1))
    assert builders.supercell_energy(cell) * KCAL_PER_MOL / 8 == pytest.approx(-1060.61, abs=0.01)


# --- base pairs -------------------------------------------------------------------------------------------------------


def test_guanine_and_cytosine_face_each_other() -> None:
    pair = systems.built("G-C")
    assert pair.symbols.formula.format("hill") == "C9H10N8O2"
    bridges = [pair.get_distance(one, 16 + other) for one, other in ((9, 0), (10, 7), (0, 6))]  # O6-N4, N1-N3, N2-O2
    assert bridges == pytest.approx([2.9, 2.9, 2.9], abs=0.1)
    assert pair.get_all_distances()[:16, 16:].min() > 1.7


def test_largest_contacts_of_base_pairs_show_all_hydrogen_bonds_of_guanine_and_cytosine_and_no_smaller_do() -> None:
    kind, ends = CLASSES["base-pairs"], {0, 9, 10, 16, 22, 23}  # O6-N4, N1-N3, N2-O2
    found = find_amons(
        record_from_atoms(systems.built("G-C")), kind.max_heavy, max_contact_heavy=kind.max_contact_heavy
    )
    whole = {amon.smiles: amon.n_heavy for amon in found if any(ends <= set(place) for place in amon.occurrences)}
    assert whole == {"N=C(N)NC=O.NC=NC=O": kind.max_contact_heavy}


def test_tiny_base_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systems, "built", lambda name: create_s22_system("Formamide_dimer"))
    pair, binding = run("base-pairs", tmp_path, "--max-heavy", "6", parameters={"A-T": 6})
    assert pair.sizes[-1] == 6
    assert abs(pair.errors_kcal[-1]) < 0.1  # the dimer is its own amon
    assert binding.system.startswith("A-T, interaction (-1")
    assert abs(binding.errors_kcal[-1]) < 1 < -binding.reference_energy * KCAL_PER_MOL  # against relaxed formamides
