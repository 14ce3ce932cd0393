"""Time the published quantum deep field: predictions by batch size, training, and growth with the number of atoms.

    nice python -m benchmarks.qdf --model FOLDER --structures FILE

CPU seconds of one thread, with everything that comes between an ``Atoms`` object and an energy; the original program
needs what stands under "original" (its authors' settings, one thread, QM9 molecules with at most 14 atoms; its padding
is quadratic in the batch size). Without ``--model`` the weights are random; without ``--structures`` the molecules are
those of ASE's G2 set with H, C, N, O and F. Trained weights are faster than random ones: most of their ReLU units are
silent on all points of a molecule, and are left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ase import Atoms
from ase.build import molecule
from ase.collections import g2
from ase.io import read

from ase_mlwave.console import Console
from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.qdf.published.config import PublishedConfig
from ase_mlwave.models.qdf.published.network import PublishedQDF
from ase_mlwave.units import HARTREE
from benchmarks.common import command_line, existing, figures_table, median, one_thread, write_json
from benchmarks.structures import alkane

#: Molecules per CPU second at a batch size, and CPU seconds per 1,000 molecules and epoch of training at batch size 4.
ORIGINAL = {1: 83.5, 4: 36.7, 32: 3.0}
ORIGINAL_TRAINING = 98.0
ELEMENTS = ("H", "C", "N", "O", "F")


def load(model: Path | None) -> PublishedQDF:
    """Build the network of a folder, or one with random weights; float32."""
    if model is not None:
        network = ModelFolder.load(model).build(dtype=torch.float32)
        if not isinstance(network, PublishedQDF):
            raise ValueError(f"{model} is not a model of the published field")
        return network
    torch.manual_seed(0)
    return PublishedQDF(PublishedConfig(elements=ELEMENTS, level="none")).cast(torch.float32).requires_grad_(False)


def structures(path: Path | None) -> list[Atoms]:
    if path is not None:
        return list(read(path, ":"))
    return [m for m in (molecule(name) for name in g2.names) if set(m.symbols) <= set(ELEMENTS) and len(m) > 3]


def predict(network: PublishedQDF, molecules: Sequence[Atoms], batch_size: int) -> None:
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


def measure(network: PublishedQDF, molecules: Sequence[Atoms], repeats: int) -> dict[str, float]:
    """Measure predictions by batch size, an epoch of training, and chains of 11 to 1,001 atoms."""
    figures = {"molecules": float(len(molecules)), "atoms, mean": float(np.mean([len(one) for one in molecules]))}
    for size, original in ORIGINAL.items():
        rate = len(molecules) / median(lambda size=size: predict(network, molecules, size), repeats)
        figures[f"molecules per CPU second, batch of {size}"] = rate
        figures[f"ours / original, batch of {size}"] = rate / original
    weights = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    network.requires_grad_()
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)
    records = [record_from_atoms(atoms) for atoms in molecules[:200]]
    seconds = median(lambda: epoch(network, optimiser, records, 4), 2) * 1000 / len(records)
    network.load_state_dict(weights)
    network.requires_grad_(False)
    figures["training, CPU seconds per 1,000 molecules and epoch"] = seconds
    figures["original / ours, training"] = ORIGINAL_TRAINING / seconds
    for chain in map(alkane, (3, 10, 33, 100, 333)):
        seconds = median(lambda atoms=chain: predict(network, [atoms], 1), repeats)
        figures[f"ms per atom, alkane of {len(chain)} atoms"] = 1e3 * seconds / len(chain)
    return figures


def main(words: Sequence[str] | None = None) -> None:
    parser = command_line("qdf", __doc__, repeats=5, output=Path("runs/qdf"))
    parser.add_argument("--model", type=Path, help="folder that mlwave import-qdf wrote")
    parser.add_argument("--structures", type=existing, help="molecules in any format that ASE reads")
    chosen = parser.parse_args(words)
    with one_thread():
        figures = measure(load(chosen.model), structures(chosen.structures), chosen.repeats)
    Console().print(figures_table({"": figures}, "Published QDF, float32, one thread"))
    write_json(chosen.output / "qdf.json", figures)


if __name__ == "__main__":
    main()
