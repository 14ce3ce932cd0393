from __future__ import annotations

import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from ase.calculators.calculator import CalculationFailed, InputError, PropertyNotImplementedError, SCFError
from ase.calculators.emt import EMT
from ase.calculators.morse import MorsePotential
from pyscf import dft, gto, scf
from scipy.linalg import eigh

from ase_mlwave.data.readers import read_dataset
from ase_mlwave.data.record import Record
from ase_mlwave.quantum import names
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.reference.calculator import ReferenceCalculator
from ase_mlwave.reference.levels import CalculatorLevel, LevelOfTheory, PyscfLevel, TbliteLevel
from tests import pretend_gpu4pyscf

WATERS = Path(__file__).parent.parent / "data" / "files" / "waters_pbe_def2svp.db"
WATER = Record(
    numbers=np.array([8, 1, 1]),
    positions=np.array([[0.1, 0.0, -0.1], [0.0, 1.45, 1.12], [0.05, -1.38, 1.09]]),
    info={"split": "train"},
)
OH = Record(numbers=np.array([8, 1]), positions=np.array([[0.0, 0.0, 0.0], [0.2, 0.1, 1.8]]), spin=1)


@pytest.mark.parametrize(
    "text",
    [
        "pbe/def2-svp",
        "hf/sto-3g",
        "b3lyp/6-31g(2df,p)",
        "0.5*hf+0.5*b88,lyp/cc-pvdz",
        "pbe/def2-svp density_fit=false grid_level=5",
        "pbe/def2-svp conv_tol=1e-08 max_cycle=20",
        "pbe/def2-svp grid_response=false",
        "mp2/cc-pvdz",
        "ccsd(t)/6-31g(2df,p) frozen_core=true conv_tol=1e-08",
    ],
)
def test_the_name_of_a_level_parses_to_the_same_level(text: str) -> None:
    level = LevelOfTheory.parse(text)
    assert level.name == text
    assert LevelOfTheory.parse(level.name) == level
    assert pickle.loads(pickle.dumps(level)) == level


def test_a_device_changes_neither_name_nor_settings_nor_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    moved = pretend_gpu4pyscf.install(monkeypatch)
    level = LevelOfTheory.parse("pbe/sto-3g grid_level=0")
    there = level.on("cuda")
    assert (there.name, there.settings()) == (level.name, level.settings())
    assert there == level
    assert hash(there) == hash(level)
    one, other = level.label(WATER), pickle.loads(pickle.dumps(there)).label(WATER)
    assert len(moved) == 1
    assert other.energy == pytest.approx(one.energy, rel=0, abs=1e-10)
    assert other.info == one.info
    for name in ("forces", "dipole"):
        np.testing.assert_allclose(getattr(other, name), getattr(one, name), atol=1e-6)
    np.testing.assert_allclose(other.matrices["hamiltonian"], one.matrices["hamiltonian"], atol=1e-6)
    there.on("cpu").label(WATER)
    assert len(moved) == 1


@pytest.mark.parametrize(
    "text", ["hf/sto-3g", "pbe/sto-3g", "mp2/sto-3g", "ccsd/sto-3g", "ccsd(t)/sto-3g", "gfn2-xtb", "phisnet-water"]
)
def test_energies_alone_are_those_that_come_with_forces(text: str) -> None:
    level = LevelOfTheory.parse(text)
    whole, alone = level.label(WATER), level.energies_only().label(WATER)
    assert level.energies_only().name == level.name
    assert whole.labels.keys() - alone.labels.keys() == {"forces"}
    assert alone.energy == pytest.approx(whole.energy, abs=1e-9)
    assert pickle.loads(pickle.dumps(level.energies_only())).label(WATER).labels.keys() == alone.labels.keys()


def test_what_does_not_converge_on_a_device_is_rescued_on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_gpu4pyscf.install(monkeypatch)
    level = LevelOfTheory.parse("hf/sto-3g max_cycle=3")
    one, other = level.label(WATER), level.on("cuda").label(WATER)
    assert other.info == one.info
    assert "scf_rescue" in other.info
    assert other.energy == pytest.approx(one.energy, abs=1e-9)


