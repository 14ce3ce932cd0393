"""torch-sim runs the package's models: its contract, the calculators' results, ASE's dynamics and relaxations."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ase.build
import numpy as np
import pytest
import torch
from ase import Atoms, units
from ase.build import bulk, molecule
from ase.calculators.calculator import InputError, PropertyNotImplementedError
from ase.calculators.lj import LennardJones
from ase.md.velocitydistribution import thermalize_momenta
from ase.md.verlet import VelocityVerlet
from ase.optimize import BFGS
from ase.stress import voigt_6_to_full_3x3_stress

from ase_mlwave.calculators import load_calculator
from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.errors import OutOfDomainError, OutOfDomainWarning
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fitting import fit_amons
from ase_mlwave.models.folder import ModelFolder, TrainingData
from tests.models.phisnet.systems import network as random_phisnet
from tests.models.qdf.networks import random_network as random_qdf

ts = pytest.importorskip("torch_sim")
validate_model_outputs = pytest.importorskip("torch_sim.models.interface").validate_model_outputs

from ase_mlwave.interfaces.torch_sim import MlwaveModel  # noqa: E402  # needs torch-sim

WATER = "phisnet-water"
PAGE = Path(__file__).parents[2] / "docs" / "torch_sim.md"


def _saved(kind: str, network: Any, folder: Path) -> str:
    data = TrainingData(source="none: for tests", sha256="0" * 64, n_records=1)
    return str(ModelFolder.pack(kind, network, training_data=data, card="# For tests").save(folder))


@pytest.fixture(scope="module")
def crystals(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Fit a model of amons to pieces of silicon and of iron, whatever their energies."""
    records = []
    for seed, piece in enumerate(
        [bulk("Si", "diamond", a=5.43, cubic=True), bulk("Fe", "fcc", a=5.26, cubic=True)] * 3
    ):
        piece.pbc = False
        piece.rattle(0.1, seed=seed)
        piece.calc = LennardJones(sigma=2.2, epsilon=0.3, rc=6.0)
        piece.get_potential_energy()
        records.append(record_from_atoms(piece))
    fit = fit_amons(records, "lennard-jones", FitSettings(penalty=1e-5, directions=0), free_atoms={14: 0.0, 26: 0.0})
    return _saved("amons", fit.model, tmp_path_factory.mktemp("models") / "crystals")


