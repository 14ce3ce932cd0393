"""PhiSNet beside the DFT calculation that it replaces, and the published quantum deep field beside its original."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from ase import Atoms
from ase.build import molecule
from ase.collections import g2, s22
from ase.io import read

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.models.folder import ModelFolder
from ase_mlwave.models.phisnet.config import PRESETS, PhiSNetConfig
from ase_mlwave.models.phisnet.inference import predict_batch
from ase_mlwave.models.phisnet.model import PhiSNet
from ase_mlwave.models.qdf.published.config import PublishedConfig
from ase_mlwave.models.qdf.published.network import PublishedQDF
from ase_mlwave.quantum.basis import build_mole
from ase_mlwave.reference.levels import LevelOfTheory
from ase_mlwave.systems.batch import collate
from ase_mlwave.units import HARTREE
from benchmarks.common import median

#: What public programs took.
PUBLIC = yaml.safe_load(Path(__file__).with_name("public.yaml").read_text(encoding="utf-8"))
#: Uracil is half of the S22 set's hydrogen-bonded dimer.
MOLECULES = {"water": molecule("H2O"), "ethanol": molecule("CH3CH2OH"), "uracil": s22["Uracil_dimer_h-bonded"][:12]}
ELEMENTS = ("H", "C", "N", "O", "F")


def phisnet(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time PhiSNet beside PySCF and the public programs."""
    kinds = [(product, name) for product in ("edge_frame", "clebsch_gordan") for name in MOLECULES]
    return {f"{name}, {product}": _phisnet(name, product, chosen.repeats) for product, name in kinds}


def _phisnet(name: str, product: str, repeats: int) -> dict[str, float]:
    settings = {**PRESETS["paper"], "baseline": "sap", "overlap_head": False, "core_head": False, "product": product}
    torch.manual_seed(0)
    network = PhiSNet(PhiSNetConfig(elements=("H", "C", "N", "O"), **settings)).eval()
    record, few = record_from_atoms(MOLECULES[name]), max(1, repeats // 2)
    size, public_step = PUBLIC["steps"].get(name, (4, None))
    rng = np.random.default_rng(0)
    positions = record.positions + 0.05 * rng.normal(size=(max(size, 32), *record.positions.shape))
    moved = [Record(record.numbers, one) for one in positions]
    batch = collate(moved[:size], network.config.cutoff)
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.0)

    def forces() -> None:
        found = predict_batch(network, [record], gradients=True)
        found.gradient(found.wavefunction_energies())

    def training_step() -> None:
        optimiser.zero_grad()
        network(batch).hamiltonian.flat.square().mean().backward()
        optimiser.step()

    result = {"predict": median(lambda: predict_batch(network, [record]), repeats), "forces": median(forces, repeats)}
    result["training step"] = median(training_step, few)
    result["predictions per second, batch of 32"] = 32 / median(lambda: predict_batch(network, moved[:32]), few)
    for key, (public, qhnet) in PUBLIC["phisnet"].get(name, {}).items():
        result[f"{key}: public PhiSNet / ours"] = public / result[key]
        result[f"{key}: QHNet / ours"] = qhnet / result[key]
    if public_step:
        result[f"training step of {size}: public PhiSNet / ours"] = public_step / result["training step"]
    mole, level = build_mole(record.numbers, record.positions, "def2-svp"), LevelOfTheory.parse("pbe/def2-svp")
    result["PySCF SCF"] = median(lambda: level.mean_field(mole).kernel(), 1)
    result["PySCF SCF / predict"] = result["PySCF SCF"] / result["predict"]
    return result


def published(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time the published field, float32, conversion of structures included."""
    network, molecules = _published_network(chosen.model), _molecules(chosen)
    figures = {"molecules": float(len(molecules)), "atoms, mean": float(np.mean([len(one) for one in molecules]))}
    for size, original in PUBLIC["rates"].items():
        rate = len(molecules) / median(lambda size=size: _predict(network, molecules, size), chosen.repeats)
        figures[f"molecules per CPU-second, batch of {size}"] = rate
        figures[f"ours / original, batch of {size}"] = rate / original
    network.requires_grad_()
    optimiser = torch.optim.Adam(network.parameters(), 1e-4)
    records = [record_from_atoms(atoms) for atoms in molecules[:200]]
    seconds = median(lambda: _epoch(network, optimiser, records), 2) * 1000 / len(records)
    figures["training, CPU-seconds per 1,000 molecules and epoch"] = seconds
    figures["original / ours, training"] = PUBLIC["epoch"] / seconds
    return {"published field": figures}


def _published_network(model: str | None) -> PublishedQDF:
    if model is None:
        torch.manual_seed(0)
        return PublishedQDF(PublishedConfig(elements=ELEMENTS, level="none")).cast(torch.float32).requires_grad_(False)
    network = ModelFolder.load(model).build(dtype=torch.float32)
    if not isinstance(network, PublishedQDF):
        raise ValueError(f"{model} is not a model of the published field")
    return network


def _molecules(chosen: argparse.Namespace) -> list[Atoms]:
    if chosen.data is not None:
        return list(read(chosen.data, ":"))
    return [m for m in (molecule(name) for name in g2.names) if set(m.symbols) <= set(ELEMENTS) and len(m) > 3]


def _predict(network: PublishedQDF, molecules: Sequence[Atoms], batch_size: int) -> None:
    with torch.inference_mode():
        for start in range(0, len(molecules), batch_size):
            network([record_from_atoms(atoms) for atoms in molecules[start : start + batch_size]])


def _epoch(network: PublishedQDF, optimiser: torch.optim.Optimizer, records: list[Record]) -> None:
    """Train as the original does: for every four molecules a step for the energies, then one for the potential."""
    for start in range(0, len(records), 4):
        batch = records[start : start + 4]
        energies = torch.tensor([[record.energy or 0.0] for record in batch], dtype=torch.float64)
        for of_potential in (False, True):
            optimiser.zero_grad()
            if of_potential:
                wanted = torch.cat([network.reference_potential(record) for record in batch])
                difference = network.potential(torch.cat([network.density(record) for record in batch])) - wanted
            else:
                difference = (network(batch) - energies) * HARTREE
            difference.square().mean().backward()
            optimiser.step()