def test_levels_of_other_programs_have_no_device() -> None:
    level = CalculatorLevel("emt", lambda record: EMT())
    assert level.on("cpu") is level
    with pytest.raises(InputError, match="'emt' is computed on CPUs only, got device='cuda'"):
        level.on("cuda")
    with pytest.raises(InputError, match="Did you mean 'cuda'"):
        LevelOfTheory.parse("hf/sto-3g").on("cuda:0")


def test_names_are_taken_in_any_case_and_mean_the_same() -> None:
    assert LevelOfTheory.parse("PBE/Def2-SVP") == PyscfLevel(functional="pbe", basis="def2-svp")


def test_defaults_are_those_of_the_reference_data() -> None:
    assert LevelOfTheory.parse("pbe/def2-svp").settings() == {
        "program": "pyscf",
        "functional": "pbe",
        "basis": "def2-svp",
        "density_fit": True,
        "grid_level": 3,
        "conv_tol": 1e-10,
        "max_cycle": 100,
        "grid_response": True,
    }


def test_hartree_fock_has_no_grid_to_respond() -> None:
    level = LevelOfTheory.parse("hf/sto-3g grid_response=false")
    assert level == LevelOfTheory.parse("hf/sto-3g")
    assert "grid_response" not in level.settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "write method/basis"),
        ("pbe", "write method/basis"),
        ("gfn2", "Did you mean 'gfn2-xtb'"),
        ("/def2-svp", "names no functional"),
        ("pbbe/def2-svp", "knows no functional 'pbbe'.*'pbe'"),
        ("wb97x-d/def2-svp", "not supported yet.*'wb97x-d3'"),
        ("pbe/def2-svb", "knows no basis 'def2-svb'.*'def2svp'"),
        ("pbe/def2-svp gridlevel=4", "Did you mean 'grid_level'"),
        ("pbe/def2-svp fast", "'fast' is no setting"),
        ("pbe/def2-svp grid_level=11", "grid_level='11'"),
        ("pbe/def2-svp conv_tol=0", "conv_tol='0'"),
    ],
)
def test_unknown_levels_are_refused_naming_the_nearest(text: str, message: str) -> None:
    with pytest.raises(InputError, match=f"(?i){message}"):
        LevelOfTheory.parse(text)


def test_dispersion_without_its_package_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names.dispersion, "dftd3", None)
    with pytest.raises(InputError, match="pip install pyscf-dispersion"):
        LevelOfTheory.parse("pbe-d3bj/def2-svp")


def test_tblite_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ase_mlwave.reference.levels.programs.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'ase-mlwave\[xtb\]'"):
        LevelOfTheory.parse("gfn2-xtb")


def by_hand(record: Record, method: str, basis: str, density_fit: bool) -> scf.hf.SCF:
    """Set the same calculation up without the package."""
    symbols = {1: "H", 8: "O"}
    mole = gto.M(
        atom=[(symbols[int(z)], r) for z, r in zip(record.numbers, record.positions, strict=True)],
        unit="Bohr",
        basis=basis,
        spin=record.spin,
        charge=record.charge,
        verbose=0,
    )
    if method == "hf":
        mf = scf.UHF(mole) if record.spin else scf.RHF(mole)
    else:
        mf = dft.UKS(mole) if record.spin else dft.RKS(mole)
        mf.xc = method
    if density_fit:
        mf = mf.density_fit()
    mf.conv_tol = 1e-12
    mf.kernel()
    return mf


