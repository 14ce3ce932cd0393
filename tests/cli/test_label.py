from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase import Atoms
from ase.build import molecule
from typer.testing import CliRunner

from ase_mlwave.cli.main import app
from ase_mlwave.data.database import DatasetFile
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.reference import runs
from ase_mlwave.reference.levels import LevelOfTheory

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(autouse=True)
def _no_fresh_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes seconds to load PySCF; ``reference/test_labelling.py`` and the interrupted run below have them."""
    monkeypatch.setattr(runs, "process_pool", lambda n_workers: ThreadPoolExecutor(1))


def run(*arguments: str | Path) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["label", *map(str, arguments)])
    return result.exit_code, result.stderr


@pytest.fixture
def hydrogens(tmp_path: Path) -> Path:
    """Four hydrogen molecules, and two atoms in one place."""
    frames = [Atoms("H2", [[0, 0, 0], [0, 0, bond]]) for bond in (0.7, 0.8, 0.9, 1.0, 0.001)]
    ase.io.write(tmp_path / "hydrogens.extxyz", frames)
    return tmp_path / "hydrogens.extxyz"


def test_a_gpu_that_is_not_there_is_refused_before_any_work(hydrogens: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ase_mlwave.quantum.gpu.find_spec", lambda name: None)
    output = hydrogens.with_suffix(".db")
    code, messages = run(hydrogens, output, "--level", "hf/sto-3g", "--device", "cuda")
    assert code != 0
    assert not output.exists()
    assert "pip install 'ase-mlwave[gpu]'" in " ".join(messages.split())
    code, messages = run(hydrogens, output, "--level", "hf/sto-3g", "--device", "gpu")
    assert code != 0
    assert "'cpu' or, by gpu4pyscf, on 'cuda'" in " ".join(messages.split())


def test_molecules_are_labelled_and_split(hydrogens: Path) -> None:
    output = hydrogens.with_suffix(".db")
    arguments = (hydrogens, output, "--level", "hf/sto-3g", "--split", "train=0.5,test=0.5", "--seed", "3")
    code, messages = run(*arguments)
    assert code == 1  # one has no labels
    assert "4 labelled, 1 failed at hf/sto-3g" in messages
    assert "InputError: atoms 0 and 1 of H2 coincide" in messages
    assert re.search(r"input +1  mend these structures", messages)
    dataset = read_dataset(output)
    assert dataset.splits == {"train": 2, "test": 2} or dataset.splits == {"test": 2, "train": 2}
    expected = LevelOfTheory.parse("hf/sto-3g").label(dataset[1])
    assert dataset[1].energy == pytest.approx(expected.energy, abs=1e-9)
    np.testing.assert_allclose(dataset[1].matrices["hamiltonian"], expected.matrices["hamiltonian"], atol=1e-8)

    content = dataset.content_hash()
    code, messages = run(*arguments)  # once more: nothing to do, nothing changed
    assert code == 1
    assert read_dataset(output).content_hash() == content


def test_forces_are_left_out_on_demand(hydrogens: Path) -> None:
    run(hydrogens, hydrogens.with_suffix(".db"), "--level", "hf/sto-3g", "--no-forces")
    dataset = read_dataset(hydrogens.with_suffix(".db"))
    assert [set(record.labels) for record in dataset] == [{"energy", "dipole"}] * 4


def test_matrices_are_left_out_on_demand(hydrogens: Path) -> None:
    run(hydrogens, hydrogens.with_suffix(".db"), "--level", "hf/sto-3g", "--no-matrices")
    dataset = read_dataset(hydrogens.with_suffix(".db"))
    assert [record.matrices for record in dataset] == [{}] * 4
    assert all(record.dipole is not None for record in dataset)


def test_exit_code_and_summary_are_of_what_was_asked_for(hydrogens: Path) -> None:
    """Labels that the file lacks from elsewhere are told, but are no failure of this command."""
    output = hydrogens.with_suffix(".db")
    file = DatasetFile.create(output, "hf/sto-3g", LevelOfTheory.parse("hf/sto-3g").settings())
    file.add([read_dataset(hydrogens)[4]])
    file.fail(1, read_dataset(hydrogens)[4], "convergence (2 runs): SCFError: no")
    good = hydrogens.with_name("good.extxyz")
    ase.io.write(good, ase.io.read(hydrogens, ":4"))
    code, messages = run(good, output, "--level", "hf/sto-3g")
    assert code == 0
    assert "4 labelled, 1 failed at hf/sto-3g" in messages
    assert re.search(r"convergence +1  the same command tries once more, --retry-failed always", messages)


def test_nothing_labelled_is_no_success(tmp_path: Path) -> None:
    ase.io.write(tmp_path / "bad.extxyz", Atoms("H2", [[0, 0, 0], [0, 0, 0.001]]))
    code, messages = run(tmp_path / "bad.extxyz", tmp_path / "bad.db", "--level", "hf/sto-3g", "--split", "train=1")
    assert code == 1
    assert "0 labelled, 1 failed" in messages


def test_entries_of_users_do_not_decide_what_is_done(tmp_path: Path) -> None:
    info = {"status": "labelled", "reason": "x", "total_charge": -2, "REF_energy": -1.0}
    ase.io.write(tmp_path / "ion.extxyz", Atoms("He", info=info))
    _, messages = run(tmp_path / "ion.extxyz", tmp_path / "ion.db", "--level", "hf/sto-3g")
    assert "ion.extxyz: 1 structures, 1 energies, 0 forces" in messages
    assert "charge -2, 0 unpaired: 1; energies from REF_energy (1)" in messages
    assert "0 labelled, 1 failed" in messages  # four electrons in one function: it was tried
    (failure,) = DatasetFile(tmp_path / "ion.db").failures()
    assert failure.record.charge == -2
    assert failure.record.info == {"status": "labelled", "reason": "x", "total_charge": -2}


def test_wrong_requests_are_refused_before_any_work(hydrogens: Path) -> None:
    output = hydrogens.with_suffix(".db")
    for arguments, message in (
        ((hydrogens, output, "--level", "pbee/def2-svp"), "knows no functional 'pbee'"),
        ((hydrogens, output, "--level", "hf/sto-3g", "--workers", "0"), "n_workers must be at least 1"),
        ((hydrogens, output, "--split", "train=0.5"), "add up to 1"),
        ((hydrogens.with_name("missing.xyz"), output), "there is no data file"),
        ((hydrogens, hydrogens.with_suffix(".csv")), "ends in .db"),
    ):
        code, messages = run(*arguments)
        assert code == 2
        assert message in messages
    assert not output.exists()


PROGRAM = """
import signal
from ase_mlwave.cli.main import app

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever started the tests may ignore Ctrl-C
    app()
