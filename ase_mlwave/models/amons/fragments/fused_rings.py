"""Fused aromatic rings, which tell of their stability only as a whole."""

from __future__ import annotations

from ase_mlwave.models.amons.fragments.molecule import Molecule

__all__ = ["aromatic_systems", "fused_rings"]

#: Heavy atoms of the largest system that is taken whole: anthracene, with what is bonded to it by double bonds.
_LARGEST = 16


def aromatic_systems(molecule: Molecule) -> list[frozenset[int]]:
    """Find aromatic rings, those that share a bond as one.

    Parameters
    ----------
    molecule : Molecule
        The query.

    Returns
    -------
    list of frozenset of int
        Heavy atoms of each system.
    """
    mol = molecule.to_rdkit()  # must outlive what it is asked for
    systems: list[frozenset[int]] = []
    for ring in (frozenset(ring) for ring in mol.GetRingInfo().AtomRings() if molecule.aromatic.issuperset(ring)):
        joined = [system for system in systems if len(system & ring) > 1]
        systems = [system for system in systems if system not in joined] + [ring.union(*joined)]
    return systems


def fused_rings(molecule: Molecule, max_heavy: int) -> list[frozenset[int]]:
    """Find the systems of aromatic rings that no part of some size can hold, with atoms at the end of double bonds.

    Parameters
    ----------
    molecule : Molecule
        The query.
    max_heavy : int
        Heavy atoms of the largest parts; single rings count as well.

    Returns
    -------
    list of frozenset of int
        Heavy atoms of each, more than ``max_heavy`` and at most 16: indole, purine, naphthalene, caffeine's rings with
        their oxygens, anthracene.
    """
    heavy = set(molecule.heavy)
    found = []
    for system in aromatic_systems(molecule):
        doubly = {b for a in system for b in molecule.neighbours[a] if b in heavy and molecule.order(a, b) > 1}
        whole = system | doubly
        if max_heavy < len(whole) <= _LARGEST:
            found.append(whole)
    return found