@pytest.mark.parametrize(
    ("record", "method", "basis", "density_fit"),
    [
        (WATER, "pbe", "def2-svp", True),
        (WATER, "hf", "sto-3g", False),
        (OH, "b3lyp", "sto-3g", True),
        (replace(OH, spin=0, charge=-1), "hf", "def2-svp", True),
    ],
)
def test_labels_equal_those_of_pyscf(record: Record, method: str, basis: str, density_fit: bool) -> None:
    mf = by_hand(record, method, basis, density_fit)
    label = LevelOfTheory.parse(f"{method}/{basis} density_fit={str(density_fit).lower()} conv_tol=1e-12").label(record)
    assert label.energy == pytest.approx(mf.e_tot, abs=1e-9)
    gradient = mf.nuc_grad_method()
    gradient.grid_response = True
    np.testing.assert_allclose(label.forces, -gradient.kernel(), atol=1e-6)  # type: ignore[arg-type]
    np.testing.assert_allclose(label.matrices["hamiltonian"], mf.get_fock(), atol=2e-6)
    assert label.matrices["hamiltonian"].ndim == (3 if record.spin else 2)
    np.testing.assert_allclose(label.dipole, mf.dip_moment(unit="AU", verbose=0), atol=1e-5)  # type: ignore[arg-type]
    assert (label.charge, label.spin, label.info) == (record.charge, record.spin, record.info)
    assert label.geometry_hash() == record.geometry_hash()


def test_stored_waters_are_reproduced() -> None:
    dataset = read_dataset(WATERS)
    level = LevelOfTheory.parse(dataset.level)
    for stored in dataset.records[::4]:
        label = level.label(stored)
        assert label.energy == pytest.approx(stored.energy, abs=1e-7)
        np.testing.assert_allclose(label.forces, stored.forces, atol=1e-5)  # type: ignore[arg-type]
        np.testing.assert_allclose(label.matrices["hamiltonian"], stored.matrices["hamiltonian"], atol=1e-5)


def test_orbital_energies_come_from_the_hamiltonian() -> None:
    mole = build_mole(WATER.numbers, WATER.positions, "sto-3g")
    mf = LevelOfTheory.parse("hf/sto-3g").mean_field(mole)
    mf.kernel()
    label = LevelOfTheory.parse("hf/sto-3g").label(WATER)
    energies = eigh(label.matrices["hamiltonian"], mole.intor("int1e_ovlp"), eigvals_only=True)
    np.testing.assert_allclose(energies, mf.mo_energy, atol=1e-6)


@pytest.mark.parametrize("method", ["hf", "pbe"])
def test_forces_are_minus_the_derivative_of_the_energy(method: str) -> None:
    level = LevelOfTheory.parse(f"{method}/sto-3g conv_tol=1e-12 grid_level=1")
    forces = level.label(WATER).forces
    assert forces is not None
    step = 1e-3
    for atom, axis in ((0, 2), (1, 1)):
        energies = []
        for sign in (1, -1):
            positions = WATER.positions.copy()
            positions[atom, axis] += sign * step
            energies.append(level.label(replace(WATER, positions=positions)).energy)
        assert forces[atom, axis] == pytest.approx(-(energies[0] - energies[1]) / (2 * step), abs=2e-6)


def test_response_of_the_grid_changes_forces_alone() -> None:
    """Without it they do not sum to zero; a PySCF that lacks it for a functional is told how to do without."""
    level = PyscfLevel(functional="pbe", basis="sto-3g", grid_level=1)
    with_response, without = level.label(WATER), level.model_copy(update={"grid_response": False}).label(WATER)
    assert with_response.energy == pytest.approx(without.energy, abs=1e-9)
    assert with_response.forces is not None
    assert without.forces is not None
    assert np.abs(with_response.forces.sum(0)).max() < 1e-9 < 1e-5 < np.abs(without.forces.sum(0)).max()


def test_a_pyscf_without_the_response_of_a_functional_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def older(*arguments: object, **keywords: object) -> None:
        raise NotImplementedError("meta-GGA")

    monkeypatch.setattr("pyscf.grad.rks.get_vxc_full_response", older)
    with pytest.raises(InputError, match=r"\(meta-GGA\).*label without .*'tpss/sto-3g grid_response=false'"):
        LevelOfTheory.parse("tpss/sto-3g").label(WATER)
    assert LevelOfTheory.parse("tpss/sto-3g grid_response=false").label(WATER).forces is not None


