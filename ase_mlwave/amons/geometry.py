"""Geometries of amons, cut from the query and relaxed under constraints or built from a graph, each conformer once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from ase.calculators.calculator import InputError
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers, rdMolTransforms

from ase_mlwave.amons.capping import CappedFragment, cap_fragment, is_crowded
from ase_mlwave.amons.molecule import Molecule
from ase_mlwave.amons.selection import all_fragments
from ase_mlwave.data.record import Record
from ase_mlwave.units import BOHR

__all__ = ["SAME_CONFORMER", "amon_geometries", "geometry_fingerprint", "relax_fragment"]

#: Conformers whose fingerprints differ by no more than this (L1, 1/Angstrom) are the same.
SAME_CONFORMER = 0.01
#: Deviation that a torsion between heavy atoms may have, degrees, and the stiffness beyond, kcal/mol/degree^2.
_TORSION_PLAY, _TORSION_STIFFNESS = 2.0, 100.0
_NEARLY_LINEAR = 175.0
_STEPS = 2000


def amon_geometries(
    query: Any,
    max_heavy: int = 7,
    *,
    max_contact_heavy: int | None = None,
    allow_radicals: bool = False,
    seed: int = 0,
    conformers: int = 10,
    relax: bool | None = None,
) -> tuple[Record, ...]:
    """Return the amons of a query with geometries: what is to be labelled.

    Parameters
    ----------
    query : str, Path, rdkit.Chem.Mol, ase.Atoms, Record or Molecule
        See ``amons_of``.
    max_heavy, max_contact_heavy, allow_radicals
        See ``amons_of``.
    seed : int
        Of the embedding of amons that come from a graph without coordinates.
    conformers : int
        Attempts at conformers for each of these.
    relax : bool, optional
        Relax with MMFF94, as is done by default for molecules. If False, amons cut from a geometry keep the query's
        coordinates, as is done by default for crystals.

    Returns
    -------
    tuple of Record
        Neutral, closed-shell (but for radicals that were allowed) and without labels, sorted by number of heavy atoms,
        then by SMILES; all conformers of an amon that differ. ``info`` has ``"smiles"``, ``"n_heavy"``, and
        for amons cut from a geometry ``"query_atoms"``, the heavy atoms of the query (in the order of the record's,
        which come first).

    Raises
    ------
    InputError
        See ``amons_of``.

    Notes
    -----
    Two geometries of one amon are the same conformer if their sorted row sums of 1/r_ij differ by at most 0.01/Angstrom
    in the L1 norm. Non-covalent amons stay as they are in the query but for their caps. Fragments without MMFF94
    parameters (boron, say) keep their coordinates.
    Source: Huang and von Lilienfeld, Nat. Chem. 12, 945 (2020).
    """
    unrolled, fragments = all_fragments(query, max_heavy, max_contact_heavy, allow_radicals)
    molecule = unrolled.molecule
    if molecule.positions is None:
        sizes = {fragment.smiles: len(fragment.atoms) for fragment in fragments}
        named = sorted(sizes.items(), key=lambda item: (item[1], item[0]))
        found = [record for smiles, n_heavy in named for record in _embedded(smiles, n_heavy, seed, conformers)]
        return tuple(found)
    relax = unrolled.roots is None if relax is None else relax
    known: dict[str, list[tuple[NDArray[np.float64], Record]]] = {}
    for fragment in fragments:
        kept = known.setdefault(fragment.smiles, [])
        capped = cap_fragment(molecule, frozenset(fragment.atoms), dict(fragment.orders))
        atoms = tuple(unrolled.atoms[atom] for atom in fragment.atoms)
        _add_conformer(kept, relax_fragment(capped) if relax else capped.molecule, fragment.smiles, atoms)
    ordered = sorted(known.items(), key=lambda item: (_n_heavy(item[1]), item[0]))
    return tuple(record for _, kept in ordered for _, record in kept)


def relax_fragment(capped: CappedFragment) -> Molecule:
    """Relax a fragment with MMFF94: its hydrogens with heavy atoms fixed, then all but the heavy-atom torsions.

    Of fragments in several parts only the caps are relaxed, each part by itself: how the parts touch is what they are
    there to teach.

    Parameters
    ----------
    capped : CappedFragment
        With positions.

    Returns
    -------
    Molecule
        Torsions between heavy atoms stay within 2 degrees of the query's
        (``test_relaxation_keeps_the_torsions_of_heavy_atoms``); unchanged where MMFF94 lacks parameters.
    """
    mol = capped.molecule.to_rdkit()
    with rdBase.BlockLogs():
        properties = rdForceFieldHelpers.MMFFGetMoleculeProperties(mol)
    if properties is None:
        return capped.molecule
    parts = len(Chem.GetMolFrags(mol))
    n_fixed = len(capped.molecule.heavy) if parts == 1 else len(capped.molecule) - capped.n_caps
    if n_fixed == len(capped.molecule):
        return capped.molecule
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties, ignoreInterfragInteractions=True)
    for atom in range(n_fixed):
        field.AddFixedPoint(atom)
    field.Minimize(maxIts=_STEPS)
    if parts == 1:
        _relax_all(mol, properties, capped.molecule)
    return _with_positions(capped.molecule, np.array(mol.GetConformer().GetPositions()) / BOHR)


def _relax_all(mol: Chem.Mol, properties: Any, molecule: Molecule) -> None:
    """Relax all atoms, heavy-atom torsions between stiff walls."""
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties)
    for i, j, k, l in _torsions(molecule):
        angle = _torsion(mol, i, j, k, l)
        if angle is not None:
            low, high = angle - _TORSION_PLAY, angle + _TORSION_PLAY
            field.MMFFAddTorsionConstraint(i, j, k, l, False, low, high, _TORSION_STIFFNESS)
    field.Minimize(maxIts=_STEPS)


def geometry_fingerprint(positions: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what tells conformers of one molecule apart.

    Parameters
    ----------
    positions : (N, 3) float64
        Bohr.

    Returns
    -------
    (N,) float64
        Sum of 1/r_ij over the other atoms for each atom, ascending, 1/Angstrom. Invariant to rotation, translation,
        reflection and the order of atoms (``test_fingerprint_does_not_see_rotation_and_order``).
    """
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1) * BOHR
    np.fill_diagonal(distances, np.inf)
    return np.asarray(np.sort((1.0 / distances).sum(axis=1)))


