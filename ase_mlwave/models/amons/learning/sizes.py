"""How large amons of a query are by default, and a warning of contacts that are left out."""

from __future__ import annotations

import warnings

from ase import Atoms

from ase_mlwave.errors import OutOfDomainWarning
from ase_mlwave.models.amons.fragments.contacts import IN_CELLS, find_contacts, usual_contact_heavy
from ase_mlwave.models.amons.fragments.fused_rings import aromatic_systems
from ase_mlwave.models.amons.fragments.molecule import Molecule
from ase_mlwave.models.amons.fragments.periodic import images_touch

__all__ = ["contact_size", "usual_max_heavy"]

#: Heavy atoms of the largest amons: a benzene ring with what is bonded to it, and at most two such rings in one.
_USUAL, _MOST = 7, 10


def usual_max_heavy(query: Molecule | Atoms) -> int:
    """Choose the size of covalent amons for a query.

    Parameters
    ----------
    query : Molecule or Atoms
        As `read_query` returns it; Atoms are cells.

    Returns
    -------
    int
        7 heavy atoms: without a whole ring, the stability of benzene comes as a surprise of 40 kcal/mol. Where aromatic
        rings are fused, as in indole or naphthalene, as many as the largest such system of up to 10 has: of 7 atoms, an
        amon shows no more than one of the rings, and 1-naphthol is wrong by 15 kcal/mol.
    """
    if isinstance(query, Atoms):
        return _USUAL
    return max([_USUAL, *(len(system) for system in aromatic_systems(query) if len(system) <= _MOST)])


def contact_size(query: Molecule | Atoms, max_contact_heavy: int | None) -> int | None:
    """Choose the size of amons that touch.

    Parameters
    ----------
    query : Molecule or Atoms
        As for `usual_max_heavy`.
    max_contact_heavy : int or None
        What the user asked for: 0 for none, None for what is usual for the query (`usual_contact_heavy`).

    Returns
    -------
    int or None
        None for none, as where nothing touches; a warning tells what is left out, if anything is.
    """
    if max_contact_heavy:
        return max_contact_heavy
    if isinstance(query, Atoms):
        usual, what = (IN_CELLS, "images of the cell touch") if images_touch(query) else (None, "")
    elif query.positions is None:
        if len(query.parts) > 1:
            what = f"how the {len(query.parts)} molecules of the query touch is not known"
            _warn(what, "Give the query with coordinates.")
        return None
    else:
        n = len(find_contacts(query))
        usual, what = (usual_contact_heavy(query), f"{n} contacts without a bond were found") if n else (None, "")
    if usual is not None and max_contact_heavy == 0:
        _warn(f"{what}, but max_contact_heavy is 0", f"Write max_contact_heavy={usual}, or leave it out.")
        return None
    return usual


def _warn(what: str, advice: str) -> None:
    warnings.warn(
        f"{what}: their interaction is left out, often some kcal/mol for each, and the deviations that are claimed do "
        f"not cover it. {advice}",
        OutOfDomainWarning,
        stacklevel=7,  # where for_query is called
    )
