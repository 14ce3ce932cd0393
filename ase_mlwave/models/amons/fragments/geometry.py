"""Geometries of amons, cut from the query and relaxed under constraints or built from a graph, each conformer once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np
from ase.calculators.calculator import InputError
from numpy.typing import NDArray
from rdkit import Chem, rdBase
from rdkit.Chem import rdDistGeom, rdForceFieldHelpers, rdMolTransforms

from ase_mlwave.data.record import Record
from ase_mlwave.models.amons.fragments.capping import CappedFragment, cap_fragment, is_crowded
from ase_mlwave.models.amons.fragments.conformers import ConformerSet, geometry_fingerprint, most_different
from ase_mlwave.models.amons.fragments.coverage import refuse_gaps
from ase_mlwave.models.amons.fragments.fragment import Fragment
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.perception import read_query
from ase_mlwave.models.amons.fragments.periodic import Unrolled
from ase_mlwave.models.amons.fragments.selection import all_fragments
from ase_mlwave.units import BOHR

__all__ = ["Relax", "amon_geometries", "cut_out", "geometries_of", "geometry_fingerprint", "relax_fragment"]

#: How an amon's geometry is prepared, see ``relax`` of `amon_geometries`.
Relax: TypeAlias = bool | Literal["caps"] | None

#: Deviation that a torsion between heavy atoms may have, degrees, and the stiffness beyond, kcal/mol/degree^2.
_TORSION_PLAY, _TORSION_STIFFNESS = 2.0, 100.0
_NEARLY_LINEAR = 175.0
_STEPS = 2000
#: Attempts at conformers of an amon without coordinates.
_ATTEMPTS = 10


def amon_geometries(
    query: Any,
    max_heavy: int = 7,
    *,
    max_contact_heavy: int | None = None,
    allow_radicals: bool = False,
    allow_charges: bool = False,
    complete: bool = False,
    seed: int = 0,
    max_conformers: int | None = None,
    relax: Relax = None,
) -> tuple[Record, ...]:
    """Return the amons of a query with geometries: what is to be labelled.

    Parameters
    ----------
    query : str, Path, rdkit.Chem.Mol, ase.Atoms, Record or Molecule
        See ``amons_of``.
    max_heavy, max_contact_heavy, allow_radicals, allow_charges
        See ``amons_of``.
    complete : bool
        Refuse a query that its amons cannot predict, see `ase_mlwave.models.amons.fragments.coverage.refuse_gaps`.
    seed : int
        Of the embedding of amons that come from a graph without coordinates.
    max_conformers : int, optional
        Largest number of conformers of an amon: those that differ most. All by default, of ten attempts for an amon
        that comes from a graph.
    relax : bool or "caps", optional
        Relax with MMFF94, as is done by default for molecules. If False, amons cut from a geometry keep the query's
        coordinates, as is done by default for crystals; with ``"caps"`` all but the hydrogens that cap cut bonds do.

    Returns
    -------
    tuple of Record
        Neutral and closed-shell (but for ions and radicals that were allowed) and without labels, sorted by number of
        heavy atoms, then by SMILES. ``info`` has ``"smiles"``, ``"n_heavy"``, and for amons cut from a geometry
        ``"query_atoms"``, the heavy atoms of the query (in the order of the record's, which come first).

    Raises
    ------
    InputError
        See ``amons_of``; if ``max_conformers`` is below 1; or if the amons are not ``complete``.

    Notes
    -----
    Two geometries of one amon are the same conformer if their sorted row sums of 1/r_ij differ by at most 0.01/Angstrom
    in the L1 norm. Non-covalent amons stay as they are in the query but for their caps. Fragments without MMFF94
    parameters (boron, say) keep their coordinates.
    Source: Huang and von Lilienfeld, Nat. Chem. 12, 945 (2020).
    """
    if max_conformers is not None and max_conformers < 1:
        raise InputError(f"max_conformers is the largest number of conformers of an amon; {max_conformers} is below 1.")
    unrolled, fragments = all_fragments(read_query(query), max_heavy, max_contact_heavy, allow_radicals, allow_charges)
    if complete:
        refuse_gaps(unrolled, fragments, max_heavy)
    return geometries_of(unrolled, fragments, relax, seed=seed, max_conformers=max_conformers)


def geometries_of(
    unrolled: Unrolled,
    fragments: Sequence[Fragment],
    relax: Relax = None,
    *,
    seed: int = 0,
    max_conformers: int | None = None,
) -> tuple[Record, ...]:
    """Return the amons with geometries where the places of a query where they are have been found.

    Parameters
    ----------
    unrolled : Unrolled
        The query.
    fragments : sequence of Fragment
        From `ase_mlwave.models.amons.fragments.selection.all_fragments`.
    relax, seed, max_conformers
        As for `amon_geometries`, and so are what is returned and the errors.
    """
    molecule = unrolled.molecule
    by_smiles: dict[str, _Conformers] = {}
    for fragment in fragments:
        conformers = by_smiles.setdefault(fragment.smiles, _Conformers(fragment.smiles, len(fragment.atoms)))
        if molecule.positions is not None:
            places = tuple(unrolled.atoms[atom] for atom in fragment.atoms)
            conformers.add(cut_out(unrolled, fragment, relax), {"query_atoms": places})
    ordered = sorted(by_smiles.values(), key=lambda conformers: (conformers.n_heavy, conformers.smiles))
    if molecule.positions is None:
        for conformers in ordered:
            conformers.embed(seed, max_conformers or _ATTEMPTS)
    return tuple(record for conformers in ordered for record in conformers.selected(max_conformers))


def cut_out(unrolled: Unrolled, fragment: Fragment, relax: Relax) -> Molecule:
    """Cut a fragment out of a query with coordinates; ``relax`` as for `amon_geometries`."""
    capped = cap_fragment(unrolled.molecule, frozenset(fragment.atoms), dict(fragment.orders))
    relax = unrolled.roots is None if relax is None else relax
    return relax_fragment(capped, caps_only=relax == "caps") if relax else capped.molecule


def relax_fragment(capped: CappedFragment, *, caps_only: bool = False) -> Molecule:
    """Relax a fragment with MMFF94: its hydrogens with heavy atoms fixed, then all but the heavy-atom torsions.

    Of fragments in several parts only the caps are relaxed, each part by itself: how the parts touch is what they are
    there to teach.

    Parameters
    ----------
    capped : CappedFragment
        With positions.
    caps_only : bool
        Relax the caps of all fragments, and nothing else.

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
    all_atoms = parts == 1 and not caps_only
    n_fixed = len(capped.molecule.heavy) if all_atoms else len(capped.molecule) - capped.n_caps
    if n_fixed == len(capped.molecule):
        return capped.molecule
    field = rdForceFieldHelpers.MMFFGetMoleculeForceField(mol, properties, ignoreInterfragInteractions=True)
    for atom in range(n_fixed):
        field.AddFixedPoint(atom)
    field.Minimize(maxIts=_STEPS)
    if all_atoms:
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


class _Conformers:
    """Collect the conformers of one amon."""

    def __init__(self, smiles: str, n_heavy: int) -> None:
        self.smiles = smiles
        self.n_heavy = n_heavy
        self._conformers = ConformerSet()
        self._records: list[Record] = []

    def add(self, molecule: Molecule, info: dict[str, Any]) -> None:
        """Append a geometry if it is new and not crowded; the first is kept in any case."""
        crowded = self._records and is_crowded(molecule)
        if molecule.positions is not None and not crowded and self._conformers.add(molecule.positions):
            self._records.append(molecule.to_record(smiles=self.smiles, n_heavy=self.n_heavy, **info))

    def embed(self, seed: int, attempts: int) -> None:
        """Build conformers from the graph: distance geometry (ETKDG), relaxed with MMFF94."""
        mol = Chem.AddHs(Chem.MolFromSmiles(self.smiles))
        settings: Any = rdDistGeom.ETKDGv3()
        settings.randomSeed = seed
        with rdBase.BlockLogs():
            ids = list(rdDistGeom.EmbedMultipleConfs(mol, attempts if self.n_heavy > 2 else 1, settings))
            if not ids:
                settings.useRandomCoords = True
                ids = list(rdDistGeom.EmbedMultipleConfs(mol, 1, settings))
            if not ids:
                raise InputError(f"RDKit finds no geometry for the amon {self.smiles}; give a query with coordinates.")
            if rdForceFieldHelpers.MMFFHasAllMoleculeParams(mol):
                rdForceFieldHelpers.MMFFOptimizeMoleculeConfs(mol, maxIters=_STEPS)
        graph = Molecule.from_rdkit(mol)
        for index in ids:
            self.add(_with_positions(graph, np.array(mol.GetConformer(index).GetPositions()) / BOHR), {})

    def selected(self, count: int | None) -> list[Record]:
        """Return all conformers, or those that differ most."""
        if count is None or len(self._records) <= count:
            return self._records
        fingerprints = np.array([geometry_fingerprint(record.positions) for record in self._records])
        return [self._records[index] for index in most_different(fingerprints, count)]


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