def test_mean_field_fits_the_spin_and_is_not_converged() -> None:
    level = LevelOfTheory.parse("pbe/sto-3g")
    closed = level.mean_field(build_mole(WATER.numbers, WATER.positions, "sto-3g"))
    assert isinstance(closed, dft.rks.RKS)
    assert not isinstance(closed, dft.uks.UKS)
    assert closed.mo_coeff is None
    assert (closed.xc, closed.grids.level, closed.conv_tol) == ("pbe", 3, 1e-10)
    assert closed.with_df is not None
    opened = level.mean_field(build_mole(OH.numbers, OH.positions, "sto-3g", spin=1))
    assert isinstance(opened, dft.uks.UKS)
    fock = LevelOfTheory.parse("hf/sto-3g").mean_field(build_mole(OH.numbers, OH.positions, "sto-3g", spin=1))
    assert isinstance(fock, scf.uhf.UHF)


def test_unconverged_scf_is_an_error() -> None:
    with pytest.raises(SCFError, match="H2O at hf/sto-3g max_cycle=1 did not converge"):
        LevelOfTheory.parse("hf/sto-3g max_cycle=1").label(WATER)


SILICON = Record(numbers=np.array([14]), positions=np.zeros((1, 3)))
NITROGEN = Record(numbers=np.array([7, 7]), positions=np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 2.5 / 0.529177]]))
#: Molecule -> what converges it at PBE/STO-3G on a coarse grid, where PySCF's defaults do not.
HARD = {"level shift": NITROGEN, "second order": SILICON}


@pytest.mark.parametrize("rung", HARD)
def test_scf_is_rescued_silently_to_the_same_threshold(rung: str, capfd: pytest.CaptureFixture[str]) -> None:
    level = LevelOfTheory.parse("pbe/sto-3g density_fit=false grid_level=1 max_cycle=40")
    molecule = HARD[rung]
    mole = build_mole(molecule.numbers, molecule.positions, "sto-3g")
    plain = level.mean_field(mole)
    plain.kernel()
    assert not plain.converged
    label = level.label(molecule)
    assert capfd.readouterr() == ("", "")
    assert label.info == {"scf_rescue": rung}
    assert label.energy is not None
    assert label.energy < plain.e_tot + 1e-6
    fock, overlap = label.matrices["hamiltonian"], mole.intor("int1e_ovlp")
    _, coefficients = eigh(fock, overlap)
    occupied = coefficients[:, : mole.nelectron // 2]
    again = level.mean_field(mole)  # the matrix is that of the state whose energy is stored: its own Fock matrix's
    density = 2 * occupied @ occupied.T
    if rung == "level shift":  # silicon's highest occupied orbital is degenerate
        assert again.energy_tot(density) == pytest.approx(label.energy, abs=1e-7)
        np.testing.assert_allclose(again.get_fock(dm=density), fock, atol=1e-4)


def test_a_rescued_scf_is_no_higher_than_what_was_seen_before() -> None:
    """The energy of any density is an upper bound; second order alone may stop on a saddle point far above."""
    level = LevelOfTheory.parse("pbe/sto-3g density_fit=false grid_level=1 max_cycle=40")
    stretched = replace(NITROGEN, positions=np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 4 / 0.529177]]))
    plain = level.mean_field(build_mole(stretched.numbers, stretched.positions, "sto-3g"))
    plain.kernel()
    assert not plain.converged
    energy = level.label(stretched).energy
    assert energy is not None
    assert energy < plain.e_tot + 1e-6


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (replace(WATER, positions=np.array([[0, 0, 0], [0, 0, 0.1], [0, 2, 0]])), "atoms 0 and 1 of H2O coin"),
        (replace(WATER, spin=1), "has 10 electrons, which cannot leave 1 unpaired"),
        (replace(WATER, charge=10), "has 0 electrons"),
    ],
)
def test_broken_molecules_are_refused(record: Record, message: str) -> None:
    for text in ("hf/sto-3g", "gfn2-xtb"):
        if text == "gfn2-xtb":
            pytest.importorskip("tblite")
        with pytest.raises(InputError, match=message):
            LevelOfTheory.parse(text).label(record)