def _add_conformer(
    kept: list[tuple[NDArray[np.float64], Record]],
    made: Molecule,
    smiles: str,
    query_atoms: tuple[int, ...] | None = None,
) -> None:
    """Append a geometry if it is new and not crowded; the first is kept in any case."""
    if made.positions is None:
        raise InputError("an amon without coordinates has no conformers; this is a defect, please report it.")
    if kept and is_crowded(made):
        return
    fingerprint = geometry_fingerprint(made.positions)
    if any(float(np.abs(fingerprint - other).sum()) <= SAME_CONFORMER for other, _ in kept):
        return
    info: dict[str, Any] = {"smiles": smiles, "n_heavy": len(made.heavy)}
    if query_atoms is not None:
        info["query_atoms"] = query_atoms
    numbers = np.array(made.numbers, dtype=np.int64)
    spin = int(numbers.sum() - sum(made.charges)) % 2
    kept.append((fingerprint, Record(numbers=numbers, positions=made.positions, spin=spin, info=info)))


def _embedded(smiles: str, n_heavy: int, seed: int, attempts: int) -> Iterator[Record]:
    """Build conformers of an amon: distance geometry (ETKDG), relaxed with MMFF94."""
    mol = Chem.AddHs(Chem.MolFromSmiles(smiles))
    settings: Any = rdDistGeom.ETKDGv3()
    settings.randomSeed = seed
    with rdBase.BlockLogs():
        ids = list(rdDistGeom.EmbedMultipleConfs(mol, attempts if n_heavy > 2 else 1, settings))
        if not ids:
            settings.useRandomCoords = True
            ids = list(rdDistGeom.EmbedMultipleConfs(mol, 1, settings))
        if not ids:
            raise InputError(f"RDKit finds no geometry for the amon {smiles}; give the query with coordinates.")
        if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
            rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, maxIters=_STEPS)
    graph = Molecule.from_rdkit(Chem.Mol(mol, confId=ids[0]))
    kept: list[tuple[NDArray[np.float64], Record]] = []
    for index in ids:
        positions = np.array(mol.GetConformer(index).GetPositions()) / BOHR
        _add_conformer(kept, _with_positions(graph, positions), smiles)
    return (record for _, record in kept)


def _with_positions(molecule: Molecule, positions: NDArray[np.float64]) -> Molecule:
    return Molecule(molecule.numbers, molecule.charges, molecule.orders, positions=positions)


def _torsions(molecule: Molecule) -> Iterator[tuple[int, int, int, int]]:
    """Yield the chains of four heavy atoms, each in one direction."""
    heavy = set(molecule.heavy)
    for j, k in molecule.orders:
        if j in heavy and k in heavy:
            yield from _ends(j, k, molecule, heavy)


def _ends(j: int, k: int, molecule: Molecule, heavy: set[int]) -> Iterable[tuple[int, int, int, int]]:
    for i in molecule.neighbours[j]:
        for l in molecule.neighbours[k]:
            if len({i, j, k, l}) == 4 and {i, l} <= heavy:
                yield i, j, k, l


def _torsion(mol: Chem.Mol, i: int, j: int, k: int, l: int) -> float | None:
    """Return a torsion in degrees, or None where three of the atoms lie on a line."""
    conformer = mol.GetConformer()
    bends = (rdMolTransforms.GetAngleDeg(conformer, *atoms) for atoms in ((i, j, k), (j, k, l)))
    if any(bend > _NEARLY_LINEAR for bend in bends):
        return None
    return float(rdMolTransforms.GetDihedralDeg(conformer, i, j, k, l))


def _n_heavy(kept: list[tuple[NDArray[np.float64], Record]]) -> int:
    return int(kept[0][1].info["n_heavy"])