"""


def test_interrupted_labelling_says_so_and_goes_on(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [molecule("CH3OH") for _ in range(8)]
    for atoms in frames:
        atoms.positions += 0.05 * rng.normal(size=atoms.positions.shape)
    ase.io.write(tmp_path / "methanols.extxyz", frames)
    (tmp_path / "program.py").write_text(PROGRAM)
    output = tmp_path / "methanols.db"
    arguments = (tmp_path / "methanols.extxyz", output, "--level", "hf/6-31g")
    command = [sys.executable, "program.py", "label", *map(str, arguments), "--workers", "1"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 300
    while not (output.exists() and _n_labelled(output) >= 1):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, messages = process.communicate(timeout=300)
    assert process.returncode == 130
    _read, kept, interrupted = messages.strip().splitlines()
    assert re.fullmatch(r".*methanols.db keeps \d labelled molecules, \d are left; the same command goes on .*", kept)
    assert interrupted == "interrupted"
    n_before = _n_labelled(output)
    assert 1 <= n_before < 8
    code, messages = run(*arguments)
    assert (code, "8 labelled, 0 failed" in messages) == (0, True), messages


def _n_labelled(path: Path) -> int:
    try:
        return DatasetFile(path).counts()["labelled"]
    except FileNotFoundError:
        return 0
