"""One-electron integrals and their contracted derivatives, ours beside PySCF's."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np
import torch
from ase import units
from ase.build import molecule
from torch import Tensor

from ase_mlwave.quantum.integrals import IntegralProgram, batch_integrals
from benchmarks.common import clock_of, medians

MOLECULES = {"water": molecule("H2O"), "ethanol": molecule("CH3CH2OH"), "benzene": molecule("C6H6")}
#: Programs, and molecules that they compute together.
BATCHES: tuple[tuple[IntegralProgram, int], ...] = (("torch", 1), ("torch", 16), ("pyscf", 1))


def integrals(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time matrices alone, and with a gradient, of displaced copies of molecules; milliseconds a molecule."""
    found: dict[str, dict[str, float]] = {name: {} for name in MOLECULES}
    for name, figures in found.items():
        for program, batch in BATCHES:
            seconds = medians(_tasks(name, batch, program, chosen.device), chosen.repeats, clock_of(chosen.device))
            figures |= {f"{program}, {batch}: {what}, ms": 1000 * value / batch for what, value in seconds.items()}
    return found


def _tasks(name: str, batch: int, program: IntegralProgram, device: str) -> dict[str, Any]:
    numbers, generator = MOLECULES[name].numbers, np.random.default_rng(0)
    copies = [MOLECULES[name].positions + 0.05 * generator.normal(size=(len(numbers), 3)) for _ in range(batch)]
    moving = torch.from_numpy(np.concatenate(copies) / units.Bohr).to(device).requires_grad_()

    def matrices(positions: Tensor) -> Tensor:
        found = batch_integrals(positions, [numbers] * batch, "def2-svp", sap=True, integrals=program)
        return torch.stack([torch.stack([i.overlap, i.kinetic, i.nuclear, i.sap]) for i in found])

    weights = torch.randn_like(matrices(moving.detach()))

    def done(result: Tensor) -> Tensor:
        if result.is_cuda:
            torch.cuda.synchronize()
        return result

    return {
        "matrices": lambda: done(matrices(moving.detach())),
        "with gradient": lambda: done(torch.autograd.grad(matrices(moving), moving, weights)[0]),
    }
