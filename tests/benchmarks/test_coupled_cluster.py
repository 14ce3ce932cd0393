"""From Hartree-Fock theory to coupled cluster: a study in a minimal basis that goes on, and figures that are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyscf import gto, scf
from pyscf.hessian import thermo

from ase_mlwave.data.record import Dataset, Record
from ase_mlwave.data.writers import write_dataset
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.reference.calculator import ReferenceCalculator
from ase_mlwave.reference.levels import LevelOfTheory
from benchmarks.common import read_json
from benchmarks.coupled_cluster import __main__ as study
from benchmarks.coupled_cluster import learners, wavefunctions
from benchmarks.coupled_cluster.learners import errors
from benchmarks.coupled_cluster.vibrations import relaxed_vibrations

HIGH, LOW = "ccsd/sto-3g dipole=true", "hf/sto-3g density_fit=false"
SPLITS = ("train",) * 6 + ("valid",) * 2 + ("test",) * 2


@pytest.fixture(scope="module")
def waters() -> list[Record]:
    rng = np.random.default_rng(1)
    places = np.array([(0, 0, 0), (1.9, 0, 0), (-0.45, 1.85, 0)]) + 0.15 * rng.normal(size=(len(SPLITS), 3, 3))
    numbers = np.array([8, 1, 1])
    return [Record(numbers, place, info={"split": split}) for place, split in zip(places, SPLITS, strict=True)]


@pytest.fixture(scope="module")
def words(waters: list[Record], tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Options of a study of seconds; Hartree-Fock theory has not labelled the test geometries yet."""
    folder = tmp_path_factory.mktemp("study")
    for level, name, some in ((HIGH, "high", waters), (LOW, "low", waters[:8])):
        labels = tuple(LevelOfTheory.parse(level).label(record) for record in some)
        write_dataset(folder / f"{name}.db", Dataset(labels, level, name))
    small = ["steps=2", "steps_per_epoch=1", "batch_size=2"]
    network = ["model.features=4", "model.hidden=8", "model.n_radial=4", "model.basis=sto-3g", f"model.level={LOW}"]
    options = ["--high", str(folder / "high.db"), "--low", str(folder / "low.db"), "--output", str(folder / "runs")]
    options += ["--points", "4", "6", "--valid", "2", "--test", "2", "--wavefunctions", "1", "--no-vibrations"]
    options += ["--models"]
    return [*options, "--set", f"model.level={HIGH}", *small, "--set-low", *network, *small]


@pytest.mark.slow
def test_study_measures_all_learners_and_goes_on(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    study.main(words)
    folder = Path(words[5])
    results = read_json(folder / "coupled_cluster.json")
    assert {(one["learner"], one["points"]) for one in results["learning"]} == {
        (name, n) for name in learners.LEARNERS for n in (4, 6)
    }
    assert all(np.isfinite(list(one.values())[2:]).all() for one in results["learning"])
    by_name = {(one["learner"], one["points"]): one for one in results["learning"]}
    # What coupled cluster adds to Hartree-Fock theory is smoother than the energy.
    assert by_name["kernel on HF", 6]["energy_mae_meV"] < 0.5 * by_name["kernel", 6]["energy_mae_meV"]
    assert list(results["wavefunctions"]) == ["PySCF HF", "HF", *list(learners.LEARNERS)[:4]]
    assert (folder / "coupled_cluster.png").is_file()
    assert "wavefunction and atoms" in (folder / "learning.md").read_text(encoding="utf-8")

    def never(*arguments: object) -> None:
        raise AssertionError("done before")

    monkeypatch.setattr(study, "LEARNERS", dict.fromkeys(learners.LEARNERS, never))
    study.main([*words, "--points", "6"])


def test_errors_are_in_the_units_of_their_names(waters: list[Record]) -> None:
    label = LevelOfTheory.parse(LOW).label(waters[0])
    assert label.forces is not None
    found = errors((np.array([label.energy]) + 1e-3, label.forces[None] - 1e-3), [label])
    assert found["energy_mae_meV"] == pytest.approx(27.2114, abs=1e-3)
    assert found["forces_median_meV_per_A"] == pytest.approx(51.4221, abs=1e-3)


def test_displaced_electrons_count_what_is_elsewhere(waters: list[Record]) -> None:
    """One of two electrons that is moved from one distant atom to another is one displaced electron."""
    mole = build_mole(np.array([1, 1]), np.array([[0.0, 0, 0], [0, 0, 40.0]]), "sto-3g")
    levels = np.array([-0.5, -0.6, -0.7])
    both, one = (wavefunctions.Wavefunction(np.diag(p), levels) for p in ([1.0, 1.0], [2.0, 0.0]))
    grid = wavefunctions._grid(mole)
    found = wavefunctions._compared(one, both, mole, grid)
    assert found["displaced_electrons"] == pytest.approx(1.0, abs=0.02)
    assert found["dipole_D"] == pytest.approx(40 * 2.541746, rel=1e-4)
    shifted = replace(both, levels=levels - 0.1)
    assert wavefunctions._compared(shifted, both, mole, grid)["orbitals_signed_eV"] == pytest.approx(-2.7211, abs=1e-3)


def test_frequencies_are_those_of_the_analytic_hessian(tmp_path: Path) -> None:
    found = relaxed_vibrations(ReferenceCalculator(LOW), tmp_path / "cache")
    x = found["distance_A"] * np.sin(np.radians(found["angle_deg"] / 2))
    z = found["distance_A"] * np.cos(np.radians(found["angle_deg"] / 2))
    mole = gto.M(atom=f"O 0 0 0; H {x} 0 {z}; H {-x} 0 {z}", basis="sto-3g", verbose=0)
    mean_field = scf.RHF(mole).run(conv_tol=1e-11)
    masses = thermo.harmonic_analysis(mole, mean_field.Hessian().kernel())
    np.testing.assert_allclose(found["frequencies_cm"], masses["freq_wavenumber"].real, rtol=2e-3)
