"""Time PhiSNet beside the DFT calculation that it replaces: one thread, CPU seconds, medians.

    python -m benchmarks.phisnet [--repeats 5] [--product edge_frame clebsch_gordan] [--molecules water ethanol uracil]

Networks have the paper's size (L = 4, F = 128, K = 128, 5 modules) and random weights: speed does not depend on
them. ``PUBLIC`` holds what the public programs took on a machine of the same kind (2 cores, one thread used).
"""

from __future__ import annotations

import resource
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from ase.collections import s22
from pyscf import lib

from ase_mlwave.console import Console
from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.models.phisnet.config import PRESETS, PhiSNetConfig
from ase_mlwave.models.phisnet.inference import predict_batch
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.systems.batch import collate
from benchmarks.common import command_line, figures_table, median, one_thread, write_json

#: (public PhiSNet, QHNet), CPU-seconds: prediction, prediction with one derivative; and training steps of a batch.
PUBLIC = {
    "water": {"predict": (0.75, 0.23), "forces": (1.65, 0.55)},
    "ethanol": {"predict": (3.7, 0.40), "forces": (9.3, 1.55)},
}
#: Molecules in a training step -> CPU-seconds of the public PhiSNet.
PUBLIC_STEP = {"water": (50, 57.4), "ethanol": (10, 122.0)}
#: Uracil is half of the S22 set's hydrogen-bonded dimer.
MOLECULES = {"water": molecule("H2O"), "ethanol": molecule("CH3CH2OH"), "uracil": s22["Uracil_dimer_h-bonded"][:12]}


def build(product: str) -> PhiSNet:
    """Build a network of the paper's size with random weights, float32."""
    settings = {**PRESETS["paper"], "baseline": "sap", "overlap_head": False, "core_head": False, "product": product}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = PhiSNet(PhiSNetConfig(elements=("H", "C", "N", "O"), **settings))
    return network.eval()


def forces(network: PhiSNet, record: Record) -> None:
    """Predict the wavefunction energy and its derivative."""
    batch = predict_batch(network, [record], gradients=True)
    batch.gradient(batch.wavefunction_energies())


def training_step(network: PhiSNet, records: list[Record]) -> Callable[[], None]:
    """Prepare one step on the Hamiltonian of a batch: forward, backward, AdamW."""
    batch = collate(records, network.config.cutoff)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.0)

    def step() -> None:
        optimiser.zero_grad()
        network(batch).hamiltonian.flat.square().mean().backward()
        optimiser.step()

    return step


def measure(name: str, atoms: Atoms, product: str, repeats: int) -> dict[str, float]:
    record, network = record_from_atoms(atoms), build(product)
    size, public_step = PUBLIC_STEP.get(name, (4, 0.0))
    generator = np.random.default_rng(0)
    moved = [
        Record(record.numbers, record.positions + 0.05 * generator.normal(size=record.positions.shape))
        for _ in range(max(size, 32))
    ]
    result = {}
    result["predict"] = median(lambda: predict_batch(network, [record]), repeats)
    result["forces"] = median(lambda: forces(network, record), repeats)
    result["training step"] = median(training_step(network, moved[:size]), max(1, repeats // 2))
    result["batch of 32"] = median(lambda: predict_batch(network, moved[:32]), max(1, repeats // 2))
    result["predictions per second"] = 32 / result["batch of 32"]
    result["parameters (M)"] = sum(p.numel() for p in network.parameters()) / 1e6
    for key, (phisnet, qhnet) in PUBLIC.get(name, {}).items():
        result[f"{key}: public PhiSNet / ours"] = phisnet / result[key]
        result[f"{key}: QHNet / ours"] = qhnet / result[key]
    if public_step:
        result[f"training step of {size}: public PhiSNet / ours"] = public_step / result["training step"]
    mole = build_mole(record.numbers, record.positions, "def2-svp")
    level = LevelOfTheory.parse("pbe/def2-svp")
    result["PySCF SCF"] = median(lambda: level.mean_field(mole).kernel(), 1)
    result["PySCF SCF / predict"] = result["PySCF SCF"] / result["predict"]
    return result


def main(words: Sequence[str] | None = None) -> None:
    """Run all, print a table for each kind of network, and write phisnet.json."""
    parser = command_line("phisnet", __doc__, repeats=5, output=Path("runs/phisnet"))
    parser.add_argument("--product", nargs="+", default=["edge_frame", "clebsch_gordan"])
    parser.add_argument("--molecules", nargs="+", choices=list(MOLECULES), default=list(MOLECULES))
    chosen, console, figures = parser.parse_args(words), Console(), {}
    lib.num_threads(1)
    with one_thread():
        for product in chosen.product:
            columns = {}
            for name in chosen.molecules:
                console.print(f"{product}, {name} ...", style="dim")
                columns[name] = measure(name, MOLECULES[name], product, chosen.repeats)
            figures[product] = columns
            title = f"{product}: CPU seconds, one thread, medians of {chosen.repeats}"
            console.print(figures_table(columns, title))
    figures["peak memory (GB)"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    console.print(f"peak memory of the whole run: {figures['peak memory (GB)']:.2f} GB")
    write_json(chosen.output / "phisnet.json", figures)


if __name__ == "__main__":
    main()
