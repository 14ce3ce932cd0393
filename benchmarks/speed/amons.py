"""What `AmonsCalculator` is made of, float64, beside the public program (qmllib, compiled)."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.io import read

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fitting import fit_amons
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.models.amons.regression.environments import gather
from ase_mlwave.models.amons.regression.kernel import kernel_matrix, largest_distances, rule_widths
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.models.amons.slatm.representation import Slatm
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.systems.conversion import system_from_atoms
from benchmarks.common import cpu_seconds, median, medians
from benchmarks.structures import of_nine_heavy

PEPTIDE = "CC(=O)" + 5 * "NC(C)C(=O)" + "NC"
DRUG = "CC(C)NCC(O)COc1ccc(CC(N)=O)cc1"  # atenolol, 19 heavy atoms
#: Molecules of the public program's kernel, from which its time for all is extrapolated by the pairs of atoms.
RIVAL_MOLECULES = 100
_DATA = Path("datasets/chno_pbe_def2svp.npz")


def _systems(chosen: argparse.Namespace) -> tuple[list[Atoms], Slatm]:
    """Read molecules, or build them, and make their representation, the public program's."""
    if find_spec("qmllib") is None:
        raise InputError("this needs the public program: pip install qmllib (wheels for Linux on x86-64)")
    systems = of_nine_heavy(chosen.molecules, chosen.seed)
    if chosen.data is not None:
        systems = list(read(chosen.data, f":{chosen.molecules}"))
    elements = sorted({symbol for atoms in systems for symbol in atoms.symbols})
    return systems, Slatm(SlatmConfig(elements=tuple(elements), smooth=False))


def _public_rows(systems: Sequence[Atoms]) -> list[np.ndarray]:
    """Represent molecules with the public program."""
    from qmllib.representations import generate_slatm, get_slatm_mbtypes

    types = get_slatm_mbtypes([atoms.numbers for atoms in systems])
    return [np.array(generate_slatm(atoms.numbers, atoms.positions, types, local=True)) for atoms in systems]


def representation(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time aSLATM, from numbers and positions; both programs take turns."""
    systems, slatm = _systems(chosen)
    given = [system_from_atoms(atoms) for atoms in systems]
    numbers = torch.from_numpy(np.concatenate([system.numbers for system in given]))

    @torch.no_grad()
    def rows() -> torch.Tensor:
        return slatm.environments_of(slatm.collate(given))

    functions = {"public program": lambda: _public_rows(systems), "compact": rows}
    seconds = medians({**functions, "full layout": lambda: slatm.expand(rows(), numbers)}, chosen.repeats)
    ratios = {f"public / {name}": seconds["public program"] / seconds[name] for name in ("compact", "full layout")}
    return {f"{len(systems)} molecules, {len(numbers)} atoms": seconds | ratios}


def kernel(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time the local kernel; the public program's with fewer molecules, extrapolated."""
    from qmllib.kernels import get_local_symmetric_kernel

    systems, slatm = _systems(chosen)
    environments = gather(slatm, [system_from_atoms(atoms) for atoms in systems])
    widths = rule_widths(largest_distances(environments))
    ours = median(lambda: kernel_matrix(environments, environments, widths), chosen.repeats)
    rows = _public_rows(systems[:RIVAL_MOLECULES])
    padded = np.zeros((len(rows), max(map(len, rows)), rows[0].shape[1]))
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    charges = [atoms.numbers for atoms in systems[:RIVAL_MOLECULES]]
    rival = median(lambda: get_local_symmetric_kernel(padded, charges, 20.0), chosen.repeats)
    n_atoms = sum(map(len, systems))
    extrapolated = rival * n_atoms**2 / sum(map(len, rows)) ** 2
    figures = {f"public program, {len(rows)} molecules": rival, "public program, extrapolated": extrapolated}
    figures = {"ours": ours, **figures, "public / ours": extrapolated / ours}
    return {f"{len(systems)} molecules, {n_atoms} atoms": figures}


def peptide(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time energy and forces of a peptide."""
    records = list(read_dataset(_DATA).split("train"))[:500]
    geometry = from_smiles(PEPTIDE, chosen.seed)
    kinds: dict[str, tuple[FitSettings, SlatmConfig | None]] = {
        "all environments": (FitSettings(directions=0), None),
        "a basis": (FitSettings.for_forces(), SlatmConfig.for_forces(("H", "C", "N", "O"))),
    }
    found = {}
    for name, (settings, slatm) in kinds.items():
        model = fit_amons(records, "pbe/def2-svp", settings, representation=slatm).model
        seconds = median(lambda model=model: predict_batch(model, [geometry], forces=True), chosen.repeats)
        found[f"{name}, {len(geometry)} atoms"] = {"energy and forces": seconds}
    return found


def query(chosen: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Time what follows the labels of a query's amons; a first round computes them."""
    found = {}
    for name, copies in (("energies", 0), ("forces", 16)):
        options: dict[str, Any] = {"reference": "gfn2-xtb", "max_heavy": 5, "displaced": copies}
        options["database"] = chosen.output / "speed.db"
        AmonsCalculator.for_query(DRUG, **options)
        wall = time.perf_counter()
        again, seconds = cpu_seconds(lambda: AmonsCalculator.for_query(DRUG, **options))  # noqa: B023
        assert again.study is not None
        counts = {"geometries": len(again.study.records), "labelled anew": again.study.n_new}
        found[name] = {**counts, "CPU-seconds": seconds, "seconds": time.perf_counter() - wall}
    return found
