"""Laws of a network that learns a local potential."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.inference import PredictedBatch, predict_batch
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.phisnet.potential import neutral
from ase_mlwave.quantum.ao_order import rotate_aos
from ase_mlwave.quantum.auxiliary import monopoles
from ase_mlwave.quantum.basis import build_mole, shells
from ase_mlwave.systems.batch import collate
from ase_mlwave.systems.system import System
from tests.models.phisnet.systems import geometry

AUXILIARY = "def2-universal-jkfit"


@cache
def _network() -> PhiSNet:
    torch.manual_seed(3)
    settings = {"elements": ["H", "C", "O"], "features": 6, "n_modules": 2, "hidden": 8, "auxiliary": AUXILIARY}
    network = PhiSNet(PhiSNetConfig(**settings)).cast(torch.float64)  # type: ignore[arg-type]
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    for symbol, charge in {"H": 0.2, "C": -0.1, "O": -0.5}.items():  # as of training data
        network.potential.head(symbol).charge.copy_(torch.tensor([charge, 0.3]))  # type: ignore[union-attr]
    return network.requires_grad_(False)


def _predict(*systems: System) -> PredictedBatch:
    return predict_batch(_network(), systems)


def _system(name: str) -> System:
    return System(*geometry(name))


@pytest.mark.parametrize("mirrored", [False, True])
def test_hamiltonian_turns_with_the_molecule(mirrored: bool) -> None:
    system = _system("OCHH")
    turn = Rotation.random(random_state=1).as_matrix() * (-1 if mirrored else 1)
    U = rotate_aos([l for z in system.numbers for l in shells("def2-svp", int(z))], torch.from_numpy(turn))
    before, after = _predict(system).hamiltonians[0], _predict(System(system.numbers, system.positions @ turn.T))
    torch.testing.assert_close(after.hamiltonians[0], U @ before @ U.T, rtol=0, atol=1e-10)


def test_order_of_atoms_does_not_matter_nor_does_company() -> None:
    system, other = _system("OCHH"), _system("OHH")
    order = np.array([2, 0, 3, 1])
    alone = _predict(system).states[0].orbital_energies
    together = _predict(other, System(system.numbers[order], system.positions[order])).states[1].orbital_energies
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-10)


def test_a_learned_potential_has_no_charge() -> None:
    network, systems = _network(), [_system("OCHH"), _system("OHH")]
    coefficients = network(collate(systems, network.config.cutoff)).potential
    assert coefficients is not None
    charges = [monopoles(build_mole(system.numbers, system.positions, AUXILIARY)) for system in systems]
    parts = np.split(coefficients.numpy() * np.concatenate(charges), [len(charges[0])])
    assert max(abs(part.sum()) for part in parts) < 1e-10
    assert max(np.abs(part).max() for part in parts) > 1e-3


def test_molecules_far_apart_keep_their_potentials() -> None:
    network, one, other = _network(), _system("OCHH"), _system("OHH")
    apart = 5.0 + network.config.charge_range
    away = other.positions + np.array([apart, 0, 0])
    both = System(np.append(one.numbers, other.numbers), np.append(one.positions, away, 0))
    alone, together = (network(collate(some, network.config.cutoff)).potential for some in ([one, other], [both]))
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


def test_charge_goes_over_smoothly_as_molecules_part() -> None:
    q, ends = torch.tensor([0.3, -0.1, 0.5], dtype=torch.float64), torch.tensor([[0, 0, 1], [1, 2, 2]])
    found = []
    for distance in torch.linspace(1.0, 40.0, 391, dtype=torch.float64):
        at = torch.tensor([[0.0, 0, 0], [0, 1, 0], [float(distance), 0, 0]], dtype=torch.float64)
        found.append(neutral(q, at, *ends, 30.0))
    charges = torch.stack(found)
    torch.testing.assert_close(charges.sum(1), torch.zeros(391, dtype=torch.float64), rtol=0, atol=1e-15)
    torch.testing.assert_close(charges[0], q - q.mean(), rtol=0, atol=1e-15)
    torch.testing.assert_close(charges[-1], torch.tensor([0.2, -0.2, 0.0], dtype=torch.float64), rtol=0, atol=1e-15)
    assert charges.diff(dim=0).abs().max() < 0.01


def test_potential_is_no_home_for_other_heads() -> None:
    with pytest.raises(ValueError, match="leave out core_head, block_cutoff"):
        PhiSNetConfig(elements=["H"], auxiliary=AUXILIARY, core_head=True, block_cutoff=9.0)


def test_auxiliary_functions_need_their_order() -> None:
    with pytest.raises(ValueError, match="raise max_order"):
        PhiSNet(PhiSNetConfig(elements=["C"], features=2, auxiliary=AUXILIARY, max_order=2, max_unnatural_order=2))
