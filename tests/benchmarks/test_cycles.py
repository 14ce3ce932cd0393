"""Cycles by size: both guesses of every molecule once, costs of the guess included, what is handed over as PySCF's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Dataset
from ase_mlwave.data.writers import write_dataset
from benchmarks import cycles
from benchmarks.conformer_set import _ENERGIES, read_conformers
from tests.calculators.waters import waters


def conformer_file(path: Path, molecules: list[list[Atoms]]) -> Path:
    """Write a set of conformers, the energies of which count up in kcal/mol or Hartree."""
    structures = [atoms for conformers in molecules for atoms in conformers]
    count = np.arange(len(structures), dtype=float)
    np.savez(
        path,
        numbers=np.concatenate([atoms.numbers for atoms in structures]),
        positions=np.concatenate([atoms.positions for atoms in structures]),
        natoms=np.array([len(atoms) for atoms in structures]),
        molecule=np.array([f"molecule {k}" for k, conformers in enumerate(molecules) for _ in conformers]),
        **{entry: count for entry, _ in _ENERGIES.values()},
    )
    return path


def test_conformers_are_read_by_molecule(tmp_path: Path) -> None:
    given = [waters(2), waters(3)]
    found = read_conformers(conformer_file(tmp_path / "set.npz", given))
    assert [len(one.structures) for one in found] == [2, 3]
    assert found[1].structures[2].positions == pytest.approx(given[1][2].positions)
    np.testing.assert_allclose(np.diff(found[1].energies["gfn2-xtb"]), 1.0)
    np.testing.assert_allclose(np.diff(found[1].energies["pbe/def2-svp"]), 627.509, rtol=1e-5)


def test_one_command_gives_table_and_picture_and_a_second_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    far = waters(1)[0]
    far.positions[1] *= 2.5
    data = conformer_file(tmp_path / "set.npz", [waters(1), [far]])
    words = ["phisnet-water", "--conformers", str(data), "--atoms", "1", "9", "--level", "RHF/STO-3G"]
    words += ["--names", "H2O", "--output", str(tmp_path)]
    (usual, handed_over, named) = cycles.main(words)
    assert cycles.rows_by_molecule([named])[1] == [
        "H2O",
        *(str(named[way]["cycles"]) for way in ("cold", "warm")),
        "model's",
    ]
    assert usual["warm"]["served"]
    assert usual["warm"]["cycles"] <= usual["cold"]["cycles"]
    assert usual["warm"]["energy"] == pytest.approx(usual["cold"]["energy"], abs=1e-7)
    assert usual["warm"]["cpu"] > 0
    assert not handed_over["warm"]["served"]
    assert handed_over["warm"]["cycles"] == handed_over["cold"]["cycles"]
    table = (tmp_path / "cycles.md").read_text().splitlines()
    assert table[2].startswith("| drug-like molecules, 3 to 3 | 2 | 1 |")
    assert (tmp_path / "cycles.png").stat().st_size > 1000

    def refused(*_: Any) -> None:
        raise AssertionError("an SCF was run again")

    monkeypatch.setattr(cycles, "converged", refused)
    assert cycles.main(words) == [usual, handed_over, named]


def test_fock_matrices_of_a_guess_are_cycles() -> None:
    def careless(solver: Any) -> Any:
        guess = solver.get_init_guess()
        solver.get_veff(solver.mol, guess)
        return guess

    atoms = waters(1)[0]
    plain = cycles.converged(atoms, "RHF/STO-3G", 1, lambda solver: solver.get_init_guess())
    assert cycles.converged(atoms, "RHF/STO-3G", 1, careless)["cycles"] == plain["cycles"] + 1


def test_molecules_are_held_out_and_of_all_sizes(tmp_path: Path) -> None:
    names = ["CH4", "C2H6", "C2H2", "C2H6", "H2O"]
    records = tuple(record_from_atoms(molecule(name)) for name in names)
    path = tmp_path / "a.extxyz"
    write_dataset(path, Dataset(records, "", "test"))
    found = cycles.held_out([path], 9)
    assert [atoms.get_chemical_formula() for atoms in found] == ["C2H2", "C2H6"]
    assert len(cycles.held_out([path], 1)) == 1
