"""Compare the stress of strained silicon by its amons with the reference's own.

    python -m benchmarks.amons_stress --output results
    python -m benchmarks.amons_stress "expanded 2 %" --output results

Cells, amons and fits are those of ``python -m benchmarks.amons silicon-strained``, whose labels in the output folder
serve here, too; the reference is tblite's stress of a supercell of 64 atoms. Models learn energies alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from ase import Atoms, units
from ase.stress import full_3x3_to_voigt_6_stress
from numpy.typing import NDArray

from ase_mlwave.console import Console
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fitting import fit_amons
from ase_mlwave.models.amons.inference import predict_batch
from ase_mlwave.reference.levels import TbliteLevel
from ase_mlwave.systems.conversion import system_from_atoms
from ase_mlwave.units import BOHR, HARTREE
from benchmarks.amons import systems
from benchmarks.amons.builders import SUPERCELL
from benchmarks.amons.classes import CLASSES
from benchmarks.amons.study import Bench, Case, distinct
from benchmarks.common import command_line, one_thread, rich_table, write_json

_KIND = CLASSES["silicon-strained"]


def parts(stress: NDArray[np.float64]) -> dict[str, float]:
    """Divide a stress (Voigt, eV/Angstrom^3) into its mean and what is left of the axes and of shear, GPa."""
    mean = stress[:3].mean()
    names = ("mean", "xx - mean", "yy - mean", "zz - mean", "yz", "xz", "xy")
    values = np.array([mean, *(stress[:3] - mean), *stress[3:]]) / units.GPa
    return dict(zip(names, values.tolist(), strict=True))


def reference_stress(cubic: Atoms) -> NDArray[np.float64]:
    """Compute the stress of a cell from that of its supercell, eV/Angstrom^3 (6,)."""
    supercell = cubic.repeat(SUPERCELL)
    supercell.calc = TbliteLevel("gfn2-xtb").calculator(Record(supercell.numbers, supercell.positions / BOHR))
    return np.asarray(supercell.get_stress())


def learned_stress(bench: Bench, cell: Atoms) -> NDArray[np.float64]:
    """Learn a cell from its amons, and return its stress, eV/Angstrom^3 (6,)."""
    system = system_from_atoms(cell)
    amons = distinct(amon for amon in bench.amons(bench.cut(Case("", cell, ()))) if amon is not None)
    free_atoms = {z: bench.energy(Atoms([z])) for z in (1, 14)}
    model = fit_amons(amons, bench.level.name, bench.kind.fit, others=[system], free_atoms=free_atoms).model
    (found,) = predict_batch(model, [system], forces=True)
    assert found.virial is not None
    stress = full_3x3_to_voigt_6_stress(found.virial) * HARTREE / cell.get_volume()
    return np.asarray(stress)


def options(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = command_line("amons_stress", __doc__, output=..., workers=..., max_heavy=...)
    known = [*_KIND.parameters]
    parser.add_argument("cells", nargs="*", metavar="CELL", help=f"of {', '.join(known)} (default: all)")
    chosen = parser.parse_args(words)
    unknown = [cell for cell in chosen.cells if cell not in known]
    if unknown:
        parser.error(f"{unknown[0]!r} is none of the cells: {', '.join(known)}")
    chosen.cells = chosen.cells or known
    return chosen


def main(words: Sequence[str] | None = None) -> None:
    chosen = options(words)
    chosen.output.mkdir(parents=True, exist_ok=True)
    found: dict[str, dict[str, dict[str, float]]] = {}
    with one_thread():
        bench = Bench(_KIND, chosen)
        for name in chosen.cells:
            cell, cubic = (systems.built(f"silicon, {name}{end}") for end in ("", ", cubic"))
            found[name] = {"amons": parts(learned_stress(bench, cell)), "reference": parts(reference_stress(cubic))}
            write_json(chosen.output / "stress.json", found)
    rows = [[name, by, *(f"{v:.2f}" for v in one.values())] for name, both in found.items() for by, one in both.items()]
    Console(width=120).print(rich_table([["cell", "stress, GPa", *parts(np.zeros(6))], *rows]))


if __name__ == "__main__":
    main()
