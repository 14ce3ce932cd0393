"""Watson-Crick base pairs, adenine-thymine and guanine-cytosine, and the energy that each is bound with.

Pairs and bases are relaxed with the reference, each by itself, and so are the amons: what is learned is the energies of
minima. An amon of the pair is a fragment of a base, or fragments of both that touch; those of both pairs are learned
together. Purine (nine heavy atoms) and adenine (ten) are among them.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from ase import Atoms
from ase.calculators.calculator import CalculationFailed
from ase.data.s22 import create_s22_system
from numpy.typing import NDArray

from ase_mlwave.data.convert import record_from_atoms
from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fragments.geometry import amon_geometries
from ase_mlwave.reference.levels import TbliteLevel
from ase_mlwave.reference.molecules import from_smiles
from ase_mlwave.units import BOHR
from benchmarks.amons.curve import KCAL_PER_MOL, Curve, Options
from benchmarks.amons.study import Query, Relaxing, distinct, free_atoms, label, learning_curves

__all__ = ["guanine_cytosine", "run"]

#: Heavy atoms of the largest amons, of one base or of both.
_MAX_HEAVY = 10
#: Atoms of the first base of each pair.
_ADENINE_ATOMS, _GUANINE_ATOMS = 15, 16
_GUANINE, _CYTOSINE = "Nc1nc2[nH]cnc2c(=O)[nH]1", "Nc1cc[nH]c(=O)n1"
#: Atoms of the hydrogen bonds, first to third: O6 N1 N2 and N4 N3 O2.
_EDGES = ((9, 10, 0), (0, 7, 6))
#: Distance of the edges, Angstrom.
_APART = 2.9


def run(options: Options) -> list[Curve]:
    """Relax pairs and bases, cut and relax amons, and predict all from all amons together."""
    level = TbliteLevel("gfn2-xtb")
    tight = Relaxing(level, largest_force=5e-4, steps=300)
    adenine_thymine = create_s22_system("Adenine-thymine_Watson-Crick_complex")
    pairs = {"A-T": (adenine_thymine, _ADENINE_ATOMS), "G-C": (guanine_cytosine(), _GUANINE_ATOMS)}
    queries: list[Query] = []
    amons: list[Record] = []
    for name in list(pairs)[: options.n_systems]:
        atoms, n_first = pairs[name]
        systems = [record_from_atoms(part) for part in (atoms, atoms[:n_first], atoms[n_first:])]
        found = label(systems, options.output / "base-pairs-queries.db", tight, options, f"relax {name}")
        relaxed = [one for one in found if one is not None]
        if len(relaxed) < len(systems):
            raise CalculationFailed(f"the pair {name} or a base could not be relaxed.")
        names = [name, *(f"{name}: {base}" for base in name.split("-"))]
        queries += [Query.of(one, system) for one, system in zip(relaxed, names, strict=True)]
        largest = options.max_heavy or _MAX_HEAVY
        cut = amon_geometries(relaxed[0], largest, max_contact_heavy=max(2, largest))
        title = f"label amons of {name}"
        labelled = label(cut, options.output / "base-pairs.db", Relaxing(level), options, title)
        amons += [amon for amon in labelled if amon is not None]
    free = free_atoms([1, 6, 7, 8], level)
    curves = learning_curves(queries, distinct(amons), level.name, free=free, options=options)
    triples = [curves[start : start + 3] for start in range(0, len(curves), 3)]
    return [one for pair, *bases in triples for one in (pair, _interaction(pair, bases))]


def guanine_cytosine() -> Atoms:
    """Build the pair from its bases, edge to edge in one plane; the atoms of guanine come first."""
    flat = []
    for smiles, edge, turn in ((_GUANINE, _EDGES[0], -1.0), (_CYTOSINE, _EDGES[1], 1.0)):
        base = from_smiles(smiles)
        frame = _along(base.positions * BOHR, edge)
        if frame[:, 1].mean() * turn < 0:
            frame = frame * [1, -1, -1]
        flat.append(Atoms(base.numbers, frame))
    flat[1].positions += [0, _APART, 0]
    pair: Atoms = flat[0] + flat[1]
    return pair


def _along(positions: NDArray[np.float64], edge: tuple[int, int, int]) -> NDArray[np.float64]:
    """Turn a base such that its edge lies on the x axis and its ring in the xy plane."""
    first, middle, last = positions[list(edge)]
    x = (last - first) / np.linalg.norm(last - first)
    flat = positions - positions.mean(axis=0)
    z = np.linalg.svd(flat)[2][2]
    z = z - x * (z @ x)
    z /= np.linalg.norm(z)
    turned: NDArray[np.float64] = (positions - (first + middle + last) / 3) @ np.array([x, np.cross(z, x), z]).T
    return turned


def _interaction(pair: Curve, bases: list[Curve]) -> Curve:
    """Take the energies of the bases off that of the pair, where all three are known."""
    errors = [dict(zip(curve.sizes, curve.errors_kcal, strict=True)) for curve in (pair, *bases)]
    sizes = [size for size in pair.sizes if all(size in known for known in errors)]
    binding = pair.reference_energy - sum(base.reference_energy for base in bases)
    return replace(
        pair,
        system=f"{pair.system}, interaction ({binding * KCAL_PER_MOL:.1f})",
        reference_energy=binding,
        sizes=tuple(sizes),
        n_amons=tuple(n for size, n in zip(pair.sizes, pair.n_amons, strict=True) if size in sizes),
        errors_kcal=tuple(errors[0][size] - sum(known[size] for known in errors[1:]) for size in sizes),
        n_atoms=0,
    )
