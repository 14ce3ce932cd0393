"""Cases of speed, with few molecules, and the structures that they are measured on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import units
from ase.neighborlist import neighbor_list

from benchmarks.common import read_json
from benchmarks.speed import amons, dynamics, functional, growth, integrals, networks, surfaces
from benchmarks.speed.__main__ import main
from benchmarks.structures import chain, of_nine_heavy, water_box


def run(tmp_path: Path, case: str, *words: str) -> dict[str, dict[str, float]]:
    main([case, "--repeats", "1", "--output", str(tmp_path), *words])
    return read_json(tmp_path / f"{case}.json")


# --- structures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n_atoms", [10, 100, 1000])
def test_chain_is_an_alkane(n_atoms: int) -> None:
    atoms = chain(n_atoms)
    carbons = atoms.symbols.count("C")
    assert abs(len(atoms) - n_atoms) <= 2
    assert atoms.symbols.count("H") == 2 * carbons + 2
    first, second, distances = neighbor_list("ijd", atoms, 1.7)
    bonds = np.bincount(first, minlength=len(atoms))
    assert (bonds[atoms.numbers == 6] == 4).all()
    assert (bonds[atoms.numbers == 1] == 1).all()
    of_carbons = (atoms.numbers[first] == 6) & (atoms.numbers[second] == 6)
    np.testing.assert_allclose(distances[of_carbons], 1.53, atol=0.01)
    np.testing.assert_allclose(distances[~of_carbons], 1.09, atol=0.01)
    closest = neighbor_list("d", atoms[atoms.numbers == 1], 3.0)
    assert closest.min() > 1.7


def test_waters_do_not_overlap() -> None:
    atoms = water_box(300)
    assert len(atoms) == 300
    distances = atoms.get_all_distances()
    molecules = np.arange(300) // 3
    between = molecules[:, None] != molecules
    assert distances[between].min() > 1.6
    assert distances[~between].max() < 1.6  # every molecule is whole


def test_waters_have_the_density_of_the_liquid() -> None:
    atoms = water_box(3000)  # a full cube of 10 x 10 x 10 places
    oxygens = atoms.positions[atoms.numbers == 8]
    volume = np.prod(np.ptp(oxygens, axis=0) * 10 / 9)
    grams_per_cm3 = atoms.get_masses().sum() / volume / (units.mol * 1e-24)
    assert grams_per_cm3 == pytest.approx(0.997, abs=0.005)


def test_water_does_not_depend_on_anything_but_its_seed() -> None:
    assert water_box(30) == water_box(30)
    assert water_box(30) != water_box(30, seed=1)


def test_peptide_has_sixty_atoms() -> None:
    assert len(amons.from_smiles(amons.PEPTIDE, 0)) == 62


def test_molecules_are_of_the_size_of_qm9() -> None:
    systems = of_nine_heavy(20)
    assert {sum(atoms.numbers > 1) for atoms in systems} == {9}
    assert np.mean([len(atoms) for atoms in systems]) == pytest.approx(17.7, abs=0.5)
    assert len({atoms.get_chemical_formula() + str(atoms.positions) for atoms in of_nine_heavy(40)}) == 40


# --- cases ------------------------------------------------------------------------------------------------------------


def test_representation_and_kernel_are_timed_beside_the_public_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("qmllib")
    monkeypatch.setattr(amons, "RIVAL_MOLECULES", 3)
    (figures,) = run(tmp_path, "representation", "--molecules", "4").values()
    assert figures["compact"] > 0
    (figures,) = run(tmp_path, "kernel", "--molecules", "4").values()
    assert figures["ours"] > 0
    assert figures["public program, extrapolated"] > figures["public program, 3 molecules"] > 0


def test_published_field_is_timed_beside_its_original(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(networks, "g2", type("", (), {"names": ["H2O2", "C2H6"]}))
    (figures,) = run(tmp_path, "published").values()
    assert figures["molecules"] == 2
    assert figures["ours / original, batch of 4"] == pytest.approx(
        figures["molecules per CPU-second, batch of 4"] / 36.7
    )


def test_functional_is_timed_beside_pyscf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(functional, "SMILES", ("O",))
    monkeypatch.setattr(functional, "WARM", "H2O")
    found = run(tmp_path, "functional", "--model", "phisnet-water")
    times = found["H2O, 3 atoms"]
    assert times["ours: energy and forces, s"] > times["ours: matrices, s"] > 0
    total = times["PySCF: SCF to 1e-9, s"] + times["PySCF: gradient, s"]
    assert found["median"]["PySCF / ours"] == pytest.approx(total / times["ours: energy and forces, s"])


def test_a_step_of_dynamics_takes_longer_than_its_domain_distances(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamics, "STEPS", 2)
    (times,) = run(tmp_path, "dynamics", "--molecules", "1").values()
    assert times["step of dynamics (NVE), ms"] > times["of it domain distances, ms"] > 0


def test_integrals_of_both_programs_are_timed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(integrals, "MOLECULES", {"water": integrals.MOLECULES["water"]})
    monkeypatch.setattr(integrals, "BATCHES", (("torch", 2), ("pyscf", 1)))
    found = run(tmp_path, "integrals", "--repeats", "1")["water"]
    assert len(found) == 4
    assert min(found.values()) > 0


def test_surfaces_are_timed_beside_pyscf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(surfaces, "MOLECULES", {"water": surfaces.MOLECULES["water"]})
    monkeypatch.setattr(surfaces, "NETWORKS", {"tiny": (8, 1, 8)})
    found = run(tmp_path, "surfaces")
    assert found["phisnet-water"]["step of dynamics (NVE), ms"] > 0
    reference, ours = (found["water"][name] for name in list(found["water"])[:2])
    assert found["water"]["tiny, one: PySCF / ours"] == pytest.approx(reference / ours)
    assert len(found["water"]) == 5


def test_steps_of_a_drop_and_of_a_cell_are_timed(tmp_path: Path) -> None:
    drop, cell = run(tmp_path, "step", "--atoms", "60").values()
    assert (drop["atoms"], cell["atoms"]) == (60, 60)
    assert cell["pairs"] > drop["pairs"] > 0
    assert 1 <= drop["searches"] < growth.STEPS


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_energies_and_forces_of_growing_systems_are_timed(tmp_path: Path) -> None:
    found = run(tmp_path, "growth", "--atoms", "10", "30")
    assert list(found["seconds"]) == [
        f"{family} atoms" for family in ("alkane, 11", "alkane, 29", "water, 9", "water, 30")
    ]
    assert 0 < found["seconds"]["alkane, 11 atoms"] < found["seconds"]["alkane, 29 atoms"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["growth", "--model", "no-such-model"], r"error: .*no-such-model"),
        (["training"], "training needs --data"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_any_work(tmp_path: Path, words: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        main([*words, "--output", str(tmp_path)])


@pytest.mark.parametrize("words", [["kernl"], ["kernel", "--molecules", "0"], ["kernel", "--data", "nowhere.xyz"]])
def test_bad_words_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(words)