@pytest.fixture(scope="module")
def molecular(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Save networks of random weights, by kind."""
    folder = tmp_path_factory.mktemp("models")
    networks = {"phisnet": random_phisnet("edge_frame"), "qdf": random_qdf(seed=3)}
    return {kind: _saved(kind, network, folder / kind) for kind, network in networks.items()}


def _waters(count: int) -> list[Atoms]:
    waters = [molecule("H2O") for _ in range(count)]
    for seed, atoms in enumerate(waters):
        atoms.rattle(0.04, seed=seed)
    return waters


# --- torch-sim's contract ---------------------------------------------------------------------------------------------


def test_cells_pass_the_contract_with_stress(crystals: str) -> None:
    model = MlwaveModel(crystals, device="cpu")
    validate_model_outputs(model, model.device, model.dtype)
    assert model.compute_stress, "the contract asks for it where a model has it"


@pytest.mark.parametrize("kind", ["phisnet", "qdf"])
def test_molecules_pass_the_contract(kind: str, molecular: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Its crystals of silicon and iron are no molecules: ethane and benzene, of as many atoms, are in their place."""
    stand_ins = {"Si": molecule("C2H6"), "Fe": SimpleNamespace(repeat=lambda _: molecule("C6H6"))}
    monkeypatch.setattr(ase.build, "bulk", lambda name, *_, **__: stand_ins[name])
    model = MlwaveModel(molecular[kind], device="cpu", **({"energy": "wavefunction"} if kind == "phisnet" else {}))
    validate_model_outputs(model, model.device, model.dtype)
    assert not model.compute_stress


# --- results ----------------------------------------------------------------------------------------------------------


def test_results_are_those_of_the_calculator(molecular: dict[str, str]) -> None:
    mixture = [molecule(name) for name in ("CH3OH", "H2O", "C2H4")]
    model = MlwaveModel(molecular["qdf"], device="cpu", grid_level=1)
    results = model(ts.initialize_state(mixture, model.device, model.dtype))
    expected = load_calculator(molecular["qdf"], device="cpu", grid_level=1).predict(mixture)
    np.testing.assert_allclose(results["energy"], [one["energy"] for one in expected], rtol=0, atol=1e-8)
    np.testing.assert_allclose(results["forces"], np.concatenate([one["forces"] for one in expected]), atol=1e-8)
    assert not results["forces"].requires_grad


def test_stress_is_that_of_the_calculator(crystals: str) -> None:
    cell = bulk("Si", "diamond", a=5.6)
    cell.set_cell(cell.cell @ [[1.01, 0.02, 0], [0, 0.99, 0.01], [0, 0, 1.02]], scale_atoms=True)
    model = MlwaveModel(crystals, device="cpu", compute_stress=True)
    results = model(ts.initialize_state([cell, cell.repeat((1, 1, 2))], model.device, model.dtype))
    expected = load_calculator(crystals, device="cpu").get_property("stress", cell)
    assert np.abs(expected).max() > 1e-3
    for stress in results["stress"].numpy():
        np.testing.assert_allclose(stress, voigt_6_to_full_3x3_stress(expected), atol=1e-8)


def test_states_may_be_mappings_and_of_single_precision(molecular: dict[str, str]) -> None:
    double, single = (MlwaveModel(molecular["qdf"], device="cpu", dtype=t) for t in (torch.float64, torch.float32))
    state = ts.initialize_state([molecule("CH3OH")], single.device, single.dtype)
    entries = {name: getattr(state, name) for name in ("positions", "cell", "pbc", "atomic_numbers", "system_idx")}
    results = single(entries)
    assert {tensor.dtype for tensor in results.values()} == {torch.float32}
    torch.testing.assert_close(results["forces"].double(), double(state)["forces"], rtol=0, atol=2e-3)


def test_energies_alone_cost_no_forces(molecular: dict[str, str]) -> None:
    model = MlwaveModel(molecular["qdf"], device="cpu", compute_forces=False)
    assert set(model(ts.initialize_state(molecule("H2O"), model.device, model.dtype))) == {"energy"}


# --- simulations ------------------------------------------------------------------------------------------------------


def test_dynamics_are_those_of_ase() -> None:
    model, waters = MlwaveModel(WATER, device="cpu"), _waters(2)
    for seed, atoms in enumerate(waters):
        thermalize_momenta(atoms, temperature_K=400, rng=np.random.default_rng(seed))
    state = ts.initialize_state(waters, model.device, model.dtype)
    state.momenta = torch.from_numpy(np.concatenate([atoms.get_momenta() for atoms in waters]))
    start, step = ts.nve(model, dt=torch.tensor(0.5 * units.fs, dtype=model.dtype), kT=torch.tensor(0.0))
    state = start(state)
    for _ in range(12):
        state = step(state)
    for atoms in waters:
        atoms.calc = load_calculator(WATER, device="cpu")
        VelocityVerlet(atoms, timestep=0.5 * units.fs).run(12)
    np.testing.assert_allclose(state.positions, np.concatenate([atoms.positions for atoms in waters]), atol=1e-8)
    np.testing.assert_allclose(state.energy, [atoms.get_potential_energy() for atoms in waters], rtol=0, atol=1e-8)


def test_relaxations_end_where_those_of_ase_do() -> None:
    model, waters = MlwaveModel(WATER, device="cpu"), _waters(2)
    converged = ts.generate_force_convergence_fn(0.01, include_cell_forces=False)
    relaxed = ts.optimize(waters, model, optimizer=ts.optimizers.fire, convergence_fn=converged)
    atoms = waters[0]
    atoms.calc = load_calculator(WATER, device="cpu")
    BFGS(atoms, logfile=None).run(fmax=0.01)
    np.testing.assert_allclose(relaxed.energy, atoms.get_potential_energy(), rtol=0, atol=1e-5)
    for one in ts.io.state_to_atoms(relaxed):
        np.testing.assert_allclose(one.get_all_distances(), atoms.get_all_distances(), atol=2e-3)


# --- what is refused --------------------------------------------------------------------------------------------------


def test_structures_outside_the_domain_are_refused_by_their_index() -> None:
    waters = _waters(2)
    waters[1].positions[1] += [0, 0.9, 0.9]
    for outside, expected in (("error", pytest.raises(OutOfDomainError, match="structure 1")), ("warn", None)):
        model = MlwaveModel(WATER, device="cpu", outside=outside)
        with expected or pytest.warns(OutOfDomainWarning):
            model(ts.initialize_state(waters, model.device, model.dtype))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pbc": True}, "structure 0: the model is for molecules"),
        ({"charge": torch.tensor([0, 1])}, "structure 1: .*charge"),
        ({"atomic_numbers": torch.tensor([8, 1, 1, 2, 1, 1])}, "structure 1: the model does not know He"),
    ],
)
def test_wrong_states_are_refused(change: dict[str, Any], words: str) -> None:
    model = MlwaveModel(WATER, device="cpu")
    state = ts.initialize_state(_waters(2), model.device, model.dtype)
    vars(state).update(change)
    with pytest.raises(InputError, match=words):
        model(state)


def test_wrong_options_are_refused() -> None:
    with pytest.raises(PropertyNotImplementedError, match="PhiSNetCalculator has no stress"):
        MlwaveModel(WATER, device="cpu", compute_stress=True)
    with pytest.raises(TypeError, match="outside"):
        MlwaveModel(WATER, device="cpu", outsid="warn")


def test_without_torch_sim_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch_sim.models.interface", None)
    with pytest.raises(ImportError, match=re.escape("pip install 'ase-mlwave[torch-sim]'")):
        importlib.reload(sys.modules[MlwaveModel.__module__])


def test_code_of_the_page_runs() -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), names)
    np.testing.assert_allclose(names["relaxed"].energy, -2075.485, atol=1e-3)
    assert names["final"].n_systems == 3
