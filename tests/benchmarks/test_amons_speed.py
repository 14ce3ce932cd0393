"""The benchmark of speed, with few molecules."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import amons_speed
from benchmarks.common import read_json
from benchmarks.structures import of_nine_heavy


def test_representation_and_kernel_are_timed_beside_the_public_program(tmp_path: Path) -> None:
    pytest.importorskip("qmllib")
    words = ["representation", "kernel", "--molecules", "4", "--rival-molecules", "3", "--repeats", "1"]
    amons_speed.main([*words, "--output", str(tmp_path)])
    found = read_json(tmp_path / "amons_speed.json")
    assert found["kernel"]["molecules"] == found["representation"]["molecules"] == 4
    assert found["kernel"]["kernel, CPU s"] > 0
    rival = "public program, 3 molecules, CPU s"
    assert found["kernel"]["public program, extrapolated, CPU s"] > found["kernel"][rival] > 0
    assert found["representation"]["compact, CPU s"] > 0
    assert found["representation"]["largest difference of distances"] < 1e-12


@pytest.mark.parametrize("words", [["kernl"], ["--molecules", "0"], ["--structures", "nowhere.xyz"]])
def test_bad_words_are_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        amons_speed.main(words)


def test_peptide_has_sixty_atoms() -> None:
    assert len(amons_speed.from_smiles(amons_speed.PEPTIDE, 0)) == 62


def test_molecules_are_of_the_size_of_qm9() -> None:
    systems = of_nine_heavy(20)
    assert {sum(atoms.numbers > 1) for atoms in systems} == {9}
    assert np.mean([len(atoms) for atoms in systems]) == pytest.approx(17.7, abs=0.5)
    assert len({atoms.get_chemical_formula() + str(atoms.positions) for atoms in of_nine_heavy(40)}) == 40
