"""Energy and forces of a PhiSNet at the level of its wavefunction, beside the DFT calculation that they replace."""

from __future__ import annotations

import argparse
from functools import partial

import numpy as np
import torch
from ase import Atoms, units
from ase.build import molecule
from ase.collections import s22
from ase.md.verlet import VelocityVerlet

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.models.phisnet.config import PhiSNetConfig
from ase_mlwave.models.phisnet.inference import predict_batch
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.reference.levels import LevelOfTheory
from benchmarks.common import clock_of, cpu_seconds, median

#: Uracil is half of the S22 set's hydrogen-bonded dimer.
MOLECULES = {
    "water": molecule("H2O"),
    "ethanol": molecule("CH3CH2OH"),
    "benzene": molecule("C6H6"),
    "uracil": s22["Uracil_dimer_h-bonded"][:12],
}
#: Channels, modules and radial functions: the paper's, those of an everyday model.
NETWORKS = {"paper's size": (128, 5, 128), "F = 32, 2 modules": (32, 2, 32)}
#: Molecules that are computed together; steps of dynamics that are timed together, after some that are not.
BATCH, STEPS = 16, 20


def surfaces(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time networks with random weights, on which the speed does not depend, and a flight of `phisnet-water`."""
    found = {}
    for name, atoms in MOLECULES.items():
        _, reference = cpu_seconds(partial(LevelOfTheory.parse("pbe/def2-svp").label, record_from_atoms(atoms)))
        found[name] = {"PySCF SCF and gradient, ms": 1e3 * reference}
        for size, numbers in NETWORKS.items():
            for words, seconds in _network(numbers, atoms, chosen).items():
                found[name][f"{size}, {words}: energy and forces, ms a molecule"] = 1e3 * seconds
                found[name][f"{size}, {words}: PySCF / ours"] = reference / seconds
    return found | {"phisnet-water": {"step of dynamics (NVE), ms": _flight(chosen)}}


def _network(numbers: tuple[int, int, int], atoms: Atoms, chosen: argparse.Namespace) -> dict[str, float]:
    """Time one molecule, and molecules together; seconds a molecule."""
    features, n_modules, n_radial = numbers
    torch.manual_seed(0)
    settings = {"features": features, "n_modules": n_modules, "n_radial": n_radial, "baseline": "sap"}
    network = PhiSNet(PhiSNetConfig(elements=("H", "C", "N", "O"), **settings)).eval().to(chosen.device)
    network = network.cast(getattr(torch, chosen.dtype)).requires_grad_(False)
    record, rng = record_from_atoms(atoms), np.random.default_rng(chosen.seed)
    moved = [Record(record.numbers, record.positions + 0.05 * rng.normal(size=(len(atoms), 3))) for _ in range(BATCH)]

    def forces(batch: list[Record]) -> None:
        result = predict_batch(network, batch, gradients=True)
        result.gradient(result.wavefunction_energies()).cpu()

    clock, batches = clock_of(chosen.device), {"one": moved[:1], f"{BATCH} together": moved}
    return {words: median(partial(forces, some), chosen.repeats, clock) / len(some) for words, some in batches.items()}


def _flight(chosen: argparse.Namespace) -> float:
    """Time steps of dynamics of one water, milliseconds."""
    atoms = molecule("H2O")
    atoms.calc = PhiSNetCalculator("phisnet-water", energy="wavefunction", device=chosen.device, dtype=chosen.dtype)
    atoms.set_velocities(np.random.default_rng(chosen.seed).normal(scale=0.03, size=(3, 3)))
    dynamics = VelocityVerlet(atoms, 0.25 * units.fs)
    return 1e3 * median(lambda: dynamics.run(STEPS), chosen.repeats, clock_of(chosen.device)) / STEPS
