"""The gate in front of PySCF: known names pass, and nothing else reaches its parsers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from ase.calculators.calculator import CalculationFailed, InputError
from pyscf import gto
from pyscf.gto.basis import parse_nwchem

from ase_mlwave.data.record import Record
from ase_mlwave.quantum.basis import build_mole, shells
from ase_mlwave.quantum.names import check_basis, check_functional, has_core_potential, load_basis, without_evaluation
from ase_mlwave.reference.levels import LevelOfTheory

#: Basis data whose exponent is a Python expression that leaves a marker.
EVALUATED = "BASIS\nH S\n(__import__('pathlib').Path({path!r}).touch(),1.0,1.0)[1:]\n"


@pytest.mark.parametrize(
    "name",
    ["def2-svp", "DEF2-TZVP", "cc-pVDZ", "aug-cc-pvtz", "6-31g*", "6-311++G**", "6-31G(2df,p)", "sto-3g", "minao"],
)
def test_known_basis_sets_pass(name: str) -> None:
    check_basis(name)
    numbers = [1, 8, 6]
    theirs = gto.M(atom="H 0 0 1; O 0 0 0; C 0 0 3", unit="Bohr", basis=name, spin=None, verbose=0)
    ours = build_mole(numbers, np.array([[0, 0, 1.0], [0, 0, 0], [0, 0, 3]]), name, spin=None)
    np.testing.assert_array_equal(ours.intor("int1e_ovlp"), theirs.intor("int1e_ovlp"))
    assert ours.basis == name


ODD_BASES = [
    "",
    " def2-svp",
    "def2-svp\n",
    "def2 svp",
    "def2-svp\0",
    "def2-svp@3s2p",
    "unc-def2-svp",
    "uncdef2-svp",
    "gth-szv",
    "GTH-SZV\n",
    "/etc/passwd",
    "./basis.nw",
    "../basis",
    "~/basis",
    "C:\\basis",
    "d\u0435f2-svp",  # Cyrillic
    "def2\u2011svp",
    "\uff44\uff45\uff46\uff12-svp",  # full width
    "6-31g(../../x)",
    "6-31g(d",
    "def2-svp(d)",
    "def2-svp;import os",
    "x" * 5000,
]


@pytest.mark.parametrize("name", ODD_BASES, ids=range(len(ODD_BASES)))
def test_what_is_no_plain_known_name_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="basis") as caught:
        check_basis(name)
    assert len(str(caught.value)) < 500
    with pytest.raises(ValueError, match="has no basis"):
        shells(name, 8)
    with pytest.raises(ValueError, match="has no basis"):
        build_mole([8], np.zeros((1, 3)), name)


def test_basis_data_are_not_evaluated(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    text = EVALUATED.format(path=str(marker))
    for call in (check_basis, lambda name: shells(name, 1), lambda name: build_mole([1], np.zeros((1, 3)), name)):
        with pytest.raises((InputError, ValueError)):
            call(text)
    assert not has_core_potential(text, "H")
    assert not marker.exists()
    parse_nwchem.parse(text)  # the payload is a live one
    assert marker.exists()


def test_no_file_is_taken_for_a_basis(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = load_basis.__wrapped__("def2-svp", "H")
    marker = tmp_path / "marker"
    monkeypatch.chdir(tmp_path)
    for name in ("def2-svp", "def2svp", "DEF2-SVP", "sapgraspsmall", "def2-svp-jkfit", "mine"):
        (tmp_path / name).write_text(EVALUATED.format(path=str(marker)))
    load_basis.cache_clear()
    has_core_potential.cache_clear()
    assert load_basis("def2-svp", "H") == expected
    assert not has_core_potential("def2-svp", "H")
    assert build_mole([1, 1], np.eye(3)[:2], "def2-svp").nao == 10
    with pytest.raises(InputError, match="no basis 'mine'"):
        check_basis("mine")
    assert not marker.exists()


def test_no_file_is_taken_for_the_basis_of_a_fit_or_a_guess(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a calculation where PySCF's own names of auxiliary functions and guesses are names of files."""
    record = Record(numbers=[1, 1], positions=np.array([[0, 0, 0], [0, 0, 1.4]]))
    level = LevelOfTheory.parse("hf/def2-svp")
    expected = level.label(record).energy
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "marker"
    for name in ("def2-svp", "def2-svp-jkfit", "def2-universal-jkfit", "def2-universal-jfit"):
        (tmp_path / name).write_text(EVALUATED.format(path=str(marker)))
    assert level.label(record).energy == pytest.approx(expected, abs=1e-9)
    for name in ("ano", "minao"):
        (tmp_path / name).write_text(EVALUATED.format(path=str(marker)))
    with suppress(CalculationFailed):
        level.label(record)
    assert not marker.exists()


def test_evaluation_is_off_only_within_blocks() -> None:
    text = "H S\n 1/2. 1.0\n"
    before = parse_nwchem.DISABLE_EVAL
    with without_evaluation():
        with pytest.raises(ValueError, match="Failed to parse"):
            parse_nwchem.parse(text)
        with without_evaluation():
            pass
        with pytest.raises(ValueError, match="Failed to parse"):
            parse_nwchem.parse(text)
    assert parse_nwchem.DISABLE_EVAL is before
    assert parse_nwchem.parse(text) == [[0, [0.5, 1.0]]]


def test_evaluation_stays_off_while_any_thread_needs_that() -> None:
    before = parse_nwchem.DISABLE_EVAL

    def look(_: int) -> bool:
        with without_evaluation():
            return bool(parse_nwchem.DISABLE_EVAL)

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(look, range(200)))
    assert parse_nwchem.DISABLE_EVAL is before


@pytest.mark.parametrize(
    "name",
    [
        "pbe",
        "PBE0",
        "b3lyp",
        "m06-2x",
        "wb97x-v",
        "cam-b3lyp",
        "b97-1",
        "hcth-407",
        "r2scan",
        "pbe,pbe",
        ",vwn",
        "b88,",
        "0.5*hf+0.5*b88,lyp",
        ".8*lda+.2*b86,vwn",
        "hf*0.1+.04*lda",
        "hf",
    ],
)
def test_known_functionals_pass(name: str) -> None:
    check_functional(name)


ODD_FUNCTIONALS = [
    "101",  # a number of the library's; PySCF ends the process for one that does not exist
    "999999",
    "pbe-999999",
    "pbe,999999",
    "pbe+999999",
    "nan*pbe",
    "inf*pbe",
    "1e999*pbe",
    "\u00b2",
    "pbe\0",
    "pbe\n",
    "pbe;lyp",
    "__import__('os')",
    "rsh(1,2,3)",
    "sr_hf(0.1)*pbe",
    "a/b",
    "pbe,lyp,vwn",
    "-",
    ",",
    "p\u0432e",
    "+".join(["pbe"] * 40),
    "x" * 5000,
]


@pytest.mark.parametrize("name", ODD_FUNCTIONALS, ids=range(len(ODD_FUNCTIONALS)))
def test_what_is_no_name_of_a_functional_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="functional"):
        check_functional(name)
