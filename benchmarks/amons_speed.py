"""Time what `AmonsCalculator` is made of, in one run, with one thread.

    python -m benchmarks.amons_speed --output results
    python -m benchmarks.amons_speed kernel --molecules 1000 --rival-molecules 150
    python -m benchmarks.amons_speed representation --structures FILE --molecules 1000

- representation: aSLATM of molecules of QM9's size, beside the public program's (qmllib, compiled); both take turns,
  and start from numbers and positions. Without --structures the molecules are distorted geometries (MMFF94) of twenty
  molecules of nine heavy atoms. "Full layout" spreads the rows over the columns of all types, zeros included, as the
  public program returns them; "compact" is what the regression takes. Derivatives have no counterpart there.
- kernel: the local kernel between molecules of QM9's size, against the public program's, which is timed with fewer
  molecules and extrapolated by the number of pairs of atoms.
- peptide: energy and forces of a capped pentaalanine (62 atoms) from 500 molecules of the data set of this repository,
  with all their environments (energies alone) and in a basis (energies and forces).
- query: from the SMILES of a drug with 20 heavy atoms or so to a calculator that is ready, once the labels of its amons
  are known (GFN2-xTB; the first round computes them).

CPU-seconds, medians.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ase import Atoms
from ase.calculators.calculator import InputError
from ase.io import read

from ase_mlwave.calculators.amons import AmonsCalculator
from ase_mlwave.console import Console
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
from benchmarks.common import (
    command_line,
    cpu_seconds,
    existing,
    figures_table,
    medians,
    one_thread,
    positive,
    write_json,
)
from benchmarks.structures import of_nine_heavy

PEPTIDE = "CC(=O)" + 5 * "NC(C)C(=O)" + "NC"
DRUG = "CC(C)NCC(O)COc1ccc(CC(N)=O)cc1"  # atenolol, 19 heavy atoms
_DATA = Path("datasets/chno_pbe_def2svp.npz")


def systems_of(chosen: argparse.Namespace) -> list[Atoms]:
    """Read molecules, or build them."""
    if chosen.structures is not None:
        return list(read(chosen.structures, f":{chosen.molecules}"))
    return of_nine_heavy(chosen.molecules, chosen.seed)


def _elements(systems: Sequence[Atoms]) -> tuple[str, ...]:
    return tuple(sorted({symbol for atoms in systems for symbol in atoms.symbols}))


def representation(chosen: argparse.Namespace) -> dict[str, float]:
    if find_spec("qmllib") is None:
        raise InputError("this part needs the public program: pip install qmllib (wheels for Linux on x86-64)")
    systems = systems_of(chosen)
    types = _public_types(systems)
    given = [system_from_atoms(atoms) for atoms in systems]
    numbers = torch.from_numpy(np.concatenate([system.numbers for system in given]))
    exact = Slatm(SlatmConfig(elements=_elements(systems), smooth=False))
    smooth = Slatm(SlatmConfig(elements=_elements(systems)))

    def rows(slatm: Slatm) -> torch.Tensor:
        with torch.no_grad():
            return slatm.environments_of(slatm.collate(given))

    def pulled_back() -> torch.Tensor:
        batch = smooth.collate(given)
        with torch.no_grad():
            x = smooth.environments_of(batch)
        return smooth.pullback(batch, x)[0]

    seconds = medians(
        {
            "public program": lambda: _public_rows(systems, types),
            "compact": lambda: rows(exact),
            "full layout": lambda: exact.expand(rows(exact), numbers),
            "compact, smooth": lambda: rows(smooth),
            "compact, smooth, and pulled back to positions": pulled_back,
        },
        chosen.repeats,
    )
    figures = {"molecules": float(len(systems)), "atoms": float(len(numbers))}
    figures |= {f"{name}, CPU s": value for name, value in seconds.items()}
    figures |= {f"public / {n}": seconds["public program"] / seconds[n] for n in ("compact", "full layout")}
    return figures | {"largest difference of distances": _difference(systems[:20], types, exact)}


def _public_types(systems: Sequence[Atoms]) -> Any:
    """Return the public program's list of many-body types."""
    from qmllib.representations import get_slatm_mbtypes

    return get_slatm_mbtypes([atoms.numbers for atoms in systems])


def _public_rows(systems: Sequence[Atoms], types: Any) -> list[np.ndarray]:
    """Represent molecules with the public program."""
    from qmllib.representations import generate_slatm

    return [np.array(generate_slatm(atoms.numbers, atoms.positions, types, local=True)) for atoms in systems]


def _difference(systems: Sequence[Atoms], types: Any, slatm: Slatm) -> float:
    """Give the largest difference between the programs' distances of environments of one element."""
    found = 0.0
    for atoms, row in zip(systems, _public_rows(systems, types), strict=True):
        ours = slatm.environments_of(slatm.collate([system_from_atoms(atoms)]))
        theirs = torch.from_numpy(row)
        for element in set(atoms.numbers.tolist()):
            chosen = torch.from_numpy(atoms.numbers == element)
            if chosen.sum() > 1:
                found = max(found, float((torch.pdist(ours[chosen]) - torch.pdist(theirs[chosen])).abs().max()))
    return found