def test_elements_beyond_the_basis_are_refused() -> None:
    gold = Record(numbers=np.array([79]), positions=np.zeros((1, 3)), spin=1)
    with pytest.raises(InputError, match="effective core potential"):
        LevelOfTheory.parse("pbe/def2-svp").label(gold)
    with pytest.raises(InputError, match="no functions for Au"):
        LevelOfTheory.parse("pbe/6-31g").label(gold)


def test_atoms_are_taken_too_and_stay_as_they_are() -> None:
    atoms = molecule("H2")
    atoms.info["charge"], atoms.info["spin"] = 1, 1
    before = atoms.positions.copy()
    label = LevelOfTheory.parse("hf/sto-3g").label(atoms)
    assert (label.charge, label.spin) == (1, 1)
    assert np.array_equal(atoms.positions, before)
    assert atoms.calc is None
    atoms.pbc = True
    with pytest.raises(InputError, match="periodic"):
        LevelOfTheory.parse("hf/sto-3g").label(atoms)


def test_a_level_as_a_calculator_gives_its_labels_in_the_units_of_ase() -> None:
    atoms = Atoms("OH2", WATER.positions * 0.529177210903, calculator=ReferenceCalculator("hf/sto-3g"))
    label = LevelOfTheory.parse("hf/sto-3g").label(WATER)
    assert atoms.get_potential_energy() == pytest.approx(label.energy * 27.211386245988, rel=1e-7)  # type: ignore[operator]
    np.testing.assert_allclose(atoms.get_dipole_moment(), label.dipole * 0.529177210903, atol=1e-6)  # type: ignore[operator]
    atoms.calc = ReferenceCalculator(CalculatorLevel("emt", make_emt))
    with pytest.raises(PropertyNotImplementedError):
        atoms.get_dipole_moment()


def make_emt(record: Record) -> EMT:
    return EMT()


def test_any_ase_calculator_is_a_level() -> None:
    level = CalculatorLevel("emt", make_emt, {"asap": False})
    label = level.label(WATER)
    atoms = Atoms("OH2", WATER.positions * 0.529177210903, calculator=EMT())
    assert label.energy == pytest.approx(atoms.get_potential_energy() / 27.211386245988, rel=1e-7)
    expected = atoms.get_forces() * 0.529177210903 / 27.211386245988
    np.testing.assert_allclose(label.forces, expected, atol=1e-6)  # type: ignore[arg-type]
    assert (label.matrices, label.dipole) == ({}, None)
    assert level.settings() == {"program": "ase", "calculator": "emt", "asap": False}
    with pytest.raises(PropertyNotImplementedError, match="'emt' is not computed by PySCF"):
        level.mean_field(build_mole(WATER.numbers, WATER.positions, "sto-3g"))
    with pytest.raises(InputError, match="needs a name"):
        CalculatorLevel(" ", make_emt)


class BrokenCalculator(MorsePotential):
    def calculate(self, *args: object, **kwargs: object) -> None:
        raise ZeroDivisionError("oops")


def test_failure_of_a_calculator_is_a_failed_calculation() -> None:
    level = CalculatorLevel("broken", lambda record: BrokenCalculator())
    with pytest.raises(CalculationFailed, match=r"broken failed for H2O: ZeroDivisionError\('oops'\)"):
        level.label(WATER)


def test_tblite_is_called_with_charge_and_spin() -> None:
    interface = pytest.importorskip("tblite.interface")
    for method, theirs in (("gfn2-xtb", "GFN2-xTB"), ("gfn1-xtb", "GFN1-xTB")):
        level = LevelOfTheory.parse(method)
        assert level == TbliteLevel(method)
        for record in (WATER, replace(OH, spin=0, charge=-1), OH):
            program = interface.Calculator(theirs, record.numbers, record.positions, record.charge, record.spin)
            program.set("verbosity", 0)
            result = program.singlepoint()
            label = level.label(record)
            assert label.energy == pytest.approx(result.get("energy"), abs=1e-7)
            np.testing.assert_allclose(label.forces, -result.get("gradient"), atol=1e-5)  # type: ignore[arg-type]
            np.testing.assert_allclose(label.dipole, result.get("dipole"), atol=1e-4)  # type: ignore[arg-type]
