"""What grows with the number of atoms."""

from __future__ import annotations

import argparse
import time

import numpy as np
from ase import units

from ase_mlwave.calculators import load_calculator
from ase_mlwave.calculators.checks import Domain, read_atoms
from ase_mlwave.systems.batch import collate
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.units import BOHR
from benchmarks.common import bar, clock_of, median
from benchmarks.structures import chain, water_box

FAMILIES = {"alkane": chain, "water": water_box}
SIZES = (10, 20, 50, 100, 200, 350, 500, 700, 1000)
#: Steps of a flight, fs each, and the reach of neighbours, Angstrom.
STEPS, TIMESTEP, CUTOFF = 60, 0.5, 4.8


def growth(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time energies and forces of growing systems, by the clock on the wall on a GPU."""
    calculator = load_calculator(chosen.model or "qdf-chno", outside="warn", device=chosen.device, dtype=chosen.dtype)
    clock = clock_of(chosen.device)
    found: dict[str, dict[str, float]] = {"seconds": {}, "ms per atom": {}}
    for family, build in FAMILIES.items():
        for atoms in bar().track([build(size) for size in chosen.atoms or SIZES], description=family):
            seconds = median(lambda: calculator.predict([atoms], ["energy", "forces"]), chosen.repeats, clock)  # noqa: B023
            row = f"{family}, {len(atoms)} atoms"
            found["seconds"][row], found["ms per atom"][row] = seconds, 1e3 * seconds / len(atoms)
    return found


def step(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time reading and neighbours, with a list that is kept from step to step, and without."""
    sizes = chosen.atoms or (3600,)
    kinds = [(f"{name} of {n}", n, periodic) for n in sizes for name, periodic in (("drop", False), ("cell", True))]
    return {name: flight(n, chosen.seed, periodic=periodic) for name, n, periodic in kinds}


def flight(n_atoms: int, seed: int, *, periodic: bool) -> dict[str, float]:
    """Time every step, milliseconds."""
    atoms, domain, neighbours = water_box(n_atoms, seed), Domain(frozenset("HO"), periodic=True), NeighbourList()
    contacts = NeighbourList(skin=1.0)
    atoms.set_cell(np.ptp(atoms.positions, axis=0) + 1.6)
    atoms.pbc = periodic
    speed = np.sqrt(units.kB * 300 / atoms[:3].get_masses().sum())
    velocities = np.repeat(np.random.default_rng(seed).normal(scale=speed, size=(len(atoms) // 3, 3)), 3, axis=0)
    marks = np.empty((STEPS, 4))
    for times in marks:
        atoms.positions += TIMESTEP * units.fs * velocities
        times[0] = time.process_time()
        system = read_atoms(atoms, domain, contacts)
        times[1] = time.process_time()
        batch = collate([system], CUTOFF / BOHR, neighbours)
        times[2] = time.process_time()
        collate([system], CUTOFF / BOHR)
        times[3] = time.process_time()
    found = dict(zip(("read, ms", "kept, ms", "searched, ms"), 1e3 * np.median(np.diff(marks), axis=0), strict=True))
    counts = {"atoms": len(atoms), "pairs": len(batch.first), "searches": neighbours.n_searches}
    return {
        **counts,
        **found,
        "read and kept, mean with searches, ms": 1e3 * float(np.diff(marks)[:, :2].sum(1).mean()),
    }