def kernel(chosen: argparse.Namespace) -> dict[str, float]:
    systems = systems_of(chosen)
    environments = gather(
        Slatm(SlatmConfig(elements=_elements(systems), smooth=False)), [system_from_atoms(atoms) for atoms in systems]
    )
    widths = rule_widths(largest_distances(environments))
    timed = medians({"ours": lambda: kernel_matrix(environments, environments, widths)}, chosen.repeats)
    n_atoms = sum(len(atoms) for atoms in systems)
    found = {"molecules": float(len(systems)), "atoms": float(n_atoms), "kernel, CPU s": timed["ours"]}
    if find_spec("qmllib") is None:
        return found
    from qmllib.kernels import get_local_symmetric_kernel

    few = systems[: chosen.rival_molecules]
    rows = _public_rows(few, _public_types(few))
    padded = np.zeros((len(rows), max(map(len, rows)), rows[0].shape[1]))
    for place, row in zip(padded, rows, strict=True):
        place[: len(row)] = row
    charges = [atoms.numbers for atoms in few]
    rival = medians({"": lambda: get_local_symmetric_kernel(padded, charges, 20.0)}, chosen.repeats)[""]
    extrapolated = rival * n_atoms**2 / sum(map(len, rows)) ** 2
    return found | {
        f"public program, {chosen.rival_molecules} molecules, CPU s": rival,
        "public program, extrapolated, CPU s": extrapolated,
        "public / ours": extrapolated / timed["ours"],
    }


def peptide(chosen: argparse.Namespace) -> dict[str, float]:
    records = list(read_dataset(_DATA).split("train"))[:500]
    geometry = from_smiles(PEPTIDE, chosen.seed)
    kinds = {
        "all environments": (FitSettings(directions=0), None),
        "a basis": (FitSettings.for_forces(), SlatmConfig.for_forces(("H", "C", "N", "O"))),
    }
    found = {"atoms": float(len(geometry)), "training molecules": float(len(records))}
    for name, (settings, slatm) in kinds.items():
        fit, seconds = cpu_seconds(lambda: fit_amons(records, "pbe/def2-svp", settings, representation=slatm))  # noqa: B023
        found[f"{name}: fit, CPU s"] = seconds
        predict: dict[str, Callable[[], Any]] = {
            "energy and forces": lambda m=fit.model: predict_batch(m, [geometry], forces=True),
            "energy, forces and uncertainty": lambda m=fit.model: predict_batch(
                m, [geometry], forces=True, uncertainty=True
            ),
        }
        found |= {f"{name}: {what}, CPU s": s for what, s in medians(predict, chosen.repeats).items()}
    return found


def query(chosen: argparse.Namespace) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, copies in (("energies", 0), ("forces", 16)):
        options: dict[str, Any] = {"reference": "gfn2-xtb", "max_heavy": 5, "displaced": copies}
        options["database"] = chosen.output / "speed.db"
        AmonsCalculator.for_query(DRUG, **options)
        wall = time.perf_counter()
        again, seconds = cpu_seconds(lambda: AmonsCalculator.for_query(DRUG, **options))  # noqa: B023
        found[f"{name}: geometries"] = float(len(again.study.records)) if again.study else 0.0
        found[f"{name}: labelled in the second round"] = float(again.study.n_new) if again.study else 0.0
        found[f"{name}: from SMILES to calculator, CPU s"] = seconds
        found[f"{name}: from SMILES to calculator, s"] = time.perf_counter() - wall
    return found


PARTS = {"representation": representation, "kernel": kernel, "peptide": peptide, "query": query}


def main(words: Sequence[str] | None = None) -> None:
    parser = command_line("amons_speed", __doc__, repeats=..., seed=..., output=Path("runs/amons_speed"))
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--molecules", type=positive(int), default=1000, help="of representation and kernel")
    parser.add_argument("--structures", type=existing, help="where they are read from, any format that ASE knows")
    parser.add_argument("--rival-molecules", type=positive(int), default=60, help="of the public program's kernel")
    chosen = parser.parse_args(words)
    unknown = [part for part in chosen.parts if part not in PARTS]
    if unknown:
        parser.error(f"{unknown[0]!r} is no part of this benchmark; they are {', '.join(PARTS)}")
    chosen.output.mkdir(parents=True, exist_ok=True)
    with one_thread():
        found = {part: PARTS[part](chosen) for part in chosen.parts or PARTS}
    for part, figures in found.items():
        Console().print(figures_table({part: figures}, "float64, one thread"))
    write_json(chosen.output / "amons_speed.json", found)


if __name__ == "__main__":
    main()
