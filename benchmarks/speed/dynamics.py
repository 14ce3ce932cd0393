"""A step of dynamics at the level of the wavefunction, and what of it tells how unlike the training data atoms are."""

from __future__ import annotations

import argparse

import numpy as np
from ase import units
from ase.md.verlet import VelocityVerlet

from ase_mlwave import PhiSNetCalculator
from ase_mlwave.data.convert import atoms_from_record
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.systems.batch import collate
from ase_mlwave.systems.conversion import system_from_atoms
from benchmarks.common import clock_of, median
from benchmarks.speed.functional import SMILES

#: Steps that are timed together, fs each, and their temperature, K.
STEPS, TIMESTEP, TEMPERATURE = 20, 0.5, 300.0


def dynamics(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time NVE dynamics of ethanol and drug-like molecules (the first few, with --molecules), milliseconds a step."""
    name, clock = chosen.model or "phisnet-chno", clock_of(chosen.device)
    found = {}
    for smiles in ("CCO", *SMILES)[: chosen.molecules]:
        atoms = atoms_from_record(from_smiles(smiles, chosen.seed))
        atoms.calc = PhiSNetCalculator(name, energy="wavefunction", device=chosen.device, dtype=chosen.dtype)
        widths = np.sqrt(units.kB * TEMPERATURE * atoms.get_masses())[:, None]
        atoms.set_momenta(widths * np.random.default_rng(chosen.seed).standard_normal((len(atoms), 3)))
        flight = VelocityVerlet(atoms, TIMESTEP * units.fs)
        flight.run(STEPS)
        times = {"step of dynamics (NVE), ms": 1e3 * median(lambda: flight.run(STEPS), chosen.repeats, clock) / STEPS}  # noqa: B023
        network = atoms.calc.members[0].network_as(PhiSNet)
        batch = collate([system_from_atoms(atoms)], network.config.cutoff)
        plan, there = network.plan(batch), batch.to(chosen.device)
        seconds = median(lambda: network.domain_distances(there, plan).cpu(), chosen.repeats, clock)  # noqa: B023
        found[f"{atoms.get_chemical_formula()}, {len(atoms)} atoms"] = times | {
            "of it domain distances, ms": 1e3 * seconds
        }
    return found
