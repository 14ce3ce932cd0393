"""The benchmark of amons on extended and touching systems: geometries, references, and a tiny run of every class."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.models.amons.fragments.perception import molecule_from
from ase_mlwave.reference.levels import TbliteLevel
from ase_mlwave.units import BOHR
from benchmarks.amons import base_pairs, hbn, polymers, silicon, water
from benchmarks.amons.curve import KCAL_PER_MOL, Options

LEVEL = TbliteLevel("gfn2-xtb")


def silent(folder: Path, **changes: object) -> Options:
    return replace(Options(folder, progress=False), **changes)  # type: ignore[arg-type]


# --- polymers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "smiles"),
    [
        ("polyethylene", "CCCCCC"),
        ("polyacetylene", "C=CC=CC=C"),
        ("polyethylene oxide", "CCOCCOCCOCCOCCOCCO"),
        ("polyvinyl chloride", "CC(Cl)CC(Cl)CC(Cl)CC(Cl)CC(Cl)CCCl"),
    ],
)
def test_chains_are_those_of_the_polymer(name: str, smiles: str) -> None:
    from rdkit import Chem

    atoms, groups = polymers.zigzag(polymers.POLYMERS[name].cell, 3)
    found = molecule_from(record_from_atoms(atoms)).to_rdkit()
    expected = Chem.MolToSmiles(Chem.MolFromSmiles(smiles))
    assert Chem.MolToSmiles(Chem.RemoveHs(found), isomericSmiles=False) == expected
    assert sorted(atom for group in groups for atom in group) == [*range(len(atoms) - 2)]


def test_cell_of_polyethylene_costs_what_a_monomer_costs() -> None:
    atoms, groups = polymers.zigzag(("CH2", "CH2"), 5)
    cell = polymers._middle(record_from_atoms(atoms), groups)
    assert cell.cell.lengths()[0] == pytest.approx(2 * 1.27)
    short, long = (polymers._cell_energy(cell, LEVEL, count) * KCAL_PER_MOL for count in (3, 5))
    assert short == pytest.approx(long, abs=0.3)


def test_tiny_polymer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polymers, "POLYMERS", {"polyethylene": polymers.Polymer(("CH2", "CH2"), 1, 3)})
    chain, cell = polymers.run(silent(tmp_path, max_heavy=4))
    assert (chain.system, cell.system) == ("polyethylene, chain", "polyethylene, cell")
    assert chain.sizes == cell.sizes == (1, 2, 3, 4)
    assert abs(chain.errors_kcal[-1]) < 1 < abs(chain.errors_kcal[0])
    assert abs(cell.errors_kcal[-1]) < 2
    assert cell.n_atoms == 6


# --- water ------------------------------------------------------------------------------------------------------------


def test_droplets_are_separate_waters() -> None:
    record = water.droplet(6, seed=1)
    molecule = molecule_from(record)
    assert [len(molecule.neighbours[atom]) for atom in molecule.heavy] == [2] * 6
    assert record.formula == "H12O6"
    assert np.ptp(record.positions * BOHR, axis=0).max() < 12
    assert not np.allclose(record.positions, water.droplet(6, seed=2).positions)


def test_tiny_water(tmp_path: Path) -> None:
    pair, triple = water.run(silent(tmp_path, n_systems=2, max_heavy=2))
    assert (pair.system, triple.system) == ("(H2O)2", "(H2O)3")
    assert pair.sizes == (1, 2)
    assert abs(pair.errors_kcal[-1]) < 0.01 < abs(pair.errors_kcal[0])  # the pair is its own amon
    assert abs(triple.errors_kcal[-1]) < abs(triple.errors_kcal[0])
    assert (tmp_path / "water.db").is_file()


# --- boron nitride ----------------------------------------------------------------------------------------------------


def test_flakes_are_hexagons() -> None:
    formulas = [hbn.flake(count).symbols.formula.format("hill") for count in (1, 2, 3)]
    assert formulas == ["H6B3N3", "H12B12N12", "H18B27N27"]


@pytest.mark.parametrize(("name", "n_carbon"), [("pure", 0), ("C2 for BN", 2), ("C for B", 1), ("C for N", 1)])
def test_flakes_and_sheets_are_doped_alike(name: str, n_carbon: int) -> None:
    dopants = hbn.DOPANTS[name]
    flake, sheet = hbn.flake(2, dopants), hbn.doped_sheet(dopants, 4)
    for atoms in (flake, sheet):
        carbon = np.flatnonzero(atoms.numbers == 6)
        assert len(carbon) == n_carbon
        if n_carbon == 2:
            assert atoms.get_distance(*carbon, mic=bool(atoms.pbc.any())) == pytest.approx(2.504 / 3**0.5)
    assert np.count_nonzero(sheet.numbers == 5) - np.count_nonzero(sheet.numbers == 7) == (
        np.count_nonzero(flake.numbers == 5) - np.count_nonzero(flake.numbers == 7)
    )
    assert dopants.has_radical == (n_carbon == 1)


def test_tiny_boron_nitride(tmp_path: Path) -> None:
    curves = hbn.run(silent(tmp_path, n_systems=1, max_heavy=5))
    assert [curve.system for curve in curves] == ["flake, pure", "sheet, pure"]
    for curve in curves:
        assert curve.sizes == (1, 2, 3, 4, 5)
        assert abs(curve.errors_kcal[-1]) < 20 < abs(curve.errors_kcal[0])
    pair = curves[1].reference_energy * KCAL_PER_MOL / 2
    assert pair == pytest.approx(-1338.5, abs=1.0)  # an atom, as of three larger flakes


# --- silicon ----------------------------------------------------------------------------------------------------------


def test_both_cells_of_silicon_are_the_same_crystal() -> None:
    crystals = {name: (cell, cubic) for name, cell, cubic in silicon.cells()}
    assert len(crystals) == 5
    for cell, cubic in crystals.values():
        assert cell.get_volume() / len(cell) == pytest.approx(cubic.get_volume() / len(cubic))
        nearest = [
            np.sort(atoms.get_distances(0, range(len(atoms)), mic=True))[1:5].mean()
            for atoms in (cell.repeat(4), cubic.repeat(2))
        ]
        assert nearest[0] == pytest.approx(nearest[1])


def test_tiny_silicon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silicon, "supercell_energy", lambda cubic: len(cubic) * -1071.17 / KCAL_PER_MOL)
    (curve,) = silicon.run(silent(tmp_path, n_systems=1, max_heavy=4))
    assert curve.sizes == (1, 2, 3, 4)
    assert abs(curve.errors_kcal[-1]) < 10 < abs(curve.errors_kcal[0])


def test_supercell_energy_is_that_of_the_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = bulk("Si", "diamond", a=5.431, cubic=True)
    monkeypatch.setattr(silicon, "_SUPERCELL", (1, 1, 1))
    assert silicon.supercell_energy(cell) * KCAL_PER_MOL / 8 == pytest.approx(-1060.61, abs=0.01)


# --- base pairs -------------------------------------------------------------------------------------------------------


def test_guanine_and_cytosine_face_each_other() -> None:
    pair = base_pairs.guanine_cytosine()
    assert pair.symbols.formula.format("hill") == "C9H10N8O2"
    bridges = [pair.get_distance(one, 16 + other) for one, other in zip(*base_pairs._EDGES, strict=True)]
    assert bridges == pytest.approx([2.9, 2.9, 2.9], abs=0.1)
    between = pair.get_all_distances()[:16, 16:]
    assert between.min() > 1.7


def test_tiny_base_pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small(_: str) -> Atoms:
        from ase.data.s22 import create_s22_system

        return create_s22_system("Formamide_dimer")

    monkeypatch.setattr(base_pairs, "create_s22_system", small)
    monkeypatch.setattr(base_pairs, "_ADENINE_ATOMS", 6)
    pair, binding = base_pairs.run(silent(tmp_path, n_systems=1, max_heavy=6))
    assert pair.sizes[-1] == 6
    assert abs(pair.errors_kcal[-1]) < 0.1  # the dimer is its own amon
    assert binding.system.startswith("A-T, interaction (-1")
    assert abs(binding.errors_kcal[-1]) < 1 < -binding.reference_energy * KCAL_PER_MOL  # against relaxed formamides
    assert binding.reference_energy < 0
