"""Time the published quantum deep field: predictions by batch size, training, and growth with the number of atoms.

    nice python benchmarks/qdf.py --model FOLDER --structures FILE

CPU seconds of one thread, with everything that comes between an ``Atoms`` object and an energy; the original program
needs what stands under "original" (its authors' settings, one thread, QM9 molecules with at most 14 atoms; its padding
is quadratic in the batch size). Without ``--model`` the weights are random; without ``--structures`` the molecules are
those of ASE's G2 set with H, C, N, O and F. Trained weights are faster than random ones: most of their ReLU units are
silent on all points of a molecule, and are left out.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from ase.collections import g2
from ase.io import read
from rich.console import Console
from rich.table import Table

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.qdf.published.config import PublishedConfig
from ase_mlwave.models.qdf.published.network import PublishedQDF
from ase_mlwave.units import HARTREE

#: Molecules per CPU second at a batch size, and CPU seconds per 1,000 molecules and epoch of training at batch size 4.
ORIGINAL = {1: 83.5, 4: 36.7, 32: 3.0}
ORIGINAL_TRAINING = 98.0
ELEMENTS = ("H", "C", "N", "O", "F")


def cpu_seconds(function: Callable[[], Any], repeats: int) -> list[float]:
    """Time a function after one call that does not count."""
    function()
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        function()
        seconds.append(time.process_time() - start)
    return seconds


def load(model: Path | None, dtype: torch.dtype) -> PublishedQDF:
    """Build the network of a folder, or one with random weights."""
    if model is not None:
        network = ModelFolder.load(model).build(dtype=dtype)
        if not isinstance(network, PublishedQDF):
            raise SystemExit(f"{model} is not a model of the published field")
        return network
    torch.manual_seed(0)
    return PublishedQDF(PublishedConfig(elements=ELEMENTS, level="none")).cast(dtype).requires_grad_(False)


def structures(path: Path | None) -> list[Atoms]:
    """Read the molecules, or take those of the G2 set."""
    if path is not None:
        return list(read(path, ":"))
    return [m for m in (molecule(name) for name in g2.names) if set(m.symbols) <= set(ELEMENTS) and len(m) > 3]


def alkane(n_carbon: int) -> Atoms:
    """Build a stretched chain C_n H_(2n+2), Angstrom."""
    carbons = np.array([[1.27 * i, 0.0, 0.42 * (-1) ** i] for i in range(n_carbon)])
    side = np.array([[0.0, 0.88, 0.63], [0.0, -0.88, 0.63]])
    hydrogens = [c + s * [1, 1, (-1) ** i] for i, c in enumerate(carbons) for s in side]
    ends = [carbons[0] + [-0.89, 0, -0.63], carbons[-1] + [0.89, 0, -0.63 * (-1) ** (n_carbon - 1)]]
    return Atoms(f"C{n_carbon}H{2 * n_carbon + 2}", np.concatenate([carbons, hydrogens, ends]))


def predict(network: PublishedQDF, molecules: list[Atoms], batch_size: int) -> None:
    """Predict all molecules in batches, conversion of the structures included."""
    with torch.inference_mode():
        for start in range(0, len(molecules), batch_size):
            network([record_from_atoms(atoms) for atoms in molecules[start : start + batch_size]])


def epoch(network: PublishedQDF, optimiser: torch.optim.Optimizer, records: list[Record], batch_size: int) -> None:
    """Train as the original does: for every batch a step for the energies, then one for the potential."""
    for start in range(0, len(records), batch_size):
        batch = records[start : start + batch_size]
        energies = torch.tensor([[r.energy or 0.0] for r in batch], dtype=torch.float64)
        for of_potential in (False, True):
            optimiser.zero_grad()
            if of_potential:
                wanted = torch.cat([network.reference_potential(r) for r in batch])
                given = network.potential(torch.cat([network.density(r) for r in batch]))
                loss = (given - wanted).square().mean()
            else:
                loss = ((network(batch) - energies) * HARTREE).square().mean()
            loss.backward()
            optimiser.step()


def measure(network: PublishedQDF, molecules: list[Atoms], repeats: int) -> dict[str, float]:
    """Measure predictions by batch size."""
    figures = {}
    for batch_size, original in ORIGINAL.items():
        seconds = cpu_seconds(lambda size=batch_size: predict(network, molecules, size), repeats)
        rates = len(molecules) / np.array(seconds)
        figures[f"molecules per CPU second, batch of {batch_size}: median"] = float(np.median(rates))
        figures[f"molecules per CPU second, batch of {batch_size}: best"] = float(rates.max())
        figures[f"ours / original, batch of {batch_size}: median"] = float(np.median(rates)) / original
    return figures


def measure_training(network: PublishedQDF, molecules: list[Atoms]) -> dict[str, float]:
    """Measure an epoch of training at the original's batch size, without changing the network for good."""
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.requires_grad_()
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)
    records = [record_from_atoms(atoms) for atoms in molecules]
    seconds = float(np.median(cpu_seconds(lambda: epoch(network, optimiser, records, 4), 2))) * 1000 / len(records)
    network.load_state_dict(weights)
    network.requires_grad_(False)
    return {
        "training, CPU seconds per 1,000 molecules and epoch": seconds,
        "original / ours, training": ORIGINAL_TRAINING / seconds,
    }


def measure_growth(network: PublishedQDF, repeats: int) -> dict[str, float]:
    """Measure alkane chains of 11 to 1,001 atoms."""
    figures = {}
    for n_carbon in (3, 10, 33, 100, 333):
        chain = alkane(n_carbon)
        seconds = min(cpu_seconds(lambda atoms=chain: predict(network, [atoms], 1), repeats))
        figures[f"ms per atom, alkane of {len(chain)} atoms"] = 1e3 * seconds / len(chain)
    return figures


def main() -> None:
    """Run all, print a table and write benchmarks/qdf.json."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="folder that mlwave import-qdf wrote")
    parser.add_argument("--structures", type=Path, help="molecules in any format that ASE reads")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/qdf.json"))
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    network, molecules = load(chosen.model, torch.float32), structures(chosen.structures)
    figures = {"molecules": float(len(molecules)), "atoms, mean": float(np.mean([len(one) for one in molecules]))}
    figures |= measure(network, molecules, chosen.repeats)
    figures |= measure_training(network, molecules[:200])
    figures |= measure_growth(network, chosen.repeats)
    table = Table("figure", "value", title="Published QDF, float32, one thread")
    for name, value in figures.items():
        table.add_row(name, f"{value:.4g}")
    Console().print(table)
    chosen.output.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
