"""What a calculator lacks, and how it learns that: warnings that name an amon, extension, and dynamics that ask."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import molecule
from ase.calculators.calculator import InputError
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fragments.geometry import amon_geometries
from ase_mlwave.reference.calculator import ReferenceCalculator

pytest.importorskip("tblite")
pytest.importorskip("rdkit")

ENERGIES = FitSettings(directions=0)


def learn(query: Any, place: Path, max_heavy: int = 1, settings: FitSettings | None = ENERGIES, **more: Any) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1) as threads:
        options = {"reference": "gfn2-xtb", "max_heavy": max_heavy, "database": place / "amons.db", **more}
        return AmonsCalculator.for_query(query, settings=settings, executor=threads, **options)


def reference_energy(atoms: Atoms) -> float:
    copy = atoms.copy()
    copy.calc = ReferenceCalculator("gfn2-xtb")
    return float(copy.get_potential_energy())


def test_warning_names_atoms_and_the_amon(tmp_path: Path) -> None:
    calc, ethanol = learn("CCO", tmp_path), molecule("CH3CH2OH")
    named = r"surroundings of the atoms .*1 \(C\).* of up to 1 heavy atoms are known; .* C?CO: .*max_heavy=[23]"
    with pytest.warns(OutOfDomainWarning, match=named):
        calc.get_potential_energy(ethanol)
    assert calc.extras["missing_amon"] in {"CO", "CCO"}
    assert calc.extras["energy_uncertainty"] > calc.domain.thresholds["energy_uncertainty"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        calc.get_potential_energy(methane(calc))
    assert calc.extras["missing_amon"] is None


def methane(calc: AmonsCalculator) -> Atoms:
    """Return methane as it was learned."""
    return atoms_from_record(next(record for record in calc.study.records if record.info["smiles"] == "C"))


def test_fragment_is_looked_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ase_mlwave.models.amons.learning import active

    calls = []
    advise = active.advise
    monkeypatch.setattr(active, "advise", lambda *given: calls.append(given) or advise(*given))
    calc, ethanol = learn("CCO", tmp_path), molecule("CH3CH2OH")
    calc.get_potential_energy(methane(calc))
    assert not calls
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", OutOfDomainWarning)
        for step in range(3):
            ethanol.rattle(0.001, seed=step)
            calc.get_potential_energy(ethanol)
    assert len(calls) <= 2  # one for each atom that was the worst
    assert len({str(warning.message) for warning in caught}) == len(calls)


def test_structure_without_certain_bonds_is_computed_all_the_same(tmp_path: Path) -> None:
    calc = learn("CCO", tmp_path)
    odd = Atoms("OHHH", [[0, 0, 0], [0, 0, 0.96], [0.93, 0, -0.24], [0, 2.4, 0]], info={"spin": 0})
    odd += Atoms("H", [[0, -2.4, 0]])
    odd.numbers[-1] = 1
    odd = odd[[0, 1, 2, 3]] + Atoms("C", [[0, 3.5, 0]]) + Atoms("H", [[0, 4.6, 0]])
    with pytest.warns(OutOfDomainWarning, match="No amon can be named"):
        assert np.isfinite(calc.get_potential_energy(odd))
    assert calc.extras["missing_amon"] is None
    with pytest.raises(InputError):
        calc.extend(odd)


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_extension_labels_the_amon_and_learns_it(labelled: list[str], tmp_path: Path) -> None:
    propanol = smiles_atoms("CCCO")
    calc = learn(propanol, tmp_path, keep_geometry=False)
    before = calc.get_potential_energy(propanol)
    old_model, missing = calc.parameters["model"], calc.extras["missing_amon"]
    exact, paid = reference_energy(propanol), len(labelled)
    added = calc.extend()
    assert missing in {"CCO", "CCC"}
    assert [record.info["smiles"] for record in added] == [missing] * len(added) == labelled[paid:]
    assert calc.parameters["model"] != old_model
    assert not calc.results
    assert not calc.extras
    after = calc.get_potential_energy(propanol)
    assert abs(after - exact) < abs(before - exact)
    assert missing in calc.extras["amons"]
    assert [point.max_heavy for point in calc.learning_curve()][-1] == 3
    np.testing.assert_array_equal(after, AmonsCalculator(calc.parameters["model"]).get_potential_energy(propanol))
    paid = len(labelled)
    calc.extend(n=3)
    assert len(set(labelled[paid:])) == 3
    while calc.extend():
        assert len(labelled) < 40
    assert calc.get_potential_energy(propanol) == pytest.approx(exact, abs=2e-3)  # its own largest amon is learned
    assert calc.extras["missing_amon"] is None


def smiles_atoms(smiles: str) -> Atoms:
    """Build a molecule."""
    return atoms_from_record(next(r for r in amon_geometries(smiles, 4, seed=1) if r.info["smiles"] == smiles))


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_known_amon_is_learned_in_another_geometry(labelled: list[str], tmp_path: Path) -> None:
    methanol = molecule("CH3OH")
    calc = learn(methanol, tmp_path, max_heavy=2)
    methanol.set_distance(0, 1, 1.75, fix=0)
    exact = reference_energy(methanol)
    before = calc.get_potential_energy(methanol)
    assert calc.extras["missing_amon"] is None
    paid = len(labelled)
    added = calc.extend(methanol)
    assert [record.info["smiles"] for record in added] == labelled[paid:]
    assert len(methanol) in {len(record) for record in added}
    after = calc.get_potential_energy(methanol)
    assert abs(after - exact) < 0.1 * abs(before - exact)


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_interrupted_extension_leaves_the_old_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ethanol = molecule("CH3CH2OH")
    calc = learn(ethanol, tmp_path, folder=tmp_path / "model")
    energy = calc.get_potential_energy(ethanol)
    study = calc.study
    with monkeypatch.context() as patched:
        patched.setattr("ase_mlwave.models.folder.ModelFolder.save", _interrupt)
        with pytest.raises(KeyboardInterrupt):
            calc.extend()
    assert calc.study is study
    assert AmonsCalculator(tmp_path / "model").get_potential_energy(ethanol) == energy
    calc.reset()
    assert calc.get_potential_energy(ethanol) == energy
    n_rows = DatasetFile(tmp_path / "amons.db").counts()["labelled"]
    assert calc.extend()
    assert DatasetFile(tmp_path / "amons.db").counts()["labelled"] == n_rows  # the labels were kept
    assert calc.get_potential_energy(ethanol) != energy
    assert calc.parameters["model"] == str(tmp_path / "model")


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_model_from_a_folder_must_be_told_where_labels_are(tmp_path: Path) -> None:
    ethanol = molecule("CH3CH2OH")
    model = learn(ethanol, tmp_path).parameters["model"]
    calc = AmonsCalculator(model)
    with pytest.raises(InputError, match=r"reference= .* database= "):
        calc.extend(ethanol)
    with pytest.raises(InputError, match="learned at 'gfn2-xtb'"):
        calc.extend(ethanol, reference="gfn1-xtb", database=tmp_path / "amons.db")
    with pytest.raises(InputError, match="no database"):
        calc.extend(ethanol, reference="gfn2-xtb", database=tmp_path / "other.db")
    assert calc.extend(ethanol, reference="gfn2-xtb", database=tmp_path / "amons.db")
    assert len(calc.members[0].network.config.amons) > 2
    assert calc.extend(ethanol)  # it knows now
    committee = AmonsCalculator([model, calc.parameters["model"]])
    with pytest.raises(InputError, match="committee"):
        committee.extend(ethanol)


def test_dynamics_ask_for_amons(labelled: list[str], tmp_path: Path) -> None:
    """Active learning: from amons that are too small to a molecule in motion."""
    atoms = molecule("CH3OH")
    every_force = FitSettings(penalty=1e-6, force_penalty=1e-6, scale=5.0)
    calc = learn(atoms, tmp_path, settings=every_force, displaced=0)
    atoms.calc, paid, added, errors = calc, len(labelled), [], []

    def ask() -> None:
        errors.append(atoms.get_potential_energy() - reference_energy(atoms))
        added.append(calc.extend_if_uncertain())
        errors.append(atoms.get_potential_energy() - reference_energy(atoms))

    thermalize_momenta(atoms, temperature_K=300, rng=np.random.default_rng(0))
    dynamics = VelocityVerlet(atoms, 0.5 * units.fs)
    dynamics.attach(ask, interval=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)
        dynamics.run(20)
    assert [record.info["smiles"] for record in added[0]] == ["CO"]  # neither methane nor water
    assert [smiles for smiles in labelled[paid:] if smiles] == ["CO"] * sum(map(len, added))
    assert abs(errors[0]) > 1  # eV
    assert all(abs(error) < 0.1 * abs(errors[0]) for error in errors[1:])
    for before, some, after in zip(errors[::2], added, errors[1::2], strict=True):
        assert abs(after) < 0.03 if some else after == before


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_new_amon_comes_with_displaced_copies(tmp_path: Path) -> None:
    methanol = molecule("CH3OH")
    calc = learn(methanol, tmp_path, settings=None, displaced=2)
    calc.get_potential_energy(methanol)
    added = calc.extend()
    assert [record.info["smiles"] for record in added] == ["CO"] * 4  # as it is, relaxed, and two copies of that
    assert sum("origin" in record.info for record in added) == 2


@pytest.mark.filterwarnings("ignore::ase_mlwave.errors.OutOfDomainWarning")
def test_extension_prepares_amons_as_the_study_has_them(tmp_path: Path) -> None:
    """As larger amons would have been from the start, so that extension leads where a larger ``max_heavy`` leads."""
    propanol = smiles_atoms("CCCO")
    calc = learn(propanol, tmp_path, max_heavy=2)
    calc.get_potential_energy(propanol)
    added = calc.extend(n=2)
    whole = {record.geometry_hash() for record in learn(propanol, tmp_path, max_heavy=4).study.records}
    assert len(added) == 2
    assert {record.geometry_hash() for record in added} <= whole
