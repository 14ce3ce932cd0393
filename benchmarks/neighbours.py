"""Measure what a step of dynamics costs before the model computes: reading the atoms, and finding their neighbours.

    python -m benchmarks.neighbours --atoms 3600

Waters, a drop or a cell, fly with velocities of 300 K for 60 steps of 0.5 fs. ``read`` is `read_atoms`; ``kept`` is the
batch with a list of neighbours that is kept from step to step, ``searched`` that without; medians, CPU time.
"""

from __future__ import annotations

import time

import numpy as np
from ase import units

from ase_mlwave.calculators.checks import Domain, read_atoms
from ase_mlwave.console import Console
from ase_mlwave.systems.batch import collate
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.units import BOHR
from benchmarks.common import command_line, figures_table, one_thread, positive
from benchmarks.structures import water_box

STEPS = 60


def measure(n_atoms: int, cutoff: float, seed: int, *, periodic: bool) -> dict[str, float]:
    """Time every step, milliseconds."""
    atoms, domain, neighbours = water_box(n_atoms, seed), Domain(frozenset("HO"), periodic=True), NeighbourList()
    atoms.set_cell(np.ptp(atoms.positions, axis=0) + 1.6)
    atoms.pbc = periodic
    speed = np.sqrt(units.kB * 300 / atoms[:3].get_masses().sum())
    velocities = np.repeat(np.random.default_rng(seed).normal(scale=speed, size=(len(atoms) // 3, 3)), 3, axis=0)
    marks = np.empty((STEPS, 4))
    for step in marks:
        atoms.positions += 0.5 * units.fs * velocities
        step[0] = time.process_time()
        system = read_atoms(atoms, domain)
        step[1] = time.process_time()
        batch = collate([system], cutoff / BOHR, neighbours)
        step[2] = time.process_time()
        collate([system], cutoff / BOHR)
        step[3] = time.process_time()
    times = dict(zip(("read, ms", "kept, ms", "searched, ms"), 1e3 * np.median(np.diff(marks), axis=0), strict=True))
    counts = {"atoms": len(atoms), "pairs": len(batch.first), "searches": neighbours.n_searches}
    mean = 1e3 * float(np.mean(marks[:, 2] - marks[:, 0]))
    return counts | times | {"read and kept, mean with searches, ms": mean}


if __name__ == "__main__":
    parser = command_line("neighbours", __doc__, seed=0)
    parser.add_argument("--atoms", type=positive(int), default=3600)
    parser.add_argument("--cutoff", type=positive(float), default=4.8, help="Angstrom")
    given = parser.parse_args()
    with one_thread():
        kinds = {"drop": False, "cell": True}
        found = {name: measure(given.atoms, given.cutoff, given.seed, periodic=kind) for name, kind in kinds.items()}
    Console().print(figures_table(found, "before the model computes"))
