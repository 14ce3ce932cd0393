"""What grows with the number of atoms."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import units

from ase_mlwave.calculators import load_calculator
from ase_mlwave.calculators.checks import Domain, read_atoms
from ase_mlwave.models.folder import locate
from ase_mlwave.systems.batch import collate
from ase_mlwave.systems.neighbours import NeighbourList
from ase_mlwave.units import BOHR
from benchmarks.common import bar, median
from benchmarks.structures import chain, water_box

FAMILIES = {"alkane": chain, "water": water_box}
#: Atoms, about; the smallest of the fit of an exponent.
SIZES, FIT_FROM = (10, 20, 50, 100, 200, 350, 500, 700, 1000), 300
#: Steps of a flight, fs each, and the reach of neighbours, Angstrom.
STEPS, TIMESTEP, CUTOFF = 60, 0.5, 4.8


def in_fresh_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in a process that has done nothing else, so that its peak memory is its own; one thread."""
    os.environ["OMP_NUM_THREADS"] = "1"
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def growth(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Measure energies and forces of growing systems."""
    model = chosen.model or "qdf-chno"
    locate(model)
    found: dict[str, dict[str, float]] = {"seconds": {}, "ms per atom": {}, "MB": {}}
    for family in FAMILIES:
        costs = []
        for size in bar().track(chosen.atoms or SIZES, description=family):
            options = {"device": chosen.device, "dtype": chosen.dtype}
            atoms, seconds, memory = in_fresh_process(cost, family, size, model, chosen.repeats, options)
            costs.append((atoms, seconds, memory))
            row = f"{family}, {atoms} atoms"
            found["seconds"][row], found["ms per atom"][row], found["MB"][row] = seconds, 1e3 * seconds / atoms, memory
        sizes, times, memories = zip(*costs, strict=True)
        for key, values in (("seconds", times), ("MB", memories)):
            found[key][f"{family}, exponent"] = exponent(sizes, values, FIT_FROM)
    return found


def cost(family: str, n_atoms: int, model: str, repeats: int, options: dict[str, Any]) -> tuple[int, float, float]:
    """Measure one structure: atoms, median of seconds, and peak memory beyond that of the loaded model, MB."""
    torch.set_num_threads(1)
    atoms = FAMILIES[family](n_atoms)
    calculator = load_calculator(model, outside="warn", **options)
    device = next(calculator.members[0].network.parameters()).device
    on_gpu = device.type == "cuda"
    calculator.predict([FAMILIES[family](6)])  # loads what is loaded at first use
    before = torch.cuda.memory_allocated(device) if on_gpu else _resident_bytes()
    clock = time.perf_counter if on_gpu else time.process_time
    seconds = median(lambda: calculator.predict([atoms], ["energy", "forces"]), repeats, clock)
    peak = torch.cuda.max_memory_allocated(device) if on_gpu else _peak_bytes()
    return len(atoms), seconds, (peak - before) / 1e6


def exponent(sizes: Sequence[float], costs: Sequence[float], fit_from: float) -> float:
    """Fit the slope of log(cost) against log(size), from a size on; NaN if fewer than two are left."""
    pairs = [(s, c) for s, c in zip(sizes, costs, strict=True) if s >= fit_from and c > 0]
    return float(np.polyfit(*np.log(np.array(pairs)).T, 1)[0]) if len(pairs) > 1 else float("nan")


def _resident_bytes() -> float:
    """Return the memory that this process has now, and let its peak start from there where the system can do that."""
    with suppress(OSError):  # no Linux, or a hardened kernel; then the peak so far is a lower bound
        Path("/proc/self/clear_refs").write_text("5")
        return _from_status("VmRSS")
    return _peak_bytes()


def _peak_bytes() -> float:
    """Return the largest memory that this process has had (Linux's ``ru_maxrss`` starts with that of its parent)."""
    if Path("/proc/self/status").exists():
        return _from_status("VmHWM")
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _from_status(key: str) -> float:
    """Return a figure of Linux's own account of this process, bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    return next(1024.0 * int(line.split()[1]) for line in lines if line.startswith(f"{key}:"))


def step(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time reading and neighbours, with a list that is kept from step to step, and without."""
    sizes = chosen.atoms or (3600,)
    kinds = [(f"{name} of {n}", n, periodic) for n in sizes for name, periodic in (("drop", False), ("cell", True))]
    return {name: flight(n, chosen.seed, periodic=periodic) for name, n, periodic in kinds}


def flight(n_atoms: int, seed: int, *, periodic: bool) -> dict[str, float]:
    """Time every step, milliseconds."""
    atoms, domain, neighbours = water_box(n_atoms, seed), Domain(frozenset("HO"), periodic=True), NeighbourList()
    atoms.set_cell(np.ptp(atoms.positions, axis=0) + 1.6)
    atoms.pbc = periodic
    speed = np.sqrt(units.kB * 300 / atoms[:3].get_masses().sum())
    velocities = np.repeat(np.random.default_rng(seed).normal(scale=speed, size=(len(atoms) // 3, 3)), 3, axis=0)
    marks = np.empty((STEPS, 4))
    for times in marks:
        atoms.positions += TIMESTEP * units.fs * velocities
        times[0] = time.process_time()
        system = read_atoms(atoms, domain)
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
