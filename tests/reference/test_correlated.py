from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import InputError, PropertyNotImplementedError, SCFError
from pyscf import cc, gto, mp, scf

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.reference.labelling import label_geometries
from ase_mlwave.reference.levels import CorrelatedLevel, LevelOfTheory

DATASETS = Path(__file__).parents[2] / "datasets"
WATER = Record(
    numbers=np.array([8, 1, 1]),
    positions=np.array([[0.1, 0.0, -0.1], [0.0, 1.45, 1.12], [0.05, -1.38, 1.09]]),
)
OH = Record(numbers=np.array([8, 1]), positions=np.array([[0.0, 0.0, 0.0], [0.2, 0.1, 1.8]]), spin=1)
HELIUM = Record(numbers=np.array([2]), positions=np.zeros((1, 3)))


def by_hand(record: Record, basis: str) -> scf.hf.SCF:
    """Converge Hartree-Fock theory without the package."""
    symbols = {1: "H", 8: "O"}
    atoms = [(symbols[int(z)], r) for z, r in zip(record.numbers, record.positions, strict=True)]
    mole = gto.M(atom=atoms, unit="Bohr", basis=basis, spin=record.spin, verbose=0)
    mean_field = scf.UHF(mole) if record.spin else scf.RHF(mole)
    mean_field.conv_tol = 1e-12
    return mean_field.run()


@pytest.mark.parametrize("record", [WATER, OH], ids=["closed", "open"])
@pytest.mark.parametrize("frozen", [0, 1])
def test_energies_equal_those_of_pyscf(record: Record, frozen: int) -> None:
    mean_field = by_hand(record, "6-31g")
    solver = cc.CCSD(mean_field, frozen=frozen or None)
    solver.conv_tol = 1e-11
    solver.run()
    expected = {
        "mp2": mp.MP2(mean_field, frozen=frozen or None).run().e_tot,
        "ccsd": solver.e_tot,
        "ccsd(t)": solver.e_tot + solver.ccsd_t(),
    }
    if record.spin:
        with pytest.raises(InputError, match=r"HO has 1 unpaired electrons.*'ccsd/6-31g'"):
            LevelOfTheory.parse("ccsd(t)/6-31g").check(record)
    for method, energy in expected.items():
        level = LevelOfTheory.parse(f"{method}/6-31g frozen_core={frozen}")
        if record.spin and method == "ccsd(t)":
            level = level.energies_only()
        label = level.label(record)
        assert label.energy == pytest.approx(energy, abs=2e-8)
        assert label.matrices == {}
        assert label.dipole is None
    assert expected["ccsd"] < mean_field.e_tot - 0.09


@pytest.mark.parametrize("frozen", ["false", "true"])
@pytest.mark.parametrize(
    ("record", "method"),
    [(WATER, "mp2"), (WATER, "ccsd"), (WATER, "ccsd(t)"), (OH, "mp2"), (OH, "ccsd")],
    ids=lambda value: value if isinstance(value, str) else f"spin {value.spin}",
)
def test_forces_of_correlated_levels_are_minus_the_derivative_of_the_energy(
    record: Record, method: str, frozen: str
) -> None:
    level = LevelOfTheory.parse(f"{method}/sto-3g conv_tol=1e-12 frozen_core={frozen}")
    forces = level.label(record).forces
    assert forces is not None
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-6)
    step, energies = 1e-3, []
    for sign in (1, -1):
        positions = record.positions.copy()
        positions[1, 2] += sign * step
        energies.append(level.label(replace(record, positions=positions)).energy)
    assert forces[1, 2] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=2e-6)


def test_dipoles_are_derivatives_of_the_energy_but_for_the_relaxation_of_orbitals() -> None:
    """CCSD's density is that of the amplitudes alone; the energy in a field has relaxed orbitals, too."""
    label = LevelOfTheory.parse("ccsd(t)/6-31g dipole=true").label(WATER)
    mole = build_mole(WATER.numbers, WATER.positions, "6-31g")
    core, shift, field = mole.intor("int1e_kin") + mole.intor("int1e_nuc"), mole.intor("int1e_r")[2], 1e-3
    energies = []
    for sign in (1, -1):
        mean_field = scf.RHF(mole)
        mean_field.conv_tol = 1e-12
        mean_field.get_hcore = lambda *_, sign=sign: core + sign * field * shift  # type: ignore[misc]
        energies.append(cc.CCSD(mean_field.run()).run(conv_tol=1e-10).e_tot)
    nuclei = WATER.numbers @ WATER.positions[:, 2]
    expected = nuclei - (energies[0] - energies[1]) / (2 * field)
    assert label.dipole is not None
    assert label.dipole[2] == pytest.approx(expected, abs=0.01)
    assert abs(by_hand(WATER, "6-31g").dip_moment(unit="AU", verbose=0)[2] - expected) > 0.02


def test_what_is_asked_for_and_allowed_is_no_part_of_the_level() -> None:
    plain = LevelOfTheory.parse("ccsd(t)/sto-3g")
    asked = LevelOfTheory.parse("ccsd(t)/sto-3g dipole=true max_hours=10 max_gigabytes=100")
    assert asked == plain
    assert (asked.name, asked.settings()) == (plain.name, plain.settings())
    assert asked.label(WATER).energy == pytest.approx(plain.label(WATER).energy, abs=1e-10)


