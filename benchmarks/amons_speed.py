"""Time what `AmonsCalculator` is made of, in one run, with one thread.

    python -m benchmarks.amons_speed --output results
    python -m benchmarks.amons_speed kernel --molecules 1000 --rival-molecules 150

- kernel: the local kernel between molecules of QM9's size, against the public program's (qmllib, compiled), which is
  timed with fewer molecules and extrapolated by the number of pairs of atoms.
- peptide: energy and forces of a capped pentaalanine (62 atoms) from 500 molecules of the data set of this repository,
  with all their environments (energies alone) and in a basis (energies and forces).
- query: from the SMILES of a drug with 20 heavy atoms or so to a calculator that is ready, once the labels of its amons
  are known (GFN2-xTB; the first round computes them).

CPU-seconds, medians; `python -m benchmarks.slatm` times the representation. Run it from the root of the repository.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.data.readers import read_dataset
from ase_mlwave.models.amons.config import FitSettings
from ase_mlwave.models.amons.fitting import fit_amons
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.models.amons.regression.environments import Geometry, gather
from ase_mlwave.models.amons.regression.kernel import kernel_matrix, largest_distances, rule_widths
from ase_mlwave.models.amons.slatm.config import SlatmConfig
from ase_mlwave.models.amons.slatm.representation import Slatm
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.units import BOHR
from benchmarks.slatm import medians, molecules

PEPTIDE = "CC(=O)" + 5 * "NC(C)C(=O)" + "NC"
DRUG = "CC(C)NCC(O)COc1ccc(CC(N)=O)cc1"  # atenolol, 19 heavy atoms
_DATA = Path("datasets/chno_pbe_def2svp.npz")


def kernel(chosen: argparse.Namespace) -> dict[str, float]:
    """Time the local kernel."""
    systems = molecules(chosen.molecules, chosen.seed)
    elements = tuple(sorted({symbol for atoms in systems for symbol in atoms.symbols}))
    geometries = [Geometry(np.asarray(a.numbers, dtype=np.int64), a.positions / BOHR) for a in systems]
    environments = gather(Slatm(SlatmConfig(elements=elements, smooth=False)), geometries)
    widths = rule_widths(largest_distances(environments))
    seconds = medians({"kernel": lambda: kernel_matrix(environments, environments, widths)}, chosen.repeats)["kernel"]
    n_atoms = sum(len(atoms) for atoms in systems)
    found = {"molecules": float(len(systems)), "atoms": float(n_atoms), "kernel, CPU s": seconds}
    if find_spec("qmllib") is None:
        return found
    rival, pairs = _public_kernel(systems[: chosen.rival_molecules], chosen.repeats)
    extrapolated = rival * n_atoms**2 / pairs
    return found | {
        f"public program, {chosen.rival_molecules} molecules, CPU s": rival,
        "public program, extrapolated, CPU s": extrapolated,
        "public / ours": extrapolated / seconds,
    }


def _public_kernel(systems: Sequence[Any], repeats: int) -> tuple[float, int]:
    """Return the public program's CPU-seconds, and the number of pairs of atoms; representations do not count."""
    from qmllib.kernels import get_local_symmetric_kernel
    from qmllib.representations import generate_slatm, get_slatm_mbtypes

    types = get_slatm_mbtypes([atoms.numbers for atoms in systems])
    rows = [np.array(generate_slatm(atoms.numbers, atoms.positions, types, local=True)) for atoms in systems]
    largest = max(map(len, rows))
    padded = np.zeros((len(rows), largest, rows[0].shape[1]))
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    charges = [atoms.numbers for atoms in systems]
    timed = medians({"public": lambda: get_local_symmetric_kernel(padded, charges, 20.0)}, repeats)
    return timed["public"], sum(map(len, rows)) ** 2


def peptide(chosen: argparse.Namespace) -> dict[str, float]:
    """Time energy and forces of a peptide from 500 molecules."""
    records = list(read_dataset(_DATA).split("train"))[:500]
    query = from_smiles(PEPTIDE, chosen.seed)
    geometry = Geometry(query.numbers, query.positions)
    kinds = {
        "all environments": (FitSettings(directions=0), None),
        "a basis": (FitSettings.for_forces(), SlatmConfig.for_forces(("H", "C", "N", "O"))),
    }
    found = {"atoms": float(len(query)), "training molecules": float(len(records))}
    for name, (settings, representation) in kinds.items():
        begin = time.process_time()
        model = fit_amons(records, "pbe/def2-svp", settings, representation=representation).model
        found[f"{name}: fit, CPU s"] = time.process_time() - begin
        found |= {f"{name}: {what}, CPU s": s for what, s in _predictions(model, geometry, chosen.repeats).items()}
    return found


def _predictions(model: Any, geometry: Geometry, repeats: int) -> dict[str, float]:
    functions: dict[str, Callable[[], Any]] = {
        "energy and forces": lambda: predict_batch(model, [geometry], forces=True),
        "energy, forces and uncertainty": lambda: predict_batch(model, [geometry], forces=True, uncertainty=True),
    }
    return medians(functions, repeats)


def query(chosen: argparse.Namespace) -> dict[str, float]:
    """Time the way from a SMILES to a calculator."""
    found: dict[str, float] = {}
    for name, copies in (("energies", 0), ("forces", 16)):
        options: dict[str, Any] = {"reference": "gfn2-xtb", "max_heavy": 5, "displaced": copies}
        options["database"] = chosen.output / "speed.db"
        learned = AmonsCalculator.for_query(DRUG, **options)
        begin, wall = time.process_time(), time.perf_counter()
        again = AmonsCalculator.for_query(DRUG, **options)
        found[f"{name}: geometries"] = float(len(again.study.records)) if again.study else 0.0
        found[f"{name}: labelled in the second round"] = float(again.study.n_new) if again.study else 0.0
        found[f"{name}: from SMILES to calculator, CPU s"] = time.process_time() - begin
        found[f"{name}: from SMILES to calculator, s"] = time.perf_counter() - wall
        del learned
    return found


PARTS: dict[str, Callable[[argparse.Namespace], dict[str, float]]] = {
    "kernel": kernel,
    "peptide": peptide,
    "query": query,
}


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.amons_speed",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--molecules", type=int, default=1000, help="of the kernel")
    parser.add_argument("--rival-molecules", type=int, default=60, help="of the public program's kernel")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=Path("runs/amons_speed"), help="folder for amons_speed.json")
    chosen = parser.parse_args(words)
    unknown = [part for part in chosen.parts if part not in PARTS]
    if unknown:
        parser.error(f"{unknown[0]!r} is no part of this benchmark; they are {', '.join(PARTS)}")
    if min(chosen.molecules, chosen.rival_molecules, chosen.repeats) < 1:
        parser.error("--molecules, --rival-molecules and --repeats must be positive")
    return chosen


def main(words: Sequence[str] | None = None) -> None:
    """Run the parts, print a table and write amons_speed.json."""
    chosen = options(words)
    torch.set_num_threads(1)
    chosen.output.mkdir(parents=True, exist_ok=True)
    found = {part: PARTS[part](chosen) for part in chosen.parts or PARTS}
    table = Table("figure", "value", title="float64, one thread")
    for part, figures in found.items():
        for name, value in figures.items():
            table.add_row(f"{part}: {name}", f"{value:.4g}")
    Console().print(table)
    (chosen.output / "amons_speed.json").write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
