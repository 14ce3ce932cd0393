"""The recipes of ``docs/engines.md`` run where the engine is installed, and give what the model gives."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import threading
import time
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase.build import molecule
from ase.calculators.socketio import SocketIOCalculator
from ase.io import read, write
from ase.optimize import BFGS
from ase.units import Hartree, invcm

from ase_mlwave import PhiSNetCalculator

PAGE = (Path(__file__).parents[2] / "docs" / "engines.md").read_text(encoding="utf-8")


def recipe(title: str, language: str = "python") -> str:
    """Return the code under a heading that begins with these words."""
    section = PAGE.partition(f"\n## {title}")[2].partition("\n## ")[0]
    (block,) = re.findall(rf"```{language}\n(.*?)```", section, flags=re.DOTALL)
    return block


def run(title: str, change: tuple[str, str] = ("", "")) -> dict[str, Any]:
    """Run a recipe, without what it prints; engines that deprecate what they use themselves may warn."""
    found: dict[str, Any] = {}
    with redirect_stdout(StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        exec(compile(recipe(title).replace(*change), title, "exec"), found)
    return found


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_ase_run_takes_the_models(tmp_path: Path) -> None:
    from ase.cli.main import main

    write("water.xyz", molecule("H2O"))
    command = re.findall(r"^ase (run .*)$", PAGE, flags=re.MULTILINE)[0]
    with redirect_stdout(StringIO()):
        main(args=command.split())
    expected = PhiSNetCalculator("phisnet-water").get_potential_energy(molecule("H2O"))
    assert read("water.json").get_potential_energy() == pytest.approx(expected, abs=1e-6)


def test_dispersion_is_added() -> None:
    dftd3 = pytest.importorskip("dftd3.ase", reason="needs dftd3")
    pytest.importorskip("dftd4.ase", reason="needs dftd4")
    found = run("Dispersion")
    atoms, calc = found["atoms"], found["calc"]
    alone = dftd3.DFTD3(method="PBE", damping="d3bj").get_potential_energy(atoms)
    assert found["energies"]["D3(BJ)"] == pytest.approx(alone, abs=1e-9)
    assert -0.3 < found["energies"]["D4"] < -0.03
    forces = atoms.get_forces() - calc.get_forces(atoms)
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-6)
    assert np.abs(forces).max() > 1e-4


def test_socket_client_serves_a_driver() -> None:
    """ASE's server in the place of i-PI, which speaks the same protocol."""
    atoms, address = molecule("H2O"), f"mlwave-{os.getpid()}"  # an interrupted run leaves its socket behind
    with SocketIOCalculator(unixsocket=address, timeout=60) as server:
        change = ('unixsocket="mlwave"', f'unixsocket="{address}"')
        client = threading.Thread(target=run, args=("i-PI", change), daemon=True)
        client.start()
        atoms.calc = server
        forces = [atoms.get_forces()]
        atoms.rattle(0.02, seed=1)
        forces.append(atoms.get_forces())
    client.join(timeout=60)
    moved = [molecule("H2O"), atoms]
    expected = [result["forces"] for result in PhiSNetCalculator("phisnet-water").predict(moved)]
    np.testing.assert_allclose(forces, expected, atol=1e-7)


def test_ipi_moves_the_beads(tmp_path: Path) -> None:
    pytest.importorskip("ipi", reason="needs i-PI")
    server = shutil.which("i-pi", path=str(Path(sys.executable).parent))
    assert server is not None
    address = f"mlwave-{tmp_path.name}"
    settings = recipe("i-PI", "xml").replace("<address>mlwave<", f"<address>{address}<").replace(">1000<", ">4<")
    (tmp_path / "input.xml").write_text(settings, encoding="utf-8")
    write("water.xyz", molecule("H2O", vacuum=10))
    with subprocess.Popen([server, "input.xml"], stdout=subprocess.DEVNULL) as process:
        try:
            for _ in range(300):
                if Path(f"/tmp/ipi_{address}").exists():
                    break
                time.sleep(0.1)
            run("i-PI", ('unixsocket="mlwave"', f'unixsocket="{address}"'))
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
    step, _, conserved, _, _ = np.loadtxt("water.out").T
    np.testing.assert_array_equal(step, range(5))
    assert np.ptp(conserved) < 5e-3  # eV, of 0.3 in motion
    beads = [read(file, index=-1) for file in sorted(tmp_path.glob("water.pos_*.extxyz"))]
    assert len(beads) == 8


def test_sella_finds_the_saddle_point() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("sella", reason="needs Sella and JAX")
    found = run("Sella")
    frequencies = found["frequencies"]
    assert np.sum(np.abs(frequencies.imag) > 50) == 1
    positions = found["atoms"].positions
    assert np.linalg.svd(positions - positions.mean(axis=0))[1][2] < 0.02  # Angstrom: flat


def test_geometric_finds_the_minimum() -> None:
    pytest.importorskip("geometric", reason="needs geomeTRIC")
    path = run("geomeTRIC")["path"]
    atoms = molecule("CH3OH")
    atoms.calc = PhiSNetCalculator("phisnet-chno", energy="wavefunction")
    BFGS(atoms, logfile=None).run(fmax=1e-2)
    assert path.qm_energies[-1] * Hartree == pytest.approx(atoms.get_potential_energy(), abs=1e-3)


def test_openmm_conserves_the_energy() -> None:
    pytest.importorskip("openmm", reason="needs OpenMM")
    pytest.importorskip("openmmml", reason="needs openmm-ml")
    found = run("OpenMM")
    assert np.ptp(found["totals"]) < 1.0  # kJ/mol, of 10 in motion
    state = found["simulation"].context.getState(energy=True, positions=True)
    atoms = found["atoms"]
    atoms.positions = state.getPositions(asNumpy=True).value_in_unit(found["unit"].angstrom)
    energy = state.getPotentialEnergy().value_in_unit(found["unit"].kilojoule_per_mole)
    assert atoms.get_potential_energy() == pytest.approx(energy / 96.48533212, abs=1e-4)


def test_phonons_at_the_centre_are_the_vibrations_of_the_cell() -> None:
    pytest.importorskip("phonopy", reason="needs phonopy")
    found = run("phonopy")
    frequencies = found["frequencies"] * 33.35641 * invcm  # from THz to eV
    expected = found["calc"].vibrations(found["chain"]).get_energies().real
    np.testing.assert_allclose(frequencies[-6:], expected[-6:], rtol=5e-3)