def test_without_excitations_the_energy_is_that_of_hartree_fock() -> None:
    for method in ("mp2", "ccsd", "ccsd(t)"):
        label = LevelOfTheory.parse(f"{method}/sto-3g").label(HELIUM)
        assert label.energy == pytest.approx(-2.807784, abs=1e-6)
        np.testing.assert_allclose(label.forces, 0, atol=1e-10)  # type: ignore[arg-type]
        hydrogen = LevelOfTheory.parse(f"{method}/cc-pvdz").label(Atoms("H", info={"spin": 1}))
        assert hydrogen.energy == pytest.approx(-0.499278, abs=1e-6)


def test_free_atoms_have_energies_and_no_forces() -> None:
    oxygen = LevelOfTheory.parse("ccsd(t)/6-31g").label(Atoms("O", info={"spin": 2}))
    mean_field = scf.UHF(gto.M(atom="O", basis="6-31g", spin=2, verbose=0)).run(conv_tol=1e-12)
    solver = cc.CCSD(mean_field).run(conv_tol=1e-11)
    assert oxygen.energy == pytest.approx(solver.e_tot + solver.ccsd_t(), abs=1e-7)
    assert np.array_equal(oxygen.forces, np.zeros((1, 3)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ccsd(t)", "Did you mean 'ccsd\\(t\\)/cc-pvdz'"),
        ("ccsd(t)/cc-pvdx", "knows no basis 'cc-pvdx'.*'ccpvdz'"),
        ("mp2/sto-3g frozen=true", "Did you mean 'frozen_core'"),
        ("mp2/sto-3g dipole=true", "dipoles are those of CCSD"),
        ("ccsd/sto-3g max_hours=0", "max_hours='0'"),
    ],
)
def test_wrong_correlated_levels_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        LevelOfTheory.parse(text)


def test_what_costs_too_much_is_refused_with_an_estimate() -> None:
    benzene = record_from_atoms(molecule("C6H6"))
    level = LevelOfTheory.parse("ccsd(t)/cc-pvdz")
    message = r"C6H6 at ccsd\(t\)/cc-pvdz is estimated to take 3 CPU-hours and .* GB, .*; or write max_hours=\d after"
    with pytest.raises(InputError, match=message):
        level.label(benzene)
    LevelOfTheory.parse("ccsd(t)/cc-pvdz max_hours=10").check(benzene)
    LevelOfTheory.parse("mp2/cc-pvdz").check(benzene)
    with pytest.raises(InputError, match="write max_gigabytes="):
        LevelOfTheory.parse("mp2/cc-pvdz max_gigabytes=0.01").check(benzene)


def test_costs_grow_with_method_basis_and_spin_and_shrink_with_frozen_cores() -> None:
    def hours(text: str, record: Record = WATER, *, forces: bool = True) -> float:
        level = LevelOfTheory.parse(text) if forces else LevelOfTheory.parse(text).energies_only()
        assert isinstance(level, CorrelatedLevel)
        return level.cost(record).hours

    assert hours("mp2/cc-pvdz") < hours("ccsd/cc-pvdz") < hours("ccsd(t)/cc-pvdz") < hours("ccsd(t)/cc-pvtz")
    assert hours("ccsd(t)/cc-pvdz frozen_core=true") < hours("ccsd(t)/cc-pvdz")
    assert hours("ccsd(t)/cc-pvdz") < hours("ccsd(t)/cc-pvdz", replace(WATER, charge=1, spin=1))
    assert 3600 * hours("ccsd(t)/cc-pvtz") == pytest.approx(17.7, rel=0.3)  # measured
    assert 3600 * hours("ccsd(t)/cc-pvtz", forces=False) == pytest.approx(1.7, rel=0.3)  # measured


def test_amplitudes_that_do_not_converge_are_an_error() -> None:
    level = CorrelatedLevel(method="ccsd", basis="6-31g", max_cycle=12, conv_tol=1e-11)
    stretched = replace(WATER, positions=2.2 * WATER.positions)
    with pytest.raises(SCFError, match=r"the amplitudes of H2O at ccsd/6-31g .* did not converge"):
        level.label(stretched)


def test_correlated_levels_have_no_mean_field() -> None:
    level = LevelOfTheory.parse("ccsd(t)/sto-3g")
    with pytest.raises(PropertyNotImplementedError, match="stands is 'hf/sto-3g density_fit=false'"):
        level.mean_field(build_mole(WATER.numbers, WATER.positions, "sto-3g"))
    with pytest.raises(InputError, match="CPUs only"):
        level.on("cuda")


def test_labelling_writes_energies_and_forces(tmp_path: Path) -> None:
    level = LevelOfTheory.parse("ccsd(t)/sto-3g frozen_core=true")
    with ThreadPoolExecutor(1) as executor:
        label_geometries([WATER, OH], tmp_path / "labels.db", level, executor=executor)
    found = read_dataset(tmp_path / "labels.db")
    assert found.level == "ccsd(t)/sto-3g frozen_core=true"
    (record,) = found.records
    assert record.energy == pytest.approx(level.label(WATER).energy, abs=1e-9)
    assert record.forces is not None


def test_stored_waters_of_coupled_cluster_are_reproduced() -> None:
    dataset = read_dataset(DATASETS / "water_ccsdt_ccpvdz.npz")
    assert dataset.level == "ccsd(t)/cc-pvdz"
    stored = dataset.split("test").records[1]
    label = LevelOfTheory.parse(dataset.level).label(stored)
    assert label.energy == pytest.approx(stored.energy, abs=1e-8)
    np.testing.assert_allclose(label.forces, stored.forces, atol=2e-6)  # type: ignore[arg-type]
