"""Bulk silicon: perfect, strained and rattled cells, from silanes that are cut out of the crystal.

The reference is tblite's GFN2-xTB of a supercell of 64 atoms at the Gamma point; a perfect one of 216 atoms is lower by
0.09 kcal/mol an atom.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from ase import Atoms
from ase.build import bulk

from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fragments.geometry import amon_geometries
from ase_mlwave.models.amons.fragments.shells import shell_geometries
from ase_mlwave.models.amons.regression.environments import Geometry
from ase_mlwave.reference.levels import TbliteLevel
from ase_mlwave.units import BOHR, HARTREE
from benchmarks.amons.curve import Curve, Options
from benchmarks.amons.study import LIKELY, Query, free_atoms, label, learning_curves

__all__ = ["cells", "periodic_geometry", "run", "supercell_energy"]

#: For the table.
NOTES = """
- The compressed cell makes two thirds of the mean. Caps lie 1.48 Angstrom from their silicon in every cell, so those of
  silanes cut from the compressed one come closer to each other than anything in the crystal does.
- Widths of the kernel and the penalty are the most likely ones.
"""
#: Largest fragments of which all are cut (silicon has rings of six), and conformers of each.
_MAX_HEAVY, _CONFORMERS = 6, 16
#: Bonds around the centre of a shell, and its largest size.
_SHELL, _LARGEST_SHELL = 2, 17
#: Repetitions of the cell in the reference.
_SUPERCELL = (2, 2, 2)


def run(options: Options) -> list[Curve]:
    """Cut amons from each cell, label them as they are, and predict the cell."""
    level = TbliteLevel("gfn2-xtb")
    free = free_atoms([1, 14], level)
    largest = options.max_heavy or _MAX_HEAVY
    curves = []
    for name, cell, cubic in list(cells(options.seed))[: options.n_systems]:
        cut = amon_geometries(cell, largest, max_conformers=_CONFORMERS)
        if options.max_heavy is None:
            shells = shell_geometries(cell, _SHELL, max_heavy=_LARGEST_SHELL)
            cut = (*cut, *(shell for shell in shells if shell.info["n_heavy"] > largest))
        labelled = label(cut, options.output / "silicon.db", level, options, f"label amons of {name}")
        amons = [amon for amon in labelled if amon is not None]
        energy = supercell_energy(cubic) * len(cell) / len(cubic)
        query = Query(name, periodic_geometry(cell), energy, "atom", len(cell))
        curves += learning_curves([query], amons, level.name, free=free, settings=LIKELY, options=options)
    return curves


def cells(seed: int = 0) -> Iterator[tuple[str, Atoms, Atoms]]:
    """Yield crystals, as the smallest cell and as the cubic one of eight atoms.

    Parameters
    ----------
    seed : int
        Of the displacements.

    Yields
    ------
    (str, Atoms, Atoms)
        Perfect; shorter by 2 %; sheared; atoms displaced by 0.05 and 0.10 Angstrom (standard deviation).
    """
    smallest, cubic = bulk("Si", "diamond", a=5.431), bulk("Si", "diamond", a=5.431, cubic=True)
    sheared = np.array([[1.0, 0.02, 0.0], [0.02, 1.0, 0.0], [0.0, 0.0, 1.0]])
    for name, strain in {"perfect": np.eye(3), "compressed 2 %": 0.98 * np.eye(3), "sheared 4 %": sheared}.items():
        both = smallest.copy(), cubic.copy()
        for cell in both:
            cell.set_cell(cell.cell[:] @ strain, scale_atoms=True)
        yield name, *both
    for amplitude in (0.05, 0.10):
        rattled = cubic.copy()
        rattled.rattle(amplitude, rng=np.random.default_rng(seed))
        yield f"displaced {amplitude:.2f} A", rattled, rattled


def periodic_geometry(atoms: Atoms) -> Geometry:
    """Convert a cell to Bohr."""
    numbers = np.array(atoms.numbers, dtype=np.int64)
    cell = np.array(atoms.cell.complete()) / BOHR
    return Geometry(numbers, atoms.positions / BOHR, cell=cell, pbc=np.array(atoms.pbc))


def supercell_energy(cell: Atoms) -> float:
    """Compute the energy of a cell from that of its supercell, Hartree."""
    supercell = cell.repeat(_SUPERCELL)
    supercell.calc = TbliteLevel("gfn2-xtb").calculator(Record(supercell.numbers, supercell.positions / BOHR))
    energy: float = supercell.get_potential_energy() / HARTREE * len(cell) / len(supercell)
    return energy
