"""Time one-electron integrals and their contracted derivatives, ours beside PySCF's: one thread, medians.

    python -m benchmarks.integrals [--molecules water ethanol benzene] [--batch 1 16] [--device cuda] [--repeats 9]

Overlap, kinetic energy, nuclear attraction and SAP potential in def2-SVP; milliseconds a molecule, processor time on a
CPU and of the clock on a GPU. Derivatives are contracted with a random matrix, as in the gradient of an energy.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from ase import units
from ase.build import molecule
from pyscf import lib
from torch import Tensor

from ase_mlwave.console import Console
from ase_mlwave.quantum.integrals import IntegralProgram, batch_integrals
from benchmarks.common import command_line, figures_table, medians, one_thread, positive, write_json

MOLECULES = {"water": molecule("H2O"), "ethanol": molecule("CH3CH2OH"), "benzene": molecule("C6H6")}


def tasks(name: str, batch: int, program: IntegralProgram, device: str) -> dict[str, Callable[[], object]]:
    """Give what is to be timed on displaced copies of a molecule: matrices alone, and with a gradient."""
    numbers, generator = MOLECULES[name].numbers, np.random.default_rng(0)
    copies = [MOLECULES[name].positions + 0.05 * generator.normal(size=(len(numbers), 3)) for _ in range(batch)]
    positions = torch.from_numpy(np.concatenate(copies) / units.Bohr).to(device)
    weights: list[Tensor] = []

    def matrices(positions: Tensor) -> Tensor:
        found = batch_integrals(positions, [numbers] * batch, "def2-svp", sap=True, integrals=program)
        return torch.stack([torch.stack([i.overlap, i.kinetic, i.nuclear, i.sap]) for i in found])

    def gradient() -> Tensor:
        moving = positions.detach().requires_grad_()
        values = matrices(moving)
        if not weights:
            weights.append(torch.randn_like(values))
        return _done(torch.autograd.grad(values, moving, weights[0])[0])

    return {
        f"{program}, {batch}: matrices": lambda: _done(matrices(positions)),
        f"{program}, {batch}: with gradient": gradient,
    }


def _done(result: Tensor) -> Tensor:
    if result.is_cuda:
        torch.cuda.synchronize()
    return result


def measure(name: str, batches: Sequence[int], device: str, repeats: int) -> dict[str, float]:
    """Time a molecule alone and in batches, in milliseconds a molecule."""
    clock = time.perf_counter if device.startswith("cuda") else time.process_time
    result: dict[str, float] = {}
    for program, batch in [("torch", batch) for batch in batches] + [("pyscf", 1)]:
        seconds = medians(tasks(name, batch, program, device), repeats, clock)
        result |= {key: 1000 * value / batch for key, value in seconds.items()}
    return result


def main(words: Sequence[str] | None = None) -> None:
    """Run all, print a table, and write integrals.json."""
    parser = command_line("integrals", __doc__, repeats=9, output=Path("runs/integrals"), device="cpu")
    parser.add_argument("--molecules", nargs="+", choices=list(MOLECULES), default=list(MOLECULES))
    parser.add_argument("--batch", nargs="+", type=positive(int), default=[1, 16], help="molecules computed together")
    chosen = parser.parse_args(words)
    with one_thread(), lib.with_omp_threads(1):
        columns = {name: measure(name, chosen.batch, chosen.device, chosen.repeats) for name in chosen.molecules}
    Console().print(figures_table(columns, f"milliseconds a molecule, {chosen.device}, medians of {chosen.repeats}"))
    write_json(chosen.output / "integrals.json", columns)


if __name__ == "__main__":
    main()
